//! When a client is closed for what it costs: silence, and output that it does not read.

use super::client::{Client, ClientId, ClientKind, Closing};
use super::{Engine, Job, LogLevel};
use crate::base::clock::UnixMillis;
use crate::config::OutputBufferLimit;
use crate::replication::replica_manager::ReplicaId;

/// Output that a client may leave unread before it has authenticated itself.
const UNAUTHENTICATED_OUTPUT_BYTES_MAX: u64 = 64 * 1024;

impl Engine {
    /// Closes a client whose unread output is above the limits of its class.
    pub fn enforce_output_limit(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let limit = self.output_limit(client);
        let bytes = self.unread_bytes(client);
        let is_above = |bound: u64| bound > 0 && bytes > bound;
        let since = client.above_soft_limit_since;
        let now = self.now();
        let is_long_above = is_above(limit.soft_bytes)
            && since.is_some_and(|since| now.0 - since.0 > limit.soft_seconds as i64 * 1000);
        let closes = (is_above(limit.hard_bytes) || is_long_above) && client.closing != Closing::Now;
        if closes {
            let line = self.client_line(client);
            self.log(
                LogLevel::Warning,
                format!("Client {line} scheduled to be closed ASAP for overcoming of output buffer limits."),
            );
            self.stats.output_buffer_limit_disconnections += 1;
        }
        let Some(client) = self.clients.get_mut(id) else { return };
        if closes {
            client.out = Vec::new();
            client.out_later = Vec::new();
            let unread = std::mem::take(&mut client.long_replies);
            if !unread.is_empty() {
                self.jobs.push(Job::FreeOutput(unread));
            }
            self.clients.close(id, Closing::Now);
            // It may take a while to go, and must not grow meanwhile.
            self.role.stream_mut().replicas.release(ReplicaId(id.0), now);
        } else if is_above(limit.soft_bytes) {
            client.above_soft_limit_since = since.or(Some(now));
        } else {
            client.above_soft_limit_since = None;
        }
    }

    /// Closes clients that have been silent for `timeout` seconds, and those above a soft limit for too long.
    pub fn close_idle(&mut self, now: UnixMillis) {
        let timeout_ms = i64::from(self.config.timeout) * 1000;
        for id in self.clients.ids() {
            let Some(client) = self.clients.get(id) else { continue };
            if timeout_ms > 0 && is_idle(client, now, timeout_ms) {
                self.log(LogLevel::Verbose, "Closing idle client");
                self.clients.close(id, Closing::Now);
            } else if client.above_soft_limit_since.is_some() {
                self.enforce_output_limit(id);
            }
        }
    }

    /// Closes replicas that are further behind the stream than the limits of their class: it is kept for them.
    pub fn enforce_replica_limits(&mut self) {
        let stream = self.role.stream();
        let Some(lowest) = stream.replicas.lowest_position() else { return };
        let limit = self.config.client_output_buffer_limits.replica;
        // After a failover a replica may be ahead for a moment, until it hears that it must begin anew.
        let bound = [limit.hard_bytes, limit.soft_bytes].into_iter().filter(|&bytes| bytes > 0).min();
        if bound.is_some_and(|bound| stream.log.end_offset().0.saturating_sub(lowest.0) > bound) {
            for id in stream.replicas.ids() {
                self.enforce_output_limit(ClientId(id.0));
            }
        }
    }

    /// What a client has not read yet; for a replica that is the stream from its position on.
    pub(super) fn unread_bytes(&self, client: &Client) -> u64 {
        if client.kind != ClientKind::Replica {
            return client.output_bytes() as u64;
        }
        let stream = self.role.stream();
        let replica = stream.replicas.get(ReplicaId(client.id.0));
        let position = replica.and_then(|replica| replica.feed()?.position());
        position.map_or(0, |position| stream.log.end_offset().0.saturating_sub(position.0))
    }

    fn output_limit(&self, client: &Client) -> OutputBufferLimit {
        let limits = &self.config.client_output_buffer_limits;
        if client.kind == ClientKind::Replica {
            let mut limit = limits.replica;
            if limit.hard_bytes > 0 {
                // The backlog is kept anyway.
                limit.hard_bytes = limit.hard_bytes.max(self.config.repl_backlog_size);
            }
            return limit;
        }
        if !client.is_authenticated {
            let hard_bytes = UNAUTHENTICATED_OUTPUT_BYTES_MAX;
            return OutputBufferLimit { hard_bytes, ..OutputBufferLimit::default() };
        }
        if client.subscriptions_len() > 0 { limits.pubsub } else { limits.normal }
    }
}

/// Blocked clients, subscribers, monitors and replication links are silent by nature.
fn is_idle(client: &Client, now: UnixMillis, timeout_ms: i64) -> bool {
    client.kind == ClientKind::Normal
        && !client.is_monitor
        && client.blocked.is_none()
        && client.subscriptions_len() == 0
        && now.0 - client.last_interaction.0 > timeout_ms
}
