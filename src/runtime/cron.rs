//! What happens by itself: expiry in slices, timeouts of blocked clients, periodic duties.

use std::time::{Duration, Instant};

use super::hub::Hub;
use super::{crash, figures, log};
use crate::command::{active_expire, dispatch, eviction, sweep};
use crate::engine::process::MemoryFigures;

/// Processor time is read once in so many turns.
const TURNS_PER_CPU_READING: u64 = 5;
const TURNS_PER_SECOND: u64 = 10;

/// Every tenth of a second, as Redis' `hz 10`.
pub async fn run(hub: &'static Hub) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut memory = hub.enter(|engine| engine.stats.memory);
    for turn in 0u64.. {
        ticks.tick().await;
        memory = figures::measure(memory);
        let cpu = if turn.is_multiple_of(TURNS_PER_CPU_READING) { figures::cpu() } else { None };
        let cached_sockets = hub.sockets.close_idle();
        let (level, reports_crashes, is_master, is_paused) = hub.enter(|engine| {
            // Others may have seen more since it was measured.
            let peak = memory.peak.max(engine.stats.memory.peak);
            engine.stats.memory = MemoryFigures { peak, ..memory };
            engine.migrate_cached_sockets = cached_sockets;
            engine.stats.cpu = cpu.unwrap_or(engine.stats.cpu);
            if !engine.is_cron_paused {
                let now = engine.now();
                engine.stats.sample_rates(now);
                engine.close_idle(now);
                engine.save_if_due();
                engine.rewrite_if_due();
                engine.forget_released_snapshots();
                if turn.is_multiple_of(TURNS_PER_SECOND) {
                    engine.replication_cron();
                }
            }
            engine.continue_shutdown();
            engine.continue_failover();
            let config = &engine.config;
            (config.loglevel, config.crash_log_enabled, engine.role.is_master(), engine.is_cron_paused)
        });
        log::set_level(level);
        crash::set_enabled(reports_crashes);
        log::set_role(is_master);
        if !is_paused {
            expire(hub).await;
        }
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

/// Steps of cleaning up for which the engine is held: less than half a millisecond.
const SWEEP_STEPS_MAX: usize = 256;
/// Between two such slices, so that whoever waits for the engine gets it: a lock that is taken again at once stays here.
const SWEEP_PAUSE: Duration = Duration::from_millis(1);
/// Between two looks whether there is something to be cleaned up.
const SWEEP_IDLE: Duration = Duration::from_millis(100);

/// Cleans up behind removals of many elements.
pub async fn run_clean_up(hub: &'static Hub) {
    loop {
        let has_more = hub.enter(|engine| sweep::sweep_slice(engine, SWEEP_STEPS_MAX));
        tokio::time::sleep(if has_more { SWEEP_PAUSE } else { SWEEP_IDLE }).await;
    }
}

/// Goes on with eviction where a batch had no time for all of it. Others have their turn at the engine between slices.
pub async fn run_eviction(hub: &'static Hub) {
    loop {
        hub.eviction_wanted.notified().await;
        while hub.enter(eviction::evict_slice) {
            tokio::task::yield_now().await;
        }
    }
}

/// Ends the blocks whose time is up, to the millisecond.
pub async fn run_deadlines(hub: &'static Hub) {
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
