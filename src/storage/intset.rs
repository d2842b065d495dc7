//! The intset: distinct integers, ascending, each in as many bytes as the widest needs (2, 4 or 8).
//!
//! ```text
//! mark and width: u32 | integers, little-endian
//! ```
//!
//! It lives in the same kind of buffer as [`Packed`](super::packed::Packed), whose header never has the mark,
//! so that a small set is one pointer to one allocation whichever of the two it is.

use super::packed::round_to_allocation;
use std::sync::Arc;

const HEADER_BYTES: usize = 8;
const MARK: u32 = 1 << 31;

/// A view of a buffer that holds an intset.
#[derive(Clone, Copy)]
pub struct IntSet<'a> {
    width: usize,
    integers: &'a [u8],
}

impl<'a> IntSet<'a> {
    /// `None` if the buffer holds something else.
    pub fn of(buf: &'a [u8]) -> Option<Self> {
        let mark = u32::from_le_bytes(*buf.first_chunk()?);
        if mark & MARK == 0 {
            return None;
        }
        let bytes = u32::from_le_bytes(*buf[4..].first_chunk()?) as usize;
        let integers = &buf[HEADER_BYTES..HEADER_BYTES + bytes];
        Some(Self { width: (mark ^ MARK) as usize, integers })
    }

    pub fn len(self) -> usize {
        self.integers.len() / self.width
    }

    pub fn is_empty(self) -> bool {
        self.integers.is_empty()
    }

    /// The integer of the given rank, from the smallest.
    pub fn get(self, rank: usize) -> Option<i64> {
        let at = rank * self.width;
        self.integers.get(at..at + self.width).map(decode)
    }

    pub fn contains(self, value: i64) -> bool {
        self.search(value).is_ok()
    }

    pub fn iter(self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + 'a {
        self.integers.chunks_exact(self.width).map(decode)
    }

    /// The rank of a value, or the rank it would get.
    fn search(self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match decode(&self.integers[middle * self.width..][..self.width]).cmp(&value) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }
}

/// Adds an integer to the intset in `buf`, or makes an empty buffer into one; false if it is there already.
pub fn insert(buf: &mut Arc<[u8]>, value: i64) -> bool {
    let Some(set) = IntSet::of(buf) else {
        *buf = build(std::iter::once(value), 1, width_of(value));
        return true;
    };
    let Err(rank) = set.search(value) else { return false };
    let (len, width) = (set.len(), set.width);
    let used = HEADER_BYTES + len * width;
    let fits = width_of(value) <= width && used + width <= buf.len();
    if fits && let Some(buf) = Arc::get_mut(buf) {
        let at = HEADER_BYTES + rank * width;
        buf.copy_within(at..used, at + width);
        buf[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        write_header(buf, width, len + 1);
    } else if let Some(set) = IntSet::of(buf) {
        let values = set.iter().take(rank).chain([value]).chain(set.iter().skip(rank));
        *buf = build(values, len + 1, width.max(width_of(value)));
    }
    true
}

/// Removes an integer from the intset in `buf`, which becomes empty with the last; false if it is not there.
pub fn remove(buf: &mut Arc<[u8]>, value: i64) -> bool {
    let Some(set) = IntSet::of(buf) else { return false };
    let Ok(rank) = set.search(value) else { return false };
    let (len, width) = (set.len() - 1, set.width);
    if len == 0 {
        *buf = Arc::default();
        return true;
    }
    let wasteful = buf.len() > 2 * round_to_allocation(HEADER_BYTES + len * width);
    if !wasteful && let Some(buf) = Arc::get_mut(buf) {
        let at = HEADER_BYTES + rank * width;
        buf.copy_within(at + width..HEADER_BYTES + (len + 1) * width, at);
        write_header(buf, width, len);
    } else if let Some(set) = IntSet::of(buf) {
        *buf = build(set.iter().take(rank).chain(set.iter().skip(rank + 1)), len, width);
    }
    true
}

fn build(values: impl Iterator<Item = i64>, len: usize, width: usize) -> Arc<[u8]> {
    let capacity = round_to_allocation(HEADER_BYTES + len * width);
    let mut buf = Vec::with_capacity(capacity);
    buf.resize(HEADER_BYTES, 0);
    write_header(&mut buf, width, len);
    for value in values {
        buf.extend_from_slice(&value.to_le_bytes()[..width]);
    }
    buf.resize(capacity, 0);
    Arc::from(buf)
}

fn write_header(buf: &mut [u8], width: usize, len: usize) {
    buf[..4].copy_from_slice(&(MARK | width as u32).to_le_bytes());
    buf[4..8].copy_from_slice(&((len * width) as u32).to_le_bytes());
}

fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

fn decode(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => unreachable!("integers are 2, 4 or 8 bytes wide"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn integer() -> impl Strategy<Value = i64> {
        prop_oneof![
            8 => -20i64..20,
            2 => any::<i16>().prop_map(i64::from),
            1 => any::<i32>().prop_map(i64::from),
            1 => any::<i64>(),
        ]
    }

    proptest! {
        #[test]
        fn an_intset_is_an_ordered_set(steps in prop::collection::vec((0u8..10, integer()), 0..200)) {
            let (mut buf, mut model) = (Arc::<[u8]>::default(), BTreeSet::new());
            let mut frozen = (buf.clone(), model.clone());
            for (kind, value) in steps {
                match kind {
                    0..6 => prop_assert_eq!(insert(&mut buf, value), model.insert(value)),
                    6..9 => prop_assert_eq!(remove(&mut buf, value), model.remove(&value)),
                    _ => frozen = (buf.clone(), model.clone()),
                }
                for (buf, model) in [(&buf, &model), (&frozen.0, &frozen.1)] {
                    match IntSet::of(buf) {
                        Some(set) => prop_assert!(set.iter().eq(model.iter().copied())),
                        None => prop_assert!(model.is_empty()),
                    }
                }
                if let Some(set) = IntSet::of(&buf) {
                    prop_assert_eq!(set.contains(value), model.contains(&value));
                    prop_assert_eq!(set.get(set.len()), None);
                }
            }
        }
    }

    #[test]
    fn ten_small_integers_fit_into_48_bytes() {
        let mut buf = Arc::default();
        for value in 0..10 {
            insert(&mut buf, value * 100);
        }
        assert_eq!(buf.len() + 16, 48);
    }
}
