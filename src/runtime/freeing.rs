//! A thread that gives memory back, so that nobody waits while a large value or a whole database is freed.

use std::sync::mpsc::{Sender, channel};

use crate::engine::Job;

/// Hands garbage to the thread.
#[derive(Debug)]
pub struct Freeing {
    garbage: Sender<Job>,
}

impl Freeing {
    pub fn start() -> Self {
        let (garbage, received) = channel::<Job>();
        let spawned = std::thread::Builder::new().name("freeing".to_owned()).spawn(move || {
            for job in received {
                drop(job);
            }
        });
        // Without a thread nobody receives: the job comes back from `send` and is freed right there.
        drop(spawned);
        Self { garbage }
    }

    pub fn free(&self, job: Job) {
        drop(self.garbage.send(job));
    }
}
