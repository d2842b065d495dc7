//! XGROUP: consumer groups and their consumers made, moved and removed.

use super::{ids, no_group_of_key, peek};
use crate::command::context::Ctx;
use crate::command::help;
use crate::command::options::integer;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::stream::{Group, Stream, StreamId};

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("xgroup", "stream").docs(
        "5.0.0",
        "Depends on subcommand.",
        "Groups the commands that administer consumer groups.",
        "",
    ),
    CommandSpec::data("xgroup|create", -5, WRITE | DENYOOM, "stream", create)
        .keys(&[KeySpec::range(2, 2, 1, RW | INSERT)])
        .docs(
            "5.0.0",
            "O(1)",
            "Makes a consumer group that reads from an id on.",
            "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
        ),
    CommandSpec::data("xgroup|setid", -5, WRITE, "stream", setid)
        .keys(&[KeySpec::range(2, 2, 1, RW | UPDATE)])
        .docs(
            "5.0.0",
            "O(1)",
            "Moves a consumer group to another id.",
            "key group <id | $> [ENTRIESREAD entries-read]",
        ),
    CommandSpec::data("xgroup|destroy", 4, WRITE, "stream", destroy)
        .keys(&[KeySpec::range(2, 2, 1, RW | DELETE)])
        .docs(
            "5.0.0",
            "O(N) where N is the number of pending entries of the group.",
            "Removes a consumer group.",
            "key group",
        ),
    CommandSpec::data("xgroup|createconsumer", 5, WRITE | DENYOOM, "stream", createconsumer)
        .keys(&[KeySpec::range(2, 2, 1, RW | INSERT)])
        .docs("6.2.0", "O(1)", "Makes a consumer of a group.", "key group consumer"),
    CommandSpec::data("xgroup|delconsumer", 5, WRITE, "stream", delconsumer)
        .keys(&[KeySpec::range(2, 2, 1, RW | DELETE)])
        .docs(
            "5.0.0",
            "O(N) where N is the number of pending entries of the consumer.",
            "Removes a consumer of a group with its pending entries.",
            "key group consumer",
        ),
    CommandSpec::data("xgroup|help", 2, LOADING | STALE, "stream", help_text).docs(
        "5.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
];

/// What may follow the id of a group.
#[derive(Debug, Default)]
struct GroupOptions {
    makes_stream: bool,
    entries_read: Option<i64>,
}

impl GroupOptions {
    fn parse(args: &Args<'_>, may_make_stream: bool) -> Result<Self, ErrorReply> {
        let mut options = Self::default();
        let mut at = 5;
        while at < args.len() {
            match args.get(at + 1) {
                _ if may_make_stream && args.is(at, "MKSTREAM") => {
                    options.makes_stream = true;
                    at += 1;
                }
                Some(value) if args.is(at, "ENTRIESREAD") => {
                    let count = integer(value)?;
                    if count < -1 {
                        return Err(ErrorReply::fixed("ERR value for ENTRIESREAD must be positive or -1"));
                    }
                    options.entries_read = Some(count).filter(|&count| count >= 0);
                    at += 2;
                }
                _ => return Err(ErrorReply::subcommand_syntax("XGROUP", args.bytes(1))),
            }
        }
        Ok(options)
    }
}

/// Fails unless the stream is there.
fn require_stream<'c>(ctx: &'c mut Ctx<'_>, key: &[u8]) -> Result<&'c Stream, ErrorReply> {
    peek(ctx, key)?.ok_or(ErrorReply::fixed(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
         option to create an empty stream automatically.",
    ))
}

/// Fails unless the stream and its group are there.
fn require_group<'c>(ctx: &'c mut Ctx<'_>, key: &[u8], group: &[u8]) -> Result<&'c Group, ErrorReply> {
    require_stream(ctx, key)?.group(group).ok_or_else(|| no_group_of_key(key, group))
}

/// The group, to be changed; it is known to be there.
fn group_mut<'c>(ctx: &'c mut Ctx<'_>, key: &[u8], group: &[u8]) -> Result<&'c mut Group, ErrorReply> {
    let stream = ctx.db.write::<Stream>(key)?;
    stream.and_then(|stream| stream.group_mut(group)).ok_or_else(|| no_group_of_key(key, group))
}

/// `XGROUP CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]`
fn create(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let options = GroupOptions::parse(args, true)?;
    let (key, name) = (args.bytes(2), args.bytes(3));
    let stream = match peek(ctx, key)? {
        None if options.makes_stream => None,
        _ => Some(require_stream(ctx, key)?),
    };
    let last_id = match args.bytes(4) {
        b"$" => stream.map_or(StreamId::MIN, Stream::last_id),
        id => ids::exact(id)?,
    };
    let group = Group::new(last_id, options.entries_read);
    if !ctx.db.write_or_create::<Stream>(key)?.create_group(name, group) {
        return Err(ErrorReply::fixed("BUSYGROUP Consumer Group name already exists"));
    }
    ctx.modified(key, "xgroup-create");
    ctx.reply.ok();
    Ok(Flow::Done)
}

/// `XGROUP SETID key group <id | $> [ENTRIESREAD entries-read]`
fn setid(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let options = GroupOptions::parse(args, false)?;
    let (key, name) = (args.bytes(2), args.bytes(3));
    require_group(ctx, key, name)?;
    let last_id = match args.bytes(4) {
        b"$" => require_stream(ctx, key)?.last_id(),
        id => ids::exact_or_end(id)?,
    };
    let group = group_mut(ctx, key, name)?;
    (group.last_id, group.entries_read) = (last_id, options.entries_read);
    ctx.modified(key, "xgroup-setid");
    ctx.reply.ok();
    Ok(Flow::Done)
}

/// `XGROUP DESTROY key group`
fn destroy(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, name) = (args.bytes(2), args.bytes(3));
    require_stream(ctx, key)?;
    let rest = ctx.db.write::<Stream>(key)?.and_then(|stream| stream.destroy_group(name));
    let destroyed = rest.is_some();
    ctx.db.discard(rest);
    if destroyed {
        ctx.modified(key, "xgroup-destroy");
    }
    ctx.reply.integer(destroyed.into());
    Ok(Flow::Done)
}

/// `XGROUP CREATECONSUMER key group consumer`
fn createconsumer(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, name) = (args.bytes(2), args.bytes(3));
    require_group(ctx, key, name)?;
    let now = ctx.now.0;
    let created = group_mut(ctx, key, name)?.create_consumer(args.bytes(4), now);
    if created {
        ctx.modified(key, "xgroup-createconsumer");
    }
    ctx.reply.integer(created.into());
    Ok(Flow::Done)
}

/// `XGROUP DELCONSUMER key group consumer`
fn delconsumer(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, name) = (args.bytes(2), args.bytes(3));
    require_group(ctx, key, name)?;
    let pending = group_mut(ctx, key, name)?.delete_consumer(args.bytes(4));
    if pending.is_some() {
        ctx.modified(key, "xgroup-delconsumer");
    }
    ctx.reply.integer(pending.unwrap_or(0) as i64);
    Ok(Flow::Done)
}

fn help_text(ctx: &mut Ctx<'_>, _: &Args<'_>) -> CommandResult {
    help::write(
        &mut ctx.reply,
        "XGROUP",
        &[
            (
                "CREATE <key> <groupname> <id|$> [option]",
                &[
                    "Make a consumer group. Options are:",
                    "* MKSTREAM",
                    "  Make an empty stream if there is none.",
                    "* ENTRIESREAD entries_read",
                    "  Set how many entries the group has read (for replicas).",
                ],
            ),
            ("CREATECONSUMER <key> <groupname> <consumer>", &["Make a consumer of a group."]),
            ("DELCONSUMER <key> <groupname> <consumer>", &["Remove a consumer of a group."]),
            ("DESTROY <key> <groupname>", &["Remove a group."]),
            (
                "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
                &["Set the id that a group has read to, and how many entries it has read."],
            ),
        ],
    );
    Ok(Flow::Done)
}
