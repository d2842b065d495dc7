//! Servers, clients and a network to break, for the tests beside.

mod client;
mod data;
mod proxy;
mod server;

use std::time::{Duration, Instant};

pub use client::{Client, bulk, ok};
pub use data::{digest, fill};
pub use proxy::Proxy;
pub use server::{Server, free_port};

/// What a machine under load may take for something that is meant to take milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(5);

/// Asks `probe` until it answers true.
#[track_caller]
pub fn eventually(what: &str, mut probe: impl FnMut() -> bool) {
    let start = Instant::now();
    while !probe() {
        assert!(start.elapsed() < PATIENCE, "in {PATIENCE:?} it did not come about: {what}");
        std::thread::sleep(POLL);
    }
}

/// Asks `probe` until it answers `expected`.
#[track_caller]
pub fn becomes<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, mut probe: impl FnMut() -> T) {
    let start = Instant::now();
    loop {
        let found = probe();
        if found == *expected {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {found:?} did not become {expected:?}");
        std::thread::sleep(POLL);
    }
}
