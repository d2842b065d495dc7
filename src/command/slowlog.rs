//! SLOWLOG: the commands that took long.

use super::config::reply_ok;
use super::help;
use super::spec::*;
use crate::base::number::parse_i64;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

const SLOWLOG_FLAGS: Flags = ADMIN | LOADING | STALE;
const ENTRIES_DEFAULT: usize = 10;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("slowlog", "server").docs(
        "2.2.12",
        "Depends on subcommand.",
        "Groups the commands on the slow log.",
        "",
    ),
    CommandSpec::engine("slowlog|get", -2, SLOWLOG_FLAGS, "server", get)
        .docs(
            "2.2.12",
            "O(N) where N is the number of entries returned",
            "Shows the latest entries of the slow log.",
            "[count]",
        )
        .tips(&["request_policy:all_nodes", "nondeterministic_output"]),
    CommandSpec::engine("slowlog|len", 2, SLOWLOG_FLAGS, "server", len)
        .docs("2.2.12", "O(1)", "Counts the entries of the slow log.", "")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"]),
    CommandSpec::engine("slowlog|reset", 2, SLOWLOG_FLAGS, "server", reset)
        .docs("2.2.12", "O(N) where N is the number of entries in the slowlog", "Empties the slow log.", "")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    CommandSpec::engine("slowlog|help", 2, LOADING | STALE, "server", help_text).docs(
        "6.2.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
];

/// `SLOWLOG GET [count]`
fn get(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if args.len() > 3 {
        return Err(ErrorReply::fixed(
            "ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.",
        ));
    }
    let count = match args.get(2) {
        None => ENTRIES_DEFAULT,
        Some(count) => match parse_i64(count).filter(|&count| count >= -1) {
            Some(-1) => usize::MAX,
            Some(count) => count as usize,
            None => return Err(ErrorReply::fixed("ERR count should be greater than or equal to -1")),
        },
    };
    let Some(client) = engine.clients.get_mut(id) else { return Ok(Flow::Done) };
    let mut reply = client.reply();
    let entries = &engine.slowlog.entries;
    reply.array(count.min(entries.len()));
    for entry in entries.iter().take(count) {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(entry.unix_seconds);
        reply.integer(entry.micros as i64);
        reply.array(entry.args.len());
        for arg in &entry.args {
            reply.bulk(arg);
        }
        reply.bulk(&entry.addr);
        reply.bulk(&entry.name);
    }
    Ok(Flow::Done)
}

/// `SLOWLOG LEN`
fn len(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let len = engine.slowlog.entries.len();
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().integer(len as i64);
    }
    Ok(Flow::Done)
}

/// `SLOWLOG RESET`
fn reset(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    engine.slowlog.entries.clear();
    reply_ok(engine, id);
    Ok(Flow::Done)
}

fn help_text(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    help::answer(
        engine,
        id,
        "SLOWLOG",
        &[
            (
                "GET [<count>]",
                &[
                    "Show the latest <count> entries (10 unless said, -1 for all of them).",
                    "Each is an id, a Unix time, a duration in microseconds, the arguments,",
                    "the client's address and its name.",
                ],
            ),
            ("LEN", &["Count the entries."]),
            ("RESET", &["Remove the entries."]),
        ],
    );
    Ok(Flow::Done)
}
