//! Whether new memory comes in huge pages, which the allocator asks for (`.cargo/config.toml`).
//!
//! A data set in huge pages costs far fewer misses in the tables that translate addresses. But the first touch of such a
//! page clears 2 MiB at once, some 0.4 ms, and ten times as long where a host has yet to give that memory to its guest. While
//! a snapshot is written, writers copy what they change into new memory all the time, so meanwhile it comes in small pages.

use std::sync::{Mutex, PoisonError};

use rustix::thread::disable_transparent_huge_pages;

struct State {
    is_disabled: bool,
    pauses: u32,
}

static STATE: Mutex<State> = Mutex::new(State { is_disabled: false, pauses: 0 });

impl State {
    fn apply(&self) {
        // Where the system knows nothing of it there are none to be switched off.
        let _ = disable_transparent_huge_pages(self.is_disabled || self.pauses > 0);
    }
}

fn change(change: impl FnOnce(&mut State)) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut state);
    state.apply();
}

/// `disable-thp yes`: this process gets none.
pub fn disable() {
    change(|state| state.is_disabled = true);
}

/// While one of these is there, new memory comes in small pages.
pub struct Pause(());

impl Pause {
    pub fn begin() -> Self {
        change(|state| state.pauses += 1);
        Self(())
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        change(|state| state.pauses -= 1);
    }
}
