//! What a native function was called with.
//!
//! Each Lua value that Rust holds takes one of the few thousand references that Lua's interface has, and a script may hand
//! over as many arguments as it likes. So only the first few are held, and of the others only what they are.

use std::cell::Cell;

use mlua::{FromLua, Lua, Value};

/// Arguments of one call that keep a reference to their value.
const HELD_MAX: usize = 8;

/// Arguments of the call that is being prepared that keep theirs.
#[derive(Default)]
struct HeldLen(Cell<usize>);

/// Makes a state ready for functions with such arguments.
pub fn prepare(lua: &Lua) {
    lua.set_app_data(HeldLen::default());
}

/// An argument of a function that takes few.
pub enum Argument {
    Held(Value),
    /// One too many.
    Other,
}

impl FromLua for Argument {
    fn from_lua(value: Value, lua: &Lua) -> mlua::Result<Self> {
        let is_scalar =
            matches!(value, Value::Nil | Value::Boolean(_) | Value::Integer(_) | Value::Number(_));
        let is_held = is_scalar
            || lua
                .app_data_ref::<HeldLen>()
                .is_some_and(|held_len| held_len.0.replace(held_len.0.get() + 1) < HELD_MAX);
        Ok(if is_held { Self::Held(value) } else { Self::Other })
    }
}

impl Argument {
    pub fn value(&self) -> &Value {
        match self {
            Self::Held(value) => value,
            Self::Other => &Value::Nil,
        }
    }
}

/// To be called by every function that takes `Argument`s, once it has them.
pub fn taken(lua: &Lua) {
    if let Some(held_len) = lua.app_data_ref::<HeldLen>() {
        held_len.0.set(0);
    }
}
