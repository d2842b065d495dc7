//! MIGRATE: moves keys to another server.
//!
//! The engine goes on while they travel. A key that is the same when the target has acknowledged it is removed here; one
//! that was changed meanwhile is sent again. So at the moment at which a key goes, the target has its very value.

use super::context::Ctx;
use super::dispatch;
use super::options::integer;
use super::spec::*;
use crate::base::clock::UnixMillis;
use crate::engine::migration::{MigratingKey, Migration};
use crate::engine::{ClientId, Engine, Job};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

const KEY_FLAGS: KeyFlags = RW | ACCESS | DELETE;

const KEYS: &[KeySpec] = &[
    KeySpec::range(3, 3, 1, KEY_FLAGS),
    KeySpec {
        flags: KEY_FLAGS | INCOMPLETE,
        begin: BeginSearch::Keyword { word: "KEYS", start_from: -2 },
        find: FindKeys::Range { last: -1, step: 1, limit: 0 },
        note: "",
    },
];

pub(super) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::engine("migrate", -6, WRITE | MOVABLE_KEYS | DANGEROUS, "generic", migrate)
        .keys(KEYS)
        .docs(
            "2.6.0",
            "O(N) where N is the size of the values, which are sent over the network.",
            "Moves keys to another server.",
            "host port <key | \"\"> destination-db timeout [COPY] [REPLACE] \
         [AUTH password | AUTH2 <username password>] [KEYS key [key ...]]",
        )
        .tips(&["nondeterministic_output"])];

/// Without a usable one, as long as Redis waits.
const DEFAULT_TIMEOUT_MS: u64 = 1000;

#[derive(Debug, Default)]
struct Options<'a> {
    copies: bool,
    replaces: bool,
    auth: Vec<Vec<u8>>,
    keys: Vec<&'a [u8]>,
    /// Arguments that are nobody's business.
    secret: Vec<usize>,
}

impl<'a> Options<'a> {
    fn parse(args: &Args<'a>) -> Result<Self, ErrorReply> {
        let mut options = Self { keys: vec![args.bytes(3)], ..Self::default() };
        let mut at = 6;
        while at < args.len() {
            let left = args.len() - 1 - at;
            let secrets = match () {
                () if args.is(at, "copy") => {
                    options.copies = true;
                    0
                }
                () if args.is(at, "replace") => {
                    options.replaces = true;
                    0
                }
                () if args.is(at, "auth") && left >= 1 => 1,
                () if args.is(at, "auth2") && left >= 2 => 2,
                () if args.is(at, "keys") => {
                    if !args.bytes(3).is_empty() {
                        return Err(ErrorReply::fixed(
                            "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                        ));
                    }
                    options.keys = args.from(at + 1).iter().collect();
                    break;
                }
                () => return Err(ErrorReply::SYNTAX),
            };
            if secrets > 0 {
                options.secret.extend(at + 1..=at + secrets);
                options.auth = (at + 1..=at + secrets).map(|index| args.bytes(index).to_vec()).collect();
            }
            at += 1 + secrets;
        }
        Ok(options)
    }
}

/// `MIGRATE host port <key | ""> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password]
/// [KEYS key [key ...]]`
fn migrate(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let options = Options::parse(args)?;
    engine.redacted_args.extend(&options.secret);
    let timeout_ms = integer(args.bytes(5))?;
    let target_db = integer(args.bytes(4))?;
    let timeout_ms = u64::try_from(timeout_ms).ok().filter(|&ms| ms > 0).unwrap_or(DEFAULT_TIMEOUT_MS);
    let Some(mut ctx) = Ctx::of_client(engine, id) else { return Ok(Flow::Done) };
    let mut keys = Vec::new();
    for key in options.keys {
        if ctx.db.get(key).is_some()
            && let Some((value, expires_at)) = ctx.db.copy_of(key)
        {
            keys.push(MigratingKey { key: key.to_vec(), value, expires_at });
        }
    }
    if keys.is_empty() {
        ctx.reply.simple("NOKEY");
        return Ok(Flow::Done);
    }
    let db_index = ctx.db_index;
    if engine.clients.get(id).is_some_and(|client| client.is_executing_transaction) {
        return Err(ErrorReply::fixed("ERR MIGRATE is not supported inside a transaction"));
    }
    let migration = Migration {
        client: id,
        db_index,
        host: String::from_utf8_lossy(args.bytes(1)).into_owned(),
        port: leading_number(args.bytes(2)),
        target_db,
        timeout_ms,
        auth: options.auth,
        copies: options.copies,
        replaces: options.replaces,
        keys,
    };
    engine.wait_for_job(id);
    engine.jobs.push(Job::Migrate(Box::new(migration)));
    Ok(Flow::Parked)
}

/// As C's `atoi` has it: the digits in front, 0 without any.
fn leading_number(text: &[u8]) -> i64 {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_start();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let len = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let number: i64 = digits[..len].parse().unwrap_or(0);
    if text.starts_with('-') { -number } else { number }
}

/// The target has acknowledged those of the keys that `is_delivered` says. Removes them here, and ends the client's wait,
/// unless some have to be sent again because they were changed meanwhile: those are the answer.
pub fn finish_migration(
    engine: &mut Engine,
    migration: Migration,
    is_delivered: &[bool],
    outcome: Result<(), ErrorReply>,
) -> Option<Migration> {
    let mut changed = Vec::new();
    // Who has become a replica meanwhile changes nothing by itself.
    if !migration.copies && engine.role.is_master() {
        let delivered = migration.keys.iter().zip(is_delivered).filter(|&(_, &is_delivered)| is_delivered);
        changed = remove_delivered(engine, migration.db_index, delivered.map(|(key, _)| key));
    }
    if outcome.is_ok() && !changed.is_empty() {
        return Some(Migration { keys: changed, replaces: true, ..migration });
    }
    engine.finish_job(migration.client, outcome);
    None
}

/// Removes the keys that are as they were handed out, as one unit; answers the others as they are now.
fn remove_delivered<'k>(
    engine: &mut Engine,
    db_index: usize,
    delivered: impl Iterator<Item = &'k MigratingKey>,
) -> Vec<MigratingKey> {
    let (mut changed, mut removed): (_, Vec<&[u8]>) = (Vec::new(), Vec::new());
    dispatch::begin_removal(engine);
    let mut db = engine.live_db(db_index);
    for sent in delivered {
        let Some((value, expires_at)) = db.copy_of(&sent.key) else { continue };
        if expires_at == sent.expires_at && value.is_same(&sent.value) {
            drop(value);
            db.remove(&sent.key);
            removed.push(&sent.key);
        } else {
            changed.push(MigratingKey { key: sent.key.clone(), value, expires_at });
        }
    }
    for key in &removed {
        engine.effects.modified(db_index, key, "del");
    }
    if !removed.is_empty() {
        engine
            .effects
            .propagate(db_index, [b"DEL"].into_iter().map(|it| &it[..]).chain(removed).collect::<Vec<_>>());
    }
    dispatch::conclude_removal(engine, db_index);
    changed
}

/// The request that brings one key to the target, for whoever delivers it.
pub fn restore_request(key: &MigratingKey, now: UnixMillis, replaces: bool) -> Option<Vec<u8>> {
    let ttl_ms = match key.expires_at {
        // What has expired on the way stays away.
        Some(at) if at < now => return None,
        // 0 would be no expiry at all.
        Some(at) => (at.0 - now.0).max(1),
        None => 0,
    };
    let payload = crate::persistence::rdb::dump_value(key.value.as_ref());
    let mut number = itoa::Buffer::new();
    let mut args: Vec<&[u8]> = vec![b"RESTORE", &key.key, number.format(ttl_ms).as_bytes(), &payload];
    if replaces {
        args.push(b"REPLACE");
    }
    let mut request = Vec::with_capacity(payload.len() + key.key.len() + 64);
    crate::resp::reply::write_request(&mut request, args.iter());
    Some(request)
}
