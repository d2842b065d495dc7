//! The sections server, clients, cpu and keyspace.

use super::Lines;
use crate::config::REDIS_VERSION;
use crate::engine::Engine;
use crate::engine::client::ClientKind;

pub(super) fn server(engine: &Engine, lines: &mut Lines) {
    let (process, config) = (&engine.process, &engine.config);
    let uptime_seconds = (engine.now().0 - engine.stats.started_at.0) / 1000;
    lines.title("Server");
    lines.field("redis_version", REDIS_VERSION);
    lines.field("russet_version", env!("CARGO_PKG_VERSION"));
    lines.field("redis_git_sha1", "00000000");
    lines.field("redis_git_dirty", 0);
    lines.field("redis_build_id", "0000000000000000");
    lines.field("redis_mode", "standalone");
    lines.field("os", &process.os);
    lines.field("arch_bits", usize::BITS);
    lines.field("monotonic_clock", "processor time stamp or clock_gettime");
    lines.field("multiplexing_api", "epoll");
    lines.field("atomicvar_api", "rust");
    lines.field("gcc_version", "0.0.0");
    lines.field("process_id", process.id);
    lines.field("process_supervised", "no");
    lines.field("run_id", engine.run_id);
    lines.field("tcp_port", config.port);
    lines.field("server_time_usec", engine.time.unix_micros());
    lines.field("uptime_in_seconds", uptime_seconds);
    lines.field("uptime_in_days", uptime_seconds / 86_400);
    lines.field("hz", config.hz);
    lines.field("configured_hz", config.hz);
    lines.field("lru_clock", (engine.now().0 / 1000) & 0xff_ffff);
    lines.field("executable", &process.executable);
    lines.field("config_file", &process.config_file);
    lines.flag("io_threads_active", process.is_multi_threaded);
    if let Some(wait_ms) = engine.shutdown_wait_ms() {
        lines.field("shutdown_in_milliseconds", wait_ms);
    }
    let mut listeners = 0;
    let mut listener = |text: String| {
        lines.field(&format!("listener{listeners}"), text);
        listeners += 1;
    };
    if config.port != 0 {
        let binds: String = config.bind.iter().map(|name| format!(",bind={name}")).collect();
        listener(format!("name=tcp{binds},port={}", config.port));
    }
    if !config.unixsocket.is_empty() {
        listener(format!("name=unix,bind={}", config.unixsocket));
    }
}

pub(super) fn clients(engine: &Engine, lines: &mut Lines) {
    let clients = &engine.clients;
    let normal = clients.iter().filter(|client| client.kind == ClientKind::Normal);
    let timed = clients
        .iter()
        .filter(|client| client.blocked.as_deref().is_some_and(|state| state.deadline.is_some()));
    let blocking_keys = engine.blocked.keys_len();
    lines.title("Clients");
    lines.field("connected_clients", normal.count());
    lines.field("cluster_connections", 0);
    lines.field("maxclients", engine.config.maxclients);
    let largest = |of: fn(&crate::engine::Client) -> usize| clients.iter().map(of).max().unwrap_or(0);
    lines.field("client_recent_max_input_buffer", largest(|client| client.traffic.query_len()));
    lines.field(
        "client_recent_max_output_buffer",
        largest(|client| client.out.len() + client.traffic.unwritten_len()),
    );
    lines.field("blocked_clients", engine.blocked.len);
    lines.field("tracking_clients", 0);
    lines.field("pubsub_clients", clients.iter().filter(|client| client.subscriptions_len() > 0).count());
    lines.field("watching_clients", clients.iter().filter(|client| !client.watching.is_empty()).count());
    lines.field("clients_in_timeout_table", timed.count());
    lines.field("total_watched_keys", engine.watched.len());
    lines.field("total_blocking_keys", blocking_keys);
    lines.field("total_blocking_keys_on_nokey", engine.blocked.keys_without_value_len());
}

pub(super) fn cpu(engine: &Engine, lines: &mut Lines) {
    let cpu = engine.stats.cpu;
    lines.title("CPU");
    lines.field("used_cpu_sys", format!("{:.6}", cpu.system));
    lines.field("used_cpu_user", format!("{:.6}", cpu.user));
    // There are no child processes, and no thread is the main one.
    lines.field("used_cpu_sys_children", "0.000000");
    lines.field("used_cpu_user_children", "0.000000");
    lines.field("used_cpu_sys_main_thread", format!("{:.6}", cpu.system));
    lines.field("used_cpu_user_main_thread", format!("{:.6}", cpu.user));
}

pub(super) fn keyspace(engine: &Engine, lines: &mut Lines) {
    /// Keys that are looked at for the mean time to live.
    const SAMPLES: usize = 256;
    let now = engine.now().0;
    lines.title("Keyspace");
    for (index, db) in engine.keyspace.dbs().enumerate().filter(|(_, db)| !db.is_empty()) {
        let (mut total, mut count) = (0, 0);
        if db.expires_len() > 0 {
            for at in db.iter().take(SAMPLES).filter_map(|item| item.expires_at) {
                total += (at - now).max(0);
                count += 1;
            }
        }
        let mean_ms = total.checked_div(count).unwrap_or(0);
        let (keys, expires, hashes) = (db.len(), db.expires_len(), db.volatile_hashes_len());
        lines.field(
            &format!("db{index}"),
            format!("keys={keys},expires={expires},avg_ttl={mean_ms},subexpiry={hashes}"),
        );
    }
}
