//! Taking the first or last members out: ZPOPMIN, ZPOPMAX, ZMPOP and the forms that wait for one.

use std::ops::Range;

use super::super::context::Ctx;
use super::super::options::{integer_in, timeout};
use super::super::spec::*;
use super::write_pair;
use crate::base::clock::UnixMillis;
use crate::base::number::parse_i64;
use crate::engine::TimeoutReply;
use crate::engine::long_read::LateReplies;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::ValueRef;
use crate::storage::sorted_set::SortedSet;

const POP_KEYS: KeyFlags = RW | ACCESS | DELETE;
const POP_COMPLEXITY: &str =
    "O(log(N)*M), N being the size of the sorted set and M the number of members popped";
const MPOP_COMPLEXITY: &str = "O(K) + O(M*log(N)), K being the number of keys, N the size of the sorted set and M the number of members popped";

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("zpopmin", -2, WRITE | FAST, "sorted-set", zpopmin)
        .keys(&[KeySpec::range(1, 1, 1, POP_KEYS)])
        .docs("5.0.0", POP_COMPLEXITY, "Takes out the members with the lowest scores.", "key [count]"),
    CommandSpec::data("zpopmax", -2, WRITE | FAST, "sorted-set", zpopmax)
        .keys(&[KeySpec::range(1, 1, 1, POP_KEYS)])
        .docs("5.0.0", POP_COMPLEXITY, "Takes out the members with the highest scores.", "key [count]"),
    CommandSpec::data("bzpopmin", -3, WRITE | BLOCKING | FAST, "sorted-set", bzpopmin)
        .keys(&[KeySpec::range(1, -2, 1, POP_KEYS)])
        .docs(
            "5.0.0",
            "O(log(N)), N being the size of the sorted set",
            "Takes out the member with the lowest score of the first sorted set there is, or waits for one.",
            "key [key ...] timeout",
        ),
    CommandSpec::data("bzpopmax", -3, WRITE | BLOCKING | FAST, "sorted-set", bzpopmax)
        .keys(&[KeySpec::range(1, -2, 1, POP_KEYS)])
        .docs(
            "5.0.0",
            "O(log(N)), N being the size of the sorted set",
            "Takes out the member with the highest score of the first sorted set there is, or waits for one.",
            "key [key ...] timeout",
        ),
    CommandSpec::data("zmpop", -4, WRITE | MOVABLE_KEYS, "sorted-set", zmpop)
        .keys(&[KeySpec::counted(1, POP_KEYS)])
        .docs(
            "7.0.0",
            MPOP_COMPLEXITY,
            "Takes members out of the first sorted set there is.",
            "numkeys key [key ...] <MIN | MAX> [COUNT count]",
        ),
    CommandSpec::data("bzmpop", -5, WRITE | BLOCKING | MOVABLE_KEYS, "sorted-set", bzmpop)
        .keys(&[KeySpec::counted(2, POP_KEYS)])
        .docs(
            "7.0.0",
            MPOP_COMPLEXITY,
            "Takes members out of the first sorted set there is, or waits for one.",
            "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
        ),
];

/// Which end members are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            Self::Min => "zpopmin",
            Self::Max => "zpopmax",
        }
    }

    /// The command that takes from this end, as it is propagated.
    fn command(self) -> &'static [u8] {
        match self {
            Self::Min => b"ZPOPMIN",
            Self::Max => b"ZPOPMAX",
        }
    }
}

/// `ZPOPMIN key [count]`
fn zpopmin(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    pop(ctx, args, End::Min)
}

/// `ZPOPMAX key [count]`
fn zpopmax(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    pop(ctx, args, End::Max)
}

fn pop(ctx: &mut Ctx<'_>, args: &Args<'_>, end: End) -> CommandResult {
    if args.len() > 3 {
        return Err(ErrorReply::SYNTAX);
    }
    let count = match args.get(2) {
        Some(arg) => Some(
            parse_i64(arg)
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(ErrorReply::OUT_OF_RANGE_POSITIVE)?,
        ),
        None => None,
    };
    let key = args.bytes(1);
    let Some(set) = ctx.db.write::<SortedSet>(key)? else {
        ctx.reply.array(0);
        return Ok(Flow::Done);
    };
    let taken = count.unwrap_or(1).min(set.len());
    // One array of all, except that RESP3 reads pairs where a count was given.
    if count.is_some() && ctx.reply.is_resp3() {
        ctx.reply.array(taken);
    } else {
        ctx.reply.array(2 * taken);
    }
    let shape = if count.is_some() { Shape::Pairs } else { Shape::Flat };
    let rest = take(set, end, taken, shape, &mut ctx.reply, &mut ctx.late);
    if taken > 0 {
        popped(ctx, key, end, rest);
    }
    Ok(Flow::Done)
}

/// How a member and its score stand in the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One behind the other.
    Flat,
    /// As a pair where the protocol nests them.
    Pairs,
    /// As a pair in any protocol.
    Nested,
}

impl Shape {
    fn write(self, reply: &mut Reply<'_>, member: &[u8], score: f64) {
        match self {
            Self::Pairs => write_pair(reply, member, score),
            Self::Flat | Self::Nested => {
                if self == Self::Nested {
                    reply.array(2);
                }
                reply.bulk(member);
                reply.double(score);
            }
        }
    }
}

/// Moves `count` members that are there to the end of the reply, the outermost first. Answers what is to be freed.
fn take(
    set: &mut SortedSet,
    end: End,
    count: usize,
    shape: Shape,
    reply: &mut Reply<'_>,
    late: &mut LateReplies<'_>,
) -> Option<SortedSet> {
    let len = set.len();
    let ranks = match end {
        End::Min => 0..count,
        End::Max => len - count..len,
    };
    if late.take_elements(count) {
        let (whole, ranks) = (set.clone(), ranks.clone());
        late.leave(move |reply| write_popped(reply, &whole, ranks, end, shape));
    } else {
        write_popped(reply, set, ranks.clone(), end, shape);
    }
    set.remove_rank_range(ranks).1
}

fn write_popped(reply: &mut Reply<'_>, set: &SortedSet, ranks: Range<usize>, end: End, shape: Shape) {
    let members = set.range(ranks);
    let write = |(member, score): (&[u8], f64)| shape.write(reply, member, score);
    match end {
        End::Min => members.for_each(write),
        End::Max => members.rev().for_each(write),
    }
}

/// Says that members were taken from `key`; `rest` is to be freed.
fn popped(ctx: &mut Ctx<'_>, key: &[u8], end: End, rest: Option<SortedSet>) {
    ctx.db.clean_up(key, rest);
    ctx.modified(key, end.event());
    ctx.remove_if_empty::<SortedSet>(key);
}

/// The first of the keys at which there is a sorted set.
fn first_present<'a>(
    ctx: &mut Ctx<'_>,
    keys: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<&'a [u8]>, ErrorReply> {
    for key in keys {
        match ctx.db.peek(key) {
            None => {}
            Some(ValueRef::SortedSet(_)) => return Ok(Some(key)),
            Some(_) => return Err(ErrorReply::WRONG_TYPE),
        }
    }
    Ok(None)
}

/// `BZPOPMIN key [key ...] timeout`
fn bzpopmin(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    blocking_pop(ctx, args, End::Min)
}

/// `BZPOPMAX key [key ...] timeout`
fn bzpopmax(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    blocking_pop(ctx, args, End::Max)
}

fn blocking_pop(ctx: &mut Ctx<'_>, args: &Args<'_>, end: End) -> CommandResult {
    let last = args.len() - 1;
    let deadline = timeout(args.bytes(last), ctx.now)?;
    let keys = args.iter().take(last).skip(1);
    let Some(key) = first_present(ctx, keys.clone())? else { return Ok(block(keys, deadline)) };
    if let Some(set) = ctx.db.write::<SortedSet>(key)? {
        ctx.reply.array(3);
        ctx.reply.bulk(key);
        let rest = take(set, end, 1, Shape::Flat, &mut ctx.reply, &mut ctx.late);
        popped(ctx, key, end, rest);
        ctx.propagate_as([end.command(), key]);
    }
    Ok(Flow::Done)
}

fn block<'a>(keys: impl Iterator<Item = &'a [u8]>, deadline: Option<UnixMillis>) -> Flow {
    let keys = keys.map(<[u8]>::to_vec).collect();
    Flow::Block(BlockOnKeys::new(keys, deadline, TimeoutReply::NullArray))
}

/// The part that ZMPOP and BZMPOP have in common.
struct MultiPop<'a> {
    keys: Args<'a>,
    keys_len: usize,
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    /// `args`: `numkeys key [key ...] <MIN | MAX> [COUNT count]`
    fn parse(args: Args<'a>) -> Result<Self, ErrorReply> {
        let positive = |arg, sentence| -> Result<usize, ErrorReply> {
            let error = ErrorReply::fixed(sentence);
            let n = integer_in(arg, 1..=i64::MAX, error.clone()).map_err(|_| error)?;
            Ok(usize::try_from(n).unwrap_or(usize::MAX))
        };
        let keys_len = positive(args.bytes(0), "ERR numkeys should be greater than 0")?;
        let at = keys_len.saturating_add(1);
        let end = if args.is(at, "min") {
            End::Min
        } else if args.is(at, "max") {
            End::Max
        } else {
            return Err(ErrorReply::SYNTAX);
        };
        let options = args.from(at + 1);
        let count = match options.len() {
            0 => 1,
            1 => return Err(ErrorReply::SYNTAX),
            _ if !options.is(0, "count") => return Err(ErrorReply::SYNTAX),
            len => {
                let count = positive(options.bytes(1), "ERR count should be greater than 0")?;
                if len > 2 {
                    return Err(ErrorReply::SYNTAX);
                }
                count
            }
        };
        Ok(Self { keys: args.from(1), keys_len, end, count })
    }

    fn keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.keys.iter().take(self.keys_len)
    }

    /// Pops from the first sorted set there is; whether there was one.
    fn run(&self, ctx: &mut Ctx<'_>) -> Result<bool, ErrorReply> {
        let Some(key) = first_present(ctx, self.keys())? else { return Ok(false) };
        let Some(set) = ctx.db.write::<SortedSet>(key)? else { return Ok(false) };
        let taken = self.count.min(set.len());
        ctx.reply.array(2);
        ctx.reply.bulk(key);
        ctx.reply.array(taken);
        let rest = take(set, self.end, taken, Shape::Nested, &mut ctx.reply, &mut ctx.late);
        popped(ctx, key, self.end, rest);
        ctx.propagate_as([self.end.command(), key, itoa::Buffer::new().format(taken).as_bytes()]);
        Ok(true)
    }
}

/// `ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]`
fn zmpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    if !MultiPop::parse(args.from(1))?.run(ctx)? {
        ctx.reply.null_array();
    }
    Ok(Flow::Done)
}

/// `BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]`
fn bzmpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let pop = MultiPop::parse(args.from(2))?;
    let deadline = timeout(args.bytes(1), ctx.now)?;
    if pop.run(ctx)? { Ok(Flow::Done) } else { Ok(block(pop.keys(), deadline)) }
}
