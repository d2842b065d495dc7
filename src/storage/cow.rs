//! A shared pointer for data that is copied when it is written: an `Arc` that remembers whether it was ever cloned.
//!
//! `Arc::get_mut` and `Arc::make_mut` ask the counter beside the data, with an atomic read-modify-write. On the way to a
//! key that is a cache line and a locked instruction at every level, to learn in nearly every case that no snapshot is
//! under way. Here the lowest bit of the pointer tells: it is clear while nobody can share the data.
//! `docs/performance.md` has the figures.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Set from the first clone until the owner has found itself alone again, or has made a copy of its own.
const MAYBE_SHARED: usize = 1;

/// Tells how many bytes the calling thread has allocated so far.
type AllocationMeter = fn() -> u64;

static ALLOCATED: OnceLock<AllocationMeter> = OnceLock::new();
static COPIED_BYTES: AtomicU64 = AtomicU64::new(0);

/// Has the bytes counted that are copied because they are shared. To be called once; without it they count as none.
pub fn count_copies(allocated: AllocationMeter) {
    let _ = ALLOCATED.set(allocated);
}

/// Copies something, and counts what that takes.
fn counted<R>(copy: impl FnOnce() -> R) -> R {
    let Some(allocated) = ALLOCATED.get() else { return copy() };
    let before = allocated();
    let copied = copy();
    COPIED_BYTES.fetch_add(allocated().wrapping_sub(before), Ordering::Relaxed);
    copied
}

/// How many bytes of all data sets were copied, because they were shared, since this came into being: what a snapshot costs
/// that was taken then.
#[derive(Debug, Clone, Copy)]
pub struct CopyMeter {
    copied_before: u64,
}

impl CopyMeter {
    pub fn begin() -> Self {
        Self { copied_before: COPIED_BYTES.load(Ordering::Relaxed) }
    }

    pub fn bytes(self) -> u64 {
        COPIED_BYTES.load(Ordering::Relaxed) - self.copied_before
    }
}

/// Cloning shares the data; a change through one clone copies it first.
///
/// Invariant: while `MAYBE_SHARED` is clear, this is the only pointer to the data.
pub(super) struct Cow<T> {
    pointer: AtomicPtr<T>,
    /// What it owns, from which the compiler derives whether it may go to other threads.
    owned: PhantomData<Arc<T>>,
}

impl<T> Cow<T> {
    pub fn new(data: T) -> Self {
        const { assert!(align_of::<T>() > MAYBE_SHARED, "the lowest bit of an address must be free") };
        Self { pointer: AtomicPtr::new(Arc::into_raw(Arc::new(data)).cast_mut()), owned: PhantomData }
    }

    fn address(&self) -> *mut T {
        self.pointer.load(Ordering::Relaxed).map_addr(|address| address & !MAYBE_SHARED)
    }

    fn may_be_shared(&self) -> bool {
        self.pointer.load(Ordering::Relaxed).addr() & MAYBE_SHARED != 0
    }

    /// The `Arc` behind it, which must not be dropped.
    fn arc(&self) -> ManuallyDrop<Arc<T>> {
        // SAFETY: the pointer came from `Arc::into_raw` and this holds one count of it.
        ManuallyDrop::new(unsafe { Arc::from_raw(self.address()) })
    }

    /// Whether another clone is alive.
    pub fn is_shared(&self) -> bool {
        self.may_be_shared() && Arc::strong_count(&self.arc()) > 1
    }

    /// The data, to be changed, unless it is shared.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        if self.may_be_shared() {
            Arc::get_mut(&mut self.arc())?;
            *self.pointer.get_mut() = self.address();
        }
        // SAFETY: the bit is clear, so this is the only pointer to the data, and it is borrowed mutably.
        Some(unsafe { &mut *self.address() })
    }

    /// The address of the data, for a prefetch.
    pub fn as_ptr(&self) -> *const T {
        self.address()
    }
}

impl<T: Clone> Cow<T> {
    /// The data, to be changed: a copy, if it was shared.
    pub fn make_mut(&mut self) -> &mut T {
        if self.may_be_shared() {
            self.make_own();
        }
        // SAFETY: the bit is clear, so this is the only pointer to the data, and it is borrowed mutably.
        unsafe { &mut *self.address() }
    }

    #[cold]
    fn make_own(&mut self) {
        let mut arc = self.arc();
        // Should the clone panic, the old pointer is still this one's.
        counted(|| Arc::make_mut(&mut arc));
        *self.pointer.get_mut() = Arc::as_ptr(&arc).cast_mut();
    }

    /// The data itself; a copy, if it is shared.
    pub fn into_inner(self) -> T {
        let this = ManuallyDrop::new(self);
        let arc = ManuallyDrop::into_inner(this.arc());
        Arc::try_unwrap(arc).unwrap_or_else(|arc| counted(|| T::clone(&arc)))
    }
}

impl<T> Clone for Cow<T> {
    fn clone(&self) -> Self {
        let shared = self.address().map_addr(|address| address | MAYBE_SHARED);
        // Whoever is to write here later gets the exclusive access for it from someone who orders that after this.
        self.pointer.store(shared, Ordering::Relaxed);
        // SAFETY: the pointer came from `Arc::into_raw`, and the count that this holds keeps it alive meanwhile.
        unsafe { Arc::increment_strong_count(self.address()) };
        Self { pointer: AtomicPtr::new(shared), owned: PhantomData }
    }
}

impl<T> Drop for Cow<T> {
    fn drop(&mut self) {
        drop(ManuallyDrop::into_inner(self.arc()));
    }
}

impl<T> Deref for Cow<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the pointer came from `Arc::into_raw`, this holds one count of it, and nobody changes shared data.
        unsafe { &*self.address() }
    }
}

impl<T: Default> Default for Cow<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Cow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_change_is_seen_by_one_clone_alone() {
        let mut first = Cow::new(vec![1]);
        let mut second = first.clone();
        let third = second.clone();
        first.make_mut().push(2);
        second.make_mut().push(3);
        assert_eq!((&*first, &*second, &*third), (&vec![1, 2], &vec![1, 3], &vec![1]));
        assert!(!first.is_shared() && !second.is_shared() && !third.is_shared());
    }

    #[test]
    fn the_last_of_the_clones_writes_in_place() {
        let mut first = Cow::new([1u64; 8]);
        let place = first.as_ptr();
        let second = first.clone();
        assert!(first.is_shared() && first.get_mut().is_none());
        drop(second);
        assert!(!first.is_shared());
        first.make_mut()[0] = 2;
        assert_eq!(first.as_ptr(), place);
        assert!(first.get_mut().is_some());
    }

    #[test]
    fn the_data_is_freed_with_the_last_clone() {
        let data = Arc::new(());
        let first = Cow::new(Arc::clone(&data));
        let second = first.clone();
        drop(first);
        assert_eq!(Arc::strong_count(&data), 2);
        let inner = second.into_inner();
        assert_eq!(Arc::strong_count(&data), 2);
        drop(inner);
        assert_eq!(Arc::strong_count(&data), 1);
    }

    #[test]
    fn clones_on_other_threads_keep_what_they_were_given() {
        let mut live = Cow::new(vec![0u64; 100]);
        std::thread::scope(|scope| {
            for round in 1..200 {
                let frozen = live.clone();
                scope.spawn(move || assert!(frozen.iter().all(|it| *it == round - 1)));
                live.make_mut().fill(round);
            }
        });
    }

    proptest! {
        /// Clones, changes and drops in any order against plain copies.
        #[test]
        fn clones_are_as_good_as_copies(steps in prop::collection::vec((0..4u8, any::<usize>(), any::<u32>()), 1..100)) {
            let mut shared = vec![Cow::new(vec![0u32])];
            let mut copies = vec![vec![0u32]];
            for (step, which, item) in steps {
                let at = which % shared.len();
                match step {
                    0 => {
                        shared.push(shared[at].clone());
                        copies.push(copies[at].clone());
                    }
                    1 if shared.len() > 1 => {
                        shared.swap_remove(at);
                        copies.swap_remove(at);
                    }
                    2 if shared[at].get_mut().map(|it| it.push(item)).is_some() => copies[at].push(item),
                    _ => {
                        shared[at].make_mut().push(item);
                        copies[at].push(item);
                    }
                }
                prop_assert!(shared.iter().zip(&copies).all(|(cow, copy)| **cow == *copy));
            }
        }
    }
}
