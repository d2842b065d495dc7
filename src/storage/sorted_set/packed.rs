//! A list of (score, member) in one exactly sized buffer: the whole of a small sorted set, a leaf or the
//! separators of the tree, and the arena of a segment of the member table.
//!
//! Layout of the buffer: the members' bytes, then one u16 per entry (where its bytes end), then the scores.
//! Scores are as wide as the widest needs: i16, i32 or f64, so that counters and ranks cost two or four bytes.
//! Members longer than [`INLINE_MAX`] lie outside, reference-counted, so that copying a list stays cheap.
//!
//! Does not sort by itself: whoever keeps it in order asks `lower_bound` for the place.

use crate::storage::prefetch::prefetch;
use std::{cmp::Ordering, mem, ops::Range, sync::Arc};

/// The longest member that lies in the buffer itself.
pub(super) const INLINE_MAX: usize = 256;

/// The flag in an entry's end offset that says that its member lies outside of the buffer.
const LONG: u16 = 0x8000;

#[derive(Clone)]
pub(super) struct Packed {
    buf: Box<[u8]>,
    /// The members outside of the buffer, in the order of their entries.
    long: Option<Box<LongMembers>>,
    len: u16,
    /// Bytes per score: 2, 4 or 8.
    width: u8,
}

#[derive(Clone, Default)]
struct LongMembers(Vec<Arc<[u8]>>);

/// A member on its way into a list. A long one is allocated once and shared by everything that holds it.
#[derive(Clone)]
pub(super) enum MemberRef<'a> {
    Inline(&'a [u8]),
    Long(Arc<[u8]>),
}

impl<'a> MemberRef<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        if bytes.len() <= INLINE_MAX { Self::Inline(bytes) } else { Self::Long(bytes.into()) }
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }

    /// The bytes that lie in a list's buffer.
    fn inline(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Long(_) => &[],
        }
    }

    /// Bytes that an entry takes in a list with the widest scores.
    pub fn weight_max(&self) -> usize {
        self.inline().len() + 2 + size_of::<f64>()
    }

    /// Begins to load the member's bytes.
    pub fn prefetch(&self) {
        if let Self::Inline(bytes) = self {
            prefetch(bytes.as_ptr());
        }
    }
}

/// An entry on its way into a list.
pub(super) type Entry<'a> = (MemberRef<'a>, f64);

impl Default for Packed {
    fn default() -> Self {
        Self { buf: Box::default(), long: None, len: 0, width: 2 }
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries((0..self.len()).map(|i| (self.score(i), self.member(i).escape_ascii())))
            .finish()
    }
}

impl Packed {
    /// A list of these entries, in this order.
    pub fn of<'e, 'm: 'e>(entries: impl Iterator<Item = &'e Entry<'m>> + Clone) -> Self {
        let (mut len, mut inline, mut width) = (0usize, 0, 2);
        for (member, score) in entries.clone() {
            len += 1;
            inline += member.inline().len();
            width = width.max(width_of(*score));
        }
        assert!(
            inline < usize::from(LONG) && len < usize::from(u16::MAX),
            "a packed list outgrew its offsets"
        );
        let scores_at = inline + 2 * len;
        let mut buf = Vec::with_capacity(scores_at + usize::from(width) * len);
        entries.clone().for_each(|(member, _)| buf.extend_from_slice(member.inline()));
        let (mut end, mut long) = (0, Vec::new());
        for (member, _) in entries.clone() {
            end += member.inline().len() as u16;
            let flag = if let MemberRef::Long(bytes) = member {
                long.push(Arc::clone(bytes));
                LONG
            } else {
                0
            };
            buf.extend_from_slice(&(end | flag).to_le_bytes());
        }
        buf.resize(scores_at + usize::from(width) * len, 0);
        let slots = buf[scores_at..].chunks_exact_mut(usize::from(width));
        slots.zip(entries).for_each(|(slot, (_, score))| write_score(slot, *score));
        let long = (!long.is_empty()).then(|| Box::new(LongMembers(long)));
        Self { buf: buf.into_boxed_slice(), long, len: len as u16, width }
    }

    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the entries take, not counting the bytes of long members.
    pub fn weight(&self) -> usize {
        self.buf.len() + self.long.as_ref().map_or(0, |long| long.0.len() * mem::size_of::<Arc<[u8]>>())
    }

    #[inline]
    pub fn score(&self, i: usize) -> f64 {
        let width = self.width();
        let at = self.scores_at() + i * width;
        read_score(&self.buf[at..at + width])
    }

    #[inline]
    pub fn member(&self, i: usize) -> &[u8] {
        if self.is_long(i) {
            return &self.long_members()[self.longs_before(i)];
        }
        let ends_at = self.ends_at();
        let start = if i == 0 { 0 } else { self.end_in(ends_at, i - 1) };
        &self.buf[start..self.end_in(ends_at, i)]
    }

    /// Begins to load an entry: where it ends, and where its bytes are if all members are of about the same length.
    pub fn prefetch(&self, i: usize) {
        let ends_at = self.ends_at();
        prefetch(&self.buf[ends_at + 2 * i]);
        prefetch(&self.buf[ends_at * i / self.len()]);
    }

    /// Begins to load all of it: a change moves half of the bytes anyway.
    pub fn prefetch_all(&self) {
        for line in self.buf.chunks(64) {
            prefetch(&line[0]);
        }
    }

    pub fn entry(&self, i: usize) -> (&[u8], f64) {
        (self.member(i), self.score(i))
    }

    /// The member, ready to be put into another list.
    pub fn member_ref(&self, i: usize) -> MemberRef<'_> {
        if self.is_long(i) {
            MemberRef::Long(Arc::clone(&self.long_members()[self.longs_before(i)]))
        } else {
            MemberRef::Inline(self.member(i))
        }
    }

    /// The index of a member, by walking the list.
    pub fn position(&self, member: &[u8]) -> Option<usize> {
        if member.len() > INLINE_MAX {
            return (0..self.len()).find(|&i| self.is_long(i) && self.member(i) == member);
        }
        let (bytes, ends) = self.buf[..self.scores_at()].split_at(self.ends_at());
        let last = member.last();
        let mut start = 0;
        for (i, end) in ends.chunks_exact(2).enumerate() {
            let raw = u16::from_le_bytes([end[0], end[1]]);
            let found = &bytes[start..usize::from(raw & !LONG)];
            // The last byte differs more often than the first ones do.
            if found.len() == member.len() && found.last() == last && found == member && raw & LONG == 0 {
                return Some(i);
            }
            start += found.len();
        }
        None
    }

    /// How many entries of a list in order satisfy `before`, which holds for a head of the list.
    #[inline]
    pub fn partition_point(&self, range: Range<usize>, before: impl Fn(&Packed, usize) -> bool) -> usize {
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self, middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Where a list in order has, or would have, this entry.
    pub fn lower_bound(&self, score: f64, member: &[u8]) -> usize {
        self.lower_bound_in(0..self.len(), score, member)
    }

    /// The same for a part of the list. Members are looked at only among equal scores.
    pub fn lower_bound_in(&self, range: Range<usize>, score: f64, member: &[u8]) -> usize {
        let at = self.partition_point(range.clone(), |list, i| list.score(i) < score);
        if at == range.end || self.score(at) != score {
            return at;
        }
        self.partition_point(at..range.end, |list, i| list.is_before(i, score, member))
    }

    /// Whether entry `i` sorts before (score, member).
    #[inline]
    pub fn is_before(&self, i: usize, score: f64, member: &[u8]) -> bool {
        match self.score(i).partial_cmp(&score) {
            Some(Ordering::Equal) => self.member(i) < member,
            ordering => ordering == Some(Ordering::Less),
        }
    }

    pub fn insert(&mut self, i: usize, score: f64, member: &MemberRef<'_>) {
        self.widen(width_of(score));
        let (inline, flag): (&[u8], u16) = match member {
            MemberRef::Inline(bytes) => (bytes, 0),
            MemberRef::Long(bytes) => {
                let at = self.longs_before(i);
                self.long.get_or_insert_default().0.insert(at, Arc::clone(bytes));
                (&[], LONG)
            }
        };
        let (size, width) = (inline.len(), self.width());
        let (ends_at, scores_at, start) = (self.ends_at(), self.scores_at(), self.start(i));
        assert!(
            ends_at + size < usize::from(LONG) && self.len < u16::MAX,
            "a packed list outgrew its offsets"
        );
        let mut buf = mem::take(&mut self.buf).into_vec();
        let old_size = buf.len();
        buf.reserve_exact(size + 2 + width);
        buf.resize(old_size + size + 2 + width, 0);
        let (end_at, score_at) = (ends_at + 2 * i, scores_at + width * i);
        buf.copy_within(score_at..old_size, score_at + size + 2 + width);
        buf.copy_within(end_at..score_at, end_at + size + 2);
        buf.copy_within(start..end_at, start + size);
        buf[start..start + size].copy_from_slice(inline);
        let (end_at, ends_end) = (end_at + size, scores_at + size + 2);
        let end = (start + size) as u16 | flag;
        buf[end_at..end_at + 2].copy_from_slice(&end.to_le_bytes());
        shift_ends(&mut buf[end_at + 2..ends_end], size as u16);
        write_score(&mut buf[score_at + size + 2..][..width], score);
        self.buf = buf.into_boxed_slice();
        self.len += 1;
    }

    pub fn push(&mut self, score: f64, member: &MemberRef<'_>) {
        self.insert(self.len(), score, member);
    }

    pub fn set_score(&mut self, i: usize, score: f64) {
        self.widen(width_of(score));
        let width = self.width();
        let at = self.scores_at() + i * width;
        write_score(&mut self.buf[at..at + width], score);
    }

    pub fn remove_range(&mut self, range: Range<usize>) {
        let count = range.len();
        if count == 0 {
            return;
        }
        if self.long.is_some() {
            let (first, last) = (self.longs_before(range.start), self.longs_before(range.end));
            let long = self.long.get_or_insert_default();
            long.0.drain(first..last);
            if long.0.is_empty() {
                self.long = None;
            }
        }
        let width = self.width();
        let (ends_at, scores_at) = (self.ends_at(), self.scores_at());
        let (from, to) = (self.start(range.start), self.start(range.end));
        let size = to - from;
        let mut buf = mem::take(&mut self.buf).into_vec();
        shift_ends(&mut buf[ends_at + 2 * range.end..scores_at], (size as u16).wrapping_neg());
        buf.copy_within(to..ends_at + 2 * range.start, from);
        buf.copy_within(
            ends_at + 2 * range.end..scores_at + width * range.start,
            ends_at + 2 * range.start - size,
        );
        let scores_to = scores_at + width * range.start - size - 2 * count;
        buf.copy_within(scores_at + width * range.end.., scores_to);
        buf.truncate(buf.len() - size - (2 + width) * count);
        self.buf = buf.into_boxed_slice();
        self.len -= count as u16;
    }

    pub fn remove(&mut self, i: usize) {
        self.remove_range(i..i + 1);
    }

    /// Cuts the list before entry `at` and returns the tail.
    pub fn split_off(&mut self, at: usize) -> Self {
        let mut tail = Self { width: self.width, ..Self::default() };
        tail.append_range(self, at..self.len());
        self.remove_range(at..self.len());
        tail
    }

    pub fn append(&mut self, other: &Self) {
        self.append_range(other, 0..other.len());
    }

    /// The entry at which to cut so that about `part` of `whole` parts of the weight stay in front.
    pub fn cut_point(&self, part: usize, whole: usize) -> usize {
        let entry = 2 + self.width();
        let goal = (self.ends_at() + entry * self.len()) * part / whole;
        let ends_at = self.ends_at();
        let at =
            self.partition_point(0..self.len(), |list, i| list.end_in(ends_at, i) + entry * (i + 1) <= goal);
        at.clamp(1, self.len() - 1)
    }

    fn append_range(&mut self, other: &Self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        self.widen(other.width);
        let (from, to) = (other.start(range.start), other.start(range.end));
        let (ends_at, scores_at) = (self.ends_at(), self.scores_at());
        assert!(ends_at + to - from < usize::from(LONG), "a packed list outgrew its offsets");
        let mut buf = Vec::with_capacity(self.buf.len() + to - from + (2 + self.width()) * range.len());
        buf.extend_from_slice(&self.buf[..ends_at]);
        buf.extend_from_slice(&other.buf[from..to]);
        buf.extend_from_slice(&self.buf[ends_at..scores_at]);
        let new_ends = buf.len();
        buf.extend_from_slice(&other.buf[other.ends_at() + 2 * range.start..other.ends_at() + 2 * range.end]);
        shift_ends(&mut buf[new_ends..], (ends_at as u16).wrapping_sub(from as u16));
        buf.extend_from_slice(&self.buf[scores_at..]);
        if self.width == other.width {
            let scores_at = other.scores_at();
            let width = self.width();
            buf.extend_from_slice(&other.buf[scores_at + width * range.start..scores_at + width * range.end]);
        } else {
            let scores_from = buf.len();
            buf.resize(scores_from + self.width() * range.len(), 0);
            for (slot, i) in buf[scores_from..].chunks_exact_mut(self.width()).zip(range.clone()) {
                write_score(slot, other.score(i));
            }
        }
        if other.long.is_some() {
            let longs = &other.long_members()[other.longs_before(range.start)..other.longs_before(range.end)];
            if !longs.is_empty() {
                self.long.get_or_insert_default().0.extend_from_slice(longs);
            }
        }
        self.buf = buf.into_boxed_slice();
        self.len += range.len() as u16;
    }

    /// Rewrites the scores to at least `width` bytes each.
    fn widen(&mut self, width: u8) {
        if width <= self.width {
            return;
        }
        let scores_at = self.scores_at();
        let mut buf = Vec::with_capacity(scores_at + usize::from(width) * self.len());
        buf.extend_from_slice(&self.buf[..scores_at]);
        buf.resize(scores_at + usize::from(width) * self.len(), 0);
        for (i, slot) in buf[scores_at..].chunks_exact_mut(usize::from(width)).enumerate() {
            write_score(slot, self.score(i));
        }
        self.buf = buf.into_boxed_slice();
        self.width = width;
    }

    /// Bytes per score.
    pub fn width(&self) -> usize {
        usize::from(self.width)
    }

    fn scores_at(&self) -> usize {
        self.buf.len() - self.len() * self.width()
    }

    fn ends_at(&self) -> usize {
        self.buf.len() - self.len() * (2 + self.width())
    }

    #[inline]
    fn end_in(&self, ends_at: usize, i: usize) -> usize {
        let at = ends_at + 2 * i;
        usize::from(u16::from_le_bytes([self.buf[at], self.buf[at + 1]]) & !LONG)
    }

    fn start(&self, i: usize) -> usize {
        if i == 0 { 0 } else { self.end_in(self.ends_at(), i - 1) }
    }

    fn is_long(&self, i: usize) -> bool {
        self.long.is_some() && self.buf[self.ends_at() + 2 * i + 1] & 0x80 != 0
    }

    fn longs_before(&self, i: usize) -> usize {
        if self.long.is_none() { 0 } else { (0..i).filter(|&i| self.is_long(i)).count() }
    }

    fn long_members(&self) -> &[Arc<[u8]>] {
        self.long.as_ref().map_or(&[], |long| &long.0)
    }
}

/// Adds to every end offset of a slice of them; the flag survives because offsets stay below it.
fn shift_ends(ends: &mut [u8], delta: u16) {
    for end in ends.chunks_exact_mut(2) {
        let raw = u16::from_le_bytes([end[0], end[1]]);
        let shifted = (raw.wrapping_add(delta) & !LONG) | (raw & LONG);
        end.copy_from_slice(&shifted.to_le_bytes());
    }
}

/// The bytes that a score needs. The negative zero is no integer: clients read it back as `-0`.
fn width_of(score: f64) -> u8 {
    let int = score as i32;
    if f64::from(int).to_bits() != score.to_bits() {
        8
    } else if i16::try_from(int).is_ok() {
        2
    } else {
        4
    }
}

#[inline]
fn read_score(slot: &[u8]) -> f64 {
    match *slot {
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        [a, b, c, d] => f64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b] => f64::from(i16::from_le_bytes([a, b])),
        _ => unreachable!("a score takes 2, 4 or 8 bytes"),
    }
}

fn write_score(slot: &mut [u8], score: f64) {
    match slot.len() {
        2 => slot.copy_from_slice(&(score as i16).to_le_bytes()),
        4 => slot.copy_from_slice(&(score as i32).to_le_bytes()),
        _ => slot.copy_from_slice(&score.to_le_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(usize, f64, Vec<u8>),
        SetScore(usize, f64),
        RemoveRange(usize, usize),
        SplitAndAppendSwapped(usize),
    }

    fn score() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-5i32..5).prop_map(f64::from),
            2 => any::<i32>().prop_map(f64::from),
            1 => prop::sample::select(vec![-0.0, 0.5, f64::INFINITY, f64::NEG_INFINITY, 1e300, 32768.0]),
        ]
    }

    fn member() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            8 => prop::collection::vec(any::<u8>(), 0..20),
            1 => (250usize..300, any::<u8>()).prop_map(|(n, byte)| vec![byte; n]),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (any::<usize>(), score(), member()).prop_map(|(i, s, m)| Step::Insert(i, s, m)),
            2 => (any::<usize>(), score()).prop_map(|(i, s)| Step::SetScore(i, s)),
            1 => (any::<usize>(), 0usize..4).prop_map(|(i, n)| Step::RemoveRange(i, n)),
            1 => any::<usize>().prop_map(Step::SplitAndAppendSwapped),
        ]
    }

    proptest! {
        #[test]
        fn a_packed_list_equals_a_vec_after_any_steps(steps in prop::collection::vec(step(), 1..80)) {
            let mut list = Packed::default();
            let mut model: Vec<(Vec<u8>, f64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(i, score, member) => {
                        let i = i % (model.len() + 1);
                        list.insert(i, score, &MemberRef::new(&member));
                        model.insert(i, (member, score));
                    }
                    Step::SetScore(i, score) if !model.is_empty() => {
                        let i = i % model.len();
                        list.set_score(i, score);
                        model[i].1 = score;
                    }
                    Step::RemoveRange(i, n) => {
                        let i = i % (model.len() + 1);
                        let range = i..(i + n).min(model.len());
                        list.remove_range(range.clone());
                        model.drain(range);
                    }
                    Step::SplitAndAppendSwapped(i) => {
                        let i = i % (model.len() + 1);
                        let mut tail = list.split_off(i);
                        tail.append(&list);
                        list = tail;
                        model.rotate_left(i);
                    }
                    Step::SetScore(..) => {}
                }
                prop_assert_eq!(list.len(), model.len());
                for (i, (member, score)) in model.iter().enumerate() {
                    prop_assert_eq!(list.member(i), member.as_slice());
                    prop_assert_eq!(list.score(i).to_bits(), score.to_bits());
                    let first = model.iter().position(|(other, _)| other == member);
                    prop_assert_eq!(list.position(member), first);
                }
            }
        }
    }

    #[test]
    fn integer_scores_take_two_or_four_bytes() {
        let mut list = Packed::default();
        list.push(7.0, &MemberRef::new(b"a"));
        assert_eq!(list.weight(), 1 + 2 + 2);
        list.push(70_000.0, &MemberRef::new(b"b"));
        assert_eq!(list.weight(), 2 * (1 + 2 + 4));
        list.push(0.5, &MemberRef::new(b"c"));
        assert_eq!(list.weight(), 3 * (1 + 2 + 8));
    }
}
