//! MEMORY: what a key takes, and what the server takes.

use super::context::Ctx;
use super::spec::*;
use super::{help, options};
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::container("memory", "server").docs(
        "4.0.0",
        "Depends on subcommand.",
        "Groups the commands on memory.",
        "",
    ),
    CommandSpec::data("memory|usage", -3, READONLY, "server", usage)
        .keys(&[KeySpec::range(2, 2, 1, RO)])
        .docs("4.0.0", "O(N) where N is the number of samples.", "Tells how much memory a key takes.", {
            "key [SAMPLES count]"
        }),
    CommandSpec::engine("memory|stats", 2, 0, "server", stats)
        .docs("4.0.0", "O(1)", "Shows what the server's memory is used for.", "")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    CommandSpec::engine("memory|doctor", 2, 0, "server", doctor)
        .docs("4.0.0", "O(1)", "Tells in words what is noteworthy about the memory.", "")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    CommandSpec::engine("memory|purge", 2, 0, "server", purge)
        .docs(
            "4.0.0",
            "Depends on how much memory is allocated, could be slow",
            "Asks the allocator to give unused memory back.",
            "",
        )
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    CommandSpec::engine("memory|malloc-stats", 2, 0, "server", malloc_stats)
        .docs(
            "4.0.0",
            "Depends on how much memory is allocated, could be slow",
            "Shows the allocator's own statistics.",
            "",
        )
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    CommandSpec::engine("memory|help", 2, LOADING | STALE, "server", help_text).docs(
        "4.0.0",
        "O(1)",
        "Lists the subcommands.",
        "",
    ),
];

/// `MEMORY USAGE key [SAMPLES count]`
///
/// Every collection knows its size, so nothing is sampled; the option is checked and has no effect.
fn usage(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let mut index = 3;
    while index < args.len() {
        if !args.is(index, "samples") || index + 1 == args.len() {
            return Err(ErrorReply::SYNTAX);
        }
        if options::integer(args.bytes(index + 1))? < 0 {
            return Err(ErrorReply::SYNTAX);
        }
        index += 2;
    }
    match ctx.db.memory_bytes(args.bytes(2)) {
        Some(bytes) => ctx.reply.integer(bytes as i64),
        None => ctx.reply.null(),
    }
    Ok(Flow::Done)
}

/// What memory goes to, in bytes, as INFO and MEMORY STATS tell it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    pub replication_backlog: u64,
    pub clients_normal: u64,
    pub clients_replicas: u64,
    pub overhead: u64,
    pub dataset: u64,
}

pub(super) fn shares(engine: &Engine) -> Shares {
    use crate::engine::client::{ClientKind, Closing};
    let mut shares = Shares {
        replication_backlog: engine.role.stream().log.histlen(),
        clients_normal: 0,
        clients_replicas: engine.unread_log_bytes(),
        overhead: 0,
        dataset: 0,
    };
    // What is kept beyond the backlog's size is kept for replicas.
    if shares.clients_replicas > 0 {
        shares.replication_backlog = engine.config.repl_backlog_size;
    }
    for client in engine.clients.iter() {
        let bytes = std::mem::size_of_val(client) + client.out.capacity() + client.traffic.query_len();
        match client.kind {
            // It is as good as gone.
            ClientKind::Replica if client.closing != Closing::No => {}
            ClientKind::Replica => shares.clients_replicas += bytes as u64,
            ClientKind::Normal | ClientKind::Master => {
                shares.clients_normal += (bytes + client.traffic.unwritten_len()) as u64;
            }
        }
    }
    let memory = &engine.stats.memory;
    // Keys and short values lie in the table itself, so the table is data.
    shares.overhead =
        memory.startup + shares.replication_backlog + shares.clients_normal + shares.clients_replicas;
    shares.dataset = memory.allocated.saturating_sub(shares.overhead);
    shares
}

/// `part` of `whole`, as a quotient; 0 of nothing.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// `MEMORY STATS`
fn stats(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    engine.measure_memory();
    let (memory, shares) = (engine.stats.memory, shares(engine));
    let keys = engine.keyspace.keys_len() as u64;
    let net = memory.allocated.saturating_sub(memory.startup);
    let dbs: Vec<(usize, u64)> = engine
        .keyspace
        .dbs()
        .enumerate()
        .filter(|(_, db)| !db.is_empty())
        .map(|(index, db)| (index, db.table_bytes() as u64))
        .collect();
    let Some(client) = engine.clients.get_mut(id) else { return Ok(Flow::Done) };
    let mut reply = client.reply();
    enum Figure {
        Count(u64),
        Difference(i64),
        Quotient(f64),
    }
    use Figure::{Count, Difference, Quotient};
    let difference = |a: u64, b: u64| Difference(a as i64 - b as i64);
    let before_dbs = [
        ("peak.allocated", Count(memory.peak)),
        ("total.allocated", Count(memory.allocated)),
        ("startup.allocated", Count(memory.startup)),
        ("replication.backlog", Count(shares.replication_backlog)),
        ("clients.slaves", Count(shares.clients_replicas)),
        ("clients.normal", Count(shares.clients_normal)),
        ("cluster.links", Count(0)),
        ("aof.buffer", Count(0)),
        ("lua.caches", Count(0)),
        ("functions.caches", Count(0)),
    ];
    let after_dbs = [
        ("overhead.total", Count(shares.overhead)),
        ("keys.count", Count(keys)),
        ("keys.bytes-per-key", Count(net.checked_div(keys).unwrap_or(0))),
        ("dataset.bytes", Count(shares.dataset)),
        ("dataset.percentage", Quotient(100.0 * ratio(shares.dataset, net))),
        ("peak.percentage", Quotient(100.0 * ratio(memory.allocated, memory.peak))),
        ("allocator.allocated", Count(memory.handed_out)),
        ("allocator.active", Count(memory.active)),
        ("allocator.resident", Count(memory.resident)),
        ("allocator-fragmentation.ratio", Quotient(ratio(memory.active, memory.handed_out))),
        ("allocator-fragmentation.bytes", difference(memory.active, memory.handed_out)),
        ("allocator-rss.ratio", Quotient(ratio(memory.resident, memory.active))),
        ("allocator-rss.bytes", difference(memory.resident, memory.active)),
        ("rss-overhead.ratio", Quotient(ratio(memory.rss, memory.resident))),
        ("rss-overhead.bytes", difference(memory.rss, memory.resident)),
        ("fragmentation", Quotient(ratio(memory.rss, memory.allocated))),
        ("fragmentation.bytes", difference(memory.rss, memory.allocated)),
    ];
    reply.map(before_dbs.len() + dbs.len() + after_dbs.len());
    let write = |reply: &mut crate::resp::reply::Reply<'_>, name: &str, figure: &Figure| {
        reply.bulk(name);
        match *figure {
            Count(n) => reply.integer(n as i64),
            Difference(n) => reply.integer(n),
            Quotient(n) => reply.double(n),
        }
    };
    for (name, figure) in &before_dbs {
        write(&mut reply, name, figure);
    }
    for (index, table_bytes) in dbs {
        reply.bulk(format!("db.{index}"));
        reply.map(3);
        write(&mut reply, "overhead.hashtable.main", &Count(table_bytes));
        // The expiry lies in the key's own entry, and there are no slots.
        write(&mut reply, "overhead.hashtable.expires", &Count(0));
        write(&mut reply, "overhead.hashtable.slot-to-keys", &Count(0));
    }
    for (name, figure) in &after_dbs {
        write(&mut reply, name, figure);
    }
    Ok(Flow::Done)
}

/// `MEMORY DOCTOR`
fn doctor(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    engine.measure_memory();
    const SMALL_BYTES: u64 = 5 << 20;
    const MARGIN_BYTES: u64 = 10 << 20;
    let (memory, shares) = (engine.stats.memory, shares(engine));
    let mut text = String::new();
    if memory.allocated < SMALL_BYTES {
        text.push_str("This server holds next to nothing: there is too little to judge by.\n");
    } else {
        if memory.peak > memory.allocated + memory.allocated / 2 {
            text.push_str("Peak: memory was once used half as much again as it is; it may stay resident.\n");
        }
        if memory.rss > memory.allocated + memory.allocated * 2 / 5
            && memory.rss > memory.allocated + MARGIN_BYTES
        {
            text.push_str("Fragmentation: the resident set is much larger than what is allocated.\n");
        }
        let clients = engine.clients.len().max(1) as u64;
        if shares.clients_normal / clients > 200 << 10 {
            text.push_str("Clients: their buffers take over 200 KB each.\n");
        }
        if shares.clients_replicas > MARGIN_BYTES {
            text.push_str("Replicas: their buffers are large; some may be too slow.\n");
        }
        if text.is_empty() {
            text.push_str("Nothing about the memory of this server is noteworthy.\n");
        }
    }
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().verbatim("txt", text);
    }
    Ok(Flow::Done)
}

/// `MEMORY PURGE`: the allocator gives back by itself, seconds after memory was last used.
fn purge(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    super::config::reply_ok(engine, id);
    Ok(Flow::Done)
}

/// `MEMORY MALLOC-STATS`
fn malloc_stats(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    engine.measure_memory();
    let memory = engine.stats.memory;
    let text = format!(
        "jemalloc\nallocated {}\nactive {}\nresident {}\n",
        memory.allocated, memory.active, memory.resident
    );
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().verbatim("txt", text);
    }
    Ok(Flow::Done)
}

fn help_text(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    help::answer(
        engine,
        id,
        "MEMORY",
        &[
            ("DOCTOR", &["Tell in words what is noteworthy."]),
            ("MALLOC-STATS", &["Show the allocator's statistics."]),
            ("PURGE", &["Ask the allocator to give unused memory back."]),
            ("STATS", &["Show what memory is used for."]),
            (
                "USAGE <key> [SAMPLES <count>]",
                &["Tell how many bytes a key takes with its value.", "The number of samples has no effect."],
            ),
        ],
    );
    Ok(Flow::Done)
}
