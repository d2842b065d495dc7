//! Whole databases: counting, emptying and exchanging them.
//!
//! What was in an emptied database is freed by a job, so that emptying takes the same time whatever the size.

use super::context::Ctx;
use super::spec::*;
use crate::base::number::parse_i64;
use crate::engine::effects::Propagation;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::Presence;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("dbsize", 1, READONLY | FAST, "server", dbsize)
        .docs("1.0.0", "O(1)", "Counts the keys of the database.", "")
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"]),
    CommandSpec::engine("flushdb", -1, WRITE | DANGEROUS, "server", flushdb)
        .docs(
            "1.0.0",
            "O(1); the memory is given back on another thread.",
            "Removes all keys of the database.",
            "[ASYNC | SYNC]",
        )
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    CommandSpec::engine("flushall", -1, WRITE | DANGEROUS, "server", flushall)
        .docs(
            "1.0.0",
            "O(N), N being the number of databases; the memory is given back on another thread.",
            "Removes all keys of all databases.",
            "[ASYNC | SYNC]",
        )
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    CommandSpec::engine("swapdb", 3, WRITE | FAST | DANGEROUS, "server", swapdb).docs(
        "4.0.0",
        "O(N), N being the number of clients that watch or wait for keys of the two databases.",
        "Exchanges two databases.",
        "index1 index2",
    ),
];

/// `DBSIZE`
fn dbsize(ctx: &mut Ctx<'_>, _args: &Args<'_>) -> CommandResult {
    ctx.reply.integer(ctx.db.len() as i64);
    Ok(Flow::Done)
}

/// SYNC and ASYNC mean the same here: nobody waits for memory to be freed.
fn check_flush_mode(args: &Args<'_>) -> Result<(), ErrorReply> {
    match args.len() {
        1 => Ok(()),
        2 if args.is(1, "sync") || args.is(1, "async") => Ok(()),
        _ => Err(ErrorReply::SYNTAX),
    }
}

/// `FLUSHDB [ASYNC | SYNC]`
fn flushdb(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    check_flush_mode(args)?;
    let Some(db_index) = engine.clients.get(id).map(|client| client.db_index) else { return Ok(Flow::Done) };
    empty_databases(engine, db_index..db_index + 1);
    reply_ok(engine, id)
}

/// `FLUSHALL [ASYNC | SYNC]`
fn flushall(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    check_flush_mode(args)?;
    empty_databases(engine, 0..engine.keyspace.len());
    if engine.save_after_flush(id) {
        return Ok(Flow::Parked);
    }
    reply_ok(engine, id)
}

/// Removes all keys of some databases. Propagated even if there were none: a replica may have what we do not see.
fn empty_databases(engine: &mut Engine, indexes: std::ops::Range<usize>) {
    let now = engine.now().0;
    let keys = indexes.clone().map(|db_index| engine.keyspace.db(db_index).len()).sum();
    let bytes = engine.share_of_memory(keys);
    let mut emptied = Vec::new();
    for db_index in indexes {
        let db = engine.keyspace.db(db_index);
        if db.is_empty() {
            continue;
        }
        let before = |key: &[u8]| db.presence(key, now);
        engine.watched.touch_db(&mut engine.clients, db_index, before, |_| Presence::Missing);
        engine.effects.dirty += db.len() as u64;
        emptied.push(engine.keyspace.take_db(db_index));
        engine.blocked.signal_db(db_index);
    }
    if !emptied.is_empty() {
        engine.free_databases(emptied, bytes);
    }
    engine.effects.propagation = Propagation::Forced;
}

/// `SWAPDB index1 index2`
fn swapdb(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let first = parse_i32(args.bytes(1)).ok_or(ErrorReply::fixed("ERR invalid first DB index"))?;
    let second = parse_i32(args.bytes(2)).ok_or(ErrorReply::fixed("ERR invalid second DB index"))?;
    let databases = engine.keyspace.len();
    let in_range =
        |n: i32| usize::try_from(n).ok().filter(|&n| n < databases).ok_or(ErrorReply::DB_INDEX_OUT_OF_RANGE);
    let (first, second) = (in_range(first)?, in_range(second)?);
    if first != second {
        let now = engine.now().0;
        let (one, other) = (engine.keyspace.db(first), engine.keyspace.db(second));
        let in_one = |key: &[u8]| one.presence(key, now);
        let in_other = |key: &[u8]| other.presence(key, now);
        engine.watched.touch_db(&mut engine.clients, first, in_one, in_other);
        engine.watched.touch_db(&mut engine.clients, second, in_other, in_one);
        engine.keyspace.swap(first, second);
        for (db_index, _) in &mut engine.to_sweep {
            *db_index = match *db_index {
                index if index == first => second,
                index if index == second => first,
                index => index,
            };
        }
        engine.blocked.signal_db(first);
        engine.blocked.signal_db(second);
    }
    engine.effects.dirty += 1;
    reply_ok(engine, id)
}

fn parse_i32(arg: &[u8]) -> Option<i32> {
    parse_i64(arg).and_then(|n| i32::try_from(n).ok())
}

fn reply_ok(engine: &mut Engine, id: ClientId) -> CommandResult {
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().ok();
    }
    Ok(Flow::Done)
}
