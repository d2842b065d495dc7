//! Time as an argument: every layer below `runtime` is handed a clock and never asks the operating system.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// An instant: milliseconds since 1970-01-01 UTC. May lie before it, as an expiry in the past does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMillis(pub i64);

/// Where the engine's time comes from.
pub trait Clock: Send {
    /// Wall-clock time in microseconds since 1970-01-01 UTC.
    fn unix_micros(&self) -> i64;

    /// A monotonic reading in nanoseconds from an arbitrary start, cheap enough to take twice per command.
    fn monotonic_nanos(&self) -> u64;

    /// Wall-clock time in milliseconds.
    fn now(&self) -> UnixMillis {
        UnixMillis(self.unix_micros().div_euclid(1000))
    }

    /// Returns once `duration` has passed: DEBUG SLEEP stops the whole server.
    fn wait(&self, duration: Duration);
}

/// A clock that stands still until it is told to move; clones share the same time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    micros: Arc<AtomicI64>,
}

impl ManualClock {
    pub fn new(start: UnixMillis) -> Self {
        Self { micros: Arc::new(AtomicI64::new(start.0 * 1000)) }
    }

    pub fn advance_ms(&self, ms: i64) {
        self.micros.fetch_add(ms * 1000, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn unix_micros(&self) -> i64 {
        self.micros.load(Ordering::Relaxed)
    }

    fn monotonic_nanos(&self) -> u64 {
        (self.unix_micros() as u64).wrapping_mul(1000)
    }

    fn wait(&self, duration: Duration) {
        self.micros.fetch_add(duration.as_micros() as i64, Ordering::Relaxed);
    }
}
