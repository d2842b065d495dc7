//! Registers as runs of equal ones:
//!
//! | bytes | | length | rank |
//! |---|---|---|---|
//! | `00llllll` | ZERO | 1 to 64 | 0 |
//! | `01llllll llllllll` | XZERO | 1 to 16384 | 0 |
//! | `1rrrrrll` | VAL | 1 to 4 | 1 to 32 |
//!
//! Which of several ways to write the same registers is taken depends on the order of changes, and is the way of Redis:
//! a run is split where a register in it changes, and only runs near the change are joined again.

use smallvec::SmallVec;

use super::{Corrupt, HEADER_BYTES, Mark, REGISTERS};

const ZERO_LEN_MAX: usize = 64;
const XZERO_LEN_MAX: usize = REGISTERS;
const VAL_LEN_MAX: usize = 4;
const VAL_RANK_MAX: u8 = 32;
const XZERO: u8 = 0x40;
const VAL: u8 = 0x80;

/// All registers zero.
pub(super) const EMPTY: [u8; 2] =
    [XZERO | ((XZERO_LEN_MAX - 1) >> 8) as u8, ((XZERO_LEN_MAX - 1) & 0xff) as u8];

/// One run of equal registers, named as PFDEBUG DECODE names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    Zero { len: usize },
    XZero { len: usize },
    Val { rank: u8, len: usize },
}

/// The bytes of a few runs.
type Encoded = SmallVec<[u8; 8]>;

impl Run {
    /// The run that begins `bytes`. A second byte that is missing counts as zero.
    fn read(bytes: &[u8]) -> Option<Self> {
        let &first = bytes.first()?;
        let low_six = usize::from(first & 0x3f);
        Some(if first & VAL != 0 {
            Self::Val { rank: (first >> 2 & 0x1f) + 1, len: usize::from(first & 3) + 1 }
        } else if first & XZERO != 0 {
            let second = bytes.get(1).copied().unwrap_or(0);
            Self::XZero { len: (low_six << 8 | usize::from(second)) + 1 }
        } else {
            Self::Zero { len: low_six + 1 }
        })
    }

    fn zeros(len: usize) -> Self {
        if len > ZERO_LEN_MAX { Self::XZero { len } } else { Self::Zero { len } }
    }

    fn write(self, out: &mut Encoded) {
        match self {
            Self::Zero { len } => out.push((len - 1) as u8),
            Self::XZero { len } => out.extend([XZERO | ((len - 1) >> 8) as u8, (len - 1) as u8]),
            Self::Val { rank, len } => out.push(VAL | (rank - 1) << 2 | (len - 1) as u8),
        }
    }

    /// Bytes that it takes.
    fn size(self) -> usize {
        if let Self::XZero { .. } = self { 2 } else { 1 }
    }

    /// Registers that it covers.
    #[expect(clippy::len_without_is_empty, reason = "a run is never empty")]
    pub fn len(self) -> usize {
        match self {
            Self::Zero { len } | Self::XZero { len } | Self::Val { len, .. } => len,
        }
    }

    pub fn rank(self) -> u8 {
        if let Self::Val { rank, .. } = self { rank } else { 0 }
    }

    /// The same registers, but another number of them.
    fn with_len(self, len: usize) -> Self {
        match self {
            Self::Zero { .. } | Self::XZero { .. } => Self::zeros(len),
            Self::Val { rank, .. } => Self::Val { rank, len },
        }
    }
}

/// The runs one after the other, whether they make sense or not.
pub(super) fn runs(registers: &[u8]) -> impl Iterator<Item = Run> + use<'_> {
    let mut rest = registers;
    std::iter::from_fn(move || {
        let run = Run::read(rest)?;
        rest = rest.get(run.size()..).unwrap_or_default();
        Some(run)
    })
}

/// Calls `f` with each run and the index of its first register. Runs that do not cover all registers are corrupt, and
/// so are those that cover more: `f` does not come to see them.
pub(super) fn each_run(registers: &[u8], mut f: impl FnMut(usize, Run)) -> Result<(), Corrupt> {
    let mut index = 0;
    for run in runs(registers) {
        if index + run.len() > REGISTERS {
            return Err(Corrupt);
        }
        f(index, run);
        index += run.len();
    }
    if index == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raised {
    Unchanged,
    Changed,
    /// The change cannot be written in this encoding, or would take too many bytes; nothing has been done.
    NoRoom,
}

/// Where a run is in a string.
struct Place {
    /// The byte at which it begins, and the one at which the run before it does.
    at: usize,
    previous: Option<usize>,
    run: Run,
    /// Its first register.
    first: usize,
}

/// Makes a register at least as high as `mark` wants it. `bytes` is the whole string, with its header.
pub(super) fn raise(bytes: &mut Vec<u8>, mark: Mark, bytes_max: usize) -> Result<Raised, Corrupt> {
    if mark.rank > VAL_RANK_MAX {
        return Ok(Raised::NoRoom);
    }
    let place = find(bytes, mark.index)?;
    let old_size = place.run.size();
    if place.run.rank() >= mark.rank {
        return Ok(Raised::Unchanged);
    }
    let mut split = Encoded::new();
    let before = mark.index - place.first;
    let after = place.run.len() - before - 1;
    if before > 0 {
        place.run.with_len(before).write(&mut split);
    }
    Run::Val { rank: mark.rank, len: 1 }.write(&mut split);
    if after > 0 {
        place.run.with_len(after).write(&mut split);
    }
    if split.len() > old_size && bytes.len() + split.len() - old_size > bytes_max {
        return Ok(Raised::NoRoom);
    }
    bytes.splice(place.at..place.at + old_size, split);
    join_equal(bytes, place.previous.unwrap_or(HEADER_BYTES));
    Ok(Raised::Changed)
}

/// The run that covers a register.
fn find(bytes: &[u8], index: usize) -> Result<Place, Corrupt> {
    let (mut at, mut previous, mut first) = (HEADER_BYTES, None, 0);
    loop {
        let run = Run::read(&bytes[at..]).ok_or(Corrupt)?;
        if at + run.size() > bytes.len() {
            return Err(Corrupt);
        }
        if index < first + run.len() {
            return Ok(Place { at, previous, run, first });
        }
        previous = Some(at);
        at += run.size();
        first += run.len();
    }
}

/// Joins neighbours of equal rank among the few runs from the byte `at` on.
fn join_equal(bytes: &mut Vec<u8>, mut at: usize) {
    const STEPS: usize = 5;
    for _ in 0..STEPS {
        let Some(run) = bytes.get(at..).and_then(Run::read) else { return };
        let next = bytes.get(at + run.size()..).and_then(Run::read);
        match (run, next) {
            (Run::Val { rank, len }, Some(Run::Val { rank: next_rank, len: next_len }))
                if rank == next_rank && len + next_len <= VAL_LEN_MAX =>
            {
                let mut joined = Encoded::new();
                Run::Val { rank, len: len + next_len }.write(&mut joined);
                bytes.splice(at..at + 2, joined);
            }
            _ => at += run.size(),
        }
    }
}
