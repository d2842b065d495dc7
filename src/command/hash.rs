//! Commands of the hash group.

use super::context::Ctx;
use super::options::{integer, rounds, signed_count};
use super::scan_options::{Page, ScanOf, ScanOptions, cursor};
use super::spec::*;
use crate::base::long_double::LongDouble;
use crate::base::number::parse_i64;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::LiveDb;
use crate::storage::hash::{Field, FieldExpiry, Hash, NEVER};

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
        )
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs"),
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
        .looks_at(Extent::Elements)
        .docs("2.0.0", "O(N) where N is the size of the hash.", "Reads all fields with their values.", "key")
        .tips(&["nondeterministic_output_order"]),
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
        .looks_at(Extent::Elements)
        .docs("2.0.0", "O(N) where N is the size of the hash.", "Reads the names of all fields.", "key")
        .tips(&["nondeterministic_output_order"]),
    CommandSpec::data("hvals", 2, READONLY, "hash", hvals)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .looks_at(Extent::Elements)
        .docs("2.0.0", "O(N) where N is the size of the hash.", "Reads the values of all fields.", "key")
        .tips(&["nondeterministic_output_order"]),
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
        .looks_at(Extent::Draws)
        .docs(
            "6.2.0",
            "O(N) where N is the number of fields drawn.",
            "Draws fields at random.",
            "key [count [WITHVALUES]]",
        )
        .tips(&["nondeterministic_output"]),
    CommandSpec::data("hscan", -3, READONLY, "hash", hscan)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .looks_at(Extent::Scan)
        .docs(
            "2.8.0",
            "O(1) for a call, O(N) for a whole iteration, where N is the size of the hash.",
            "Iterates over the fields of a hash, some per call.",
            "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        )
        .tips(&["nondeterministic_output"]),
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
    let created = ctx.db.edit_or_create_hash(key, |hash| {
        (2..args.len()).step_by(2).filter(|&i| hash.insert(args.bytes(i), args.bytes(i + 1), limits)).count()
    })?;
    ctx.modified(key, "hset");
    ctx.add_dirty((args.len() - 2) as u64 / 2 - 1);
    Ok(created)
}

/// `HSETNX key field value`
fn hsetnx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let limits = ctx.db.limits;
    ctx.db.expire_fields(key, [args.bytes(2)]);
    let horizon = ctx.db.horizon();
    let is_new = ctx.db.edit_or_create_hash(key, |hash| {
        let is_new = hash.find(args.bytes(2), horizon).live().is_none();
        if is_new {
            hash.insert(args.bytes(2), args.bytes(3), limits);
        }
        is_new
    })?;
    if is_new {
        ctx.modified(key, "hset");
    }
    ctx.reply.integer(is_new.into());
    Ok(Flow::Done)
}

/// Tells of each field as it is now, in a hash or where there is none. Those whose time has passed are removed.
fn read_fields<'a>(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    fields: impl Iterator<Item = &'a [u8]> + Clone,
    tell: impl Fn(&mut Reply<'_>, Option<&[u8]>),
) -> Result<(), ErrorReply> {
    let horizon = ctx.db.horizon();
    let hash = ctx.db.read::<Hash>(key)?;
    let mut has_due = false;
    for field in fields.clone() {
        let found = hash.map_or(Field::Missing, |hash| hash.find(field, horizon));
        has_due |= found == Field::Due;
        tell(&mut ctx.reply, found.live());
    }
    if has_due {
        ctx.db.expire_fields(key, fields);
    }
    Ok(())
}

/// `HGET key field`
fn hget(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    read_fields(ctx, args.bytes(1), std::iter::once(args.bytes(2)), bulk_or_null)?;
    Ok(Flow::Done)
}

/// `HMGET key field [field ...]`
fn hmget(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let fields = args.from(2);
    ctx.reply.array(fields.len());
    read_fields(ctx, args.bytes(1), fields.iter(), bulk_or_null)?;
    Ok(Flow::Done)
}

/// `HGETALL key`
fn hgetall(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let horizon = ctx.db.horizon();
    let Some(hash) = ctx.db.read::<Hash>(args.bytes(1))? else {
        ctx.reply.map(0);
        return Ok(Flow::Done);
    };
    ctx.reply.map(hash.live_len(horizon));
    for (field, value) in hash.live(horizon) {
        ctx.reply.bulk(field);
        ctx.reply.bulk(value);
    }
    Ok(Flow::Done)
}

/// `HDEL key field [field ...]`
fn hdel(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let remove = |hash: &mut Hash| args.from(2).iter().filter(|field| hash.remove(field)).count();
    let removed = ctx.db.edit_hash(key, remove)?.unwrap_or_default();
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
    read_fields(ctx, args.bytes(1), std::iter::once(args.bytes(2)), |reply, value| {
        reply.integer(value.map_or(0, <[u8]>::len) as i64);
    })?;
    Ok(Flow::Done)
}

/// `HEXISTS key field`
fn hexists(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    read_fields(ctx, args.bytes(1), std::iter::once(args.bytes(2)), |reply, value| {
        reply.integer(value.is_some().into());
    })?;
    Ok(Flow::Done)
}

/// `HKEYS key`
fn hkeys(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let horizon = ctx.db.horizon();
    let hash = ctx.db.read::<Hash>(args.bytes(1))?;
    ctx.reply.array(hash.map_or(0, |hash| hash.live_len(horizon)));
    for (field, _) in hash.into_iter().flat_map(|hash| hash.live(horizon)) {
        ctx.reply.bulk(field);
    }
    Ok(Flow::Done)
}

/// `HVALS key`
fn hvals(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let horizon = ctx.db.horizon();
    let hash = ctx.db.read::<Hash>(args.bytes(1))?;
    ctx.reply.array(hash.map_or(0, |hash| hash.live_len(horizon)));
    for (_, value) in hash.into_iter().flat_map(|hash| hash.live(horizon)) {
        ctx.reply.bulk(value);
    }
    Ok(Flow::Done)
}

/// Replaces a field by what `change` makes of its text, which is none for a field that is missing. A field that is there
/// keeps its expiry. Answers when it expires.
fn update_field(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    field: &[u8],
    change: impl FnOnce(Option<&[u8]>) -> Result<Vec<u8>, ErrorReply>,
) -> Result<i64, ErrorReply> {
    ctx.db.expire_fields(key, [field]);
    let (limits, horizon) = (ctx.db.limits, ctx.db.horizon());
    // What can fail fails only for a field that exists: no empty hash is left behind.
    ctx.db.edit_or_create_hash(key, |hash| {
        let old = hash.find(field, horizon).live();
        let expiry = if old.is_some() { FieldExpiry::Keep } else { FieldExpiry::Clear };
        let new = change(old)?;
        hash.set(field, &new, expiry, limits);
        Ok(hash.expiry(field))
    })?
}

/// `HINCRBY key field increment`
fn hincrby(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, field) = (args.bytes(1), args.bytes(2));
    let increment = integer(args.bytes(3))?;
    let mut new = 0;
    update_field(ctx, key, field, |text| {
        let old = match text {
            Some(text) => parse_i64(text).ok_or(ErrorReply::HASH_VALUE_NOT_AN_INTEGER)?,
            None => 0,
        };
        new = old.checked_add(increment).ok_or(ErrorReply::OVERFLOW)?;
        Ok(itoa::Buffer::new().format(new).as_bytes().to_vec())
    })?;
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
    let mut new = String::new();
    let expiry = update_field(ctx, key, field, |text| {
        let old = match text {
            Some(text) => LongDouble::parse(text).ok_or(ErrorReply::HASH_VALUE_NOT_A_FLOAT)?,
            None => LongDouble::from(0),
        };
        let sum = old + increment;
        if !sum.is_finite() {
            return Err(ErrorReply::NAN_OR_INFINITY);
        }
        new = sum.to_string();
        Ok(new.clone().into_bytes())
    })?;
    ctx.modified(key, "hincrbyfloat");
    // A replica must not depend on how its own processor rounds. One that knows no HSETEX needs it for no other field.
    if expiry == NEVER {
        ctx.propagate_as([b"HSET", key, field, new.as_bytes()]);
    } else {
        ctx.propagate_as([b"HSETEX", key, b"KEEPTTL", b"FIELDS", b"1", field, new.as_bytes()]);
    }
    ctx.reply.bulk(&new);
    Ok(Flow::Done)
}

/// A hash without the fields whose time has passed. They are removed, or left out where they have to wait for the master.
struct Drawn<'a> {
    hash: &'a Hash,
    /// What is left of it, if something had to be left out.
    rest: Option<Hash>,
}

impl Drawn<'_> {
    fn from<'a>(ctx: &'a mut LiveDb<'_>, key: &[u8]) -> Result<Option<Drawn<'a>>, ErrorReply> {
        ctx.expire_due_fields(key, usize::MAX);
        let horizon = ctx.horizon();
        let Some(hash) = ctx.read::<Hash>(key)? else { return Ok(None) };
        let rest = (hash.due_len(horizon) > 0).then(|| {
            let mut rest = hash.clone();
            for field in hash.due_fields(horizon, usize::MAX) {
                rest.remove(&field);
            }
            rest
        });
        Ok(Some(Drawn { hash, rest }))
    }

    fn hash(&self) -> &Hash {
        self.rest.as_ref().unwrap_or(self.hash)
    }
}

/// `HRANDFIELD key [count [WITHVALUES]]`
fn hrandfield(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    if args.len() == 2 {
        let drawn = Drawn::from(&mut ctx.db, args.bytes(1))?;
        let pair = drawn.as_ref().and_then(|drawn| drawn.hash().random(ctx.rng));
        bulk_or_null(&mut ctx.reply, pair.map(|(field, _)| field));
        return Ok(Flow::Done);
    }
    let count = signed_count(args.bytes(2))?;
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
    let drawn = Drawn::from(&mut ctx.db, args.bytes(1))?.filter(|drawn| !drawn.hash().is_empty());
    let Some(drawn) = drawn else {
        ctx.reply.array(0);
        return Ok(Flow::Done);
    };
    let hash = drawn.hash();
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
    let horizon = ctx.db.horizon();
    let next = match ctx.db.read::<Hash>(args.bytes(1))? {
        None => 0,
        Some(hash) => {
            let options = ScanOptions::parse(args.from(3), ScanOf::Fields)?;
            hash.scan(cursor, options.count, horizon, |field, value| {
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

pub(super) fn bulk_or_null(reply: &mut Reply<'_>, value: Option<&[u8]>) {
    match value {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}
