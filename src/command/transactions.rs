//! MULTI, EXEC and WATCH.
//!
//! Queued commands run as one unit through `dispatch::call`: nobody comes between, time stands still, and what they
//! change reaches the replication log together.

use super::connection::caller;
use super::context::Ctx;
use super::dispatch;
use super::spec::*;
use super::table::TABLE;
use crate::engine::client::Transaction;
use crate::engine::effects::Propagation;
use crate::engine::watch::Watch;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::live::ExpiryPolicy;

const OPEN: Flags = NOSCRIPT | LOADING | STALE | NOT_QUEUED;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::engine("discard", 1, OPEN | FAST | ALLOW_BUSY, "transactions", discard).docs(
        "2.0.0",
        "O(N), when N is the number of queued commands",
        "Drops what was queued.",
        "",
    ),
    CommandSpec::engine("exec", 1, OPEN | SKIP_SLOWLOG | RUNS_QUEUED, "transactions", exec).docs(
        "1.2.0",
        "Depends on commands in the transaction",
        "Runs what was queued.",
        "",
    ),
    CommandSpec::engine("multi", 1, OPEN | FAST | ALLOW_BUSY, "transactions", multi).docs(
        "1.2.0",
        "O(1)",
        "Queues the commands that follow.",
        "",
    ),
    CommandSpec::engine("unwatch", 1, (OPEN & !NOT_QUEUED) | FAST | ALLOW_BUSY, "transactions", unwatch)
        .docs("2.2.0", "O(1)", "Forgets the watched keys.", ""),
    CommandSpec::engine("watch", -2, OPEN | FAST | ALLOW_BUSY, "transactions", watch)
        .keys(&[KeySpec::range(1, -1, 1, RO)])
        .docs(
            "2.2.0",
            "O(1) for every key.",
            "Lets EXEC do nothing if one of the keys was changed.",
            "key [key ...]",
        ),
];

/// `MULTI`
fn multi(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let client = caller(engine, id);
    if client.transaction.is_some() {
        return Err(ErrorReply::MULTI_NESTED);
    }
    client.transaction = Some(Box::<Transaction>::default());
    client.reply().ok();
    Ok(Flow::Done)
}

/// `DISCARD`
fn discard(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    if caller(engine, id).transaction.is_none() {
        return Err(ErrorReply::DISCARD_WITHOUT_MULTI);
    }
    engine.discard_transaction(id);
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

/// `EXEC`
fn exec(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let is_dirty = has_expired_watch(engine, id);
    let client = caller(engine, id);
    let is_dirty = is_dirty || client.is_dirty;
    let Some(transaction) = client.transaction.take() else {
        return Err(ErrorReply::EXEC_WITHOUT_MULTI);
    };
    engine.discard_transaction(id);
    if transaction.is_aborted {
        return Err(ErrorReply::EXEC_ABORT);
    }
    let client = caller(engine, id);
    if is_dirty {
        client.reply().null_array();
        return Ok(Flow::Done);
    }
    client.reply().array(transaction.queued.len());
    client.is_executing_transaction = true;
    engine.nesting += 1;
    for queued in &transaction.queued {
        let index = queued.command as u16;
        dispatch::call(engine, id, TABLE.row(index), index, &queued.args.as_args());
    }
    engine.nesting -= 1;
    caller(engine, id).is_executing_transaction = false;
    // Each command has accounted for itself.
    engine.effects.dirty = 0;
    engine.effects.propagation = Propagation::Replaced;
    engine.redacted_args.clear();
    Ok(Flow::Done)
}

/// Whether the time of a watched key has passed since it was watched, though nobody has removed it yet.
fn has_expired_watch(engine: &mut Engine, id: ClientId) -> bool {
    let watching = caller(engine, id).watching.clone();
    watching.iter().any(|watch| !watch.was_expired && is_expired(engine, id, watch.db_index, &watch.key))
}

fn is_expired(engine: &mut Engine, id: ClientId, db_index: usize, key: &[u8]) -> bool {
    let now = engine.now();
    let Some(mut ctx) = Ctx::new(engine, id, db_index, ExpiryPolicy::Ignore) else { return false };
    ctx.db.expires_at(key).flatten().is_some_and(|at| at <= now)
}

/// `WATCH key [key ...]`
fn watch(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let client = caller(engine, id);
    if client.transaction.is_some() {
        return Err(ErrorReply::WATCH_INSIDE_MULTI);
    }
    let db_index = client.db_index;
    // Once something has changed, EXEC fails whatever else is watched.
    if !client.is_dirty {
        for key in args.from(1).iter() {
            let watch =
                Watch { db_index, key: key.to_vec(), was_expired: is_expired(engine, id, db_index, key) };
            engine.watched.watch(&mut engine.clients, id, watch);
        }
    }
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

/// `UNWATCH`
fn unwatch(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    engine.watched.unwatch(&mut engine.clients, id);
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}
