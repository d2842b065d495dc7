//! A hint to the processor that memory will be read soon: with `cow`, one of the two places in the data set that are `unsafe`.
//!
//! Worth it: with a million keys a lookup is three dependent cache misses, and a batch of requests knows all its keys
//! before the first is executed. `docs/performance.md` has the figures with and without it.
#![allow(unsafe_code)]

/// Begins to load the cache line of `*place`. Never faults and never reads for the program, so any address will do.
#[inline(always)]
pub fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: PREFETCHT0 is a hint: it has no architectural effect, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(place.cast::<i8>(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
