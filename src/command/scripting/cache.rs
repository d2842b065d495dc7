//! SCRIPT: the cache of scripts for EVAL, and how a running one is stopped.

use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::super::connection::caller;
use super::super::help;
use super::super::spec::*;
use crate::base::hex::hex;
use crate::engine::client::ScriptDebugging;
use crate::engine::script_cache::{CachedScript, ScriptDigest, Stay};
use crate::engine::{ClientId, Engine, Job, LogLevel};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

pub(in super::super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("script", "scripting").docs(
        "2.6.0",
        "Depends on subcommand.",
        "Groups the commands on scripts.",
        "",
    ),
    CommandSpec::engine("script|debug", 3, NOSCRIPT, "scripting", debug).docs(
        "3.2.0",
        "O(1)",
        "Sets the mode in which scripts are debugged.",
        "<YES | SYNC | NO>",
    ),
    CommandSpec::engine("script|exists", -3, NOSCRIPT, "scripting", exists).docs(
        "2.6.0",
        "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
        "Tells which scripts are cached.",
        "sha1 [sha1 ...]",
    ).tips(&["request_policy:all_shards", "response_policy:agg_logical_and"]),
    CommandSpec::engine("script|flush", -2, NOSCRIPT, "scripting", flush).docs(
        "2.6.0",
        "O(N) with N being the number of scripts in cache",
        "Forgets all cached scripts.",
        "[ASYNC | SYNC]",
    ).tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    CommandSpec::engine("script|help", 2, LOADING | STALE, "scripting", help_text).docs(
        "5.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
    CommandSpec::engine("script|kill", 2, NOSCRIPT | ALLOW_BUSY, "scripting", kill).docs(
        "2.6.0",
        "O(1)",
        "Stops the running script, if it has not written.",
        "",
    ).tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
    CommandSpec::engine("script|load", 3, NOSCRIPT | STALE, "scripting", load).docs(
        "2.6.0",
        "O(N) with N being the length in bytes of the script body.",
        "Caches a script without running it.",
        "script",
    ).tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
];

const NOT_BUSY: ErrorReply = ErrorReply::fixed("NOTBUSY No scripts in execution right now.");
const UNKILLABLE: ErrorReply = ErrorReply::fixed(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script \
     termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
);

/// Fewer are freed at once by Redis, and do not count as freed lazily.
const LAZY_OBJECTS: u64 = 64;

/// The script with this body, compiled now if it was not before.
pub(super) fn compile(engine: &mut Engine, body: &[u8], stay: Stay) -> Result<Arc<CachedScript>, ErrorReply> {
    if let Some(cached) = engine.scripting.scripts.with_body(body) {
        return Ok(cached.clone());
    }
    let memory_bytes_max = engine.config_memory_max();
    let interpreter = engine.scripting.interpreter(memory_bytes_max)?;
    let script = interpreter.compile_script(body)?;
    let cached = Arc::new(CachedScript { digest: Sha1::digest(body).into(), body: body.into(), script });
    let evicted = engine.scripting.scripts.insert(cached.clone(), stay);
    if evicted > 0 {
        engine.stats.evicted_scripts += evicted as u64;
        interpreter.clean();
    }
    Ok(cached)
}

/// 40 hexadecimal digits in any case.
pub(super) fn parse_digest(text: &[u8]) -> Option<ScriptDigest> {
    if text.len() != 40 {
        return None;
    }
    let mut digest = ScriptDigest::default();
    for (byte, digits) in digest.iter_mut().zip(text.chunks(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(digest)
}

/// `SCRIPT LOAD script`
fn load(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let cached = compile(engine, args.bytes(2), Stay::Kept)?;
    engine.scripting.scripts.keep(&cached.digest);
    caller(engine, id).reply().bulk(hex(&cached.digest));
    Ok(Flow::Done)
}

/// `SCRIPT EXISTS sha1 [sha1 ...]`
fn exists(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let are_there: Vec<bool> = args
        .from(2)
        .iter()
        .map(|text| parse_digest(text).is_some_and(|digest| engine.scripting.scripts.get(&digest).is_some()))
        .collect();
    let mut reply = caller(engine, id).reply();
    reply.array(are_there.len());
    for is_there in are_there {
        reply.integer(i64::from(is_there));
    }
    Ok(Flow::Done)
}

/// `SCRIPT FLUSH [ASYNC | SYNC]`
fn flush(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let is_async = match args.get(2) {
        None => engine.config.lazyfree_lazy_user_flush,
        Some(mode) if args.len() == 3 && mode.eq_ignore_ascii_case(b"async") => true,
        Some(mode) if args.len() == 3 && mode.eq_ignore_ascii_case(b"sync") => false,
        Some(_) => return Err(ErrorReply::fixed("ERR SCRIPT FLUSH only support SYNC|ASYNC option")),
    };
    let objects = engine.scripting.scripts.len() as u64;
    let forgotten = engine.scripting.forget_scripts();
    if is_async {
        free_later(engine, objects, forgotten);
    }
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

/// Has scripts or functions freed by another thread, and counted as Redis counts: when there are more than a few.
pub(super) fn free_later(engine: &mut Engine, objects: u64, garbage: impl Send + 'static) {
    let objects = if objects > LAZY_OBJECTS { objects } else { 0 };
    engine.lazyfree.hand_out(objects, 0);
    engine.jobs.push(Job::FreeElse { garbage: Box::new(garbage), objects });
}

/// `SCRIPT KILL`
fn kill(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    kill_running(engine, id, false)
}

/// Stops the script or function that runs, unless it has written.
pub(super) fn kill_running(engine: &mut Engine, id: ClientId, is_function: bool) -> CommandResult {
    let busy = engine.scripting.busy_error();
    let Some(running) = &mut engine.scripting.running else { return Err(NOT_BUSY) };
    if running.is_function != is_function {
        return Err(busy.unwrap_or(NOT_BUSY));
    }
    if running.has_written {
        return Err(UNKILLABLE);
    }
    running.is_killed = true;
    engine.log(LogLevel::Notice, "Lua script killed by user with SCRIPT KILL.");
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

/// `SCRIPT DEBUG <YES | SYNC | NO>`
fn debug(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let client = caller(engine, id);
    if !client.out.is_empty() || !client.long_replies.is_empty() {
        return Err(ErrorReply::fixed("ERR SCRIPT DEBUG must be called outside a pipeline"));
    }
    client.script_debugging = match args.bytes(2) {
        mode if mode.eq_ignore_ascii_case(b"no") => ScriptDebugging::No,
        mode if mode.eq_ignore_ascii_case(b"yes") => ScriptDebugging::Apart,
        mode if mode.eq_ignore_ascii_case(b"sync") => ScriptDebugging::Sync,
        _ => return Err(ErrorReply::fixed("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    };
    client.reply().ok();
    Ok(Flow::Done)
}

/// `SCRIPT HELP`
fn help_text(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    help::answer(
        engine,
        id,
        "SCRIPT",
        &[
            (
                "DEBUG (YES|SYNC|NO)",
                &[
                    "Have the scripts of EVAL stepped through: YES on a copy of the data, SYNC on the data itself while",
                    "all others wait.",
                ],
            ),
            ("EXISTS <sha1> [<sha1> ...]", &["Tell which of the scripts are cached."]),
            ("FLUSH [ASYNC|SYNC]", &["Forget all cached scripts."]),
            ("KILL", &["Stop the script that is running, if it has not written."]),
            ("LOAD <script>", &["Cache a script without running it."]),
        ],
    );
    Ok(Flow::Done)
}
