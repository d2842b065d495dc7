//! Commands on the connection itself.

use super::context::Ctx;
use super::spec::*;
use crate::resp::args::Args;

pub(super) const COMMANDS: &[CommandSpec] = &[CommandSpec::data("ping", -1, FAST, "connection", ping)];

/// `PING [message]`
fn ping(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    match args.get(1) {
        Some(message) => ctx.reply.bulk(message),
        None => ctx.reply.simple("PONG"),
    }
    Ok(Flow::Done)
}
