//! What happens by itself: expiry in slices, timeouts of blocked clients, periodic duties.

use std::sync::Arc;
use std::time::Duration;

use super::hub::Hub;
use super::{figures, log};
use crate::command::dispatch;

/// Processor time is read once in so many turns.
const TURNS_PER_CPU_READING: u32 = 5;

/// Every tenth of a second, as Redis' `hz 10`.
pub async fn run(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut memory = hub.enter(|engine| engine.stats.memory);
    let mut turn = 0;
    loop {
        ticks.tick().await;
        memory = figures::memory(memory);
        let cpu = if turn % TURNS_PER_CPU_READING == 0 { figures::cpu() } else { None };
        turn = turn.wrapping_add(1);
        let (level, is_master) = hub.enter(|engine| {
            engine.stats.memory = memory;
            engine.stats.cpu = cpu.unwrap_or(engine.stats.cpu);
            if !engine.is_cron_paused {
                let now = engine.now();
                engine.stats.sample_rates(now);
                engine.save_if_due();
            }
            engine.continue_shutdown();
            (engine.config.loglevel, engine.role.is_master())
        });
        log::set_level(level);
        log::set_role(is_master);
    }
}

/// Ends the blocks whose time is up, to the millisecond.
pub async fn run_deadlines(hub: Arc<Hub>) {
    loop {
        let wait_ms = hub.enter(|engine| {
            dispatch::expire_timeouts(engine);
            engine.blocked.next_deadline().map(|at| (at.0 - engine.now().0).max(0) as u64)
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
