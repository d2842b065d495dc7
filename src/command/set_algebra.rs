//! Commands that combine sets: intersection, union, difference, as a reply, as a count or into a key.
//!
//! The sets are read first, as clones that share their chunks, so that all types are checked before anything is done
//! and a destination may be one of the sources.

use super::context::Ctx;
use super::set::write_set;
use super::spec::*;
use crate::base::number::parse_i64;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::set::{Member, Set};
use crate::storage::{EncodingLimits, Value};

const MEETING: &str = "O(N*M) at worst, where N is the size of the smallest set and M the number of sets.";
const TOTAL: &str = "O(N) where N is the size of all sets together.";

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("sinter", -2, READONLY, "set", sinter)
        .keys(&[KeySpec::range(1, -1, 1, RO | ACCESS)])
        .looks_at(Extent::Elements)
        .docs("1.0.0", MEETING, "Replies the members that all of the sets have.", "key [key ...]")
        .tips(&["nondeterministic_output_order"]),
    CommandSpec::data("sinterstore", -3, WRITE | DENYOOM, "set", sinterstore)
        .keys(&[KeySpec::range(1, 1, 1, RW | UPDATE), KeySpec::range(2, -1, 1, RO | ACCESS)])
        .docs(
            "1.0.0",
            MEETING,
            "Stores the members that all of the sets have, and replies their number.",
            "destination key [key ...]",
        ),
    CommandSpec::data("sintercard", -3, READONLY | MOVABLE_KEYS, "set", sintercard)
        .keys(&[KeySpec::counted(1, RO | ACCESS)])
        .looks_at(Extent::Elements)
        .docs(
            "7.0.0",
            MEETING,
            "Counts the members that all of the sets have, up to a limit.",
            "numkeys key [key ...] [LIMIT limit]",
        ),
    CommandSpec::data("sunion", -2, READONLY, "set", sunion)
        .keys(&[KeySpec::range(1, -1, 1, RO | ACCESS)])
        .looks_at(Extent::Elements)
        .docs("1.0.0", TOTAL, "Replies the members that any of the sets has.", "key [key ...]")
        .tips(&["nondeterministic_output_order"]),
    CommandSpec::data("sunionstore", -3, WRITE | DENYOOM, "set", sunionstore)
        .keys(&[KeySpec::range(1, 1, 1, OW | UPDATE), KeySpec::range(2, -1, 1, RO | ACCESS)])
        .docs(
            "1.0.0",
            TOTAL,
            "Stores the members that any of the sets has, and replies their number.",
            "destination key [key ...]",
        ),
    CommandSpec::data("sdiff", -2, READONLY, "set", sdiff)
        .keys(&[KeySpec::range(1, -1, 1, RO | ACCESS)])
        .looks_at(Extent::Elements)
        .docs("1.0.0", TOTAL, "Replies the members that only the first of the sets has.", "key [key ...]")
        .tips(&["nondeterministic_output_order"]),
    CommandSpec::data("sdiffstore", -3, WRITE | DENYOOM, "set", sdiffstore)
        .keys(&[KeySpec::range(1, 1, 1, OW | UPDATE), KeySpec::range(2, -1, 1, RO | ACCESS)])
        .docs(
            "1.0.0",
            TOTAL,
            "Stores the members that only the first of the sets has, and replies their number.",
            "destination key [key ...]",
        ),
];

/// `SINTER key [key ...]`
fn sinter(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let sets = read_sets(ctx, args.from(1).iter())?;
    reply_members(ctx, |tell| intersection(sets, tell));
    Ok(Flow::Done)
}

/// `SINTERSTORE destination key [key ...]`
fn sinterstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let sets = read_sets(ctx, args.from(2).iter())?;
    let limits = ctx.db.limits;
    let result = match &sets[..] {
        [_] => united(sets, limits),
        _ => collect(limits, |tell| intersection(sets, tell)),
    };
    store(ctx, args.bytes(1), result, "sinterstore");
    Ok(Flow::Done)
}

/// `SINTERCARD numkeys key [key ...] [LIMIT limit]`
fn sintercard(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let keys_len = parse_i64(args.bytes(1)).filter(|&n| n > 0).ok_or(ErrorReply::NUMKEYS_NOT_POSITIVE)?;
    let keys_len = usize::try_from(keys_len).unwrap_or(usize::MAX);
    if keys_len > args.len() - 2 {
        return Err(ErrorReply::TOO_MANY_KEYS);
    }
    let mut limit = 0;
    let options = args.from(2 + keys_len);
    let mut i = 0;
    while i < options.len() {
        if !options.is(i, "LIMIT") || i + 1 == options.len() {
            return Err(ErrorReply::SYNTAX);
        }
        limit = parse_i64(options.bytes(i + 1)).filter(|&n| n >= 0).ok_or(ErrorReply::LIMIT_NEGATIVE)?;
        i += 2;
    }
    let sets = read_sets(ctx, args.from(2).iter().take(keys_len))?;
    let mut len = 0;
    intersection(sets, &mut |_| {
        len += 1;
        // 0 stands for no limit.
        if len == limit { Walk::Stop } else { Walk::On }
    });
    ctx.reply.integer(len);
    Ok(Flow::Done)
}

/// `SUNION key [key ...]`
fn sunion(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let mut sets = read_sets(ctx, args.from(1).iter())?;
    sets.retain(|set| !set.is_empty());
    if let [set] = &sets[..] {
        write_set(&mut ctx.reply, set);
    } else {
        let result = collect(ctx.db.limits, |tell| union(&sets, tell));
        write_set(&mut ctx.reply, &result);
    }
    Ok(Flow::Done)
}

/// `SUNIONSTORE destination key [key ...]`
fn sunionstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let sets = read_sets(ctx, args.from(2).iter())?;
    let result = united(sets, ctx.db.limits);
    store(ctx, args.bytes(1), result, "sunionstore");
    Ok(Flow::Done)
}

/// `SDIFF key [key ...]`
fn sdiff(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let sets = read_sets(ctx, args.from(1).iter())?;
    let limits = ctx.db.limits;
    reply_members(ctx, |tell| difference(sets, limits, tell));
    Ok(Flow::Done)
}

/// `SDIFFSTORE destination key [key ...]`
fn sdiffstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let sets = read_sets(ctx, args.from(2).iter())?;
    let limits = ctx.db.limits;
    let result = remaining(sets, limits);
    store(ctx, args.bytes(1), result, "sdiffstore");
    Ok(Flow::Done)
}

/// Whether a combination is to tell of further members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    On,
    Stop,
}

type Tell<'a> = &'a mut dyn FnMut(Member<'_>) -> Walk;

/// The sets at `keys`; a missing one is empty.
fn read_sets<'k>(ctx: &mut Ctx<'_>, keys: impl Iterator<Item = &'k [u8]>) -> Result<Vec<Set>, ErrorReply> {
    keys.map(|key| Ok(ctx.db.read::<Set>(key)?.cloned().unwrap_or_default())).collect()
}

/// Tells of every member that all sets have. Walks the smallest and looks into the others, smaller ones first.
fn intersection(mut sets: Vec<Set>, tell: Tell<'_>) {
    sets.sort_by_key(Set::len);
    let Some((smallest, others)) = sets.split_first() else { return };
    for member in smallest.iter() {
        if others.iter().all(|set| set.contains_member(member)) && tell(member) == Walk::Stop {
            return;
        }
    }
}

/// Tells of every member of every set; of one that several have, several times.
fn union(sets: &[Set], tell: Tell<'_>) {
    for member in sets.iter().flat_map(Set::iter) {
        tell(member);
    }
}

/// Tells of the members that the first set has and no other. Walks the first and looks into the others, larger ones
/// first; or, where they are so small that gathering them is less work than looking into each, into their union.
fn difference(mut sets: Vec<Set>, limits: &EncodingLimits, tell: Tell<'_>) {
    let Some((first, others)) = sets.split_first_mut() else { return };
    let gathered;
    let others = if others.iter().map(Set::len).sum::<usize>() < first.len() && others.len() > 2 {
        gathered = [collect(limits, |tell| union(others, tell))];
        &gathered[..]
    } else {
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        others
    };
    for member in first.iter() {
        if !others.iter().any(|set| set.contains_member(member)) && tell(member) == Walk::Stop {
            return;
        }
    }
}

/// The union as a set: the largest one with the members of the others, so that most is shared with it and not copied.
fn united(mut sets: Vec<Set>, limits: &EncodingLimits) -> Set {
    let largest = (0..sets.len()).max_by_key(|&i| sets[i].len());
    let Some(largest) = largest.filter(|&i| stays_large(&sets[i], 0, limits)) else {
        return collect(limits, |tell| union(&sets, tell));
    };
    let mut result = sets.swap_remove(largest);
    let mut number = itoa::Buffer::new();
    for member in sets.iter().flat_map(Set::iter) {
        result.insert(member.as_bytes(&mut number), limits);
    }
    result
}

/// The difference as a set: the first one without the members of the others, if those are few.
fn remaining(mut sets: Vec<Set>, limits: &EncodingLimits) -> Set {
    let others_len: usize = sets.iter().skip(1).map(Set::len).sum();
    let are_few = |first: &Set| others_len < first.len() / 2 && stays_large(first, others_len, limits);
    if !sets.first().is_some_and(are_few) {
        return collect(limits, |tell| difference(sets, limits, tell));
    }
    let mut result = sets.swap_remove(0);
    let mut number = itoa::Buffer::new();
    for member in sets.iter().flat_map(Set::iter) {
        result.remove(member.as_bytes(&mut number));
    }
    result
}

/// Whether a set that loses `fewer` of its members has the large form whatever they are, as one would that is put together
/// member by member.
fn stays_large(set: &Set, fewer: usize, limits: &EncodingLimits) -> bool {
    let small_max = limits.set_max_intset_entries.max(limits.set_max_listpack_entries);
    set.large_root().is_some() && set.len() - fewer > small_max
}

/// The members that `combine` tells of, as a set.
fn collect(limits: &EncodingLimits, combine: impl FnOnce(Tell<'_>)) -> Set {
    let mut result = Set::new();
    let mut number = itoa::Buffer::new();
    combine(&mut |member| {
        result.insert(member.as_bytes(&mut number), limits);
        Walk::On
    });
    result
}

/// Replies the members that `combine` tells of, each once.
fn reply_members(ctx: &mut Ctx<'_>, combine: impl FnOnce(Tell<'_>)) {
    let place = ctx.reply.defer();
    let mut len = 0;
    let mut number = itoa::Buffer::new();
    combine(&mut |member| {
        ctx.reply.bulk(member.as_bytes(&mut number));
        len += 1;
        Walk::On
    });
    ctx.reply.end_set(place, len);
}

/// Puts a result in the place of whatever is at `destination`; an empty one only removes that.
fn store(ctx: &mut Ctx<'_>, destination: &[u8], result: Set, event: &'static str) {
    let len = result.len();
    if len > 0 {
        ctx.db.insert(destination, Value::Set(result), None);
        ctx.modified(destination, event);
    } else if ctx.db.remove(destination) {
        ctx.modified(destination, "del");
    }
    ctx.reply.integer(len as i64);
}
