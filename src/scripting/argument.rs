//! What a native function was called with.
//!
//! Each Lua value that Rust holds takes one of the few thousand references that Lua's interface has, and a script may hand
//! over as many arguments as it likes. So only the first few are held, and of the others only what they are.

use std::cell::RefCell;

use mlua::{FromLua, Lua, Value};

use crate::base::number::format_g17;
use crate::resp::args::ArgRange;

/// Arguments of one call that keep a reference to their value.
const HELD_MAX: usize = 8;

/// Arguments of the call that is being prepared.
#[derive(Default)]
struct Prepared {
    held: usize,
    command: Vec<u8>,
}

/// Makes a state ready for functions with such arguments.
pub fn prepare(lua: &Lua) {
    lua.set_app_data(RefCell::new(Prepared::default()));
}

fn with_prepared<R>(lua: &Lua, f: impl FnOnce(&mut Prepared) -> R) -> Option<R> {
    lua.app_data_ref::<RefCell<Prepared>>().map(|prepared| f(&mut prepared.borrow_mut()))
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
            || with_prepared(lua, |prepared| {
                prepared.held += 1;
                prepared.held <= HELD_MAX
            })
            .unwrap_or(false);
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
    with_prepared(lua, |prepared| prepared.held = 0);
}

/// A word of a command: its bytes go to the others of the command at once, and here is where.
pub enum Word {
    Range(ArgRange),
    /// Neither a string nor a number.
    Invalid,
}

impl FromLua for Word {
    fn from_lua(value: Value, lua: &Lua) -> mlua::Result<Self> {
        let range = with_prepared(lua, |prepared| {
            let bytes = &mut prepared.command;
            let start = bytes.len();
            match &value {
                Value::String(text) => bytes.extend_from_slice(&text.as_bytes()),
                Value::Integer(n) => bytes.extend_from_slice(itoa::Buffer::new().format(*n).as_bytes()),
                Value::Number(n) => write_number(*n, bytes),
                _ => return None,
            }
            let len = u32::try_from(bytes.len() - start).ok()?;
            Some(ArgRange { start: u32::try_from(start).ok()?, len })
        });
        Ok(range.flatten().map_or(Self::Invalid, Self::Range))
    }
}

/// The bytes of the words that were prepared.
pub fn take_command(lua: &Lua) -> Vec<u8> {
    with_prepared(lua, |prepared| std::mem::take(&mut prepared.command)).unwrap_or_default()
}

/// A number as an argument: with as many digits as it takes to read the same number.
pub fn write_number(n: f64, out: &mut Vec<u8>) {
    const EXACT_MAX: f64 = 1e15;
    /// From here on `%.17g` has no digit for each place.
    const PLAIN_MAX: f64 = 1e17;
    let integer = n as i64;
    if n.abs() < EXACT_MAX && integer as f64 == n && (integer != 0 || n.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    } else if n.is_nan() {
        out.extend_from_slice(if n.is_sign_negative() { b"-nan" } else { b"nan" });
    } else if n.is_finite() && n.abs() >= PLAIN_MAX {
        let text = format!("{n:.16e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        out.extend_from_slice(format!("{mantissa}e+{exponent}").as_bytes());
    } else {
        out.extend_from_slice(format_g17(n).as_bytes());
    }
}
