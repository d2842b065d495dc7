//! Libraries of functions: FUNCTION LOAD runs a library's code once, and the code registers what FCALL calls.

use std::sync::Arc;

use mlua::{Function, Lua, RegistryKey, Table, Value, Variadic};

use super::argument::{self, Argument};
use super::error::{Failure, Raised, number_text};
use super::host::{self, Host};
use super::interpreter::Interpreter;
use super::shebang::{self, LibraryHeader, ScriptFlags};
use crate::resp::error::ErrorReply;

pub(super) const BAD_NAME: ErrorReply = ErrorReply::fixed(
    "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
);

/// What a library registers.
pub struct FunctionSpec {
    pub name: Vec<u8>,
    /// In the registry of its interpreter.
    pub callback: Arc<RegistryKey>,
    pub description: Option<Vec<u8>>,
    pub flags: ScriptFlags,
}

/// A library that was loaded.
pub struct Library {
    pub name: Vec<u8>,
    /// As it was loaded, its first line included: all that is kept of it in files.
    pub code: Arc<[u8]>,
    pub functions: Vec<FunctionSpec>,
}

/// Whether a library or function may be called so.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

impl Library {
    /// Compiles the code whose header was read and runs it. `host` takes the functions; they are given here afterwards.
    pub fn run_code(
        interpreter: &Interpreter,
        host: &mut dyn Host,
        header: &LibraryHeader,
        code: &[u8],
    ) -> Result<(), ErrorReply> {
        let body = interpreter
            .compile_library(&code[header.code_at..])
            .map_err(|message| ErrorReply::new(format!("ERR Error compiling function: {message}")))?;
        interpreter.run_library(host, &body).map_err(|failure| {
            let line = match &failure {
                Failure::Raised { line, .. } | Failure::Broken(line) => String::from_utf8_lossy(line),
            };
            ErrorReply::new(format!("ERR Error registering functions: {line}"))
        })
    }
}

/// The `redis` table that a library sees while it is loaded.
pub(super) fn loading_table(lua: &Lua) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    redis.set("register_function", lua.create_function(register_function)?)?;
    super::api::add_constants(lua, &redis)?;
    Ok(redis)
}

/// `redis.register_function(name, callback)` or `redis.register_function{function_name=, callback=, flags=, description=}`
fn register_function(lua: &Lua, args: Variadic<Argument>) -> mlua::Result<()> {
    argument::taken(lua);
    let spec = match &args[..] {
        [argument] => named(lua, argument.value()),
        [name, callback] => positional(lua, name.value(), callback.value()),
        _ => Err("ERR wrong number of arguments to redis.register_function"),
    };
    let registered = spec.and_then(|spec| {
        if !is_name(&spec.name) {
            return Err(
                "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                 character long",
            );
        }
        host::with(|host| host.register(spec))
            .unwrap_or(Err("ERR redis.register_function can only be called on FUNCTION LOAD command"))
    });
    registered.map_err(Raised::reply)
}

fn positional(lua: &Lua, name: &Value, callback: &Value) -> Result<FunctionSpec, &'static str> {
    let name = text_of(name).ok_or("ERR first argument to redis.register_function must be a string")?;
    let Value::Function(callback) = callback else {
        return Err("ERR second argument to redis.register_function must be a function");
    };
    Ok(FunctionSpec { name, callback: keep(lua, callback.clone())?, description: None, flags: 0 })
}

fn named(lua: &Lua, argument: &Value) -> Result<FunctionSpec, &'static str> {
    let Value::Table(table) = argument else {
        return Err(
            "ERR calling redis.register_function with a single argument is only applicable to Lua table (representing \
             named arguments).",
        );
    };
    let (mut name, mut callback, mut description, mut flags) = (None, None, None, 0);
    for pair in table.pairs::<Value, Value>() {
        const UNREADABLE: &str = "ERR unknown argument given to redis.register_function";
        let (key, value) = pair.map_err(|_| UNREADABLE)?;
        let key =
            text_of(&key).ok_or("ERR named argument key given to redis.register_function is not a string")?;
        match &key[..] {
            b"function_name" => {
                name =
                    Some(text_of(&value).ok_or(
                        "ERR function_name argument given to redis.register_function must be a string",
                    )?);
            }
            b"description" => {
                description =
                    Some(text_of(&value).ok_or(
                        "ERR description argument given to redis.register_function must be a string",
                    )?);
            }
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => return Err("ERR callback argument given to redis.register_function must be a function"),
            },
            b"flags" => flags = flags_of(&value)?,
            _ => return Err(UNREADABLE),
        }
    }
    Ok(FunctionSpec {
        name: name.ok_or("ERR redis.register_function must get a function name argument")?,
        callback: keep(lua, callback.ok_or("ERR redis.register_function must get a callback argument")?)?,
        description,
        flags,
    })
}

fn keep(lua: &Lua, callback: Function) -> Result<Arc<RegistryKey>, &'static str> {
    lua.create_registry_value(callback).map(Arc::new).map_err(|_| "ERR not enough memory for the function")
}

fn flags_of(value: &Value) -> Result<ScriptFlags, &'static str> {
    const UNKNOWN: &str = "ERR unknown flag given";
    let Value::Table(names) = value else {
        return Err(
            "ERR flags argument to redis.register_function must be a table representing function flags",
        );
    };
    let mut flags = 0;
    for name in names.sequence_values::<Value>() {
        let Ok(Value::String(name)) = name else { return Err(UNKNOWN) };
        flags |= shebang::flag_of(&name.as_bytes()).ok_or(UNKNOWN)?;
    }
    Ok(flags)
}

/// A string, or a number as text.
fn text_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(n) => Some(number_text(*n as f64).into_bytes()),
        Value::Number(n) => Some(number_text(*n).into_bytes()),
        _ => None,
    }
}
