//! When keys expire: setting, clearing and asking for it.

use super::context::Ctx;
use super::options::integer;
use super::spec::*;
use crate::base::clock::UnixMillis;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

const CHANGED: &[KeySpec] = &[KeySpec::range(1, 1, 1, RW | UPDATE)];
const ASKED: &[KeySpec] = &[KeySpec::range(1, 1, 1, RO | ACCESS)];

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("expire", -3, WRITE | FAST, "generic", expire).keys(CHANGED).docs(
        "1.0.0",
        "O(1)",
        "Lets a key expire after a number of seconds.",
        "key seconds [NX | XX | GT | LT]",
    ),
    CommandSpec::data("pexpire", -3, WRITE | FAST, "generic", pexpire).keys(CHANGED).docs(
        "2.6.0",
        "O(1)",
        "Lets a key expire after a number of milliseconds.",
        "key milliseconds [NX | XX | GT | LT]",
    ),
    CommandSpec::data("expireat", -3, WRITE | FAST, "generic", expireat).keys(CHANGED).docs(
        "1.2.0",
        "O(1)",
        "Lets a key expire at a Unix time in seconds.",
        "key unix-time-seconds [NX | XX | GT | LT]",
    ),
    CommandSpec::data("pexpireat", -3, WRITE | FAST, "generic", pexpireat).keys(CHANGED).docs(
        "2.6.0",
        "O(1)",
        "Lets a key expire at a Unix time in milliseconds.",
        "key unix-time-milliseconds [NX | XX | GT | LT]",
    ),
    CommandSpec::data("ttl", 2, READONLY | FAST, "generic", ttl)
        .keys(ASKED)
        .docs("1.0.0", "O(1)", "Tells how many seconds a key has left.", "key")
        .tips(&["nondeterministic_output"]),
    CommandSpec::data("pttl", 2, READONLY | FAST, "generic", pttl)
        .keys(ASKED)
        .docs("2.6.0", "O(1)", "Tells how many milliseconds a key has left.", "key")
        .tips(&["nondeterministic_output"]),
    CommandSpec::data("expiretime", 2, READONLY | FAST, "generic", expiretime).keys(ASKED).docs(
        "7.0.0",
        "O(1)",
        "Tells the Unix time in seconds at which a key expires.",
        "key",
    ),
    CommandSpec::data("pexpiretime", 2, READONLY | FAST, "generic", pexpiretime).keys(ASKED).docs(
        "7.0.0",
        "O(1)",
        "Tells the Unix time in milliseconds at which a key expires.",
        "key",
    ),
    CommandSpec::data("persist", 2, WRITE | FAST, "generic", persist).keys(CHANGED).docs(
        "2.2.0",
        "O(1)",
        "Lets a key live for ever again.",
        "key",
    ),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Millis,
}

/// The expiry that a key must have already for a new one to be set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Self, ErrorReply> {
        let mut it = Self::default();
        for (at, arg) in args.iter().enumerate() {
            let flag = match () {
                () if args.is(at, "nx") => &mut it.nx,
                () if args.is(at, "xx") => &mut it.xx,
                () if args.is(at, "gt") => &mut it.gt,
                () if args.is(at, "lt") => &mut it.lt,
                () => {
                    let option = String::from_utf8_lossy(arg);
                    return Err(ErrorReply::new(format!("ERR Unsupported option {option}")));
                }
            };
            *flag = true;
        }
        if it.nx && (it.xx || it.gt || it.lt) {
            return Err(ErrorReply::EXPIRE_NX_WITH_OTHERS);
        }
        if it.gt && it.lt {
            return Err(ErrorReply::EXPIRE_GT_WITH_LT);
        }
        Ok(it)
    }

    /// A key without an expiry counts as one that expires infinitely late.
    fn allow(self, current: Option<UnixMillis>, new: UnixMillis) -> bool {
        match current {
            None => !self.xx && !self.gt,
            Some(at) => !(self.nx || (self.gt && new <= at) || (self.lt && new >= at)),
        }
    }
}

/// `EXPIRE key seconds [NX | XX | GT | LT]`
fn expire(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.now;
    set_expiry(ctx, args, Unit::Seconds, now, "expire")
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`
fn pexpire(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.now;
    set_expiry(ctx, args, Unit::Millis, now, "pexpire")
}

/// `EXPIREAT key unix-time-seconds [NX | XX | GT | LT]`
fn expireat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    set_expiry(ctx, args, Unit::Seconds, UnixMillis(0), "expireat")
}

/// `PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]`
fn pexpireat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    set_expiry(ctx, args, Unit::Millis, UnixMillis(0), "pexpireat")
}

/// Sets the expiry to argument 2 counted from `base`; a time that is over removes the key at once.
fn set_expiry(
    ctx: &mut Ctx<'_>,
    args: &Args<'_>,
    unit: Unit,
    base: UnixMillis,
    name: &'static str,
) -> CommandResult {
    let conditions = Conditions::parse(args.from(3))?;
    let given = integer(args.bytes(2))?;
    let ms = match unit {
        Unit::Seconds => given.checked_mul(1000),
        Unit::Millis => Some(given),
    };
    let at = ms.and_then(|ms| ms.checked_add(base.0)).map(UnixMillis);
    let at = at.ok_or_else(|| ErrorReply::invalid_expire_time(name))?;
    let key = args.bytes(1);

    ctx.db.access(key);
    let allowed = ctx.db.expires_at(key).is_some_and(|current| conditions.allow(current, at));
    ctx.reply.integer(i64::from(allowed));
    if !allowed {
        return Ok(Flow::Done);
    }
    // A replica keeps a key that is over until its master removes it.
    if at <= ctx.now && ctx.db.removes_expired() {
        ctx.db.remove(key);
        ctx.modified(key, "del");
        ctx.propagate_removal(key, ctx.config.lazyfree_lazy_expire);
        return Ok(Flow::Done);
    }
    ctx.db.set_expires_at(key, Some(at));
    ctx.modified(key, "expire");
    let mut digits = itoa::Buffer::new();
    let head = [&b"PEXPIREAT"[..], key, digits.format(at.0).as_bytes()];
    let effect: Vec<&[u8]> = head.into_iter().chain(args.from(3).iter()).collect();
    ctx.propagate_as(effect);
    Ok(Flow::Done)
}

/// `TTL key`
fn ttl(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.now;
    reply_expiry(ctx, args, |at| rounded_to_seconds(remaining_ms(at, now)))
}

/// `PTTL key`
fn pttl(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.now;
    reply_expiry(ctx, args, |at| remaining_ms(at, now))
}

/// `EXPIRETIME key`
fn expiretime(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    reply_expiry(ctx, args, |at| rounded_to_seconds(at.0))
}

/// `PEXPIRETIME key`
fn pexpiretime(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    reply_expiry(ctx, args, |at| at.0)
}

fn remaining_ms(at: UnixMillis, now: UnixMillis) -> i64 {
    at.0.saturating_sub(now.0).max(0)
}

fn rounded_to_seconds(ms: i64) -> i64 {
    ms / 1000 + i64::from(ms % 1000 >= 500)
}

/// Answers what `of` says of the key's expiry, -1 if it has none, -2 if there is no key.
fn reply_expiry(ctx: &mut Ctx<'_>, args: &Args<'_>, of: impl FnOnce(UnixMillis) -> i64) -> CommandResult {
    let key = args.bytes(1);
    ctx.db.look(key);
    let answer = match ctx.db.expires_at(key) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => of(at),
    };
    ctx.reply.integer(answer);
    Ok(Flow::Done)
}

/// `PERSIST key`
fn persist(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    ctx.db.access(key);
    let had_expiry = ctx.db.expires_at(key).flatten().is_some();
    if had_expiry {
        ctx.db.set_expires_at(key, None);
        ctx.modified(key, "persist");
    }
    ctx.reply.integer(i64::from(had_expiry));
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_compare_with_an_infinite_expiry_where_there_is_none() {
        let any = Conditions::default();
        let (nx, xx) = (Conditions { nx: true, ..any }, Conditions { xx: true, ..any });
        let (gt, lt) = (Conditions { gt: true, ..any }, Conditions { lt: true, ..any });
        let new = UnixMillis(100);
        let allowed = |current: Option<i64>| {
            [any, nx, xx, gt, lt].map(|conditions| conditions.allow(current.map(UnixMillis), new))
        };
        assert_eq!(allowed(None), [true, true, false, false, true]);
        assert_eq!(allowed(Some(99)), [true, false, true, true, false]);
        assert_eq!(allowed(Some(100)), [true, false, true, false, false]);
        assert_eq!(allowed(Some(101)), [true, false, true, false, true]);
    }
}
