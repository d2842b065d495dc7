//! Which reads are long, and how their handlers run on frozen data: the same handler over a clone, so that the reply is
//! the same to the byte.
//!
//! Only a command that a client has sent by itself leaves the engine: inside EXEC, a script or the master's stream it has
//! to be over when the next one begins.

use super::context::Ctx;
use super::keys;
use super::spec::*;
use crate::base::number::parse_i64;
use crate::config::Config;
use crate::engine::client::{ClientKind, ReplyMode};
use crate::engine::effects::Effects;
use crate::engine::long_read::{LongRead, ReadOutcome};
use crate::engine::{ClientId, Engine, Job};
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::reply::{Protocol, Reply};
use crate::storage::live::{AccessPolicy, ExpiryPolicy, LiveDb, Upkeep, View};
use crate::storage::{Db, EncodingLimits, Keyspace};

/// How much a command looks at: what decides whether it runs beside the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Never enough to keep others waiting, or it may change something.
    Short,
    /// All keys of the database.
    Keys,
    /// As many keys of the database as COUNT says.
    ScanKeys,
    /// All elements of the collections at its keys.
    Elements,
    /// The elements of one collection between the positions in the second and the third argument.
    Positions,
    /// As many elements of one collection as COUNT says.
    Scan,
    /// As many elements of one collection, drawn at random, as the second argument says.
    Draws,
    /// All elements of one collection, and keys that they name, unless it stores what it finds.
    Sort,
}

/// Lets a long read run beside the engine. False if it is not long, or has to run at once.
pub(super) fn begin(
    engine: &mut Engine,
    id: ClientId,
    row: &'static CommandSpec,
    handler: DataHandler,
    command: usize,
    args: &Args<'_>,
) -> bool {
    if !may_leave(engine, id) {
        return false;
    }
    let limits = engine.long_reads;
    let Some(db) = (match row.extent {
        Extent::Short => None,
        Extent::ScanKeys if count_of(args) < limits.keys_min => None,
        Extent::Keys | Extent::ScanKeys => {
            let db_index = engine.clients.get(id).map_or(0, |client| client.db_index);
            let db = engine.keyspace.db(db_index);
            (db.len() >= limits.keys_min).then(|| db.clone())
        }
        Extent::Elements | Extent::Positions | Extent::Scan | Extent::Draws | Extent::Sort => {
            freeze_values(engine, id, row, args)
        }
    }) else {
        return false;
    };
    // Only what draws needs a chance of its own: the others leave the engine's as it is.
    let rng = match row.extent {
        Extent::Draws => engine.rng.fork(),
        _ => fastrand::Rng::with_seed(0),
    };
    let Some(client) = engine.clients.get(id) else { return false };
    let read = FrozenRead {
        handler,
        args: args.to_owned(),
        db,
        db_index: client.db_index,
        protocol: client.protocol,
        now: engine.now(),
        config: engine.config.clone(),
        limits: engine.limits.clone(),
        rng,
        upkeep: Upkeep::default(),
        effects: Effects::default(),
        lease: engine.keyspace.lease(),
    };
    park(engine, id, command, move || read.run());
    true
}

/// DEBUG DIGEST and its like: lets `read` look at all databases beside the engine. False if it has to run at once.
pub(super) fn begin_on_keyspace(
    engine: &mut Engine,
    id: ClientId,
    command: usize,
    read: impl FnOnce(&Keyspace, &mut Reply<'_>) + Send + 'static,
) -> bool {
    let Some(client) = engine.clients.get(id) else { return false };
    let protocol = client.protocol;
    if !may_leave(engine, id) || engine.keyspace.keys_len() < engine.long_reads.keys_min {
        return false;
    }
    let frozen = engine.keyspace.clone();
    park(engine, id, command, move || {
        let mut outcome = ReadOutcome::default();
        read(&frozen, &mut Reply::new(&mut outcome.reply, protocol));
        outcome
    });
    true
}

/// Lets the rest of a command's reply be written beside the engine, behind what it has written since `mark`.
pub(super) fn write_late(engine: &mut Engine, id: ClientId, command: usize, mark: usize) -> Flow {
    if !may_leave(engine, id) {
        return Flow::Done;
    }
    let Some(late) = engine.late_reply.take() else { return Flow::Done };
    let lease = engine.keyspace.lease();
    let Some(client) = engine.clients.get_mut(id) else { return Flow::Done };
    let (protocol, reply) = (client.protocol, client.out.split_off(mark));
    park(engine, id, command, move || {
        let mut outcome = ReadOutcome { reply, ..ReadOutcome::default() };
        (late.0)(&mut Reply::new(&mut outcome.reply, protocol));
        drop(lease);
        outcome
    });
    Flow::Parked
}

fn park(
    engine: &mut Engine,
    id: ClientId,
    command: usize,
    run: impl FnOnce() -> ReadOutcome + Send + 'static,
) {
    engine.wait_for_job(id);
    engine.jobs.push(Job::Read(LongRead { client: id, command, run: Box::new(run) }));
}

/// Whether this client's command may end after others have run.
fn may_leave(engine: &Engine, id: ClientId) -> bool {
    engine.nesting == 0
        && engine.clients.get(id).is_some_and(|client| {
            client.kind == ClientKind::Normal
                && !client.is_executing_transaction
                && client.blocked.is_none()
                && client.reply_mode == ReplyMode::On
        })
}

/// The data that a command looks at by its keys, if that is much: the values at its keys alone, or for SORT all keys.
fn freeze_values(
    engine: &mut Engine,
    id: ClientId,
    row: &'static CommandSpec,
    args: &Args<'_>,
) -> Option<Db> {
    let elements_min = engine.long_reads.elements_min;
    if elements_min == usize::MAX {
        return None;
    }
    let places: smallvec::SmallVec<[usize; 4]> = match row.extent {
        // Most of them name one key, and most of those a small value: no list of keys is made for them.
        Extent::Positions | Extent::Scan | Extent::Draws | Extent::Sort => smallvec::smallvec![1],
        Extent::Elements if args.len() == 2 => smallvec::smallvec![1],
        _ => keys::keys_of(row, args)?.into_iter().map(|key| key.index).collect(),
    };
    if row.extent == Extent::Sort && (2..args.len()).any(|at| args.is(at, "store")) {
        return None;
    }
    if row.extent == Extent::Positions && are_few_positions(args, elements_min) {
        return None;
    }
    if row.extent == Extent::Draws && drawn(usize::MAX, args) < elements_min {
        return None;
    }
    let ctx = &mut Ctx::of_client(engine, id)?;
    let elements: usize = places.iter().map(|&at| ctx.db.elements_len(args.bytes(at))).sum();
    let looked_at = match row.extent {
        Extent::Positions => positions(elements, args).unwrap_or(0),
        Extent::Scan => elements.min(count_of(args)),
        Extent::Draws => drawn(elements, args),
        _ => elements,
    };
    if looked_at < elements_min {
        return None;
    }
    for &at in &places {
        ctx.db.access(args.bytes(at));
    }
    if row.extent == Extent::Sort {
        return Some(ctx.db.frozen());
    }
    Some(ctx.db.frozen_keys(places.iter().map(|&at| args.bytes(at))))
}

/// What follows the word COUNT; 0 without it.
fn count_of(args: &Args<'_>) -> usize {
    let at = (2..args.len()).find(|&at| args.is(at, "count"));
    at.and_then(|at| parse_i64(args.get(at + 1)?)).and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

/// How many of `len` elements are drawn: a negative count draws them again and again.
fn drawn(len: usize, args: &Args<'_>) -> usize {
    let count = args.get(2).and_then(parse_i64).unwrap_or(0);
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 && len > 0 { wanted } else { wanted.min(len) }
}

/// Whether two positions, both counted from the start, are near to each other: then no look at the value is needed.
fn are_few_positions(args: &Args<'_>, elements_min: usize) -> bool {
    let at = |index| args.get(index).and_then(parse_i64).filter(|&position| position >= 0);
    match (at(2), at(3)) {
        (Some(start), Some(stop)) => usize::try_from(stop - start).is_ok_and(|last| last + 1 < elements_min),
        _ => false,
    }
}

/// How many of `len` elements lie between two positions, of which negative ones count from the end. None if they are no
/// positions.
fn positions(len: usize, args: &Args<'_>) -> Option<usize> {
    let is_by_value = (4..args.len()).any(|at| args.is(at, "byscore") || args.is(at, "bylex"));
    if is_by_value {
        return None;
    }
    let len = i64::try_from(len).ok()?;
    let at = |index| {
        let position = parse_i64(args.get(index)?)?;
        Some(if position < 0 { position.saturating_add(len).max(0) } else { position.min(len - 1) })
    };
    let (start, stop) = (at(2)?, at(3)?);
    usize::try_from(stop - start + 1).ok()
}

/// A data command's handler with all that it may reach.
struct FrozenRead {
    handler: DataHandler,
    args: OwnedArgs,
    db: Db,
    db_index: usize,
    protocol: Protocol,
    now: crate::base::clock::UnixMillis,
    config: Config,
    limits: EncodingLimits,
    rng: fastrand::Rng,
    upkeep: Upkeep,
    effects: Effects,
    /// Says that a snapshot is held. The last field: it goes when the data has gone.
    lease: crate::storage::keyspace::Lease,
}

impl FrozenRead {
    fn run(mut self) -> ReadOutcome {
        let mut reply = Vec::new();
        let mut access_rng = self.rng.clone();
        // What has expired is hidden; who asked for it in the engine has removed it there.
        let view = View {
            now: self.now,
            expiry: ExpiryPolicy::Hide,
            access: AccessPolicy::Leave,
            limits: &self.limits,
        };
        let mut ctx = Ctx::beside_the_engine(
            LiveDb::new(&mut self.db, view, &mut access_rng, &mut self.upkeep),
            Reply::new(&mut reply, self.protocol),
            &mut self.rng,
            &self.config,
            self.db_index,
            &mut self.effects,
        );
        let result = (self.handler)(&mut ctx, &self.args.as_args());
        let error = result.err();
        if let Some(error) = &error {
            reply.clear();
            Reply::new(&mut reply, self.protocol).error(error);
        }
        debug_assert_eq!(self.effects.dirty, 0, "a read changes nothing");
        let outcome = ReadOutcome { reply, error, hits: self.upkeep.hits, misses: self.upkeep.misses };
        drop(self.db);
        drop(self.lease);
        outcome
    }
}

#[cfg(test)]
mod tests;
