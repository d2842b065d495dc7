//! Commands that read or replace whole strings. `counter`, `range` and `lcs` have the others of the group.
//!
//! GET and the plain SET are what clients send most: one lookup each, and nothing is allocated for a short value.

pub(super) mod counter;
pub(super) mod lcs;
mod options;
pub(super) mod range;

use smallvec::SmallVec;

use self::options::{Condition, Expiry, GetexOptions, SetOptions, Term, Unit};
use super::context::Ctx;
use super::spec::*;
use crate::base::clock::UnixMillis;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::db::PREFETCH_KEYS_MAX;
use crate::storage::{NewExpiry, StringRef, WrongType};

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("get", 2, READONLY | FAST, "string", get)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs("1.0.0", "O(1)", "Reads a string.", "key"),
    CommandSpec::data("set", -3, WRITE | DENYOOM, "string", set)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | UPDATE | VARIABLE_FLAGS).noted("RW and ACCESS due to the optional `GET` argument")])
        .docs(
            "1.0.0",
            "O(1)",
            "Stores a string in the place of any value, on a condition and with an expiry if wanted.",
            "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
             PXAT unix-time-milliseconds | KEEPTTL]",
        ),
    CommandSpec::data("getex", -2, WRITE | FAST, "string", getex)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | UPDATE).noted("RW and UPDATE because it changes the TTL")])
        .docs(
            "6.2.0",
            "O(1)",
            "Reads a string and changes when it expires.",
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
        ),
    CommandSpec::data("getdel", 2, WRITE | FAST, "string", getdel)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | DELETE)])
        .docs("6.2.0", "O(1)", "Reads a string and deletes its key.", "key"),
    CommandSpec::data("getset", 3, WRITE | DENYOOM | FAST, "string", getset)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | UPDATE)])
        .docs("1.0.0", "O(1)", "Stores a string and answers the one that was there before.", "key value").deprecated("6.2.0", "`SET` with the `!GET` argument"),
    CommandSpec::data("setnx", 3, WRITE | DENYOOM | FAST, "string", setnx)
        .keys(&[KeySpec::range(1, 1, 1, OW | INSERT)])
        .docs("1.0.0", "O(1)", "Stores a string if its key does not exist.", "key value"),
    CommandSpec::data("setex", 4, WRITE | DENYOOM, "string", setex)
        .keys(&[KeySpec::range(1, 1, 1, OW | UPDATE)])
        .docs("2.0.0", "O(1)", "Stores a string that expires after some seconds.", "key seconds value"),
    CommandSpec::data("psetex", 4, WRITE | DENYOOM, "string", psetex)
        .keys(&[KeySpec::range(1, 1, 1, OW | UPDATE)])
        .docs("2.6.0", "O(1)", "Stores a string that expires after some milliseconds.", "key milliseconds value"),
    CommandSpec::data("mget", -2, READONLY | FAST, "string", mget)
        .keys(&[KeySpec::range(1, -1, 1, RO | ACCESS)])
        .docs("1.0.0", "O(N) where N is the number of keys", "Reads several strings.", "key [key ...]").tips(&["request_policy:multi_shard"]),
    CommandSpec::data("mset", -3, WRITE | DENYOOM, "string", mset)
        .keys(&[KeySpec::range(1, -1, 2, OW | UPDATE)])
        .docs(
            "1.0.1",
            "O(N) where N is the number of keys",
            "Stores several strings at once.",
            "key value [key value ...]",
        ).tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
    CommandSpec::data("msetnx", -3, WRITE | DENYOOM, "string", msetnx)
        .keys(&[KeySpec::range(1, -1, 2, OW | INSERT)])
        .docs(
            "1.0.1",
            "O(N) where N is the number of keys",
            "Stores several strings if none of the keys exists.",
            "key value [key value ...]",
        ).tips(&["request_policy:multi_shard", "response_policy:agg_min"]),
];

/// `GET key`
fn get(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    reply_string(ctx, args.bytes(1))?;
    Ok(Flow::Done)
}

/// Ends the reply with the string at `key`, or null; whether there is one. Counts as a read.
fn reply_string(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<bool, WrongType> {
    match ctx.db.string(key)? {
        Some(StringRef::Bytes(bytes)) if ctx.late.take_bytes(bytes.len()) => {
            if let Some(bytes) = ctx.db.shared_string(key) {
                ctx.late.leave(move |reply| reply.bulk(&bytes[..]));
            }
            Ok(true)
        }
        value => Ok(write_string(&mut ctx.reply, value)),
    }
}

/// Writes a string, or null; whether there is one.
fn write_string(reply: &mut Reply<'_>, value: Option<StringRef<'_>>) -> bool {
    match value {
        Some(StringRef::Bytes(bytes)) => reply.bulk(bytes),
        Some(StringRef::Int(n)) => reply.bulk_integer(n),
        None => reply.null(),
    }
    value.is_some()
}

/// `SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds |
/// KEEPTTL]`
fn set(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, value) = (args.bytes(1), args.bytes(2));
    if args.len() == 3 {
        ctx.db.set_string(key, value, NewExpiry::Clear);
        ctx.modified(key, "set");
        ctx.reply.ok();
        return Ok(Flow::Done);
    }
    let options = SetOptions::parse(args)?;
    let expiry = match options.expiry {
        Some(Expiry::At(term)) => NewExpiry::At(term.instant(ctx.now, "set")?),
        Some(Expiry::Keep) => NewExpiry::Keep,
        Some(Expiry::Persist) | None => NewExpiry::Clear,
    };
    if options.answers_old {
        reply_string(ctx, key)?;
    }
    if let Some(condition) = options.condition
        && ctx.db.contains(key) != (condition == Condition::Exists)
    {
        if !options.answers_old {
            ctx.reply.null();
        }
        return Ok(Flow::Done);
    }
    ctx.db.set_string(key, value, expiry);
    ctx.modified(key, "set");
    if let NewExpiry::At(at) = expiry {
        ctx.event(key, "expire");
        propagate_set_at(ctx, key, value, at);
    } else if options.answers_old {
        // Nobody reads what a replica would answer.
        let is_get = |&(index, arg): &(usize, &[u8])| index > 2 && arg.eq_ignore_ascii_case(b"get");
        let kept: SmallVec<[&[u8]; 8]> =
            args.iter().enumerate().filter(|arg| !is_get(arg)).map(|(_, arg)| arg).collect();
        ctx.propagate_as(kept);
    }
    if !options.answers_old {
        ctx.reply.ok();
    }
    Ok(Flow::Done)
}

/// Propagates that `key` was set to expire at an instant, however the client has put it.
fn propagate_set_at(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], at: UnixMillis) {
    let mut buffer = itoa::Buffer::new();
    ctx.propagate_as([b"SET", key, value, b"PXAT", buffer.format(at.0).as_bytes()]);
}

/// `SETNX key value`
fn setnx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let is_new = !ctx.db.contains(key);
    if is_new {
        ctx.db.set_string(key, args.bytes(2), NewExpiry::Clear);
        ctx.modified(key, "set");
    }
    ctx.reply.integer(i64::from(is_new));
    Ok(Flow::Done)
}

/// `SETEX key seconds value`
fn setex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    set_for(ctx, args, Unit::Seconds, "setex")
}

/// `PSETEX key milliseconds value`
fn psetex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    set_for(ctx, args, Unit::Millis, "psetex")
}

fn set_for(ctx: &mut Ctx<'_>, args: &Args<'_>, unit: Unit, command: &'static str) -> CommandResult {
    let (key, value) = (args.bytes(1), args.bytes(3));
    let at = Term { amount: args.bytes(2), unit, is_absolute: false }.instant(ctx.now, command)?;
    ctx.db.set_string(key, value, NewExpiry::At(at));
    ctx.modified(key, "set");
    ctx.event(key, "expire");
    propagate_set_at(ctx, key, value, at);
    ctx.reply.ok();
    Ok(Flow::Done)
}

/// `GETSET key value`
fn getset(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, value) = (args.bytes(1), args.bytes(2));
    reply_string(ctx, key)?;
    ctx.db.set_string(key, value, NewExpiry::Clear);
    ctx.modified(key, "set");
    ctx.propagate_as([b"SET", key, value]);
    Ok(Flow::Done)
}

/// `GETDEL key`
fn getdel(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    if reply_string(ctx, key)? {
        ctx.db.remove(key);
        ctx.modified(key, "del");
        ctx.propagate_as([b"DEL", key]);
    }
    Ok(Flow::Done)
}

/// `GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]`
fn getex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let options = GetexOptions::parse(args)?;
    // The expiry of a key that does not exist is not looked at, not even whether it is a number.
    if !reply_string(ctx, key)? {
        return Ok(Flow::Done);
    }
    match options.expiry {
        Some(Expiry::At(term)) => {
            let at = term.instant(ctx.now, "getex")?;
            expire_at(ctx, key, at, term.is_absolute);
        }
        Some(Expiry::Persist) if ctx.db.expires_at(key).flatten().is_some() => {
            ctx.db.set_expires_at(key, None);
            ctx.modified(key, "persist");
            ctx.propagate_as([b"PERSIST", key]);
        }
        _ => {}
    }
    Ok(Flow::Done)
}

/// Gives `key` an expiry; one that is over deletes it at once.
fn expire_at(ctx: &mut Ctx<'_>, key: &[u8], at: UnixMillis, is_absolute: bool) {
    if is_absolute && at <= ctx.now && ctx.db.removes_expired() {
        ctx.db.remove(key);
        ctx.modified(key, "del");
        ctx.propagate_removal(key, ctx.config.lazyfree_lazy_expire);
    } else {
        ctx.db.set_expires_at(key, Some(at));
        ctx.modified(key, "expire");
        let mut buffer = itoa::Buffer::new();
        ctx.propagate_as([b"PEXPIREAT", key, buffer.format(at.0).as_bytes()]);
    }
}

/// `MGET key [key ...]`
fn mget(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    ctx.reply.array(args.len() - 1);
    for keys in args.from(1).chunks(PREFETCH_KEYS_MAX) {
        ctx.db.prefetch(keys.iter());
        for key in keys.iter() {
            // Another type is as good as missing.
            let value = ctx.db.string(key).unwrap_or_default();
            write_string(&mut ctx.reply, value);
        }
    }
    Ok(Flow::Done)
}

/// `MSET key value [key value ...]`
fn mset(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    set_pairs(ctx, &pairs(args, "mset")?);
    ctx.reply.ok();
    Ok(Flow::Done)
}

/// `MSETNX key value [key value ...]`
fn msetnx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let pairs = pairs(args, "msetnx")?;
    let are_new = !pairs.iter().step_by(2).any(|key| ctx.db.contains(key));
    if are_new {
        set_pairs(ctx, &pairs);
    }
    ctx.reply.integer(i64::from(are_new));
    Ok(Flow::Done)
}

/// `pairs` holds keys and values in turn.
fn set_pairs(ctx: &mut Ctx<'_>, pairs: &Args<'_>) {
    for part in pairs.chunks(2 * PREFETCH_KEYS_MAX) {
        ctx.db.prefetch(part.iter().step_by(2));
        for pair in part.chunks(2) {
            let (key, value) = (pair.bytes(0), pair.bytes(1));
            ctx.db.set_string(key, value, NewExpiry::Clear);
            ctx.modified(key, "set");
        }
    }
}

/// The keys and values of MSET and MSETNX.
fn pairs<'a>(args: &Args<'a>, command: &'static str) -> Result<Args<'a>, ErrorReply> {
    if args.len().is_multiple_of(2) {
        return Err(ErrorReply::wrong_arity(command));
    }
    Ok(args.from(1))
}
