//! Values on their way out: no longer in the data set, not yet freed.
//!
//! Two sides count, each its own numbers: the engine what it hands out, the thread that frees what it has freed.

use crate::base::gauge::Gauge;

#[derive(Debug, Default)]
pub struct LazyFree {
    handed: Counts,
    freed: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    objects: Gauge,
    bytes: Gauge,
}

impl LazyFree {
    /// To be called by the engine. `bytes` is an estimate, and 0 while `maxmemory` is not set.
    pub fn hand_out(&self, objects: u64, bytes: u64) {
        self.handed.objects.add(objects);
        self.handed.bytes.add(bytes);
    }

    /// To be called by the one thread that frees.
    pub fn note_freed(&self, objects: u64, bytes: u64) {
        self.freed.objects.add(objects);
        self.freed.bytes.add(bytes);
    }

    pub fn pending_objects(&self) -> u64 {
        self.handed.objects.get().saturating_sub(self.freed.objects.get())
    }

    pub fn pending_bytes(&self) -> u64 {
        self.handed.bytes.get().saturating_sub(self.freed.bytes.get())
    }

    /// Objects freed since the start.
    pub fn freed_objects(&self) -> u64 {
        self.freed.objects.get()
    }
}
