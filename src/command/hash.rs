//! Commands of the hash group.

use super::context::Ctx;
use super::options::{integer, random_count, rounds};
use super::scan_options::{Page, ScanOf, ScanOptions, cursor};
use super::spec::*;
use crate::base::long_double::LongDouble;
use crate::base::number::parse_i64;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::hash::Hash;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("hset", -4, WRITE | DENYOOM | FAST, "hash", hset)
        .keys(&[KeySpec::range(1, 1, 1, RW | UPDATE)])
        .docs(
            "2.0.0",
            "O(N) where N is the number of pairs; O(1) for each of them.",
            "Sets fields of a hash, creating the hash when the key is missing.",
            "key field value [field value ...]",
        ),
    CommandSpec::data("hmset", -4, WRITE | DENYOOM | FAST, "hash", hmset)
        .keys(&[KeySpec::range(1, 1, 1, RW | UPDATE)])
        .docs(
            "2.0.0",
            "O(N) where N is the number of pairs.",
            "Sets fields of a hash; the older form of HSET.",
            "key field value [field value ...]",
        ),
    CommandSpec::data("hsetnx", 4, WRITE | DENYOOM | FAST, "hash", hsetnx)
        .keys(&[KeySpec::range(1, 1, 1, RW | INSERT)])
        .docs("2.0.0", "O(1)", "Sets a field of a hash unless the field exists.", "key field value"),
    CommandSpec::data("hget", 3, READONLY | FAST, "hash", hget)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs("2.0.0", "O(1)", "Reads the value of one field.", "key field"),
    CommandSpec::data("hmget", -3, READONLY | FAST, "hash", hmget)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs(
            "2.0.0",
            "O(N) where N is the number of fields.",
            "Reads several fields.",
            "key field [field ...]",
        ),
    CommandSpec::data("hgetall", 2, READONLY, "hash", hgetall)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs("2.0.0", "O(N) where N is the size of the hash.", "Reads all fields with their values.", "key"),
    CommandSpec::data("hdel", -3, WRITE | FAST, "hash", hdel)
        .keys(&[KeySpec::range(1, 1, 1, RW | DELETE)])
        .docs(
            "2.0.0",
            "O(N) where N is the number of fields.",
            "Removes fields, and the key with the last of them.",
            "key field [field ...]",
        ),
    CommandSpec::data("hlen", 2, READONLY | FAST, "hash", hlen).keys(&[KeySpec::range(1, 1, 1, RO)]).docs(
        "2.0.0",
        "O(1)",
        "Counts the fields of a hash.",
        "key",
    ),
    CommandSpec::data("hstrlen", 3, READONLY | FAST, "hash", hstrlen)
        .keys(&[KeySpec::range(1, 1, 1, RO)])
        .docs("3.2.0", "O(1)", "Tells how many bytes the value of a field has.", "key field"),
    CommandSpec::data("hexists", 3, READONLY | FAST, "hash", hexists)
        .keys(&[KeySpec::range(1, 1, 1, RO)])
        .docs("2.0.0", "O(1)", "Tells whether a hash has a field.", "key field"),
    CommandSpec::data("hkeys", 2, READONLY, "hash", hkeys)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs("2.0.0", "O(N) where N is the size of the hash.", "Reads the names of all fields.", "key"),
    CommandSpec::data("hvals", 2, READONLY, "hash", hvals)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs("2.0.0", "O(N) where N is the size of the hash.", "Reads the values of all fields.", "key"),
    CommandSpec::data("hincrby", 4, WRITE | DENYOOM | FAST, "hash", hincrby)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | UPDATE)])
        .docs(
            "2.0.0",
            "O(1)",
            "Adds to the integer in a field, which counts as 0 when it is missing.",
            "key field increment",
        ),
    CommandSpec::data("hincrbyfloat", 4, WRITE | DENYOOM | FAST, "hash", hincrbyfloat)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | UPDATE)])
        .docs(
            "2.6.0",
            "O(1)",
            "Adds to the decimal number in a field, which counts as 0 when it is missing.",
            "key field increment",
        ),
    CommandSpec::data("hrandfield", -2, READONLY, "hash", hrandfield)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs(
            "6.2.0",
            "O(N) where N is the number of fields drawn.",
            "Draws fields at random.",
            "key [count [WITHVALUES]]",
        ),
    CommandSpec::data("hscan", -3, READONLY, "hash", hscan)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs(
            "2.8.0",
            "O(1) for a call, O(N) for a whole iteration, where N is the size of the hash.",
            "Iterates over the fields of a hash, some per call.",
            "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        ),
];

/// `HSET key field value [field value ...]`
fn hset(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let created = set_pairs(ctx, args, "hset")?;
    ctx.reply.integer(created as i64);
    Ok(Flow::Done)
}

/// `HMSET key field value [field value ...]`
fn hmset(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    set_pairs(ctx, args, "hmset")?;
    ctx.reply.ok();
    Ok(Flow::Done)
}

/// Sets all pairs; answers how many fields are new.
fn set_pairs(ctx: &mut Ctx<'_>, args: &Args<'_>, command: &str) -> Result<usize, ErrorReply> {
    if !args.len().is_multiple_of(2) {
        return Err(ErrorReply::wrong_arity(command));
    }
    let key = args.bytes(1);
    let limits = ctx.db.limits;
    let hash = ctx.db.write_or_create::<Hash>(key)?;
    let created =
        (2..args.len()).step_by(2).filter(|&i| hash.insert(args.bytes(i), args.bytes(i + 1), limits)).count();
    ctx.modified(key, "hset");
    ctx.add_dirty((args.len() - 2) as u64 / 2 - 1);
    Ok(created)
}

/// `HSETNX key field value`
fn hsetnx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let limits = ctx.db.limits;
    let hash = ctx.db.write_or_create::<Hash>(key)?;
    let is_new = !hash.contains(args.bytes(2));
    if is_new {
        hash.insert(args.bytes(2), args.bytes(3), limits);
        ctx.modified(key, "hset");
    }
    ctx.reply.integer(is_new.into());
    Ok(Flow::Done)
}

/// `HGET key field`
fn hget(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let value = ctx.db.read::<Hash>(args.bytes(1))?.and_then(|hash| hash.get(args.bytes(2)));
    bulk_or_null(&mut ctx.reply, value);
    Ok(Flow::Done)
}

/// `HMGET key field [field ...]`
fn hmget(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let hash = ctx.db.read::<Hash>(args.bytes(1))?;
    let fields = args.from(2);
    ctx.reply.array(fields.len());
    for field in fields.iter() {
        bulk_or_null(&mut ctx.reply, hash.and_then(|hash| hash.get(field)));
    }
    Ok(Flow::Done)
}

/// `HGETALL key`
fn hgetall(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let Some(hash) = ctx.db.read::<Hash>(args.bytes(1))? else {
        ctx.reply.map(0);
        return Ok(Flow::Done);
    };
    ctx.reply.map(hash.len());
    for (field, value) in hash.iter() {
        ctx.reply.bulk(field);
        ctx.reply.bulk(value);
    }
    Ok(Flow::Done)
}

/// `HDEL key field [field ...]`
fn hdel(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let removed = match ctx.db.write::<Hash>(key)? {
        Some(hash) => args.from(2).iter().filter(|field| hash.remove(field)).count(),
        None => 0,
    };
    if removed > 0 {
        ctx.modified(key, "hdel");
        ctx.add_dirty(removed as u64 - 1);
        ctx.remove_if_empty::<Hash>(key);
    }
    ctx.reply.integer(removed as i64);
    Ok(Flow::Done)
}

/// `HLEN key`
fn hlen(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let len = ctx.db.read::<Hash>(args.bytes(1))?.map_or(0, Hash::len);
    ctx.reply.integer(len as i64);
    Ok(Flow::Done)
}

/// `HSTRLEN key field`
fn hstrlen(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let value = ctx.db.read::<Hash>(args.bytes(1))?.and_then(|hash| hash.get(args.bytes(2)));
    ctx.reply.integer(value.map_or(0, <[u8]>::len) as i64);
    Ok(Flow::Done)
}

/// `HEXISTS key field`
fn hexists(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let exists = ctx.db.read::<Hash>(args.bytes(1))?.is_some_and(|hash| hash.contains(args.bytes(2)));
    ctx.reply.integer(exists.into());
    Ok(Flow::Done)
}

/// `HKEYS key`
fn hkeys(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let hash = ctx.db.read::<Hash>(args.bytes(1))?;
    ctx.reply.array(hash.map_or(0, Hash::len));
    for (field, _) in hash.into_iter().flat_map(Hash::iter) {
        ctx.reply.bulk(field);
    }
    Ok(Flow::Done)
}

/// `HVALS key`
fn hvals(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let hash = ctx.db.read::<Hash>(args.bytes(1))?;
    ctx.reply.array(hash.map_or(0, Hash::len));
    for (_, value) in hash.into_iter().flat_map(Hash::iter) {
        ctx.reply.bulk(value);
    }
    Ok(Flow::Done)
}

/// `HINCRBY key field increment`
fn hincrby(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, field) = (args.bytes(1), args.bytes(2));
    let increment = integer(args.bytes(3))?;
    let limits = ctx.db.limits;
    // What can fail below fails only for a field that exists: no empty hash is left behind.
    let hash = ctx.db.write_or_create::<Hash>(key)?;
    let old = match hash.get(field) {
        Some(text) => parse_i64(text).ok_or(ErrorReply::HASH_VALUE_NOT_AN_INTEGER)?,
        None => 0,
    };
    let new = old.checked_add(increment).ok_or(ErrorReply::OVERFLOW)?;
    hash.insert(field, itoa::Buffer::new().format(new).as_bytes(), limits);
    ctx.modified(key, "hincrby");
    ctx.reply.integer(new);
    Ok(Flow::Done)
}

/// `HINCRBYFLOAT key field increment`
fn hincrbyfloat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, field) = (args.bytes(1), args.bytes(2));
    let increment = LongDouble::parse(args.bytes(3)).ok_or(ErrorReply::NOT_A_FLOAT)?;
    if !increment.is_finite() {
        return Err(ErrorReply::VALUE_NOT_FINITE);
    }
    let limits = ctx.db.limits;
    // What can fail below fails only for a field that exists: no empty hash is left behind.
    let hash = ctx.db.write_or_create::<Hash>(key)?;
    let old = match hash.get(field) {
        Some(text) => LongDouble::parse(text).ok_or(ErrorReply::HASH_VALUE_NOT_A_FLOAT)?,
        None => LongDouble::from(0),
    };
    let new = old + increment;
    if !new.is_finite() {
        return Err(ErrorReply::NAN_OR_INFINITY);
    }
    let new = new.to_string();
    hash.insert(field, new.as_bytes(), limits);
    ctx.modified(key, "hincrbyfloat");
    // A replica must not depend on how its own processor rounds.
    ctx.propagate_as([b"HSET", key, field, new.as_bytes()]);
    ctx.reply.bulk(&new);
    Ok(Flow::Done)
}

/// `HRANDFIELD key [count [WITHVALUES]]`
fn hrandfield(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    if args.len() == 2 {
        let drawn = ctx.db.read::<Hash>(args.bytes(1))?.and_then(|hash| hash.random(ctx.rng));
        bulk_or_null(&mut ctx.reply, drawn.map(|(field, _)| field));
        return Ok(Flow::Done);
    }
    let count = random_count(args.bytes(2))?;
    let with_values = match args.len() {
        3 => false,
        4 if args.is(3, "WITHVALUES") => true,
        _ => return Err(ErrorReply::SYNTAX),
    };
    // Twice as many elements have to be countable.
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(ErrorReply::OUT_OF_RANGE);
    }
    let bytes_max = ctx.reply_bytes_max();
    let Some(hash) = ctx.db.read::<Hash>(args.bytes(1))? else {
        ctx.reply.array(0);
        return Ok(Flow::Done);
    };
    let wanted = count.unsigned_abs() as usize;
    let len = if count < 0 { wanted } else { wanted.min(hash.len()) };
    let nests = with_values && ctx.reply.is_resp3();
    ctx.reply.array(if with_values && !nests { 2 * len } else { len });
    let write = |reply: &mut Reply<'_>, (field, value): (&[u8], &[u8])| {
        if nests {
            reply.array(2);
        }
        reply.bulk(field);
        if with_values {
            reply.bulk(value);
        }
    };
    if count < 0 {
        for round in rounds(wanted) {
            if ctx.reply.buffered_bytes() > bytes_max {
                break;
            }
            hash.random_repeated(round, ctx.rng, |pair| write(&mut ctx.reply, pair));
        }
    } else if wanted >= hash.len() {
        hash.iter().for_each(|pair| write(&mut ctx.reply, pair));
    } else {
        hash.random_distinct(wanted, ctx.rng).into_iter().for_each(|pair| write(&mut ctx.reply, pair));
    }
    Ok(Flow::Done)
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]`
fn hscan(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let cursor = cursor(args.bytes(2))?;
    let mut page = Page::new(&ctx.reply);
    let next = match ctx.db.read::<Hash>(args.bytes(1))? {
        None => 0,
        Some(hash) => {
            let options = ScanOptions::parse(args.from(3), ScanOf::Fields)?;
            hash.scan(cursor, options.count, |field, value| {
                if options.matches(field) {
                    page.push(field);
                    if options.has_values {
                        page.push(value);
                    }
                }
            })
        }
    };
    page.write(&mut ctx.reply, next);
    Ok(Flow::Done)
}

fn bulk_or_null(reply: &mut Reply<'_>, value: Option<&[u8]>) {
    match value {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}
