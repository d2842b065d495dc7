//! Commands on strings.

use super::context::Ctx;
use super::spec::*;
use crate::resp::args::Args;
use crate::storage::{NewExpiry, StringRef};

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("get", 2, READONLY | FAST, "string", get).keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)]),
    CommandSpec::data("set", -3, WRITE | DENYOOM, "string", set).keys(&[KeySpec::range(
        1,
        1,
        1,
        RW | ACCESS | UPDATE | VARIABLE_FLAGS,
    )]),
];

/// `GET key`
fn get(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    match ctx.db.string(args.bytes(1))? {
        Some(StringRef::Bytes(value)) => ctx.reply.bulk(value),
        Some(StringRef::Int(n)) => ctx.reply.bulk_integer(n),
        None => ctx.reply.null(),
    }
    Ok(Flow::Done)
}

fn set(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    ctx.db.set_string(args.bytes(1), args.bytes(2), NewExpiry::Clear);
    ctx.modified(args.bytes(1), "set");
    ctx.reply.ok();
    Ok(Flow::Done)
}
