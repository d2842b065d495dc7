//! FUNCTION: the libraries, and how a running function is stopped.

use super::super::connection::caller;
use super::super::help;
use super::super::spec::*;
use super::cache::{free_later, kill_running};
use crate::base::glob;
use crate::engine::effects::Propagation;
use crate::engine::{ClientId, Engine};
use crate::persistence::rdb;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::scripting::FLAG_NAMES;

pub(in super::super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("function", "scripting").docs(
        "7.0.0",
        "Depends on subcommand.",
        "Groups the commands on functions.",
        "",
    ),
    CommandSpec::engine("function|delete", 3, NOSCRIPT | WRITE, "scripting", delete)
        .docs("7.0.0", "O(1)", "Deletes a library with its functions.", "library-name")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    CommandSpec::engine("function|dump", 2, NOSCRIPT, "scripting", dump).docs(
        "7.0.0",
        "O(N) where N is the number of functions",
        "Answers all libraries in one payload.",
        "",
    ),
    CommandSpec::engine("function|flush", -2, NOSCRIPT | WRITE, "scripting", flush)
        .docs(
            "7.0.0",
            "O(N) where N is the number of functions deleted",
            "Deletes all libraries and functions.",
            "[ASYNC | SYNC]",
        )
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    CommandSpec::engine("function|help", 2, LOADING | STALE, "scripting", help_text).docs(
        "7.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
    CommandSpec::engine("function|kill", 2, NOSCRIPT | ALLOW_BUSY, "scripting", kill)
        .docs("7.0.0", "O(1)", "Stops the running function, if it has not written.", "")
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
    CommandSpec::engine("function|list", -2, NOSCRIPT, "scripting", list)
        .docs(
            "7.0.0",
            "O(N) where N is the number of functions",
            "Lists the libraries with their functions.",
            "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        )
        .tips(&["nondeterministic_output_order"]),
    CommandSpec::engine("function|load", -3, NOSCRIPT | WRITE | DENYOOM, "scripting", load)
        .docs(
            "7.0.0",
            "O(1) (considering compilation time is redundant)",
            "Loads a library.",
            "[REPLACE] function-code",
        )
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    CommandSpec::engine("function|restore", -3, NOSCRIPT | WRITE | DENYOOM, "scripting", restore)
        .docs(
            "7.0.0",
            "O(N) where N is the number of functions on the payload",
            "Loads libraries from a payload.",
            "serialized-value [FLUSH | APPEND | REPLACE]",
        )
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    CommandSpec::engine("function|stats", 2, NOSCRIPT | ALLOW_BUSY, "scripting", stats)
        .docs("7.0.0", "O(1)", "Shows the function that runs and the engines there are.", "")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
];

/// Says that the libraries have changed: that is a change of the data set, and goes to replicas as it came.
fn changed(engine: &mut Engine) {
    engine.effects.dirty += 1;
    engine.effects.propagation = Propagation::Forced;
}

/// `FUNCTION LOAD [REPLACE] function-code`
fn load(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let mut replaces = false;
    for at in 2..args.len() - 1 {
        if !args.is(at, "REPLACE") {
            let option = String::from_utf8_lossy(args.bytes(at));
            return Err(ErrorReply::new(format!("ERR Unknown option given: {option}")));
        }
        replaces = true;
    }
    let name = engine.load_library(args.bytes(args.len() - 1), replaces)?;
    changed(engine);
    caller(engine, id).reply().bulk(name);
    Ok(Flow::Done)
}

/// `FUNCTION DELETE library-name`
fn delete(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if !engine.delete_library(args.bytes(2))? {
        return Err(ErrorReply::fixed("ERR Library not found"));
    }
    changed(engine);
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

/// `FUNCTION FLUSH [ASYNC | SYNC]`
fn flush(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let is_async = match args.get(2) {
        _ if args.len() > 3 => return Err(ErrorReply::subcommand_syntax("FUNCTION", args.bytes(1))),
        None => engine.config.lazyfree_lazy_user_flush,
        Some(mode) if mode.eq_ignore_ascii_case(b"async") => true,
        Some(mode) if mode.eq_ignore_ascii_case(b"sync") => false,
        Some(_) => return Err(ErrorReply::fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
    };
    // The state of Lua is one more.
    let objects = engine.scripting.functions_len() as u64 + 1;
    let forgotten = engine.forget_libraries();
    if is_async {
        free_later(engine, objects, forgotten);
    }
    changed(engine);
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

/// `FUNCTION KILL`
fn kill(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    kill_running(engine, id, true)
}

/// `FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]`
fn list(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let (mut pattern, mut with_code) = (None, false);
    let mut words = args.from(2).iter();
    while let Some(word) = words.next() {
        if !with_code && word.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"libraryname") {
            pattern = Some(words.next().ok_or(ErrorReply::fixed("ERR library name argument was not given"))?);
        } else {
            return Err(ErrorReply::new(format!("ERR Unknown argument {}", String::from_utf8_lossy(word))));
        }
    }
    engine.function_table()?;
    let Engine { clients, scripting, .. } = engine;
    let (Some(client), Some(table)) = (clients.get_mut(id), scripting.function_table()) else {
        return Ok(Flow::Done);
    };
    let mut reply = client.reply();
    let array = reply.defer();
    let mut len = 0;
    for library in table.libraries() {
        if pattern.is_some_and(|pattern| !glob::matches(pattern, &library.name, glob::Case::Insensitive)) {
            continue;
        }
        len += 1;
        reply.map(if with_code { 4 } else { 3 });
        reply.bulk("library_name");
        reply.bulk(&library.name);
        reply.bulk("engine");
        reply.bulk("LUA");
        reply.bulk("functions");
        reply.array(library.functions.len());
        for function in &library.functions {
            reply.map(3);
            reply.bulk("name");
            reply.bulk(&function.name);
            reply.bulk("description");
            match &function.description {
                Some(description) => reply.bulk(description),
                None => reply.null(),
            }
            reply.bulk("flags");
            let flags = FLAG_NAMES.iter().filter(|(flag, _)| function.flags & flag != 0);
            reply.set(flags.clone().count());
            flags.for_each(|(_, name)| reply.simple(name));
        }
        if with_code {
            reply.bulk("library_code");
            reply.bulk(&library.code);
        }
    }
    reply.end_array(array, len);
    Ok(Flow::Done)
}

/// `FUNCTION DUMP`
fn dump(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let libraries = engine.libraries();
    let payload = rdb::dump_functions(libraries.values().map(|code| &code[..]));
    caller(engine, id).reply().bulk(payload);
    Ok(Flow::Done)
}

/// What happens to the libraries at hand when others are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RestorePolicy {
    Flush,
    Append,
    Replace,
}

/// `FUNCTION RESTORE serialized-value [FLUSH | APPEND | REPLACE]`
fn restore(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if args.len() > 4 {
        return Err(ErrorReply::subcommand_syntax("FUNCTION", args.bytes(1)));
    }
    let policy = match args.get(3) {
        None => RestorePolicy::Append,
        Some(word) if word.eq_ignore_ascii_case(b"append") => RestorePolicy::Append,
        Some(word) if word.eq_ignore_ascii_case(b"replace") => RestorePolicy::Replace,
        Some(word) if word.eq_ignore_ascii_case(b"flush") => RestorePolicy::Flush,
        Some(_) => {
            return Err(ErrorReply::fixed(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let body = rdb::verify_dump_payload(args.bytes(2)).ok_or(ErrorReply::DUMP_PAYLOAD)?;
    let codes = rdb::read_functions(body)
        .map_err(|_| ErrorReply::fixed("ERR failed loading functions from the payload"))?;
    let before = engine.libraries();
    if policy == RestorePolicy::Flush {
        drop(engine.forget_libraries());
    }
    for code in codes {
        if let Err(error) = engine.load_library(&code, policy == RestorePolicy::Replace) {
            // All or nothing.
            engine.replace_libraries(before);
            return Err(restore_error(&error));
        }
    }
    changed(engine);
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

/// RESTORE says without quotes what LOAD says with them.
fn restore_error(error: &ErrorReply) -> ErrorReply {
    let text = String::from_utf8_lossy(error.as_bytes());
    match text.strip_prefix("ERR Library '").and_then(|rest| rest.strip_suffix("' already exists")) {
        Some(name) => ErrorReply::new(format!("ERR Library {name} already exists")),
        None => error.clone(),
    }
}

/// `FUNCTION STATS`
fn stats(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let busy = engine.scripting.busy_error();
    if engine.scripting.running.as_ref().is_some_and(|running| !running.is_function) {
        // The other kind of scripts is none of its business.
        return Err(busy.unwrap_or(ErrorReply::SYNTAX));
    }
    let now = engine.time.monotonic_nanos();
    let libraries = engine.keyspace.libraries.len();
    if engine.scripting.running.is_none() {
        engine.function_table()?;
    }
    let functions = engine.scripting.functions_len();
    let Engine { clients, scripting, .. } = engine;
    let Some(client) = clients.get_mut(id) else { return Ok(Flow::Done) };
    let mut reply = client.reply();
    reply.map(2);
    reply.bulk("running_script");
    match &scripting.running {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.bulk("name");
            reply.bulk(&running.name);
            reply.bulk("command");
            let words: Vec<&[u8]> =
                running.command.as_ref().map(|args| args.as_args().iter().collect()).unwrap_or_default();
            reply.array(words.len());
            words.iter().for_each(|word| reply.bulk(word));
            reply.bulk("duration_ms");
            reply.integer((now.saturating_sub(running.started_nanos) / 1_000_000) as i64);
        }
    }
    reply.bulk("engines");
    reply.map(1);
    reply.bulk("LUA");
    reply.map(2);
    reply.bulk("libraries_count");
    reply.integer(libraries as i64);
    reply.bulk("functions_count");
    reply.integer(functions as i64);
    Ok(Flow::Done)
}

/// `FUNCTION HELP`
fn help_text(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    help::answer(
        engine,
        id,
        "FUNCTION",
        &[
            ("DELETE <LIBRARY NAME>", &["Delete a library."]),
            ("DUMP", &["Return all libraries in one payload for RESTORE."]),
            ("FLUSH [ASYNC|SYNC]", &["Delete all the libraries."]),
            ("KILL", &["Stop the function that is running, if it has not written."]),
            ("LIST [LIBRARYNAME PATTERN] [WITHCODE]", &["Return the libraries and their functions."]),
            ("LOAD [REPLACE] <FUNCTION CODE>", &["Load a library."]),
            (
                "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
                &[
                    "Load the libraries of a payload. What is there is deleted, kept (the default) or replaced.",
                ],
            ),
            ("STATS", &["Return the function that is running and the engines there are."]),
        ],
    );
    Ok(Flow::Done)
}
