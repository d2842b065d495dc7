//! LATENCY: spikes by event, and how long the calls of each command took.

use super::help;
use super::spec::*;
use super::table::TABLE;
use crate::engine::latency::LatencyEvent;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

const LATENCY_FLAGS: Flags = ADMIN | NOSCRIPT | LOADING | STALE;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("latency", "server").docs(
        "2.8.13",
        "Depends on subcommand.",
        "Groups the commands on latency.",
        "",
    ),
    CommandSpec::engine("latency|latest", 2, LATENCY_FLAGS, "server", latest)
        .docs("2.8.13", "O(1)", "Shows the latest spike of each event.", "")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    CommandSpec::engine("latency|history", 3, LATENCY_FLAGS, "server", history)
        .docs("2.8.13", "O(1)", "Shows the spikes of one event.", "event")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    CommandSpec::engine("latency|reset", -2, LATENCY_FLAGS, "server", reset)
        .docs("2.8.13", "O(1)", "Forgets the spikes of some events, or of all.", "[event [event ...]]")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    CommandSpec::engine("latency|graph", 3, LATENCY_FLAGS, "server", graph)
        .docs("2.8.13", "O(1)", "Draws the spikes of one event.", "event")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    CommandSpec::engine("latency|doctor", 2, LATENCY_FLAGS, "server", doctor)
        .docs("2.8.13", "O(1)", "Tells in words what the spikes say.", "")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    CommandSpec::engine("latency|histogram", -2, LATENCY_FLAGS, "server", histogram)
        .docs(
            "7.0.0",
            "O(N) where N is the number of commands with latency information being retrieved.",
            "Shows how the durations of commands' calls are distributed.",
            "[command [command ...]]",
        )
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    CommandSpec::engine("latency|help", 2, LOADING | STALE, "server", help_text).docs(
        "2.8.13",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
];

/// `LATENCY LATEST`
fn latest(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let Some(client) = engine.clients.get_mut(id) else { return Ok(Flow::Done) };
    let mut reply = client.reply();
    reply.array(engine.latency.events.len());
    for (name, event) in &engine.latency.events {
        let &(seconds, latency_ms) = event.samples.back().expect("an event has a sample");
        reply.array(4);
        reply.bulk(name);
        reply.integer(seconds);
        reply.integer(latency_ms as i64);
        reply.integer(event.worst_ms as i64);
    }
    Ok(Flow::Done)
}

/// `LATENCY HISTORY event`
fn history(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let Some(client) = engine.clients.get_mut(id) else { return Ok(Flow::Done) };
    let mut reply = client.reply();
    let name = String::from_utf8_lossy(args.bytes(2));
    let Some(event) = engine.latency.events.get(&*name) else {
        reply.array(0);
        return Ok(Flow::Done);
    };
    reply.array(event.samples.len());
    for &(seconds, latency_ms) in &event.samples {
        reply.array(2);
        reply.integer(seconds);
        reply.integer(latency_ms as i64);
    }
    Ok(Flow::Done)
}

/// `LATENCY RESET [event [event ...]]`
fn reset(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let events = &mut engine.latency.events;
    let before = events.len();
    if args.len() == 2 {
        events.clear();
    } else {
        events.retain(|name, _| !args.from(2).iter().any(|arg| arg == name.as_bytes()));
    }
    let removed = before - events.len();
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().integer(removed as i64);
    }
    Ok(Flow::Done)
}

/// `LATENCY GRAPH event`
fn graph(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let name = String::from_utf8_lossy(args.bytes(2));
    let Some(event) = engine.latency.events.get(&*name) else {
        return Err(ErrorReply::new(format!("ERR No samples available for event '{name}'")));
    };
    let text = drawing(&name, event);
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().verbatim("txt", text);
    }
    Ok(Flow::Done)
}

/// One column for each spike, as high as its share of the worst.
fn drawing(name: &str, event: &LatencyEvent) -> String {
    const COLUMNS_MAX: usize = 80;
    const ROWS: u64 = 4;
    let skipped = event.samples.len().saturating_sub(COLUMNS_MAX);
    let shown: Vec<u64> = event.samples.iter().skip(skipped).map(|&(_, latency_ms)| latency_ms).collect();
    let high = shown.iter().copied().max().unwrap_or(0);
    let low = shown.iter().copied().min().unwrap_or(0);
    let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", event.worst_ms);
    text.push_str(&"-".repeat(COLUMNS_MAX));
    text.push('\n');
    for row in (0..ROWS).rev() {
        text.extend(shown.iter().map(|&latency_ms| {
            if latency_ms * ROWS > high * row { if row == 0 { '_' } else { '#' } } else { ' ' }
        }));
        text.push('\n');
    }
    text
}

/// `LATENCY DOCTOR`
fn doctor(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let mut text = String::new();
    if engine.config.latency_monitor_threshold == 0 {
        text.push_str(
            "Latency is not watched. CONFIG SET latency-monitor-threshold <milliseconds> turns it on.\n",
        );
    } else if engine.latency.events.is_empty() {
        text.push_str("Nothing took as long as latency-monitor-threshold says.\n");
    }
    for (name, event) in &engine.latency.events {
        let count = event.samples.len();
        let total: u64 = event.samples.iter().map(|&(_, latency_ms)| latency_ms).sum();
        let mean = total / count.max(1) as u64;
        text.push_str(&format!("{name}: {count} spikes, mean {mean} ms, worst {} ms.\n", event.worst_ms));
    }
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().verbatim("txt", text);
    }
    Ok(Flow::Done)
}

/// `LATENCY HISTOGRAM [command [command ...]]`
fn histogram(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let rows = TABLE.rows();
    let called = |index: usize| engine.stats.commands[index].calls > 0;
    let mut indexes: Vec<usize> = Vec::new();
    if args.len() == 2 {
        indexes.extend((0..rows.len()).filter(|&index| called(index)));
    }
    for name in args.from(2).iter() {
        let Some(index) = TABLE.by_name(name) else { continue };
        let row = rows[usize::from(index)];
        if matches!(row.handler, Handler::Container) {
            for sub in TABLE.subcommands(row) {
                let index = TABLE.by_name(sub.name.as_bytes()).expect("a row is found by its name");
                indexes.extend(Some(usize::from(index)).filter(|&index| called(index)));
            }
        } else {
            indexes.extend(Some(usize::from(index)).filter(|&index| called(index)));
        }
    }
    let Some(client) = engine.clients.get_mut(id) else { return Ok(Flow::Done) };
    let mut reply = client.reply();
    reply.map(indexes.len());
    for index in indexes {
        let stats = &engine.stats.commands[index];
        reply.bulk(rows[index].name);
        reply.map(2);
        reply.bulk("calls");
        reply.integer(stats.calls as i64);
        reply.bulk("histogram_usec");
        let buckets = stats.histogram.cumulative();
        reply.map(buckets.len());
        for (micros, count) in buckets {
            reply.integer(micros as i64);
            reply.integer(count as i64);
        }
    }
    Ok(Flow::Done)
}

fn help_text(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    help::answer(
        engine,
        id,
        "LATENCY",
        &[
            ("DOCTOR", &["Tell in words what the spikes say."]),
            ("GRAPH <event>", &["Draw the spikes of an event."]),
            ("HISTORY <event>", &["Show the spikes of an event, with their times."]),
            ("LATEST", &["Show the latest spike of each event."]),
            ("RESET [<event> ...]", &["Forget the spikes of these events, or of all."]),
            ("HISTOGRAM [COMMAND ...]", &["Show how the durations of commands' calls are distributed."]),
        ],
    );
    Ok(Flow::Done)
}
