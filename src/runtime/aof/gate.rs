//! Where connections wait until what they are about to say is on disk (`appendfsync always`), or until the disk has caught
//! up with what they have written.
//!
//! One fsync lets everybody pass who came before it: the more clients, the more of them share one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use crate::engine::aof::Place;

#[derive(Default)]
pub struct Gate {
    epoch: AtomicU64,
    /// Up to here everybody may pass.
    open_to: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    clients: Vec<(Place, Waker)>,
    /// Places up to this one will not be on disk, as far as anybody knows.
    failed_to: Option<Place>,
}

/// What a client that waits for a place learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Open,
    Closed,
    /// The place could not be written: nobody knows whether it will be.
    Failed,
}

impl Gate {
    /// Whether a client may say what waits for `place`. If it may not yet, `waker` is called when that changes.
    pub fn pass(&self, place: Place, waker: &Waker) -> Passage {
        if self.is_open(place) {
            return Passage::Open;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever opens it does so before looking who waits.
        if self.is_open(place) {
            return Passage::Open;
        }
        if waiting
            .failed_to
            .is_some_and(|failed| failed.epoch == place.epoch && place.offset <= failed.offset)
        {
            return Passage::Failed;
        }
        waiting.clients.push((place, waker.clone()));
        Passage::Closed
    }

    fn is_open(&self, place: Place) -> bool {
        let epoch = self.epoch.load(Ordering::Acquire);
        epoch > place.epoch
            || (epoch == place.epoch && self.open_to.load(Ordering::Acquire) >= place.offset.0)
    }

    /// Everybody may pass who waits for a place up to this one.
    pub fn open(&self, place: Place) {
        if self.epoch.load(Ordering::Acquire) != place.epoch {
            // Nobody passes by the new epoch with the old one's offset.
            self.open_to.store(0, Ordering::Release);
            self.epoch.store(place.epoch, Ordering::Release);
        }
        self.open_to.store(place.offset.0, Ordering::Release);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.failed_to = None;
        let passing = waiting.clients.extract_if(.., |(place, _)| self.is_open(*place));
        passing.for_each(|(_, waker)| waker.wake());
    }

    /// What stands up to this place could not be written.
    pub fn fail(&self, place: Place) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.failed_to = Some(place);
        waiting.clients.drain(..).for_each(|(_, waker)| waker.wake());
    }
}
