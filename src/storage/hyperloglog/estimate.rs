//! From registers to a cardinality: the improved raw estimator of Otmar Ertl, "New cardinality estimation algorithms for
//! HyperLogLog sketches" (arXiv:1702.01284), algorithm 6.

use super::{RANK_BITS, REGISTERS};

/// 1 / (2 ln 2).
const ALPHA_INF: f64 = 0.721_347_520_444_481_7;

/// How many registers have which rank.
#[derive(Debug)]
pub(super) struct Histogram([u32; 64]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl Histogram {
    /// `rank` is at most 63, all that six bits hold.
    pub fn add(&mut self, rank: u8, registers: usize) {
        self.0[usize::from(rank)] += registers as u32;
    }

    pub fn cardinality(&self) -> u64 {
        let m = REGISTERS as f64;
        let of_rank = |rank: u32| f64::from(self.0[rank as usize]);
        let mut z = m * tau((m - of_rank(RANK_BITS + 1)) / m);
        for rank in (1..=RANK_BITS).rev() {
            z += of_rank(rank);
            z *= 0.5;
        }
        z += m * sigma(of_rank(0) / m);
        rounded(ALPHA_INF * m * m / z)
    }
}

/// The nearest integer. Registers that no hash can have made estimate to infinity, which C turns into -2^63.
fn rounded(estimate: f64) -> u64 {
    const LIMIT: f64 = (1u64 << 63) as f64;
    if estimate < LIMIT { estimate.round() as u64 } else { 1 << 63 }
}

/// What the registers that are full tell.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let previous = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == previous {
            return z / 3.0;
        }
    }
}

/// What the registers that are empty tell.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let previous = z;
        z += x * y;
        y += y;
        if z == previous {
            return z;
        }
    }
}
