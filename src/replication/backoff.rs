//! How long to wait before the next attempt to reach the master: not at all, then longer each time.

/// The delay after the first immediate attempt.
const FIRST_MS: u64 = 100;

/// Redis tries once a second; no attempt waits longer than that.
const DELAY_MAX_MS: u64 = 1000;

/// The delays of one series of attempts, with jitter so that many replicas do not come back as one.
#[derive(Debug)]
pub struct Backoff {
    attempt: u32,
    rng: fastrand::Rng,
}

impl Backoff {
    pub fn new(rng: fastrand::Rng) -> Self {
        Self { attempt: 0, rng }
    }

    /// Milliseconds before the next attempt: 0, then about 100, 200, 400, 800, 1000, 1000... less up to a
    /// quarter.
    pub fn next_delay_ms(&mut self) -> u64 {
        let attempt = self.attempt;
        self.attempt = attempt.saturating_add(1);
        if attempt == 0 {
            return 0;
        }
        let delay_ms = (FIRST_MS << (attempt - 1).min(10)).min(DELAY_MAX_MS);
        delay_ms - self.rng.u64(..=delay_ms / 4)
    }

    /// The link works: the next attempt is a first one again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_start_at_once_and_end_at_one_a_second() {
        let mut backoff = Backoff::new(fastrand::Rng::with_seed(7));
        assert_eq!(backoff.next_delay_ms(), 0);
        for base in [100, 200, 400, 800, 1000, 1000, 1000] {
            let delay = backoff.next_delay_ms();
            assert!((base * 3 / 4..=base).contains(&delay), "{delay} for {base}");
        }
        backoff.reset();
        assert_eq!(backoff.next_delay_ms(), 0);
    }

    #[test]
    fn one_seed_gives_one_series() {
        let series = |seed| {
            let mut backoff = Backoff::new(fastrand::Rng::with_seed(seed));
            std::iter::repeat_with(|| backoff.next_delay_ms()).take(20).collect::<Vec<_>>()
        };
        assert_eq!(series(3), series(3));
    }
}
