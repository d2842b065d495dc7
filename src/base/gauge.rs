//! A number that one task writes and others read without waiting for it. Nothing is ordered by it.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to the number; only its one writer may.
    pub fn add(&self, more: u64) {
        self.set(self.get() + more);
    }
}
