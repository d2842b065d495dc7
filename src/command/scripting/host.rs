//! The server as a script sees it: `redis.call` runs a command through the dispatcher, in the caller's name.

use super::super::connection::caller;
use super::super::dispatch;
use super::super::spec::*;
use super::super::table::{Lookup, TABLE};
use super::Bounds;
use crate::engine::gates::Demands;
use crate::engine::{ClientId, Engine, LogLevel};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::{Protocol, Reply};
use crate::scripting::{Called, FunctionSpec, Host, ReplicationTargets, ScriptLogLevel};

const UNKNOWN: ErrorReply = ErrorReply::fixed("ERR Unknown Redis command called from script");
const ARITY: ErrorReply = ErrorReply::fixed("ERR Wrong number of args calling Redis command from script");
const NOT_ALLOWED: ErrorReply = ErrorReply::fixed("ERR This Redis command is not allowed from script");
const READ_ONLY_SCRIPT: ErrorReply =
    ErrorReply::fixed("ERR Write commands are not allowed from read-only scripts.");
const STALE_REPLICA: ErrorReply = ErrorReply::fixed("ERR Can not execute the command on a stale replica");
/// A script is long after its first moments, and so is a command.
const LONG_NANOS: u64 = 1_000_000;
const KILLED: &str = "ERR Script killed by user with SCRIPT KILL...";

/// Lent to the interpreter for one run. While it is, the caller's output is put aside: what its commands reply goes to the
/// script.
pub(super) struct ScriptHost<'a> {
    engine: &'a mut Engine,
    id: ClientId,
    request: &'a Args<'a>,
    name: &'a dyn Fn() -> Vec<u8>,
    bounds: Bounds,
    targets: ReplicationTargets,
    /// Of the caller, to be restored.
    out: Vec<u8>,
    protocol: Protocol,
    db_index: usize,
}

impl<'a> ScriptHost<'a> {
    pub fn enter(
        engine: &'a mut Engine,
        id: ClientId,
        request: &'a Args<'a>,
        bounds: Bounds,
        name: &'a dyn Fn() -> Vec<u8>,
    ) -> Self {
        engine.nesting += 1;
        let client = caller(engine, id);
        let out = std::mem::take(&mut client.out);
        let protocol = std::mem::replace(&mut client.protocol, Protocol::Resp2);
        client.protocol_of_connection = Some(protocol);
        let db_index = client.db_index;
        Self { engine, id, request, name, bounds, targets: ReplicationTargets::ALL, out, protocol, db_index }
    }

    /// Gives the caller its own back; answers the protocol that the script has chosen.
    pub fn leave(self) -> Protocol {
        let client = caller(self.engine, self.id);
        client.out = self.out;
        let script_protocol = std::mem::replace(&mut client.protocol, self.protocol);
        client.protocol_of_connection = None;
        client.db_index = self.db_index;
        self.engine.nesting -= 1;
        script_protocol
    }

    /// The gates that a script's command passes.
    fn admit(&mut self, lookup: Lookup, args: &Args<'_>) -> Result<(&'static CommandSpec, u16), ErrorReply> {
        let Lookup::Found(index) = lookup else { return Err(UNKNOWN) };
        let row = TABLE.row(index);
        let admitted = self.admit_row(row, args);
        if admitted.is_err() {
            self.engine.stats.commands[usize::from(index)].rejected += 1;
        }
        admitted.map(|()| (row, index))
    }

    fn admit_row(&mut self, row: &CommandSpec, args: &Args<'_>) -> Result<(), ErrorReply> {
        if !row.accepts_arity(args.len()) {
            return Err(ARITY);
        }
        if row.has(NOSCRIPT) && !self.engine.scripting.allows_everything {
            return Err(NOT_ALLOWED);
        }
        if self.engine.is_stale(self.id) && !row.has(STALE) {
            return Err(STALE_REPLICA);
        }
        let has_written = self.engine.scripting.running.as_ref().is_some_and(|running| running.has_written);
        let demands = Demands {
            // A script that has begun to write is not to be stopped half way by what the server's state has become.
            is_write: row.has(WRITE) && !has_written,
            asks_for_health: false,
            may_replicate: row.has(MAY_REPLICATE) && !has_written,
            allowed_while_loading: true,
            allowed_when_stale: true,
            // Half of a script is worse than a little too much memory.
            is_out_of_memory: row.has(DENYOOM)
                && !self.bounds.allows_oom
                && !has_written
                && self.engine.scripting.is_out_of_memory,
        };
        if (row.has(WRITE) || row.has(MAY_REPLICATE)) && self.bounds.is_read_only {
            return Err(READ_ONLY_SCRIPT);
        }
        if let Some(error) = self.engine.refusal(self.id, demands) {
            return Err(error);
        }
        if row.has(WRITE)
            && let Some(running) = &mut self.engine.scripting.running
        {
            running.has_written = true;
        }
        Ok(())
    }

    /// Tells everybody that the script is slow.
    fn become_busy(&mut self, elapsed_ms: u64) {
        let name = (self.name)();
        let shown = String::from_utf8_lossy(&name).into_owned();
        self.engine.log(
            LogLevel::Warning,
            format!(
                "Slow script detected: still in execution after {elapsed_ms} milliseconds. You can try killing the \
                 script using the SCRIPT KILL or FUNCTION KILL command. Script name is: {shown}."
            ),
        );
        if let Some(running) = &mut self.engine.scripting.running {
            running.is_busy = true;
            running.name = name;
            running.command = Some(self.request.to_owned());
        }
    }
}

impl Host for ScriptHost<'_> {
    fn call(&mut self, args: &Args<'_>, reply: &mut Vec<u8>) -> Called {
        reply.clear();
        let begun = self.engine.time.mark();
        std::mem::swap(&mut caller(self.engine, self.id).out, reply);
        let lookup = TABLE.lookup(args);
        let renamed = TABLE.in_original_name(lookup, args);
        let called = match self.admit(lookup, args) {
            Ok((row, index)) => {
                let args = renamed.as_ref().map_or(*args, |renamed| renamed.as_args());
                self.engine.effects.targets = self.targets;
                dispatch::call(self.engine, self.id, row, index, &args);
                self.engine.effects.targets = ReplicationTargets::ALL;
                // From the end of the command before it, which is the last time that a clock was read.
                let took = self.engine.time.mark().saturating_sub(begun);
                if took > LONG_NANOS { Called::RunForLong } else { Called::Run }
            }
            Err(error) => {
                self.engine.stats.count_error(error.code());
                let client = caller(self.engine, self.id);
                Reply::new(&mut client.out, client.protocol).error(&error);
                Called::Refused
            }
        };
        std::mem::swap(&mut caller(self.engine, self.id).out, reply);
        called
    }

    fn set_protocol(&mut self, protocol: Protocol) {
        caller(self.engine, self.id).protocol = protocol;
    }

    fn set_replication(&mut self, targets: ReplicationTargets) {
        self.targets = targets;
    }

    fn log(&mut self, level: ScriptLogLevel, text: &[u8]) {
        self.engine.log_of_script(level, text);
    }

    fn may_run(&mut self, args: &Args<'_>) -> Option<bool> {
        matches!(TABLE.lookup(args), Lookup::Found(_)).then_some(true)
    }

    fn nanos(&self) -> u64 {
        self.engine.time.monotonic_nanos()
    }

    fn attend(&mut self) -> Result<(), &'static str> {
        let engine = &mut *self.engine;
        let threshold_ms = engine.config.busy_reply_threshold;
        let Some(running) = &engine.scripting.running else { return Ok(()) };
        let is_busy = running.is_busy;
        let elapsed_nanos = engine.time.monotonic_nanos().saturating_sub(running.started_nanos);
        if elapsed_nanos < LONG_NANOS {
            return Ok(());
        }
        if let Some(attendant) = &engine.scripting.attendant {
            attendant.expect_long();
        }
        let elapsed_ms = elapsed_nanos / 1_000_000;
        if !is_busy {
            if threshold_ms == 0 || elapsed_ms < threshold_ms {
                return Ok(());
            }
            self.become_busy(elapsed_ms);
            if let Some(attendant) = &self.engine.scripting.attendant {
                attendant.begin();
            }
        }
        dispatch::attend_others(self.engine);
        match &self.engine.scripting.running {
            Some(running) if running.is_killed => Err(KILLED),
            _ => Ok(()),
        }
    }

    fn register(&mut self, _: FunctionSpec) -> Result<(), &'static str> {
        Err("ERR redis.register_function can only be called on FUNCTION LOAD command")
    }
}
