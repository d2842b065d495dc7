//! CONFIG: the server's parameters, as `crate::config` knows them.

use super::context::Ctx;
use super::help;
use super::spec::*;
use crate::config::{Asker, Config, RewriteScope, SetError};
use crate::engine::client::Client;
use crate::engine::{ClientId, Engine, InsideJob, Job};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

const CONFIG_FLAGS: Flags = ADMIN | NOSCRIPT | LOADING | STALE;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("config", "server").docs(
        "2.0.0",
        "Depends on subcommand.",
        "Groups the commands on the server's parameters.",
        "",
    ),
    CommandSpec::data("config|get", -3, CONFIG_FLAGS, "server", get).docs(
        "2.0.0",
        "O(N) when N is the number of configuration parameters provided",
        "Shows parameters whose names match.",
        "parameter [parameter ...]",
    ),
    CommandSpec::engine("config|set", -4, CONFIG_FLAGS, "server", set)
        .docs(
            "2.0.0",
            "O(N) when N is the number of configuration parameters provided",
            "Changes parameters while the server runs, all of them or none.",
            "parameter value [parameter value ...]",
        )
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    CommandSpec::engine("config|resetstat", 2, CONFIG_FLAGS, "server", resetstat).docs(
        "2.0.0",
        "O(1)",
        "Sets the counters of INFO back to zero.",
        "",
    ),
    CommandSpec::engine("config|rewrite", 2, CONFIG_FLAGS, "server", rewrite).docs(
        "2.8.0",
        "O(1)",
        "Writes the parameters in force into the configuration file.",
        "",
    ),
    CommandSpec::engine("config|help", 2, LOADING | STALE, "server", help_text).docs(
        "5.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
];

/// Parameters that only take effect outside of the engine, which therefore does it.
const OF_THE_ENVIRONMENT: [&str; 7] =
    ["dir", "maxclients", "port", "bind", "appendonly", "oom-score-adj", "oom-score-adj-values"];

/// Parameters that a running server does not change; at the start they are free.
const FIXED_WHILE_RUNNING: [&str; 1] = ["tls-port"];

/// `CONFIG GET parameter [parameter ...]`
fn get(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let patterns: Vec<&[u8]> = args.from(2).iter().collect();
    let found = ctx.config.matching(&patterns);
    ctx.reply.map(found.len());
    for (name, value) in found {
        ctx.reply.bulk(name);
        ctx.reply.bulk(value);
    }
    Ok(Flow::Done)
}

/// `CONFIG SET parameter value [parameter value ...]`
fn set(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let args = args.from(2);
    if !args.len().is_multiple_of(2) {
        return Err(ErrorReply::SYNTAX);
    }
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = (0..args.len())
        .step_by(2)
        .map(|index| (args.bytes(index).to_vec(), args.bytes(index + 1).to_vec()))
        .collect();
    let is_local = engine.clients.get(id).is_some_and(Client::is_local);
    let is_outside = pairs
        .iter()
        .any(|(name, _)| OF_THE_ENVIRONMENT.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name)));
    if is_outside {
        return wait_inside(engine, id, |client| InsideJob::SetConfig { client, pairs });
    }
    set_config(engine, is_local, &pairs, |_, _| Ok(()))?;
    reply_ok(engine, id);
    Ok(Flow::Done)
}

/// Sets all of `pairs` or none. `apply` puts into effect what the engine cannot, given what has changed.
pub fn set_config(
    engine: &mut Engine,
    is_local: bool,
    pairs: &[(Vec<u8>, Vec<u8>)],
    apply: impl FnOnce(&mut Config, &[&'static str]) -> Result<(), SetError>,
) -> Result<(), ErrorReply> {
    let asker = Asker { is_local, is_loading: engine.persistence.loading.is_some() };
    let borrowed: Vec<(&[u8], &[u8])> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let sentence = |error: SetError| ErrorReply::new(error.to_string());
    let mut config = engine.config.clone();
    let changed = config.set_many(&borrowed, asker).map_err(sentence)?;
    if let Some(name) = changed.iter().find(|name| FIXED_WHILE_RUNNING.contains(name)) {
        return Err(sentence(SetError::failed(name, "can't be changed while the server runs")));
    }
    apply(&mut config, &changed).map_err(sentence)?;
    engine.config = config;
    engine.config_changed();
    if changed.contains(&"aof-disable-auto-gc") && !engine.config.aof_disable_auto_gc {
        engine.remove_aof_history();
    }
    if changed.contains(&"appendonly") {
        match engine.config.appendonly {
            // What a transaction has done so far is not in the log yet, but would be in the base.
            true if engine.nesting > 0 => engine.schedule_aof(),
            true => engine.start_aof(),
            false => engine.stop_aof(),
        }
    }
    Ok(())
}

/// `CONFIG RESETSTAT`
fn resetstat(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    engine.stats.reset();
    engine.stats.lazyfreed_objects_before = engine.lazyfree.freed_objects();
    engine.upkeep.hits = 0;
    engine.upkeep.misses = 0;
    reply_ok(engine, id);
    Ok(Flow::Done)
}

/// `CONFIG REWRITE`
fn rewrite(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    rewrite_file(engine, id, RewriteScope::Usual)
}

/// Rewrites the file that the server was started with.
pub(super) fn rewrite_file(engine: &mut Engine, id: ClientId, scope: RewriteScope) -> CommandResult {
    if engine.process.config_file.is_empty() {
        return Err(ErrorReply::fixed("ERR The server is running without a config file"));
    }
    wait_inside(engine, id, |client| InsideJob::RewriteConfig { client, scope })
}

/// Has a job done before anybody else enters; its end answers the client. Inside EXEC, which goes on at once, the
/// answer is OK before it is known.
pub(super) fn wait_inside(
    engine: &mut Engine,
    id: ClientId,
    job: impl FnOnce(Option<ClientId>) -> InsideJob,
) -> CommandResult {
    let can_wait = engine.clients.get(id).is_some_and(|client| !client.is_executing_transaction);
    if can_wait {
        engine.jobs.push(Job::Inside(job(Some(id))));
        engine.wait_for_job(id);
        return Ok(Flow::Parked);
    }
    engine.jobs.push(Job::Inside(job(None)));
    reply_ok(engine, id);
    Ok(Flow::Done)
}

pub(super) fn reply_ok(engine: &mut Engine, id: ClientId) {
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().ok();
    }
}

fn help_text(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    help::answer(
        engine,
        id,
        "CONFIG",
        &[
            ("GET <pattern>", &["Show the parameters whose names match, with their values."]),
            ("SET <directive> <value>", &["Give a parameter another value."]),
            ("RESETSTAT", &["Begin the counters of INFO anew."]),
            ("REWRITE", &["Write what is in force into the configuration file."]),
        ],
    );
    Ok(Flow::Done)
}
