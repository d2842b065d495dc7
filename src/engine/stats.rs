//! Counters that INFO prints.

use std::collections::BTreeMap;

use crate::base::clock::UnixMillis;

/// Calls of one command.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub nanos: u64,
    pub rejected: u64,
    pub failed: u64,
}

#[derive(Debug)]
pub struct Stats {
    pub started_at: UnixMillis,
    pub connections_received: u64,
    pub connections_rejected: u64,
    pub commands_processed: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub expired_keys: u64,
    pub evicted_keys: u64,
    pub error_replies: u64,
    pub query_buffer_limit_disconnections: u64,
    pub output_buffer_limit_disconnections: u64,
    pub sync_full: u64,
    pub sync_partial_ok: u64,
    pub sync_partial_err: u64,
    /// By index in the command table.
    pub commands: Vec<CommandStats>,
    /// By error code.
    pub errors: BTreeMap<String, u64>,
}

/// More distinct error codes than this are not counted by name.
const ERROR_CODES_MAX: usize = 128;

impl Stats {
    pub fn new(started_at: UnixMillis) -> Self {
        Self {
            started_at,
            connections_received: 0,
            connections_rejected: 0,
            commands_processed: 0,
            net_input_bytes: 0,
            net_output_bytes: 0,
            keyspace_hits: 0,
            keyspace_misses: 0,
            expired_keys: 0,
            evicted_keys: 0,
            error_replies: 0,
            query_buffer_limit_disconnections: 0,
            output_buffer_limit_disconnections: 0,
            sync_full: 0,
            sync_partial_ok: 0,
            sync_partial_err: 0,
            commands: Vec::new(),
            errors: BTreeMap::new(),
        }
    }

    /// CONFIG RESETSTAT: all but the start time.
    pub fn reset(&mut self) {
        *self = Self {
            commands: vec![CommandStats::default(); self.commands.len()],
            ..Self::new(self.started_at)
        };
    }

    pub fn count_error(&mut self, code: &str) {
        self.error_replies += 1;
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_CODES_MAX {
            self.errors.insert(code.to_owned(), 1);
        }
    }
}
