//! Memory that was touched before anybody needs it, in huge pages.
//!
//! A data set in huge pages costs far fewer misses in the tables that translate addresses. But the first touch of such a page
//! clears 2 MiB, 0.4 ms, and where a host has yet to give that memory to its guest it was seen to take 90 ms: whoever touches it
//! first makes all clients wait. So while the server grows, a thread of its own keeps a few pieces of memory ready that it has
//! touched. The allocator takes them when it needs more, through its hook for that; while none is ready, or the server is
//! small, it gets memory in small pages as they come. So no request waits for a huge page of the allocator's. While a snapshot
//! is written, writers copy what they change into new memory all the time, and who writes it needs the processor: nothing is
//! touched then.
#![allow(unsafe_code)]

use std::ffi::{c_uint, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use anyhow::Context as _;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use tikv_jemalloc_ctl::raw;
use tikv_jemalloc_sys::extent_hooks_t;

/// What the allocator takes at a time: a huge page of most machines, and where their addresses begin.
const PIECE_BYTES: usize = 2 << 20;
/// How many are kept ready at most while the server grows.
const READY_MAX: usize = 4;
/// One is kept ready for so many that were asked for: what is ready is a few hundredths of the data at most, and a server without
/// much data stays small.
const ASKED_PER_READY: u64 = 32;
/// How long pieces are kept that nobody takes.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// As `nice` counts.
const LEAST_PRIORITY: i32 = 19;
/// The smallest page of any machine.
const PAGE_BYTES: usize = 4096;

static READY: [AtomicPtr<c_void>; READY_MAX] = [const { AtomicPtr::new(ptr::null_mut()) }; READY_MAX];
/// How often the allocator has asked for a piece.
static ASKED: AtomicU64 = AtomicU64::new(0);
/// How many want no memory to be touched.
static PAUSES: AtomicUsize = AtomicUsize::new(0);
static TOUCHING: OnceLock<Thread> = OnceLock::new();
static HOOKS: OnceLock<Hooks> = OnceLock::new();

/// The allocator's own hooks but for one, and that one.
struct Hooks {
    with_ready_pages: extent_hooks_t,
    fresh: Alloc,
}

type Alloc = unsafe extern "C" fn(
    *mut extent_hooks_t,
    *mut c_void,
    usize,
    usize,
    *mut bool,
    *mut bool,
    c_uint,
) -> *mut c_void;

/// Starts to keep memory ready, in huge pages if the system gives any and they are wanted.
pub fn start(wants_huge_pages: bool) -> anyhow::Result<()> {
    if !wants_huge_pages {
        // Where the system knows nothing of them there are none to be switched off.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
    }
    let thread =
        thread::Builder::new().name("pages".to_owned()).spawn(keep_ready).context("cannot start a thread")?;
    let _ = TOUCHING.set(thread.thread().clone());
    Ok(())
}

/// While one of these is there, no memory is touched in advance.
pub struct Pause(());

impl Pause {
    pub fn begin() -> Self {
        PAUSES.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        PAUSES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets the part of the allocator that serves this thread take what is ready. Without it all goes on with fresh memory.
pub fn serve_thread() {
    // SAFETY: the names and types are those of jemalloc's manual. The hooks stay where they are for ever; they are the ones that
    // were there before, but for one that keeps their contract.
    unsafe {
        let Ok(arena) = raw::read::<c_uint>(b"thread.arena\0") else { return };
        let name = format!("arena.{arena}.extent_hooks\0");
        if HOOKS.get().is_none() {
            let Ok(own) = raw::read::<*const extent_hooks_t>(name.as_bytes()) else { return };
            let Some(fresh) = (*own).alloc else { return };
            let _ =
                HOOKS.set(Hooks { with_ready_pages: extent_hooks_t { alloc: Some(extend), ..*own }, fresh });
        }
        // More than one piece at a time is asked for when more is needed, not because much was asked for before.
        let _ = raw::write(format!("arena.{arena}.retain_grow_limit\0").as_bytes(), PIECE_BYTES);
        if let Some(hooks) = HOOKS.get() {
            let _ = raw::write(name.as_bytes(), (&raw const hooks.with_ready_pages).cast_mut());
        }
    }
}

/// The allocator's hook: a piece that is ready, or fresh memory. Allocates nothing.
unsafe extern "C" fn extend(
    hooks: *mut extent_hooks_t,
    at: *mut c_void,
    size: usize,
    alignment: usize,
    is_zero: *mut bool,
    is_committed: *mut bool,
    arena: c_uint,
) -> *mut c_void {
    if at.is_null() && size == PIECE_BYTES && alignment <= PIECE_BYTES {
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        let taken = take();
        if asked >= ASKED_PER_READY
            && let Some(thread) = TOUCHING.get()
        {
            thread.unpark();
        }
        if let Some(piece) = taken {
            // SAFETY: the allocator lends two flags of its own. A piece is zero: only zeros were written there.
            unsafe { (*is_zero, *is_committed) = (true, true) };
            return piece;
        }
    }
    let Some(own) = HOOKS.get() else { return ptr::null_mut() };
    // SAFETY: it is asked what this was asked.
    let fresh = unsafe { (own.fresh)(hooks, at, size, alignment, is_zero, is_committed, arena) };
    if !fresh.is_null() {
        // Where the system gives huge pages unasked, too, their first touch would be somebody's request. A system without them
        // refuses, and has none to give.
        // SAFETY: this changes how new memory is backed, not what is in it.
        let _ = unsafe { rustix::mm::madvise(fresh, size, Advice::LinuxNoHugepage) };
    }
    fresh
}

fn take() -> Option<*mut c_void> {
    READY.iter().find_map(|slot| {
        let piece = slot.swap(ptr::null_mut(), Ordering::AcqRel);
        (!piece.is_null()).then_some(piece)
    })
}

/// Keeps pieces ready from when it is woken until nobody has asked for any for a while.
fn keep_ready() {
    // Whoever serves clients goes first. A system that refuses this serves them a little later.
    let _ = rustix::process::setpriority_process(None, LEAST_PRIORITY);
    loop {
        thread::park();
        let mut seen = None;
        while seen != Some(ASKED.load(Ordering::Relaxed)) {
            seen = Some(ASKED.load(Ordering::Relaxed));
            while let Some(slot) =
                READY[..wanted()].iter().find(|slot| slot.load(Ordering::Relaxed).is_null())
            {
                let Some(piece) = touched_piece() else { break };
                slot.store(piece, Ordering::Release);
            }
            thread::park_timeout(KEPT_FOR);
        }
        while let Some(piece) = take() {
            unmap(piece, PIECE_BYTES);
        }
    }
}

/// How many are to be ready by now.
fn wanted() -> usize {
    if PAUSES.load(Ordering::Relaxed) > 0 {
        return 0;
    }
    (ASKED.load(Ordering::Relaxed) / ASKED_PER_READY).min(READY_MAX as u64) as usize
}

/// New memory, all of whose pages are there; none if the system has none to give.
fn touched_piece() -> Option<*mut c_void> {
    let (access, kind) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
    // SAFETY: a new private mapping at a place of the kernel's choice touches no memory that is in use.
    let mapped =
        unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), 2 * PIECE_BYTES, access, kind) }.ok()?;
    let before = (mapped.addr() + PAGE_BYTES).next_multiple_of(PIECE_BYTES) - mapped.addr();
    let piece = mapped.wrapping_byte_add(before);
    // SAFETY: the piece and a page before it are mapped and writable, and nobody else's yet. A system without huge pages refuses
    // the advice, which changes nothing then.
    unsafe {
        // The kernel locks all of the process's mappings for the first touch of one, from Linux 6.4 on for that one alone. So
        // that is a small page, which takes no time.
        let _ = rustix::mm::madvise(mapped, 2 * PIECE_BYTES, Advice::LinuxNoHugepage);
        mapped.cast::<u8>().write_volatile(0);
        let _ = rustix::mm::madvise(piece, PIECE_BYTES, Advice::LinuxHugepage);
        for page in (0..PIECE_BYTES).step_by(PAGE_BYTES) {
            piece.cast::<u8>().add(page).write_volatile(0);
        }
        // What it is made of stays. What the allocator gives back of it comes in small pages when it is touched again.
        let _ = rustix::mm::madvise(piece, PIECE_BYTES, Advice::LinuxNoHugepage);
    }
    unmap(mapped, before);
    unmap(piece.wrapping_byte_add(PIECE_BYTES), PIECE_BYTES - before);
    Some(piece)
}

/// Gives pages back that are mapped and that nobody uses.
fn unmap(place: *mut c_void, bytes: usize) {
    if bytes > 0 {
        // SAFETY: all callers have mapped these pages, and have told nobody of them.
        let _ = unsafe { rustix::mm::munmap(place, bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_aligned_writable_and_zero() {
        let pieces = [(); 3].map(|()| touched_piece().expect("there is memory"));
        for piece in pieces {
            assert!(piece.addr().is_multiple_of(PIECE_BYTES));
            // SAFETY: the piece is mapped for this test alone.
            let bytes = unsafe { std::slice::from_raw_parts_mut(piece.cast::<u8>(), PIECE_BYTES) };
            assert!(bytes.iter().all(|&byte| byte == 0));
            bytes.fill(1);
        }
        pieces.iter().for_each(|&piece| unmap(piece, PIECE_BYTES));
    }
}
