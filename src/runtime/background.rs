//! Threads for long work that clients should not notice: snapshots, mostly.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::aof::DiskFile;
use super::memory;
use crate::storage::Keyspace;

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

/// How many bytes of a snapshot are written between two offers of the processor: some ten microseconds.
const BYTES_PER_TURN: usize = 2048;
const BYTES_PER_SYNC: usize = 4 << 20;
/// How many times as long as the work itself these offers may take.
const WAIT_PER_WORK_MAX: u32 = 4;

/// Lets the threads that serve clients go first where they share a processor with a long work, instead of when the
/// scheduler's time slice ends.
///
/// Linux takes an offer for more than was meant: from 6.17 on it costs the thread a whole slice, which at this niceness is
/// 26 ms for each thread that is busy beside it. So no more are made while they take too much of the time: a million keys
/// took minutes to save beside one process that never rests.
#[derive(Debug, Default)]
struct Turns {
    waited: Duration,
}

impl Turns {
    fn offer(&mut self) {
        if self.waited <= WAIT_PER_WORK_MAX * worked() {
            let start = Instant::now();
            std::thread::yield_now();
            self.waited += start.elapsed();
        }
    }
}

/// Frees a frozen data set, which may be the last holder of many segments.
pub fn free(snapshot: Keyspace, urgency: Urgency) {
    let mut turns = Turns::default();
    snapshot.free(|_| match urgency {
        Urgency::Awaited => (),
        Urgency::Unnoticed => turns.offer(),
    });
}

/// Bytes on their way out, whose writer lets others go first every few of them.
pub struct Unhurried<W> {
    inner: W,
    turns: Turns,
    since_offer: usize,
}

impl<W> Unhurried<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, turns: Turns::default(), since_offer: 0 }
    }
}

impl<W: Write> Write for Unhurried<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(data)?;
        self.since_offer += n;
        if self.since_offer >= BYTES_PER_TURN {
            self.since_offer = 0;
            self.turns.offer();
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file that is forced to disk as it grows, instead of all at once at the end: the disk works along, and no thread is in the
/// kernel for long, which on many systems nobody can interrupt. What `rdb-save-incremental-fsync` and
/// `aof-rewrite-incremental-fsync` mean.
pub struct Steady<'a, F> {
    file: &'a mut F,
    unsynced: usize,
}

impl<'a, F> Steady<'a, F> {
    pub fn new(file: &'a mut F) -> Self {
        Self { file, unsynced: 0 }
    }
}

impl<F: DiskFile> Write for Steady<'_, F> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = self.file.write(data)?;
        self.unsynced += n;
        if self.unsynced >= BYTES_PER_SYNC {
            self.file.sync()?;
            self.unsynced = 0;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The time that this thread has had a processor.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
