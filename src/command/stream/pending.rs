//! XACK and XPENDING: entries that were delivered and not acknowledged.

use smallvec::SmallVec;

use super::{READ_KEY, ids, no_group, peek};
use crate::command::context::Ctx;
use crate::command::options::integer;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::stream::{Group, Pending, Stream, StreamId};

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("xack", -4, WRITE | FAST, "stream", xack)
        .keys(&[KeySpec::range(1, 1, 1, RW | UPDATE)])
        .docs(
            "5.0.0",
            "O(1) for each entry.",
            "Acknowledges entries, which are then no longer pending.",
            "key group id [id ...]",
        ),
    CommandSpec::data("xpending", -3, READONLY, "stream", xpending)
        .keys(READ_KEY)
        .docs(
            "5.0.0",
            "O(N) where N is the number of pending entries looked at; for the summary, of consumers.",
            "Tells of the entries that were delivered and not acknowledged.",
            "key group [[IDLE min-idle-time] start end count [consumer]]",
        )
        .tips(&["nondeterministic_output"]),
];

/// `XACK key group id [id ...]`
fn xack(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, name) = (args.bytes(1), args.bytes(2));
    if ctx.db.read::<Stream>(key)?.is_none_or(|stream| stream.group(name).is_none()) {
        ctx.reply.integer(0);
        return Ok(Flow::Done);
    }
    // A bad id must not end the command half-way.
    let ids: SmallVec<[StreamId; 8]> = args.iter().skip(3).map(ids::exact).collect::<Result<_, _>>()?;
    let group = ctx.db.write::<Stream>(key)?.and_then(|stream| stream.group_mut(name));
    let acknowledged = group.map_or(0, |group| ids.into_iter().filter(|&id| group.acknowledge(id)).count());
    ctx.add_dirty(acknowledged as u64);
    ctx.reply.integer(acknowledged as i64);
    Ok(Flow::Done)
}

/// Which pending entries XPENDING is asked for.
struct PendingRange<'a> {
    start: StreamId,
    end: StreamId,
    count: usize,
    idle_ms_min: i64,
    consumer: Option<&'a [u8]>,
}

impl<'a> PendingRange<'a> {
    /// None if only a summary is wanted.
    fn parse(args: &Args<'a>) -> Result<Option<Self>, ErrorReply> {
        if args.len() == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&args.len()) {
            return Err(ErrorReply::SYNTAX);
        }
        let (mut at, mut idle_ms_min) = (3, 0);
        if args.is(3, "IDLE") {
            idle_ms_min = integer(args.bytes(4))?;
            at = 5;
            if args.len() < 8 {
                return Err(ErrorReply::SYNTAX);
            }
        }
        let count = usize::try_from(integer(args.bytes(at + 2))?).unwrap_or(0);
        let (start, end) = (ids::start(args.bytes(at))?, ids::end(args.bytes(at + 1))?);
        Ok(Some(Self { start, end, count, idle_ms_min, consumer: args.get(at + 3) }))
    }
}

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
fn xpending(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let range = PendingRange::parse(args)?;
    let (key, name, now) = (args.bytes(1), args.bytes(2), ctx.now.0);
    // Counts as a read; the group is looked up beside the reply.
    ctx.db.read::<Stream>(key)?;
    let group = match peek(ctx, key)?.and_then(|stream| stream.group(name)) {
        Some(group) => group.clone(),
        None => return Err(no_group(key, name)),
    };
    match range {
        None => write_summary(&mut ctx.reply, &group),
        Some(range) => write_range(&mut ctx.reply, &group, &range, now),
    }
    Ok(Flow::Done)
}

fn write_summary(reply: &mut Reply<'_>, group: &Group) {
    reply.array(4);
    reply.integer(group.pending_len() as i64);
    let Some((first, last)) = group.pending_ends() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply.bulk(ids::text(first));
    reply.bulk(ids::text(last));
    let array = reply.defer();
    let mut len = 0;
    for (name, consumer) in group.consumers().filter(|(_, consumer)| consumer.pending_len() > 0) {
        reply.array(2);
        reply.bulk(name);
        reply.bulk_integer(consumer.pending_len() as i64);
        len += 1;
    }
    reply.end_array(array, len);
}

fn write_range(reply: &mut Reply<'_>, group: &Group, range: &PendingRange<'_>, now: i64) {
    let array = reply.defer();
    let mut len = 0;
    let mut write = |id: StreamId, pending: &Pending| {
        let idle_ms = now.saturating_sub(pending.delivered_at);
        if len < range.count && (range.idle_ms_min == 0 || idle_ms >= range.idle_ms_min) {
            reply.array(4);
            reply.bulk(ids::text(id));
            reply.bulk(&pending.consumer);
            reply.integer(idle_ms.max(0));
            reply.integer(pending.deliveries as i64);
            len += 1;
        }
        // Whether to go on.
        len < range.count
    };
    let is_within = |id: StreamId| id <= range.end;
    match range.consumer {
        None => {
            let mut all = group.pending_from(range.start).take_while(|&(id, _)| is_within(id));
            all.all(|(id, pending)| write(id, pending));
        }
        Some(name) => {
            let own =
                group.consumer(name).into_iter().flat_map(|consumer| consumer.pending_from(range.start));
            let mut own = own.take_while(|&id| is_within(id)).filter_map(|id| Some((id, group.pending(id)?)));
            own.all(|(id, pending)| write(id, pending));
        }
    }
    reply.end_array(array, len);
}
