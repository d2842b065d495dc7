//! The operating system's clock, the only place that reads it for the engine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::clock::Clock;

pub struct SystemClock {
    /// Reads the processor's time stamp counter where it can be trusted: a few nanoseconds per reading.
    monotonic: quanta::Clock,
    start: u64,
}

impl SystemClock {
    pub fn new() -> Self {
        let monotonic = quanta::Clock::new();
        let start = monotonic.raw();
        Self { monotonic, start }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn unix_micros(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
    }

    fn monotonic_nanos(&self) -> u64 {
        self.monotonic.delta_as_nanos(self.start, self.monotonic.raw())
    }

    fn wait(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}
