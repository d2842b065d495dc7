//! EVAL and FCALL: scripts and functions run as one unit, as EXEC runs what was queued. Nobody comes between, time stands
//! still, and what their commands change reaches the replication log together; the script itself does not.

pub(super) mod cache;
pub mod debugging;
pub(super) mod functions;
mod host;

use std::sync::Arc;

use self::host::ScriptHost;
use super::connection::caller;
use super::dispatch;
use super::options::integer;
use super::spec::*;
use crate::base::hex::hex;
use crate::engine::client::ScriptDebugging;
use crate::engine::effects::Propagation;
use crate::engine::script_cache::{CachedScript, Stay};
use crate::engine::scripting::Running;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::scripting::{Failure, Interpreter, Returned, Runnable, ScriptFlags, ScriptHeader};

const SCRIPT: Flags = MOVABLE_KEYS | NOSCRIPT | SKIP_MONITOR | MAY_REPLICATE | NO_MANDATORY_KEYS | STALE;
const SCRIPT_RO: Flags = MOVABLE_KEYS | NOSCRIPT | SKIP_MONITOR | NO_MANDATORY_KEYS | STALE | READONLY;
const MAY_WRITE_KEYS: &str = "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE";
const MAY_READ_KEYS: &str = "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS";
const COMPLEXITY: &str = "Depends on the script that is executed.";

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::engine("eval", -3, SCRIPT, "scripting", eval)
        .runs(flags_of_body)
        .keys(&[KeySpec::counted(2, RW | ACCESS | UPDATE).noted(MAY_WRITE_KEYS)])
        .docs("2.6.0", COMPLEXITY, "Runs a script.", "script numkeys [key [key ...]] [arg [arg ...]]"),
    CommandSpec::engine("eval_ro", -3, SCRIPT_RO, "scripting", eval_ro)
        .runs(flags_of_body)
        .keys(&[KeySpec::counted(2, RO | ACCESS).noted(MAY_READ_KEYS)])
        .docs(
            "7.0.0",
            COMPLEXITY,
            "Runs a script that may not write.",
            "script numkeys [key [key ...]] [arg [arg ...]]",
        ),
    CommandSpec::engine("evalsha", -3, SCRIPT, "scripting", evalsha)
        .runs(flags_of_digest)
        .keys(&[KeySpec::counted(2, RW | ACCESS | UPDATE)])
        .docs(
            "2.6.0",
            COMPLEXITY,
            "Runs a cached script, named by its digest.",
            "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        ),
    CommandSpec::engine("evalsha_ro", -3, SCRIPT_RO, "scripting", evalsha_ro)
        .runs(flags_of_digest)
        .keys(&[KeySpec::counted(2, RO | ACCESS)])
        .docs(
            "7.0.0",
            COMPLEXITY,
            "Runs a cached script that may not write, named by its digest.",
            "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        ),
    CommandSpec::engine("fcall", -3, SCRIPT, "scripting", fcall)
        .runs(flags_of_function)
        .keys(&[KeySpec::counted(2, RW | ACCESS | UPDATE).noted(MAY_WRITE_KEYS)])
        .docs(
            "7.0.0",
            "Depends on the function that is executed.",
            "Runs a function of a library.",
            "function numkeys [key [key ...]] [arg [arg ...]]",
        ),
    CommandSpec::engine("fcall_ro", -3, SCRIPT_RO, "scripting", fcall_ro)
        .runs(flags_of_function)
        .keys(&[KeySpec::counted(2, RO | ACCESS).noted(MAY_READ_KEYS)])
        .docs(
            "7.0.0",
            "Depends on the function that is executed.",
            "Runs a function of a library that may not write.",
            "function numkeys [key [key ...]] [arg [arg ...]]",
        ),
];

/// What the script of an EVAL has declared.
fn flags_of_body(_: &mut Engine, args: &Args<'_>) -> Option<ScriptFlags> {
    ScriptHeader::read(args.bytes(1)).ok()?.flags
}

fn flags_of_digest(engine: &mut Engine, args: &Args<'_>) -> Option<ScriptFlags> {
    engine.scripting.scripts.get(&cache::parse_digest(args.bytes(1))?)?.script.flags
}

fn flags_of_function(engine: &mut Engine, args: &Args<'_>) -> Option<ScriptFlags> {
    Some(engine.function_table().ok()?.function(args.bytes(1))?.flags)
}

const NO_SCRIPT: ErrorReply = ErrorReply::fixed("NOSCRIPT No matching script. Please use EVAL.");
const STALE_UNDECLARED: ErrorReply = ErrorReply::fixed(
    "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not set on \
     the script.",
);
const WRITES_ON_REPLICA: ErrorReply =
    ErrorReply::fixed("READONLY Can not run script with write flag on readonly replica");
const WRITES_READ_ONLY: ErrorReply =
    ErrorReply::fixed("ERR Can not execute a script with write flag using *_ro command.");
const OOM_UNDECLARED: ErrorReply = ErrorReply::fixed(
    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
);
const KEYS_NEGATIVE: ErrorReply = ErrorReply::fixed("ERR Number of keys can't be negative");

/// `EVAL script numkeys [key [key ...]] [arg [arg ...]]`
fn eval(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    eval_body(engine, id, args, false)
}

/// `EVAL_RO script numkeys [key [key ...]] [arg [arg ...]]`
fn eval_ro(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    eval_body(engine, id, args, true)
}

fn eval_body(engine: &mut Engine, id: ClientId, args: &Args<'_>, is_read_only: bool) -> CommandResult {
    if caller(engine, id).script_debugging != ScriptDebugging::No {
        return debugging::step_through(engine, id, args, is_read_only);
    }
    show_to_monitors(engine, id, args);
    let keys = keys_len(args, integer(args.bytes(2))?)?;
    let cached = cache::compile(engine, args.bytes(1), Stay::Passing)?;
    run_script(engine, id, args, keys, &cached, is_read_only)
}

/// `EVALSHA sha1 numkeys [key [key ...]] [arg [arg ...]]`
fn evalsha(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    eval_digest(engine, id, args, false)
}

/// `EVALSHA_RO sha1 numkeys [key [key ...]] [arg [arg ...]]`
fn evalsha_ro(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    eval_digest(engine, id, args, true)
}

fn eval_digest(engine: &mut Engine, id: ClientId, args: &Args<'_>, is_read_only: bool) -> CommandResult {
    show_to_monitors(engine, id, args);
    let digest = cache::parse_digest(args.bytes(1)).ok_or(NO_SCRIPT)?;
    if caller(engine, id).script_debugging != ScriptDebugging::No {
        return Err(ErrorReply::fixed("ERR Please use EVAL instead of EVALSHA for debugging"));
    }
    let keys = keys_len(args, integer(args.bytes(2))?)?;
    let cached = engine.scripting.scripts.get(&digest).cloned().ok_or(NO_SCRIPT)?;
    run_script(engine, id, args, keys, &cached, is_read_only)
}

fn run_script(
    engine: &mut Engine,
    id: ClientId,
    args: &Args<'_>,
    keys: usize,
    cached: &Arc<CachedScript>,
    is_read_only: bool,
) -> CommandResult {
    engine.scripting.scripts.touch(&cached.digest);
    let bounds = Bounds::new(engine, id, cached.script.flags, is_read_only)?;
    let memory_bytes_max = engine.config_memory_max();
    let interpreter = engine.scripting.interpreter(memory_bytes_max)?;
    let unit = Unit { id, args, keys, bounds, interpreter: &interpreter, is_function: false };
    unit.run(
        engine,
        || hex(&cached.digest).into_bytes(),
        |host, keys, args| interpreter.run(host, cached.script.runnable(), keys, args),
    )
}

/// `FCALL function numkeys [key [key ...]] [arg [arg ...]]`
fn fcall(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    call_function(engine, id, args, false)
}

/// `FCALL_RO function numkeys [key [key ...]] [arg [arg ...]]`
fn fcall_ro(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    call_function(engine, id, args, true)
}

fn call_function(engine: &mut Engine, id: ClientId, args: &Args<'_>, is_read_only: bool) -> CommandResult {
    show_to_monitors(engine, id, args);
    let table = engine.function_table()?;
    let function = table.function(args.bytes(1)).ok_or(ErrorReply::fixed("ERR Function not found"))?;
    let (callback, flags, name) = (function.callback.clone(), function.flags, function.name.clone());
    let interpreter = table.interpreter().clone();
    let count = integer(args.bytes(2)).map_err(|_| ErrorReply::fixed("ERR Bad number of keys provided"))?;
    let keys = keys_len(args, count)?;
    let bounds = Bounds::new(engine, id, Some(flags), is_read_only)?;
    let unit = Unit { id, args, keys, bounds, interpreter: &interpreter, is_function: true };
    unit.run(
        engine,
        || name.clone(),
        |host, keys, args| interpreter.run(host, Runnable::Function(&callback), keys, args),
    )
}

/// Monitors read of a script before they read of its commands.
fn show_to_monitors(engine: &mut Engine, id: ClientId, args: &Args<'_>) {
    if engine.has_monitors() {
        engine.feed_monitors(id, args);
    }
}

/// How many of the arguments from the fourth on are keys.
fn keys_len(args: &Args<'_>, count: i64) -> Result<usize, ErrorReply> {
    let count = usize::try_from(count).map_err(|_| KEYS_NEGATIVE)?;
    if count > args.len() - 3 { Err(ErrorReply::TOO_MANY_KEYS) } else { Ok(count) }
}

/// What a script may do.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    is_read_only: bool,
    /// It may take memory where there is none.
    allows_oom: bool,
}

impl Bounds {
    /// What a script's flags let it do, or why it may not run at all. Scripts that declare nothing find out command by
    /// command.
    fn new(
        engine: &Engine,
        id: ClientId,
        flags: Option<ScriptFlags>,
        is_read_only: bool,
    ) -> Result<Self, ErrorReply> {
        let is_stale = engine.is_stale(id);
        let Some(flags) = flags else {
            return if is_stale {
                Err(ErrorReply::MASTER_DOWN)
            } else {
                Ok(Self { is_read_only, allows_oom: false })
            };
        };
        // Its flags have passed the gates; this is for a script that comes behind commands of the same EXEC.
        let has = |flag: ScriptFlags| flags & flag != 0;
        if is_stale && !has(ScriptHeader::ALLOW_STALE) {
            return Err(STALE_UNDECLARED);
        }
        let writes = !has(ScriptHeader::NO_WRITES);
        if writes {
            match engine.refusal_of_write(id) {
                Some(error) if error.code() == "READONLY" => return Err(WRITES_ON_REPLICA),
                // How many replicas there are is asked last.
                Some(error) if !is_read_only || error.code() != "NOREPLICAS" => return Err(error),
                _ if is_read_only => return Err(WRITES_READ_ONLY),
                _ => {}
            }
        }
        let allows_oom = !writes || has(ScriptHeader::ALLOW_OOM);
        if !allows_oom && engine.scripting.is_out_of_memory && !engine.must_obey(id) {
            return Err(OOM_UNDECLARED);
        }
        Ok(Self { is_read_only: !writes || is_read_only, allows_oom })
    }
}

/// One run of a script or function.
struct Unit<'a> {
    id: ClientId,
    args: &'a Args<'a>,
    keys: usize,
    bounds: Bounds,
    interpreter: &'a Interpreter,
    is_function: bool,
}

impl Unit<'_> {
    /// `run` has the interpreter run it, with its keys and arguments.
    fn run<'i>(
        self,
        engine: &mut Engine,
        name: impl Fn() -> Vec<u8>,
        run: impl FnOnce(&mut ScriptHost<'_>, Args<'_>, Args<'_>) -> Result<Returned<'i>, Failure>,
    ) -> CommandResult {
        if engine.scripting.running.is_some() {
            return Err(ErrorReply::fixed("ERR This Redis command is not allowed from script"));
        }
        let (keys, args) = (self.args.slice(3, self.keys), self.args.from(3 + self.keys));
        let started_nanos = engine.time.mark();
        engine.scripting.running = Some(Running {
            caller: self.id,
            is_function: self.is_function,
            name: Vec::new(),
            started_nanos,
            command: None,
            is_busy: false,
            is_killed: false,
            has_written: false,
        });
        self.interpreter.seed(engine.rng.u32(..));
        let mut host = ScriptHost::enter(engine, self.id, self.args, self.bounds, &name);
        let outcome = run(&mut host, keys, args);
        let script_protocol = host.leave();
        let is_killed = engine.scripting.running.take().is_some_and(|running| running.is_killed);
        if is_killed {
            self.interpreter.recover();
        }
        // Each command has accounted for itself.
        engine.effects.dirty = 0;
        engine.effects.propagation = Propagation::Replaced;
        engine.redacted_args.clear();
        match outcome {
            Ok(returned) => {
                let mut reply = caller(engine, self.id).reply();
                let written = returned
                    .write(&mut reply, script_protocol)
                    .map_err(|error| ErrorReply::new(format!("ERR Error running script: {error}")))?;
                for line in &written.uncounted_errors {
                    engine.stats.count_error(code_of(line));
                }
                if written.has_errors {
                    dispatch::note_failure(engine, self.id);
                }
            }
            Err(failure) => {
                let is_counted = matches!(failure, Failure::Raised { is_counted: true, .. });
                let line = failure.reply_line(&name());
                if !is_counted {
                    engine.stats.count_error(code_of(&line));
                }
                dispatch::note_failure(engine, self.id);
                caller(engine, self.id).reply().error_line(&line);
            }
        }
        Ok(Flow::Done)
    }
}

/// The first word of an error line.
fn code_of(line: &[u8]) -> &str {
    let code = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(code).unwrap_or("ERR")
}
