//! Counters that INFO prints.

use std::collections::BTreeMap;

use super::histogram::Histogram;
use super::process::{CpuFigures, MemoryFigures};
use crate::base::clock::UnixMillis;

/// Calls of one command.
#[derive(Debug, Clone, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub nanos: u64,
    pub rejected: u64,
    pub failed: u64,
    /// Empty unless `latency-tracking` is on.
    pub histogram: Histogram,
}

#[derive(Debug)]
pub struct Stats {
    pub started_at: UnixMillis,
    pub connections_received: u64,
    pub connections_rejected: u64,
    pub commands_processed: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    /// Calls of the system that have moved bytes of clients.
    pub reads: u64,
    pub writes: u64,
    /// What replication takes of the network, not part of the two above.
    pub net_repl_input_bytes: u64,
    pub net_repl_output_bytes: u64,
    /// Errors in reply to a master.
    pub unexpected_error_replies: u64,
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub expired_keys: u64,
    /// Fields of hashes.
    pub expired_subkeys: u64,
    pub evicted_keys: u64,
    pub evicted_scripts: u64,
    /// Since when memory has been above `maxmemory`, by the monotonic clock, and for how long before.
    pub eviction_exceeded_since: Option<u64>,
    pub eviction_exceeded_nanos: u64,
    /// What `LazyFree` had counted when the statistics were reset.
    pub lazyfreed_objects_before: u64,
    pub error_replies: u64,
    pub query_buffer_limit_disconnections: u64,
    pub output_buffer_limit_disconnections: u64,
    pub sync_full: u64,
    pub sync_partial_ok: u64,
    pub sync_partial_err: u64,
    /// Figures of the allocator and the operating system; not reset.
    pub memory: MemoryFigures,
    pub cpu: CpuFigures,
    pub rates: Rates,
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
            reads: 0,
            writes: 0,
            net_repl_input_bytes: 0,
            net_repl_output_bytes: 0,
            unexpected_error_replies: 0,
            keyspace_hits: 0,
            keyspace_misses: 0,
            expired_keys: 0,
            expired_subkeys: 0,
            evicted_keys: 0,
            evicted_scripts: 0,
            eviction_exceeded_since: None,
            eviction_exceeded_nanos: 0,
            lazyfreed_objects_before: 0,
            error_replies: 0,
            query_buffer_limit_disconnections: 0,
            output_buffer_limit_disconnections: 0,
            sync_full: 0,
            sync_partial_ok: 0,
            sync_partial_err: 0,
            memory: MemoryFigures::default(),
            cpu: CpuFigures::default(),
            rates: Rates::default(),
            commands: Vec::new(),
            errors: BTreeMap::new(),
        }
    }

    /// CONFIG RESETSTAT: all but the start time and what is measured anew anyway.
    pub fn reset(&mut self) {
        *self = Self {
            memory: self.memory,
            cpu: self.cpu,
            commands: vec![CommandStats::default(); self.commands.len()],
            ..Self::new(self.started_at)
        };
    }

    /// Takes a sample of the counters whose rates INFO shows; called by the clockwork.
    pub fn sample_rates(&mut self, now: UnixMillis) {
        let counters = [self.commands_processed, self.net_input_bytes, self.net_output_bytes];
        self.rates.sample(counters, now);
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

/// Rates over the last samples: commands, bytes in and bytes out per second.
#[derive(Debug, Default)]
pub struct Rates {
    last: Option<(UnixMillis, [u64; 3])>,
    samples: [[u64; 3]; RATE_SAMPLES],
    next: usize,
}

/// As many as Redis takes the mean of.
const RATE_SAMPLES: usize = 16;

impl Rates {
    fn sample(&mut self, counters: [u64; 3], now: UnixMillis) {
        if let Some((at, before)) = self.last {
            let elapsed_ms = (now.0 - at.0).max(1) as u64;
            for (index, rate) in self.samples[self.next].iter_mut().enumerate() {
                *rate = counters[index].saturating_sub(before[index]) * 1000 / elapsed_ms;
            }
            self.next = (self.next + 1) % RATE_SAMPLES;
        }
        self.last = Some((now, counters));
    }

    pub fn commands_per_second(&self) -> u64 {
        self.mean(0)
    }

    pub fn input_bytes_per_second(&self) -> u64 {
        self.mean(1)
    }

    pub fn output_bytes_per_second(&self) -> u64 {
        self.mean(2)
    }

    fn mean(&self, index: usize) -> u64 {
        self.samples.iter().map(|sample| sample[index]).sum::<u64>() / RATE_SAMPLES as u64
    }
}
