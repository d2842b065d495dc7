//! LATENCY: spikes by event, as far back as their last 160 seconds with one.

use std::collections::{BTreeMap, VecDeque};

use super::Engine;

const SAMPLES_MAX: usize = 160;

/// Commands by their speed; the names are Redis'.
pub const COMMAND: &str = "command";
pub const FAST_COMMAND: &str = "fast-command";
/// One slice of eviction, and the removal of one key in it.
pub const EVICTION_CYCLE: &str = "eviction-cycle";
pub const EVICTION_DEL: &str = "eviction-del";

#[derive(Debug, Default)]
pub struct LatencyMonitor {
    pub events: BTreeMap<&'static str, LatencyEvent>,
}

#[derive(Debug, Default)]
pub struct LatencyEvent {
    /// Seconds since 1970 and the worst latency in that second, in milliseconds; oldest first.
    pub samples: VecDeque<(i64, u64)>,
    pub worst_ms: u64,
}

impl LatencyMonitor {
    fn add(&mut self, event: &'static str, unix_seconds: i64, latency_ms: u64) {
        let event = self.events.entry(event).or_default();
        event.worst_ms = event.worst_ms.max(latency_ms);
        match event.samples.back_mut() {
            Some((second, worst)) if *second == unix_seconds => *worst = (*worst).max(latency_ms),
            _ => event.samples.push_back((unix_seconds, latency_ms)),
        }
        if event.samples.len() > SAMPLES_MAX {
            event.samples.pop_front();
        }
    }
}

impl Engine {
    /// Remembers that `event` took `nanos`, if that is as long as `latency-monitor-threshold` asks for.
    pub fn note_latency(&mut self, event: &'static str, nanos: u64) {
        let threshold_ms = self.config.latency_monitor_threshold;
        let latency_ms = nanos / 1_000_000;
        if threshold_ms > 0 && latency_ms >= threshold_ms {
            let unix_seconds = self.time.unix_micros() / 1_000_000;
            self.latency.add(event, unix_seconds, latency_ms);
        }
    }
}
