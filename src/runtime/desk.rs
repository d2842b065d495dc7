//! Where connections wait for a script that takes long, and are served while it runs.
//!
//! A script holds the engine. After its first moments nobody waits for the lock any more, since a thread that waits serves
//! nobody: what was to be done inside is left here as a closure. Once the script is past `busy-reply-threshold` it takes
//! these in between two of its instructions; the gates then answer BUSY to most of them. If it ends before, whoever leaves
//! the engine takes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::engine::Engine;

type Errand = Box<dyn FnOnce(&mut Engine) + Send>;

#[derive(Default)]
pub struct Desk {
    /// A script has been running for a while.
    is_open: AtomicBool,
    has_errands: AtomicBool,
    errands: Mutex<Vec<Errand>>,
}

impl Desk {
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    pub fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Release);
    }

    pub fn has_errands(&self) -> bool {
        self.has_errands.load(Ordering::Acquire)
    }

    pub fn leave(&self, errand: Errand) {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner).push(errand);
        self.has_errands.store(true, Ordering::Release);
    }

    /// Runs what was left here, in order.
    pub fn run(&self, engine: &mut Engine) {
        while self.has_errands.swap(false, Ordering::AcqRel) {
            let errands = std::mem::take(&mut *self.errands.lock().unwrap_or_else(PoisonError::into_inner));
            for errand in errands {
                errand(engine);
            }
        }
    }
}
