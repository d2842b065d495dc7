//! The native functions: the `redis` table, `math.random`, and what the prelude needs.

use mlua::{Lua, Table, Value, Variadic};
use sha1::{Digest, Sha1};

use super::argument::{self, Argument};
use super::debugger;
use super::error::{self, Raised};
use super::host::{self, ReplicationTargets};
use super::interpreter::Flavor;
use super::libraries::c_string;
use super::library;
use super::random;
use super::stack;
use crate::base::hex::hex;
use crate::config::{REDIS_VERSION, REDIS_VERSION_NUMBER};
use crate::resp::reply::Protocol;

/// What `prelude.lua` is handed.
pub fn natives(lua: &Lua, flavor: Flavor) -> mlua::Result<Table> {
    let native = lua.create_table()?;
    native.set("plain", lua.create_function(|lua, value: Value| error::plain(lua, value))?)?;
    native.set("handler", lua.create_function(handle_error)?)?;
    native.set("random", lua.create_function(draw)?)?;
    native.set("randomseed", lua.create_function(random_seed)?)?;
    native.set(
        "is_locked",
        lua.create_function(|_, table: Table| {
            let Some(metatable) = table.metatable() else { return Ok(false) };
            Ok(metatable.raw_get::<Value>("__metatable")? != Value::Nil)
        })?,
    )?;
    native.set(
        "bounded",
        lua.create_function(|lua, (function, plain_at)| stack::bounded(lua, function, plain_at))?,
    )?;
    native.set(
        "writing",
        lua.create_function(|lua, (function, fronts)| stack::writing(lua, function, fronts))?,
    )?;
    native.set(
        "inserting",
        lua.create_function(|lua, (function, fronts)| stack::inserting(lua, function, fronts))?,
    )?;
    native.set("protected", lua.create_function(|lua, (pcall, seen)| stack::protected(lua, pcall, seen))?)?;
    native.set("repeating", lua.create_function(stack::repeating)?)?;
    native.set("unless_stopped", lua.create_function(stack::unless_stopped)?)?;
    native.set("is_stopped", lua.create_function(|_, ()| Ok(host::stopped().is_some()))?)?;
    native.set("unpacking", lua.create_function(stack::unpacking)?)?;
    native.set("redis", redis_table(lua, flavor)?)?;
    native.set("loading_redis", library::loading_table(lua)?)?;
    argument::prepare(lua);
    Ok(native)
}

fn redis_table(lua: &Lua, flavor: Flavor) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    redis.set("call", stack::call(lua)?)?;
    redis.set("pcall", stack::pcall(lua)?)?;
    redis.set("sha1hex", lua.create_function(sha1_hex)?)?;
    redis.set("error_reply", lua.create_function(error_reply)?)?;
    redis.set("status_reply", lua.create_function(status_reply)?)?;
    redis.set("setresp", lua.create_function(set_resp)?)?;
    redis.set("set_repl", lua.create_function(set_repl)?)?;
    redis.set("acl_check_cmd", stack::acl_check_cmd(lua)?)?;
    let targets =
        [("REPL_NONE", 0), ("REPL_AOF", 1), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)];
    for (name, bits) in targets {
        redis.set(name, bits)?;
    }
    if flavor == Flavor::Eval {
        redis.set("replicate_commands", lua.create_function(|_, ()| Ok(true))?)?;
        redis.set("breakpoint", lua.create_function(breakpoint)?)?;
        redis.set("debug", lua.create_function(debug)?)?;
    }
    add_constants(lua, &redis)?;
    Ok(redis)
}

/// What a library sees while it is loaded, too.
pub fn add_constants(lua: &Lua, redis: &Table) -> mlua::Result<()> {
    redis.set("log", stack::log(lua)?)?;
    redis.set("REDIS_VERSION", REDIS_VERSION)?;
    redis.set("REDIS_VERSION_NUM", REDIS_VERSION_NUMBER)?;
    for (name, level) in [("LOG_DEBUG", 0), ("LOG_VERBOSE", 1), ("LOG_NOTICE", 2), ("LOG_WARNING", 3)] {
        redis.set(name, level)?;
    }
    Ok(())
}

/// The handler of `xpcall` around a script: an error becomes a table that says where it happened.
fn handle_error(lua: &Lua, value: Value) -> mlua::Result<Table> {
    let value = error::plain(lua, value)?;
    let table = match value {
        Value::Table(table) if !is_read_only(&table)? => table,
        other => {
            let text = match &other {
                Value::String(text) => text.as_bytes().to_vec(),
                other => other.to_string()?.into_bytes(),
            };
            let line = [b"ERR ".as_slice(), &text].concat();
            error::error_table(lua, &line)?
        }
    };
    if let Some((source, line)) = place(lua) {
        table.raw_set("source", source)?;
        table.raw_set("line", line)?;
    }
    Ok(table)
}

fn is_read_only(table: &Table) -> mlua::Result<bool> {
    let Some(metatable) = table.metatable() else { return Ok(false) };
    Ok(metatable.raw_get::<Value>("__metatable")? == Value::Boolean(false))
}

/// Where the running script is: the innermost function that is neither native nor of the prelude.
fn place(lua: &Lua) -> Option<(String, i64)> {
    let at = |level: usize| {
        lua.inspect_stack(level, |debug| {
            let source = debug.source();
            let line = debug.current_line().map_or(-1, |line| line as i64);
            (source.what, source.source.map(|source| source.into_owned()).unwrap_or_default(), line)
        })
    };
    let mut found = at(1)?;
    for level in 2..5 {
        let is_of_script = !matches!(found.0, "C" | "tail") && found.1 != super::interpreter::PRELUDE_NAME;
        if is_of_script {
            break;
        }
        found = at(level)?;
    }
    Some((found.1, found.2))
}

/// `redis.breakpoint()`. Whether there is a debugger.
fn breakpoint(_: &Lua, (): ()) -> mlua::Result<bool> {
    let debugger = debugger::current();
    if let Some(debugger) = &debugger {
        debugger.stop_at_next_line();
    }
    Ok(debugger.is_some())
}

/// `redis.debug(value, ...)`
fn debug(lua: &Lua, args: Variadic<Argument>) -> mlua::Result<()> {
    argument::taken(lua);
    if let Some(debugger) = debugger::current() {
        debugger.show_values(args.iter().map(Argument::value));
    }
    Ok(())
}

/// `redis.sha1hex(text)`
fn sha1_hex(lua: &Lua, args: Variadic<Argument>) -> mlua::Result<Value> {
    argument::taken(lua);
    if args.len() != 1 {
        return Err(Raised::reply("ERR wrong number of arguments"));
    }
    let text = lua.coerce_string(args[0].value().clone())?;
    let digest = match &text {
        Some(text) => Sha1::digest(text.as_bytes()),
        None => Sha1::digest(b""),
    };
    Ok(Value::String(lua.create_string(hex(&digest))?))
}

/// `redis.error_reply(text)`
fn error_reply(lua: &Lua, args: Variadic<Argument>) -> mlua::Result<Table> {
    argument::taken(lua);
    let [Argument::Held(Value::String(text))] = &args[..] else { return wrong_arguments(lua) };
    let bytes = text.as_bytes();
    let text = c_string(&bytes);
    let text = text.strip_prefix(b"-").unwrap_or(text);
    // Without a code of its own it gets the general one.
    let (code, message) = match memchr::memchr(b' ', text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (&b"ERR"[..], text),
    };
    let is_newline = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = message.iter().position(|byte| !is_newline(byte)).unwrap_or(message.len());
    let end = message.iter().rposition(|byte| !is_newline(byte)).map_or(start, |last| last + 1);
    error::error_table(lua, &[code, &message[start..end]].join(&b' '))
}

/// `redis.status_reply(text)`
fn status_reply(lua: &Lua, args: Variadic<Argument>) -> mlua::Result<Table> {
    argument::taken(lua);
    let [Argument::Held(Value::String(text))] = &args[..] else { return wrong_arguments(lua) };
    let table = lua.create_table()?;
    table.raw_set("ok", text)?;
    Ok(table)
}

fn wrong_arguments(lua: &Lua) -> mlua::Result<Table> {
    error::error_table(lua, b"ERR wrong number or type of arguments")
}

/// `redis.setresp(2 | 3)`
fn set_resp(lua: &Lua, args: Variadic<Argument>) -> mlua::Result<()> {
    argument::taken(lua);
    if args.len() != 1 {
        return Err(Raised::reply("ERR redis.setresp() requires one argument."));
    }
    let protocol = match integer_of(args[0].value()) {
        Some(2) => Protocol::Resp2,
        Some(3) => Protocol::Resp3,
        _ => return Err(Raised::reply("ERR RESP version must be 2 or 3.")),
    };
    host::with(|host| host.set_protocol(protocol));
    Ok(())
}

/// `redis.set_repl(flags)`
fn set_repl(lua: &Lua, args: Variadic<Argument>) -> mlua::Result<()> {
    argument::taken(lua);
    if args.len() != 1 {
        return Err(Raised::reply("ERR redis.set_repl() requires two arguments."));
    }
    let Some(targets) = ReplicationTargets::from_bits(integer_of(args[0].value()).unwrap_or(0)) else {
        return Err(Raised::reply(
            "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        ));
    };
    host::with(|host| host.set_replication(targets));
    Ok(())
}

fn integer_of(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(n) => Some(*n),
        Value::Number(n) => Some(*n as i64),
        Value::String(text) => text.to_str().ok()?.trim().parse::<f64>().ok().map(|n| n as i64),
        _ => None,
    }
}

/// `math.random([m [, n]])`
fn draw(lua: &Lua, args: Variadic<Argument>) -> mlua::Result<f64> {
    argument::taken(lua);
    let draw = random::draw();
    let integer = |index: usize| integer_argument(lua, &args, index, "random");
    let refuse = |index: usize| {
        Raised::at_caller(lua, &format!("bad argument #{index} to 'random' (interval is empty)"))
    };
    match args.len() {
        0 => Ok(draw),
        1 => {
            let to = integer(0)?;
            if to < 1.0 { Err(refuse(1)) } else { Ok((draw * to).floor() + 1.0) }
        }
        2 => {
            let (from, to) = (integer(0)?, integer(1)?);
            if from > to { Err(refuse(2)) } else { Ok((draw * (to - from + 1.0)).floor() + from) }
        }
        _ => Err(Raised::at_caller(lua, "wrong number of arguments")),
    }
}

/// `math.randomseed(x)`
fn random_seed(lua: &Lua, args: Variadic<Argument>) -> mlua::Result<()> {
    argument::taken(lua);
    let seed = integer_argument(lua, &args, 0, "randomseed")?;
    random::seed(seed as i64 as i32);
    Ok(())
}

fn integer_argument(lua: &Lua, args: &[Argument], index: usize, function: &str) -> mlua::Result<f64> {
    let given = args.get(index).map(Argument::value);
    let number = match given {
        Some(Value::Integer(n)) => Some(*n as f64),
        Some(Value::Number(n)) => Some(*n),
        Some(Value::String(text)) => lua.coerce_number(Value::String(text.clone()))?,
        _ => None,
    };
    number.map(f64::trunc).ok_or_else(|| {
        let type_name = given.map_or("no value", Value::type_name);
        let place = index + 1;
        Raised::at_caller(
            lua,
            &format!("bad argument #{place} to '{function}' (number expected, got {type_name})"),
        )
    })
}
