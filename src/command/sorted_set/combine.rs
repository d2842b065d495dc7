//! Several sorted sets into one: union, intersection and difference. Sets take part with a score of 1 each.

use std::borrow::Cow;

use hashbrown::HashMap;

use super::super::context::Ctx;
use super::super::options::integer;
use super::super::spec::*;
use super::{Scores, store, write_members};
use crate::base::number::{parse_f64, parse_i64};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::ValueRef;
use crate::storage::set::Set;
use crate::storage::sorted_set::SortedSet;

const STORE_KEYS: &[KeySpec] = &[KeySpec::range(1, 1, 1, OW | UPDATE), KeySpec::counted(2, RO | ACCESS)];
const READ_KEYS: &[KeySpec] = &[KeySpec::counted(1, RO | ACCESS)];

const UNION_COMPLEXITY: &str =
    "O(N)+O(M*log(M)), N being the number of members read and M of those in the result";
const INTER_COMPLEXITY: &str = "O(N*K)+O(M*log(M)), N being the size of the smallest input, K the number of inputs and M the size of the result";
const DIFF_COMPLEXITY: &str = "O(L+(N-K)*log(N)), L being the number of members read, N the size of the first input and K that of the result";

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("zunion", -3, READONLY | MOVABLE_KEYS, "sorted-set", zunion)
        .keys(READ_KEYS)
        .looks_at(Extent::Elements)
        .docs(
            "6.2.0",
            UNION_COMPLEXITY,
            "Reads the members that are in any of the inputs.",
            "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        ),
    CommandSpec::data("zinter", -3, READONLY | MOVABLE_KEYS, "sorted-set", zinter)
        .keys(READ_KEYS)
        .looks_at(Extent::Elements)
        .docs(
            "6.2.0",
            INTER_COMPLEXITY,
            "Reads the members that are in all of the inputs.",
            "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        ),
    CommandSpec::data("zdiff", -3, READONLY | MOVABLE_KEYS, "sorted-set", zdiff)
        .keys(READ_KEYS)
        .looks_at(Extent::Elements)
        .docs(
            "6.2.0",
            DIFF_COMPLEXITY,
            "Reads the members that are in the first input alone.",
            "numkeys key [key ...] [WITHSCORES]",
        ),
    CommandSpec::data("zintercard", -3, READONLY | MOVABLE_KEYS, "sorted-set", zintercard)
        .keys(READ_KEYS)
        .looks_at(Extent::Elements)
        .docs(
            "7.0.0",
            "O(N*K), N being the size of the smallest input and K the number of inputs",
            "Counts the members that are in all of the inputs.",
            "numkeys key [key ...] [LIMIT limit]",
        ),
    CommandSpec::data("zunionstore", -4, WRITE | DENYOOM | MOVABLE_KEYS, "sorted-set", zunionstore)
        .keys(STORE_KEYS)
        .docs(
            "2.0.0",
            UNION_COMPLEXITY,
            "Stores the members that are in any of the inputs.",
            "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        ),
    CommandSpec::data("zinterstore", -4, WRITE | DENYOOM | MOVABLE_KEYS, "sorted-set", zinterstore)
        .keys(STORE_KEYS)
        .docs(
            "2.0.0",
            INTER_COMPLEXITY,
            "Stores the members that are in all of the inputs.",
            "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        ),
    CommandSpec::data("zdiffstore", -4, WRITE | DENYOOM | MOVABLE_KEYS, "sorted-set", zdiffstore)
        .keys(STORE_KEYS)
        .docs(
            "6.2.0",
            DIFF_COMPLEXITY,
            "Stores the members that are in the first input alone.",
            "destination numkeys key [key ...]",
        ),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// What the caller does with the result, which decides on the options that are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Read,
    Store,
    Count,
}

/// How the scores that a member has in several inputs become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Sum => number_or_zero(a + b),
            Self::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Self::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// Infinities that cancel out, and an infinity times nothing, make 0.
fn number_or_zero(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// One input: a sorted set, a set, or a key that is missing.
#[derive(Debug)]
enum Source {
    SortedSet(SortedSet),
    Set(Set),
    Missing,
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Self::SortedSet(set) => set.len(),
            Self::Set(set) => set.len(),
            Self::Missing => 0,
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Self::SortedSet(set) => set.score(member),
            Self::Set(set) => set.contains(member).then_some(1.0),
            Self::Missing => None,
        }
    }

    /// Hands out members and scores until `f` says that it has enough.
    fn try_each<'a>(&'a self, mut f: impl FnMut(Cow<'a, [u8]>, f64) -> std::ops::ControlFlow<()>) {
        use crate::storage::set::Member;
        let _ = match self {
            Self::SortedSet(set) => {
                set.iter().try_for_each(|(member, score)| f(Cow::Borrowed(member), score))
            }
            Self::Set(set) => set.iter().try_for_each(|member| match member {
                Member::Bytes(member) => f(Cow::Borrowed(member), 1.0),
                integer => f(Cow::Owned(integer.to_vec()), 1.0),
            }),
            Self::Missing => std::ops::ControlFlow::Continue(()),
        };
    }

    fn each<'a>(&'a self, mut f: impl FnMut(Cow<'a, [u8]>, f64)) {
        self.try_each(|member, score| {
            f(member, score);
            std::ops::ControlFlow::Continue(())
        });
    }
}

/// Inputs and options of one command.
#[derive(Debug)]
struct Combination {
    operation: Operation,
    /// Each with its weight; the smallest first, except for a difference.
    sources: Vec<(Source, f64)>,
    aggregate: Aggregate,
    scores: Scores,
    /// Where counting ends; 0: nowhere.
    limit: usize,
}

impl Combination {
    /// `args`: `numkeys key [key ...]` and the options. The inputs are looked up before the options are read, as in
    /// Redis, where a wrong type hides a wrong option.
    fn parse(
        ctx: &mut Ctx<'_>,
        name: &str,
        args: Args<'_>,
        operation: Operation,
        purpose: Purpose,
    ) -> Result<Self, ErrorReply> {
        let keys_len = integer(args.bytes(0))?;
        let Some(keys_len) = usize::try_from(keys_len).ok().filter(|&len| len > 0) else {
            return Err(ErrorReply::new(format!("ERR at least 1 input key is needed for '{name}' command")));
        };
        if keys_len > args.len() - 1 {
            return Err(ErrorReply::SYNTAX);
        }
        let mut sources = Vec::with_capacity(keys_len);
        for key in args.iter().skip(1).take(keys_len) {
            let source = match ctx.db.get(key) {
                Some(ValueRef::SortedSet(set)) => Source::SortedSet(set.clone()),
                Some(ValueRef::Set(set)) => Source::Set(set.clone()),
                Some(_) => return Err(ErrorReply::WRONG_TYPE),
                None => Source::Missing,
            };
            sources.push((source, 1.0));
        }
        let aggregate = Aggregate::Sum;
        let mut combination = Self { operation, sources, aggregate, scores: Scores::Without, limit: 0 };
        combination.parse_options(args.from(1 + keys_len), purpose)?;
        if operation != Operation::Diff {
            combination.sources.sort_by_key(|(source, _)| source.len());
        }
        Ok(combination)
    }

    fn parse_options(&mut self, args: Args<'_>, purpose: Purpose) -> Result<(), ErrorReply> {
        let has_scores_to_combine = self.operation != Operation::Diff && purpose != Purpose::Count;
        let mut at = 0;
        while at < args.len() {
            let left = args.len() - at;
            if has_scores_to_combine && left > self.sources.len() && args.is(at, "weights") {
                for (arg, (_, weight)) in args.from(at + 1).iter().zip(&mut self.sources) {
                    *weight = parse_f64(arg).ok_or(ErrorReply::fixed("ERR weight value is not a float"))?;
                }
                at += 1 + self.sources.len();
            } else if has_scores_to_combine && left >= 2 && args.is(at, "aggregate") {
                self.aggregate = match args.bytes(at + 1) {
                    arg if arg.eq_ignore_ascii_case(b"sum") => Aggregate::Sum,
                    arg if arg.eq_ignore_ascii_case(b"min") => Aggregate::Min,
                    arg if arg.eq_ignore_ascii_case(b"max") => Aggregate::Max,
                    _ => return Err(ErrorReply::SYNTAX),
                };
                at += 2;
            } else if purpose == Purpose::Read && args.is(at, "withscores") {
                self.scores = Scores::With;
                at += 1;
            } else if purpose == Purpose::Count && left >= 2 && args.is(at, "limit") {
                let limit = parse_i64(args.bytes(at + 1)).and_then(|limit| usize::try_from(limit).ok());
                self.limit = limit.ok_or(ErrorReply::fixed("ERR LIMIT can't be negative"))?;
                at += 2;
            } else {
                return Err(ErrorReply::SYNTAX);
            }
        }
        Ok(())
    }

    /// The result, in the order of a sorted set.
    fn result(&self) -> Vec<(Cow<'_, [u8]>, f64)> {
        let mut result = match self.operation {
            Operation::Union => self.union(),
            Operation::Inter => self.intersection(),
            Operation::Diff => self.difference(),
        };
        result.sort_unstable_by(|(a, a_score), (b, b_score)| {
            let by_score = a_score.partial_cmp(b_score).expect("scores are never NaN");
            by_score.then_with(|| a.cmp(b))
        });
        result
    }

    /// The one input that is the result as it is, if there is such a one.
    fn only_source(&self) -> Option<&SortedSet> {
        let is_alone = match (self.operation, &self.sources[..]) {
            (_, [_]) => true,
            (Operation::Inter, _) => false,
            // Sorted by size, but for a difference.
            (Operation::Union, [others @ .., _]) | (Operation::Diff, [_, others @ ..]) => {
                others.iter().all(|(source, _)| source.len() == 0)
            }
            (_, []) => false,
        };
        let (source, weight) = match self.operation {
            Operation::Union => self.sources.last()?,
            Operation::Inter | Operation::Diff => self.sources.first()?,
        };
        match source {
            #[expect(clippy::float_cmp, reason = "the weight that changes nothing is 1 to the bit")]
            Source::SortedSet(set) if is_alone && *weight == 1.0 => Some(set),
            _ => None,
        }
    }

    fn union(&self) -> Vec<(Cow<'_, [u8]>, f64)> {
        let most = self.sources.iter().map(|(source, _)| source.len()).max().unwrap_or(0);
        let mut scores: HashMap<Cow<'_, [u8]>, f64> = HashMap::with_capacity(most);
        for (source, weight) in &self.sources {
            source.each(|member, score| {
                let score = number_or_zero(weight * score);
                scores
                    .entry(member)
                    .and_modify(|old| *old = self.aggregate.apply(*old, score))
                    .or_insert(score);
            });
        }
        scores.into_iter().collect()
    }

    fn intersection(&self) -> Vec<(Cow<'_, [u8]>, f64)> {
        let [(smallest, weight), others @ ..] = self.sources.as_slice() else { return Vec::new() };
        let mut result = Vec::new();
        smallest.each(|member, score| {
            let first = number_or_zero(weight * score);
            let combined = others.iter().try_fold(first, |sum, (source, weight)| {
                Some(self.aggregate.apply(sum, weight * source.score(&member)?))
            });
            result.extend(combined.map(|score| (member, score)));
        });
        result
    }

    fn difference(&self) -> Vec<(Cow<'_, [u8]>, f64)> {
        let [(first, _), others @ ..] = self.sources.as_slice() else { return Vec::new() };
        let mut result = Vec::new();
        first.each(|member, score| {
            if others.iter().all(|(source, _)| source.score(&member).is_none()) {
                result.push((member, score));
            }
        });
        result
    }

    /// The size of the intersection, as far as the limit lets it be counted.
    fn intersection_len(&self) -> usize {
        use std::ops::ControlFlow::{Break, Continue};
        let [(smallest, _), others @ ..] = self.sources.as_slice() else { return 0 };
        let mut len = 0;
        smallest.try_each(|member, _| {
            if others.iter().all(|(source, _)| source.score(&member).is_some()) {
                len += 1;
            }
            if len == self.limit && self.limit > 0 { Break(()) } else { Continue(()) }
        });
        len
    }
}

/// `ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]`
fn zunion(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    read(ctx, args, "zunion", Operation::Union)
}

/// `ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]`
fn zinter(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    read(ctx, args, "zinter", Operation::Inter)
}

/// `ZDIFF numkeys key [key ...] [WITHSCORES]`
fn zdiff(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    read(ctx, args, "zdiff", Operation::Diff)
}

fn read(ctx: &mut Ctx<'_>, args: &Args<'_>, name: &str, operation: Operation) -> CommandResult {
    let combination = Combination::parse(ctx, name, args.from(1), operation, Purpose::Read)?;
    let result = combination.result();
    let members = result.iter().map(|(member, score)| (&**member, *score));
    write_members(&mut ctx.reply, members, combination.scores);
    Ok(Flow::Done)
}

/// `ZINTERCARD numkeys key [key ...] [LIMIT limit]`
fn zintercard(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let combination = Combination::parse(ctx, "zintercard", args.from(1), Operation::Inter, Purpose::Count)?;
    ctx.reply.integer(combination.intersection_len() as i64);
    Ok(Flow::Done)
}

/// `ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]`
fn zunionstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    store_result(ctx, args, "zunionstore", Operation::Union)
}

/// `ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]`
fn zinterstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    store_result(ctx, args, "zinterstore", Operation::Inter)
}

/// `ZDIFFSTORE destination numkeys key [key ...]`
fn zdiffstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    store_result(ctx, args, "zdiffstore", Operation::Diff)
}

/// `name` is the command's and its event's.
fn store_result(
    ctx: &mut Ctx<'_>,
    args: &Args<'_>,
    name: &'static str,
    operation: Operation,
) -> CommandResult {
    let combination = Combination::parse(ctx, name, args.from(2), operation, Purpose::Store)?;
    let limits = ctx.db.limits;
    let mut result = match combination.only_source() {
        Some(set) => set.subset(0..set.len(), limits),
        None => {
            let members = combination.result();
            SortedSet::from_ordered(members.iter().map(|(member, score)| (&**member, *score)), limits)
        }
    };
    // Redis puts the result together in its large form.
    result.settle_zeros(limits);
    // The inputs go first, so that a destination that is one of them is not kept alive.
    drop(combination);
    store(ctx, args.bytes(1), result, name);
    Ok(Flow::Done)
}
