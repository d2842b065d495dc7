//! HGETEX, HSETEX and HGETDEL: fields read or set together with their expiry, or read and removed. As Redis 8.0 has them.

use super::context::Ctx;
use super::expire::Unit;
use super::hash::bulk_or_null;
use super::hash_expiry::{has_hash, instant, named_fields, propagate_removal};
use super::spec::*;
use crate::base::clock::UnixMillis;
use crate::base::number::parse_i64;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::ValueRef;
use crate::storage::hash::{Field, FieldExpiry, Hash, NEVER};

const PER_FIELD: &str = "O(N) where N is the number of fields named.";

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("hgetdel", -5, WRITE | FAST, "hash", hgetdel)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | DELETE)])
        .docs(
            "8.0.0",
            PER_FIELD,
            "Reads fields and removes them, and the key with the last of them.",
            "key FIELDS <numfields field [field ...]>",
        ),
    CommandSpec::data("hgetex", -5, WRITE | FAST, "hash", hgetex)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | UPDATE)])
        .docs(
            "8.0.0",
            PER_FIELD,
            "Reads fields and changes when they expire.",
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] \
             FIELDS <numfields field [field ...]>",
        ),
    CommandSpec::data("hsetex", -6, WRITE | DENYOOM | FAST, "hash", hsetex)
        .keys(&[KeySpec::range(1, 1, 1, RW | UPDATE)])
        .docs(
            "8.0.0",
            PER_FIELD,
            "Sets fields and when they expire.",
            "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | \
             KEEPTTL] FIELDS <numfields field value [field value ...]>",
        ),
];

/// Where in a command its new expiry stands.
const TERMS: [(&str, Unit, bool); 4] = [
    ("EX", Unit::Seconds, false),
    ("PX", Unit::Millis, false),
    ("EXAT", Unit::Seconds, true),
    ("PXAT", Unit::Millis, true),
];

/// The instant of `EX`, `PX`, `EXAT` or `PXAT` at argument `index`; none if another word is there.
fn term_at(
    args: &Args<'_>,
    index: usize,
    now: UnixMillis,
    command: &str,
) -> Option<Result<UnixMillis, ErrorReply>> {
    let (_, unit, is_absolute) = TERMS.into_iter().find(|(word, ..)| args.is(index, word))?;
    let base = if is_absolute { UnixMillis(0) } else { now };
    let Some(amount) = args.get(index + 1) else { return Some(Err(ErrorReply::EXPIRE_TIME_MISSING)) };
    Some(instant(amount, unit, base, command))
}

/// `HGETDEL key FIELDS numfields field [field ...]`
fn hgetdel(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    has_hash(ctx, key)?;
    let fields = named_fields(args, 2, ErrorReply::FIELDS_NOT_POSITIVE)?;
    ctx.db.expire_fields(key, fields.iter());
    let horizon = ctx.db.horizon();
    ctx.reply.array(fields.len());
    if !has_hash(ctx, key)? {
        fields.iter().for_each(|_| ctx.reply.null());
        return Ok(Flow::Done);
    }
    let reply = &mut ctx.reply;
    let removed = ctx.db.edit_hash(key, |hash| {
        let mut removed = 0;
        for field in fields.iter() {
            let value = hash.find(field, horizon).live();
            bulk_or_null(reply, value);
            if value.is_some() {
                hash.remove(field);
                removed += 1;
            }
        }
        removed
    })?;
    let removed: u64 = removed.unwrap_or_default();
    if removed > 0 {
        ctx.modified(key, "hdel");
        ctx.add_dirty(removed - 1);
        ctx.remove_if_empty::<Hash>(key);
        let effect: Vec<&[u8]> = [&b"HDEL"[..], key].into_iter().chain(fields.iter()).collect();
        ctx.propagate_as(effect);
    }
    Ok(Flow::Done)
}

/// What HGETEX makes of the expiries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewExpiry {
    Leave,
    Persist,
    At(UnixMillis),
}

/// `HGETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS
/// numfields field [field ...]`
fn hgetex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    has_hash(ctx, key)?;
    let (expiry, behind) = match term_at(args, 2, ctx.now, "hgetex") {
        Some(at) => (NewExpiry::At(at?), 4),
        None if args.is(2, "PERSIST") => (NewExpiry::Persist, 3),
        None => (NewExpiry::Leave, 2),
    };
    let fields = named_fields(args, behind, ErrorReply::FIELDS_NOT_POSITIVE)?;
    ctx.db.expire_fields(key, fields.iter());
    ctx.reply.array(fields.len());
    if expiry == NewExpiry::Leave || !has_hash(ctx, key)? {
        reply_values(ctx, key, fields);
        return Ok(Flow::Done);
    }
    let (at, removes) = match expiry {
        NewExpiry::At(at) => (at.0, at <= ctx.now && ctx.db.removes_expired()),
        NewExpiry::Persist | NewExpiry::Leave => (NEVER, false),
    };
    let horizon = ctx.db.horizon();
    let reply = &mut ctx.reply;
    let changed = ctx.db.edit_hash(key, |hash| {
        let mut changed = Vec::new();
        for field in fields.iter() {
            let found = hash.find(field, horizon);
            bulk_or_null(reply, found.live());
            if !matches!(found, Field::Live(_)) || (at == NEVER && hash.expiry(field) == NEVER) {
                continue;
            }
            if removes {
                hash.remove(field);
            } else {
                hash.set_expiry(field, at);
            }
            changed.push(field);
        }
        changed
    })?;
    let changed = changed.unwrap_or_default();
    if !changed.is_empty() {
        conclude_hgetex(ctx, key, fields, at, removes, &changed);
    }
    Ok(Flow::Done)
}

fn conclude_hgetex(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    fields: Args<'_>,
    at: i64,
    removes: bool,
    changed: &[&[u8]],
) {
    ctx.modified(
        key,
        if removes {
            "hdel"
        } else if at == NEVER {
            "hpersist"
        } else {
            "hexpire"
        },
    );
    ctx.add_dirty(changed.len() as u64 - 1);
    if removes {
        ctx.count_expired_fields(changed.len());
        ctx.remove_if_empty::<Hash>(key);
        propagate_removal(ctx, key, changed);
        return;
    }
    let (mut digits, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut effect: Vec<&[u8]> = if at == NEVER {
        vec![b"HPERSIST", key]
    } else {
        vec![b"HPEXPIREAT", key, digits.format(at).as_bytes()]
    };
    effect.extend([&b"FIELDS"[..], count.format(fields.len()).as_bytes()]);
    effect.extend(fields.iter());
    ctx.propagate_as(effect);
}

fn reply_values(ctx: &mut Ctx<'_>, key: &[u8], fields: Args<'_>) {
    let horizon = ctx.db.horizon();
    let hash = match ctx.db.peek(key) {
        Some(ValueRef::Hash(hash)) => Some(hash),
        _ => None,
    };
    for field in fields.iter() {
        bulk_or_null(&mut ctx.reply, hash.and_then(|hash| hash.find(field, horizon).live()));
    }
}

/// What HSETEX asks of the fields before it sets any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// `FNX`
    NoneExists,
    /// `FXX`
    AllExist,
}

struct HsetexOptions<'a> {
    condition: Option<Condition>,
    at: Option<UnixMillis>,
    /// Where the number of the term stands.
    term_index: usize,
    keeps_expiry: bool,
    /// Fields and values in turn.
    pairs: Args<'a>,
}

impl<'a> HsetexOptions<'a> {
    fn parse(args: &Args<'a>, now: UnixMillis) -> Result<Self, ErrorReply> {
        let pairs = args.from(args.len());
        let mut options = Self { condition: None, at: None, term_index: 0, keeps_expiry: false, pairs };
        let mut index = 2;
        while index < args.len() {
            let has_expiry = options.at.is_some() || options.keeps_expiry;
            let is_term = TERMS.iter().any(|(word, ..)| args.is(index, word)) || args.is(index, "KEEPTTL");
            let condition = match () {
                () if args.is(index, "FNX") => Some(Condition::NoneExists),
                () if args.is(index, "FXX") => Some(Condition::AllExist),
                () => None,
            };
            if args.is(index, "FIELDS") {
                options.pairs = pairs_from(args, index)?;
                return Ok(options);
            } else if is_term && has_expiry {
                return Err(ErrorReply::HSETEX_EXPIRATIONS);
            } else if let Some(at) = term_at(args, index, now, "hsetex") {
                options.at = Some(at?);
                index += 1;
                options.term_index = index;
            } else if is_term {
                options.keeps_expiry = true;
            } else if condition.is_some() {
                if options.condition.is_some() {
                    return Err(ErrorReply::HSETEX_CONDITIONS);
                }
                options.condition = condition;
            } else {
                let word = String::from_utf8_lossy(args.bytes(index));
                return Err(ErrorReply::new(format!("ERR unknown argument: {word}")));
            }
            index += 1;
        }
        Err(ErrorReply::FIELDS_MISSING)
    }

    fn fields(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.pairs.iter().step_by(2)
    }
}

/// The pairs behind `FIELDS numfields` at argument `at`.
fn pairs_from<'a>(args: &Args<'a>, at: usize) -> Result<Args<'a>, ErrorReply> {
    let wrong_arity = || ErrorReply::wrong_arity("hsetex");
    if at + 3 >= args.len() {
        return Err(wrong_arity());
    }
    let count = parse_i64(args.bytes(at + 1)).filter(|count| (1..=i64::from(i32::MAX)).contains(count));
    let count = count.ok_or(ErrorReply::INVALID_NUMBER_OF_FIELDS)? as usize;
    let pairs = args.from(at + 2);
    if pairs.len() == 2 * count { Ok(pairs) } else { Err(wrong_arity()) }
}

/// `HSETEX key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]
/// FIELDS numfields field value [field value ...]`
fn hsetex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let options = HsetexOptions::parse(args, ctx.now)?;
    has_hash(ctx, key)?;
    if options.condition.is_some() || options.keeps_expiry {
        ctx.db.expire_fields(key, options.fields());
    }
    if !is_met(ctx, key, &options) {
        ctx.reply.integer(0);
        return Ok(Flow::Done);
    }
    let removes = options.at.is_some_and(|at| at <= ctx.now) && ctx.db.removes_expired();
    let keeps = options.keeps_expiry || options.at.is_some();
    let expiry = if keeps { FieldExpiry::Keep } else { FieldExpiry::Clear };
    let (limits, pairs) = (ctx.db.limits, options.pairs);
    ctx.db.edit_or_create_hash(key, |hash| {
        for i in (0..pairs.len()).step_by(2) {
            let field = pairs.bytes(i);
            hash.set(field, pairs.bytes(i + 1), expiry, limits);
            if removes {
                hash.remove(field);
            } else if let Some(at) = options.at {
                hash.set_expiry(field, at.0);
            }
        }
    })?;
    ctx.reply.integer(1);
    ctx.modified(key, "hset");
    ctx.add_dirty(pairs.len() as u64 / 2 - 1);
    if removes {
        let fields: Vec<&[u8]> = options.fields().collect();
        ctx.event(key, "hdel");
        ctx.count_expired_fields(fields.len());
        ctx.remove_if_empty::<Hash>(key);
        propagate_removal(ctx, key, &fields);
    } else if let Some(at) = options.at {
        ctx.event(key, "hexpire");
        let mut digits = itoa::Buffer::new();
        let mut effect: Vec<&[u8]> = args.iter().collect();
        effect[options.term_index - 1] = b"PXAT";
        effect[options.term_index] = digits.format(at.0).as_bytes();
        ctx.propagate_as(effect);
    }
    Ok(Flow::Done)
}

/// Whether as many of the fields exist as the condition demands.
fn is_met(ctx: &mut Ctx<'_>, key: &[u8], options: &HsetexOptions<'_>) -> bool {
    let horizon = ctx.db.horizon();
    let hash = match ctx.db.peek(key) {
        Some(ValueRef::Hash(hash)) => Some(hash),
        _ => None,
    };
    let exists = |field: &[u8]| hash.is_some_and(|hash| hash.find(field, horizon).live().is_some());
    match options.condition {
        None => true,
        Some(Condition::NoneExists) => !options.fields().any(exists),
        Some(Condition::AllExist) => options.fields().all(exists),
    }
}
