//! What a library function was called with, and the errors about it, as Lua's auxiliary library words them.
//!
//! Arguments are counted from 1. A number may be given as a string and the other way round, as everywhere in Lua.

use std::cell::Cell;

use mlua::{BorrowedBytes, Error, FromLua, IntoLuaMulti, Lua, Table, Value, Variadic};

use super::Raised;

/// Arguments that keep a reference to their Lua value; of further ones the bytes or the type's name are kept.
const HELD_MAX: u32 = 32;

struct Held(Cell<u32>);

/// Makes the state ready for functions that are registered here.
pub fn prepare(lua: &Lua) {
    lua.set_app_data(Held(Cell::new(0)));
}

/// Adds to `module` a function that takes any arguments.
pub fn add_function<R: IntoLuaMulti>(
    lua: &Lua,
    module: &Table,
    name: &str,
    function: impl Fn(&Call) -> mlua::Result<R> + Send + 'static,
) -> mlua::Result<()> {
    let function = lua.create_function(move |lua, arguments: Variadic<Argument>| {
        if let Some(held) = lua.app_data_ref::<Held>() {
            held.0.set(0);
        }
        function(&Call { lua, arguments: arguments.into() })
    })?;
    module.raw_set(name, function)
}

enum Argument {
    Held(Value),
    Bytes(Vec<u8>),
    Type(&'static str),
}

impl FromLua for Argument {
    fn from_lua(value: Value, lua: &Lua) -> mlua::Result<Self> {
        let refers = !matches!(
            value,
            Value::Nil
                | Value::Boolean(_)
                | Value::Integer(_)
                | Value::Number(_)
                | Value::LightUserData(_)
                | Value::Error(_)
        );
        let is_held = !refers
            || lua.app_data_ref::<Held>().is_some_and(|held| {
                held.0.set(held.0.get() + 1);
                held.0.get() <= HELD_MAX
            });
        Ok(match value {
            value if is_held => Argument::Held(value),
            Value::String(text) => Argument::Bytes(text.as_bytes().to_vec()),
            value => Argument::Type(type_name(&value)),
        })
    }
}

/// The bytes of a string argument, without a copy where Lua keeps them.
pub enum Text {
    Lua(mlua::String),
    Copied(Vec<u8>),
}

/// Borrowed bytes of a [`Text`].
pub enum Bytes<'a> {
    Lua(BorrowedBytes<'a>),
    Copied(&'a [u8]),
}

impl std::ops::Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Lua(bytes) => bytes,
            Bytes::Copied(bytes) => bytes,
        }
    }
}

impl Text {
    pub fn bytes(&self) -> Bytes<'_> {
        match self {
            Text::Lua(text) => Bytes::Lua(text.as_bytes()),
            Text::Copied(bytes) => Bytes::Copied(bytes),
        }
    }
}

/// One call of a library function.
pub struct Call<'a> {
    pub lua: &'a Lua,
    arguments: Vec<Argument>,
}

impl<'a> Call<'a> {
    /// For errors of a function that reads its arguments itself.
    pub fn without_arguments(lua: &'a Lua) -> Self {
        Call { lua, arguments: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.arguments.len()
    }

    /// The value of an argument. Of those after the first few only numbers, booleans and nil.
    pub fn value(&self, index: usize) -> Option<&Value> {
        match self.argument(index) {
            Some(Argument::Held(value)) => Some(value),
            _ => None,
        }
    }

    pub fn is_nil_or_none(&self, index: usize) -> bool {
        matches!(self.argument(index), None | Some(Argument::Held(Value::Nil)))
    }

    /// A number, or a string that reads as one.
    pub fn number(&self, index: usize) -> Option<f64> {
        match self.argument(index)? {
            Argument::Held(value) => number(self.lua, value),
            Argument::Bytes(bytes) => {
                let text = self.lua.create_string(bytes).ok()?;
                number(self.lua, &Value::String(text))
            }
            Argument::Type(_) => None,
        }
    }

    pub fn check_number(&self, index: usize) -> mlua::Result<f64> {
        self.number(index).ok_or_else(|| self.type_error(index, "number"))
    }

    pub fn check_integer(&self, index: usize) -> mlua::Result<i64> {
        self.check_number(index).map(to_i64)
    }

    pub fn optional_integer(&self, index: usize, default: i64) -> mlua::Result<i64> {
        if self.is_nil_or_none(index) { Ok(default) } else { self.check_integer(index) }
    }

    pub fn check_text(&self, index: usize) -> mlua::Result<Text> {
        let text = match self.argument(index) {
            Some(Argument::Bytes(bytes)) => Some(Text::Copied(bytes.clone())),
            Some(Argument::Held(Value::String(text))) => Some(Text::Lua(text.clone())),
            Some(Argument::Held(value @ (Value::Integer(_) | Value::Number(_)))) => {
                self.lua.coerce_string(value.clone())?.map(Text::Lua)
            }
            _ => None,
        };
        text.ok_or_else(|| self.type_error(index, "string"))
    }

    /// The position of an option's name among `options`.
    pub fn check_option(&self, index: usize, options: &[&str]) -> mlua::Result<usize> {
        let text = self.check_text(index)?;
        let bytes = text.bytes();
        let name = c_string(&bytes);
        options.iter().position(|option| option.as_bytes() == name).ok_or_else(|| {
            let sentence = [b"invalid option '".as_slice(), name, b"'"].concat();
            self.argument_error(index, &sentence)
        })
    }

    /// The error `<position>: <sentence>`; the position is that of the script's line that called.
    pub fn error(&self, sentence: impl AsRef<[u8]>) -> Error {
        error(self.lua, sentence.as_ref())
    }

    pub fn argument_error(&self, index: usize, sentence: impl AsRef<[u8]>) -> Error {
        let sentence = sentence.as_ref();
        let (name, is_method) = self
            .lua
            .inspect_stack(0, |frame| {
                let names = frame.names();
                (names.name.map(|name| name.into_owned()), names.name_what == Some("method"))
            })
            .unwrap_or_default();
        let name = name.as_deref().unwrap_or("?");
        if is_method && index == 1 {
            return self
                .error([format!("calling '{name}' on bad self (").as_bytes(), sentence, b")"].concat());
        }
        let number = if is_method { index as i64 - 1 } else { index as i64 };
        self.error([format!("bad argument #{number} to '{name}' (").as_bytes(), sentence, b")"].concat())
    }

    pub fn type_error(&self, index: usize, expected: &str) -> Error {
        let found = match self.argument(index) {
            None => "no value",
            Some(Argument::Held(value)) => type_name(value),
            Some(Argument::Bytes(_)) => "string",
            Some(Argument::Type(name)) => name,
        };
        self.argument_error(index, format!("{expected} expected, got {found}"))
    }

    fn argument(&self, index: usize) -> Option<&Argument> {
        self.arguments.get(index.checked_sub(1)?)
    }
}

/// An error with the position of the line that called the library's function.
pub fn error(lua: &Lua, sentence: &[u8]) -> Error {
    let position = lua
        .inspect_stack(1, |frame| {
            let line = frame.current_line().filter(|line| *line > 0)?;
            let source = frame.source().short_src?.into_owned();
            Some(format!("{source}:{line}: "))
        })
        .flatten()
        .unwrap_or_default();
    Error::external(Raised([position.as_bytes(), sentence].concat()))
}

/// A C string ends at its first zero byte.
pub fn c_string(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// A value's number, also of a string that reads as one.
pub fn number(lua: &Lua, value: &Value) -> Option<f64> {
    match value {
        Value::Integer(integer) => Some(*integer as f64),
        Value::Number(number) => Some(*number),
        Value::String(_) => lua.coerce_number(value.clone()).ok().flatten(),
        _ => None,
    }
}

/// Lua's name of a value's type.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "number",
        Value::LightUserData(_) | Value::Error(_) => "userdata",
        value => value.type_name(),
    }
}

/// 2^63, the first double above all signed integers.
const BEYOND_I64: f64 = 9_223_372_036_854_775_808.0;

/// A double to an integer as the x86-64 processor converts: what does not fit is the least integer.
pub fn to_i64(number: f64) -> i64 {
    if (-BEYOND_I64..BEYOND_I64).contains(&number) { number as i64 } else { i64::MIN }
}

/// The same for unsigned integers, where the compiler goes through the signed ones.
pub fn to_u64(number: f64) -> u64 {
    if number >= BEYOND_I64 {
        (to_i64(number - BEYOND_I64) as u64) ^ (1 << 63)
    } else {
        to_i64(number) as u64
    }
}
