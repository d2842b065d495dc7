//! Giving members scores and taking members out: ZADD, ZINCRBY, ZREM.

use smallvec::SmallVec;

use super::super::context::Ctx;
use super::super::spec::*;
use super::{insert, score};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::EncodingLimits;
use crate::storage::sorted_set::{Change, SortedSet};

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("zadd", -4, WRITE | DENYOOM | FAST, "sorted-set", zadd)
        .keys(&[KeySpec::range(1, 1, 1, RW | UPDATE)])
        .docs(
            "1.2.0",
            "O(log(N)) for each member, N being the size of the sorted set",
            "Gives members scores, adding those that are not there yet.",
            "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        ),
    CommandSpec::data("zincrby", 4, WRITE | DENYOOM | FAST, "sorted-set", zincrby)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | UPDATE)])
        .docs(
            "1.2.0",
            "O(log(N)), N being the size of the sorted set",
            "Adds to the score of a member.",
            "key increment member",
        ),
    CommandSpec::data("zrem", -3, WRITE | FAST, "sorted-set", zrem)
        .keys(&[KeySpec::range(1, 1, 1, RW | DELETE)])
        .docs(
            "1.2.0",
            "O(M*log(N)), N being the size of the sorted set and M the number of members named",
            "Removes members.",
            "key member [member ...]",
        ),
];

/// Which members ZADD may touch, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct AddOptions {
    /// NX: only members that are new.
    only_new: bool,
    /// XX: only members that are there.
    only_existing: bool,
    /// GT: a score may only rise.
    only_greater: bool,
    /// LT: a score may only fall.
    only_less: bool,
    /// CH: changed members count as well.
    counts_changed: bool,
    /// INCR: the score is added to the one that is there.
    increments: bool,
}

impl AddOptions {
    /// Options from argument 2 on, and where they end.
    fn parse(args: &Args<'_>) -> Result<(Self, usize), ErrorReply> {
        let mut options = Self::default();
        let mut at = 2;
        while let Some(arg) = args.get(at) {
            let option = match arg {
                // A score begins with none of the letters below, so most commands end here at once.
                [b'0'..=b'9' | b'-' | b'+' | b'.', ..] => break,
                _ if arg.eq_ignore_ascii_case(b"nx") => &mut options.only_new,
                _ if arg.eq_ignore_ascii_case(b"xx") => &mut options.only_existing,
                _ if arg.eq_ignore_ascii_case(b"gt") => &mut options.only_greater,
                _ if arg.eq_ignore_ascii_case(b"lt") => &mut options.only_less,
                _ if arg.eq_ignore_ascii_case(b"ch") => &mut options.counts_changed,
                _ if arg.eq_ignore_ascii_case(b"incr") => &mut options.increments,
                _ => break,
            };
            *option = true;
            at += 1;
        }
        let rest = args.len() - at;
        if rest == 0 || !rest.is_multiple_of(2) {
            return Err(ErrorReply::SYNTAX);
        }
        if options.only_new && options.only_existing {
            return Err(ErrorReply::fixed("ERR XX and NX options at the same time are not compatible"));
        }
        let exclusive = [options.only_new, options.only_greater, options.only_less];
        if exclusive.into_iter().filter(|&is_set| is_set).count() > 1 {
            return Err(ErrorReply::fixed(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if options.increments && rest > 2 {
            return Err(ErrorReply::fixed("ERR INCR option supports a single increment-element pair"));
        }
        Ok((options, at))
    }

    /// Whether a member's score has no say in what becomes of it.
    fn is_plain(&self) -> bool {
        !(self.only_new || self.only_existing || self.only_greater || self.only_less || self.increments)
    }
}

/// `ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]`
fn zadd(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (options, at) = AddOptions::parse(args)?;
    add(ctx, args, options, at)?;
    Ok(Flow::Done)
}

/// Does what the command `zadd` says, for another one that has been turned into it, and propagates that.
pub(in crate::command) fn zadd_in_place_of(ctx: &mut Ctx<'_>, zadd: &Args<'_>) -> CommandResult {
    let (options, at) = AddOptions::parse(zadd)?;
    if add(ctx, zadd, options, at)? {
        ctx.propagate_as(zadd.iter());
    }
    Ok(Flow::Done)
}

/// `ZINCRBY key increment member`
fn zincrby(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    add(ctx, args, AddOptions { increments: true, ..AddOptions::default() }, 2)?;
    Ok(Flow::Done)
}

/// Adds the pairs from argument `at` on; whether that changed anything.
fn add(ctx: &mut Ctx<'_>, args: &Args<'_>, options: AddOptions, at: usize) -> Result<bool, ErrorReply> {
    let key = args.bytes(1);
    let pairs = args.from(at);
    // One bad score spoils all pairs, so all are read first.
    let scores: SmallVec<[f64; 8]> = pairs.iter().step_by(2).map(score).collect::<Result<_, ErrorReply>>()?;
    let members = pairs.iter().skip(1).step_by(2);

    let limits = ctx.db.limits;
    let set = if options.only_existing {
        ctx.db.write::<SortedSet>(key)?
    } else {
        Some(ctx.db.write_or_create::<SortedSet>(key)?)
    };
    let (mut added, mut updated, mut last) = (0, 0, None);
    if let Some(set) = set {
        for (&score, member) in scores.iter().zip(members) {
            let change = if options.is_plain() {
                Some((insert(set, score, member, limits), score))
            } else {
                add_one(set, score, member, options, limits)?
            };
            match change {
                Some((Change::Added, _)) => added += 1,
                Some((Change::Updated, _)) => updated += 1,
                Some((Change::Unchanged, _)) | None => {}
            }
            last = change.map(|(_, score)| score);
        }
    }

    if added + updated > 0 {
        ctx.modified(key, if options.increments { "zincr" } else { "zadd" });
        ctx.add_dirty(added + updated - 1);
    }
    match last {
        Some(score) if options.increments => ctx.reply.double(score),
        None if options.increments => ctx.reply.null(),
        _ if options.counts_changed => ctx.reply.integer((added + updated) as i64),
        _ => ctx.reply.integer(added as i64),
    }
    Ok(added + updated > 0)
}

/// Adds one member if the options let it be; what that did and the member's score.
fn add_one(
    set: &mut SortedSet,
    score: f64,
    member: &[u8],
    options: AddOptions,
    limits: &EncodingLimits,
) -> Result<Option<(Change, f64)>, ErrorReply> {
    let Some(old) = set.score(member) else {
        let is_allowed = !options.only_existing;
        return Ok(is_allowed.then(|| (insert(set, score, member, limits), score)));
    };
    if options.only_new {
        return Ok(None);
    }
    let score = if options.increments { old + score } else { score };
    if score.is_nan() {
        return Err(ErrorReply::fixed("ERR resulting score is not a number (NaN)"));
    }
    if (options.only_greater && score <= old) || (options.only_less && score >= old) {
        return Ok(None);
    }
    Ok(Some((insert(set, score, member, limits), score)))
}

/// `ZREM key member [member ...]`
fn zrem(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let removed = match ctx.db.write::<SortedSet>(key)? {
        Some(set) => args.from(2).iter().filter(|member| set.remove(member).is_some()).count(),
        None => 0,
    };
    if removed > 0 {
        ctx.modified(key, "zrem");
        ctx.add_dirty(removed as u64 - 1);
        ctx.remove_if_empty::<SortedSet>(key);
    }
    ctx.reply.integer(removed as i64);
    Ok(Flow::Done)
}
