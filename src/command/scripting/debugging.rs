//! EVAL after SCRIPT DEBUG: the script is stepped through by its client.
//!
//! Its connection takes the request out of the engine ([`step_through`] leaves it there) and lends itself as the console of
//! [`run_session`], in the engine or in another one beside it.

use std::rc::Rc;

use sha1::{Digest, Sha1};

use super::super::connection::caller;
use super::super::dispatch;
use super::super::options::integer;
use super::super::spec::*;
use super::super::table::TABLE;
use super::{Bounds, Unit, keys_len};
use crate::base::hex::hex;
use crate::engine::client::Closing;
use crate::engine::{ClientId, Engine, LogLevel};
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::error::ErrorReply;
use crate::scripting::{Console, Debugger, Flavor, Interpreter};

const IN_TRANSACTION: ErrorReply = ErrorReply::fixed("ERR scripts cannot be debugged inside a transaction");
/// How long a script runs before it is stopped, if `busy-reply-threshold` does not say.
const SLOW_MS: u64 = 5000;

/// Runs the request of a client that debugs its scripts, and tells it the outcome.
pub fn run_session(engine: &mut Engine, id: ClientId, request: &OwnedArgs, console: Box<dyn Console>) {
    engine.scripting.console = Some(console);
    let args = request.as_args();
    dispatch::execute(engine, id, TABLE.lookup(&args), &args);
    let console = engine.scripting.console.take();
    let Some(client) = engine.clients.get_mut(id) else { return };
    client.closing = Closing::AfterReplies;
    let mut reply = client.long_replies.drain(..).collect::<Vec<_>>().concat();
    let mut out = Vec::new();
    client.swap_output(&mut out);
    reply.extend_from_slice(&out);
    if let Some(mut console) = console {
        console.send(&reply);
    }
}

/// EVAL of such a client: runs it if its console is there, otherwise leaves the request for who brings one.
pub(super) fn step_through(
    engine: &mut Engine,
    id: ClientId,
    args: &Args<'_>,
    is_read_only: bool,
) -> CommandResult {
    let client = caller(engine, id);
    if client.is_executing_transaction {
        return Err(IN_TRANSACTION);
    }
    let Some(console) = engine.scripting.console.take() else {
        caller(engine, id).debug_request = Some(args.to_owned());
        return Ok(Flow::Done);
    };
    super::show_to_monitors(engine, id, args);
    let slow_ms = match engine.config.busy_reply_threshold {
        0 => SLOW_MS,
        threshold_ms => threshold_ms,
    };
    let debugger = Rc::new(Debugger::new(console, args.bytes(1), slow_ms * 1_000_000));
    engine.log(LogLevel::Warning, "a debugging session of a script has started");
    let outcome = run(engine, id, args, is_read_only, &debugger);
    debugger.end();
    engine.scripting.console = Rc::into_inner(debugger).map(Debugger::into_console);
    engine.log(LogLevel::Warning, "a debugging session of a script has ended");
    outcome
}

/// Runs the script in an interpreter of its own, so that stopping it needs to be nobody else's concern.
fn run(
    engine: &mut Engine,
    id: ClientId,
    args: &Args<'_>,
    is_read_only: bool,
    debugger: &Rc<Debugger>,
) -> CommandResult {
    let keys = keys_len(args, integer(args.bytes(2))?)?;
    let interpreter = Interpreter::new(Flavor::Eval, engine.config_memory_max())
        .map_err(|_| ErrorReply::fixed("ERR the script engine cannot be started"))?;
    let script = interpreter.compile_script(args.bytes(1))?;
    let bounds = Bounds::new(engine, id, script.flags, is_read_only)?;
    let digest = Sha1::digest(args.bytes(1));
    let unit = Unit { id, args, keys, bounds, interpreter: &interpreter, is_function: false };
    unit.run(
        engine,
        || hex(&digest).into_bytes(),
        |host, keys, args| interpreter.debug(debugger, host, &script, keys, args),
    )
}
