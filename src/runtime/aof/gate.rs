//! Where connections wait until what they are about to say is on disk (`appendfsync always`), or at least written.
//!
//! One write, or one fsync, lets everybody pass who came before it: the more clients, the more of them share one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use crate::engine::aof::{Place, Until, Wait};

#[derive(Default)]
pub struct Gate {
    epoch: AtomicU64,
    /// Up to here everybody may pass.
    open_to: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    clients: Vec<(Wait, Waker)>,
    /// Up to here nobody waits for a write.
    released_to: Option<Place>,
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
    /// Whether a client may say what waits for a place. If it may not yet, `waker` is called when that changes.
    pub fn pass(&self, wait: Wait, waker: &Waker) -> Passage {
        let place = wait.place;
        if self.is_open(place) {
            return Passage::Open;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever opens it does so before looking who waits.
        if self.is_open(place) {
            return Passage::Open;
        }
        if wait.until == Until::Written && reaches(waiting.released_to, place) {
            return Passage::Open;
        }
        if reaches(waiting.failed_to, place) {
            return Passage::Failed;
        }
        waiting.clients.push((wait, waker.clone()));
        Passage::Closed
    }

    fn is_open(&self, place: Place) -> bool {
        let epoch = self.epoch.load(Ordering::Acquire);
        epoch > place.epoch || (epoch == place.epoch && self.open_to.load(Ordering::Acquire) >= place.reach())
    }

    /// Everybody may pass who waits for a place up to this one.
    pub fn open(&self, place: Place) {
        if self.epoch.load(Ordering::Acquire) != place.epoch {
            // Nobody passes by the new epoch with the old one's offset.
            self.open_to.store(0, Ordering::Release);
            self.epoch.store(place.epoch, Ordering::Release);
        }
        self.open_to.store(place.reach(), Ordering::Release);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.failed_to = None;
        let passing = waiting.clients.extract_if(.., |(wait, _)| self.is_open(wait.place));
        passing.for_each(|(_, waker)| waker.wake());
    }

    /// Nothing is written for a while: nobody up to this place is to wait for it.
    pub fn release(&self, place: Place) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.released_to = Some(place);
        let passing = waiting.clients.extract_if(.., |(wait, _)| wait.until == Until::Written);
        passing.for_each(|(_, waker)| waker.wake());
    }

    /// What stands up to this place could not be written.
    pub fn fail(&self, place: Place) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.failed_to = Some(place);
        waiting.clients.drain(..).for_each(|(_, waker)| waker.wake());
    }
}

fn reaches(to: Option<Place>, place: Place) -> bool {
    to.is_some_and(|to| to.epoch == place.epoch && place.reach() <= to.reach())
}
