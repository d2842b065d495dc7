//! TIME and LOLWUT.

use super::context::Ctx;
use super::spec::*;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::engine("time", 1, LOADING | STALE | FAST, "server", time)
        .docs(
            "2.6.0",
            "O(1)",
            "Tells the server's time: Unix seconds, and microseconds within the second.",
            "",
        )
        .tips(&["nondeterministic_output"]),
    CommandSpec::data("lolwut", -1, READONLY | FAST, "server", lolwut).docs(
        "5.0.0",
        "O(1)",
        "Shows a small drawing and the version.",
        "[VERSION version]",
    ),
];

/// `TIME`
fn time(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let micros = engine.time.now_micros();
    if let Some(client) = engine.clients.get_mut(id) {
        let mut reply = client.reply();
        reply.array(2);
        reply.bulk_integer(micros.div_euclid(1_000_000));
        reply.bulk_integer(micros.rem_euclid(1_000_000));
    }
    Ok(Flow::Done)
}

/// `LOLWUT [VERSION version]`
fn lolwut(ctx: &mut Ctx<'_>, _: &Args<'_>) -> CommandResult {
    const ROWS: usize = 4;
    const COLUMNS: usize = 32;
    // A hillside that grows out of chance, in the colours of a russet apple's skin: light to dark.
    const SHADES: [char; 4] = [' ', '░', '▒', '▓'];
    let mut heights = [0; COLUMNS];
    let mut height = ctx.rng.usize(..=ROWS);
    for column in &mut heights {
        height = (height + ctx.rng.usize(..3)).saturating_sub(1).min(ROWS);
        *column = height;
    }
    let mut text = String::new();
    for row in (0..ROWS).rev() {
        text.extend(heights.iter().map(|&height| SHADES[height.saturating_sub(row).min(3)]));
        text.push('\n');
    }
    text.push_str(&format!(
        "\nRedis ver. {} (Russet {})\n",
        crate::config::REDIS_VERSION,
        env!("CARGO_PKG_VERSION")
    ));
    ctx.reply.verbatim("txt", text);
    Ok(Flow::Done)
}
