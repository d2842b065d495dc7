//! The libraries that Redis gives its scripts besides Lua's own: `cjson`, `cmsgpack`, `struct` and `bit`.
//!
//! They answer as those of Redis 7.0, to the byte and to the sentence of an error. What a script hands them is
//! hostile: depth is counted, and recursion bounded; lengths are checked against the input before they size anything;
//! and of Lua's values only a bounded number is referred to at a time, since Lua's interface has room for 8000.
//!
//! An error is raised as [`Raised`], whose bytes are the value that `pcall` is to show to the script.

mod arguments;
mod bit;
mod cjson;
mod cmsgpack;
mod float_text;
mod structure;
mod table_stack;

use std::fmt;

use mlua::{Error, Lua, Value};

pub use self::arguments::c_string;

/// Slots of Lua's stack that one call may use (`LUAI_MAXCSTACK`): Redis' libraries end there with an error, and so do
/// these, at the same depth.
const STACK_SLOTS_MAX: usize = 8000;

/// No string of a script is longer than the longest value of a key.
const OUTPUT_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Sets the globals `cjson`, `cmsgpack`, `struct` and `bit`. Settings of cjson belong to this Lua state.
pub fn install(lua: &Lua) -> mlua::Result<()> {
    arguments::prepare(lua);
    let globals = lua.globals();
    globals.raw_set("cjson", cjson::module(lua)?)?;
    globals.raw_set("cmsgpack", cmsgpack::module(lua)?)?;
    globals.raw_set("struct", structure::module(lua)?)?;
    globals.raw_set("bit", bit::module(lua)?)
}

/// An error whose value in Lua is a string: the position in the script, if there is one, and the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised(pub Vec<u8>);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl std::error::Error for Raised {}

/// The bytes of an error that a library raised, however often it was passed on.
pub fn raised(error: &Error) -> Option<&[u8]> {
    match error {
        Error::CallbackError { cause, .. } | Error::WithContext { cause, .. } => raised(cause),
        Error::ExternalError(error) => error.downcast_ref::<Raised>().map(|raised| raised.0.as_slice()),
        _ => None,
    }
}

/// What a script's `pcall` is to see of a caught error: the string of one that was raised here, anything else as it is.
pub fn caught(lua: &Lua, value: Value) -> mlua::Result<Value> {
    match &value {
        Value::Error(error) => match raised(error) {
            Some(sentence) => Ok(Value::String(lua.create_string(sentence)?)),
            None => Ok(value),
        },
        _ => Ok(value),
    }
}

/// The error for more output than a script may make.
fn out_of_memory() -> Error {
    Error::external(Raised(b"not enough memory".to_vec()))
}

#[cfg(test)]
mod tests;
