//! Members between two ends: by rank, by score or by member; read, stored or removed.

use std::ops::Range;

use super::super::context::Ctx;
use super::super::options::integer;
use super::super::spec::*;
use super::bounds::{lex_range, rank_range, score_range};
use super::{READ_KEY, Scores, insert, store, write_members};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::sorted_set::{LexRange, ScoreRange, SortedSet};

const READ_COMPLEXITY: &str =
    "O(log(N)+M), N being the size of the sorted set and M the number of members returned";
const REMOVE_COMPLEXITY: &str =
    "O(log(N)+M), N being the size of the sorted set and M the number of members removed";
const COUNT_COMPLEXITY: &str = "O(log(N)), N being the size of the sorted set";

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[
        CommandSpec::data("zrange", -4, READONLY, "sorted-set", zrange)
            .keys(READ_KEY)
            .looks_at(Extent::Positions)
            .docs(
                "1.2.0",
                READ_COMPLEXITY,
                "Reads the members between two ranks, scores or members.",
                "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
            ),
        CommandSpec::data("zrangestore", -5, WRITE | DENYOOM, "sorted-set", zrangestore)
            .keys(&[KeySpec::range(1, 1, 1, OW | UPDATE), KeySpec::range(2, 2, 1, RO | ACCESS)])
            .docs(
                "6.2.0",
                "O(log(N)+M), N being the size of the sorted set and M the number of members stored",
                "Stores the members between two ranks, scores or members as another sorted set.",
                "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
            ),
        CommandSpec::data("zrevrange", -4, READONLY, "sorted-set", zrevrange)
            .keys(READ_KEY)
            .looks_at(Extent::Positions)
            .docs(
                "1.2.0",
                READ_COMPLEXITY,
                "Reads the members between two ranks counted from the highest score.",
                "key start stop [WITHSCORES]",
            )
            .deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
        CommandSpec::data("zrangebyscore", -4, READONLY, "sorted-set", zrangebyscore)
            .keys(READ_KEY)
            .docs(
                "1.0.5",
                READ_COMPLEXITY,
                "Reads the members between two scores.",
                "key min max [WITHSCORES] [LIMIT offset count]",
            )
            .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
        CommandSpec::data("zrevrangebyscore", -4, READONLY, "sorted-set", zrevrangebyscore)
            .keys(READ_KEY)
            .docs(
                "2.2.0",
                READ_COMPLEXITY,
                "Reads the members between two scores, the highest first.",
                "key max min [WITHSCORES] [LIMIT offset count]",
            )
            .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
        CommandSpec::data("zrangebylex", -4, READONLY, "sorted-set", zrangebylex)
            .keys(READ_KEY)
            .docs(
                "2.8.9",
                READ_COMPLEXITY,
                "Reads the members between two members of equal score.",
                "key min max [LIMIT offset count]",
            )
            .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
        CommandSpec::data("zrevrangebylex", -4, READONLY, "sorted-set", zrevrangebylex)
            .keys(READ_KEY)
            .docs(
                "2.8.9",
                READ_COMPLEXITY,
                "Reads the members between two members of equal score, the last first.",
                "key max min [LIMIT offset count]",
            )
            .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
        CommandSpec::data("zcount", 4, READONLY | FAST, "sorted-set", zcount).keys(READ_KEY).docs(
            "2.0.0",
            COUNT_COMPLEXITY,
            "Counts the members between two scores.",
            "key min max",
        ),
        CommandSpec::data("zlexcount", 4, READONLY | FAST, "sorted-set", zlexcount).keys(READ_KEY).docs(
            "2.8.9",
            COUNT_COMPLEXITY,
            "Counts the members between two members of equal score.",
            "key min max",
        ),
        CommandSpec::data("zremrangebyrank", 4, WRITE, "sorted-set", zremrangebyrank).keys(REMOVE_KEY).docs(
            "2.0.0",
            REMOVE_COMPLEXITY,
            "Removes the members between two ranks.",
            "key start stop",
        ),
        CommandSpec::data("zremrangebyscore", 4, WRITE, "sorted-set", zremrangebyscore)
            .keys(REMOVE_KEY)
            .docs("1.2.0", REMOVE_COMPLEXITY, "Removes the members between two scores.", "key min max"),
        CommandSpec::data("zremrangebylex", 4, WRITE, "sorted-set", zremrangebylex).keys(REMOVE_KEY).docs(
            "2.8.9",
            REMOVE_COMPLEXITY,
            "Removes the members between two members of equal score.",
            "key min max",
        ),
    ];

const REMOVE_KEY: &[KeySpec] = &[KeySpec::range(1, 1, 1, RW | DELETE)];

/// What two ends are the ends of.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Interval<'a> {
    /// First and last rank, counted from the end when negative.
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Interval<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, ErrorReply> {
        Ok(match by {
            By::Rank => Self::Rank(integer(min)?, integer(max)?),
            By::Score => Self::Score(score_range(min, max)?),
            By::Lex => Self::Lex(lex_range(min, max)?),
        })
    }

    fn ranks(&self, set: &SortedSet) -> Range<usize> {
        match self {
            Self::Rank(start, stop) => rank_range(*start, *stop, set.len()),
            Self::Score(range) => set.ranks_by_score(range),
            Self::Lex(range) => set.ranks_by_lex(range),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Reverse,
}

/// Whether the members are for the client or for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Read,
    Store,
}

/// A request for members between two ends.
#[derive(Debug)]
struct RangeQuery<'a> {
    interval: Interval<'a>,
    direction: Direction,
    /// How many to leave out; a negative number leaves out all.
    offset: i64,
    /// How many at most; negative: all.
    limit: i64,
    scores: Scores,
}

impl<'a> RangeQuery<'a> {
    /// `args`: two ends and the options. What the command's name leaves open (`None`) options may say.
    fn parse(
        args: Args<'a>,
        by: Option<By>,
        direction: Option<Direction>,
        purpose: Purpose,
    ) -> Result<Self, ErrorReply> {
        let (is_by_open, is_direction_open) = (by.is_none(), direction.is_none());
        let (mut by, mut direction) = (by, direction);
        let (mut offset, mut limit, mut scores) = (0, -1, Scores::Without);
        let mut at = 2;
        while at < args.len() {
            if purpose == Purpose::Read && args.is(at, "withscores") {
                scores = Scores::With;
            } else if args.is(at, "limit") && args.len() - at > 2 {
                (offset, limit) = (integer(args.bytes(at + 1))?, integer(args.bytes(at + 2))?);
                at += 2;
            } else if is_direction_open && direction.is_none() && args.is(at, "rev") {
                direction = Some(Direction::Reverse);
            } else if is_by_open && by.is_none() && args.is(at, "bylex") {
                by = Some(By::Lex);
            } else if is_by_open && by.is_none() && args.is(at, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(ErrorReply::SYNTAX);
            }
            at += 1;
        }
        let (by, direction) = (by.unwrap_or(By::Rank), direction.unwrap_or(Direction::Forward));
        if limit != -1 && by == By::Rank {
            return Err(ErrorReply::fixed(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if scores == Scores::With && by == By::Lex {
            return Err(ErrorReply::fixed(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        // Ranks are counted in the direction of the walk; of scores and members the first end is the larger one.
        let (min, max) = match (direction, by) {
            (Direction::Reverse, By::Score | By::Lex) => (args.bytes(1), args.bytes(0)),
            _ => (args.bytes(0), args.bytes(1)),
        };
        Ok(Self { interval: Interval::parse(by, min, max)?, direction, offset, limit, scores })
    }

    /// The ranks that are asked for, in the set's own order.
    fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let mut ranks = self.interval.ranks(set);
        if let Interval::Rank(..) = self.interval {
            return match self.direction {
                Direction::Forward => ranks,
                Direction::Reverse => set.len() - ranks.end..set.len() - ranks.start,
            };
        }
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX).min(ranks.len());
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX).min(ranks.len() - offset);
        match self.direction {
            Direction::Forward => ranks.start += offset,
            Direction::Reverse => ranks.end -= offset,
        }
        match self.direction {
            Direction::Forward => ranks.start..ranks.start + limit,
            Direction::Reverse => ranks.end - limit..ranks.end,
        }
    }
}

/// `ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`
fn zrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    read(ctx, args, None, None)
}

/// `ZREVRANGE key start stop [WITHSCORES]`
fn zrevrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    read(ctx, args, Some(By::Rank), Some(Direction::Reverse))
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
fn zrangebyscore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    read(ctx, args, Some(By::Score), Some(Direction::Forward))
}

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`
fn zrevrangebyscore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    read(ctx, args, Some(By::Score), Some(Direction::Reverse))
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`
fn zrangebylex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    read(ctx, args, Some(By::Lex), Some(Direction::Forward))
}

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`
fn zrevrangebylex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    read(ctx, args, Some(By::Lex), Some(Direction::Reverse))
}

fn read(ctx: &mut Ctx<'_>, args: &Args<'_>, by: Option<By>, direction: Option<Direction>) -> CommandResult {
    let query = RangeQuery::parse(args.from(2), by, direction, Purpose::Read)?;
    let Some(set) = ctx.db.read::<SortedSet>(args.bytes(1))? else {
        ctx.reply.array(0);
        return Ok(Flow::Done);
    };
    let (ranks, direction, scores) = (query.ranks(set), query.direction, query.scores);
    if ctx.late.take_elements(ranks.len()) {
        let set = set.clone();
        ctx.late.leave(move |reply| write_range(reply, &set, ranks, direction, scores));
    } else {
        write_range(&mut ctx.reply, set, ranks, direction, scores);
    }
    Ok(Flow::Done)
}

fn write_range(
    reply: &mut Reply<'_>,
    set: &SortedSet,
    ranks: Range<usize>,
    direction: Direction,
    scores: Scores,
) {
    let members = set.range(ranks);
    match direction {
        Direction::Forward => write_members(reply, members, scores),
        Direction::Reverse => write_members(reply, members.rev(), scores),
    }
}

/// `ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]`
fn zrangestore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let query = RangeQuery::parse(args.from(3), None, None, Purpose::Store)?;
    let limits = ctx.db.limits;
    let mut result = SortedSet::default();
    if let Some(set) = ctx.db.read::<SortedSet>(args.bytes(2))? {
        let ranks = query.ranks(set);
        // Where it is not known beforehand how many there are, Redis begins with a listpack.
        let begins_large = matches!(query.interval, Interval::Rank(..))
            || !set.range(ranks.clone()).take(limits.zset_max_listpack_entries).any(is_negative_zero);
        if begins_large && ranks.len() > limits.zset_max_listpack_entries {
            result = set.subset(ranks, limits);
        } else {
            for (member, score) in set.range(ranks) {
                insert(&mut result, score, member, limits);
            }
        }
    }
    store(ctx, args.bytes(1), result, "zrangestore");
    Ok(Flow::Done)
}

fn is_negative_zero((_, score): (&[u8], f64)) -> bool {
    score == 0.0 && score.is_sign_negative()
}

/// `ZCOUNT key min max`
fn zcount(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    count(ctx, args, By::Score)
}

/// `ZLEXCOUNT key min max`
fn zlexcount(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    count(ctx, args, By::Lex)
}

fn count(ctx: &mut Ctx<'_>, args: &Args<'_>, by: By) -> CommandResult {
    let interval = Interval::parse(by, args.bytes(2), args.bytes(3))?;
    let count = ctx.db.read::<SortedSet>(args.bytes(1))?.map_or(0, |set| interval.ranks(set).len());
    ctx.reply.integer(count as i64);
    Ok(Flow::Done)
}

/// `ZREMRANGEBYRANK key start stop`
fn zremrangebyrank(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    remove(ctx, args, By::Rank, "zremrangebyrank")
}

/// `ZREMRANGEBYSCORE key min max`
fn zremrangebyscore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    remove(ctx, args, By::Score, "zremrangebyscore")
}

/// `ZREMRANGEBYLEX key min max`
fn zremrangebylex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    remove(ctx, args, By::Lex, "zremrangebylex")
}

fn remove(ctx: &mut Ctx<'_>, args: &Args<'_>, by: By, event: &'static str) -> CommandResult {
    let key = args.bytes(1);
    let interval = Interval::parse(by, args.bytes(2), args.bytes(3))?;
    let removed = match ctx.db.write::<SortedSet>(key)? {
        Some(set) => {
            let (removed, rest) = set.remove_rank_range(interval.ranks(set));
            ctx.db.clean_up(key, rest);
            removed
        }
        None => 0,
    };
    if removed > 0 {
        ctx.modified(key, event);
        ctx.add_dirty(removed as u64 - 1);
        ctx.remove_if_empty::<SortedSet>(key);
    }
    ctx.reply.integer(removed as i64);
    Ok(Flow::Done)
}
