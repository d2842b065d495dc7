//! Threads for long work that clients should not notice: snapshots, mostly.

use std::io;
use std::time::{Duration, Instant};

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
/// How many times as long as the work itself these offers may take.
const WAIT_PER_WORK_MAX: u32 = 4;

/// Lets the threads that serve clients go first where they share a processor with a long work, instead of when the
/// scheduler's time slice ends.
///
/// Linux takes an offer for more than was meant: from 6.17 on it costs the thread a whole slice, which at this niceness is
/// 26 ms for each thread that is busy beside it. So no more are made while they take too much of the time: a million keys
/// took minutes to save beside one process that never rests.
#[derive(Debug, Default)]
pub struct Turns {
    keys: u64,
    waited: Duration,
}

impl Turns {
    /// To be called after each key that was written.
    pub fn after_key(&mut self) {
        self.keys += 1;
        if self.keys.is_multiple_of(KEYS_PER_TURN) && self.waited <= WAIT_PER_WORK_MAX * worked() {
            let start = Instant::now();
            std::thread::yield_now();
            self.waited += start.elapsed();
        }
    }
}

/// The time that this thread has had a processor.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
