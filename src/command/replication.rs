//! Commands that make and tell of replication.

use super::options::integer;
use super::spec::*;
use crate::base::clock::UnixMillis;
use crate::base::number::{parse_i64, parse_u64};
use crate::engine::blocked::{BlockedOn, BlockedState};
use crate::engine::client::ClientKind;
use crate::engine::failover::FailoverRequest;
use crate::engine::{ClientId, Engine, LogLevel, TimeoutReply};
use crate::replication::feed::ReplicaFeed;
use crate::replication::psync::{Cause, NO_MASTER_LINK, Psync, PsyncRequest};
use crate::replication::replica::MasterAddr;
use crate::replication::replica_manager::{AttachedReplica, ReplicaId, SnapshotFilter};
use crate::replication::replid::ReplIds;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::engine(
        "replicaof",
        3,
        ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING | DANGEROUS,
        "server",
        replicaof,
    )
    .docs("5.0.0", "O(1)", "Makes the server a replica of another, or a master.", "<host port | NO ONE>"),
    CommandSpec::engine(
        "slaveof",
        3,
        ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING | DANGEROUS,
        "server",
        replicaof,
    )
    .docs("1.0.0", "O(1)", "The older name of REPLICAOF.", "<host port | NO ONE>")
    .deprecated("5.0.0", "`REPLICAOF`"),
    CommandSpec::engine("failover", -1, ADMIN | NOSCRIPT | STALE, "server", failover).docs(
        "6.2.0",
        "O(1)",
        "Hands the part of the master to a replica, without losing a write.",
        "[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
    ),
    CommandSpec::engine("role", 1, NOSCRIPT | LOADING | STALE | FAST | DANGEROUS, "server", role).docs(
        "2.8.12",
        "O(1)",
        "Tells whether the server is a master or a replica, and of whom.",
        "",
    ),
    CommandSpec::engine(
        "replconf",
        -1,
        ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY | DANGEROUS,
        "server",
        replconf,
    )
    .docs("3.0.0", "O(1)", "What the two ends of a replication link tell each other.", "")
    .for_the_system(),
    CommandSpec::engine(
        "psync",
        -3,
        ADMIN | NOSCRIPT | NO_MULTI | NO_ASYNC_LOADING | DANGEROUS,
        "server",
        psync,
    )
    .docs("2.8.0", "O(1)", "Asks for the replication stream from an offset on.", "replicationid offset"),
    CommandSpec::engine(
        "sync",
        1,
        ADMIN | NOSCRIPT | NO_MULTI | NO_ASYNC_LOADING | DANGEROUS,
        "server",
        sync,
    )
    .docs("1.0.0", "O(1)", "Asks for a snapshot and the replication stream behind it.", ""),
    CommandSpec::engine("wait", 3, BLOCKING, "generic", wait)
        .docs(
            "3.0.0",
            "O(1)",
            "Waits until replicas have acknowledged the writes of this connection.",
            "numreplicas timeout",
        )
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
    CommandSpec::engine("waitaof", 4, BLOCKING, "generic", waitaof)
        .docs(
            "7.2.0",
            "O(1)",
            "Waits until the writes of this connection are on disk, here and on replicas.",
            "numlocal numreplicas timeout",
        )
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
];

/// `REPLICAOF host port | NO ONE`
fn replicaof(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if engine.failover.is_some() {
        return Err(ErrorReply::fixed("ERR REPLICAOF not allowed while failing over."));
    }
    let from = engine.clients.get(id).map(|client| client.addr.clone()).unwrap_or_default();
    let reply = if args.is(1, "no") && args.is(2, "one") {
        if !engine.role.is_master() {
            engine.stop_following();
            engine.log(LogLevel::Notice, format!("MASTER MODE enabled (user request from '{from}')"));
        }
        "OK"
    } else {
        let port = parse_i64(args.bytes(2)).and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or(ErrorReply::fixed("ERR Invalid master port"))?;
        let host = String::from_utf8_lossy(args.bytes(1)).into_owned();
        let master = MasterAddr { host, port };
        if engine.clients.get(id).is_some_and(|client| client.kind == ClientKind::Replica) {
            return Err(ErrorReply::fixed("ERR Command is not valid when client is a replica."));
        }
        if engine.role.as_replica().is_some_and(|replica| replica.master == master) {
            "OK Already connected to specified master"
        } else {
            let to = format!("{}:{}", master.host, master.port);
            engine.follow(master);
            engine.log(LogLevel::Notice, format!("REPLICAOF {to} enabled (user request from '{from}')"));
            "OK"
        }
    };
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().simple(reply);
    }
    Ok(Flow::Done)
}

/// `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]`
fn failover(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if args.len() == 2 && args.is(1, "abort") {
        if !engine.abort_failover("Failover manually aborted") {
            return Err(ErrorReply::fixed("ERR No failover in progress."));
        }
    } else {
        engine.begin_failover(failover_request(args)?)?;
    }
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().ok();
    }
    Ok(Flow::Done)
}

fn failover_request(args: &Args<'_>) -> Result<FailoverRequest, ErrorReply> {
    let mut request = FailoverRequest::default();
    let mut index = 1;
    while index < args.len() {
        let following = args.len() - index - 1;
        if args.is(index, "timeout") && following >= 1 && request.timeout_ms.is_none() {
            let timeout_ms = integer(args.bytes(index + 1))?;
            if timeout_ms <= 0 {
                return Err(ErrorReply::fixed("ERR FAILOVER timeout must be greater than 0"));
            }
            request.timeout_ms = Some(timeout_ms);
            index += 2;
        } else if args.is(index, "to") && following >= 2 && request.target.is_none() {
            let host = String::from_utf8_lossy(args.bytes(index + 1)).into_owned();
            let port = integer(args.bytes(index + 2))?;
            // A port that is none is no replica's.
            request.target = Some(MasterAddr { host, port: u16::try_from(port).unwrap_or(0) });
            index += 3;
        } else if args.is(index, "force") && !request.force {
            request.force = true;
            index += 1;
        } else {
            return Err(ErrorReply::SYNTAX);
        }
    }
    Ok(request)
}

/// `ROLE`
fn role(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let Engine { role, clients, .. } = engine;
    let Some(client) = clients.get_mut(id) else { return Ok(Flow::Done) };
    let mut reply = client.reply();
    match role.as_replica() {
        None => {
            let stream = role.stream();
            reply.array(3);
            reply.bulk("master");
            reply.integer(stream.log.end_offset().0 as i64);
            reply.array(stream.replicas.online().count());
            for replica in stream.replicas.online() {
                reply.array(3);
                reply.bulk(replica.ip());
                reply.bulk_integer(i64::from(replica.listening_port));
                reply.bulk_integer(replica.acked().0 as i64);
            }
        }
        Some(replica) => {
            reply.array(5);
            reply.bulk("slave");
            reply.bulk(&replica.master.host);
            reply.integer(i64::from(replica.master.port));
            reply.bulk(replica.link().name());
            reply.integer(replica.role_offset());
        }
    }
    Ok(Flow::Done)
}

/// `REPLCONF option value [option value ...]`
fn replconf(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if args.len().is_multiple_of(2) {
        return Err(ErrorReply::SYNTAX);
    }
    let mut is_answered = true;
    for option in (1..args.len()).step_by(2) {
        let value = args.bytes(option + 1);
        if args.is(option, "ack") {
            // Not a question: it has no answer, not even a wrong one.
            is_answered = false;
            if let Some(offset) = parse_u64(value) {
                let has_fsynced = args.is(option + 2, "fack");
                let fsynced = args.get(option + 3).filter(|_| has_fsynced).and_then(parse_u64);
                engine.note_ack(id, offset, fsynced);
            }
            break;
        } else if args.is(option, "getack") {
            is_answered = false;
        } else if args.is(option, "listening-port") {
            let port = integer(value)?;
            registered(engine, id).listening_port =
                u16::try_from(port).map_err(|_| ErrorReply::NOT_AN_INTEGER)?;
        } else if args.is(option, "ip-address") {
            if value.len() > 255 {
                return Err(ErrorReply::new(format!(
                    "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    value.len()
                )));
            }
            registered(engine, id).announced_ip = Some(String::from_utf8_lossy(value).into_owned());
        } else if args.is(option, "rdb-only") {
            // Who asks for the snapshot alone hangs up when it has it.
            integer(value)?;
        } else if args.is(option, "rdb-filter-only") {
            let mut filter = SnapshotFilter::Nothing;
            for word in value.split(|&c| c == b' ').filter(|word| !word.is_empty()) {
                if !word.eq_ignore_ascii_case(b"functions") {
                    let word = String::from_utf8_lossy(word);
                    return Err(ErrorReply::new(format!("ERR Unsupported rdb-filter-only option: {word}")));
                }
                filter = SnapshotFilter::Functions;
            }
            registered(engine, id).capabilities.filter = filter;
        } else if args.is(option, "capa") {
            registered(engine, id).capabilities.add(value);
        } else {
            let word = String::from_utf8_lossy(args.bytes(option)).into_owned();
            return Err(ErrorReply::new(format!("ERR Unrecognized REPLCONF option: {word}")));
        }
    }
    if is_answered && let Some(client) = engine.clients.get_mut(id) {
        client.reply().ok();
    }
    Ok(Flow::Done)
}

/// What this connection has said of itself as a replica.
fn registered(engine: &mut Engine, id: ClientId) -> &mut AttachedReplica {
    let addr = engine.clients.get(id).map(|client| client.addr.clone()).unwrap_or_default();
    let ip = addr.rsplit_once(':').map_or(addr.as_str(), |(ip, _)| ip).trim_matches(['[', ']']);
    engine.role.stream_mut().replicas.register(ReplicaId(id.0), ip)
}

/// `PSYNC replicationid offset`
fn psync(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if args.len() > 3 && args.is(3, "failover") {
        take_over(engine, id, args)?;
    }
    if !may_begin_sync(engine, id)? {
        return Ok(Flow::Done);
    }
    registered(engine, id);
    let request = PsyncRequest::parse(args.bytes(1), args.bytes(2)).inspect_err(|_| {
        let name = engine.replica_name(id);
        let line = format!("Replica {name} asks for synchronization but with a wrong offset");
        engine.log(LogLevel::Warning, line);
    })?;
    let decision = engine.role.stream().psync(request);
    let name = engine.replica_name(id);
    match decision {
        Psync::Continue { from } => {
            let now = engine.now();
            let stream = engine.role.stream_mut();
            let bytes = stream.log.end_offset().0 - from.0;
            let is_psync2 =
                stream.replicas.get(ReplicaId(id.0)).is_some_and(|replica| replica.capabilities.psync2);
            let feed = ReplicaFeed::partial_resync(stream.ids.replid(), from, is_psync2);
            stream.replicas.attach(ReplicaId(id.0), feed, now);
            engine.stats.sync_partial_ok += 1;
            engine.log(
                LogLevel::Notice,
                format!(
                    "Partial resynchronization request from {name} accepted. Sending {bytes} bytes of backlog \
                     starting from offset {}.",
                    from.next_byte()
                ),
            );
            engine.become_replica(id);
        }
        Psync::FullResync(cause) => {
            if args.bytes(1) != b"?" {
                engine.stats.sync_partial_err += 1;
            }
            let line = refusal_of_partial(cause, &name, request, &engine.role.stream().ids);
            engine.log(LogLevel::Notice, line);
            engine.begin_full_sync(id, true);
        }
    }
    Ok(Flow::Done)
}

/// Why a replica gets everything.
fn refusal_of_partial(cause: Cause, name: &str, request: PsyncRequest<'_>, ids: &ReplIds) -> String {
    let asked = String::from_utf8_lossy(request.replid);
    match cause {
        Cause::Requested => format!("Full resync requested by replica {name}"),
        Cause::OtherHistory => format!(
            "Partial resynchronization not accepted: Replication ID mismatch (Replica {name} asked for '{asked}' from \
             offset {}, my replication IDs are '{}' and, below offset {}, '{}')",
            request.offset,
            ids.replid(),
            ids.second_repl_offset(),
            ids.replid2(),
        ),
        Cause::NotHeld => format!(
            "Unable to partial resync with replica {name} for lack of backlog (Replica request was: {})",
            request.offset
        ),
    }
}

/// The master asks this replica to take its place: `PSYNC replicationid offset FAILOVER`.
fn take_over(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> Result<(), ErrorReply> {
    let replid = String::from_utf8_lossy(args.bytes(1)).into_owned();
    engine.log(LogLevel::Notice, format!("Failover request received for replid {replid}."));
    if engine.role.is_master() {
        return Err(ErrorReply::fixed("ERR PSYNC FAILOVER can't be sent to a master."));
    }
    if !args.bytes(1).eq_ignore_ascii_case(engine.role.stream().ids.replid().as_bytes()) {
        return Err(ErrorReply::fixed("ERR PSYNC FAILOVER replid must match my replid."));
    }
    engine.stop_following();
    let line = engine.clients.get(id).map(|client| engine.client_line(client)).unwrap_or_default();
    engine.log(LogLevel::Notice, format!("MASTER MODE enabled (failover request from '{line}')"));
    Ok(())
}

/// `SYNC`
fn sync(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    if may_begin_sync(engine, id)? {
        registered(engine, id);
        engine.begin_full_sync(id, false);
    }
    Ok(Flow::Done)
}

/// Whether a sync can begin; not twice on one connection, and not without data of our own.
fn may_begin_sync(engine: &mut Engine, id: ClientId) -> Result<bool, ErrorReply> {
    let Some(client) = engine.clients.get(id) else { return Ok(false) };
    if client.kind != ClientKind::Normal {
        return Ok(false);
    }
    if engine.failover.is_some() {
        return Err(ErrorReply::fixed("NOMASTERLINK Can't SYNC while failing over"));
    }
    if engine.role.as_replica().is_some_and(|replica| !replica.is_up()) {
        return Err(NO_MASTER_LINK);
    }
    if client.output_bytes() > 0 {
        return Err(ErrorReply::fixed("ERR SYNC and PSYNC are invalid with pending output"));
    }
    Ok(true)
}

/// `WAIT numreplicas timeout`
fn wait(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if !engine.role.is_master() {
        return Err(ErrorReply::fixed(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
             configured to be writable (which is not the default) writes to replicas are just local and are not \
             propagated.",
        ));
    }
    let needed = integer(args.bytes(1))?;
    let deadline = wait_deadline(engine.now(), args.bytes(2))?;
    let Some(client) = engine.clients.get(id) else { return Ok(Flow::Done) };
    let (offset, in_transaction) =
        (client.last_write_offset, client.is_executing_transaction || engine.nesting > 0);
    let acknowledged = engine.acknowledged_replicas(offset);
    if acknowledged as i64 >= needed || in_transaction {
        if let Some(client) = engine.clients.get_mut(id) {
            client.reply().integer(acknowledged as i64);
        }
        return Ok(Flow::Done);
    }
    let on = BlockedOn::Replicas { offset, needed: needed as usize };
    let state = BlockedState { on, deadline, on_timeout: TimeoutReply::AcknowledgedReplicas };
    engine.blocked.block(&mut engine.clients, id, state);
    engine.waiting_for_acks.push(id);
    engine.request_acks();
    Ok(Flow::Parked)
}

/// `WAITAOF numlocal numreplicas timeout`
fn waitaof(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let local = integer(args.bytes(1))?;
    let local = u64::try_from(local)
        .ok()
        .filter(|&local| local <= 1)
        .ok_or(ErrorReply::fixed("ERR value is out of range, value must between 0 and 1"))?;
    let replicas = parse_i64(args.bytes(2)).and_then(|replicas| usize::try_from(replicas).ok());
    let replicas = replicas.ok_or(ErrorReply::OUT_OF_RANGE_POSITIVE)?;
    let deadline = wait_deadline(engine.now(), args.bytes(3))?;
    if !engine.role.is_master() {
        return Err(ErrorReply::fixed(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just \
             local and are not propagated.",
        ));
    }
    if local > 0 && !engine.aof.is_enabled() {
        return Err(ErrorReply::WAITAOF_WITHOUT_AOF);
    }
    let Some(client) = engine.clients.get(id) else { return Ok(Flow::Done) };
    let (offset, in_transaction) =
        (client.last_write_offset, client.is_executing_transaction || engine.nesting > 0);
    let found = engine.aof_acknowledged(offset);
    if (found.0 >= local && found.1 >= replicas) || in_transaction {
        engine.reply_disks(id, found);
        return Ok(Flow::Done);
    }
    let on = BlockedOn::Disks { offset, local, replicas };
    let state = BlockedState { on, deadline, on_timeout: TimeoutReply::AcknowledgedDisks };
    engine.blocked.block(&mut engine.clients, id, state);
    engine.park_for_aof(id);
    if found.1 < replicas {
        engine.request_acks();
    }
    Ok(Flow::Parked)
}

/// When a wait of `timeout` milliseconds ends; none for 0.
fn wait_deadline(now: UnixMillis, timeout: &[u8]) -> Result<Option<UnixMillis>, ErrorReply> {
    let timeout_ms = parse_i64(timeout).ok_or(ErrorReply::TIMEOUT_NOT_AN_INTEGER)?;
    match timeout_ms {
        ..0 => Err(ErrorReply::TIMEOUT_NEGATIVE),
        0 => Ok(None),
        ms => {
            let at = now.0.checked_add(ms).ok_or(ErrorReply::fixed("ERR timeout is out of range"))?;
            Ok(Some(UnixMillis(at)))
        }
    }
}
