//! How durations are distributed: buckets whose width grows with the value, 32 for each power of two.

/// Longer ones count as this long, as Redis has it.
const NANOS_MAX: u64 = 1_000_000_000;
const SUB_BITS: u32 = 5;
const SUBS: u64 = 1 << SUB_BITS;
const BUCKETS: usize = ((64 - NANOS_MAX.leading_zeros() - SUB_BITS + 1) as usize) << SUB_BITS;

/// Takes memory from the first value on.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    buckets: Vec<u32>,
}

impl Histogram {
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; BUCKETS];
        }
        let bucket = &mut self.buckets[bucket_of(nanos.min(NANOS_MAX))];
        *bucket = bucket.saturating_add(1);
    }

    /// For each power of two, from 1024 ns on, that adds something: its microseconds, and how many values are not
    /// larger.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let total: u64 = self.buckets.iter().map(|&count| u64::from(count)).sum();
        let (mut seen, mut out) = (0, Vec::new());
        let mut bound = 1024_u64;
        let mut next = 0;
        while seen < total {
            let last = bucket_of(bound.min(NANOS_MAX));
            let added: u64 = self.buckets[next..=last].iter().map(|&count| u64::from(count)).sum();
            if added > 0 {
                seen += added;
                // The bound as Redis' histogram shows it: the end of a bucket that is 1/128 of it wide.
                out.push(((bound + bound / 128 - 1) / 1000, seen));
            }
            next = last + 1;
            bound *= 2;
        }
        out
    }

    /// The duration, in nanoseconds, that `percentile` per cent do not exceed; none without values.
    pub fn percentile(&self, percentile: f64) -> Option<u64> {
        let total: u64 = self.buckets.iter().map(|&count| u64::from(count)).sum();
        if total == 0 {
            return None;
        }
        let wanted = ((percentile / 100.0 * total as f64).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        let index = self.buckets.iter().position(|&count| {
            seen += u64::from(count);
            seen >= wanted
        })?;
        Some(bucket_end(index))
    }
}

fn bucket_of(nanos: u64) -> usize {
    let exponent = (64 - (nanos | (SUBS - 1)).leading_zeros()) - SUB_BITS;
    ((u64::from(exponent) << SUB_BITS) + if exponent == 0 { nanos } else { (nanos >> (exponent - 1)) - SUBS })
        as usize
}

/// The largest value of a bucket.
fn bucket_end(index: usize) -> u64 {
    let (exponent, sub) = (index as u64 >> SUB_BITS, index as u64 & (SUBS - 1));
    if exponent == 0 { sub } else { ((SUBS + sub + 1) << (exponent - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_that_ends_at_most_a_thirty_second_beyond() {
        let mut previous = 0;
        for nanos in (0..5000).chain((5000..NANOS_MAX).step_by(999_983)).chain([NANOS_MAX]) {
            let bucket = bucket_of(nanos);
            assert!(bucket < BUCKETS && bucket >= previous, "{nanos}");
            previous = bucket;
            let end = bucket_end(bucket);
            assert!(end >= nanos && end - nanos <= nanos / 32, "{nanos} {end}");
        }
    }

    #[test]
    fn counts_add_up_to_the_last_bound() {
        let mut histogram = Histogram::default();
        for nanos in [500, 900, 3000, 3000, 40_000] {
            histogram.record(nanos);
        }
        assert_eq!(histogram.cumulative(), [(1, 2), (4, 4), (66, 5)]);
        assert!(histogram.percentile(50.0).is_some_and(|nanos| (3000..3100).contains(&nanos)));
        assert_eq!(Histogram::default().percentile(50.0), None);
    }
}
