//! How many bytes this process has allocated, to the byte and at any moment.
//!
//! The allocator counts for each thread what it was given and gave back. Each thread settles: it adds what has come on top
//! since the last time to one sum. Reading the allocator's own sum would take microseconds and be as old as its last epoch;
//! this takes nanoseconds. What a thread has not settled yet is missing, so every thread settles whenever it leaves the
//! engine, when it takes in a large request, and when it ends. Allocations with pages of their own are counted at once.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

use super::{allocator, ready_pages};
use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

static SETTLED: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static ACCOUNT: Account = Account::open();
}

/// What one thread has allocated.
struct Account {
    counters: Option<(ThreadLocal<u64>, ThreadLocal<u64>)>,
    settled: Cell<i64>,
}

impl Account {
    fn open() -> Self {
        ready_pages::serve_thread();
        let counters = allocatedp::read().and_then(|allocated| Ok((allocated, deallocatedp::read()?)));
        Self { counters: counters.ok(), settled: Cell::new(0) }
    }

    fn settle(&self) {
        let Some((allocated, deallocated)) = self.counters else { return };
        // Less than nothing for a thread that frees what others have allocated.
        let net = allocated.get().wrapping_sub(deallocated.get()) as i64;
        let more = net - self.settled.replace(net);
        if more != 0 {
            SETTLED.fetch_add(more, Ordering::Relaxed);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Adds what this thread has allocated since the last time. To be called once at the start of every thread, so that it is
/// called at its end as well.
pub fn settle() {
    // A thread that ends has settled.
    let _ = ACCOUNT.try_with(Account::settle);
}

/// Bytes that this thread has allocated so far, whatever has become of them.
pub fn allocated_here() -> u64 {
    let counter = |account: &Account| account.counters.as_ref().map_or(0, |(allocated, _)| allocated.get());
    ACCOUNT.try_with(counter).unwrap_or(0)
}

/// Bytes allocated by all threads.
pub fn allocated() -> u64 {
    settle();
    (SETTLED.load(Ordering::Relaxed) + allocator::bytes_in_pages()).max(0) as u64
}
