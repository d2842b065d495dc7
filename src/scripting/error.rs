//! Errors on their way through Lua: raised by a native function, seen by scripts as Redis shows them, told to the client.

use std::error::Error;
use std::fmt;

use mlua::{Lua, Table, Value};

use super::libraries::{self, c_string};
use crate::base::number::format_g;

/// What a native function raises. Scripts see a table with the text in `err`, or the text alone.
#[derive(Debug, Clone)]
pub enum Raised {
    /// A reply's line without its `-`: the table's `err`.
    Reply(Vec<u8>),
    /// As `luaL_error` raises it: a text with its place in front.
    Text(Vec<u8>),
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Reply(text) | Self::Text(text)) = self;
        f.write_str(&String::from_utf8_lossy(text))
    }
}

impl Error for Raised {}

impl Raised {
    /// `line` is a reply's error line.
    pub fn reply(line: impl Into<Vec<u8>>) -> mlua::Error {
        mlua::Error::external(Self::Reply(line.into()))
    }

    /// `text` behind the place of the Lua function that called the native one.
    pub fn at_caller(lua: &Lua, text: &str) -> mlua::Error {
        let place = lua
            .inspect_stack(1, |debug| {
                let line = debug.current_line()?;
                Some(format!("{}:{line}: ", debug.source().short_src?))
            })
            .flatten()
            .unwrap_or_default();
        mlua::Error::external(Self::Text(format!("{place}{text}").into_bytes()))
    }
}

/// What a script sees of an error that native code raised; any other value is seen as it is.
pub fn plain(lua: &Lua, value: Value) -> mlua::Result<Value> {
    let Value::Error(error) = &value else { return Ok(value) };
    match raised(error) {
        Some(Raised::Reply(line)) => Ok(Value::Table(error_table(lua, line)?)),
        Some(Raised::Text(text)) => Ok(Value::String(lua.create_string(text)?)),
        None => match libraries::caught(lua, value.clone())? {
            Value::Error(error) => Ok(Value::String(lua.create_string(message_of(&error))?)),
            text => Ok(text),
        },
    }
}

/// What a native function of ours has raised, if it was one.
fn raised(error: &mlua::Error) -> Option<&Raised> {
    match error {
        mlua::Error::CallbackError { cause, .. } => raised(cause),
        error => error.downcast_ref(),
    }
}

/// The table that stands for an error reply.
pub fn error_table(lua: &Lua, line: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(line)?)?;
    Ok(table)
}

/// The text of an error without what mlua says around it.
pub fn message_of(error: &mlua::Error) -> String {
    match error {
        mlua::Error::CallbackError { cause, .. } => message_of(cause),
        mlua::Error::RuntimeError(message) | mlua::Error::MemoryError(message) => message.clone(),
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        mlua::Error::BadArgument { cause, .. } => message_of(cause),
        mlua::Error::ExternalError(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

/// A number where a text is wanted, as Lua writes it.
pub fn number_text(n: f64) -> String {
    const DIGITS: i32 = 14;
    format_g(n, DIGITS)
}

/// How a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The reply's line, and where the script was: source and line.
    Raised { line: Vec<u8>, place: Option<(Vec<u8>, i64)>, is_counted: bool },
    /// Lua itself could not go on.
    Broken(Vec<u8>),
}

impl Failure {
    /// An error that nothing has handled.
    pub fn of_error(error: &mlua::Error) -> Self {
        match raised(error) {
            Some(Raised::Reply(line)) => Self::Raised { line: line.clone(), place: None, is_counted: false },
            _ => Self::Broken(message_of(error).into_bytes()),
        }
    }

    /// Reads the value that the error handler has made.
    pub fn read(value: &Value) -> Self {
        let table = match value {
            Value::Table(table) => table,
            Value::String(text) => return Self::Broken(text.as_bytes().to_vec()),
            Value::Error(error) => return Self::of_error(error),
            _ => return Self::Broken(b"execution failure".to_vec()),
        };
        let text = |name: &str| match table.raw_get::<Value>(name) {
            Ok(Value::String(text)) => Some(c_string(&text.as_bytes()).to_vec()),
            Ok(Value::Number(n)) => Some(number_text(n).into_bytes()),
            Ok(Value::Integer(n)) => Some(number_text(n as f64).into_bytes()),
            _ => None,
        };
        let line_number = table.raw_get::<Option<f64>>("line").ok().flatten().map(|line| line as i64);
        Self::Raised {
            line: text("err").unwrap_or_else(|| b"ERR unknown error".to_vec()),
            place: text("source").zip(line_number),
            is_counted: matches!(table.raw_get("ignore_error_stats_update"), Ok(Value::Boolean(true))),
        }
    }

    /// The error line that a client reads of the script or function `name`.
    pub fn reply_line(&self, name: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        match self {
            Self::Raised { line, place, .. } => {
                text.extend_from_slice(line);
                if let Some((source, number)) = place {
                    text.extend_from_slice(b" script: ");
                    text.extend_from_slice(name);
                    text.extend_from_slice(b", on ");
                    text.extend_from_slice(source);
                    text.extend_from_slice(format!(":{number}.").as_bytes());
                }
            }
            Self::Broken(message) => {
                text.extend_from_slice(b"ERR Error running script ");
                text.extend_from_slice(name);
                text.extend_from_slice(b", ");
                text.extend_from_slice(&message[..message.len().min(100)]);
            }
        }
        text
    }
}
