//! When fields of hashes expire: setting, clearing and asking for it. As Redis 7.4 has it.
//!
//! Where Redis lets a command give a new time to a field whose old one has passed, such a field counts as missing here,
//! and is removed.

use super::context::Ctx;
use super::expire::Unit;
use super::options::integer;
use super::spec::*;
use crate::base::clock::UnixMillis;
use crate::base::number::parse_i64;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::ValueRef;
use crate::storage::hash::{Field, Hash, NEVER};

const CHANGED: &[KeySpec] = &[KeySpec::range(1, 1, 1, RW | UPDATE)];
const ASKED: &[KeySpec] = &[KeySpec::range(1, 1, 1, RO | ACCESS)];
const PER_FIELD: &str = "O(N) where N is the number of fields named.";

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("hexpire", -6, WRITE | FAST, "hash", hexpire).keys(CHANGED).docs(
        "7.4.0",
        PER_FIELD,
        "Lets fields expire after a number of seconds.",
        "key seconds [NX | XX | GT | LT] FIELDS <numfields field [field ...]>",
    ),
    CommandSpec::data("hpexpire", -6, WRITE | FAST, "hash", hpexpire).keys(CHANGED).docs(
        "7.4.0",
        PER_FIELD,
        "Lets fields expire after a number of milliseconds.",
        "key milliseconds [NX | XX | GT | LT] FIELDS <numfields field [field ...]>",
    ),
    CommandSpec::data("hexpireat", -6, WRITE | FAST, "hash", hexpireat).keys(CHANGED).docs(
        "7.4.0",
        PER_FIELD,
        "Lets fields expire at a Unix time in seconds.",
        "key unix-time-seconds [NX | XX | GT | LT] FIELDS <numfields field [field ...]>",
    ),
    CommandSpec::data("hpexpireat", -6, WRITE | FAST, "hash", hpexpireat).keys(CHANGED).docs(
        "7.4.0",
        PER_FIELD,
        "Lets fields expire at a Unix time in milliseconds.",
        "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS <numfields field [field ...]>",
    ),
    CommandSpec::data("httl", -5, READONLY | FAST, "hash", httl).keys(ASKED).docs(
        "7.4.0",
        PER_FIELD,
        "Tells how many seconds fields have left.",
        "key FIELDS <numfields field [field ...]>",
    ),
    CommandSpec::data("hpttl", -5, READONLY | FAST, "hash", hpttl).keys(ASKED).docs(
        "7.4.0",
        PER_FIELD,
        "Tells how many milliseconds fields have left.",
        "key FIELDS <numfields field [field ...]>",
    ),
    CommandSpec::data("hexpiretime", -5, READONLY | FAST, "hash", hexpiretime).keys(ASKED).docs(
        "7.4.0",
        PER_FIELD,
        "Tells the Unix time in seconds at which fields expire.",
        "key FIELDS <numfields field [field ...]>",
    ),
    CommandSpec::data("hpexpiretime", -5, READONLY | FAST, "hash", hpexpiretime).keys(ASKED).docs(
        "7.4.0",
        PER_FIELD,
        "Tells the Unix time in milliseconds at which fields expire.",
        "key FIELDS <numfields field [field ...]>",
    ),
    CommandSpec::data("hpersist", -5, WRITE | FAST, "hash", hpersist).keys(CHANGED).docs(
        "7.4.0",
        PER_FIELD,
        "Lets fields live for ever again.",
        "key FIELDS <numfields field [field ...]>",
    ),
];

/// What is answered for a field that is not there, and for one that does not expire.
const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;

/// The latest expiry that a command may set: two bits less than Redis' RDB format has room for.
const LATEST_MS: i64 = (1 << 46) - 1;

/// The instant that an argument names, counted from `base`. `command` is named in the error.
pub(super) fn instant(
    arg: &[u8],
    unit: Unit,
    base: UnixMillis,
    command: &str,
) -> Result<UnixMillis, ErrorReply> {
    let given = integer(arg)?;
    if given < 0 {
        return Err(ErrorReply::EXPIRE_TIME_NEGATIVE);
    }
    let ms = match unit {
        Unit::Seconds => given.checked_mul(1000),
        Unit::Millis => Some(given),
    };
    ms.and_then(|ms| ms.checked_add(base.0))
        .filter(|&at| at <= LATEST_MS)
        .map(UnixMillis)
        .ok_or_else(|| ErrorReply::invalid_expire_time(command))
}

/// The fields behind `FIELDS numfields` at argument `at`; `not_positive` says that there must be at least one.
pub(super) fn named_fields<'a>(
    args: &Args<'a>,
    at: usize,
    not_positive: ErrorReply,
) -> Result<Args<'a>, ErrorReply> {
    if !args.is(at, "FIELDS") {
        return Err(ErrorReply::FIELDS_MISSING);
    }
    let count = args.get(at + 1).and_then(parse_i64).filter(|&count| count > 0).ok_or(not_positive)?;
    let fields = args.from(at + 2);
    if usize::try_from(count) != Ok(fields.len()) {
        return Err(ErrorReply::NUMFIELDS_MISMATCH);
    }
    Ok(fields)
}

/// Whether there is a hash at `key`; WRONGTYPE if there is something else. Counts as neither hit nor access.
pub(super) fn has_hash(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<bool, ErrorReply> {
    match ctx.db.peek(key) {
        None => Ok(false),
        Some(ValueRef::Hash(_)) => Ok(true),
        Some(_) => Err(ErrorReply::WRONG_TYPE),
    }
}

/// Propagates the removal of fields as Redis does, each on its own.
pub(super) fn propagate_removal(ctx: &mut Ctx<'_>, key: &[u8], fields: &[&[u8]]) {
    for field in fields {
        ctx.propagate_as([b"HDEL", key, field]);
    }
}

/// The expiry that a field must have already for a new one to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    Nx,
    Xx,
    Gt,
    Lt,
}

impl Condition {
    /// The word at argument `at`, if it is one.
    fn parse(args: &Args<'_>, at: usize) -> Self {
        let words = [("NX", Self::Nx), ("XX", Self::Xx), ("GT", Self::Gt), ("LT", Self::Lt)];
        words.into_iter().find(|(word, _)| args.is(at, word)).map_or(Self::Always, |(_, condition)| condition)
    }

    /// A field without an expiry counts as one that expires infinitely late.
    fn allows(self, current: i64, new: i64) -> bool {
        match self {
            Self::Always => true,
            Self::Nx => current == NEVER,
            Self::Xx => current != NEVER,
            Self::Gt => new > current,
            Self::Lt => new < current,
        }
    }
}

/// `HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
fn hexpire(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.now;
    set_expiry(ctx, args, Unit::Seconds, now, "hexpire")
}

/// `HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
fn hpexpire(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.now;
    set_expiry(ctx, args, Unit::Millis, now, "hpexpire")
}

/// `HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
fn hexpireat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    set_expiry(ctx, args, Unit::Seconds, UnixMillis(0), "hexpireat")
}

/// `HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
fn hpexpireat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    set_expiry(ctx, args, Unit::Millis, UnixMillis(0), "hpexpireat")
}

/// What came of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    NoField,
    Refused,
    Updated,
    /// Its new time had passed already.
    Removed,
}

impl Outcome {
    fn answer(self) -> i64 {
        match self {
            Self::NoField => NO_FIELD,
            Self::Refused => 0,
            Self::Updated => 1,
            Self::Removed => 2,
        }
    }
}

/// Sets the expiry to argument 2 counted from `base`; a time that is over removes the fields at once.
fn set_expiry(
    ctx: &mut Ctx<'_>,
    args: &Args<'_>,
    unit: Unit,
    base: UnixMillis,
    name: &'static str,
) -> CommandResult {
    let key = args.bytes(1);
    has_hash(ctx, key)?;
    let at = instant(args.bytes(2), unit, base, name)?;
    let condition = Condition::parse(args, 3);
    let behind = if condition == Condition::Always { 3 } else { 4 };
    let fields = named_fields(args, behind, ErrorReply::NUMFIELDS_NOT_POSITIVE)?;

    ctx.db.expire_fields(key, fields.iter());
    let horizon = ctx.db.horizon();
    // A replica keeps a field that is over until its master removes it.
    let removes = at <= ctx.now && ctx.db.removes_expired();
    let set = |hash: &mut Hash, field: &[u8]| match hash.find(field, horizon) {
        Field::Missing | Field::Due => Outcome::NoField,
        Field::Live(_) if !condition.allows(hash.expiry(field), at.0) => Outcome::Refused,
        Field::Live(_) if removes => {
            hash.remove(field);
            Outcome::Removed
        }
        Field::Live(_) => {
            hash.set_expiry(field, at.0);
            Outcome::Updated
        }
    };
    let outcomes = ctx.db.edit_hash(key, |hash| fields.iter().map(|field| set(hash, field)).collect())?;
    let outcomes: Vec<Outcome> = outcomes.unwrap_or_else(|| vec![Outcome::NoField; fields.len()]);

    ctx.reply.array(outcomes.len());
    for outcome in &outcomes {
        ctx.reply.integer(outcome.answer());
    }
    let wanted = if removes { Outcome::Removed } else { Outcome::Updated };
    let changed = fields.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == wanted);
    let changed: Vec<&[u8]> = changed.map(|(field, _)| field).collect();
    if changed.is_empty() {
        return Ok(Flow::Done);
    }
    ctx.modified(key, if removes { "hdel" } else { "hexpire" });
    ctx.add_dirty(changed.len() as u64 - 1);
    if removes {
        ctx.count_expired_fields(changed.len());
        ctx.remove_if_empty::<Hash>(key);
        propagate_removal(ctx, key, &changed);
        return Ok(Flow::Done);
    }
    let (mut digits, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut effect = vec![&b"HPEXPIREAT"[..], key, digits.format(at.0).as_bytes()];
    effect.extend(args.from(3).iter().take(behind - 3));
    effect.extend([&b"FIELDS"[..], count.format(changed.len()).as_bytes()]);
    effect.extend(changed);
    ctx.propagate_as(effect);
    Ok(Flow::Done)
}

/// `HTTL key FIELDS numfields field [field ...]`
fn httl(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.now.0;
    reply_expiries(ctx, args, |at| in_seconds((at - now).max(0)))
}

/// `HPTTL key FIELDS numfields field [field ...]`
fn hpttl(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.now.0;
    reply_expiries(ctx, args, |at| (at - now).max(0))
}

/// `HEXPIRETIME key FIELDS numfields field [field ...]`
fn hexpiretime(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    reply_expiries(ctx, args, in_seconds)
}

/// `HPEXPIRETIME key FIELDS numfields field [field ...]`
fn hpexpiretime(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    reply_expiries(ctx, args, |at| at)
}

/// Seconds, rounded up: unlike TTL, these commands tell none of a field that is still there.
fn in_seconds(ms: i64) -> i64 {
    ms / 1000 + i64::from(ms % 1000 > 0)
}

/// Answers what `of` says of the expiry of each field.
fn reply_expiries(ctx: &mut Ctx<'_>, args: &Args<'_>, of: impl Fn(i64) -> i64) -> CommandResult {
    let horizon = ctx.db.horizon();
    let hash = ctx.db.read::<Hash>(args.bytes(1))?;
    let fields = named_fields(args, 2, ErrorReply::FIELDS_NOT_POSITIVE)?;
    ctx.reply.array(fields.len());
    for field in fields.iter() {
        let answer = match hash.map(|hash| (hash.find(field, horizon), hash.expiry(field))) {
            Some((Field::Live(_), NEVER)) => NO_EXPIRY,
            Some((Field::Live(_), at)) => of(at),
            _ => NO_FIELD,
        };
        ctx.reply.integer(answer);
    }
    Ok(Flow::Done)
}

/// `HPERSIST key FIELDS numfields field [field ...]`
fn hpersist(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    has_hash(ctx, key)?;
    let fields = named_fields(args, 2, ErrorReply::FIELDS_NOT_POSITIVE)?;
    ctx.db.expire_fields(key, fields.iter());
    let horizon = ctx.db.horizon();
    let persist = |hash: &mut Hash, field: &[u8]| match hash.find(field, horizon) {
        Field::Missing | Field::Due => NO_FIELD,
        Field::Live(_) if hash.expiry(field) == NEVER => NO_EXPIRY,
        Field::Live(_) => {
            hash.set_expiry(field, NEVER);
            1
        }
    };
    let answers = ctx.db.edit_hash(key, |hash| fields.iter().map(|field| persist(hash, field)).collect())?;
    let answers: Vec<i64> = answers.unwrap_or_else(|| vec![NO_FIELD; fields.len()]);
    ctx.reply.array(answers.len());
    for &answer in &answers {
        ctx.reply.integer(answer);
    }
    if answers.contains(&1) {
        ctx.modified(key, "hpersist");
    }
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_compare_with_an_infinite_expiry_where_there_is_none() {
        let all = [Condition::Always, Condition::Nx, Condition::Xx, Condition::Gt, Condition::Lt];
        let allowed = |current: i64| all.map(|condition| condition.allows(current, 100));
        assert_eq!(allowed(NEVER), [true, true, false, false, true]);
        assert_eq!(allowed(99), [true, false, true, true, false]);
        assert_eq!(allowed(100), [true, false, true, false, false]);
        assert_eq!(allowed(101), [true, false, true, false, true]);
    }

    #[test]
    fn an_instant_has_46_bits() {
        let at = |arg: &str, unit| instant(arg.as_bytes(), unit, UnixMillis(7), "x").map(|at| at.0);
        assert_eq!(at("70368744177656", Unit::Millis), Ok(LATEST_MS));
        assert!(at("70368744177657", Unit::Millis).is_err());
        assert_eq!(at("70368744177", Unit::Seconds), Ok(70_368_744_177_007));
        assert!(at("70368744178", Unit::Seconds).is_err());
        assert!(at("9223372036854775807", Unit::Seconds).is_err());
        assert_eq!(at("-1", Unit::Millis), Err(ErrorReply::EXPIRE_TIME_NEGATIVE));
    }
}
