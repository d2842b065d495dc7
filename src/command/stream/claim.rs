//! XCLAIM and XAUTOCLAIM: pending entries that are given to another consumer.

use smallvec::SmallVec;

use super::effect::{Claim, propagate_consumer, propagate_place};
use super::read::make_consumer;
use super::{ids, no_group, write_entry};
use crate::base::number::parse_i64;
use crate::command::context::Ctx;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::stream::{Group, Name, Pending, Stream, StreamId};

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("xclaim", -6, WRITE | FAST, "stream", xclaim)
        .keys(&[KeySpec::range(1, 1, 1, RW | UPDATE)])
        .docs(
            "5.0.0",
            "O(log N) for each entry where N is the number of pending entries of the group.",
            "Gives pending entries to another consumer.",
            "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] \
             [FORCE] [JUSTID] [LASTID lastid]",
        ).tips(&["nondeterministic_output"]),
    CommandSpec::data("xautoclaim", -6, WRITE | FAST, "stream", xautoclaim)
        .keys(&[KeySpec::range(1, 1, 1, RW | DELETE)])
        .docs(
            "6.2.0",
            "O(1) if COUNT is small.",
            "Gives the pending entries to another consumer that nobody has cared for for long.",
            "key group consumer min-idle-time start [COUNT count] [JUSTID]",
        ).tips(&["nondeterministic_output"]),
];

/// A number that names itself when it is none.
fn number(arg: &[u8], what: &str) -> Result<i64, ErrorReply> {
    parse_i64(arg).ok_or_else(|| ErrorReply::new(format!("ERR Invalid {what}")))
}

/// What XCLAIM is asked for.
struct ClaimOptions {
    ids: SmallVec<[StreamId; 8]>,
    idle_ms_min: i64,
    delivered_at: i64,
    deliveries: Option<u64>,
    is_forced: bool,
    is_just_id: bool,
    last_id: StreamId,
}

impl ClaimOptions {
    fn parse(args: &Args<'_>, now: i64) -> Result<Self, ErrorReply> {
        let idle_ms_min = number(args.bytes(4), "min-idle-time argument for XCLAIM")?.max(0);
        // Options begin where ids end.
        let ids: SmallVec<[StreamId; 8]> =
            args.iter().skip(5).map_while(|arg| ids::exact(arg).ok()).collect();
        let mut at = 5 + ids.len();
        let mut options = Self {
            ids,
            idle_ms_min,
            delivered_at: now,
            deliveries: None,
            is_forced: false,
            is_just_id: false,
            last_id: StreamId::MIN,
        };
        // A time that makes no sense is no reason to fail: clocks differ.
        let sensible = |at: i64| if (0..=now).contains(&at) { at } else { now };
        while at < args.len() {
            let value = args.get(at + 1);
            at += match value {
                _ if args.is(at, "FORCE") => {
                    options.is_forced = true;
                    1
                }
                _ if args.is(at, "JUSTID") => {
                    options.is_just_id = true;
                    1
                }
                Some(value) if args.is(at, "IDLE") => {
                    let idle_ms = number(value, "IDLE option argument for XCLAIM")?;
                    options.delivered_at = sensible(now.wrapping_sub(idle_ms));
                    2
                }
                Some(value) if args.is(at, "TIME") => {
                    options.delivered_at = sensible(number(value, "TIME option argument for XCLAIM")?);
                    2
                }
                Some(value) if args.is(at, "RETRYCOUNT") => {
                    let count = number(value, "RETRYCOUNT option argument for XCLAIM")?;
                    options.deliveries = u64::try_from(count).ok();
                    2
                }
                Some(value) if args.is(at, "LASTID") => {
                    options.last_id = ids::exact(value)?;
                    2
                }
                _ => {
                    let option = String::from_utf8_lossy(args.bytes(at));
                    return Err(ErrorReply::new(format!("ERR Unrecognized XCLAIM option '{option}'")));
                }
            };
        }
        Ok(options)
    }

    /// How the entry is pending once it was claimed; none if it is not to be.
    fn claimed(&self, old: Option<&Pending>, consumer: &Name, now: i64) -> Option<Pending> {
        let before = match old {
            Some(pending) if is_idle(pending, self.idle_ms_min, now) => pending.deliveries,
            Some(_) => return None,
            // Never delivered, it counts as delivered once.
            None if self.is_forced => 1,
            None => return None,
        };
        let deliveries =
            self.deliveries.unwrap_or(if self.is_just_id { before } else { before.saturating_add(1) });
        Some(Pending { consumer: consumer.clone(), delivered_at: self.delivered_at, deliveries })
    }
}

fn is_idle(pending: &Pending, idle_ms_min: i64, now: i64) -> bool {
    idle_ms_min == 0 || now.saturating_sub(pending.delivered_at) >= idle_ms_min
}

/// Fails unless the stream and its group are there.
fn require_group<'c>(ctx: &'c mut Ctx<'_>, key: &[u8], group: &[u8]) -> Result<&'c Group, ErrorReply> {
    ctx.db.read::<Stream>(key)?.and_then(|stream| stream.group(group)).ok_or_else(|| no_group(key, group))
}

/// `XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count]
/// [FORCE] [JUSTID] [LASTID lastid]`
fn xclaim(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, name, consumer, now) = (args.bytes(1), args.bytes(2), args.bytes(3), ctx.now.0);
    let place = require_group(ctx, key, name)?.last_id;
    let options = ClaimOptions::parse(args, now)?;
    let moves = options.last_id > place;
    ctx.propagate_nothing();
    let created = make_consumer(ctx, key, name, consumer)?;
    let mut taker = Taker { group: name, is_just_id: options.is_just_id, now, claims: Vec::new(), len: 0 };
    let array = ctx.reply.defer();
    if let Some(stream) = ctx.db.write::<Stream>(key)? {
        if let Some(group) = stream.group_mut(name).filter(|_| moves) {
            group.last_id = options.last_id;
        }
        let consumer = stream.group(name).and_then(|group| group.name_of(consumer)).unwrap_or_default();
        for &id in &options.ids {
            let old = stream.group(name).and_then(|group| group.pending(id));
            if !stream.contains(id) {
                taker.forget(stream, id);
            } else if let Some(pending) = options.claimed(old, &consumer, now) {
                taker.take(stream, &mut ctx.reply, id, pending);
            }
        }
    }
    ctx.reply.end_array(array, taker.len);
    if moves && taker.claims.is_empty() {
        ctx.add_dirty(1);
        let group = require_group(ctx, key, name)?.clone();
        propagate_place(ctx, key, name, &group);
    }
    taker.conclude(ctx, key, created.then_some(consumer));
    Ok(Flow::Done)
}

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
fn xautoclaim(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    /// So many pending entries are looked at for each that may be claimed.
    const ATTEMPTS_PER_ENTRY: u64 = 10;
    let (key, name, consumer, now) = (args.bytes(1), args.bytes(2), args.bytes(3), ctx.now.0);
    let idle_ms_min = number(args.bytes(4), "min-idle-time argument for XAUTOCLAIM")?.max(0);
    let start = ids::start(args.bytes(5))?;
    let (count, is_just_id) = autoclaim_options(&args.from(6))?;
    require_group(ctx, key, name)?;
    ctx.propagate_nothing();
    let created = make_consumer(ctx, key, name, consumer)?;

    let mut taker = Taker { group: name, is_just_id, now, claims: Vec::new(), len: 0 };
    let (mut lost, mut claimed, mut next) = (Vec::new(), Vec::new(), Some(start));
    if let Some(stream) = ctx.db.write::<Stream>(key)? {
        let consumer = stream.group(name).and_then(|group| group.name_of(consumer)).unwrap_or_default();
        let (mut left, mut attempts) = (count, count.saturating_mul(ATTEMPTS_PER_ENTRY));
        let mut reply = Reply::new(&mut claimed, ctx.reply.protocol());
        loop {
            let found = next.and_then(|from| stream.group(name)?.pending_from(from).next());
            next = found.map(|(id, _)| id);
            let Some((id, old)) = found.filter(|_| left > 0 && attempts > 0) else { break };
            attempts -= 1;
            next = id.next();
            if !stream.contains(id) {
                taker.forget(stream, id);
                lost.push(id);
                left -= 1;
            } else if is_idle(old, idle_ms_min, now) {
                let deliveries = if is_just_id { old.deliveries } else { old.deliveries.saturating_add(1) };
                let pending = Pending { consumer: consumer.clone(), delivered_at: now, deliveries };
                taker.take(stream, &mut reply, id, pending);
                left -= 1;
            }
        }
    }
    ctx.reply.array(3);
    ctx.reply.bulk(ids::text(next.unwrap_or_default()));
    ctx.reply.array(taker.len);
    ctx.reply.raw(&claimed);
    ctx.reply.array(lost.len());
    lost.into_iter().for_each(|id| ctx.reply.bulk(ids::text(id)));
    taker.conclude(ctx, key, created.then_some(consumer));
    Ok(Flow::Done)
}

/// `[COUNT count] [JUSTID]`
fn autoclaim_options(args: &Args<'_>) -> Result<(u64, bool), ErrorReply> {
    /// Redis keeps an id of 16 bytes for each entry.
    const COUNT_MAX: i64 = i64::MAX / 16;
    let (mut count, mut is_just_id) = (100, false);
    let mut at = 0;
    while at < args.len() {
        match args.get(at + 1) {
            Some(value) if args.is(at, "COUNT") => {
                let number = parse_i64(value).filter(|number| (1..=COUNT_MAX).contains(number));
                count = number.ok_or(ErrorReply::fixed("ERR COUNT must be > 0"))? as u64;
                at += 2;
            }
            _ if args.is(at, "JUSTID") => {
                is_just_id = true;
                at += 1;
            }
            _ => return Err(ErrorReply::SYNTAX),
        }
    }
    Ok((count, is_just_id))
}

/// Takes pending entries for a consumer, and remembers what is to be propagated.
struct Taker<'a> {
    group: &'a [u8],
    is_just_id: bool,
    now: i64,
    claims: Vec<Claim>,
    /// How many entries were replied.
    len: usize,
}

impl Taker<'_> {
    /// Replies an entry that is in the stream, and makes it pending as told.
    fn take(&mut self, stream: &mut Stream, reply: &mut Reply<'_>, id: StreamId, pending: Pending) {
        match stream.entry(id) {
            Some(entry) if !self.is_just_id => write_entry(reply, &entry),
            _ => reply.bulk(ids::text(id)),
        }
        self.len += 1;
        let Some(group) = stream.group_mut(self.group) else { return };
        group.assign(id, pending.clone());
        if let Some(consumer) = group.consumer_mut(&pending.consumer) {
            consumer.active_at = Some(self.now);
        }
        self.claims.push(Claim { id, pending, last_id: group.last_id });
    }

    /// An entry that the stream has lost is not pending any more.
    fn forget(&mut self, stream: &mut Stream, id: StreamId) {
        let Some(group) = stream.group_mut(self.group) else { return };
        if let Some(pending) = group.pending(id).cloned() {
            group.acknowledge(id);
            self.claims.push(Claim { id, pending, last_id: group.last_id });
        }
    }

    /// Counts and propagates what was done; `created` is a consumer that came to be.
    fn conclude(self, ctx: &mut Ctx<'_>, key: &[u8], created: Option<&[u8]>) {
        ctx.add_dirty(self.claims.len() as u64);
        if !ctx.is_propagating() {
            return;
        }
        self.claims.iter().for_each(|claim| claim.propagate(ctx, key, self.group));
        // A claim for a consumer tells of it as well.
        if let Some(consumer) = created
            && !self.claims.iter().any(|claim| claim.pending.consumer[..] == *consumer)
        {
            propagate_consumer(ctx, key, self.group, consumer);
        }
    }
}
