//! Byte strings one behind the other in a single shared allocation: the encoding of small collections and the
//! chunk of large lists. The idea is Redis' listpack; the layout is our own.
//!
//! ```text
//! start: u32 | end: u32 | count: u32 | room in front | entry entry entry ... | room behind
//! entry: length, bytes, and if REVERSIBLE the length again, mirrored, for walks from the back
//! length: one byte up to 253; 254 and 16 bits; 255 and 32 bits (little-endian)
//! ```
//!
//! The buffer is an `Arc<[u8]>`: cloning shares it, and the first change of a shared buffer makes a new one.
//! Room is what the allocator would round up to anyway, so a buffer has little slack and no capacity of its
//! own. Numbers are stored as their text.

use std::sync::Arc;

const HEADER_BYTES: usize = 12;
/// The two counters in front of the bytes of an `Arc<[u8]>`.
pub(super) const ARC_BYTES: usize = 16;
/// What a buffer takes besides its entries.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + ARC_BYTES;

const LENGTH_IN_16_BITS: u8 = 254;
const LENGTH_IN_32_BITS: u8 = 255;

/// A sequence of byte strings. Only a `REVERSIBLE` one can be walked from its back.
#[derive(Clone, Default)]
pub struct Packed<const REVERSIBLE: bool> {
    buf: Arc<[u8]>,
}

/// Where entries lie, in bytes of the buffer; good until the next change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl<const REVERSIBLE: bool> Packed<REVERSIBLE> {
    pub fn from_values(values: &[&[u8]]) -> Self {
        let mut packed = Self::default();
        packed.splice(packed.back(), 0, values);
        packed
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.header(8)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that the entries take, their lengths included.
    pub fn entry_bytes(&self) -> usize {
        let Span { start, end } = self.whole();
        end - start
    }

    /// The bytes that an entry takes whose value has `len` bytes.
    pub fn entry_bytes_of(len: usize) -> usize {
        len + length_bytes(len) * if REVERSIBLE { 2 } else { 1 }
    }

    /// The whole allocation, in bytes.
    pub fn memory_bytes(&self) -> usize {
        if self.buf.is_empty() { 0 } else { self.buf.len() + ARC_BYTES }
    }

    pub fn get(&self, index: usize) -> Option<&[u8]> {
        (index < self.len()).then(|| self.value_at(self.offset(index)).0)
    }

    pub fn push_back(&mut self, value: &[u8]) {
        self.splice(self.back(), 0, &[value]);
    }

    /// Inserts before the entry at `index`, or at the back if `index` is the length.
    pub fn insert(&mut self, index: usize, value: &[u8]) {
        let at = self.offset(index);
        self.splice(Span { start: at, end: at }, 0, &[value]);
    }

    pub fn replace(&mut self, index: usize, value: &[u8]) {
        self.splice(self.span(index, 1), 1, &[value]);
    }

    pub fn remove(&mut self, index: usize) -> Vec<u8> {
        let span = self.span(index, 1);
        let value = self.value_at(span.start).0.to_vec();
        self.splice(span, 1, &[]);
        value
    }

    pub fn remove_range(&mut self, index: usize, count: usize) {
        self.splice(self.span(index, count), count, &[]);
    }

    /// Cuts the entries from `index` on off and returns them.
    pub fn split_off(&mut self, index: usize) -> Self {
        let tail = Span { start: self.offset(index), end: self.whole().end };
        let count = self.len() - index;
        let mut right = Self::default();
        right.edit(right.back(), count, tail.end - tail.start, |to| {
            to.copy_from_slice(&self.buf[tail.start..tail.end]);
        });
        self.splice(tail, count, &[]);
        right
    }

    pub fn append(&mut self, other: &Self) {
        let Span { start, end } = other.whole();
        self.edit(self.back(), self.len() + other.len(), end - start, |to| {
            to.copy_from_slice(&other.buf[start..end]);
        });
    }

    pub fn iter(&self) -> Iter<'_, REVERSIBLE> {
        Iter { buf: &self.buf, span: self.whole() }
    }

    /// The entries from `index` on.
    pub fn iter_from(&self, index: usize) -> Iter<'_, REVERSIBLE> {
        Iter { buf: &self.buf, span: Span { start: self.offset(index), end: self.whole().end } }
    }

    /// The entries before `index`.
    pub fn iter_until(&self, index: usize) -> Iter<'_, REVERSIBLE> {
        Iter { buf: &self.buf, span: Span { start: self.whole().start, end: self.offset(index) } }
    }

    /// The first of the entries 0, `step`, 2 * `step`... that equals `value`.
    pub fn find(&self, value: &[u8], step: usize) -> Option<Span> {
        let Span { start: mut at, end } = self.whole();
        while at < end {
            let (found, next) = self.value_at(at);
            if found == value {
                return Some(Span { start: at, end: next });
            }
            at = (1..step).fold(next, |at, _| self.value_at(at).1);
        }
        None
    }

    /// The value of the entry at a byte offset, and the offset of the entry behind it.
    pub fn value_at(&self, offset: usize) -> (&[u8], usize) {
        read_entry::<REVERSIBLE>(&self.buf, offset)
    }

    /// The empty span behind the last entry.
    pub fn back(&self) -> Span {
        let end = self.whole().end;
        Span { start: end, end }
    }

    /// Puts `values` in the place of the `removed` entries that `span` covers.
    pub fn splice(&mut self, span: Span, removed: usize, values: &[&[u8]]) {
        let bytes = values.iter().map(|value| Self::entry_bytes_of(value.len())).sum();
        self.edit(span, self.len() - removed + values.len(), bytes, |mut to| {
            for value in values {
                to = write_entry::<REVERSIBLE>(to, value);
            }
        });
    }

    /// The entries as they lie in the buffer.
    pub(super) fn entries(&self) -> &[u8] {
        let Span { start, end } = self.whole();
        &self.buf[start..end]
    }

    /// Becomes the sequence of these entries, in the same buffer if nobody shares it and it is large enough.
    pub(super) fn fill(&mut self, count: usize, entries: &[u8]) {
        let end = HEADER_BYTES + entries.len();
        if Arc::get_mut(&mut self.buf).is_none_or(|buf| buf.len() < end) {
            self.buf = Arc::from(vec![0; round_to_allocation(end)]);
        }
        if let Some(buf) = Arc::get_mut(&mut self.buf) {
            buf[HEADER_BYTES..end].copy_from_slice(entries);
            write_header(buf, HEADER_BYTES, end, count);
        }
    }

    /// The allocation itself, for an encoding that borrows it.
    pub(super) fn buf(&self) -> &Arc<[u8]> {
        &self.buf
    }

    pub(super) fn buf_mut(&mut self) -> &mut Arc<[u8]> {
        &mut self.buf
    }

    /// Replaces the bytes of `span` by `bytes` new ones, which `write` fills in; `count` is the new length.
    fn edit(&mut self, span: Span, count: usize, bytes: usize, write: impl FnOnce(&mut [u8])) {
        let Span { start, end } = self.whole();
        let total = end - start - (span.end - span.start) + bytes;
        if total == 0 {
            *self = Self::default();
            return;
        }
        let wasteful = self.buf.len() > 2 * round_to_allocation(HEADER_BYTES + total);
        if !wasteful && let Some(buf) = Arc::get_mut(&mut self.buf) {
            if span.start == start && span.end >= HEADER_BYTES + bytes {
                let start = span.end - bytes;
                write(&mut buf[start..span.end]);
                write_header(buf, start, end, count);
                return;
            }
            let tail = span.start + bytes;
            let new_end = tail + (end - span.end);
            if new_end <= buf.len() {
                buf.copy_within(span.end..end, tail);
                write(&mut buf[span.start..tail]);
                write_header(buf, start, new_end, count);
                return;
            }
        }
        let capacity = round_to_allocation(HEADER_BYTES + total);
        // Who pushes at the front does so again: the room goes where it will be used.
        let at_front = REVERSIBLE && span.end == start && start < end;
        let new_start = if at_front { capacity - total } else { HEADER_BYTES };
        let mut buf = Vec::with_capacity(capacity);
        buf.resize(new_start, 0);
        buf.extend_from_slice(&self.buf[start..span.start]);
        let hole = buf.len();
        buf.resize(hole + bytes, 0);
        write(&mut buf[hole..]);
        buf.extend_from_slice(&self.buf[span.end..end]);
        write_header(&mut buf, new_start, new_start + total, count);
        buf.resize(capacity, 0);
        self.buf = Arc::from(buf);
    }

    fn span(&self, index: usize, count: usize) -> Span {
        let start = self.offset(index);
        let end = if index + count == self.len() {
            self.whole().end
        } else {
            (0..count).fold(start, |at, _| self.value_at(at).1)
        };
        Span { start, end }
    }

    /// Where the entry at `index` begins, walking from the nearer end.
    fn offset(&self, index: usize) -> usize {
        let Span { start, end } = self.whole();
        let from_back = self.len() - index;
        if from_back == 0 {
            end
        } else if REVERSIBLE && from_back < index {
            (0..from_back).fold(end, |at, _| entry_start_before(&self.buf, at))
        } else {
            (0..index).fold(start, |at, _| self.value_at(at).1)
        }
    }

    fn whole(&self) -> Span {
        Span { start: self.header(0), end: self.header(4) }
    }

    fn header(&self, at: usize) -> usize {
        if self.buf.is_empty() { 0 } else { read_u32(&self.buf[at..]) }
    }
}

impl<const REVERSIBLE: bool> std::fmt::Debug for Packed<REVERSIBLE> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

/// The values of a [`Packed`], in order; from both ends if it is reversible.
#[derive(Debug, Clone)]
pub struct Iter<'a, const REVERSIBLE: bool> {
    buf: &'a [u8],
    span: Span,
}

impl<const REVERSIBLE: bool> Default for Iter<'_, REVERSIBLE> {
    fn default() -> Self {
        Self { buf: &[], span: Span { start: 0, end: 0 } }
    }
}

impl<'a, const REVERSIBLE: bool> Iterator for Iter<'a, REVERSIBLE> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.span.start >= self.span.end {
            return None;
        }
        let (value, next) = read_entry::<REVERSIBLE>(self.buf, self.span.start);
        self.span.start = next;
        Some(value)
    }
}

impl DoubleEndedIterator for Iter<'_, true> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.span.start >= self.span.end {
            return None;
        }
        self.span.end = entry_start_before(self.buf, self.span.end);
        Some(read_entry::<true>(self.buf, self.span.end).0)
    }
}

/// The sizes that jemalloc hands out, less the `Arc`'s counters: four between one power of two and the next.
pub(super) fn round_to_allocation(bytes: usize) -> usize {
    let bytes = bytes + ARC_BYTES;
    let step = match bytes {
        0..=128 => 16,
        // Beyond this whole pages are mapped as they are touched: rounding up would touch more.
        65_537.. => 1,
        _ => ((bytes - 1).next_power_of_two() / 8).max(16),
    };
    bytes.next_multiple_of(step) - ARC_BYTES
}

fn length_bytes(len: usize) -> usize {
    match len {
        0..=253 => 1,
        254..=0xFFFF => 3,
        _ => 5,
    }
}

fn read_entry<const REVERSIBLE: bool>(buf: &[u8], at: usize) -> (&[u8], usize) {
    let (prefix, len) = match buf[at] {
        LENGTH_IN_16_BITS => (3, usize::from(u16::from_le_bytes([buf[at + 1], buf[at + 2]]))),
        LENGTH_IN_32_BITS => (5, read_u32(&buf[at + 1..])),
        len => (1, usize::from(len)),
    };
    let end = at + prefix + len;
    (&buf[at + prefix..end], if REVERSIBLE { end + prefix } else { end })
}

/// Where the entry begins that ends at `end`; reversible buffers only.
fn entry_start_before(buf: &[u8], end: usize) -> usize {
    let (suffix, len) = match buf[end - 1] {
        LENGTH_IN_16_BITS => (3, usize::from(u16::from_le_bytes([buf[end - 3], buf[end - 2]]))),
        LENGTH_IN_32_BITS => (5, read_u32(&buf[end - 5..])),
        len => (1, usize::from(len)),
    };
    end - 2 * suffix - len
}

/// Writes an entry to the front of `to` and returns the rest.
fn write_entry<'a, const REVERSIBLE: bool>(to: &'a mut [u8], value: &[u8]) -> &'a mut [u8] {
    let prefix = length_bytes(value.len());
    let number = (value.len() as u32).to_le_bytes();
    let (marker, number) = match prefix {
        1 => (number[0], &number[..0]),
        3 => (LENGTH_IN_16_BITS, &number[..2]),
        _ => (LENGTH_IN_32_BITS, &number[..]),
    };
    let (entry, rest) = to.split_at_mut(Packed::<REVERSIBLE>::entry_bytes_of(value.len()));
    entry[0] = marker;
    entry[1..prefix].copy_from_slice(number);
    entry[prefix..prefix + value.len()].copy_from_slice(value);
    if let [mirrored @ .., last] = &mut entry[prefix + value.len()..] {
        mirrored.copy_from_slice(number);
        *last = marker;
    }
    rest
}

fn write_header(buf: &mut [u8], start: usize, end: usize, count: usize) {
    let fits = u32::try_from(buf.len()).is_ok_and(|len| len < 1 << 31);
    assert!(fits, "a packed buffer of {} bytes", buf.len());
    for (field, to) in [start, end, count].into_iter().zip(buf.chunks_exact_mut(4)) {
        to.copy_from_slice(&(field as u32).to_le_bytes());
    }
}

fn read_u32(bytes: &[u8]) -> usize {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(usize, Vec<u8>),
        Replace(usize, Vec<u8>),
        RemoveRange(usize, usize),
        Split(usize),
        Append(usize),
        Clone,
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            8 => prop::collection::vec(any::<u8>(), 0..20),
            1 => (250usize..260).prop_map(|len| vec![7; len]),
            1 => (65_530usize..65_540).prop_map(|len| vec![9; len]),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (any::<usize>(), value()).prop_map(|(at, value)| Step::Insert(at, value)),
            2 => (any::<usize>(), value()).prop_map(|(at, value)| Step::Replace(at, value)),
            2 => (any::<usize>(), 0usize..4).prop_map(|(at, count)| Step::RemoveRange(at, count)),
            1 => any::<usize>().prop_map(Step::Split),
            1 => (0usize..8).prop_map(Step::Append),
            1 => Just(Step::Clone),
        ]
    }

    fn check<const R: bool>(steps: Vec<Step>) {
        let mut packed = Packed::<R>::default();
        let mut model: Vec<Vec<u8>> = Vec::new();
        let mut frozen = (packed.clone(), model.clone());
        for step in steps {
            let len = model.len();
            match step {
                Step::Insert(at, value) => {
                    packed.insert(at % (len + 1), &value);
                    model.insert(at % (len + 1), value);
                }
                Step::Replace(at, value) if len > 0 => {
                    packed.replace(at % len, &value);
                    model[at % len] = value;
                }
                Step::RemoveRange(at, count) => {
                    let at = at % (len + 1);
                    let count = count.min(len - at);
                    packed.remove_range(at, count);
                    model.drain(at..at + count);
                }
                Step::Split(at) => {
                    let right = packed.split_off(at % (len + 1));
                    assert_eq!(right.iter().collect::<Vec<_>>(), model.split_off(at % (len + 1)));
                }
                Step::Append(count) => {
                    let other = Packed::<R>::from_values(&vec![&b"other"[..]; count]);
                    packed.append(&other);
                    model.extend(vec![b"other".to_vec(); count]);
                }
                Step::Clone => frozen = (packed.clone(), model.clone()),
                Step::Replace(..) => {}
            }
            assert_eq!(packed.len(), model.len());
            assert_eq!(packed.iter().collect::<Vec<_>>(), model);
            for (index, value) in model.iter().enumerate() {
                assert_eq!(packed.get(index), Some(&value[..]));
            }
            assert_eq!(packed.get(model.len()), None);
            assert_eq!(frozen.0.iter().collect::<Vec<_>>(), frozen.1);
        }
    }

    proptest! {
        #[test]
        fn a_packed_buffer_is_a_vector(steps in prop::collection::vec(step(), 0..60)) {
            check::<false>(steps.clone());
            check::<true>(steps);
        }

        #[test]
        fn walks_from_the_back_mirror_walks_from_the_front(
            values in prop::collection::vec(value(), 0..30),
            from_front in prop::collection::vec(any::<bool>(), 30),
        ) {
            let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let packed = Packed::<true>::from_values(&slices);
            let (mut ours, mut theirs) = (packed.iter(), slices.into_iter());
            for front in from_front {
                if front {
                    prop_assert_eq!(ours.next(), theirs.next());
                } else {
                    prop_assert_eq!(ours.next_back(), theirs.next_back());
                }
            }
        }
    }

    #[test]
    fn ten_small_pairs_fit_into_128_bytes() {
        let mut packed = Packed::<false>::default();
        for _ in 0..10 {
            packed.push_back(b"f1");
            packed.push_back(b"value1");
        }
        assert_eq!(packed.memory_bytes(), 128);
    }

    #[test]
    fn pushing_at_the_front_seldom_moves_what_is_there() {
        let mut packed = Packed::<true>::default();
        let mut moves = 0;
        for _ in 0..200 {
            let before = Arc::as_ptr(packed.buf());
            packed.insert(0, b"an element of a list");
            moves += u32::from(!std::ptr::addr_eq(before, Arc::as_ptr(packed.buf())));
        }
        assert!(moves < 30, "{moves}");
    }
}
