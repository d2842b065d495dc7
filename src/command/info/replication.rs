//! The section replication.

use super::Lines;
use crate::engine::Engine;
use crate::replication::replica::LinkState;
use crate::replication::role::Role;

pub(super) fn replication_section(engine: &Engine, lines: &mut Lines) {
    let (now, config) = (engine.now(), &engine.config);
    lines.title("Replication");
    lines.field("role", if engine.role.is_master() { "master" } else { "slave" });
    if let Role::Replica(replica) = &engine.role {
        let link = replica.link();
        lines.field("master_host", &replica.master.host);
        lines.field("master_port", replica.master.port);
        lines.field("master_link_status", if replica.is_up() { "up" } else { "down" });
        lines.field("master_last_io_seconds_ago", replica.last_io_seconds_ago(now));
        lines.flag("master_sync_in_progress", replica.is_syncing());
        lines.field("slave_read_repl_offset", replica.read_offset());
        lines.field("slave_repl_offset", replica.offset());
        if let LinkState::Sync { total_bytes, read_bytes, last_io } = link {
            let total = total_bytes.unwrap_or(0);
            let share = if total == 0 { 0.0 } else { 100.0 * read_bytes as f64 / total as f64 };
            lines.field("master_sync_total_bytes", total);
            lines.field("master_sync_read_bytes", read_bytes);
            lines.field("master_sync_left_bytes", total.saturating_sub(read_bytes));
            lines.field("master_sync_perc", format!("{share:.2}"));
            lines.field("master_sync_last_io_seconds_ago", (now.0 - last_io.0) / 1000);
        }
        if !replica.is_up() {
            lines.field("master_link_down_since_seconds", replica.down_since_seconds(now));
        }
        lines.field("slave_priority", config.replica_priority);
        lines.flag("slave_read_only", config.replica_read_only);
        lines.flag("replica_announced", config.replica_announced);
    }
    let stream = engine.role.stream();
    let (replicas, log) = (&stream.replicas, &stream.log);
    lines.field("connected_slaves", replicas.count());
    if config.min_replicas_to_write > 0 && config.min_replicas_max_lag > 0 {
        let lag_max_seconds = i64::from(config.min_replicas_max_lag);
        lines.field("min_slaves_good_slaves", replicas.good_replicas(lag_max_seconds, now));
    }
    for (index, replica) in replicas.iter().enumerate() {
        lines.field(&format!("slave{index}"), replica.info(now));
    }
    lines.field("master_failover_state", engine.failover_state());
    lines.field("master_replid", stream.ids.replid());
    lines.field("master_replid2", stream.ids.replid2());
    lines.field("master_repl_offset", log.end_offset());
    lines.field("second_repl_offset", stream.ids.second_repl_offset());
    lines.flag("repl_backlog_active", log.is_active());
    lines.field("repl_backlog_size", config.repl_backlog_size);
    lines.field("repl_backlog_first_byte_offset", if log.is_active() { log.first_byte_offset() } else { 0 });
    lines.field("repl_backlog_histlen", log.histlen());
}
