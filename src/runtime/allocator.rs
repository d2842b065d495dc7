//! The allocator: jemalloc, but what is very large has pages of its own.
//!
//! A string of 50 MB that is appended to must not be copied while all clients wait. jemalloc gives a large allocation that
//! grows a new place and copies it; the kernel moves its pages, whatever their number, by changing where they are found. Pages
//! that were never written take no memory, so room to spare is free.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};

use rustix::mm::{MapFlags, MremapFlags, ProtFlags};
use tikv_jemallocator::Jemalloc;

/// From here on an allocation has pages of its own. Below, a copy takes less than a millisecond or two, and new pages
/// would cost more than they save.
const PAGES_MIN: usize = 4 << 20;
/// The alignment that pages have on every machine.
const ALIGN_MAX: usize = 4096;

static BYTES: AtomicI64 = AtomicI64::new(0);

/// Bytes in allocations that have pages of their own.
pub fn bytes_in_pages() -> i64 {
    BYTES.load(Ordering::Relaxed)
}

#[derive(Debug, Clone, Copy)]
pub struct Allocator;

fn has_pages(layout: Layout) -> bool {
    layout.size() >= PAGES_MIN && layout.align() <= ALIGN_MAX
}

fn map(bytes: usize) -> *mut u8 {
    // SAFETY: a new private mapping at a place of the kernel's choice touches no memory that is in use.
    let mapped = unsafe {
        rustix::mm::mmap_anonymous(
            ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    };
    let Ok(mapped) = mapped else { return ptr::null_mut() };
    BYTES.fetch_add(bytes as i64, Ordering::Relaxed);
    mapped.cast()
}

// SAFETY: whether an allocation lies in pages of its own or in jemalloc follows from its layout alone, which the caller
// hands back unchanged, so each is freed and grown by whoever has made it. Mapped pages are page-aligned, as large as asked
// for, and zero; both allocators may be called from all threads and never unwind.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if has_pages(layout) {
            return map(layout.size());
        }
        // SAFETY: the caller's promises are those that jemalloc asks for.
        unsafe { Jemalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if has_pages(layout) {
            return map(layout.size());
        }
        // SAFETY: as in `alloc`.
        unsafe { Jemalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        if has_pages(layout) {
            // SAFETY: the pages were mapped for an allocation of this size, which nobody uses any more.
            let _ = unsafe { rustix::mm::munmap(place.cast::<c_void>(), layout.size()) };
            BYTES.fetch_sub(layout.size() as i64, Ordering::Relaxed);
            return;
        }
        // SAFETY: as in `alloc`; jemalloc has made it.
        unsafe { Jemalloc.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size is no more than the alignment allows.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (has_pages(layout), has_pages(new_layout)) {
            // SAFETY: as in `alloc`; jemalloc has made it.
            (false, false) => unsafe { Jemalloc.realloc(place, layout, new_size) },
            (true, true) => {
                // SAFETY: the pages were mapped for an allocation of this size, and only the caller knows where they are.
                let moved = unsafe {
                    rustix::mm::mremap(place.cast::<c_void>(), layout.size(), new_size, MremapFlags::MAYMOVE)
                };
                let Ok(moved) = moved else { return ptr::null_mut() };
                BYTES.fetch_add(new_size as i64 - layout.size() as i64, Ordering::Relaxed);
                moved.cast()
            }
            _ => {
                // SAFETY: the new place is not the old one, and both have room for what is copied.
                unsafe {
                    let new = self.alloc(new_layout);
                    if !new.is_null() {
                        ptr::copy_nonoverlapping(place, new, layout.size().min(new_size));
                        self.dealloc(place, layout);
                    }
                    new
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_and_shrinks_across_the_limit_keeps_its_bytes() {
        let sizes = [1000, PAGES_MIN - 1, PAGES_MIN, 5 * PAGES_MIN + 17, PAGES_MIN + 5, 3 * PAGES_MIN, 100];
        let layout = |size| Layout::from_size_align(size, 1).expect("a small size");
        // SAFETY: every place is used within its size and handed back with the layout that it was made with.
        unsafe {
            let mut place = Allocator.alloc_zeroed(layout(sizes[0]));
            let mut known = 0;
            for (&size, &next) in sizes.iter().zip(&sizes[1..]) {
                let bytes = std::slice::from_raw_parts_mut(place, size);
                assert!((0..known.min(size)).step_by(997).all(|at| bytes[at] == at as u8));
                bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = at as u8);
                known = size;
                place = Allocator.realloc(place, layout(size), next);
                assert!(!place.is_null());
            }
            Allocator.dealloc(place, layout(100));
            let zeroed = Allocator.alloc_zeroed(layout(PAGES_MIN));
            assert!(std::slice::from_raw_parts(zeroed, PAGES_MIN).iter().all(|&byte| byte == 0));
            Allocator.dealloc(zeroed, layout(PAGES_MIN));
        }
    }
}
