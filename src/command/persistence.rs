//! SAVE, BGSAVE, LASTSAVE and SHUTDOWN.

use super::config::reply_ok;
use super::spec::*;
use crate::config::ShutdownOptions;
use crate::engine::persistence::SaveKind;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

const IN_PROGRESS: ErrorReply = ErrorReply::fixed("ERR Background save already in progress");

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::engine("save", 1, ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI, "server", save).docs(
        "1.0.0",
        "O(N) where N is the total number of keys in all databases",
        "Writes the snapshot and answers when it is on disk.",
        "",
    ),
    CommandSpec::engine("bgsave", -1, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, "server", bgsave).docs(
        "1.0.0",
        "O(1)",
        "Writes the snapshot in the background.",
        "[SCHEDULE]",
    ),
    CommandSpec::engine("bgrewriteaof", 1, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, "server", bgrewriteaof).docs(
        "1.0.0",
        "O(1)",
        "Writes the append-only file anew, in the background.",
        "",
    ),
    CommandSpec::engine("lastsave", 1, LOADING | STALE | FAST, "server", lastsave).docs(
        "1.0.0",
        "O(1)",
        "Tells when the last snapshot was written, in Unix seconds.",
        "",
    ).tips(&["nondeterministic_output"]),
    CommandSpec::engine(
        "shutdown",
        -1,
        ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY,
        "server",
        shutdown,
    )
    .docs(
        "1.0.0",
        "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
        "Writes the snapshot, if one is wanted, and ends the server.",
        "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
    ),
];

/// `SAVE`
fn save(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    if !engine.start_save(SaveKind::Foreground, Some(id)) {
        return Err(IN_PROGRESS);
    }
    engine.wait_for_job(id);
    Ok(Flow::Parked)
}

/// `BGSAVE [SCHEDULE]`
fn bgsave(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let is_scheduled = args.is(1, "schedule");
    if args.len() > 2 || (args.len() == 2 && !is_scheduled) {
        return Err(ErrorReply::SYNTAX);
    }
    if engine.persistence.is_saving_in_background() {
        return Err(IN_PROGRESS);
    }
    // What a transaction has done so far is not in the log yet, but would be in the snapshot.
    let status = if engine.nesting == 0 && engine.start_save(SaveKind::Background, None) {
        "Background saving started"
    } else if is_scheduled || engine.nesting > 0 {
        engine.persistence.is_save_scheduled = true;
        "Background saving scheduled"
    } else {
        return Err(IN_PROGRESS);
    };
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().simple(status);
    }
    Ok(Flow::Done)
}

/// `BGREWRITEAOF`
fn bgrewriteaof(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    if engine.aof.rewrite.is_some() {
        return Err(ErrorReply::fixed("ERR Background append only file rewriting already in progress"));
    }
    let in_transaction = engine.clients.get(id).is_some_and(|client| client.is_executing_transaction);
    let status = if in_transaction {
        // It begins behind the transaction.
        engine.aof.is_rewrite_scheduled = true;
        engine.aof.failures_in_a_row = 0;
        "Background append only file rewriting scheduled"
    } else if engine.start_rewrite() {
        "Background append only file rewriting started"
    } else {
        return Err(ErrorReply::fixed(
            "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
        ));
    };
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().simple(status);
    }
    Ok(Flow::Done)
}

/// `LASTSAVE`
fn lastsave(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let seconds = engine.persistence.last_save.0 / 1000;
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().integer(seconds);
    }
    Ok(Flow::Done)
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`
fn shutdown(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let (options, aborts) = shutdown_options(args)?;
    if aborts {
        if !engine.abort_shutdown() {
            return Err(ErrorReply::fixed("ERR No shutdown in progress."));
        }
        reply_ok(engine, id);
        return Ok(Flow::Done);
    }
    // In the midst of a script there is nothing whole to save.
    if let Some(error) = engine.scripting.busy_error().filter(|_| !options.nosave) {
        return Err(error);
    }
    engine.log(crate::engine::LogLevel::Warning, "User requested shutdown...");
    engine.wait_for_job(id);
    engine.begin_shutdown(options, Some(id));
    Ok(Flow::Parked)
}

fn shutdown_options(args: &Args<'_>) -> Result<(ShutdownOptions, bool), ErrorReply> {
    let mut options = ShutdownOptions::default();
    let mut aborts = false;
    for index in 1..args.len() {
        let is = |word| args.is(index, word);
        if is("nosave") {
            options.nosave = true;
        } else if is("save") {
            options.save = true;
        } else if is("now") {
            options.now = true;
        } else if is("force") {
            options.force = true;
        } else if is("abort") {
            aborts = true;
        } else {
            return Err(ErrorReply::SYNTAX);
        }
    }
    let has_others = options != ShutdownOptions::default();
    if (aborts && has_others) || (options.save && options.nosave) {
        return Err(ErrorReply::SYNTAX);
    }
    Ok((options, aborts))
}
