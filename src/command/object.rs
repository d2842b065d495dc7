//! OBJECT: how a value is represented, and how it was used.

use super::context::Ctx;
use super::spec::*;
use crate::config::MaxmemoryPolicy;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::ValueRef;
use crate::storage::live::{AccessPolicy, decayed_counter};

const KEY: &[KeySpec] = &[KeySpec::range(2, 2, 1, RO)];

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("object", "generic").docs(
        "2.2.3",
        "Depends on the sub-command.",
        "Tells how values are represented and used.",
        "",
    ),
    CommandSpec::data("object|encoding", 3, READONLY, "generic", encoding)
        .keys(KEY)
        .docs("2.2.3", "O(1)", "Names the representation of a value.", "key")
        .tips(&["nondeterministic_output"]),
    CommandSpec::data("object|refcount", 3, READONLY, "generic", refcount)
        .keys(KEY)
        .docs("2.2.3", "O(1)", "Counts the references to a value.", "key")
        .tips(&["nondeterministic_output"]),
    CommandSpec::engine("object|idletime", 3, READONLY, "generic", idletime)
        .keys(KEY)
        .docs("2.2.3", "O(1)", "Tells for how many seconds a key was not accessed.", "key")
        .tips(&["nondeterministic_output"]),
    CommandSpec::engine("object|freq", 3, READONLY, "generic", freq)
        .keys(KEY)
        .docs("4.0.0", "O(1)", "Tells how often a key is accessed, on a logarithmic scale.", "key")
        .tips(&["nondeterministic_output"]),
    CommandSpec::data("object|help", 2, LOADING | STALE, "generic", help).docs(
        "6.2.0",
        "O(1)",
        "Lists the sub-commands.",
        "",
    ),
];

/// `OBJECT ENCODING key`
fn encoding(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    ctx.db.count_lookup(args.bytes(2));
    match ctx.db.encoding(args.bytes(2)) {
        Some(name) => ctx.reply.bulk(name),
        None => ctx.reply.null(),
    }
    Ok(Flow::Done)
}

/// `OBJECT REFCOUNT key`
fn refcount(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    use MaxmemoryPolicy::{AllkeysLfu, AllkeysLru, VolatileLfu, VolatileLru};
    let is_ranked = ctx.config.maxmemory > 0
        && matches!(ctx.config.maxmemory_policy, AllkeysLru | AllkeysLfu | VolatileLru | VolatileLfu);
    ctx.db.count_lookup(args.bytes(2));
    match ctx.db.peek(args.bytes(2)) {
        // Redis keeps these small integers once for all keys and counts no references to them, unless each needs an
        // access stamp of its own.
        Some(ValueRef::Int(0..10_000)) if !is_ranked => ctx.reply.integer(i64::from(i32::MAX)),
        Some(_) => ctx.reply.integer(1),
        None => ctx.reply.null(),
    }
    Ok(Flow::Done)
}

/// `OBJECT IDLETIME key`
fn idletime(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    reply_usage(engine, id, args, |stamp, policy| match policy {
        AccessPolicy::Lfu { .. } => Err(ErrorReply::IDLE_TIME_NOT_TRACKED),
        AccessPolicy::Lru { seconds } => Ok(seconds.wrapping_sub(stamp) & 0xff_ffff),
        AccessPolicy::Leave => Ok(0),
    })
}

/// `OBJECT FREQ key`
fn freq(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    reply_usage(engine, id, args, |stamp, policy| match policy {
        AccessPolicy::Lfu { minutes, decay_minutes, .. } => {
            Ok(decayed_counter(stamp, minutes, decay_minutes))
        }
        AccessPolicy::Lru { .. } | AccessPolicy::Leave => Err(ErrorReply::FREQUENCY_NOT_TRACKED),
    })
}

/// Answers what `read` finds in the key's access stamp under the eviction policy in force.
fn reply_usage(
    engine: &mut Engine,
    id: ClientId,
    args: &Args<'_>,
    read: impl FnOnce(u32, AccessPolicy) -> Result<u32, ErrorReply>,
) -> CommandResult {
    let policy = engine.access_policy();
    let Some(mut ctx) = Ctx::of_client(engine, id) else { return Ok(Flow::Done) };
    ctx.db.count_lookup(args.bytes(2));
    match ctx.db.access_stamp(args.bytes(2)) {
        Some(stamp) => ctx.reply.integer(i64::from(read(stamp, policy)?)),
        None => ctx.reply.null(),
    }
    Ok(Flow::Done)
}

const HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
];

/// `OBJECT HELP`
fn help(ctx: &mut Ctx<'_>, _args: &Args<'_>) -> CommandResult {
    ctx.reply.array(HELP.len());
    for line in HELP {
        ctx.reply.simple(line);
    }
    Ok(Flow::Done)
}
