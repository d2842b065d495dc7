//! Runs long reads beside the engine: a few threads take them in the order in which they came.
//!
//! Few, because each of them holds a whole reply in memory until its client has taken it over, and because they share
//! the processor with the threads that serve everybody else: those go first.

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use super::background::{self, Urgency};
use super::hub::Hub;
use super::memory;
use crate::engine::LongReadLimits;
use crate::engine::long_read::LongRead;

/// From here on a read takes some milliseconds, and freezing what it looks at is cheap beside it.
pub const LIMITS: LongReadLimits =
    LongReadLimits { keys_min: 50_000, elements_min: 20_000, bytes_min: 1 << 20 };

/// Two, so that one read of everything does not hold up all shorter ones.
const THREADS: usize = 2;

/// Starts the threads. Reads are handed to them through the answer.
pub fn start(hub: &'static Hub) -> std::io::Result<Sender<LongRead>> {
    let (sender, reads) = mpsc::channel();
    let reads = Arc::new(Mutex::new(reads));
    for _ in 0..THREADS {
        let reads = reads.clone();
        background::spawn("read", Urgency::Unnoticed, move || run(&reads, hub))?;
    }
    Ok(sender)
}

fn run(reads: &Mutex<Receiver<LongRead>>, hub: &'static Hub) {
    loop {
        let next = reads.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(LongRead { client, command, run }) = next else { return };
        // Nobody may be left to read the reply.
        if hub.enter(|engine| engine.waits_for_read(client)) {
            let started = Instant::now();
            let outcome = run();
            let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let unread = hub.enter(|engine| engine.finish_read(client, command, nanos, outcome));
            drop(unread);
        } else {
            drop(run);
        }
        memory::settle();
    }
}
