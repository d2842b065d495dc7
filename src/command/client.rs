//! CLIENT: what the server knows of its connections, and what one may do to another.

use super::connection::{caller, check_name};
use super::introspection::reply_help;
use super::options::integer;
use super::spec::*;
use super::{client_filter::Filter, dispatch};
use crate::base::clock::UnixMillis;
use crate::engine::client::{Closing, ReplyMode};
use crate::engine::{ClientId, Engine, Pause, PauseCause};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

const OPEN: Flags = NOSCRIPT | LOADING | STALE;
const RESTRICTED: Flags = OPEN | ADMIN;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("client", "connection").docs(
        "2.4.0",
        "Depends on subcommand.",
        "Commands on connections.",
        "",
    ),
    CommandSpec::engine("client|caching", 3, OPEN, "connection", caching).docs(
        "6.0.0",
        "O(1)",
        "Says whether the keys of the next command are tracked.",
        "<YES | NO>",
    ),
    CommandSpec::engine("client|getname", 2, OPEN, "connection", getname).docs(
        "2.6.9",
        "O(1)",
        "The name of the connection.",
        "",
    ),
    CommandSpec::engine("client|getredir", 2, OPEN, "connection", getredir).docs(
        "6.0.0",
        "O(1)",
        "The client that tracking messages of this connection are sent to.",
        "",
    ),
    CommandSpec::engine("client|help", 2, LOADING | STALE, "connection", help).docs(
        "5.0.0",
        "O(1)",
        "Lists the sub-commands.",
        "",
    ),
    CommandSpec::engine("client|id", 2, OPEN, "connection", client_id).docs(
        "5.0.0",
        "O(1)",
        "The number of the connection.",
        "",
    ),
    CommandSpec::engine("client|info", 2, OPEN, "connection", info).docs(
        "6.2.0",
        "O(1)",
        "The connection as a line of CLIENT LIST.",
        "",
    ).tips(&["nondeterministic_output"]),
    CommandSpec::engine("client|kill", -3, RESTRICTED, "connection", kill).docs(
        "2.4.0",
        "O(N) where N is the number of client connections",
        "Closes connections.",
        "<ip:port | [[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER username] | \
         [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>] | [MAXAGE maxage] ...]>",
    ),
    CommandSpec::engine("client|list", -2, RESTRICTED, "connection", list).docs(
        "2.4.0",
        "O(N) where N is the number of client connections",
        "A line about each connection.",
        "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
    ).tips(&["nondeterministic_output"]),
    CommandSpec::engine("client|no-evict", 3, RESTRICTED, "connection", no_evict).docs(
        "7.0.0",
        "O(1)",
        "Exempts the connection from eviction when clients take too much memory.",
        "<ON | OFF>",
    ),
    CommandSpec::engine("client|no-touch", 3, OPEN, "connection", no_touch).docs(
        "7.2.0",
        "O(1)",
        "Says whether the connection's commands count as accesses to keys.",
        "<ON | OFF>",
    ),
    CommandSpec::engine("client|pause", -3, RESTRICTED, "connection", pause).docs(
        "2.9.50",
        "O(1)",
        "Lets commands of clients wait for a while.",
        "timeout [WRITE | ALL]",
    ),
    CommandSpec::engine("client|reply", 3, OPEN, "connection", reply).docs(
        "3.2.0",
        "O(1)",
        "Says whether replies are sent.",
        "<ON | OFF | SKIP>",
    ),
    CommandSpec::engine("client|setinfo", 4, OPEN, "connection", setinfo).docs(
        "7.2.0",
        "O(1)",
        "Says which client library is used.",
        "<LIB-NAME libname | LIB-VER libver>",
    ),
    CommandSpec::engine("client|setname", 3, OPEN, "connection", setname).docs(
        "2.6.9",
        "O(1)",
        "Names the connection.",
        "connection-name",
    ),
    CommandSpec::engine("client|tracking", -3, OPEN, "connection", tracking).docs(
        "6.0.0",
        "O(1). Some options may introduce additional complexity.",
        "Switches client-side caching on or off.",
        "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
    ),
    CommandSpec::engine("client|trackinginfo", 2, OPEN, "connection", trackinginfo).docs(
        "6.2.0",
        "O(1)",
        "The state of client-side caching.",
        "",
    ),
    CommandSpec::engine("client|unblock", -3, RESTRICTED, "connection", unblock).docs(
        "5.0.0",
        "O(log N) where N is the number of client connections",
        "Ends what another client waits for.",
        "client-id [TIMEOUT | ERROR]",
    ),
    CommandSpec::engine("client|unpause", 2, RESTRICTED, "connection", unpause).docs(
        "6.2.0",
        "O(N) Where N is the number of paused clients",
        "Ends a pause.",
        "",
    ),
];

/// `CLIENT HELP`
fn help(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    reply_help(engine, id, args)
}

/// `CLIENT ID`
fn client_id(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    caller(engine, id).reply().integer(id.0 as i64);
    Ok(Flow::Done)
}

/// `CLIENT GETNAME`
fn getname(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let client = caller(engine, id);
    let name = client.name.clone();
    if name.is_empty() {
        client.reply().null()
    } else {
        client.reply().bulk(name)
    }
    Ok(Flow::Done)
}

/// `CLIENT SETNAME connection-name`
fn setname(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    check_name(args.bytes(2))?;
    let client = caller(engine, id);
    client.name = args.bytes(2).to_vec();
    client.reply().ok();
    Ok(Flow::Done)
}

/// `CLIENT SETINFO <LIB-NAME libname | LIB-VER libver>`
fn setinfo(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let is_name = args.is(2, "LIB-NAME");
    if !is_name && !args.is(2, "LIB-VER") {
        let option = String::from_utf8_lossy(args.bytes(2));
        return Err(ErrorReply::new(format!("ERR Unrecognized option '{option}'")));
    }
    let value = args.bytes(3);
    if check_name(value).is_err() {
        let field = String::from_utf8_lossy(args.bytes(2));
        return Err(ErrorReply::new(format!(
            "ERR {field} cannot contain spaces, newlines or special characters."
        )));
    }
    let client = caller(engine, id);
    *(if is_name { &mut client.lib_name } else { &mut client.lib_version }) = value.to_vec();
    client.reply().ok();
    Ok(Flow::Done)
}

/// `CLIENT INFO`
fn info(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let mut line = engine.clients.get(id).map(|client| engine.client_line(client)).unwrap_or_default();
    line.push('\n');
    caller(engine, id).reply().verbatim("txt", line);
    Ok(Flow::Done)
}

/// `CLIENT LIST [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]`
fn list(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let filter = Filter::parse_list(args)?;
    let ids = match &filter.ids {
        Some(ids) => ids.clone(),
        None => engine.clients.ids(),
    };
    let mut lines = String::new();
    for client in ids.iter().filter_map(|&id| engine.clients.get(id)) {
        if filter.accepts(client, engine.now()) {
            lines.push_str(&engine.client_line(client));
            lines.push('\n');
        }
    }
    caller(engine, id).reply().verbatim("txt", lines);
    Ok(Flow::Done)
}

/// `CLIENT KILL <ip:port | option value [option value ...]>`
fn kill(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let is_old_form = args.len() == 3;
    let filter = if is_old_form { Filter::by_addr(args.bytes(2)) } else { Filter::parse_kill(args, id)? };
    let now = engine.now();
    let victims: Vec<ClientId> = engine
        .clients
        .ids()
        .into_iter()
        .filter(|&victim| engine.clients.get(victim).is_some_and(|client| filter.accepts(client, now)))
        .take(if is_old_form { 1 } else { usize::MAX })
        .collect();
    for &victim in &victims {
        // Who closes itself reads the reply first.
        let closing = if victim == id { Closing::AfterReplies } else { Closing::Now };
        engine.clients.close(victim, closing);
        // What is kept for a replica goes with it, not when its connection notices.
        engine.detach_replica(victim);
    }
    match (is_old_form, victims.len()) {
        (true, 0) => return Err(ErrorReply::NO_SUCH_CLIENT),
        (true, _) => caller(engine, id).reply().ok(),
        (false, count) => caller(engine, id).reply().integer(count as i64),
    }
    Ok(Flow::Done)
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`
fn pause(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let mut writes_only = false;
    match args.len() {
        3 => {}
        4 if args.is(3, "WRITE") => writes_only = true,
        4 if args.is(3, "ALL") => {}
        4 => return Err(ErrorReply::fixed("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(ErrorReply::subcommand_syntax("CLIENT", args.bytes(1))),
    }
    let ms = integer(args.bytes(2)).map_err(|_| ErrorReply::TIMEOUT_NOT_AN_INTEGER)?;
    if ms < 0 {
        return Err(ErrorReply::TIMEOUT_NEGATIVE);
    }
    let until = engine
        .now()
        .0
        .checked_add(ms)
        .map(UnixMillis)
        .ok_or(ErrorReply::fixed("ERR timeout is out of range"))?;
    // A pause that lasts is prolonged and widened, never shortened.
    let old = engine.pauses.get(PauseCause::Client).filter(|pause| pause.until > engine.now());
    let pause = Pause {
        until: old.map_or(until, |old| old.until.max(until)),
        writes_only: writes_only && old.is_none_or(|old| old.writes_only),
    };
    engine.pauses.set(PauseCause::Client, pause);
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

/// `CLIENT UNPAUSE`
fn unpause(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    engine.end_pause(PauseCause::Client);
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

/// `CLIENT REPLY <ON | OFF | SKIP>`
fn reply(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let client = caller(engine, id);
    if args.is(2, "ON") {
        client.reply_mode = ReplyMode::On;
        client.reply().ok();
    } else if args.is(2, "OFF") {
        client.reply_mode = ReplyMode::Off;
    } else if args.is(2, "SKIP") {
        if client.reply_mode != ReplyMode::Off {
            client.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(ErrorReply::SYNTAX);
    }
    Ok(Flow::Done)
}

/// `ON` or `OFF`
fn switch(args: &Args<'_>) -> Result<bool, ErrorReply> {
    match (args.is(2, "ON"), args.is(2, "OFF")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(ErrorReply::SYNTAX),
    }
}

/// `CLIENT NO-EVICT <ON | OFF>`
fn no_evict(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let client = caller(engine, id);
    client.is_no_evict = switch(args)?;
    client.reply().ok();
    Ok(Flow::Done)
}

/// `CLIENT NO-TOUCH <ON | OFF>`
fn no_touch(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let client = caller(engine, id);
    client.is_no_touch = switch(args)?;
    client.reply().ok();
    Ok(Flow::Done)
}

/// `CLIENT UNBLOCK client-id [TIMEOUT | ERROR]`
fn unblock(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let with_error = match args.len() {
        3 => false,
        4 if args.is(3, "TIMEOUT") => false,
        4 if args.is(3, "ERROR") => true,
        4 => {
            return Err(ErrorReply::fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
        _ => return Err(ErrorReply::subcommand_syntax("CLIENT", args.bytes(1))),
    };
    let target = ClientId(integer(args.bytes(2))? as u64);
    let is_ended = dispatch::unblock_client(engine, target, with_error.then_some(&ErrorReply::UNBLOCKED));
    caller(engine, id).reply().integer(i64::from(is_ended));
    Ok(Flow::Done)
}

/// `CLIENT GETREDIR`
fn getredir(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    const TRACKING_IS_OFF: i64 = -1;
    caller(engine, id).reply().integer(TRACKING_IS_OFF);
    Ok(Flow::Done)
}

/// `CLIENT TRACKINGINFO`
fn trackinginfo(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let mut reply = caller(engine, id).reply();
    reply.map(3);
    reply.bulk("flags");
    reply.set(1);
    reply.bulk("off");
    reply.bulk("redirect");
    reply.integer(-1);
    reply.bulk("prefixes");
    reply.array(0);
    Ok(Flow::Done)
}

/// `CLIENT TRACKING <ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`
fn tracking(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let mut i = 3;
    while i < args.len() {
        let takes_value = args.is(i, "REDIRECT") || args.is(i, "PREFIX");
        let is_known =
            takes_value || ["BCAST", "OPTIN", "OPTOUT", "NOLOOP"].iter().any(|word| args.is(i, word));
        if !is_known || (takes_value && i + 1 == args.len()) {
            return Err(ErrorReply::SYNTAX);
        }
        i += 1 + usize::from(takes_value);
    }
    if switch(args)? {
        return Err(ErrorReply::fixed("ERR client-side caching is not supported by this server"));
    }
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

/// `CLIENT CACHING <YES | NO>`
fn caching(_: &mut Engine, _: ClientId, _: &Args<'_>) -> CommandResult {
    Err(ErrorReply::fixed(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
    ))
}
