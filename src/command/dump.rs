//! DUMP and RESTORE: one value as portable bytes, in the format of RDB files.

use super::context::Ctx;
use super::options::integer;
use super::spec::*;
use crate::base::clock::UnixMillis;
use crate::engine::{ClientId, Engine, LogLevel};
use crate::persistence::rdb;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::live::AccessPolicy;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("dump", 2, READONLY, "generic", dump)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs("2.6.0", "O(N), N being the size of the value.", "Answers a value as bytes for RESTORE.", "key")
        .tips(&["nondeterministic_output"]),
    CommandSpec::engine("restore", -4, WRITE | DENYOOM | DANGEROUS, "generic", restore)
        .keys(&[KeySpec::range(1, 1, 1, OW | UPDATE)])
        .docs(
            "2.6.0",
            "O(N), N being the size of the value; O(N*log(N)) for a sorted set.",
            "Makes a key of bytes that DUMP has answered.",
            "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
        ),
];

/// `DUMP key`
fn dump(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    match ctx.db.get(args.bytes(1)) {
        Some(value) => ctx.reply.bulk(rdb::dump_value(value)),
        None => ctx.reply.null(),
    }
    Ok(Flow::Done)
}

#[derive(Debug, Default)]
struct RestoreOptions {
    replaces: bool,
    ttl_is_absolute: bool,
    idle_seconds: Option<i64>,
    frequency: Option<u8>,
}

impl RestoreOptions {
    fn parse(args: Args<'_>) -> Result<Self, ErrorReply> {
        let mut options = Self::default();
        let mut at = 0;
        while at < args.len() {
            let value = args.get(at + 1);
            match value {
                _ if args.is(at, "replace") => options.replaces = true,
                _ if args.is(at, "absttl") => options.ttl_is_absolute = true,
                Some(value) if args.is(at, "idletime") && options.frequency.is_none() => {
                    let seconds = integer(value)?;
                    if seconds < 0 {
                        return Err(ErrorReply::fixed("ERR Invalid IDLETIME value, must be >= 0"));
                    }
                    options.idle_seconds = Some(seconds);
                    at += 1;
                }
                Some(value) if args.is(at, "freq") && options.idle_seconds.is_none() => {
                    let frequency = u8::try_from(integer(value)?);
                    let error = ErrorReply::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255");
                    options.frequency = Some(frequency.map_err(|_| error)?);
                    at += 1;
                }
                _ => return Err(ErrorReply::SYNTAX),
            }
            at += 1;
        }
        Ok(options)
    }

    /// The access stamp that the options ask for; none where the eviction policy has no use for them.
    fn access_stamp(&self, policy: AccessPolicy) -> Option<u32> {
        match policy {
            AccessPolicy::Lfu { minutes, .. } => {
                self.frequency.map(|counter| (minutes & 0xffff) << 8 | u32::from(counter))
            }
            AccessPolicy::Lru { seconds } => {
                // A time before the clock's last wrap is as long ago as can be told.
                let idle = self.idle_seconds?.min(0xff_ffff) as u32;
                Some(seconds.wrapping_sub(idle) & 0xff_ffff)
            }
            AccessPolicy::Leave => None,
        }
    }
}

/// `RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]`
fn restore(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let options = RestoreOptions::parse(args.from(4))?;
    let access_stamp = options.access_stamp(engine.access_policy());
    let trust = engine.dump_trust;
    let Some(mut ctx) = Ctx::of_client(engine, id) else { return Ok(Flow::Done) };
    let key = args.bytes(1);
    if !options.replaces && ctx.db.access(key) {
        return Err(ErrorReply::BUSY_KEY);
    }
    let ttl = integer(args.bytes(2))?;
    if ttl < 0 {
        return Err(ErrorReply::fixed("ERR Invalid TTL value, must be >= 0"));
    }
    let body = rdb::body_of_dump_payload(args.bytes(3), trust).ok_or(ErrorReply::DUMP_PAYLOAD)?;
    let value = match rdb::read_value(body, ctx.db.limits) {
        Ok(value) => value,
        Err(error) => {
            engine.log(LogLevel::Warning, format!("RESTORE: integrity check failed: {error}"));
            return Err(ErrorReply::DUMP_FORMAT);
        }
    };
    let expires_at = match ttl {
        0 => None,
        at if options.ttl_is_absolute => Some(UnixMillis(at)),
        ttl => Some(UnixMillis(ttl.saturating_add(ctx.now.0))),
    };
    ctx.reply.ok();

    if expires_at.is_some_and(|at| at <= ctx.now) && ctx.db.removes_expired() {
        if ctx.db.remove(key) {
            ctx.modified(key, "del");
            ctx.propagate_removal(key, ctx.config.lazyfree_lazy_server_del);
        }
        return Ok(Flow::Done);
    }
    ctx.db.insert(key, value, expires_at);
    if let Some(stamp) = access_stamp {
        ctx.db.set_access_stamp(key, stamp);
    }
    ctx.modified(key, "restore");
    if let Some(at) = expires_at
        && !options.ttl_is_absolute
    {
        let mut digits = itoa::Buffer::new();
        let mut effect: Vec<&[u8]> = args.iter().collect();
        effect[2] = digits.format(at.0).as_bytes();
        effect.push(b"ABSTTL");
        ctx.propagate_as(effect);
    }
    Ok(Flow::Done)
}
