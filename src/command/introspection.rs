//! COMMAND and MONITOR: what the server tells of its commands, all of it from the table.

use super::connection::caller;
use super::keys::{KEY_FLAG_NAMES, has_keys, keys_of, legacy_range};
use super::spec::*;
use super::table::{Lookup, TABLE};
use super::usage::{self, Argument, Kind};
use crate::base::glob::{self, Case};
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;

const OPEN: Flags = LOADING | STALE;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::engine("command", -1, OPEN, "server", command)
        .docs("2.8.13", "O(N) where N is the total number of Redis commands", "Describes all commands.", "")
        .tips(&["nondeterministic_output_order"]),
    CommandSpec::engine("command|count", 2, OPEN, "server", count).docs(
        "2.8.13",
        "O(1)",
        "How many commands there are.",
        "",
    ),
    CommandSpec::engine("command|docs", -2, OPEN, "server", docs)
        .docs(
            "7.0.0",
            "O(N) where N is the number of commands to look up",
            "Documents commands.",
            "[command-name [command-name ...]]",
        )
        .tips(&["nondeterministic_output_order"]),
    CommandSpec::engine("command|getkeys", -3, OPEN, "server", getkeys).docs(
        "2.8.13",
        "O(N) where N is the number of arguments to the command",
        "The keys among the arguments of a command.",
        "command [arg [arg ...]]",
    ),
    CommandSpec::engine("command|getkeysandflags", -3, OPEN, "server", getkeysandflags).docs(
        "7.0.0",
        "O(N) where N is the number of arguments to the command",
        "The keys among the arguments of a command, and what it does to them.",
        "command [arg [arg ...]]",
    ),
    CommandSpec::engine("command|help", 2, OPEN, "server", help).docs(
        "5.0.0",
        "O(1)",
        "Lists the sub-commands.",
        "",
    ),
    CommandSpec::engine("command|info", -2, OPEN, "server", info)
        .docs(
            "2.8.13",
            "O(N) where N is the number of commands to look up",
            "Describes some commands.",
            "[command-name [command-name ...]]",
        )
        .tips(&["nondeterministic_output_order"]),
    CommandSpec::engine("command|list", -2, OPEN, "server", list)
        .docs(
            "7.0.0",
            "O(N) where N is the total number of Redis commands",
            "Names of commands.",
            "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
        )
        .tips(&["nondeterministic_output_order"]),
    CommandSpec::engine("monitor", 1, ADMIN | NOSCRIPT | OPEN, "server", monitor).docs(
        "1.0.0",
        "O(1)",
        "Shows every command that the server runs.",
        "",
    ),
];

/// `MONITOR`
fn monitor(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    if engine.nesting > 0 {
        return Err(ErrorReply::fixed("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    engine.start_monitoring(id);
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

/// `<container> HELP`: what the rows of the sub-commands say.
pub(super) fn reply_help(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let name = String::from_utf8_lossy(args.bytes(0)).to_ascii_lowercase();
    let mut lines = vec![format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        name.to_ascii_uppercase()
    )];
    let subcommands = TABLE.by_name(name.as_bytes()).map(|index| TABLE.subcommands(TABLE.row(index)));
    for row in subcommands.into_iter().flatten() {
        let word = row.name.rsplit('|').next().unwrap_or_default();
        if word != "help" {
            lines.push(format!("{} {}", word.to_ascii_uppercase(), row.docs.usage).trim_end().to_owned());
            lines.push(format!("    {}", row.docs.summary));
        }
    }
    lines.extend(["HELP".to_owned(), "    Prints this help.".to_owned()]);
    let mut reply = caller(engine, id).reply();
    reply.array(lines.len());
    for line in lines {
        reply.simple(&line);
    }
    Ok(Flow::Done)
}

/// `COMMAND HELP`
fn help(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    reply_help(engine, id, args)
}

/// The rows that are not sub-commands.
fn top_rows() -> impl Iterator<Item = &'static CommandSpec> {
    TABLE.rows().iter().copied().filter(|row| !row.name.contains('|'))
}

/// `COMMAND`
fn command(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    debug_assert_eq!(args.len(), 1, "with a word behind it a sub-command is looked up");
    let mut reply = caller(engine, id).reply();
    reply.array(top_rows().count());
    top_rows().for_each(|row| write_row(&mut reply, row));
    Ok(Flow::Done)
}

/// `COMMAND COUNT`
fn count(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    caller(engine, id).reply().integer(top_rows().count() as i64);
    Ok(Flow::Done)
}

/// `COMMAND INFO [command-name [command-name ...]]`
fn info(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let mut reply = caller(engine, id).reply();
    if args.len() == 2 {
        reply.array(top_rows().count());
        top_rows().for_each(|row| write_row(&mut reply, row));
        return Ok(Flow::Done);
    }
    let names = args.from(2);
    reply.array(names.len());
    for name in names.iter() {
        match TABLE.by_name(name) {
            Some(index) => write_row(&mut reply, TABLE.row(index)),
            None => reply.null(),
        }
    }
    Ok(Flow::Done)
}

/// `COMMAND LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]`
fn list(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let is_wanted: Box<dyn Fn(&CommandSpec) -> bool> = match args.len() {
        2 => Box::new(|_| true),
        5 if args.is(2, "FILTERBY") => {
            let value = args.bytes(4).to_vec();
            if args.is(3, "MODULE") {
                Box::new(|_| false)
            } else if args.is(3, "ACLCAT") {
                Box::new(move |row| {
                    categories(row).iter().any(|name| value.eq_ignore_ascii_case(name.as_bytes()))
                })
            } else if args.is(3, "PATTERN") {
                Box::new(move |row| glob::matches(&value, row.name.as_bytes(), Case::Insensitive))
            } else {
                return Err(ErrorReply::SYNTAX);
            }
        }
        _ => return Err(ErrorReply::SYNTAX),
    };
    let rows: Vec<_> = TABLE.rows().iter().filter(|row| is_wanted(row)).collect();
    let mut reply = caller(engine, id).reply();
    reply.array(rows.len());
    rows.iter().for_each(|row| reply.bulk(row.name));
    Ok(Flow::Done)
}

/// `COMMAND GETKEYS command [arg [arg ...]]`
fn getkeys(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let (request, keys) = keys_of_request(args)?;
    let mut reply = caller(engine, id).reply();
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(request.bytes(key.index)));
    Ok(Flow::Done)
}

/// `COMMAND GETKEYSANDFLAGS command [arg [arg ...]]`
fn getkeysandflags(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let (request, keys) = keys_of_request(args)?;
    let mut reply = caller(engine, id).reply();
    reply.array(keys.len());
    for key in keys {
        reply.array(2);
        reply.bulk(request.bytes(key.index));
        write_key_flags(&mut reply, key.flags);
    }
    Ok(Flow::Done)
}

fn keys_of_request<'a>(args: &Args<'a>) -> Result<(Args<'a>, Vec<super::keys::KeyArg>), ErrorReply> {
    let request = args.from(2);
    let Lookup::Found(index) = TABLE.lookup(&request) else {
        return Err(ErrorReply::fixed("ERR Invalid command specified"));
    };
    let row = TABLE.row(index);
    if !has_keys(row) {
        return Err(ErrorReply::fixed("ERR The command has no key arguments"));
    }
    if !row.accepts_arity(request.len()) {
        return Err(ErrorReply::fixed("ERR Invalid number of arguments specified for command"));
    }
    let keys = keys_of(row, &request).unwrap_or_default();
    if keys.is_empty() && !row.has(NO_MANDATORY_KEYS) {
        return Err(ErrorReply::fixed("ERR Invalid arguments specified for command"));
    }
    Ok((request, keys))
}

/// The names of the flags, in the order in which COMMAND shows them.
const FLAG_NAMES: [(Flags, &str); 17] = [
    (WRITE, "write"),
    (READONLY, "readonly"),
    (DENYOOM, "denyoom"),
    (ADMIN, "admin"),
    (PUBSUB, "pubsub"),
    (NOSCRIPT, "noscript"),
    (BLOCKING, "blocking"),
    (LOADING, "loading"),
    (STALE, "stale"),
    (SKIP_MONITOR, "skip_monitor"),
    (SKIP_SLOWLOG, "skip_slowlog"),
    (FAST, "fast"),
    (NO_AUTH, "no_auth"),
    (NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (NO_ASYNC_LOADING, "no_async_loading"),
    (NO_MULTI, "no_multi"),
    (MOVABLE_KEYS, "movablekeys"),
];

/// Shown last.
const ALLOW_BUSY_NAME: (Flags, &str) = (ALLOW_BUSY, "allow_busy");

/// The ten elements that describe a command.
fn write_row(reply: &mut Reply<'_>, row: &CommandSpec) {
    reply.array(10);
    reply.bulk(row.name);
    reply.integer(i64::from(row.arity));
    let flags: Vec<&str> = FLAG_NAMES
        .iter()
        .chain([&ALLOW_BUSY_NAME])
        .filter(|(flag, _)| row.has(*flag))
        .map(|(_, name)| *name)
        .collect();
    write_words(reply, &flags);
    let (first, last, step) = legacy_range(row);
    for number in [first, last, step] {
        reply.integer(number);
    }
    let categories = categories(row);
    reply.set(categories.len());
    for category in categories {
        reply.simple(&format!("@{category}"));
    }
    reply.set(row.tips.len());
    row.tips.iter().for_each(|tip| reply.bulk(tip));
    reply.set(row.keys.len());
    row.keys.iter().for_each(|spec| write_key_spec(reply, spec));
    let subcommands: Vec<_> = TABLE.subcommands(row).collect();
    reply.set(subcommands.len());
    subcommands.into_iter().for_each(|row| write_row(reply, row));
}

fn write_words(reply: &mut Reply<'_>, words: &[&str]) {
    reply.set(words.len());
    words.iter().for_each(|word| reply.simple(word));
}

fn write_key_flags(reply: &mut Reply<'_>, flags: KeyFlags) {
    let names: Vec<&str> =
        KEY_FLAG_NAMES.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect();
    write_words(reply, &names);
}

fn write_key_spec(reply: &mut Reply<'_>, spec: &KeySpec) {
    reply.map(if spec.note.is_empty() { 3 } else { 4 });
    if !spec.note.is_empty() {
        reply.bulk("notes");
        reply.bulk(spec.note);
    }
    reply.bulk("flags");
    write_key_flags(reply, spec.flags);
    reply.bulk("begin_search");
    match spec.begin {
        BeginSearch::Index(index) => write_spec(reply, "index", &[("index", index as i64)]),
        BeginSearch::Keyword { word, start_from } => {
            write_spec_head(reply, "keyword", 2);
            reply.bulk("keyword");
            reply.bulk(word);
            reply.bulk("startfrom");
            reply.integer(i64::from(start_from));
        }
        BeginSearch::Unknown => write_spec(reply, "unknown", &[]),
    }
    reply.bulk("find_keys");
    match spec.find {
        FindKeys::Range { last, step, limit } => write_spec(
            reply,
            "range",
            &[("lastkey", i64::from(last)), ("keystep", step as i64), ("limit", limit as i64)],
        ),
        FindKeys::Count { count, first, step } => write_spec(
            reply,
            "keynum",
            &[("keynumidx", count as i64), ("firstkey", first as i64), ("keystep", step as i64)],
        ),
        FindKeys::Unknown => write_spec(reply, "unknown", &[]),
    }
}

fn write_spec_head(reply: &mut Reply<'_>, kind: &str, pairs: usize) {
    reply.map(2);
    reply.bulk("type");
    reply.bulk(kind);
    reply.bulk("spec");
    reply.map(pairs);
}

fn write_spec(reply: &mut Reply<'_>, kind: &str, numbers: &[(&str, i64)]) {
    write_spec_head(reply, kind, numbers.len());
    for (name, number) in numbers {
        reply.bulk(name);
        reply.integer(*number);
    }
}

/// The ACL categories of a command, which follow from its flags and its group; in Redis' order.
pub fn categories(row: &CommandSpec) -> Vec<&'static str> {
    let base = row.name.split('|').next().unwrap_or(row.name);
    let is_container = matches!(row.handler, Handler::Container);
    let of_group: &[&str] = match (base, row.group) {
        _ if is_container => &[],
        ("sort" | "sort_ro", _) => &["set", "sortedset", "list"],
        ("swapdb" | "flushall" | "flushdb" | "dbsize", _) => &["keyspace"],
        ("command" | "wait" | "waitaof", _) => &["connection"],
        (_, "generic") => &["keyspace"],
        (_, "sorted_set" | "sorted-set") => &["sortedset"],
        (_, "transactions") => &["transaction"],
        (_, "hash") => &["hash"],
        (_, "list") => &["list"],
        (_, "set") => &["set"],
        (_, "string") => &["string"],
        (_, "bitmap") => &["bitmap"],
        (_, "hyperloglog") => &["hyperloglog"],
        (_, "geo") => &["geo"],
        (_, "stream") => &["stream"],
        (_, "connection") => &["connection"],
        (_, "scripting") => &["scripting"],
        _ => &[],
    };
    let holds = |name: &&'static str| match *name {
        "read" => row.has(READONLY) && !row.group.starts_with("scripting"),
        "write" => row.has(WRITE),
        "pubsub" => row.has(PUBSUB),
        // These are no administration, but not for everybody.
        "admin" => row.has(ADMIN) || ["role", "lastsave"].contains(&base),
        "fast" => row.has(FAST),
        "slow" => !row.has(FAST),
        "blocking" => row.has(BLOCKING),
        "dangerous" => row.has(ADMIN) || row.has(DANGEROUS) || ["info", "lastsave"].contains(&base),
        _ => of_group.contains(name),
    };
    const ORDER: [&str; 21] = [
        "keyspace",
        "read",
        "write",
        "set",
        "sortedset",
        "list",
        "hash",
        "string",
        "bitmap",
        "hyperloglog",
        "geo",
        "stream",
        "pubsub",
        "admin",
        "fast",
        "slow",
        "blocking",
        "dangerous",
        "connection",
        "transaction",
        "scripting",
    ];
    ORDER.into_iter().filter(|name| holds(name)).collect()
}

/// `COMMAND DOCS [command-name [command-name ...]]`
fn docs(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let rows: Vec<&CommandSpec> = if args.len() == 2 {
        top_rows().collect()
    } else {
        args.from(2).iter().filter_map(|name| TABLE.by_name(name)).map(|index| TABLE.row(index)).collect()
    };
    let mut reply = caller(engine, id).reply();
    reply.map(rows.len());
    rows.into_iter().for_each(|row| write_docs(&mut reply, row));
    Ok(Flow::Done)
}

/// The name of a command and the map of what there is to say of it.
fn write_docs(reply: &mut Reply<'_>, row: &CommandSpec) {
    let arguments = usage::parse(row.docs.usage);
    let subcommands: Vec<_> = TABLE.subcommands(row).collect();
    reply.bulk(row.name);
    let docs = &row.docs;
    let flags: Vec<&str> = [(docs.deprecated.is_some(), "deprecated"), (docs.is_of_system, "syscmd")]
        .into_iter()
        .filter_map(|(holds, name)| holds.then_some(name))
        .collect();
    reply.map(
        4 + usize::from(!flags.is_empty())
            + 2 * usize::from(docs.deprecated.is_some())
            + usize::from(!arguments.is_empty())
            + usize::from(!subcommands.is_empty()),
    );
    let group = row.group.replace('_', "-");
    for (name, text) in [
        ("summary", row.docs.summary),
        ("since", row.docs.since),
        ("group", &group),
        ("complexity", row.docs.complexity),
    ] {
        reply.bulk(name);
        reply.bulk(text);
    }
    if !flags.is_empty() {
        reply.bulk("doc_flags");
        write_words(reply, &flags);
    }
    if let Some((since, replaced_by)) = docs.deprecated {
        for (name, text) in [("deprecated_since", since), ("replaced_by", replaced_by)] {
            reply.bulk(name);
            reply.bulk(text);
        }
    }
    if !arguments.is_empty() {
        let mut key_specs = KeySpecs { next: 0, len: row.keys.len() };
        reply.bulk("arguments");
        write_arguments(reply, &arguments, &mut key_specs);
    }
    if !subcommands.is_empty() {
        reply.bulk("subcommands");
        reply.map(subcommands.len());
        subcommands.into_iter().for_each(|row| write_docs(reply, row));
    }
}

/// Which key spec the next argument that is a key belongs to: as many as there are, in order.
struct KeySpecs {
    next: usize,
    len: usize,
}

fn write_arguments(reply: &mut Reply<'_>, arguments: &[Argument], key_specs: &mut KeySpecs) {
    reply.array(arguments.len());
    for argument in arguments {
        write_argument(reply, argument, key_specs);
    }
}

fn write_argument(reply: &mut Reply<'_>, argument: &Argument, key_specs: &mut KeySpecs) {
    // A name that sounds like a key is none where the command has no keys.
    let kind = if argument.kind == Kind::Key && key_specs.len == 0 { Kind::String } else { argument.kind };
    let is_leaf = argument.arguments.is_empty();
    let flags: Vec<&str> = [
        (argument.is_optional, "optional"),
        (argument.is_multiple, "multiple"),
        (argument.repeats_token, "multiple_token"),
    ]
    .into_iter()
    .filter(|(holds, _)| *holds)
    .map(|(_, name)| name)
    .collect();
    let is_key = kind == Kind::Key;
    reply.map(
        2 + usize::from(is_leaf)
            + usize::from(is_key)
            + usize::from(argument.token.is_some())
            + usize::from(!flags.is_empty())
            + usize::from(!is_leaf),
    );
    reply.bulk("name");
    reply.bulk(&argument.name);
    reply.bulk("type");
    reply.bulk(kind.name());
    if is_leaf {
        reply.bulk("display_text");
        reply.bulk(&argument.name);
    }
    if is_key {
        reply.bulk("key_spec_index");
        reply.integer(key_specs.next.min(key_specs.len - 1) as i64);
        key_specs.next += 1;
    }
    if let Some(token) = &argument.token {
        reply.bulk("token");
        reply.bulk(token);
    }
    if !flags.is_empty() {
        reply.bulk("flags");
        write_words(reply, &flags);
    }
    if !is_leaf {
        reply.bulk("arguments");
        write_arguments(reply, &argument.arguments, key_specs);
    }
}
