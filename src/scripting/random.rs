//! The pseudo-random numbers of `math.random`: the 48-bit generator of POSIX' `lrand48`, so that after `math.randomseed`
//! a script draws the numbers that it draws from Redis. Each run begins with a seed of the engine's generator.

use std::cell::Cell;

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;
/// A draw is below this.
const RANGE: f64 = (1u64 << 31) as f64;

thread_local! {
    /// Of the script that runs on this thread; each begins with a seed.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

pub fn seed(seed: i32) {
    STATE.set((u64::from(seed as u32) << 16) | 0x330E);
}

/// A number from 0 to 1, 1 excluded.
pub fn draw() -> f64 {
    const DRAW_MAX: u64 = i32::MAX as u64;
    let state = STATE.get().wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
    STATE.set(state);
    let draw = state >> 17;
    debug_assert!((draw as f64) < RANGE);
    (draw % DRAW_MAX) as f64 / DRAW_MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_those_of_redis() {
        seed(0);
        let draws: Vec<String> = (0..2).map(|_| format!("{:.14}", draw())).collect();
        assert_eq!(draws, ["0.17082803611217", "0.74990198051087"]);
    }
}
