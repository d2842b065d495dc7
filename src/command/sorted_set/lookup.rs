//! Questions about members and the whole: ZSCORE, ZMSCORE, ZCARD, ZRANK, ZREVRANK, ZRANDMEMBER, ZSCAN.

use super::super::context::Ctx;
use super::super::options::signed_count;
use super::super::scan_options::{Page, ScanOf, ScanOptions, cursor};
use super::super::spec::*;
use super::{READ_KEY, Scores, write_member, write_members};
use crate::base::number::format_g17;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::format_double;
use crate::storage::sorted_set::SortedSet;

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("zscore", 3, READONLY | FAST, "sorted-set", zscore).keys(READ_KEY).docs(
        "1.2.0",
        "O(1)",
        "Reads the score of a member.",
        "key member",
    ),
    CommandSpec::data("zmscore", -3, READONLY | FAST, "sorted-set", zmscore).keys(READ_KEY).docs(
        "6.2.0",
        "O(N), N being the number of members named",
        "Reads the scores of members.",
        "key member [member ...]",
    ),
    CommandSpec::data("zcard", 2, READONLY | FAST, "sorted-set", zcard)
        .keys(&[KeySpec::range(1, 1, 1, RO)])
        .docs("1.2.0", "O(1)", "Counts all members.", "key"),
    CommandSpec::data("zrank", -3, READONLY | FAST, "sorted-set", zrank).keys(READ_KEY).docs(
        "2.0.0",
        "O(log(N))",
        "Counts the members before a member, from the lowest score on.",
        "key member [WITHSCORE]",
    ),
    CommandSpec::data("zrevrank", -3, READONLY | FAST, "sorted-set", zrevrank).keys(READ_KEY).docs(
        "2.0.0",
        "O(log(N))",
        "Counts the members behind a member, from the highest score on.",
        "key member [WITHSCORE]",
    ),
    CommandSpec::data("zrandmember", -2, READONLY, "sorted-set", zrandmember)
        .keys(READ_KEY)
        .looks_at(Extent::Draws)
        .docs(
            "6.2.0",
            "O(N), N being the number of members returned",
            "Draws members at random.",
            "key [count [WITHSCORES]]",
        )
        .tips(&["nondeterministic_output"]),
    CommandSpec::data("zscan", -3, READONLY, "sorted-set", zscan)
        .keys(READ_KEY)
        .looks_at(Extent::Scan)
        .docs(
            "2.8.0",
            "O(1) for a call, O(N) for all calls that a whole scan takes, N being the size of the sorted set",
            "Goes through the members and their scores, some at a time.",
            "key cursor [MATCH pattern] [COUNT count]",
        )
        .tips(&["nondeterministic_output"]),
];

/// `ZSCORE key member`
fn zscore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let set = ctx.db.read::<SortedSet>(args.bytes(1))?;
    match set.and_then(|set| set.score(args.bytes(2))) {
        Some(score) => ctx.reply.double(score),
        None => ctx.reply.null(),
    }
    Ok(Flow::Done)
}

/// `ZMSCORE key member [member ...]`
fn zmscore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let set = ctx.db.read::<SortedSet>(args.bytes(1))?;
    let members = args.from(2);
    ctx.reply.array(members.len());
    for member in members.iter() {
        match set.and_then(|set| set.score(member)) {
            Some(score) => ctx.reply.double(score),
            None => ctx.reply.null(),
        }
    }
    Ok(Flow::Done)
}

/// `ZCARD key`
fn zcard(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let len = ctx.db.read::<SortedSet>(args.bytes(1))?.map_or(0, SortedSet::len);
    ctx.reply.integer(len as i64);
    Ok(Flow::Done)
}

/// From which end a rank counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Lowest,
    Highest,
}

/// `ZRANK key member [WITHSCORE]`
fn zrank(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    rank(ctx, args, "zrank", From::Lowest)
}

/// `ZREVRANK key member [WITHSCORE]`
fn zrevrank(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    rank(ctx, args, "zrevrank", From::Highest)
}

fn rank(ctx: &mut Ctx<'_>, args: &Args<'_>, name: &str, from: From) -> CommandResult {
    if args.len() > 4 {
        return Err(ErrorReply::wrong_arity(name));
    }
    let with_score = args.len() == 4;
    if with_score && !args.is(3, "withscore") {
        return Err(ErrorReply::SYNTAX);
    }
    let member = args.bytes(2);
    let set = ctx.db.read::<SortedSet>(args.bytes(1))?;
    let found = set.and_then(|set| Some((set, set.rank(member)?)));
    let Some((set, rank)) = found else {
        if with_score {
            ctx.reply.null_array()
        } else {
            ctx.reply.null()
        }
        return Ok(Flow::Done);
    };
    let rank = if from == From::Lowest { rank } else { set.len() - 1 - rank };
    if with_score {
        ctx.reply.array(2);
    }
    ctx.reply.integer(rank as i64);
    if with_score && let Some(score) = set.score(member) {
        ctx.reply.double(score);
    }
    Ok(Flow::Done)
}

/// `ZRANDMEMBER key [count [WITHSCORES]]`
fn zrandmember(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    if args.len() == 2 {
        match ctx.db.read::<SortedSet>(args.bytes(1))?.and_then(|set| set.random(ctx.rng)) {
            Some((member, _)) => ctx.reply.bulk(member),
            None => ctx.reply.null(),
        }
        return Ok(Flow::Done);
    }
    let count = signed_count(args.bytes(2))?;
    if args.len() > 4 || (args.len() == 4 && !args.is(3, "withscores")) {
        return Err(ErrorReply::SYNTAX);
    }
    let scores = if args.len() == 4 { Scores::With } else { Scores::Without };
    if scores == Scores::With && !(-(i64::MAX / 2)..=i64::MAX / 2).contains(&count) {
        return Err(ErrorReply::OUT_OF_RANGE);
    }
    let bytes_max = ctx.reply_bytes_max();
    let Some(set) = ctx.db.read::<SortedSet>(args.bytes(1))? else {
        ctx.reply.array(0);
        return Ok(Flow::Done);
    };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        let doubles = scores == Scores::With && !ctx.reply.is_resp3();
        ctx.reply.array(if doubles { 2 * wanted } else { wanted });
        for _ in 0..wanted {
            if ctx.reply.buffered_bytes() > bytes_max {
                break;
            }
            let (member, score) = set.random(ctx.rng).expect("a stored sorted set is not empty");
            write_member(&mut ctx.reply, member, score, scores);
        }
    } else if wanted >= set.len() {
        // All of them come in the order in which Redis walks: from the highest score down.
        write_members(&mut ctx.reply, set.iter().rev(), scores);
    } else {
        let mut ranks: Vec<(usize, usize)> =
            distinct_ranks(set.len(), wanted, ctx.rng).into_iter().enumerate().collect();
        // Looked up in the order of ranks, where one is near to the next.
        ranks.sort_unstable_by_key(|&(_, rank)| rank);
        let mut drawn: Vec<(&[u8], f64)> = vec![(b"", 0.0); ranks.len()];
        for (place, rank) in ranks {
            drawn[place] = set.get_by_rank(rank).expect("the rank is below the length");
        }
        write_members(&mut ctx.reply, drawn.into_iter(), scores);
    }
    Ok(Flow::Done)
}

/// `count` different numbers below `len`, each choice as likely as any other, in random order. Floyd's algorithm.
fn distinct_ranks(len: usize, count: usize, rng: &mut fastrand::Rng) -> Vec<usize> {
    let mut seen = hashbrown::HashSet::with_capacity(count);
    let mut ranks = Vec::with_capacity(count);
    for top in len - count..len {
        let drawn = rng.usize(..=top);
        let rank = if seen.insert(drawn) { drawn } else { top };
        seen.insert(rank);
        ranks.push(rank);
    }
    rng.shuffle(&mut ranks);
    ranks
}

/// `ZSCAN key cursor [MATCH pattern] [COUNT count]`
fn zscan(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let cursor = cursor(args.bytes(2))?;
    let mut page = Page::new(&ctx.reply);
    let next = match ctx.db.read::<SortedSet>(args.bytes(1))? {
        None => 0,
        Some(set) => {
            let options = ScanOptions::parse(args.from(3), ScanOf::Members)?;
            // Here alone Redis prints the scores of its large encoding with all their digits.
            let prints_all_digits = set.encoding() == "skiplist";
            let mut text = String::new();
            set.scan(cursor, options.count, |member, score| {
                if !options.matches(member) {
                    return;
                }
                text.clear();
                if prints_all_digits {
                    text.push_str(&format_g17(score));
                } else {
                    format_double(score, &mut text);
                }
                page.push(member);
                page.push(text.as_bytes());
            })
        }
    };
    page.write(&mut ctx.reply, next);
    Ok(Flow::Done)
}
