//! The sections persistence, stats, commandstats, errorstats and latencystats.

use super::super::table::TABLE;
use super::{Lines, status};
use crate::engine::{Engine, RunningSync};

/// Whether a replica is being sent a snapshot, which in Redis is the work of a saving child.
fn is_feeding_snapshot(engine: &Engine) -> bool {
    let mut feeds = engine.role.stream().replicas.iter().filter_map(|replica| replica.feed());
    feeds.any(|feed| feed.is_sending_snapshot())
}

pub(super) fn persistence(engine: &Engine, lines: &mut Lines) {
    let (now, persistence) = (engine.now(), &engine.persistence);
    let save = persistence.save.as_ref();
    // One of them, where both are under way.
    let saving = save.map(|save| (save.progress.keys(), save.keys_total));
    let rewriting = engine.aof.rewrite.as_ref().map(|it| (it.progress.keys(), it.keys_total));
    let (processed, total) = saving.or(rewriting).unwrap_or((0, 0));
    let percent = if total == 0 { 0.0 } else { 100.0 * processed as f64 / total as f64 };
    let is_saving = persistence.is_saving_in_background();
    let saving_seconds = save.filter(|_| is_saving).map_or(-1, |save| (now.0 - save.started_at.0) / 1000);
    lines.title("Persistence");
    lines.flag("loading", persistence.loading.is_some());
    // A master's snapshot is loaded beside the data, which goes on answering.
    let is_syncing = engine.role.as_replica().is_some_and(|replica| replica.is_syncing());
    lines.flag("async_loading", is_syncing && persistence.loading.is_none());
    let copied = [
        save.map(|save| save.progress.copied_bytes()),
        engine.aof.rewrite.as_ref().map(|rewrite| rewrite.progress.copied_bytes()),
        engine.running_sync.as_ref().map(RunningSync::copied_bytes),
    ];
    // A snapshot that began earlier has seen whatever a later one has.
    let copied_bytes = copied.into_iter().flatten().max().unwrap_or(0);
    lines.field("current_cow_peak", copied_bytes);
    lines.field("current_cow_size", copied_bytes);
    lines.field("current_cow_size_age", 0);
    lines.field("current_fork_perc", format!("{percent:.2}"));
    lines.field("current_save_keys_processed", processed);
    lines.field("current_save_keys_total", total);
    lines.field("rdb_changes_since_last_save", persistence.dirty);
    lines.flag("rdb_bgsave_in_progress", is_saving || is_feeding_snapshot(engine));
    lines.field("rdb_last_save_time", persistence.last_save.0 / 1000);
    lines.field("rdb_last_bgsave_status", status(persistence.last_save_is_ok));
    lines.field("rdb_last_bgsave_time_sec", persistence.last_save_seconds);
    lines.field("rdb_current_bgsave_time_sec", saving_seconds);
    lines.field("rdb_saves", persistence.saves);
    lines.field("rdb_last_cow_size", persistence.last_copied_bytes);
    lines.field("rdb_last_load_keys_expired", persistence.keys_expired);
    lines.field("rdb_last_load_keys_loaded", persistence.keys_loaded);
    append_only_file(engine, lines);
    let Some(loading) = persistence.loading else { return };
    let (loaded, total) = (loading.loaded_bytes, loading.total_bytes.max(1));
    let elapsed_seconds = (now.0 - loading.started_at.0) / 1000;
    let share = loaded as f64 / total as f64;
    let eta_seconds = if loaded == 0 {
        1
    } else {
        (elapsed_seconds as f64 * total.saturating_sub(loaded) as f64 / loaded as f64) as i64
    };
    lines.field("loading_start_time", loading.started_at.0 / 1000);
    lines.field("loading_total_bytes", loading.total_bytes);
    lines.field("loading_rdb_used_mem", loading.rdb_used_memory);
    lines.field("loading_loaded_bytes", loaded);
    lines.field("loading_loaded_perc", format!("{:.2}", 100.0 * share));
    lines.field("loading_eta_seconds", eta_seconds);
}

fn append_only_file(engine: &Engine, lines: &mut Lines) {
    let (now, aof) = (engine.now(), &engine.aof);
    let rewriting_seconds = aof.rewrite.as_ref().map_or(-1, |rewrite| (now.0 - rewrite.started_at.0) / 1000);
    lines.flag("aof_enabled", aof.is_enabled());
    lines.flag("aof_rewrite_in_progress", aof.rewrite.is_some());
    lines.flag("aof_rewrite_scheduled", aof.is_rewrite_scheduled || aof.is_start_scheduled);
    lines.field("aof_last_rewrite_time_sec", aof.last_rewrite_seconds);
    lines.field("aof_current_rewrite_time_sec", rewriting_seconds);
    lines.field("aof_last_bgrewrite_status", status(aof.last_rewrite_is_ok));
    lines.field("aof_rewrites", aof.rewrites);
    lines.field("aof_rewrites_consecutive_failures", aof.failures_in_a_row);
    lines.field("aof_last_write_status", status(aof.write_error.is_none()));
    lines.field("aof_last_cow_size", aof.last_copied_bytes);
    lines.zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    if !aof.is_enabled() {
        return;
    }
    let end = engine.role.stream().log.end_offset();
    lines.field("aof_current_size", aof.current_bytes);
    lines.field("aof_base_size", aof.base_bytes);
    lines.flag("aof_pending_rewrite", false);
    lines.field("aof_buffer_length", aof.buffered_bytes + aof.untaken_bytes(end));
    lines.flag("aof_pending_bio_fsync", aof.is_syncing());
    lines.field("aof_delayed_fsync", aof.delayed_syncs);
}

pub(super) fn stats(engine: &Engine, lines: &mut Lines) {
    let stats = &engine.stats;
    let kib = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    lines.title("Stats");
    lines.field("total_connections_received", stats.connections_received);
    lines.field("total_commands_processed", stats.commands_processed);
    lines.field("instantaneous_ops_per_sec", stats.rates.commands_per_second());
    lines.field("total_net_input_bytes", stats.net_input_bytes);
    lines.field("total_net_output_bytes", stats.net_output_bytes);
    lines.field("total_net_repl_input_bytes", stats.net_repl_input_bytes);
    lines.field("total_net_repl_output_bytes", stats.net_repl_output_bytes);
    lines.field("instantaneous_input_kbps", kib(stats.rates.input_bytes_per_second()));
    lines.field("instantaneous_output_kbps", kib(stats.rates.output_bytes_per_second()));
    lines.field("instantaneous_input_repl_kbps", kib(0));
    lines.field("instantaneous_output_repl_kbps", kib(0));
    lines.field("rejected_connections", stats.connections_rejected);
    lines.field("sync_full", stats.sync_full);
    lines.field("sync_partial_ok", stats.sync_partial_ok);
    lines.field("sync_partial_err", stats.sync_partial_err);
    lines.field("expired_subkeys", stats.expired_subkeys);
    lines.field("expired_keys", stats.expired_keys);
    lines.field("expired_stale_perc", "0.00");
    lines.zeros(&["expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds"]);
    lines.field("evicted_keys", stats.evicted_keys);
    let (current_ms, total_ms) = engine.eviction_exceeded_ms();
    lines.field("evicted_clients", 0);
    lines.field("evicted_scripts", stats.evicted_scripts);
    lines.field("total_eviction_exceeded_time", total_ms);
    lines.field("current_eviction_exceeded_time", current_ms);
    lines.field("keyspace_hits", stats.keyspace_hits + engine.upkeep.hits);
    lines.field("keyspace_misses", stats.keyspace_misses + engine.upkeep.misses);
    lines.field("pubsub_channels", engine.pubsub.channels.len());
    lines.field("pubsub_patterns", engine.pubsub.patterns.len());
    lines.field("pubsubshard_channels", engine.pubsub.shard_channels.len());
    // A snapshot is a clone, not a fork.
    lines.zeros(&["latest_fork_usec", "total_forks"]);
    lines.field("migrate_cached_sockets", engine.migrate_cached_sockets);
    lines.field("slave_expires_tracked_keys", engine.own_expiries.len());
    lines.zeros(&[
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
        "tracking_total_keys",
        "tracking_total_items",
        "tracking_total_prefixes",
    ]);
    lines.field("unexpected_error_replies", stats.unexpected_error_replies);
    lines.field("total_error_replies", stats.error_replies);
    lines.field("dump_payload_sanitizations", 0);
    lines.field("total_reads_processed", stats.reads);
    lines.field("total_writes_processed", stats.writes);
    lines.zeros(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    lines.field("client_query_buffer_limit_disconnections", stats.query_buffer_limit_disconnections);
    lines.field("client_output_buffer_limit_disconnections", stats.output_buffer_limit_disconnections);
    lines.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
}

pub(super) fn commands(engine: &Engine, lines: &mut Lines) {
    lines.title("Commandstats");
    for (row, stats) in TABLE.rows().iter().zip(&engine.stats.commands) {
        if stats.calls == 0 && stats.rejected == 0 && stats.failed == 0 {
            continue;
        }
        let micros = stats.nanos / 1000;
        let mean = if stats.calls == 0 { 0.0 } else { micros as f64 / stats.calls as f64 };
        lines.field(
            &format!("cmdstat_{}", row.name),
            format!(
                "calls={},usec={micros},usec_per_call={mean:.2},rejected_calls={},failed_calls={}",
                stats.calls, stats.rejected, stats.failed
            ),
        );
    }
}

pub(super) fn errors(engine: &Engine, lines: &mut Lines) {
    lines.title("Errorstats");
    for (code, count) in &engine.stats.errors {
        lines.field(&format!("errorstat_{code}"), format!("count={count}"));
    }
}

pub(super) fn latencies(engine: &Engine, lines: &mut Lines) {
    lines.title("Latencystats");
    for (row, stats) in TABLE.rows().iter().zip(&engine.stats.commands) {
        let percentiles = engine.config.latency_tracking_info_percentiles.iter().filter_map(|&percentile| {
            let nanos = stats.histogram.percentile(percentile)?;
            Some(format!("p{percentile}={:.3}", nanos as f64 / 1000.0))
        });
        let percentiles: Vec<String> = percentiles.collect();
        if !percentiles.is_empty() {
            lines.field(&format!("latency_percentiles_usec_{}", row.name), percentiles.join(","));
        }
    }
}
