//! XLEN, XRANGE and XREVRANGE.

use super::{READ_KEY, ids, is_long, write_entries};
use crate::command::context::Ctx;
use crate::command::options::integer;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::stream::{Stream, StreamId};

const RANGE_COMPLEXITY: &str = "O(N) where N is the number of entries returned.";

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[
        CommandSpec::data("xlen", 2, READONLY | FAST, "stream", xlen)
            .keys(&[KeySpec::range(1, 1, 1, RO)])
            .docs("5.0.0", "O(1)", "Counts the entries of a stream.", "key"),
        CommandSpec::data("xrange", -4, READONLY, "stream", xrange).keys(READ_KEY).docs(
            "5.0.0",
            RANGE_COMPLEXITY,
            "Reads the entries of a stream between two ids.",
            "key start end [COUNT count]",
        ),
        CommandSpec::data("xrevrange", -4, READONLY, "stream", xrevrange).keys(READ_KEY).docs(
            "5.0.0",
            RANGE_COMPLEXITY,
            "Reads the entries of a stream between two ids, the last one first.",
            "key end start [COUNT count]",
        ),
    ];

/// `XLEN key`
fn xlen(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let len = ctx.db.read::<Stream>(args.bytes(1))?.map_or(0, Stream::len);
    ctx.reply.integer(len as i64);
    Ok(Flow::Done)
}

/// `XRANGE key start end [COUNT count]`
fn xrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    range(ctx, args, Direction::Forward)
}

/// `XREVRANGE key end start [COUNT count]`
fn xrevrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    range(ctx, args, Direction::Back)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Back,
}

fn range(ctx: &mut Ctx<'_>, args: &Args<'_>, direction: Direction) -> CommandResult {
    let (start_at, end_at) = if direction == Direction::Forward { (2, 3) } else { (3, 2) };
    let (start, end) = (ids::start(args.bytes(start_at))?, ids::end(args.bytes(end_at))?);
    let mut count = usize::MAX;
    let mut at = 4;
    while at < args.len() {
        let value = args.get(at + 1).filter(|_| args.is(at, "COUNT")).ok_or(ErrorReply::SYNTAX)?;
        count = usize::try_from(integer(value)?).unwrap_or(0);
        at += 2;
    }
    match ctx.db.read::<Stream>(args.bytes(1))? {
        None => ctx.reply.array(0),
        Some(_) if count == 0 => ctx.reply.null_array(),
        Some(stream) if is_long(&ctx.late, stream, (start, end), count) => {
            let stream = stream.clone();
            ctx.late.leave(move |reply| write_range(reply, &stream, (start, end), count, direction));
        }
        Some(stream) => write_range(&mut ctx.reply, stream, (start, end), count, direction),
    }
    Ok(Flow::Done)
}

fn write_range(
    reply: &mut Reply<'_>,
    stream: &Stream,
    (start, end): (StreamId, StreamId),
    count: usize,
    direction: Direction,
) {
    match direction {
        Direction::Forward => write_entries(reply, stream.range(start, end).take(count)),
        Direction::Back => write_entries(reply, stream.range_back(start, end).take(count)),
    }
}
