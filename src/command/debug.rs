//! DEBUG: what tests ask for. Sub-commands are words of one protected command, as in Redis.

use std::time::Duration;

use super::config::{reply_ok, rewrite_file, wait_inside};
use super::context::Ctx;
use super::help;
use super::long_read;
use super::options::integer;
use super::spec::*;
use super::table::{Lookup, TABLE};
use crate::base::glob;
use crate::base::hex::hex;
use crate::base::number::{parse_f64, parse_i64};
use crate::config::RewriteScope;
use crate::engine::job::Crash;
use crate::engine::{ClientId, Engine, InsideJob, Job, LogLevel};
use crate::persistence::rdb::{Trust, dump_value};
use crate::persistence::snapshot::{self, Duplicates};
use crate::replication::replid::{ReplId, ReplIds};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::{NewExpiry, ValueRef, digest};

pub(super) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::engine("debug", -2, ADMIN | NOSCRIPT | LOADING | STALE | PROTECTED, "server", debug)
        .docs(
            "1.0.0",
            "Depends on subcommand.",
            "Looks into the server and disturbs it, for tests.",
            "subcommand [argument [argument ...]]",
        )
        .for_the_system()];

/// A sub-command: its name, its number of arguments with both names, its handler.
type Subcommand = (&'static str, std::ops::RangeInclusive<usize>, Run);

#[derive(Clone, Copy)]
enum Run {
    /// On the data of the client's database.
    Data(fn(&mut Ctx<'_>, &Args<'_>) -> CommandResult),
    Engine(fn(&mut Engine, ClientId, &Args<'_>) -> CommandResult),
    /// Accepted without effect: it steers something that this server does not have.
    Nothing,
}

const ANY: usize = usize::MAX;

const SUBCOMMANDS: &[Subcommand] = &[
    ("assert", 2..=2, Run::Engine(|engine, id, _| crash(engine, id, Crash::Panic("DEBUG ASSERT")))),
    ("aof-flush-sleep", 3..=3, Run::Engine(aof_flush_delay)),
    ("change-repl-id", 2..=2, Run::Engine(change_repl_id)),
    ("client-enforce-reply-list", 3..=3, Run::Nothing),
    ("config-rewrite-force-all", 2..=2, Run::Engine(config_rewrite_force_all)),
    ("dict-resizing", 3..=3, Run::Nothing),
    ("digest", 2..=2, Run::Engine(digest_all)),
    ("digest-value", 2..=ANY, Run::Data(digest_values)),
    ("drop-cluster-packet-filter", 3..=3, Run::Engine(drop_cluster_packet_filter)),
    ("error", 3..=3, Run::Engine(error)),
    ("help", 2..=2, Run::Engine(help_text)),
    ("htstats", 3..=4, Run::Engine(htstats)),
    ("htstats-key", 3..=4, Run::Data(htstats_key)),
    ("listpack", 3..=3, Run::Data(listpack)),
    ("loadaof", 2..=2, Run::Engine(loadaof)),
    ("log", 3..=3, Run::Engine(log)),
    ("mallctl", 3..=4, Run::Engine(mallctl)),
    ("mallctl-str", 3..=4, Run::Engine(mallctl_str)),
    ("object", 3..=4, Run::Data(object)),
    ("panic", 2..=2, Run::Engine(|engine, id, _| crash(engine, id, Crash::Panic("DEBUG PANIC")))),
    ("pause-cron", 3..=3, Run::Engine(pause_cron)),
    ("populate", 3..=5, Run::Data(populate)),
    ("protocol", 3..=3, Run::Engine(protocol)),
    ("quicklist", 3..=4, Run::Data(quicklist)),
    ("quicklist-packed-threshold", 3..=3, Run::Engine(quicklist_packed_threshold)),
    ("reload", 2..=ANY, Run::Engine(reload)),
    ("replicate", 3..=ANY, Run::Engine(replicate)),
    ("replybuffer", 4..=4, Run::Engine(replybuffer)),
    ("sdslen", 3..=3, Run::Data(sdslen)),
    ("segfault", 2..=2, Run::Engine(|engine, id, _| crash(engine, id, Crash::Fault))),
    ("set-active-expire", 3..=3, Run::Engine(set_active_expire)),
    ("set-disable-deny-scripts", 3..=3, Run::Engine(set_disable_deny_scripts)),
    ("set-skip-checksum-validation", 3..=3, Run::Engine(set_skip_checksum_validation)),
    ("sleep", 3..=3, Run::Engine(stall)),
    ("stringmatch-len", 4..=4, Run::Engine(stringmatch_len)),
    ("structsize", 2..=2, Run::Engine(structsize)),
];

/// `DEBUG subcommand [argument ...]`
fn debug(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let found = SUBCOMMANDS.iter().find(|(name, count, _)| args.is(1, name) && count.contains(&args.len()));
    match found {
        Some((_, _, Run::Engine(run))) => run(engine, id, args),
        Some((_, _, Run::Nothing)) => {
            reply_ok(engine, id);
            Ok(Flow::Done)
        }
        Some((_, _, Run::Data(run))) => {
            let Some(db_index) = engine.clients.get(id).map(|client| client.db_index) else {
                return Ok(Flow::Done);
            };
            let expiry = engine.expiry_policy_for(id);
            match Ctx::new(engine, id, db_index, expiry) {
                Some(mut ctx) => run(&mut ctx, args),
                None => Ok(Flow::Done),
            }
        }
        None => Err(unknown(args)),
    }
}

fn unknown(args: &Args<'_>) -> ErrorReply {
    ErrorReply::new(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try DEBUG HELP.",
        String::from_utf8_lossy(&args.bytes(1)[..args.bytes(1).len().min(128)])
    ))
}

/// Calls `write` with the client's reply.
fn with_reply(engine: &mut Engine, id: ClientId, write: impl FnOnce(&mut Reply<'_>)) -> CommandResult {
    if let Some(client) = engine.clients.get_mut(id) {
        write(&mut client.reply());
    }
    Ok(Flow::Done)
}

fn done(engine: &mut Engine, id: ClientId) -> CommandResult {
    reply_ok(engine, id);
    Ok(Flow::Done)
}

/// `DEBUG SEGFAULT`, `DEBUG PANIC` and `DEBUG ASSERT`: the process dies.
fn crash(engine: &mut Engine, id: ClientId, crash: Crash) -> CommandResult {
    engine.jobs.push(Job::Crash(crash));
    engine.wait_for_job(id);
    Ok(Flow::Parked)
}

/// `DEBUG SLEEP seconds`: the whole server stands still.
fn stall(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let seconds = parse_f64(args.bytes(2)).unwrap_or(0.0);
    let duration = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    engine.time.wait(duration);
    done(engine, id)
}

/// `DEBUG REPLICATE word [word ...]`: tells replicas a command that was not run here.
fn replicate(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if engine.role.is_master() {
        let words: Vec<&[u8]> = args.from(2).iter().collect();
        engine.role.stream_mut().log.append_request(words.iter());
    }
    done(engine, id)
}

fn set_active_expire(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    engine.active_expire_enabled = is_on(args.bytes(2));
    done(engine, id)
}

/// `DEBUG CONFIG-REWRITE-FORCE-ALL`: CONFIG REWRITE with a line for every parameter.
fn config_rewrite_force_all(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    rewrite_file(engine, id, RewriteScope::All)
}

fn set_skip_checksum_validation(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    engine.dump_trust = if is_on(args.bytes(2)) { Trust::Checksum } else { Trust::Nothing };
    done(engine, id)
}

/// `DEBUG SET-DISABLE-DENY-SCRIPTS <0 | 1>`
fn set_disable_deny_scripts(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    engine.scripting.allows_everything = is_on(args.bytes(2));
    done(engine, id)
}

fn pause_cron(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    engine.is_cron_paused = is_on(args.bytes(2));
    done(engine, id)
}

/// As C's `atoi` has it: what is not a number is 0.
fn is_on(arg: &[u8]) -> bool {
    parse_i64(arg).unwrap_or(0) != 0
}

fn change_repl_id(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    engine.log(LogLevel::Notice, "Changing replication IDs after receiving change-repl-id");
    let replid = ReplId::random(&mut engine.rng);
    engine.role.stream_mut().ids = ReplIds::new(replid);
    done(engine, id)
}

fn digest_all(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if let Lookup::Found(command) = TABLE.lookup_original(args)
        && long_read::begin_on_keyspace(engine, id, usize::from(command), |keyspace, reply| {
            reply.simple(&hex(&digest::of_keyspace(keyspace)));
        })
    {
        return Ok(Flow::Parked);
    }
    let digest = digest::of_keyspace(&engine.keyspace);
    with_reply(engine, id, |reply| reply.simple(&hex(&digest)))
}

/// `DEBUG DIGEST-VALUE key [key ...]`
fn digest_values(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let keys = args.from(2);
    ctx.reply.array(keys.len());
    for key in keys.iter() {
        let has_expiry = ctx.db.expires_at(key).flatten().is_some();
        let digest = ctx.db.peek(key).map_or([0; 20], |value| digest::of_value(value, has_expiry));
        ctx.reply.simple(&hex(&digest));
    }
    Ok(Flow::Done)
}

/// `DEBUG RELOAD [MERGE] [NOFLUSH] [NOSAVE]`
fn reload(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let (mut save, mut flush, mut merge) = (true, true, false);
    for index in 2..args.len() {
        if args.is(index, "merge") {
            merge = true;
        } else if args.is(index, "noflush") {
            flush = false;
        } else if args.is(index, "nosave") {
            save = false;
        } else {
            return Err(ErrorReply::fixed(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    if !save {
        return wait_inside(engine, id, |client| InsideJob::LoadSnapshot { client, flush, merge });
    }
    // Written and read in memory, so that it works without a disk; the file is written as well.
    let bytes = snapshot::write(&engine.keyspace, &engine.snapshot_options(), Vec::new(), || Ok(()))
        .expect("a vector takes all bytes");
    let keyspace = if flush { engine.empty_keyspace() } else { engine.keyspace.clone() };
    let options = engine.load_options(if merge { Duplicates::Replace } else { Duplicates::Refuse });
    let loaded = snapshot::read(&bytes[..], keyspace, &options, |_| ()).map_err(|error| {
        engine.log(LogLevel::Warning, error.to_string());
        ErrorReply::fixed("ERR Error trying to load the RDB dump, check server logs.")
    })?;
    engine.finish_loading(loaded);
    engine.persistence.last_save = engine.now();
    engine.jobs.push(Job::Inside(InsideJob::WriteSnapshot(bytes)));
    engine.log(LogLevel::Warning, "DB reloaded by DEBUG RELOAD");
    done(engine, id)
}

/// `DEBUG AOF-FLUSH-SLEEP microseconds`: the append-only file is written so much later.
fn aof_flush_delay(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let micros = parse_i64(args.bytes(2)).and_then(|micros| u64::try_from(micros).ok());
    engine.aof.flush_delay = Duration::from_micros(micros.unwrap_or(0));
    done(engine, id)
}

/// `DEBUG LOADAOF`
fn loadaof(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    engine.wait_for_job(id);
    engine.reload_aof(id);
    Ok(Flow::Parked)
}

/// `DEBUG OBJECT key`
fn object(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    /// A payload's type byte and its footer, which are not part of the value.
    const FRAME_BYTES: usize = 1 + 10;
    let key = args.bytes(2);
    ctx.db.see_expired();
    let seconds = (ctx.now.0 / 1000) as u32 & 0xff_ffff;
    let encoding = ctx.db.encoding(key).ok_or(ErrorReply::NO_SUCH_KEY)?;
    let stamp = ctx.db.access_stamp(key).unwrap_or(0);
    let value = ctx.db.peek(key).ok_or(ErrorReply::NO_SUCH_KEY)?;
    let length = dump_value(value).len() - FRAME_BYTES;
    let list = match value {
        ValueRef::List(list) if encoding == "quicklist" => format!(
            " ql_nodes:{} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:0 ql_uncompressed_size:{}",
            1.max(list.memory_bytes() / 8192),
            list.len() as f64 / 1.max(list.memory_bytes() / 8192) as f64,
            ctx.config.list_max_listpack_size,
            list.memory_bytes(),
        ),
        _ => String::new(),
    };
    let idle = seconds.wrapping_sub(stamp) & 0xff_ffff;
    // There is no address to show: values move.
    ctx.reply.simple(&format!(
        "Value at:0x0 refcount:1 encoding:{encoding} serializedlength:{length} lru:{stamp} \
         lru_seconds_idle:{idle}{list}"
    ));
    Ok(Flow::Done)
}

/// `DEBUG LISTPACK key`
fn listpack(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let encoding = ctx.db.encoding(args.bytes(2)).ok_or(ErrorReply::NO_SUCH_KEY)?;
    // `listpackex` is that of small hashes whose fields expire.
    if !encoding.starts_with("listpack") {
        return Err(ErrorReply::fixed("ERR Not a listpack encoded object."));
    }
    ctx.reply.simple("Listpack structure printed on stdout");
    Ok(Flow::Done)
}

/// `DEBUG QUICKLIST key [0 | 1]`
fn quicklist(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let encoding = ctx.db.encoding(args.bytes(2)).ok_or(ErrorReply::NO_SUCH_KEY)?;
    if encoding != "quicklist" {
        return Err(ErrorReply::fixed("ERR Not a quicklist encoded object."));
    }
    ctx.reply.simple("Quicklist structure printed on stdout");
    Ok(Flow::Done)
}

/// `DEBUG QUICKLIST-PACKED-THRESHOLD size`: checked; lists here have no such threshold.
fn quicklist_packed_threshold(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let size = std::str::from_utf8(args.bytes(2)).ok().and_then(crate::config::parse_memory);
    if size.is_none_or(|size| size > u64::from(u32::MAX)) {
        return Err(ErrorReply::fixed(
            "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
        ));
    }
    done(engine, id)
}

/// `DEBUG REPLYBUFFER <PEAK-RESET-TIME <milliseconds | NEVER | RESET> | RESIZING <0 | 1>>`: checked; buffers here are given
/// back as soon as they are written, and have no peak.
fn replybuffer(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if args.is(2, "peak-reset-time") {
        if !args.is(3, "never") && !args.is(3, "reset") {
            integer(args.bytes(3))?;
        }
    } else if !args.is(2, "resizing") {
        return Err(unknown(args));
    }
    done(engine, id)
}

/// `DEBUG DROP-CLUSTER-PACKET-FILTER type`: checked; there are no such packets.
fn drop_cluster_packet_filter(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    integer(args.bytes(2))?;
    done(engine, id)
}

const NO_SUCH_ALLOCATOR_VALUE: ErrorReply = ErrorReply::fixed("ERR No such file or directory");

/// `DEBUG MALLCTL name`: of the allocator's many numbers, the size of its pages.
fn mallctl(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if !args.is(2, "arenas.page") || args.len() > 3 {
        return Err(NO_SUCH_ALLOCATOR_VALUE);
    }
    let bytes = engine.process.page_bytes;
    with_reply(engine, id, |reply| reply.integer(bytes as i64))
}

/// `DEBUG MALLCTL-STR name`
fn mallctl_str(_: &mut Engine, _: ClientId, _: &Args<'_>) -> CommandResult {
    Err(NO_SUCH_ALLOCATOR_VALUE)
}

/// `DEBUG SDSLEN key`: key and value take what they are long, and nothing is kept spare behind them.
fn sdslen(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(2);
    let len = match ctx.db.peek(key).ok_or(ErrorReply::NO_SUCH_KEY)? {
        ValueRef::Str(bytes) => bytes.len(),
        _ => return Err(ErrorReply::fixed("ERR Not an sds encoded string.")),
    };
    let key_len = key.len();
    ctx.reply.simple(&format!(
        "key_sds_len:{key_len}, key_sds_avail:0, key_zmalloc: {key_len}, val_sds_len:{len}, val_sds_avail:0, \
         val_zmalloc: {len}"
    ));
    Ok(Flow::Done)
}

/// `DEBUG POPULATE count [prefix] [size]`: not propagated, and no change that a save point counts.
fn populate(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let positive = |arg: &[u8]| {
        parse_i64(arg).and_then(|n| usize::try_from(n).ok()).ok_or(ErrorReply::OUT_OF_RANGE_POSITIVE)
    };
    let count = positive(args.bytes(2))?;
    let prefix = args.get(3).unwrap_or(b"key");
    let size = args.get(4).map(positive).transpose()?.unwrap_or(0);
    let mut number = itoa::Buffer::new();
    for n in 0..count {
        let n = number.format(n).as_bytes();
        let key = [prefix, b":", n].concat();
        if ctx.db.contains(&key) {
            continue;
        }
        let mut value = [b"value:", n].concat();
        if size > 0 {
            value.resize(size, 0);
        }
        ctx.db.set_string(&key, &value, NewExpiry::Clear);
    }
    ctx.propagate_nothing();
    ctx.reply.ok();
    Ok(Flow::Done)
}

/// `DEBUG PROTOCOL type`: a reply of every type that there is.
fn protocol(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let Some(client) = engine.clients.get_mut(id) else { return Ok(Flow::Done) };
    let mut reply = client.reply();
    let name = String::from_utf8_lossy(args.bytes(2)).to_ascii_lowercase();
    match name.as_str() {
        "string" => reply.bulk("Hello World"),
        "integer" => reply.integer(12345),
        "double" => reply.double(3141.0 / 1000.0),
        "null" => reply.null(),
        "array" => {
            reply.array(3);
            (0..3).for_each(|n| reply.integer(n));
        }
        "set" => {
            reply.set(3);
            (0..3).for_each(|n| reply.integer(n));
        }
        "map" => {
            reply.map(3);
            for n in 0..3 {
                reply.integer(n);
                reply.boolean(n == 1);
            }
        }
        "attrib" => {
            if reply.is_resp3() {
                reply.raw(b"|1\r\n");
                reply.bulk("key-popularity");
                reply.array(2);
                reply.bulk("key:123");
                reply.integer(90);
            }
            reply.bulk("Some real reply following the attribute");
        }
        "push" => {
            if !reply.is_resp3() {
                return Err(ErrorReply::fixed("ERR RESP2 is not supported by this command"));
            }
            reply.push(2);
            reply.bulk("server-cpu-usage");
            reply.integer(42);
            reply.bulk("Some real reply following the push reply");
        }
        "verbatim" => reply.verbatim("txt", "This is a verbatim\nstring"),
        "true" => reply.boolean(true),
        "false" => reply.boolean(false),
        "bignum" => {
            const BIG: &str = "1234567999999999999999999999999999999";
            if reply.is_resp3() { reply.raw(format!("({BIG}\r\n").as_bytes()) } else { reply.bulk(BIG) }
        }
        _ => {
            return Err(ErrorReply::fixed(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(Flow::Done)
}

/// `DEBUG ERROR string`
fn error(_: &mut Engine, _: ClientId, args: &Args<'_>) -> CommandResult {
    Err(ErrorReply::new(String::from_utf8_lossy(args.bytes(2))))
}

/// `DEBUG LOG message`
fn log(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    engine.log(LogLevel::Warning, format!("DEBUG LOG: {}", String::from_utf8_lossy(args.bytes(2))));
    done(engine, id)
}

/// `DEBUG HTSTATS dbid`
fn htstats(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let index = parse_i64(args.bytes(2)).ok_or(ErrorReply::NOT_AN_INTEGER)?;
    let index = usize::try_from(index).ok().filter(|&index| index < engine.keyspace.len());
    let index = index.ok_or(ErrorReply::fixed("ERR Out of range database"))?;
    let db = engine.keyspace.db(index);
    let mut text = String::from("[Dictionary HT]\n");
    text.push_str(&table_text(db.len(), db.segments_len()));
    // Expiries lie in the keys' entries: this table is the same, seen by those that have one.
    text.push_str("[Expires HT]\n");
    text.push_str(&table_text(db.expires_len(), db.segments_len()));
    with_reply(engine, id, |reply| reply.verbatim("txt", text))
}

fn table_text(len: usize, segments: usize) -> String {
    if len == 0 {
        return "Hash table 0 stats (main hash table):\nNo stats available for empty dictionaries\n"
            .to_owned();
    }
    format!(
        "Hash table 0 stats (main hash table):\n table size: {}\n number of elements: {len}\n segments: {segments}\n",
        len.next_power_of_two(),
    )
}

/// `DEBUG HTSTATS-KEY key`
fn htstats_key(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let len = match ctx.db.peek(args.bytes(2)).ok_or(ErrorReply::NO_SUCH_KEY)? {
        ValueRef::Hash(hash) if hash.encoding() == "hashtable" => hash.len(),
        ValueRef::Set(set) if set.encoding() == "hashtable" => set.len(),
        ValueRef::SortedSet(sorted_set) if sorted_set.encoding() == "skiplist" => sorted_set.len(),
        _ => {
            return Err(ErrorReply::fixed(
                "ERR The value stored at the specified key is not represented using an hash table",
            ));
        }
    };
    ctx.reply.verbatim("txt", table_text(len, 1));
    Ok(Flow::Done)
}

/// `DEBUG STRINGMATCH-LEN length pattern`: whether as many `a` match.
fn stringmatch_len(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    const LENGTH_MAX: usize = 1 << 20;
    let length = parse_i64(args.bytes(2)).and_then(|n| usize::try_from(n).ok());
    let length = length.filter(|&length| length <= LENGTH_MAX).ok_or(ErrorReply::NOT_AN_INTEGER)?;
    let matches = glob::matches(args.bytes(3), &vec![b'a'; length], glob::Case::Sensitive);
    with_reply(engine, id, |reply| reply.integer(i64::from(matches)))
}

fn structsize(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let text = format!(
        "bits:{} value:{} client:{}",
        usize::BITS,
        size_of::<crate::storage::Value>(),
        size_of::<crate::engine::Client>()
    );
    with_reply(engine, id, |reply| reply.bulk(text))
}

fn help_text(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    help::answer(
        engine,
        id,
        "DEBUG",
        &[
            ("AOF-FLUSH-SLEEP <microseconds>", &["Write the append-only file so much later."]),
            ("ASSERT", &["Die of a failed assertion."]),
            ("CHANGE-REPL-ID", &["Begin a new replication history."]),
            ("CONFIG-REWRITE-FORCE-ALL", &["Rewrite the configuration file with every parameter."]),
            ("DIGEST", &["Show one value that stands for all data."]),
            ("DIGEST-VALUE <key> [<key> ...]", &["Show one such value for each key."]),
            ("ERROR <string>", &["Answer with this error."]),
            ("HTSTATS <dbid>", &["Tell of the table of a database."]),
            ("HTSTATS-KEY <key>", &["Tell of the table of a value."]),
            ("LISTPACK <key>", &["Check that a value is a listpack."]),
            ("LOADAOF", &["Put the append-only file to disk and load it into an empty data set."]),
            ("LOG <message>", &["Write into the log."]),
            ("MALLCTL arenas.page", &["Show the size of the allocator's pages."]),
            ("OBJECT <key>", &["Tell how a value is stored."]),
            ("PANIC", &["Die of a panic."]),
            ("PAUSE-CRON <0|1>", &["Let nothing happen by itself."]),
            ("POPULATE <count> [<prefix>] [<size>]", &["Create keys named <prefix>:<number>."]),
            ("PROTOCOL <type>", &["Answer with a value of this type of the protocol."]),
            ("QUICKLIST <key> [<0|1>]", &["Check that a value is a quicklist."]),
            (
                "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
                &[
                    "Save the data and load it again. NOSAVE loads the file that is there,",
                    "NOFLUSH adds to the data at hand, MERGE lets the file win.",
                ],
            ),
            ("SDSLEN <key>", &["Show how long a key and its string are."]),
            ("SEGFAULT", &["Die of a segmentation fault."]),
            ("SET-ACTIVE-EXPIRE <0|1>", &["Look for expired keys in the background, or not."]),
            ("SLEEP <seconds>", &["Stop the server for so long."]),
            ("STRINGMATCH-LEN <length> <pattern>", &["Match as many letters a against a pattern."]),
            ("STRUCTSIZE", &["Show the sizes of central structures."]),
        ],
    );
    Ok(Flow::Done)
}
