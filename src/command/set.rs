//! Commands of the set group that work on one set, or move between two; `set_algebra` has those that combine sets.

use super::context::Ctx;
use super::options::{rounds, signed_count};
use super::scan_options::{Page, ScanOf, ScanOptions, cursor};
use super::spec::*;
use crate::base::number::parse_i64;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::set::{Member, Set};

/// SPOP with a count tells replicas of this many members per SREM.
const SREM_MEMBERS_MAX: usize = 1024;
/// In the time in which one member is drawn and removed so many are walked through.
const WALKED_PER_DRAW: usize = 200;
/// So many members SPOP draws one by one, to take them out or to keep them; more than that are taken out together.
const DRAWN_ONE_BY_ONE_MAX: usize = if cfg!(test) { 3 } else { 1000 };

pub(super) const COMMANDS: &[CommandSpec] =
    &[
        CommandSpec::data("sadd", -3, WRITE | DENYOOM | FAST, "set", sadd)
            .keys(&[KeySpec::range(1, 1, 1, RW | INSERT)])
            .docs(
                "1.0.0",
                "O(N) where N is the number of members; O(1) for each of them.",
                "Adds members to a set, creating the set when the key is missing.",
                "key member [member ...]",
            ),
        CommandSpec::data("srem", -3, WRITE | FAST, "set", srem)
            .keys(&[KeySpec::range(1, 1, 1, RW | DELETE)])
            .docs(
                "1.0.0",
                "O(N) where N is the number of members named.",
                "Removes members, and the key with the last of them.",
                "key member [member ...]",
            ),
        CommandSpec::data("smembers", 2, READONLY, "set", smembers)
            .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
            .looks_at(Extent::Elements)
            .docs("1.0.0", "O(N) where N is the size of the set.", "Reads all members of a set.", "key")
            .tips(&["nondeterministic_output_order"]),
        CommandSpec::data("sismember", 3, READONLY | FAST, "set", sismember)
            .keys(&[KeySpec::range(1, 1, 1, RO)])
            .docs("1.0.0", "O(1)", "Tells whether a set has a member.", "key member"),
        CommandSpec::data("smismember", -3, READONLY | FAST, "set", smismember)
            .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
            .docs(
                "6.2.0",
                "O(N) where N is the number of members asked for.",
                "Tells for each of several members whether a set has it.",
                "key member [member ...]",
            ),
        CommandSpec::data("scard", 2, READONLY | FAST, "set", scard)
            .keys(&[KeySpec::range(1, 1, 1, RO)])
            .docs("1.0.0", "O(1)", "Counts the members of a set.", "key"),
        CommandSpec::data("spop", -2, WRITE | FAST, "set", spop)
            .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | DELETE)])
            .docs(
                "1.0.0",
                "O(1) without a count, otherwise O(N) where N is the count.",
                "Draws members at random, removes and replies them; the key goes with the last.",
                "key [count]",
            )
            .tips(&["nondeterministic_output"]),
        CommandSpec::data("srandmember", -2, READONLY, "set", srandmember)
            .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
            .looks_at(Extent::Draws)
            .docs(
                "1.0.0",
                "O(1) without a count, otherwise O(N) where N is the count's absolute value.",
                "Draws members at random.",
                "key [count]",
            )
            .tips(&["nondeterministic_output"]),
        CommandSpec::data("smove", 4, WRITE | FAST, "set", smove)
            .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | DELETE), KeySpec::range(2, 2, 1, RW | INSERT)])
            .docs("1.0.0", "O(1)", "Moves a member from one set to another.", "source destination member"),
        CommandSpec::data("sscan", -3, READONLY, "set", sscan)
            .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
            .looks_at(Extent::Scan)
            .docs(
                "2.8.0",
                "O(1) for a call, O(N) for a whole iteration, where N is the size of the set.",
                "Iterates over the members of a set, some per call.",
                "key cursor [MATCH pattern] [COUNT count]",
            )
            .tips(&["nondeterministic_output"]),
    ];

/// `SADD key member [member ...]`
fn sadd(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let limits = ctx.db.limits;
    let set = ctx.db.write_or_create::<Set>(key)?;
    let added = args.from(2).iter().filter(|member| set.insert(member, limits)).count();
    if added > 0 {
        ctx.modified(key, "sadd");
        ctx.add_dirty(added as u64 - 1);
    }
    ctx.reply.integer(added as i64);
    Ok(Flow::Done)
}

/// `SREM key member [member ...]`
fn srem(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let removed = match ctx.db.write::<Set>(key)? {
        Some(set) => args.from(2).iter().filter(|member| set.remove(member)).count(),
        None => 0,
    };
    if removed > 0 {
        ctx.modified(key, "srem");
        ctx.add_dirty(removed as u64 - 1);
        ctx.remove_if_empty::<Set>(key);
    }
    ctx.reply.integer(removed as i64);
    Ok(Flow::Done)
}

/// `SMEMBERS key`
fn smembers(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    match ctx.db.read::<Set>(args.bytes(1))? {
        Some(set) => write_set(&mut ctx.reply, set),
        None => ctx.reply.set(0),
    }
    Ok(Flow::Done)
}

/// `SISMEMBER key member`
fn sismember(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let is_member = ctx.db.read::<Set>(args.bytes(1))?.is_some_and(|set| set.contains(args.bytes(2)));
    ctx.reply.integer(is_member.into());
    Ok(Flow::Done)
}

/// `SMISMEMBER key member [member ...]`
fn smismember(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let set = ctx.db.read::<Set>(args.bytes(1))?;
    let members = args.from(2);
    ctx.reply.array(members.len());
    for member in members.iter() {
        ctx.reply.integer(set.is_some_and(|set| set.contains(member)).into());
    }
    Ok(Flow::Done)
}

/// `SCARD key`
fn scard(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let len = ctx.db.read::<Set>(args.bytes(1))?.map_or(0, Set::len);
    ctx.reply.integer(len as i64);
    Ok(Flow::Done)
}

/// `SPOP key [count]`
fn spop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    match args.len() {
        2 => pop_one(ctx, args.bytes(1)),
        3 => {
            let count = parse_i64(args.bytes(2)).and_then(|count| usize::try_from(count).ok());
            pop_several(ctx, args.bytes(1), count.ok_or(ErrorReply::OUT_OF_RANGE_POSITIVE)?)
        }
        _ => Err(ErrorReply::SYNTAX),
    }
}

fn pop_one(ctx: &mut Ctx<'_>, key: &[u8]) -> CommandResult {
    let Some(member) = ctx.db.write::<Set>(key)?.and_then(|set| set.pop_random(ctx.rng)) else {
        ctx.reply.null();
        return Ok(Flow::Done);
    };
    ctx.modified(key, "spop");
    ctx.remove_if_empty::<Set>(key);
    ctx.propagate_as([b"SREM", key, &member]);
    ctx.reply.bulk(member);
    Ok(Flow::Done)
}

fn pop_several(ctx: &mut Ctx<'_>, key: &[u8], count: usize) -> CommandResult {
    let is_propagating = ctx.is_propagating();
    let Some(set) = ctx.db.write::<Set>(key)?.filter(|_| count > 0) else {
        ctx.reply.set(0);
        return Ok(Flow::Done);
    };
    if count >= set.len() {
        let len = set.len();
        if ctx.late.take_elements(len) {
            let set = set.clone();
            ctx.late.leave(move |reply| write_set(reply, &set));
        } else {
            write_set(&mut ctx.reply, set);
        }
        ctx.db.remove(key);
        ctx.modified(key, "spop");
        ctx.add_dirty(len as u64 - 1);
        ctx.event(key, "del");
        ctx.propagate_removal(key, ctx.config.lazyfree_lazy_server_del);
        return Ok(Flow::Done);
    }
    let len = set.len();
    // Whoever tells replicas what has gone walks through all of the segments that have lost some, and at once.
    let together_min = if is_propagating { len / WALKED_PER_DRAW } else { 0 };
    if count < together_min.max(DRAWN_ONE_BY_ONE_MAX) {
        return pop_few(ctx, key, count);
    }
    if len - count < DRAWN_ONE_BY_ONE_MAX {
        return pop_most(ctx, key, count);
    }
    let Some(lost) = set.pop_many(count, ctx.rng) else { return pop_few(ctx, key, count) };
    ctx.modified(key, "spop");
    ctx.add_dirty(count as u64 - 1);
    ctx.db.clean_up(key, None::<Set>);
    if is_propagating {
        let mut removal = Removal::new(key);
        lost.each(|member, _| removal.add(ctx, member));
        removal.end(ctx);
    }
    let write = move |reply: &mut Reply<'_>| {
        reply.set(lost.count());
        lost.each(|member, _| reply.bulk(member));
    };
    // All of the segments that have lost some are walked through.
    if ctx.late.take_elements(len) {
        ctx.late.leave(write);
    } else {
        write(&mut ctx.reply);
    }
    Ok(Flow::Done)
}

/// Draws members and removes them, one after the other.
fn pop_few(ctx: &mut Ctx<'_>, key: &[u8], count: usize) -> CommandResult {
    let Some(set) = ctx.db.write::<Set>(key)? else { return Ok(Flow::Done) };
    let drawn: Vec<Vec<u8>> = set.random_distinct(count, ctx.rng).into_iter().map(Member::to_vec).collect();
    ctx.reply.set(drawn.len());
    for member in &drawn {
        set.remove(member);
        ctx.reply.bulk(member);
    }
    ctx.modified(key, "spop");
    ctx.add_dirty(drawn.len() as u64 - 1);
    let mut removal = Removal::new(key);
    drawn.iter().for_each(|member| removal.add(ctx, member));
    removal.end(ctx);
    Ok(Flow::Done)
}

/// Pops so many that few stay: those are drawn, and make a set of their own in the place of the old one.
fn pop_most(ctx: &mut Ctx<'_>, key: &[u8], count: usize) -> CommandResult {
    let limits = ctx.db.limits;
    let Some(set) = ctx.db.write::<Set>(key)? else { return Ok(Flow::Done) };
    let mut kept = Set::default();
    let mut number = itoa::Buffer::new();
    for member in set.random_distinct(set.len() - count, ctx.rng) {
        kept.insert(member.as_bytes(&mut number), limits);
    }
    let popped = std::mem::replace(set, kept.clone());
    ctx.modified(key, "spop");
    ctx.add_dirty(count as u64 - 1);
    if ctx.is_propagating() {
        let mut removal = Removal::new(key);
        for member in popped.iter().filter(|member| !kept.contains_member(*member)) {
            removal.add(ctx, member.as_bytes(&mut number));
        }
        removal.end(ctx);
    }
    let write = move |reply: &mut Reply<'_>| {
        reply.set(count);
        let members = popped.iter().filter(|member| !kept.contains_member(*member));
        let mut number = itoa::Buffer::new();
        members.for_each(|member| reply.bulk(member.as_bytes(&mut number)));
    };
    if ctx.late.take_elements(count) {
        ctx.late.leave(write);
    } else {
        write(&mut ctx.reply);
    }
    Ok(Flow::Done)
}

/// The effect of what SPOP has drawn: SREM, with some members each.
struct Removal<'k> {
    key: &'k [u8],
    members: Vec<u8>,
    ends: Vec<usize>,
}

impl<'k> Removal<'k> {
    fn new(key: &'k [u8]) -> Self {
        Self { key, members: Vec::new(), ends: Vec::new() }
    }

    fn add(&mut self, ctx: &mut Ctx<'_>, member: &[u8]) {
        self.members.extend_from_slice(member);
        self.ends.push(self.members.len());
        if self.ends.len() == SREM_MEMBERS_MAX {
            self.end(ctx);
        }
    }

    fn end(&mut self, ctx: &mut Ctx<'_>) {
        let mut srem: Vec<&[u8]> = Vec::with_capacity(2 + self.ends.len());
        srem.extend([&b"SREM"[..], self.key]);
        let mut start = 0;
        for &end in &self.ends {
            srem.push(&self.members[start..end]);
            start = end;
        }
        if !self.ends.is_empty() {
            ctx.propagate_as(srem);
        }
        self.members.clear();
        self.ends.clear();
    }
}

/// `SRANDMEMBER key [count]`
fn srandmember(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    if args.len() == 2 {
        match ctx.db.read::<Set>(key)?.and_then(|set| set.random(ctx.rng)) {
            Some(member) => ctx.reply.bulk(member.as_bytes(&mut itoa::Buffer::new())),
            None => ctx.reply.null(),
        }
        return Ok(Flow::Done);
    }
    if args.len() > 3 {
        return Err(ErrorReply::SYNTAX);
    }
    let count = signed_count(args.bytes(2))?;
    let bytes_max = ctx.reply_bytes_max();
    let Some(set) = ctx.db.read::<Set>(key)? else {
        ctx.reply.array(0);
        return Ok(Flow::Done);
    };
    let wanted = count.unsigned_abs() as usize;
    ctx.reply.array(if count < 0 { wanted } else { wanted.min(set.len()) });
    let mut number = itoa::Buffer::new();
    let mut write = |reply: &mut Reply<'_>, member: Member<'_>| reply.bulk(member.as_bytes(&mut number));
    if count < 0 {
        for round in rounds(wanted) {
            if ctx.reply.buffered_bytes() > bytes_max {
                break;
            }
            set.random_repeated(round, ctx.rng, |member| write(&mut ctx.reply, member));
        }
    } else if wanted >= set.len() {
        set.iter().for_each(|member| write(&mut ctx.reply, member));
    } else {
        set.random_distinct(wanted, ctx.rng).into_iter().for_each(|member| write(&mut ctx.reply, member));
    }
    Ok(Flow::Done)
}

/// `SMOVE source destination member`
fn smove(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (source, destination, member) = (args.bytes(1), args.bytes(2), args.bytes(3));
    let is_member = match ctx.db.write::<Set>(source)? {
        Some(set) => set.contains(member),
        None => {
            // Redis does not look at the destination's type then.
            ctx.reply.integer(0);
            return Ok(Flow::Done);
        }
    };
    ctx.db.write::<Set>(destination)?;
    ctx.reply.integer(is_member.into());
    if !is_member || source == destination {
        return Ok(Flow::Done);
    }
    if let Some(set) = ctx.db.write::<Set>(source)? {
        set.remove(member);
    }
    ctx.modified(source, "srem");
    ctx.remove_if_empty::<Set>(source);
    let limits = ctx.db.limits;
    if ctx.db.write_or_create::<Set>(destination)?.insert(member, limits) {
        ctx.modified(destination, "sadd");
    }
    Ok(Flow::Done)
}

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`
fn sscan(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let cursor = cursor(args.bytes(2))?;
    let mut page = Page::new(&ctx.reply);
    let next = match ctx.db.read::<Set>(args.bytes(1))? {
        None => 0,
        Some(set) => {
            let options = ScanOptions::parse(args.from(3), ScanOf::Members)?;
            let mut number = itoa::Buffer::new();
            set.scan(cursor, options.count, |member| {
                let member = member.as_bytes(&mut number);
                if options.matches(member) {
                    page.push(member);
                }
            })
        }
    };
    page.write(&mut ctx.reply, next);
    Ok(Flow::Done)
}

/// All members, as a set.
pub(super) fn write_set(reply: &mut Reply<'_>, set: &Set) {
    reply.set(set.len());
    let mut number = itoa::Buffer::new();
    for member in set.iter() {
        reply.bulk(member.as_bytes(&mut number));
    }
}
