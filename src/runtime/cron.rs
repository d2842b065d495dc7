//! What happens by itself: expiry in slices, timeouts of blocked clients, periodic duties.

use std::sync::Arc;
use std::time::Duration;

use super::hub::Hub;
use crate::command::dispatch;

/// Every tenth of a second, as Redis' `hz 10`.
pub async fn run(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        hub.enter(|engine| engine.close_idle(engine.now()));
    }
}

/// Ends the blocks whose time is up, to the millisecond.
pub async fn run_deadlines(hub: Arc<Hub>) {
    loop {
        let wait_ms = hub.enter(|engine| {
            dispatch::expire_timeouts(engine);
            engine.next_deadline().map(|at| (at.0 - engine.now().0).max(0) as u64)
        });
        match wait_ms {
            None => hub.deadline_changed.notified().await,
            Some(ms) => tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                () = hub.deadline_changed.notified() => {}
            },
        }
    }
}
