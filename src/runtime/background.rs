//! Threads for long work that clients should not notice: snapshots, mostly.

use std::io;

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
        work();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}
