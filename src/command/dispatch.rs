//! From a request to its reply and all its consequences: the gates in their fixed order, the handler, and one function
//! that draws what follows (WATCH, blocked clients, notifications, dirty count, the effect into the replication log).
//!
//! The order of the gates is observable and must not change. Nobody here asks "which command is this?", only for flags.

use super::context::Ctx;
use super::spec::*;
use super::table::{Lookup, TABLE};
use crate::engine::blocked::{BlockedOn, BlockedState};
use crate::engine::client::{Closing, QueuedCommand, ReplyMode};
use crate::engine::effects::Propagation;
use crate::engine::gates::Demands;
use crate::engine::latency;
use crate::engine::{ClientId, Engine, Job, TimeoutReply};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::live::ExpiryPolicy;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    /// Its reply, if it has one, is in the client's output buffer.
    Done,
    /// The client is blocked; requests behind this one wait until it is not.
    Blocked,
    /// It was not run: the client is paused, and the same request is to be handed in again.
    Postponed,
}

/// Runs one request of a client.
pub fn execute(engine: &mut Engine, id: ClientId, lookup: Lookup, args: &Args<'_>) -> Executed {
    let Some(client) = engine.clients.get_mut(id) else { return Executed::Done };
    if client.reply_mode == ReplyMode::SkipNext {
        client.reply_mode = ReplyMode::Skip;
    }
    let start = client.out.len();
    let mutes = client.reply_mode != ReplyMode::On;

    let executed = match admit(engine, id, lookup, args) {
        Ok(Admission::Run(row, index)) => run(engine, id, row, index, args),
        Ok(Admission::Queued) => Executed::Done,
        Ok(Admission::Postponed) => return Executed::Postponed,
        Err(error) => {
            reject(engine, id, lookup, &error);
            Executed::Done
        }
    };

    if let Some(client) = engine.clients.get_mut(id) {
        if mutes && client.reply_mode != ReplyMode::On {
            client.out.truncate(start);
        }
        if client.reply_mode == ReplyMode::Skip {
            client.reply_mode = ReplyMode::On;
        }
    }
    executed
}

enum Admission {
    Run(&'static CommandSpec, u16),
    Queued,
    Postponed,
}

/// Passes a request through the gates.
fn admit(
    engine: &mut Engine,
    id: ClientId,
    lookup: Lookup,
    args: &Args<'_>,
) -> Result<Admission, ErrorReply> {
    let row = TABLE.resolve(lookup, args)?;
    let Lookup::Found(index) = lookup else { unreachable!("only a found command resolves") };
    let client = engine.clients.get(id).expect("the caller has found the client");

    if row.has(PROTECTED) && !engine.allows_protected(row.name, client) {
        return Err(ErrorReply::new(format!(
            "ERR {} command not allowed. If the enable-{}-command option is set to \"local\", you can run it from a \
             local connection, otherwise you need to set this option in the configuration file, and then restart \
             the server.",
            row.name.to_ascii_uppercase(),
            row.name,
        )));
    }
    if !client.is_authenticated && !row.has(NO_AUTH) {
        return Err(ErrorReply::NO_AUTH);
    }
    let queueing = client.transaction.is_some() && !row.has(NOT_QUEUED);
    if queueing && row.has(NO_MULTI) {
        return Err(ErrorReply::NOT_ALLOWED_IN_MULTI);
    }
    if let Some(error) = engine.refusal(id, demands(row)) {
        return Err(error);
    }
    if client.is_in_subscriber_mode() && !row.has(SUBSCRIBER) {
        return Err(ErrorReply::new(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context",
            row.name,
        )));
    }
    if engine.must_wait_for_pause(id, row.has(WRITE) || row.has(MAY_REPLICATE)) {
        let state = BlockedState { on: BlockedOn::Pause, deadline: None, on_timeout: TimeoutReply::Nothing };
        engine.blocked.block(&mut engine.clients, id, state);
        return Ok(Admission::Postponed);
    }
    if queueing {
        queue(engine, id, row, index, args);
        return Ok(Admission::Queued);
    }
    Ok(Admission::Run(row, index))
}

/// What a row asks of the server's state.
fn demands(row: &CommandSpec) -> Demands {
    Demands {
        is_write: row.has(WRITE),
        may_replicate: row.has(MAY_REPLICATE),
        allowed_while_loading: row.has(LOADING),
        allowed_when_stale: row.has(STALE),
        denied_when_out_of_memory: row.has(DENYOOM),
    }
}

/// Keeps a command for EXEC.
fn queue(engine: &mut Engine, id: ClientId, row: &CommandSpec, index: u16, args: &Args<'_>) {
    let client = engine.clients.get_mut(id).expect("the client that queues is there");
    if let Some(transaction) = &mut client.transaction {
        transaction.has_write |= row.has(WRITE) || row.has(MAY_REPLICATE);
        // After a refused command nothing that follows will run, so nothing is kept.
        if !transaction.is_aborted {
            transaction.queued.push(QueuedCommand { command: usize::from(index), args: args.to_owned() });
        }
    }
    client.reply().simple("QUEUED");
}

/// Answers a request that a gate has refused. Inside MULTI it spoils the transaction.
fn reject(engine: &mut Engine, id: ClientId, lookup: Lookup, error: &ErrorReply) {
    if let Lookup::Found(index) = lookup {
        engine.stats.commands[usize::from(index)].rejected += 1;
    }
    engine.stats.count_error(error.code());
    if let Some(client) = engine.clients.get_mut(id) {
        if let Some(transaction) = &mut client.transaction {
            transaction.is_aborted = true;
        }
        client.reply().error(error);
    }
}

/// Runs a command that is a unit of its own, and serves those who waited for its effects.
fn run(
    engine: &mut Engine,
    id: ClientId,
    row: &'static CommandSpec,
    index: u16,
    args: &Args<'_>,
) -> Executed {
    let blocked = call(engine, id, row, index, args);
    end_unit(engine, Some(id));
    if engine.blocked.has_ready() {
        serve_blocked(engine);
    }
    if blocked { Executed::Blocked } else { Executed::Done }
}

/// Runs a handler and draws the consequences, as a part of the current unit. Whether the client is blocked now.
///
/// EXEC and scripts call this for each of their commands; there a command that would block reads its timeout's reply.
pub fn call(
    engine: &mut Engine,
    id: ClientId,
    row: &'static CommandSpec,
    index: u16,
    args: &Args<'_>,
) -> bool {
    let Some(client) = engine.clients.get_mut(id) else { return false };
    let db_index = client.db_index;
    let mark = client.out.len();
    client.last_command = row.name;
    engine.effects.dirty = 0;
    engine.effects.propagation = Propagation::default();
    if engine.has_monitors() && !row.has(SKIP_MONITOR) && !row.has(ADMIN) {
        engine.feed_monitors(id, db_index, args);
    }
    let expiry = engine.expiry_policy_for(id);
    let result = invoke(engine, id, row, db_index, expiry, args);
    let blocked = settle(engine, id, index, mark, result, args);
    conclude(engine, db_index, args);
    finish_timing(engine, id, row, index, args);
    blocked
}

fn invoke(
    engine: &mut Engine,
    id: ClientId,
    row: &'static CommandSpec,
    db_index: usize,
    expiry: ExpiryPolicy,
    args: &Args<'_>,
) -> CommandResult {
    match row.handler {
        Handler::Data(handler) => match Ctx::new(engine, id, db_index, expiry) {
            Some(mut ctx) => handler(&mut ctx, args),
            None => Ok(Flow::Done),
        },
        Handler::Engine(handler) => handler(engine, id, args),
        Handler::Container => Err(ErrorReply::wrong_arity(row.name)),
    }
}

/// Turns a handler's result into the client's state. Whether the client is blocked now.
fn settle(
    engine: &mut Engine,
    id: ClientId,
    index: u16,
    mark: usize,
    result: CommandResult,
    args: &Args<'_>,
) -> bool {
    match result {
        Ok(Flow::Done) => false,
        Ok(Flow::Parked) => true,
        Ok(Flow::Block(block)) => {
            let Some(client) = engine.clients.get_mut(id) else { return false };
            if client.is_executing_transaction || client.kind == crate::engine::client::ClientKind::Master {
                write_timeout(engine, id, block.on_timeout, None);
                return false;
            }
            let on = BlockedOn::Keys {
                db_index: client.db_index,
                keys: block.keys,
                command: usize::from(index),
                args: args.to_owned(),
            };
            let state = BlockedState { on, deadline: block.deadline, on_timeout: block.on_timeout };
            engine.blocked.block(&mut engine.clients, id, state);
            true
        }
        Err(error) => {
            engine.stats.commands[usize::from(index)].failed += 1;
            engine.stats.count_error(error.code());
            if let Some(client) = engine.clients.get_mut(id) {
                client.out.truncate(mark);
                client.reply().error(&error);
            }
            false
        }
    }
}

/// Draws the consequences of one command: effects, watchers, waiters, notifications, counters, garbage.
fn conclude(engine: &mut Engine, db_index: usize, args: &Args<'_>) {
    if !engine.upkeep.expired.is_empty() {
        for key in std::mem::take(&mut engine.upkeep.expired) {
            engine.effects.expired(db_index, &key);
        }
    }
    if engine.effects.is_propagating {
        let wanted = match engine.effects.propagation {
            Propagation::Verbatim => engine.effects.dirty > 0,
            Propagation::Forced => true,
            Propagation::Replaced => false,
        };
        if wanted {
            engine.effects.propagate(db_index, args.iter());
        }
    }
    engine.stats.expired_keys += std::mem::take(&mut engine.effects.expired);
    engine.count_changes(engine.effects.dirty);
    if !engine.effects.modified.is_empty() {
        for change in std::mem::take(&mut engine.effects.modified) {
            engine.watched.touch(&mut engine.clients, change.db_index, &change.key);
            engine.blocked.signal(change.db_index, &change.key);
            engine.notify(&change);
        }
    }
    if !engine.upkeep.garbage.is_empty() {
        engine.jobs.push(Job::Free(std::mem::take(&mut engine.upkeep.garbage)));
    }
}

fn finish_timing(engine: &mut Engine, id: ClientId, row: &CommandSpec, index: u16, args: &Args<'_>) {
    let nanos = engine.time.lap();
    let stats = &mut engine.stats.commands[usize::from(index)];
    stats.calls += 1;
    stats.nanos += nanos;
    if engine.config.latency_tracking {
        stats.histogram.record(nanos);
    }
    engine.stats.commands_processed += 1;
    if nanos >= engine.slowlog_threshold_nanos && !row.has(SKIP_SLOWLOG) {
        engine.note_slow(id, nanos, args);
    }
    if engine.config.latency_monitor_threshold > 0 {
        engine.note_latency(if row.has(FAST) { latency::FAST_COMMAND } else { latency::COMMAND }, nanos);
    }
}

/// Ends an atomic unit: its effects go into the replication log, inside MULTI/EXEC when there are several.
pub fn end_unit(engine: &mut Engine, id: Option<ClientId>) {
    if !engine.effects.is_empty() {
        let offset = engine.append_effects();
        if let Some(client) = id.and_then(|id| engine.clients.get_mut(id)) {
            client.last_write_offset = offset;
        }
    }
}

/// Runs the commands of clients whose keys were modified, first come, first served, until nothing is ready.
pub fn serve_blocked(engine: &mut Engine) {
    while let Some((db_index, key)) = engine.blocked.next_ready() {
        for id in engine.blocked.waiters(db_index, &key) {
            retry(engine, id);
        }
    }
}

/// Runs a blocked client's command again; if it is done, the client goes on.
fn retry(engine: &mut Engine, id: ClientId) {
    let Some(client) = engine.clients.get_mut(id) else { return };
    let Some(state) = client.blocked.as_deref() else { return };
    let BlockedOn::Keys { db_index, command, args, .. } = &state.on else { return };
    let (db_index, command, owned) = (*db_index, *command, args.clone());
    let row = TABLE.row(command as u16);
    let args = owned.as_args();
    let mark = client.out.len();
    engine.effects.dirty = 0;
    engine.effects.propagation = Propagation::default();
    let expiry = engine.expiry_policy_for(id);
    match invoke(engine, id, row, db_index, expiry, &args) {
        Ok(Flow::Block(_)) => {
            conclude(engine, db_index, &args);
            end_unit(engine, None);
            return;
        }
        result => {
            engine.blocked.unblock(&mut engine.clients, id);
            settle(engine, id, command as u16, mark, result, &args);
        }
    }
    conclude(engine, db_index, &args);
    engine.time.lap();
    end_unit(engine, Some(id));
}

/// Ends the blocks whose time is up.
pub fn expire_timeouts(engine: &mut Engine) {
    let now = engine.now();
    while let Some(id) = engine.blocked.due(now) {
        end_block(engine, id);
    }
}

/// Ends a client's block as its timeout would: CLIENT UNBLOCK does so as well.
pub fn end_block(engine: &mut Engine, id: ClientId) {
    if let Some(state) = engine.blocked.unblock(&mut engine.clients, id) {
        write_timeout(engine, id, state.on_timeout, Some(&state.on));
    }
}

fn write_timeout(engine: &mut Engine, id: ClientId, reply: TimeoutReply, on: Option<&BlockedOn>) {
    let acknowledged = match on {
        Some(BlockedOn::Replicas { offset, .. }) => engine.acknowledged_replicas(*offset),
        _ => 0,
    };
    let Some(client) = engine.clients.get_mut(id) else { return };
    match reply {
        TimeoutReply::Null => client.reply().null(),
        TimeoutReply::NullArray => client.reply().null_array(),
        TimeoutReply::AcknowledgedReplicas => client.reply().integer(acknowledged as i64),
        TimeoutReply::Nothing => {}
    }
}

/// Forgets a client that has gone.
pub fn disconnect(engine: &mut Engine, id: ClientId) {
    engine.blocked.unblock(&mut engine.clients, id);
    engine.watched.unwatch(&mut engine.clients, id);
    engine.forget_client(id);
    engine.clients.remove(id);
}

/// Whether the client's connection is to be closed before anything more of it is run.
pub fn is_closing(engine: &Engine, id: ClientId) -> bool {
    engine.clients.get(id).is_none_or(|client| client.closing != Closing::No)
}
