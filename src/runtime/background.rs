//! Threads for long work that clients should not notice: snapshots, mostly.

use std::io;

use super::memory;

/// Below that of the threads that serve clients: on a machine without an idle core these go first, and the work still
/// gets about a tenth of the processor when they never rest.
const NICENESS: i32 = 10;

/// Whether somebody waits for the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    Awaited,
    Unnoticed,
}

/// Runs `work` on a thread of its own; what nobody waits for goes behind the threads that serve clients.
pub fn spawn(name: &str, urgency: Urgency, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let work = move || {
        if urgency == Urgency::Unnoticed {
            // Where the system does not allow it, the work is done as any other.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
        }
        memory::settle();
        work();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// How many keys of a snapshot are written between two offers of the processor: some ten microseconds.
const KEYS_PER_TURN: u64 = 64;

/// To be called after each of the `keys` written so far: lets a thread that serves clients go first where it shares a
/// processor with this one, instead of when the scheduler's time slice ends.
pub fn give_way(keys: u64) {
    if keys.is_multiple_of(KEYS_PER_TURN) {
        std::thread::yield_now();
    }
}
