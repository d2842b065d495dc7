//! Commands on strings that are numbers.

use crate::base::long_double::LongDouble;
use crate::base::number::parse_i64;
use crate::command::context::Ctx;
use crate::command::options::integer;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::{NewExpiry, StringRef};

const KEYS: &[KeySpec] = &[KeySpec::range(1, 1, 1, RW | ACCESS | UPDATE)];

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("incr", 2, WRITE | DENYOOM | FAST, "string", incr).keys(KEYS).docs(
        "1.0.0",
        "O(1)",
        "Adds one to the integer at a key, which begins as 0.",
        "key",
    ),
    CommandSpec::data("decr", 2, WRITE | DENYOOM | FAST, "string", decr).keys(KEYS).docs(
        "1.0.0",
        "O(1)",
        "Takes one from the integer at a key, which begins as 0.",
        "key",
    ),
    CommandSpec::data("incrby", 3, WRITE | DENYOOM | FAST, "string", incrby).keys(KEYS).docs(
        "1.0.0",
        "O(1)",
        "Adds to the integer at a key, which begins as 0.",
        "key increment",
    ),
    CommandSpec::data("decrby", 3, WRITE | DENYOOM | FAST, "string", decrby).keys(KEYS).docs(
        "1.0.0",
        "O(1)",
        "Takes from the integer at a key, which begins as 0.",
        "key decrement",
    ),
    CommandSpec::data("incrbyfloat", 3, WRITE | DENYOOM | FAST, "string", incrbyfloat).keys(KEYS).docs(
        "2.6.0",
        "O(1)",
        "Adds to the floating point number at a key, which begins as 0.",
        "key increment",
    ),
];

/// `INCR key`
fn incr(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    increment(ctx, args.bytes(1), 1)
}

/// `DECR key`
fn decr(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    increment(ctx, args.bytes(1), -1)
}

/// `INCRBY key increment`
fn incrby(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    increment(ctx, args.bytes(1), integer(args.bytes(2))?)
}

/// `DECRBY key decrement`
fn decrby(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let negated = integer(args.bytes(2))?.checked_neg().ok_or(ErrorReply::DECREMENT_OVERFLOW)?;
    increment(ctx, args.bytes(1), negated)
}

fn increment(ctx: &mut Ctx<'_>, key: &[u8], by: i64) -> CommandResult {
    let sum = ctx.db.update_integer(key, |old| {
        let old = match old {
            None => 0,
            Some(StringRef::Int(n)) => n,
            Some(StringRef::Bytes(bytes)) => parse_i64(bytes).ok_or(ErrorReply::NOT_AN_INTEGER)?,
        };
        old.checked_add(by).ok_or(ErrorReply::OVERFLOW)
    })?;
    ctx.modified(key, "incrby");
    ctx.reply.integer(sum);
    Ok(Flow::Done)
}

/// `INCRBYFLOAT key increment`
fn incrbyfloat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let old = match ctx.db.peek_string(key)? {
        None => LongDouble::from(0),
        Some(StringRef::Int(n)) => LongDouble::from(n),
        Some(StringRef::Bytes(bytes)) => LongDouble::parse(bytes).ok_or(ErrorReply::NOT_A_FLOAT)?,
    };
    let by = LongDouble::parse(args.bytes(2)).ok_or(ErrorReply::NOT_A_FLOAT)?;
    let sum = old + by;
    if !sum.is_finite() {
        return Err(ErrorReply::NAN_OR_INFINITY);
    }
    let text = sum.to_string();
    ctx.db.set_text(key, text.as_bytes(), NewExpiry::Keep);
    ctx.modified(key, "incrbyfloat");
    ctx.reply.bulk(&text);
    // The result, so that a replica need not compute with the same precision.
    ctx.propagate_as([b"SET", key, text.as_bytes(), b"KEEPTTL"]);
    Ok(Flow::Done)
}
