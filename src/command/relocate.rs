//! RENAME, RENAMENX, COPY and MOVE: a key's value with all that belongs to it, under another name or in another
//! database.

use super::context::Ctx;
use super::options::destination_db;
use super::spec::*;
use crate::base::clock::UnixMillis;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::{NewExpiry, Value};

const RENAME_KEYS: &[KeySpec] =
    &[KeySpec::range(1, 1, 1, RW | ACCESS | DELETE), KeySpec::range(2, 2, 1, OW | UPDATE)];
const RENAMENX_KEYS: &[KeySpec] =
    &[KeySpec::range(1, 1, 1, RW | ACCESS | DELETE), KeySpec::range(2, 2, 1, OW | INSERT)];
const COPY_KEYS: &[KeySpec] = &[KeySpec::range(1, 1, 1, RO | ACCESS), KeySpec::range(2, 2, 1, OW | UPDATE)];

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("rename", 3, WRITE, "generic", rename).keys(RENAME_KEYS).docs(
        "1.0.0",
        "O(1)",
        "Gives a key another name; a key of that name is replaced.",
        "key newkey",
    ),
    CommandSpec::data("renamenx", 3, WRITE | FAST, "generic", renamenx).keys(RENAMENX_KEYS).docs(
        "1.0.0",
        "O(1)",
        "Gives a key another name unless that is taken.",
        "key newkey",
    ),
    CommandSpec::engine("copy", -3, WRITE | DENYOOM, "generic", copy).keys(COPY_KEYS).docs(
        "6.2.0",
        "O(1); the copy of a collection shares its chunks until one of the two is changed.",
        "Copies the value of a key to another one.",
        "source destination [DB destination-db] [REPLACE]",
    ),
    CommandSpec::engine("move", 3, WRITE | FAST, "generic", move_)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | UPDATE)])
        .docs("1.0.0", "O(1)", "Takes a key to another database.", "key db"),
];

/// A key's value on its way to another place.
struct Baggage {
    value: Value,
    expires_at: Option<UnixMillis>,
    form: StringForm,
    access_stamp: Option<u32>,
}

/// How a string is kept, which stays as it is: Redis copies the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StringForm {
    Raw,
    /// Text even where it reads as an integer.
    Text,
    /// An integer, or no string at all.
    Other,
}

impl StringForm {
    fn of(ctx: &mut Ctx<'_>, key: &[u8]) -> Self {
        match ctx.db.encoding(key) {
            Some("raw") => Self::Raw,
            Some("embstr") => Self::Text,
            _ => Self::Other,
        }
    }
}

impl Baggage {
    /// Takes `key` away.
    fn take(ctx: &mut Ctx<'_>, key: &[u8]) -> Option<Self> {
        let access_stamp = ctx.db.access_stamp(key);
        let form = StringForm::of(ctx, key);
        let (value, expires_at) = ctx.db.take(key)?;
        Some(Self { value, expires_at, form, access_stamp })
    }

    /// Copies `key`; the copy has not been accessed yet.
    fn copy(ctx: &mut Ctx<'_>, key: &[u8]) -> Option<Self> {
        let form = StringForm::of(ctx, key);
        let (value, expires_at) = ctx.db.copy_of(key)?;
        Some(Self { value, expires_at, form, access_stamp: None })
    }

    /// Replaces whatever is at `key`.
    fn put(self, ctx: &mut Ctx<'_>, key: &[u8]) {
        /// A longer string is one however it was made; it is not copied.
        const RAW_BY_LENGTH_MIN: usize = 1024;
        match (self.value, self.form) {
            (Value::String(bytes), StringForm::Raw) if bytes.len() < RAW_BY_LENGTH_MIN => {
                ctx.db.insert(key, Value::string(""), self.expires_at);
                ctx.db.set_raw_string(key, &bytes);
            }
            (Value::String(bytes), StringForm::Text) => {
                ctx.db.set_text(key, &bytes, self.expires_at.map_or(NewExpiry::Clear, NewExpiry::At));
            }
            (value, _) => ctx.db.insert(key, value, self.expires_at),
        }
        if let Some(stamp) = self.access_stamp {
            ctx.db.set_access_stamp(key, stamp);
        }
    }
}

/// `RENAME key newkey`
fn rename(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (from, to) = (args.bytes(1), args.bytes(2));
    if !ctx.db.access(from) {
        return Err(ErrorReply::NO_SUCH_KEY);
    }
    if from != to {
        carry(ctx, from, to);
    }
    ctx.reply.ok();
    Ok(Flow::Done)
}

/// `RENAMENX key newkey`
fn renamenx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (from, to) = (args.bytes(1), args.bytes(2));
    if !ctx.db.access(from) {
        return Err(ErrorReply::NO_SUCH_KEY);
    }
    let is_free = from != to && !ctx.db.access(to);
    if is_free {
        carry(ctx, from, to);
    }
    ctx.reply.integer(i64::from(is_free));
    Ok(Flow::Done)
}

/// Renames a key that is there: one change, told of by two events.
fn carry(ctx: &mut Ctx<'_>, from: &[u8], to: &[u8]) {
    let Some(baggage) = Baggage::take(ctx, from) else { return };
    baggage.put(ctx, to);
    ctx.event(from, "rename_from");
    ctx.modified(to, "rename_to");
}

struct CopyOptions {
    to_db: usize,
    replaces: bool,
}

impl CopyOptions {
    /// `args` are those behind the keys.
    fn parse(args: Args<'_>, db_index: usize, databases: usize) -> Result<Self, ErrorReply> {
        let mut options = Self { to_db: db_index, replaces: false };
        let mut at = 0;
        while at < args.len() {
            if args.is(at, "replace") {
                options.replaces = true;
            } else if args.is(at, "db") && at + 1 < args.len() {
                at += 1;
                options.to_db = destination_db(args.bytes(at), databases)?;
            } else {
                return Err(ErrorReply::SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }
}

/// `COPY source destination [DB destination-db] [REPLACE]`
fn copy(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let (from, to) = (args.bytes(1), args.bytes(2));
    let databases = engine.keyspace.len();
    let expiry = engine.expiry_policy_for(id);
    let Some(mut source) = Ctx::of_client(engine, id) else { return Ok(Flow::Done) };
    let options = CopyOptions::parse(args.from(3), source.db_index, databases)?;
    if options.to_db == source.db_index && from == to {
        return Err(ErrorReply::SAME_OBJECT);
    }
    source.db.get(from);
    let baggage = Baggage::copy(&mut source, from);
    source.record_expired();
    let Some(mut target) = Ctx::new(engine, id, options.to_db, expiry) else { return Ok(Flow::Done) };
    let Some(baggage) = baggage else {
        target.reply.integer(0);
        return Ok(Flow::Done);
    };
    let is_free = !target.db.access(to);
    if is_free || options.replaces {
        baggage.put(&mut target, to);
        target.modified(to, "copy_to");
    }
    target.record_expired();
    target.reply.integer(i64::from(is_free || options.replaces));
    Ok(Flow::Done)
}

/// `MOVE key db`
fn move_(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let to_db = destination_db(args.bytes(2), engine.keyspace.len())?;
    let expiry = engine.expiry_policy_for(id);
    let Some(mut source) = Ctx::of_client(engine, id) else { return Ok(Flow::Done) };
    let from_db = source.db_index;
    if to_db == from_db {
        return Err(ErrorReply::SAME_OBJECT);
    }
    let is_there = source.db.access(key);
    source.record_expired();
    let Some(mut target) = Ctx::new(engine, id, to_db, expiry) else { return Ok(Flow::Done) };
    let moves = is_there && !target.db.access(key);
    target.record_expired();
    target.reply.integer(i64::from(moves));
    if !moves {
        return Ok(Flow::Done);
    }
    let Some(mut source) = Ctx::of_client(engine, id) else { return Ok(Flow::Done) };
    let Some(baggage) = Baggage::take(&mut source, key) else { return Ok(Flow::Done) };
    source.event(key, "move_from");
    let Some(mut target) = Ctx::new(engine, id, to_db, expiry) else { return Ok(Flow::Done) };
    baggage.put(&mut target, key);
    target.modified(key, "move_to");
    Ok(Flow::Done)
}
