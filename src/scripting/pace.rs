//! How often a running script is looked after: about every millisecond, whatever one of its instructions takes.
//!
//! An instruction may copy as many values as the stack holds, or run a native function or a command over a long string. So
//! the first look comes early, and each look decides by the time that has passed when the next one comes. Coroutines count
//! for themselves: so how often one is made or goes on counts, too.

use std::cell::Cell;

/// Instructions before the first look, and the most and the fewest between two.
const FIRST: u32 = 10_000;
const MOST: u32 = 100_000;
const FEWEST: u32 = 100;
const AIM_NANOS: u64 = 1_000_000;
/// So often at most is a coroutine made or resumed between two looks.
const COROUTINES_MAX: u32 = 100;

#[derive(Clone, Copy)]
struct Pace {
    interval: u32,
    /// When the last look ended, by the host's clock.
    looked_at: u64,
    coroutines: u32,
}

thread_local! {
    /// Of the script that runs on this thread.
    static PACE: Cell<Pace> = const { Cell::new(Pace { interval: FIRST, looked_at: 0, coroutines: 0 }) };
}

/// A script begins at `now`. Answers how many instructions it may run before the first look.
pub fn begin(now: u64) -> u32 {
    PACE.set(Pace { interval: FIRST, looked_at: now, coroutines: 0 });
    FIRST
}

/// A look was due at `due` and over at `now`. Answers how many instructions may run before the next one.
pub fn next(due: u64, now: u64) -> u32 {
    let Pace { interval, looked_at, .. } = PACE.get();
    let took = due.saturating_sub(looked_at).max(1);
    let aimed = (u64::from(interval) * AIM_NANOS / took) as u32;
    // One slow stretch, in which the machine did something else, is not to slow the script down for long.
    let interval = aimed.clamp(interval / 8, interval * 2).clamp(FEWEST, MOST);
    PACE.set(Pace { interval, looked_at: now, coroutines: 0 });
    interval
}

/// A coroutine is made or goes on. Whether it is time for a look.
pub fn resume_coroutine() -> bool {
    let mut pace = PACE.get();
    pace.coroutines += 1;
    PACE.set(pace);
    pace.coroutines >= COROUTINES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks after a script whose `nth` instruction takes so long; answers the longest stretch between two looks.
    fn longest_stretch(instructions: u64, nanos: impl Fn(u64) -> u64) -> u64 {
        let (mut now, mut at, mut longest) = (0, 0, 0);
        let mut interval = u64::from(begin(now));
        while at < instructions {
            let stretch: u64 = (at..at + interval).map(&nanos).sum();
            now += stretch;
            at += interval;
            longest = longest.max(stretch);
            interval = u64::from(next(now, now));
        }
        longest
    }

    #[test]
    fn instructions_that_take_ever_longer_are_looked_after_in_time() {
        assert!(longest_stretch(1_000_000, |_| 10) <= 2 * AIM_NANOS);
        // Each call copies one value more than the one before.
        assert!(longest_stretch(200_000, |nth| nth / 4) <= 20 * AIM_NANOS);
    }

    #[test]
    fn a_slow_stretch_is_forgotten() {
        begin(0);
        assert_eq!(next(1_000_000_000, 1_000_000_000), FIRST / 8);
        let mut now = 1_000_000_000;
        for _ in 0..10 {
            now += 1000;
            next(now, now);
        }
        assert_eq!(PACE.get().interval, MOST);
    }
}
