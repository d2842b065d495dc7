//! MODULE: there are none here. Clients ask which are loaded; who tries to load one learns that it cannot be.

use super::help;
use super::spec::*;
use crate::engine::{ClientId, Engine, LogLevel};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

const CHANGES: Flags = ADMIN | NOSCRIPT | NO_ASYNC_LOADING | PROTECTED;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("module", "server").docs(
        "4.0.0",
        "Depends on subcommand.",
        "Groups the commands on modules.",
        "",
    ),
    CommandSpec::engine("module|list", 2, ADMIN | NOSCRIPT, "server", list)
        .docs("4.0.0", "O(N) where N is the number of loaded modules.", "Lists the loaded modules.", "")
        .tips(&["nondeterministic_output_order"]),
    CommandSpec::engine("module|load", -3, CHANGES, "server", load).docs(
        "4.0.0",
        "O(1)",
        "Loads a module.",
        "path [arg [arg ...]]",
    ),
    CommandSpec::engine("module|loadex", -3, CHANGES, "server", load).docs(
        "7.0.0",
        "O(1)",
        "Loads a module with parameters of its own.",
        "path [CONFIG name value [CONFIG name value ...]] [ARGS args [args ...]]",
    ),
    CommandSpec::engine("module|unload", 3, CHANGES, "server", unload).docs(
        "4.0.0",
        "O(1)",
        "Unloads a module.",
        "name",
    ),
    CommandSpec::engine("module|help", 2, LOADING | STALE, "server", help_text).docs(
        "5.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
];

/// `MODULE LIST`
fn list(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().array(0);
    }
    Ok(Flow::Done)
}

/// `MODULE LOAD path [arg ...]` and `MODULE LOADEX path [CONFIG name value ...] [ARGS arg ...]`
fn load(engine: &mut Engine, _: ClientId, args: &Args<'_>) -> CommandResult {
    let path = String::from_utf8_lossy(args.bytes(2));
    engine.log(LogLevel::Warning, format!("Module {path} failed to load: modules are not supported"));
    Err(ErrorReply::fixed("ERR Error loading the extension. Please check the server logs."))
}

/// `MODULE UNLOAD name`
fn unload(_: &mut Engine, _: ClientId, _: &Args<'_>) -> CommandResult {
    Err(ErrorReply::fixed("ERR Error unloading module: no such module with that name"))
}

fn help_text(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    help::answer(
        engine,
        id,
        "MODULE",
        &[
            ("LIST", &["List the modules that are loaded: there are none."]),
            ("LOAD <path> [<arg> ...]", &["Load a module, which is not supported."]),
            (
                "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
                &["Load a module with parameters of its own, which is not supported."],
            ),
            ("UNLOAD <name>", &["Unload a module."]),
        ],
    );
    Ok(Flow::Done)
}
