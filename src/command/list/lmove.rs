//! Commands that move an element from one list to another, and their blocking forms.

use super::End;
use crate::command::context::Ctx;
use crate::command::options::timeout;
use crate::command::spec::*;
use crate::engine::TimeoutReply;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::list::List;

const MOVE_KEYS: &[KeySpec] =
    &[KeySpec::range(1, 1, 1, RW | ACCESS | DELETE), KeySpec::range(2, 2, 1, RW | INSERT)];

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("lmove", 5, WRITE | DENYOOM, "list", lmove).keys(MOVE_KEYS).docs(
        "6.2.0",
        "O(1)",
        "Takes an element from one end of a list and pushes it at an end of another.",
        "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
    ),
    CommandSpec::data("rpoplpush", 3, WRITE | DENYOOM, "list", rpoplpush)
        .keys(MOVE_KEYS)
        .docs(
            "1.2.0",
            "O(1)",
            "Takes the tail of a list and pushes it at the head of another.",
            "source destination",
        )
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    CommandSpec::data("blmove", 6, WRITE | DENYOOM | BLOCKING, "list", blmove).keys(MOVE_KEYS).docs(
        "6.2.0",
        "O(1)",
        "Moves an element from one list to another, or waits for one to move.",
        "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
    ),
    CommandSpec::data("brpoplpush", 4, WRITE | DENYOOM | BLOCKING, "list", brpoplpush)
        .keys(MOVE_KEYS)
        .docs(
            "2.2.0",
            "O(1)",
            "Moves the tail of a list to the head of another, or waits for one to move.",
            "source destination timeout",
        )
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
];

/// `LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>`
fn lmove(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (from, to) = (End::parse(args.bytes(3))?, End::parse(args.bytes(4))?);
    if !move_element(ctx, args, from, to)? {
        ctx.reply.null();
    }
    Ok(Flow::Done)
}

/// `RPOPLPUSH source destination`
fn rpoplpush(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    if !move_element(ctx, args, End::Right, End::Left)? {
        ctx.reply.null();
    }
    Ok(Flow::Done)
}

/// `BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout`
fn blmove(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (from, to) = (End::parse(args.bytes(3))?, End::parse(args.bytes(4))?);
    let deadline = timeout(args.bytes(5), ctx.now)?;
    if !move_element(ctx, args, from, to)? {
        return Ok(wait_for_source(args, deadline));
    }
    ctx.propagate_as([b"LMOVE", args.bytes(1), args.bytes(2), args.bytes(3), args.bytes(4)]);
    Ok(Flow::Done)
}

/// `BRPOPLPUSH source destination timeout`
fn brpoplpush(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let deadline = timeout(args.bytes(3), ctx.now)?;
    if !move_element(ctx, args, End::Right, End::Left)? {
        return Ok(wait_for_source(args, deadline));
    }
    ctx.propagate_as([b"RPOPLPUSH", args.bytes(1), args.bytes(2)]);
    Ok(Flow::Done)
}

fn wait_for_source(args: &Args<'_>, deadline: Option<crate::base::clock::UnixMillis>) -> Flow {
    let keys = vec![args.bytes(1).to_vec()];
    Flow::Block(BlockOnKeys::new(keys, deadline, TimeoutReply::NullArrayAfterWait))
}

/// Moves an element between the lists that the first two arguments name, and replies with it. False if the source is
/// missing; nothing is looked at then but the source.
fn move_element(ctx: &mut Ctx<'_>, args: &Args<'_>, from: End, to: End) -> Result<bool, ErrorReply> {
    let (source, destination) = (args.bytes(1), args.bytes(2));
    let limits = ctx.db.limits;
    if super::peek(ctx, source)?.is_none() {
        return Ok(false);
    }
    super::peek(ctx, destination)?;
    let element = ctx.db.write::<List>(source)?.and_then(|list| match from {
        End::Left => list.pop_front(),
        End::Right => list.pop_back(),
    });
    let Some(element) = element else { return Ok(false) };
    // When both are the same key, the list may be empty at this point: it is still there.
    to.push(ctx.db.write_or_create::<List>(destination)?, &element, limits);
    ctx.reply.bulk(&element);
    // One change that two keys are told of, the destination first, as in Redis.
    ctx.event(destination, to.push_event());
    ctx.modified(source, from.pop_event());
    ctx.remove_if_empty::<List>(source);
    Ok(true)
}
