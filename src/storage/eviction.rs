//! Which keys leave when memory is short: the best of a few samples, and of the best of earlier samples.
//!
//! As in Redis, no order of all keys is kept. Samples are put into a pool of sixteen candidates, so that a good one that
//! was passed over this time is taken the next. A candidate that was used since it was sampled is passed over.

use super::db::{Db, Item, Sampled};
use super::keyspace::Keyspace;
use super::live::decayed_counter;

const CANDIDATES_MAX: usize = 16;

/// What makes a key a better candidate than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranking {
    /// That it was not accessed for longer. The present, in seconds.
    Idle { seconds: u32 },
    /// That it is used less often. The present, in minutes, and how many of them wear a counter down by one.
    Rare { minutes: u32, decay_minutes: u32 },
    /// That it expires sooner.
    ExpiresSoon,
}

impl Ranking {
    /// Higher for better candidates.
    fn score(self, item: &Item<'_>) -> u64 {
        match self {
            Self::Idle { seconds } => u64::from(seconds.wrapping_sub(item.access) & 0xff_ffff),
            Self::Rare { minutes, decay_minutes } => {
                u64::from(255 - decayed_counter(item.access, minutes, decay_minutes))
            }
            Self::ExpiresSoon => item.expires_at.map_or(0, |at| u64::MAX - at.max(0) as u64),
        }
    }
}

#[derive(Debug)]
struct Candidate {
    score: u64,
    db_index: usize,
    key: Vec<u8>,
}

/// The best candidates of all samples so far, the best one last.
#[derive(Debug, Default)]
pub struct EvictionPool {
    candidates: Vec<Candidate>,
}

impl EvictionPool {
    /// What was collected under another ranking is of no use.
    pub fn clear(&mut self) {
        self.candidates.clear();
    }

    /// Takes samples of one database.
    pub fn add_samples(
        &mut self,
        (db_index, db): (usize, &Db),
        (which, samples): (Sampled, usize),
        ranking: Ranking,
        rng: &mut fastrand::Rng,
    ) {
        db.sample(which, samples, rng, |item| self.add(db_index, &item, ranking.score(&item)));
    }

    fn add(&mut self, db_index: usize, item: &Item<'_>, score: u64) {
        let candidates = &mut self.candidates;
        let is_full = candidates.len() == CANDIDATES_MAX;
        if is_full && score <= candidates[0].score {
            return;
        }
        if candidates.iter().any(|it| it.db_index == db_index && it.key == item.key) {
            return;
        }
        if is_full {
            candidates.remove(0);
        }
        let at = candidates.partition_point(|it| it.score < score);
        candidates.insert(at, Candidate { score, db_index, key: item.key.to_vec() });
    }

    /// The best candidate that is still there and was not used since; its database and key.
    pub fn take_best(
        &mut self,
        keyspace: &Keyspace,
        which: Sampled,
        ranking: Ranking,
    ) -> Option<(usize, Vec<u8>)> {
        while let Some(candidate) = self.candidates.pop() {
            let item = keyspace.db(candidate.db_index).item(&candidate.key);
            let is_candidate = item.is_some_and(|item| {
                ranking.score(&item) >= candidate.score
                    && (which == Sampled::AllKeys || item.expires_at.is_some())
            });
            if is_candidate {
                return Some((candidate.db_index, candidate.key));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::value::Value;

    /// `keys` keys named by their numbers; the access stamp is the number, and `expires` says which have an expiry.
    fn keyspace(keys: u32, expires: impl Fn(u32) -> Option<i64>) -> Keyspace {
        let mut keyspace = Keyspace::new(2, 7);
        let db = keyspace.db_mut(0);
        for n in 0..keys {
            let key = n.to_string();
            db.load(key.as_bytes(), Value::string("x"), expires(n));
            let found = db.find(key.as_bytes()).unwrap();
            db.set_access(found, n);
        }
        keyspace
    }

    fn counts(keyspace: &Keyspace, which: Sampled, draws: usize, samples: usize) -> Vec<u32> {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut counts = vec![0; keyspace.db(0).len()];
        for _ in 0..draws {
            keyspace.db(0).sample(which, samples, &mut rng, |item| {
                counts[std::str::from_utf8(item.key).unwrap().parse::<usize>().unwrap()] += 1;
            });
        }
        counts
    }

    /// Chi-squared over the mean: about 1 for draws with equal chances.
    fn unevenness(counts: &[u32]) -> f64 {
        let mean = counts.iter().sum::<u32>() as f64 / counts.len() as f64;
        counts.iter().map(|&n| (f64::from(n) - mean).powi(2) / mean).sum::<f64>() / counts.len() as f64
    }

    #[test]
    fn every_key_is_sampled_with_the_same_chance_however_segments_are_filled() {
        for keys in [3, 500, 3000, 5000] {
            let keyspace = keyspace(keys, |_| None);
            let counts = counts(&keyspace, Sampled::AllKeys, keys as usize * 100, 1);
            let unevenness = unevenness(&counts);
            assert!(unevenness < 1.3, "{keys}: {unevenness}");
        }
    }

    #[test]
    fn volatile_keys_are_sampled_with_the_same_chance_many_or_few() {
        for every in [2, 50, 2000] {
            let keyspace = keyspace(10_000, |n| (n % every == 0).then_some(1_000_000));
            let counts = counts(&keyspace, Sampled::Volatile, 100_000, 1);
            let (volatile, others): (Vec<(usize, u32)>, _) =
                counts.into_iter().enumerate().partition(|(n, _)| n % every as usize == 0);
            assert!(others.iter().all(|&(_, count)| count == 0));
            let counts: Vec<u32> = volatile.into_iter().map(|(_, count)| count).collect();
            let unevenness = unevenness(&counts);
            assert!(unevenness < 1.9, "every {every}: {unevenness}");
        }
    }

    #[test]
    fn the_counts_of_volatile_keys_survive_splits_merges_and_removals() {
        let mut keyspace = keyspace(0, |_| None);
        let db = keyspace.db_mut(0);
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..60_000 {
            let key = rng.u32(..8000).to_string();
            match rng.u32(..if db.len() > 4000 { 8 } else { 4 }) {
                0 => drop(db.load(key.as_bytes(), Value::string("x"), Some(5))),
                1 => drop(db.load(key.as_bytes(), Value::string("y"), None)),
                2 if db.find(key.as_bytes()).is_some() => db.set_expires_at(key.as_bytes(), Some(9)),
                3 if db.find(key.as_bytes()).is_some() => db.set_expires_at(key.as_bytes(), None),
                _ => {
                    if let Some(found) = db.find(key.as_bytes()) {
                        db.remove(found);
                    }
                }
            }
        }
        let volatile = db.iter().filter(|item| item.expires_at.is_some()).count();
        assert_eq!(db.expires_len(), volatile);
        let counts = db.volatile_counts();
        assert_eq!(counts.iter().map(|&n| usize::from(n)).sum::<usize>(), volatile);
    }

    #[test]
    fn the_pool_takes_the_most_idle_ones_first() {
        let mut keyspace = keyspace(2000, |_| None);
        let (mut pool, mut rng) = (EvictionPool::default(), fastrand::Rng::with_seed(5));
        let ranking = Ranking::Idle { seconds: 3000 };
        let mut evicted = Vec::new();
        for _ in 0..500 {
            pool.add_samples((0, keyspace.db(0)), (Sampled::AllKeys, 5), ranking, &mut rng);
            let (db_index, key) = pool.take_best(&keyspace, Sampled::AllKeys, ranking).unwrap();
            let db = keyspace.db_mut(db_index);
            let found = db.find(&key).unwrap();
            db.remove(found);
            evicted.push(String::from_utf8(key).unwrap().parse::<u32>().unwrap());
        }
        // A perfect choice would take 0 to 499; chance alone would take a quarter from each quarter.
        let oldest_half = evicted.iter().filter(|&&n| n < 1000).count();
        assert!(oldest_half >= 490, "{oldest_half}");
        assert!(evicted.iter().all(|&n| n < 1600), "{evicted:?}");
    }

    #[test]
    fn a_candidate_that_was_used_or_lost_its_expiry_is_passed_over() {
        let mut keyspace = keyspace(3, |n| Some(100 + i64::from(n)));
        let (mut pool, mut rng) = (EvictionPool::default(), fastrand::Rng::with_seed(5));
        let ranking = Ranking::Idle { seconds: 10 };
        pool.add_samples((0, keyspace.db(0)), (Sampled::Volatile, 5), ranking, &mut rng);
        let db = keyspace.db_mut(0);
        let found = db.find(b"0").unwrap();
        db.set_access(found, 10);
        db.set_expires_at(b"1", None);
        assert_eq!(pool.take_best(&keyspace, Sampled::Volatile, ranking), Some((0, b"2".to_vec())));
        assert_eq!(pool.take_best(&keyspace, Sampled::Volatile, ranking), None);
    }
}
