//! XINFO: what a stream, its groups and their consumers are like.

use super::{ids, no_group_of_key, write_entries, write_entry};
use crate::command::context::Ctx;
use crate::command::help;
use crate::command::options::integer;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::stream::{Consumer, Group, Name, Stream, StreamId};

const KEY: &[KeySpec] = &[KeySpec::range(2, 2, 1, RO | ACCESS)];

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("xinfo", "stream").docs(
        "5.0.0",
        "Depends on subcommand.",
        "Groups the commands that tell of streams and their groups.",
        "",
    ),
    CommandSpec::data("xinfo|stream", -3, READONLY, "stream", stream).keys(KEY).docs(
        "5.0.0",
        "O(N) where N is the number of entries and pending entries shown, and of the stream's blocks.",
        "Tells of a stream.",
        "key [FULL [COUNT count]]",
    ),
    CommandSpec::data("xinfo|groups", 3, READONLY, "stream", groups).keys(KEY).docs(
        "5.0.0",
        "O(N) where N is the number of groups.",
        "Tells of the consumer groups of a stream.",
        "key",
    ),
    CommandSpec::data("xinfo|consumers", 4, READONLY, "stream", consumers)
        .keys(KEY)
        .docs(
            "5.0.0",
            "O(N) where N is the number of consumers.",
            "Tells of the consumers of a group.",
            "key group",
        )
        .tips(&["nondeterministic_output"]),
    CommandSpec::data("xinfo|help", 2, LOADING | STALE, "stream", help_text).docs(
        "5.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
];

/// The stream at `key` as it is now, so that the reply can be written while it is looked at.
fn frozen(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Stream, ErrorReply> {
    ctx.db.read::<Stream>(key)?.cloned().ok_or(ErrorReply::NO_SUCH_KEY)
}

/// `XINFO STREAM key [FULL [COUNT count]]`
fn stream(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    // The key comes first, whatever the options are.
    let stream = frozen(ctx, args.bytes(2))?;
    let count = full_count(args)?;
    let reply = &mut ctx.reply;
    reply.map(if count.is_some() { 9 } else { 10 });
    for (name, figure) in [
        ("length", stream.len()),
        ("radix-tree-keys", stream.blocks_len()),
        ("radix-tree-nodes", stream.radix_tree_nodes()),
    ] {
        reply.bulk(name);
        reply.integer(figure as i64);
    }
    reply.bulk("last-generated-id");
    reply.bulk(ids::text(stream.last_id()));
    reply.bulk("max-deleted-entry-id");
    reply.bulk(ids::text(stream.max_deleted_id()));
    reply.bulk("entries-added");
    reply.integer(stream.entries_added() as i64);
    reply.bulk("recorded-first-entry-id");
    reply.bulk(ids::text(stream.first_entry_id().unwrap_or_default()));
    match count {
        None => write_ends(reply, &stream),
        Some(count) => write_full(reply, &stream, count),
    }
    Ok(Flow::Done)
}

/// How many entries of each kind FULL shows; none if it is not asked for.
fn full_count(args: &Args<'_>) -> Result<Option<usize>, ErrorReply> {
    const COUNT_DEFAULT: usize = 10;
    match args.len() {
        3 => Ok(None),
        4 if args.is(3, "FULL") => Ok(Some(COUNT_DEFAULT)),
        6 if args.is(3, "FULL") && args.is(4, "COUNT") => Ok(Some(match integer(args.bytes(5))? {
            ..0 => COUNT_DEFAULT,
            0 => usize::MAX,
            count => count as usize,
        })),
        _ => Err(ErrorReply::subcommand_syntax("XINFO", args.bytes(1))),
    }
}

fn write_ends(reply: &mut Reply<'_>, stream: &Stream) {
    reply.bulk("groups");
    reply.integer(stream.groups_len() as i64);
    let first = stream.range(StreamId::MIN, StreamId::MAX).next();
    let last = stream.range_back(StreamId::MIN, StreamId::MAX).next();
    for (name, entry) in [("first-entry", first), ("last-entry", last)] {
        reply.bulk(name);
        match entry {
            Some(entry) => write_entry(reply, &entry),
            None => reply.null(),
        }
    }
}

fn write_full(reply: &mut Reply<'_>, stream: &Stream, count: usize) {
    reply.bulk("entries");
    write_entries(reply, stream.range(StreamId::MIN, StreamId::MAX).take(count));
    reply.bulk("groups");
    reply.array(stream.groups_len());
    for (name, group) in stream.groups() {
        reply.map(7);
        reply.bulk("name");
        reply.bulk(name);
        write_place(reply, stream, group);
        reply.bulk("pel-count");
        reply.integer(group.pending_len() as i64);
        reply.bulk("pending");
        reply.array(group.pending_len().min(count));
        for (id, pending) in group.pending_from(StreamId::MIN).take(count) {
            reply.array(4);
            reply.bulk(ids::text(id));
            reply.bulk(&pending.consumer);
            reply.integer(pending.delivered_at);
            reply.integer(pending.deliveries as i64);
        }
        reply.bulk("consumers");
        reply.array(group.consumers_len());
        for (name, consumer) in group.consumers() {
            write_full_consumer(reply, group, name, consumer, count);
        }
    }
}

fn write_full_consumer(reply: &mut Reply<'_>, group: &Group, name: &Name, consumer: &Consumer, count: usize) {
    reply.map(5);
    reply.bulk("name");
    reply.bulk(name);
    reply.bulk("seen-time");
    reply.integer(consumer.seen_at);
    reply.bulk("active-time");
    reply.integer(consumer.active_at.unwrap_or(-1));
    reply.bulk("pel-count");
    reply.integer(consumer.pending_len() as i64);
    reply.bulk("pending");
    reply.array(consumer.pending_len().min(count));
    for id in consumer.pending_from(StreamId::MIN).take(count) {
        let pending = group.pending(id);
        reply.array(3);
        reply.bulk(ids::text(id));
        reply.integer(pending.map_or(0, |pending| pending.delivered_at));
        reply.integer(pending.map_or(0, |pending| pending.deliveries as i64));
    }
}

/// Writes how far a group has read: three pairs of a map.
fn write_place(reply: &mut Reply<'_>, stream: &Stream, group: &Group) {
    reply.bulk("last-delivered-id");
    reply.bulk(ids::text(group.last_id));
    for (name, count) in [("entries-read", group.entries_read), ("lag", stream.lag(group))] {
        reply.bulk(name);
        match count {
            Some(count) => reply.integer(count),
            None => reply.null(),
        }
    }
}

/// `XINFO GROUPS key`
fn groups(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let stream = frozen(ctx, args.bytes(2))?;
    let reply = &mut ctx.reply;
    reply.array(stream.groups_len());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk("name");
        reply.bulk(name);
        reply.bulk("consumers");
        reply.integer(group.consumers_len() as i64);
        reply.bulk("pending");
        reply.integer(group.pending_len() as i64);
        write_place(reply, &stream, group);
    }
    Ok(Flow::Done)
}

/// `XINFO CONSUMERS key group`
fn consumers(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let now = ctx.now.0;
    let stream = frozen(ctx, args.bytes(2))?;
    let group = stream.group(args.bytes(3)).ok_or_else(|| no_group_of_key(args.bytes(2), args.bytes(3)))?;
    let reply = &mut ctx.reply;
    reply.array(group.consumers_len());
    for (name, consumer) in group.consumers() {
        reply.map(4);
        reply.bulk("name");
        reply.bulk(name);
        reply.bulk("pending");
        reply.integer(consumer.pending_len() as i64);
        reply.bulk("idle");
        reply.integer((now - consumer.seen_at).max(0));
        reply.bulk("inactive");
        reply.integer(consumer.active_at.map_or(-1, |at| (now - at).max(0)));
    }
    Ok(Flow::Done)
}

fn help_text(ctx: &mut Ctx<'_>, _: &Args<'_>) -> CommandResult {
    help::write(
        &mut ctx.reply,
        "XINFO",
        &[
            ("CONSUMERS <key> <groupname>", &["Show the consumers of a group."]),
            ("GROUPS <key>", &["Show the groups of a stream."]),
            ("STREAM <key> [FULL [COUNT <count>]", &["Show what a stream is like."]),
        ],
    );
    Ok(Flow::Done)
}
