//! What happens by itself: expiry in slices, timeouts of blocked clients, periodic duties.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::hub::Hub;
use crate::command::{active_expire, dispatch};

/// Every tenth of a second, as Redis' `hz 10`.
pub async fn run(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for tick in 0u64.. {
        ticks.tick().await;
        hub.enter(|engine| {
            engine.close_idle(engine.now());
            if tick.is_multiple_of(10) {
                engine.replication_cron();
            }
        });
        expire(&hub).await;
    }
}

/// How long the engine is held for a slice of the active expire cycle.
const EXPIRE_SLICE: Duration = Duration::from_micros(2500);

/// How long slices follow one another in one tick: a quarter of the time between ticks, as in Redis.
const EXPIRE_TICK_MAX: Duration = Duration::from_millis(25);

/// Keys that are removed between two looks at the clock.
const EXPIRE_KEYS_MAX: usize = 64;

/// Removes keys whose time has passed. Others have their turn at the engine between slices.
async fn expire(hub: &Hub) {
    let tick = Instant::now();
    loop {
        let has_more = hub.enter(|engine| {
            let slice = Instant::now();
            loop {
                let has_more = active_expire::expire_slice(engine, EXPIRE_KEYS_MAX);
                if !has_more || slice.elapsed() >= EXPIRE_SLICE {
                    break has_more;
                }
            }
        });
        if !has_more || tick.elapsed() >= EXPIRE_TICK_MAX {
            return;
        }
        tokio::task::yield_now().await;
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
