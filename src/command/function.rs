//! FUNCTION for a server that has no scripting engine: it holds no library, and says so.
//!
//! What would need an engine (LOAD, DELETE, RESTORE, FCALL) is not there; a client reads that the command is unknown.

use super::help;
use super::spec::*;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("function", "scripting").docs(
        "7.0.0",
        "Depends on subcommand.",
        "Groups the commands on functions.",
        "",
    ),
    CommandSpec::engine("function|flush", -2, NOSCRIPT | WRITE, "scripting", flush)
        .docs(
            "7.0.0",
            "O(N) where N is the number of functions deleted",
            "Deletes all libraries and functions.",
            "[ASYNC | SYNC]",
        )
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    CommandSpec::engine("function|list", -2, NOSCRIPT, "scripting", list)
        .docs(
            "7.0.0",
            "O(N) where N is the number of functions",
            "Lists the libraries with their functions.",
            "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        )
        .tips(&["nondeterministic_output_order"]),
    CommandSpec::engine("function|stats", 2, NOSCRIPT | ALLOW_BUSY, "scripting", stats)
        .docs("7.0.0", "O(1)", "Shows the function that runs and the engines there are.", "")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    CommandSpec::engine("function|help", 2, LOADING | STALE, "scripting", help_text).docs(
        "7.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
];

/// `FUNCTION FLUSH [ASYNC | SYNC]`
fn flush(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    match args.get(2) {
        _ if args.len() > 3 => return Err(ErrorReply::subcommand_syntax("FUNCTION", args.bytes(1))),
        Some(mode) if !mode.eq_ignore_ascii_case(b"sync") && !mode.eq_ignore_ascii_case(b"async") => {
            return Err(ErrorReply::fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
        }
        _ => {}
    }
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().ok();
    }
    Ok(Flow::Done)
}

/// `FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]`
fn list(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let (mut has_pattern, mut with_code) = (false, false);
    let mut words = args.from(2).iter();
    while let Some(word) = words.next() {
        if !with_code && word.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if !has_pattern && word.eq_ignore_ascii_case(b"libraryname") {
            words.next().ok_or(ErrorReply::fixed("ERR library name argument was not given"))?;
            has_pattern = true;
        } else {
            return Err(ErrorReply::new(format!("ERR Unknown argument {}", String::from_utf8_lossy(word))));
        }
    }
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().array(0);
    }
    Ok(Flow::Done)
}

/// `FUNCTION STATS`
fn stats(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    if let Some(client) = engine.clients.get_mut(id) {
        let mut reply = client.reply();
        reply.map(2);
        reply.bulk("running_script");
        reply.null();
        reply.bulk("engines");
        reply.map(0);
    }
    Ok(Flow::Done)
}

/// `FUNCTION HELP`
fn help_text(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    help::answer(
        engine,
        id,
        "FUNCTION",
        &[
            ("FLUSH [ASYNC|SYNC]", &["Delete all the libraries."]),
            ("LIST [LIBRARYNAME PATTERN] [WITHCODE]", &["Return the libraries and their functions."]),
            ("STATS", &["Return the function that is running and the engines there are."]),
        ],
    );
    Ok(Flow::Done)
}
