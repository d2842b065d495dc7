//! When a client is closed for what it costs: silence, and output that it does not read.

use super::client::{Client, ClientId, ClientKind, Closing};
use super::{Engine, LogLevel};
use crate::base::clock::UnixMillis;
use crate::config::OutputBufferLimit;

/// Output that a client may leave unread before it has authenticated itself.
const UNAUTHENTICATED_OUTPUT_BYTES_MAX: u64 = 64 * 1024;

impl Engine {
    /// Closes a client whose unread output is above the limits of its class.
    pub fn enforce_output_limit(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let limit = self.output_limit(client);
        let bytes = client.output_bytes() as u64;
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
            self.clients.close(id, Closing::Now);
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

    fn output_limit(&self, client: &Client) -> OutputBufferLimit {
        let limits = &self.config.client_output_buffer_limits;
        if client.kind == ClientKind::Replica {
            return limits.replica;
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
