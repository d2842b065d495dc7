//! MONITOR: clients that read every command as it is run.

use super::{ClientId, Engine};
use crate::base::quote::quote;
use crate::resp::args::Args;

/// Shown instead of a password.
pub const REDACTED: &[u8] = b"(redacted)";

impl Engine {
    pub fn has_monitors(&self) -> bool {
        !self.monitors.is_empty()
    }

    /// Shows every command from now on to a client.
    pub fn start_monitoring(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && !client.is_monitor
        {
            client.is_monitor = true;
            self.monitors.push(id);
        }
    }

    pub fn stop_monitoring(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.is_monitor = false;
        }
        self.monitors.retain(|&monitor| monitor != id);
    }

    /// Shows a command that a client has run to everybody who monitors.
    pub fn feed_monitors(&mut self, id: ClientId, args: &Args<'_>) {
        let Some(client) = self.clients.get(id) else { return };
        let from = if self.scripting.running.is_some() {
            format!("{} lua", client.db_index)
        } else if client.is_unix {
            format!("{} unix:{}", client.db_index, client.addr.trim_end_matches(":0"))
        } else {
            format!("{} {}", client.db_index, client.addr)
        };
        let micros = self.time.unix_micros();
        let mut line =
            format!("+{}.{:06} [{from}]", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000))
                .into_bytes();
        for (i, arg) in args.iter().enumerate() {
            line.push(b' ');
            quote(if self.redacted_args.contains(&i) { REDACTED } else { arg }, &mut line);
        }
        line.extend_from_slice(b"\r\n");
        for monitor in self.monitors.clone() {
            let is_running = self.running == Some(monitor);
            if let Some(client) = self.clients.get_mut(monitor) {
                let out = if is_running { &mut client.out_later } else { &mut client.out };
                out.extend_from_slice(&line);
            }
            self.clients.wake(monitor);
            self.enforce_output_limit(monitor);
        }
    }
}
