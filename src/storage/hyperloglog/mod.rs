//! HyperLogLog: how many different elements a set has had, estimated within 0.81 %, in at most 12 KiB.
//!
//! A HyperLogLog is a string in Redis' own format, byte for byte, so that values travel both ways:
//!
//! | bytes | |
//! |---|---|
//! | 4 | `HYLL` |
//! | 1 | 0 dense, 1 sparse |
//! | 3 | not used |
//! | 8 | the cardinality computed last, little-endian; the highest bit is set when it is out of date |
//! | rest | 16384 registers: six bits each (`dense`), or runs of equal ones (`sparse`) |
//!
//! Clients may write into such a string as they please, so nothing but what `HyperLogLog::of` has checked is relied on.
//! The algorithm: Heule et al. 2013, the estimator Ertl 2017 (arXiv:1702.01284).

mod dense;
mod estimate;
mod murmur;
mod sparse;
#[cfg(test)]
mod tests;

pub use sparse::Run;

use estimate::Histogram;

/// Registers of one HyperLogLog.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of an element's hash that choose its register; the others make its rank.
const INDEX_BITS: u32 = 14;
const RANK_BITS: u32 = u64::BITS - INDEX_BITS;

const HEADER_BYTES: usize = 16;
const MAGIC: [u8; 4] = *b"HYLL";
const ENCODING_AT: usize = 4;
const CARDINALITY_AT: usize = 8;
const DENSE_BYTES: usize = HEADER_BYTES + dense::REGISTER_BYTES;
/// In the last byte of the cached cardinality.
const OUT_OF_DATE: u8 = 0x80;

/// The string is no HyperLogLog at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotHyperLogLog;

/// The string has the header of a HyperLogLog, but its registers make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Dense,
    Sparse,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }
}

/// What an element does to a HyperLogLog: one register becomes at least `rank`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    index: usize,
    rank: u8,
}

impl Mark {
    pub fn of(element: &[u8]) -> Self {
        let hash = murmur::hash64(element);
        // The bit behind the last ends a rank that would go on for ever.
        let rest = hash >> INDEX_BITS | 1 << RANK_BITS;
        Self { index: hash as usize % REGISTERS, rank: rest.trailing_zeros() as u8 + 1 }
    }
}

/// A string that has been found to be a HyperLogLog.
#[derive(Debug, Clone, Copy)]
pub struct HyperLogLog<'a> {
    encoding: Encoding,
    bytes: &'a [u8],
}

impl<'a> HyperLogLog<'a> {
    pub fn of(bytes: &'a [u8]) -> Result<Self, NotHyperLogLog> {
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(&MAGIC) {
            return Err(NotHyperLogLog);
        }
        let encoding = match bytes[ENCODING_AT] {
            0 if bytes.len() == DENSE_BYTES => Encoding::Dense,
            1 => Encoding::Sparse,
            _ => return Err(NotHyperLogLog),
        };
        Ok(Self { encoding, bytes })
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The cardinality that was computed last, if nothing has been added since.
    pub fn cached_cardinality(&self) -> Option<u64> {
        let (cached, _) = self.bytes[CARDINALITY_AT..].split_first_chunk()?;
        let cached = u64::from_le_bytes(*cached);
        (cached >> (u64::BITS - 1) == 0).then_some(cached)
    }

    pub fn cardinality(&self) -> Result<u64, Corrupt> {
        let mut histogram = Histogram::default();
        match self.encoding {
            Encoding::Dense => {
                dense::each_register(self.registers(), |_, rank| histogram.add(rank, 1));
            }
            Encoding::Sparse => {
                sparse::each_run(self.registers(), |_, run| histogram.add(run.rank(), run.len()))?;
            }
        }
        Ok(histogram.cardinality())
    }

    /// The runs of a sparse one, as they are written.
    pub fn runs(&self) -> impl Iterator<Item = Run> + use<'a> {
        sparse::runs(self.registers())
    }

    /// Whether `mark` changes a dense one; of a sparse one it is not known before it is tried.
    pub fn may_change_by(&self, mark: Mark) -> bool {
        match self.encoding {
            Encoding::Dense => dense::register(self.registers(), mark.index) < mark.rank,
            Encoding::Sparse => true,
        }
    }

    fn registers(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }
}

/// A HyperLogLog that is changed. Where a method fails nothing has been changed.
#[derive(Debug)]
pub struct HyperLogLogMut<'a> {
    encoding: Encoding,
    bytes: &'a mut Vec<u8>,
    /// Longer than this a sparse one becomes dense (`hll-sparse-max-bytes`).
    sparse_bytes_max: usize,
}

impl<'a> HyperLogLogMut<'a> {
    /// Takes an empty string for an empty HyperLogLog.
    pub fn of_or_new(bytes: &'a mut Vec<u8>, sparse_bytes_max: usize) -> Result<Self, NotHyperLogLog> {
        if bytes.is_empty() {
            bytes.extend_from_slice(&MAGIC);
            bytes.resize(HEADER_BYTES, 0);
            bytes[ENCODING_AT] = 1;
            bytes.extend_from_slice(&sparse::EMPTY);
        }
        let encoding = HyperLogLog::of(bytes)?.encoding;
        Ok(Self { encoding, bytes, sparse_bytes_max })
    }

    pub fn as_ref(&self) -> HyperLogLog<'_> {
        HyperLogLog { encoding: self.encoding, bytes: self.bytes }
    }

    /// Whether the element was news. The cached cardinality is left as it is where the encoding is dense.
    pub fn add(&mut self, mark: Mark) -> Result<bool, Corrupt> {
        match self.encoding {
            Encoding::Dense => Ok(dense::raise(&mut self.bytes[HEADER_BYTES..], mark)),
            Encoding::Sparse => match sparse::raise(self.bytes, mark, self.sparse_bytes_max)? {
                sparse::Raised::Unchanged => Ok(false),
                sparse::Raised::Changed => {
                    self.invalidate();
                    Ok(true)
                }
                sparse::Raised::NoRoom => {
                    self.make_dense()?;
                    self.add(mark)
                }
            },
        }
    }

    /// Changes the encoding; the cached cardinality stays.
    pub fn make_dense(&mut self) -> Result<(), Corrupt> {
        if self.encoding == Encoding::Sparse {
            let mut dense = vec![0; DENSE_BYTES];
            dense[..HEADER_BYTES].copy_from_slice(&self.bytes[..HEADER_BYTES]);
            dense[ENCODING_AT] = 0;
            let registers = &mut dense[HEADER_BYTES..];
            sparse::each_run(&self.bytes[HEADER_BYTES..], |start, run| {
                if run.rank() > 0 {
                    (start..start + run.len()).for_each(|index| {
                        dense::raise(registers, Mark { index, rank: run.rank() });
                    });
                }
            })?;
            *self.bytes = dense;
            self.encoding = Encoding::Dense;
        }
        Ok(())
    }

    /// Raises every register to at least that of the union.
    pub fn take_union(&mut self, union: &Union) -> Result<(), Corrupt> {
        if union.has_dense {
            self.make_dense()?;
        }
        for (index, &rank) in union.registers.iter().enumerate().filter(|&(_, &rank)| rank > 0) {
            self.add(Mark { index, rank })?;
        }
        Ok(())
    }

    pub fn cache_cardinality(&mut self, cardinality: u64) {
        self.bytes[CARDINALITY_AT..HEADER_BYTES].copy_from_slice(&cardinality.to_le_bytes());
    }

    /// Says that the cached cardinality is out of date.
    pub fn invalidate(&mut self) {
        self.bytes[HEADER_BYTES - 1] |= OUT_OF_DATE;
    }
}

/// The registers of several HyperLogLogs, the highest of each.
#[derive(Debug)]
pub struct Union {
    registers: Vec<u8>,
    has_dense: bool,
}

impl Default for Union {
    fn default() -> Self {
        Self { registers: vec![0; REGISTERS], has_dense: false }
    }
}

impl Union {
    pub fn add(&mut self, other: HyperLogLog<'_>) -> Result<(), Corrupt> {
        let registers = &mut self.registers;
        match other.encoding {
            Encoding::Dense => {
                self.has_dense = true;
                dense::each_register(other.registers(), |index, rank| {
                    registers[index] = registers[index].max(rank);
                });
                Ok(())
            }
            Encoding::Sparse => sparse::each_run(other.registers(), |start, run| {
                if run.rank() > 0 {
                    let covered = &mut registers[start..start + run.len()];
                    covered.iter_mut().for_each(|rank| *rank = (*rank).max(run.rank()));
                }
            }),
        }
    }

    pub fn registers(&self) -> &[u8] {
        &self.registers
    }

    pub fn cardinality(&self) -> u64 {
        let mut histogram = Histogram::default();
        self.registers.iter().for_each(|&rank| histogram.add(rank, 1));
        histogram.cardinality()
    }
}
