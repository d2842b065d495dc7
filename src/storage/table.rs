//! The table behind large hashes and sets: segments of a few hundred entries under a tree of small
//! directories.
//!
//! Extendible hashing: the hash's leading bits lead to a segment. A full segment splits by the next bit;
//! nothing else moves, so no insertion ever pauses for a rehash. Sparse neighbours merge. A directory covers
//! seven bits and doubles up to that; a segment deeper than its directory gets a directory of its own.
//! Segments and directories are shared with clones: a change copies one segment (at most 32 KiB) and the
//! directories above it. Many entries are taken out at random at once (`thinned.rs`); `settle` cleans up behind that.
//!
//! A scan's cursor is a place in the order of hashes (prefix, then tag), which splits do not disturb; where a
//! merge has, the segment is told again from its start.

mod segment;
mod thinned;

use super::cow::Cow;
use ahash::RandomState;
use segment::{ARENA_BYTES_MAX, ENTRIES_MAX, Segment, Stored};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thinned::Thinned;

pub use thinned::Lost;

/// The bits of hash that one directory covers.
const NODE_BITS: u32 = 7;
/// The bits that lead to a segment, at most: what a scan's cursor has room for.
const DEPTH_MAX: u32 = 40;
const TAG_BITS: u32 = 16;
/// A segment below this is merged with its neighbour when both fit into half of one.
const MERGE_BELOW: usize = ENTRIES_MAX / 8;

/// Segments whose memory is measured; the others are taken to be like them.
const SAMPLED_MAX: usize = 64;

static SEED: AtomicU64 = AtomicU64::new(0);

/// Sets the seed of all tables that are made from here on.
pub fn set_seed(seed: u64) {
    SEED.store(seed, Ordering::Relaxed);
}

#[derive(Clone)]
pub struct Table {
    hasher: RandomState,
    len: usize,
    /// How many segments there are at depth 1, 2, 3...
    depths: Vec<u32>,
    root: Node,
    /// From where on segments may be thinned, and sparse.
    unsettled_from: Option<u64>,
}

/// A directory of 1 to 128 slots. A segment of few bits covers several: it lies in the first, the others are
/// aliases.
type Node = Vec<Slot>;

#[derive(Clone)]
enum Slot {
    Alias,
    Segment {
        /// How many of this directory's bits the segment has used.
        depth: u32,
        segment: Cow<Segment>,
    },
    /// A segment that has lost entries, and nobody may have seen which.
    Thinned {
        depth: u32,
        thinned: Arc<Thinned>,
    },
    Node(Cow<Node>),
}

impl Default for Table {
    fn default() -> Self {
        let seed = SEED.load(Ordering::Relaxed);
        // The three constants are digits of pi: nothing up the sleeve.
        let hasher = RandomState::with_seeds(seed, 0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, !seed);
        let first = Slot::Segment { depth: 0, segment: Cow::default() };
        Self { hasher, len: 0, depths: Vec::new(), root: vec![first], unsettled_from: None }
    }
}

impl Table {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        let hash = self.hash(field);
        self.locate(hash).0.get(hash as u16, field)
    }

    /// Begins to load the place where a field's slot is; answers the field's hash.
    pub(super) fn prefetch_slot(&self, field: &[u8]) -> u64 {
        let hash = self.hash(field);
        self.locate(hash).0.prefetch_slot(hash as u16);
        hash
    }

    /// Begins to load the entry that the slot of this hash names.
    pub(super) fn prefetch_entry(&self, hash: u64) {
        self.locate(hash).0.prefetch_entry(hash as u16);
    }

    /// Stores the pair; true if the field is new.
    pub fn insert(&mut self, field: &[u8], value: &[u8]) -> bool {
        let hash = self.hash(field);
        // What changes nothing must not copy a shared segment.
        if self.locate(hash).0.get(hash as u16, field) == Some(value) {
            return false;
        }
        loop {
            let (node, i, bits_above) = slot_mut(&mut self.root, hash);
            let Slot::Segment { segment, .. } = &mut node[i] else {
                unreachable!("a path ends at a segment")
            };
            match segment.make_mut().set(hash as u16, field, value) {
                Stored::New => {
                    self.len += 1;
                    return true;
                }
                Stored::Replaced => return false,
                Stored::Full => {}
            }
            let depth = split(node, i, bits_above, &self.hasher);
            self.count_segments(depth, -1);
            self.count_segments(depth + 1, 2);
        }
    }

    pub fn remove(&mut self, field: &[u8]) -> bool {
        let hash = self.hash(field);
        if self.locate(hash).0.get(hash as u16, field).is_none() {
            return false;
        }
        let (node, i, _) = slot_mut(&mut self.root, hash);
        let Slot::Segment { segment, .. } = &mut node[i] else { unreachable!("a path ends at a segment") };
        let segment = segment.make_mut();
        segment.remove(hash as u16, field);
        self.len -= 1;
        if segment.len() < MERGE_BELOW {
            self.merge_at(hash);
        }
        true
    }

    /// Merges the segment of a hash with its neighbours, as long as both are sparse.
    fn merge_at(&mut self, hash: u64) {
        while let Some(depth) = merge(&mut self.root, hash, 0) {
            self.count_segments(depth, -2);
            self.count_segments(depth - 1, 1);
        }
    }

    /// Whether `thin` has left something for `settle`.
    pub fn is_unsettled(&self) -> bool {
        self.unsettled_from.is_some()
    }

    /// Cleans up to `max` segments behind `thin`: what they have lost is freed, and sparse ones are merged.
    pub fn settle(&mut self, max: usize) {
        for _ in 0..max {
            let Some(prefix) = self.unsettled_from else { return };
            let (node, i, _) = slot_mut(&mut self.root, prefix);
            if let Slot::Segment { segment, .. } = &node[i]
                && segment.len() < MERGE_BELOW
            {
                self.merge_at(prefix);
            }
            self.unsettled_from = next_prefix(prefix, self.locate(prefix).1);
        }
    }

    /// [`Table::insert`] into a table that may be shared; what changes nothing copies nothing.
    pub(super) fn insert_shared(table: &mut Cow<Self>, field: &[u8], value: &[u8]) -> bool {
        match table.get_mut() {
            Some(table) => table.insert(field, value),
            None => table.get(field) != Some(value) && table.make_mut().insert(field, value),
        }
    }

    /// [`Table::remove`] from a table that may be shared; what changes nothing copies nothing.
    pub(super) fn remove_shared(table: &mut Cow<Self>, field: &[u8]) -> bool {
        match table.get_mut() {
            Some(table) => table.remove(field),
            None => table.get(field).is_some() && table.make_mut().remove(field),
        }
    }

    /// All pairs, in the order of segments.
    pub fn iter(&self) -> Iter<'_> {
        let (first, depth) = self.locate(0);
        Iter { table: self, next: next_prefix(0, depth), entries: first.iter(), left: self.len }
    }

    /// A pair drawn with equal chances.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<(&[u8], &[u8])> {
        if self.is_empty() {
            return None;
        }
        // A random prefix meets a segment the more often the fewer bits it has used. Accepting by fill and
        // depth makes up for it.
        let deepest = self.depths.len() as u32;
        for _ in 0..64 {
            let (segment, depth) = self.locate(rng.u64(..));
            let one_in = (ENTRIES_MAX as u64) << (deepest - depth);
            if rng.u64(..one_in) < segment.len() as u64 {
                return Some(segment.random(rng));
            }
        }
        // Unusually sparse: count up to a random rank, which has the same distribution.
        let mut rank = rng.usize(..self.len);
        for segment in self.segments() {
            if rank < segment.len() {
                return segment.nth(rank);
            }
            rank -= segment.len();
        }
        unreachable!("the segments' lengths add up to the table's")
    }

    /// Tells about `count` pairs from the cursor on and returns the next cursor, 0 after the last.
    /// A pair that is present from the first call to the last is told at least once.
    pub fn scan(&self, cursor: u64, count: usize, mut tell: impl FnMut(&[u8], &[u8])) -> u64 {
        let Cursor { mut prefix, depth: depth_before, mut tag } = Cursor::from(cursor);
        let mut left = count.max(1);
        loop {
            let (segment, depth) = self.locate(prefix);
            if depth < depth_before {
                // Merged since: entries of the neighbour may have tags that were passed already.
                tag = 0;
            }
            let (slots, next_tag) = segment.lowest_tags(tag, left);
            for &slot in &slots {
                let (field, value) = segment.entry(slot);
                tell(field, value);
            }
            left = left.saturating_sub(slots.len());
            if let Some(tag) = next_tag {
                return Cursor { prefix, depth, tag }.into();
            }
            tag = 0;
            match next_prefix(prefix, depth) {
                None => return 0,
                Some(next) if left == 0 => return Cursor { prefix: next, depth: 0, tag: 0 }.into(),
                Some(next) => prefix = next,
            }
        }
    }

    /// The bytes allocated; of many segments an estimate by the first ones.
    pub fn memory_bytes(&self) -> usize {
        let len = self.depths.iter().map(|&segments| segments as usize).sum::<usize>().max(1);
        let sampled = len.min(SAMPLED_MAX);
        let segments =
            self.segments().take(sampled).map(Segment::memory_bytes).sum::<usize>() * len / sampled;
        size_of::<Self>() + self.depths.capacity() * size_of::<u32>() + node_bytes(&self.root) + segments
    }

    /// About how many allocations are freed with the table.
    pub fn free_effort(&self) -> usize {
        self.depths.iter().map(|&segments| segments as usize).sum::<usize>().max(1) * 3
    }

    fn hash(&self, field: &[u8]) -> u64 {
        hash(&self.hasher, field)
    }

    /// The segment of a hash, and the number of leading bits that lead to it.
    fn locate(&self, hash: u64) -> (&Segment, u32) {
        let (mut node, mut bits_above) = (&self.root, 0);
        loop {
            match &node[slot_index(node, hash, bits_above)] {
                Slot::Segment { depth, segment } => return (segment, bits_above + depth),
                Slot::Thinned { depth, thinned } => return (thinned.rest(), bits_above + depth),
                Slot::Node(below) => (node, bits_above) = (below, bits_above + NODE_BITS),
                Slot::Alias => unreachable!("an alias leads to the slot before it"),
            }
        }
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let prefix = next?;
            let (segment, depth) = self.locate(prefix);
            next = next_prefix(prefix, depth);
            Some(segment)
        })
    }

    fn count_segments(&mut self, depth: u32, change: i32) {
        let Some(i) = (depth as usize).checked_sub(1) else { return };
        if i >= self.depths.len() {
            self.depths.resize(i + 1, 0);
        }
        self.depths[i] = self.depths[i].wrapping_add_signed(change);
        while let Some(0) = self.depths.last() {
            self.depths.pop();
        }
    }
}

/// The pairs of a table.
#[derive(Clone)]
pub struct Iter<'a> {
    table: &'a Table,
    next: Option<u64>,
    entries: segment::Iter<'a>,
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.next() {
                self.left -= 1;
                return Some(entry);
            }
            let prefix = self.next?;
            let (segment, depth) = self.table.locate(prefix);
            self.next = next_prefix(prefix, depth);
            self.entries = segment.iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// 40 bits of hash prefix, 6 bits of the segment's depth when it was left, 16 bits of tag: 62 bits, so that
/// clients with signed integers are content.
struct Cursor {
    prefix: u64,
    depth: u32,
    tag: usize,
}

impl From<u64> for Cursor {
    fn from(cursor: u64) -> Self {
        let depth = (cursor >> TAG_BITS) as u32 & 0x3F;
        Self { prefix: cursor >> (TAG_BITS + 6) << (64 - DEPTH_MAX), depth, tag: usize::from(cursor as u16) }
    }
}

impl From<Cursor> for u64 {
    fn from(cursor: Cursor) -> Self {
        let prefix = cursor.prefix >> (64 - DEPTH_MAX);
        prefix << (TAG_BITS + 6) | u64::from(cursor.depth) << TAG_BITS | cursor.tag as u64
    }
}

fn hash(hasher: &RandomState, field: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(field);
    hasher.finish()
}

/// The first hash behind a segment that begins at `prefix` or contains it; `None` behind the last.
fn next_prefix(prefix: u64, depth: u32) -> Option<u64> {
    let span = 1u64.checked_shl(64 - depth)?;
    (prefix & !(span - 1)).checked_add(span)
}

fn node_bits(node: &Node) -> u32 {
    node.len().trailing_zeros()
}

fn slot_index(node: &Node, hash: u64, bits_above: u32) -> usize {
    let mut i = (hash << bits_above).checked_shr(64 - node_bits(node)).unwrap_or(0) as usize;
    while let Slot::Alias = node[i] {
        i &= i - 1;
    }
    i
}

/// The slot of a hash's segment, its directory unshared, and the number of bits of the directories above.
fn slot_mut(root: &mut Node, hash: u64) -> (&mut Node, usize, u32) {
    let (mut node, mut bits_above) = (root, 0);
    loop {
        let i = slot_index(node, hash, bits_above);
        if !matches!(node[i], Slot::Node(_)) {
            node[i].settle();
            return (node, i, bits_above);
        }
        let Slot::Node(below) = &mut node[i] else { unreachable!("an alias leads to the slot before it") };
        node = below.make_mut();
        bits_above += NODE_BITS;
    }
}

/// Splits the segment in slot `i` by its next bit and returns the depth it had.
fn split(node: &mut Node, mut i: usize, bits_above: u32, hasher: &RandomState) -> u32 {
    let Slot::Segment { depth, segment } = &node[i] else { unreachable!("only segments split") };
    let (depth, depth_in_all) = (*depth, bits_above + depth);
    assert!(depth_in_all < DEPTH_MAX, "a segment's worth of fields share 40 bits of a seeded hash");
    let high = |field: &[u8]| hash(hasher, field) >> (63 - depth_in_all) & 1 == 1;
    let [low, high] = segment.split(high).map(Cow::new);
    if depth == NODE_BITS {
        let half = |segment| Slot::Segment { depth: 1, segment };
        node[i] = Slot::Node(Cow::new(vec![half(low), half(high)]));
        return depth_in_all;
    }
    if depth == node_bits(node) {
        *node = std::mem::take(node).into_iter().flat_map(|slot| [slot, Slot::Alias]).collect();
        i *= 2;
    }
    let half = 1 << (node_bits(node) - depth - 1);
    node[i] = Slot::Segment { depth: depth + 1, segment: low };
    node[i + half] = Slot::Segment { depth: depth + 1, segment: high };
    depth_in_all
}

/// Merges the segment of a hash with its neighbour if both are sparse, and returns the depth they had.
fn merge(node: &mut Node, hash: u64, bits_above: u32) -> Option<u32> {
    let i = slot_index(node, hash, bits_above);
    node[i].settle();
    let depth = match &mut node[i] {
        Slot::Node(below) => {
            let below = below.make_mut();
            let merged = merge(below, hash, bits_above + NODE_BITS)?;
            if let [Slot::Segment { segment, .. }] = &mut below[..] {
                let segment = std::mem::take(segment);
                node[i] = Slot::Segment { depth: NODE_BITS, segment };
            }
            return Some(merged);
        }
        Slot::Segment { depth: 0, .. } => return None,
        Slot::Segment { depth, .. } => *depth,
        Slot::Thinned { .. } => unreachable!("it was settled"),
        Slot::Alias => unreachable!("an alias leads to the slot before it"),
    };
    let neighbour = i ^ 1 << (node_bits(node) - depth);
    let (low, high) = (i.min(neighbour), i.max(neighbour));
    node[neighbour].settle();
    let [
        Slot::Segment { depth: low_depth, segment: low_segment },
        Slot::Segment { depth: high_depth, segment: high_segment },
    ] = node.get_disjoint_mut([low, high]).ok()?
    else {
        return None;
    };
    let len = low_segment.len() + high_segment.len();
    let bytes = low_segment.live_bytes() + high_segment.live_bytes();
    if low_depth != high_depth || len > ENTRIES_MAX / 2 || bytes > ARENA_BYTES_MAX / 2 {
        return None;
    }
    let merged = low_segment.make_mut();
    merged.compact();
    merged.absorb(high_segment);
    *low_depth -= 1;
    node[high] = Slot::Alias;
    while node.len() > 1 && node.iter().skip(1).step_by(2).all(|slot| matches!(slot, Slot::Alias)) {
        *node = std::mem::take(node).into_iter().step_by(2).collect();
    }
    Some(bits_above + depth)
}

/// Draws `count` distinct items of a collection of `len`, or all: `all` walks it, `random` draws one.
pub(super) fn draw_distinct<T, I>(
    len: usize,
    count: usize,
    rng: &mut fastrand::Rng,
    all: impl Fn() -> I,
    random: impl Fn(&mut fastrand::Rng) -> Option<T>,
) -> Vec<T>
where
    T: Copy + Eq + std::hash::Hash,
    I: Iterator<Item = T>,
{
    let count = count.min(len);
    let mut drawn = Vec::with_capacity(count);
    if count > len / 4 {
        drawn.extend(all());
        for i in 0..count {
            drawn.swap(i, rng.usize(i..len));
        }
        drawn.truncate(count);
        return drawn;
    }
    let mut seen = hashbrown::HashSet::with_capacity(count);
    while drawn.len() < count {
        match random(rng) {
            Some(item) if seen.insert(item) => drawn.push(item),
            Some(_) => {}
            None => break,
        }
    }
    drawn
}

/// Draws `count` times any item of a collection of `len`: `all` walks it, `random` draws one.
pub(super) fn draw_repeated<T, I>(
    len: usize,
    count: usize,
    rng: &mut fastrand::Rng,
    all: impl Fn() -> I,
    random: impl Fn(&mut fastrand::Rng) -> Option<T>,
    mut tell: impl FnMut(T),
) where
    T: Copy,
    I: Iterator<Item = T>,
{
    if (1..=count).contains(&len) {
        // Drawing one may take a walk in a small collection: one walk serves all.
        let items: Vec<T> = all().collect();
        (0..count).for_each(|_| tell(items[rng.usize(..len)]));
    } else {
        (0..count).filter_map(|_| random(rng)).for_each(tell);
    }
}

fn node_bytes(node: &Node) -> usize {
    let below = node.iter().map(|slot| match slot {
        Slot::Node(below) => 16 + size_of::<Node>() + node_bytes(below),
        _ => 0,
    });
    node.capacity() * size_of::<Slot>() + below.sum::<usize>()
}

#[cfg(test)]
mod tests;
