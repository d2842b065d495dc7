//! From a request to its reply and all its consequences: the gates in their fixed order, the handler, and one function
//! that draws what follows (WATCH, blocked clients, notifications, dirty count, the effect into the replication log).
//!
//! The order of the gates is observable and must not change. Nobody here asks "which command is this?", only for flags.

use super::context::Ctx;
use super::eviction;
use super::keys::keys_of;
use super::long_read;
use super::spec::*;
use super::table::{Lookup, TABLE};
use crate::config::{NotifyFlags, PropagationErrorBehavior};
use crate::engine::blocked::{BlockedOn, BlockedState};
use crate::engine::client::{Client, ClientKind, Closing, QueuedCommand, ReplyMode, Transaction};
use crate::engine::effects::{EXPIRED_EVENT, KEY_MISS_EVENT, Modification, NEW_KEY_EVENT, Propagation};
use crate::engine::gates::Demands;
use crate::engine::latency;
use crate::engine::{ClientId, Engine, Job, LogLevel, TimeoutReply};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::scripting::ScriptHeader;
use crate::storage::Presence;
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
    match TABLE.in_original_name(lookup, args) {
        Some(args) => execute_named(engine, id, lookup, &args.as_args()),
        None => execute_named(engine, id, lookup, args),
    }
}

pub(super) fn execute_named(engine: &mut Engine, id: ClientId, lookup: Lookup, args: &Args<'_>) -> Executed {
    let Some(client) = engine.clients.get_mut(id) else { return Executed::Done };
    if client.reply_mode == ReplyMode::SkipNext {
        client.reply_mode = ReplyMode::Skip;
    }
    let start = client.out.len();
    let was_muted = client.reply_mode != ReplyMode::On;
    engine.running = Some(id);

    let executed = match admit(engine, id, lookup, args) {
        Ok(Admission::Run(row, index)) => run(engine, id, row, index, args),
        Ok(Admission::Queued) => Executed::Done,
        Ok(Admission::Postponed) => {
            engine.running = None;
            return Executed::Postponed;
        }
        Err(error) => {
            reject(engine, id, lookup, error);
            Executed::Done
        }
    };
    engine.running = None;

    // A blocked client's reply is still to come.
    if was_muted && executed == Executed::Done {
        drop_unwanted_reply(engine, id, start);
    }
    if let Some(client) = engine.clients.get_mut(id)
        && !client.out_later.is_empty()
    {
        let later = std::mem::take(&mut client.out_later);
        client.out.extend_from_slice(&later);
    }
    executed
}

/// Drops the reply that begins at `start` of the output if CLIENT REPLY says so; a skipped one was the last.
fn drop_unwanted_reply(engine: &mut Engine, id: ClientId, start: usize) {
    let Some(client) = engine.clients.get_mut(id) else { return };
    if client.reply_mode != ReplyMode::On {
        client.out.truncate(start);
    }
    if client.reply_mode == ReplyMode::Skip {
        client.reply_mode = ReplyMode::On;
    }
}

/// Runs one command of the master's stream. It is not answered; that it fails is a fault of one side, told in the log.
pub fn apply(engine: &mut Engine, args: &Args<'_>) {
    let id = engine.master_client();
    if refuses_unsaved(engine, args) {
        return;
    }
    // It is in the stream already. What it lets clients of a writable replica do is not.
    let is_propagating = std::mem::take(&mut engine.effects.is_propagating);
    execute_named(engine, id, TABLE.lookup_original(args), args);
    engine.effects.is_propagating |= is_propagating && !engine.role.is_master();
    let Some(client) = engine.clients.get_mut(id) else { return };
    let failed = client.out.first() == Some(&b'-');
    let reply = failed.then(|| String::from_utf8_lossy(&client.out).trim_end().to_owned());
    client.out.clear();
    if let Some(reply) = reply {
        let name = String::from_utf8_lossy(args.bytes(0)).into_owned();
        engine.stats.unexpected_error_replies += 1;
        engine.log(
            LogLevel::Warning,
            format!(
                "== CRITICAL == This replica is sending an error to its master: '{reply}' after processing the command \
                 '{name}'"
            ),
        );
        // A replica that its clients write to may well differ.
        let must_be_equal = engine.config.replica_read_only;
        if must_be_equal && engine.config.propagation_error_behavior != PropagationErrorBehavior::Ignore {
            give_up(engine, "This replica panicked sending an error to its master");
        }
    }
}

/// Whether the master's command is not run because what it changes could not be kept on this replica's disk.
fn refuses_unsaved(engine: &mut Engine, args: &Args<'_>) -> bool {
    let Lookup::Found(index) = TABLE.lookup_original(args) else { return false };
    if !TABLE.row(index).has(WRITE) || engine.disk_error().is_none() {
        return false;
    }
    if engine.config.replica_ignore_disk_write_errors {
        return false;
    }
    give_up(engine, "Replica was unable to write command to disk.");
    true
}

/// Ends the process: going on would make this replica differ from its master.
fn give_up(engine: &mut Engine, reason: &str) {
    engine.log(LogLevel::Warning, reason);
    engine.jobs.push(Job::Exit { code: 1 });
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
    if let Some(client) = engine.clients.get_mut(id) {
        client.last_command = row.name;
    }
    let client = engine.clients.get(id).expect("the caller has found the client");

    if row.has(PROTECTED) && !engine.allows_protected(row.name, client) {
        let name = row.name.split('|').next().unwrap_or_default();
        return Err(ErrorReply::new(format!(
            "ERR {} command not allowed. If the enable-{}-command option is set to \"local\", you can run it from a \
             local connection, otherwise you need to set this option in the configuration file, and then restart \
             the server.",
            name.to_ascii_uppercase(),
            name,
        )));
    }
    if !client.is_authenticated && !row.has(NO_AUTH) {
        return Err(ErrorReply::NO_AUTH);
    }
    let queueing = client.transaction.is_some() && !row.has(NOT_QUEUED);
    if queueing && row.has(NO_MULTI) {
        return Err(ErrorReply::NOT_ALLOWED_IN_MULTI);
    }
    let flags = flags_of(engine, row, args);
    let client = engine.clients.get(id).expect("a look at a script removes no client");
    let transaction = client.transaction.as_deref().filter(|_| row.has(RUNS_QUEUED));
    let mut demands = demands(flags, transaction);
    if engine.config.maxmemory > 0 {
        let has_room = eviction::make_room(engine);
        engine.scripting.is_out_of_memory = !has_room;
        // What is queued takes memory too.
        demands.is_out_of_memory = !has_room && (demands.is_out_of_memory || queueing);
    } else {
        demands.is_out_of_memory = false;
        engine.scripting.is_out_of_memory = false;
    }
    if let Some(error) = engine.refusal(id, demands) {
        return Err(error);
    }
    let client = engine.clients.get(id).expect("no refusal removes a client");
    if client.is_in_subscriber_mode() && !row.has(SUBSCRIBER) {
        return Err(ErrorReply::new(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context",
            row.name,
        )));
    }
    if let Some(error) = engine.scripting.busy_error().filter(|_| !row.has(ALLOW_BUSY)) {
        return Err(error);
    }
    let is_reader = client.is_monitor || client.kind == ClientKind::Replica;
    if is_reader && (row.has(WRITE) || row.has(READONLY) || row.has(MAY_REPLICATE)) {
        return Err(ErrorReply::fixed("ERR Replica can't interact with the keyspace"));
    }
    if engine.must_wait_for_pause(id, demands.is_write || demands.may_replicate) {
        let state = BlockedState { on: BlockedOn::Pause, deadline: None, on_timeout: TimeoutReply::Nothing };
        engine.blocked.block(&mut engine.clients, id, state);
        return Ok(Admission::Postponed);
    }
    if queueing {
        queue(engine, id, flags, index, args);
        return Ok(Admission::Queued);
    }
    Ok(Admission::Run(row, index))
}

/// A request's flags: those of its row, unless it runs a script that has said of itself what it does.
fn flags_of(engine: &mut Engine, row: &CommandSpec, args: &Args<'_>) -> Flags {
    let Some(declared) = row.declared.and_then(|declared| declared(engine, args)) else { return row.flags };
    let mut flags = row.flags & !(WRITE | DENYOOM | STALE | MAY_REPLICATE);
    if declared & ScriptHeader::NO_WRITES == 0 {
        flags |= WRITE;
    }
    if declared & (ScriptHeader::NO_WRITES | ScriptHeader::ALLOW_OOM) == 0 {
        flags |= DENYOOM;
    }
    if declared & ScriptHeader::ALLOW_STALE != 0 {
        flags |= STALE;
    }
    flags
}

/// What a request asks of the server's state, with what it is about to run.
fn demands(flags: Flags, transaction: Option<&Transaction>) -> Demands {
    let any = flags | transaction.map_or(0, |transaction| transaction.flags_any);
    let all = flags & transaction.map_or(Flags::MAX, |transaction| transaction.flags_all);
    Demands {
        is_write: any & WRITE != 0,
        asks_for_health: flags & HEALTH != 0,
        may_replicate: any & MAY_REPLICATE != 0,
        allowed_while_loading: all & LOADING != 0,
        allowed_when_stale: all & STALE != 0,
        is_out_of_memory: any & DENYOOM != 0,
    }
}

/// Keeps a command for EXEC.
fn queue(engine: &mut Engine, id: ClientId, flags: Flags, index: u16, args: &Args<'_>) {
    let client = engine.clients.get_mut(id).expect("the client that queues is there");
    if let Some(transaction) = &mut client.transaction {
        transaction.flags_any |= flags;
        transaction.flags_all &= flags;
        // After a refused command nothing that follows will run, so nothing is kept.
        if !transaction.is_aborted && !client.is_dirty {
            let args = args.to_owned();
            transaction.bytes += args.memory_bytes() + size_of::<QueuedCommand>();
            transaction.queued.push(QueuedCommand { command: usize::from(index), args });
        }
    }
    client.reply().simple("QUEUED");
}

/// Answers a request that a gate has refused. Inside MULTI it spoils the transaction, and a refused EXEC ends it.
fn reject(engine: &mut Engine, id: ClientId, lookup: Lookup, mut error: ErrorReply) {
    if let Lookup::Found(index) = lookup {
        engine.stats.commands[usize::from(index)].rejected += 1;
        if TABLE.row(index).has(RUNS_QUEUED) {
            engine.discard_transaction(id);
            error = error.as_exec_abort();
        }
    }
    engine.stats.count_error(error.code());
    if let Some(client) = engine.clients.get_mut(id) {
        if let Some(transaction) = &mut client.transaction {
            transaction.is_aborted = true;
        }
        client.reply().error(&error);
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
    engine.effects.are_separate = row.has(TOUCHES_ARBITRARY_KEYS);
    end_unit(engine, Some(id));
    // What a script has changed so far is nobody's before it has ended.
    if engine.blocked.has_ready() && engine.scripting.running.is_none() {
        serve_blocked(engine);
    }
    // Serving may have served this client as well.
    let is_blocked = blocked && engine.clients.get(id).is_some_and(|client| client.blocked.is_some());
    if is_blocked { Executed::Blocked } else { Executed::Done }
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
    client.commands_processed += 1;
    engine.redacted_args.clear();
    let start = engine.time.mark();
    begin_command(engine);
    note_absent_keys(engine, row, db_index, args);
    let expiry = engine.expiry_policy_for(id);
    let mut result = invoke(engine, id, (row, index), db_index, expiry, args);
    if engine.late_reply.is_some() && matches!(result, Ok(Flow::Done)) {
        result = Ok(long_read::write_late(engine, id, usize::from(index), mark));
    }
    let blocked = settle(engine, id, index, mark, result, args);
    conclude(engine, db_index, args);
    if engine.has_monitors() && !row.has(SKIP_MONITOR) && !row.has(ADMIN) {
        engine.feed_monitors(id, args);
    }
    finish_timing(engine, id, row, index, start, args, blocked);
    blocked
}

/// Makes the effects ready for a command.
fn begin_command(engine: &mut Engine) {
    engine.effects.dirty = 0;
    engine.effects.propagation = Propagation::default();
    engine.effects.is_observed = engine.has_observers();
    engine.upkeep.notes_expiries = !engine.role.is_master() && !engine.config.replica_read_only;
    engine.upkeep.notes_misses = engine.config.notify_keyspace_events.contains(NotifyFlags::KEY_MISS);
}

/// Where somebody listens to keys that come into being: which of a command's keys are not there before it.
fn note_absent_keys(engine: &mut Engine, row: &CommandSpec, db_index: usize, args: &Args<'_>) {
    if !engine.config.notify_keyspace_events.contains(NotifyFlags::NEW) {
        return;
    }
    let now = engine.now().0;
    let db = engine.keyspace.db(db_index);
    let keys = keys_of(row, args).unwrap_or_default().into_iter().map(|key| args.bytes(key.index));
    let absent = keys.filter(|key| db.presence(key, now) != Presence::Live).map(<[u8]>::to_vec);
    engine.effects.absent = absent.collect();
}

fn invoke(
    engine: &mut Engine,
    id: ClientId,
    (row, index): (&'static CommandSpec, u16),
    db_index: usize,
    expiry: ExpiryPolicy,
    args: &Args<'_>,
) -> CommandResult {
    match row.handler {
        Handler::Data(handler)
            if row.extent != Extent::Short
                && long_read::begin(engine, id, row, handler, usize::from(index), args) =>
        {
            Ok(Flow::Parked)
        }
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
    // Only what serves a client that has waited still has one here.
    let late = engine.late_reply.take();
    match result {
        Ok(Flow::Done) => {
            if let (Some(late), Some(client)) = (late, engine.clients.get_mut(id)) {
                (late.0)(&mut client.reply());
            }
            false
        }
        Ok(Flow::Parked) => true,
        Ok(Flow::Block(block)) => {
            let Some(client) = engine.clients.get_mut(id) else { return false };
            if engine.nesting > 0 || client.is_executing_transaction || client.kind == ClientKind::Master {
                write_timeout(engine, id, block.on_timeout, None);
                return false;
            }
            let on = BlockedOn::Keys {
                db_index: client.db_index,
                keys: block.keys,
                command: usize::from(index),
                args: block.args.unwrap_or_else(|| args.to_owned()),
                wakes_without_value: block.wakes_without_value,
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

/// Counts a command that has answered an error by itself.
pub fn note_failure(engine: &mut Engine, id: ClientId) {
    let name = engine.clients.get(id).map_or("", |client| client.last_command);
    if let Some(index) = TABLE.by_name(name.as_bytes()) {
        engine.stats.commands[usize::from(index)].failed += 1;
    }
}

/// Lets others be served for a moment while the script that runs is slow. They see the engine between two commands.
pub fn attend_others(engine: &mut Engine) {
    let Some(attendant) = engine.scripting.attendant.clone() else { return };
    let running = engine.running.take();
    let nesting = std::mem::take(&mut engine.nesting);
    let effects = std::mem::take(&mut engine.effects);
    engine.effects.is_propagating = effects.is_propagating;
    attendant.serve(engine);
    engine.effects = effects;
    engine.nesting = nesting;
    engine.running = running;
}

/// Draws the consequences of one command: effects, watchers, waiters, notifications, counters, garbage.
fn conclude(engine: &mut Engine, db_index: usize, args: &Args<'_>) {
    if !engine.upkeep.expired.is_empty() {
        for key in std::mem::take(&mut engine.upkeep.expired) {
            engine.effects.expired(db_index, &key);
        }
    }
    if !engine.upkeep.missed.is_empty() {
        for key in std::mem::take(&mut engine.upkeep.missed) {
            engine.effects.event(db_index, &key, KEY_MISS_EVENT);
        }
    }
    if !engine.upkeep.expired_fields.is_empty() {
        for expired in std::mem::take(&mut engine.upkeep.expired_fields) {
            engine.effects.fields_expired(db_index, &expired);
        }
    }
    if !engine.upkeep.own_expiries.is_empty() {
        let keys = std::mem::take(&mut engine.upkeep.own_expiries);
        engine.own_expiries.extend(keys.into_iter().map(|key| (db_index, key)));
    }
    if engine.effects.is_propagating {
        let effects = &mut engine.effects;
        match effects.propagation {
            Propagation::Verbatim if effects.dirty == 0 => {}
            Propagation::Verbatim | Propagation::Forced => effects.propagate_command(db_index, args.iter()),
            Propagation::ForcedToReplicas => effects.propagate_to_replicas(db_index, args.iter()),
            Propagation::Replaced => {}
        }
    }
    engine.stats.expired_keys += std::mem::take(&mut engine.effects.expired);
    engine.stats.expired_subkeys += std::mem::take(&mut engine.effects.expired_fields);
    // Taken, so that EXEC, which ends after its commands, does not count the last one's changes again.
    let dirty = std::mem::take(&mut engine.effects.dirty);
    engine.count_changes(dirty);
    if !engine.effects.modified.is_empty() {
        let tells_new = engine.config.notify_keyspace_events.contains(NotifyFlags::NEW);
        let changes = std::mem::take(&mut engine.effects.modified);
        for (at, change) in changes.iter().enumerate() {
            if tells_new {
                notify_if_new(engine, db_index, &changes[at..]);
            }
            // A miss changes nothing.
            if change.event != KEY_MISS_EVENT {
                engine.watched.touch(&mut engine.clients, change.db_index, &change.key, change.event);
                engine.blocked.signal(change.db_index, &change.key);
            }
            engine.notify(change);
        }
    }
    engine.effects.absent.clear();
    if !engine.upkeep.taken_out.is_empty() {
        let (db, scratch) = (engine.keyspace.db_mut(db_index), &mut engine.upkeep.scratch);
        for hash in std::mem::take(&mut engine.upkeep.taken_out) {
            db.embed(hash, |value| scratch.give_back(value));
        }
    }
    if !engine.upkeep.to_sweep.is_empty() {
        let keys = std::mem::take(&mut engine.upkeep.to_sweep);
        engine.to_sweep.extend(keys.into_iter().map(|key| (db_index, key)));
    }
    hand_out_garbage(engine);
}

/// Lets another thread free what is no longer in the data set.
pub(super) fn hand_out_garbage(engine: &mut Engine) {
    if !engine.upkeep.garbage.is_empty() {
        let values = std::mem::take(&mut engine.upkeep.garbage);
        let bytes = std::mem::take(&mut engine.upkeep.garbage_bytes);
        engine.lazyfree.hand_out(values.len() as u64, bytes);
        engine.jobs.push(Job::Free { values, bytes });
    }
}

/// Tells that a key came into being, before the first of the `changes` that made it is told. That it had expired is told
/// before.
fn notify_if_new(engine: &mut Engine, db_index: usize, changes: &[Modification]) {
    // These put a key in the place of one that they have removed, if there was one, and may do so in another database.
    let (change, is_replaced) = match changes {
        [from, to, ..] if matches!(from.event, "rename_from" | "move_from") => (to, true),
        [change, ..] if change.event == KEY_MISS_EVENT => return,
        [change, ..] => (change, matches!(change.event, "copy_to" | "restore")),
        [] => return,
    };
    let Modification { db_index: changed_db, key, event } = change;
    let was_absent =
        *changed_db == db_index && *event != EXPIRED_EVENT && engine.effects.absent.contains(key);
    let now = engine.now().0;
    if (is_replaced || was_absent) && engine.keyspace.db(*changed_db).presence(key, now) == Presence::Live {
        engine.effects.absent.retain(|absent| absent != key);
        engine.notify(&Modification { db_index: *changed_db, key: key.clone(), event: NEW_KEY_EVENT });
    }
}

/// Begins a unit in which keys go that no command removes: their time has passed, there is no memory for them, or they
/// are somewhere else by now; fields of hashes go so, too.
pub fn begin_removal(engine: &mut Engine) {
    begin_command(engine);
    engine.effects.propagation = Propagation::Replaced;
}

/// Draws the consequences of what was removed since `begin_removal`, and ends the unit.
pub fn conclude_removal(engine: &mut Engine, db_index: usize) {
    conclude(engine, db_index, &Args::new(&[], &[]));
    engine.effects.are_separate = true;
    end_unit(engine, None);
    if engine.blocked.has_ready() {
        serve_blocked(engine);
    }
}

fn finish_timing(
    engine: &mut Engine,
    id: ClientId,
    row: &CommandSpec,
    index: u16,
    start: u64,
    args: &Args<'_>,
    is_blocked: bool,
) {
    let nanos = engine.time.lap_from(start, engine.nesting > 0);
    let stats = &mut engine.stats.commands[usize::from(index)];
    stats.calls += 1;
    stats.nanos += nanos;
    if engine.config.latency_tracking && !is_blocked {
        stats.histogram.record(nanos);
    }
    engine.stats.commands_processed += 1;
    if !is_blocked {
        note_if_slow(engine, id, row, nanos, args);
    }
    if engine.config.latency_monitor_threshold > 0 {
        engine.note_latency(if row.has(FAST) { latency::FAST_COMMAND } else { latency::COMMAND }, nanos);
    }
}

fn note_if_slow(engine: &mut Engine, id: ClientId, row: &CommandSpec, nanos: u64, args: &Args<'_>) {
    if nanos >= engine.slowlog_threshold_nanos && !row.has(SKIP_SLOWLOG) {
        engine.note_slow(id, nanos, args);
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

/// Serves clients whose keys were modified, first come, first served, until nothing is ready. Who is served may modify
/// other keys (BLMOVE), which are then ready in turn.
pub fn serve_blocked(engine: &mut Engine) {
    if engine.blocked.has_ready() && !engine.role.is_master() {
        engine.refresh_propagation();
    }
    while let Some((db_index, key)) = engine.blocked.next_ready() {
        serve_waiters(engine, db_index, &key);
    }
}

/// Serves those who wait for one key, until it is gone or nobody is left who wants what is there.
fn serve_waiters(engine: &mut Engine, db_index: usize, key: &[u8]) {
    // Ends because with each round either a waiter leaves the queue or the position behind it comes next.
    let mut position = 0;
    while let Some(id) = engine.blocked.waiter(db_index, key, position) {
        let type_name = type_of(engine, id, db_index, key);
        if type_name.is_none() && !engine.blocked.wakes_without_value(db_index, key) {
            break;
        }
        let is_served = wants(engine, id, type_name) && retry(engine, id);
        position += usize::from(!is_served);
    }
}

/// The type of the value at `key`. One that has expired is left where it is: nobody has asked for it yet.
fn type_of(engine: &mut Engine, id: ClientId, db_index: usize, key: &[u8]) -> Option<&'static str> {
    begin_command(engine);
    Ctx::new(engine, id, db_index, ExpiryPolicy::Hide)?.db.peek(key).map(|value| value.type_name())
}

/// Whether a waiting client's command takes values of this type, or is to learn that there is none of its type. A client
/// on its way out takes none.
fn wants(engine: &Engine, id: ClientId, type_name: Option<&str>) -> bool {
    let Some(client) = engine.clients.get(id) else { return false };
    let Some(BlockedOn::Keys { command, wakes_without_value, .. }) =
        client.blocked.as_deref().map(|state| &state.on)
    else {
        return false;
    };
    let group = TABLE.row(*command as u16).group;
    // The group of a blocking command is named after its type, but for sorted sets.
    let is_of_type =
        type_name.is_some_and(|name| group == name || (name == "zset" && group.starts_with("sorted")));
    client.closing == Closing::No && (is_of_type || *wakes_without_value)
}

/// Runs a blocked client's command again. If it does not block any more, the client goes on: whether it does.
fn retry(engine: &mut Engine, id: ClientId) -> bool {
    let Some(client) = engine.clients.get_mut(id) else { return false };
    let Some(state) = client.blocked.as_deref() else { return false };
    let BlockedOn::Keys { db_index, command, args, .. } = &state.on else { return false };
    let (db_index, command, owned) = (*db_index, *command as u16, args.clone());
    let args = owned.as_args();
    let mark = client.out.len();
    engine.redacted_args.clear();
    begin_command(engine);
    note_absent_keys(engine, TABLE.row(command), db_index, &args);
    let expiry = engine.expiry_policy_for(id);
    let result = invoke(engine, id, (TABLE.row(command), command), db_index, expiry, &args);
    let is_served = !matches!(result, Ok(Flow::Block(_)));
    if is_served {
        engine.blocked.unblock(&mut engine.clients, id);
        settle(engine, id, command, mark, result, &args);
        drop_unwanted_reply(engine, id, mark);
    }
    conclude(engine, db_index, &args);
    let nanos = engine.time.lap();
    if is_served {
        let stats = &mut engine.stats.commands[usize::from(command)];
        stats.nanos += nanos;
        if engine.config.latency_tracking {
            stats.histogram.record(nanos);
        }
        note_if_slow(engine, id, TABLE.row(command), nanos, &args);
    }
    end_unit(engine, Some(id).filter(|_| is_served));
    is_served
}

/// Ends the blocks whose time is up.
pub fn expire_timeouts(engine: &mut Engine) {
    let now = engine.now();
    while let Some(id) = engine.blocked.due(now) {
        end_block(engine, id);
    }
    engine.end_due_pauses();
    engine.start_full_syncs();
}

/// Ends a client's block as its timeout would.
pub fn end_block(engine: &mut Engine, id: ClientId) {
    if let Some(state) = engine.blocked.unblock(&mut engine.clients, id) {
        let mark = engine.clients.get(id).map_or(0, |client| client.out.len());
        write_timeout(engine, id, state.on_timeout, Some(&state.on));
        drop_unwanted_reply(engine, id, mark);
    }
}

/// Ends a client's block with an error.
pub fn end_block_with(engine: &mut Engine, id: ClientId, error: &ErrorReply) {
    let Some(state) = engine.blocked.unblock(&mut engine.clients, id) else { return };
    engine.stats.count_error(error.code());
    if let BlockedOn::Keys { command, .. } = state.on {
        engine.stats.commands[command].failed += 1;
    }
    if let Some(client) = engine.clients.get_mut(id) {
        let mark = client.out.len();
        client.reply().error(error);
        drop_unwanted_reply(engine, id, mark);
    }
}

/// Whether a client waits in a command that may end without what it waits for: for keys or for replicas, but not for
/// the end of a pause or of a job.
pub fn is_unblockable(engine: &Engine, id: ClientId) -> bool {
    let state = engine.clients.get(id).and_then(|client| client.blocked.as_deref());
    state.is_some_and(|state| {
        matches!(state.on, BlockedOn::Keys { .. } | BlockedOn::Replicas { .. } | BlockedOn::Disks { .. })
    })
}

/// CLIENT UNBLOCK: ends a client's wait, as its timeout would or with the error. False if it does not wait.
pub fn unblock_client(engine: &mut Engine, id: ClientId, error: Option<&ErrorReply>) -> bool {
    if !is_unblockable(engine, id) {
        return false;
    }
    match error {
        Some(error) => end_block_with(engine, id, error),
        None => end_block(engine, id),
    }
    true
}

/// Writes what a client reads instead of what it waited for; `on` is none if it was not allowed to wait at all.
fn write_timeout(engine: &mut Engine, id: ClientId, reply: TimeoutReply, on: Option<&BlockedOn>) {
    if reply == TimeoutReply::AcknowledgedDisks {
        if let Some(BlockedOn::Disks { offset, .. }) = on {
            let found = engine.aof_acknowledged(*offset);
            engine.reply_disks(id, found);
        }
        return;
    }
    let acknowledged = match on {
        Some(BlockedOn::Replicas { offset, .. }) => engine.acknowledged_replicas(*offset),
        _ => 0,
    };
    let Some(client) = engine.clients.get_mut(id) else { return };
    match reply {
        TimeoutReply::Null => client.reply().null(),
        TimeoutReply::NullArrayAfterWait if on.is_none() => client.reply().null(),
        TimeoutReply::NullArray | TimeoutReply::NullArrayAfterWait => client.reply().null_array(),
        TimeoutReply::AcknowledgedReplicas => client.reply().integer(acknowledged as i64),
        TimeoutReply::AcknowledgedDisks | TimeoutReply::Nothing => {}
    }
}

/// Forgets a client that has gone.
pub fn disconnect(engine: &mut Engine, id: ClientId) {
    take_out(engine, id);
}

/// Takes a client out of everything; answers what is left of it.
pub fn take_out(engine: &mut Engine, id: ClientId) -> Option<Box<Client>> {
    engine.blocked.unblock(&mut engine.clients, id);
    engine.watched.unwatch(&mut engine.clients, id);
    engine.forget_client(id);
    engine.clients.remove(id)
}

/// Whether nothing more of what the client has sent is to be run as a client's: it is to be closed, or has become a
/// replica.
pub fn must_stop(engine: &Engine, id: ClientId) -> bool {
    engine.clients.get(id).is_none_or(|client| {
        client.closing != Closing::No || client.kind == ClientKind::Replica || client.debug_request.is_some()
    })
}
