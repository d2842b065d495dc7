//! From member to score: an extendible hash table of small shared segments.
//!
//! The hash's leading bits, six per level, lead through branches of 64 slots to a segment; a full segment is
//! cut in two by the next bit, so nothing is ever rehashed as a whole. A segment is a packed list with an
//! index of (hash tag, entry number). Clones share everything; a write copies one segment and its branches.
//!
//! A scan's cursor is a prefix of the hash, which neither cuts nor joins disturb.

use super::packed::{Entry, MemberRef, Packed};
use crate::storage::cow::Cow;
use crate::storage::prefetch::prefetch;
use std::ops::Range;
use std::sync::OnceLock;

/// A segment heavier than this is cut in two.
const SEGMENT_BYTES_MAX: usize = 3072;
/// Two halves that together weigh less than this become one segment again.
const SEGMENT_BYTES_JOINED: usize = SEGMENT_BYTES_MAX / 3;

const BITS_PER_LEVEL: u8 = 6;
const SLOTS: usize = 1 << BITS_PER_LEVEL;
/// Levels of branches: the tag's 16 bits are left over.
const LEVELS_MAX: u8 = 8;
/// Bits of the hash that a scan's cursor has: all that choose a segment, and few enough for any client.
const CURSOR_BITS: u32 = (BITS_PER_LEVEL * LEVELS_MAX) as u32;

static HASH_SEED: OnceLock<u64> = OnceLock::new();

/// Sets the key of the members' hash, once and before the first sorted set: a server chooses it at random so
/// that no client can choose colliding members. Without it the key is fixed, and so is the order of a scan.
pub fn seed_member_hash(seed: u64) {
    // A second seed would make the members that are already stored unfindable.
    let _ = HASH_SEED.set(seed);
}

fn hash_of(member: &[u8]) -> u64 {
    let seed = *HASH_SEED.get_or_init(|| 0x9e37_79b9_7f4a_7c15);
    let state = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 0x2545_f491_4f6c_dd1d);
    state.hash_one(member)
}

#[derive(Debug, Clone, Default)]
pub(super) struct MemberTable {
    root: Cow<Branch>,
    len: usize,
}

/// Up to 64 children; a child of depth `d` is named by the `2^(6-d)` slots that share its `d` leading bits.
#[derive(Debug, Clone)]
struct Branch {
    slots: [u8; SLOTS],
    children: Vec<Child>,
}

#[derive(Debug, Clone)]
struct Child {
    node: Node,
    depth: u8,
}

#[derive(Debug, Clone)]
enum Node {
    Segment(Cow<Segment>),
    Branch(Cow<Branch>),
}

#[derive(Debug, Clone, Default)]
struct Segment {
    entries: Packed,
    /// Open addressing with linear probing, in the order of the tags. 0 is free, else `tag << 16 | entry + 1`.
    index: Box<[u32]>,
}

/// Entries in the order of their members' hashes, on their way into a table.
struct Hashed<'e, 'm> {
    entries: &'e [Entry<'m>],
    /// The hash, and the place in `entries`.
    order: Vec<(u64, u32)>,
    /// The weight of those before each place in `order`.
    weights: Vec<usize>,
}

impl MemberTable {
    /// The table of these members, which differ from each other.
    pub fn from_entries(entries: &[Entry<'_>]) -> Self {
        let hash_of_entry = |(i, (member, _)): (usize, &Entry<'_>)| (hash_of(member.bytes()), i as u32);
        let mut order: Vec<(u64, u32)> = entries.iter().enumerate().map(hash_of_entry).collect();
        order.sort_unstable();
        let mut weights = Vec::with_capacity(order.len() + 1);
        let mut weight = 0;
        weights.push(0);
        weights.extend(order.iter().map(|&(_, i)| {
            weight += entries[i as usize].0.weight_max();
            weight
        }));
        let hashed = Hashed { entries, order, weights };
        let root = hashed.branch(0..entries.len(), 0);
        Self { root: Cow::new(root), len: entries.len() }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, member: &[u8]) -> Option<f64> {
        let hash = hash_of(member);
        let segment = self.root.segment(hash).0;
        let (_, entry) = segment.find(hash, member)?;
        Some(segment.entries.score(entry))
    }

    /// Begins to load the place where a member's slot is; answers the member's hash.
    pub fn prefetch_slot(&self, member: &[u8]) -> u64 {
        let hash = hash_of(member);
        let segment = self.root.segment(hash).0;
        if !segment.index.is_empty() {
            prefetch(&segment.index[home_of(tag_of(hash), segment.index.len())]);
        }
        hash
    }

    /// Begins to load the entry that the first slot of this hash names.
    pub fn prefetch_entry(&self, hash: u64) {
        let segment = self.root.segment(hash).0;
        if segment.index.is_empty() {
            return;
        }
        let mut slot = home_of(tag_of(hash), segment.index.len());
        for _ in 0..4 {
            let word = segment.index[slot];
            if word == 0 {
                return;
            }
            if word >> 16 == tag_of(hash) {
                segment.entries.prefetch((word & 0xffff) as usize - 1);
                return;
            }
            slot = next_of(slot, segment.index.len());
        }
    }

    /// Inserts a member that is not there, or gives one that is there another score.
    pub fn set(&mut self, member: &MemberRef<'_>, score: f64) {
        let is_new = self.root.make_mut().set(0, hash_of(member.bytes()), member, score);
        self.len += usize::from(is_new);
    }

    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let hash = hash_of(member);
        // Asked first, so that a miss copies nothing.
        let segment = self.root.segment(hash).0;
        let (slot, entry) = segment.find(hash, member)?;
        let score = segment.entries.score(entry);
        self.root.make_mut().remove(0, hash, slot);
        self.len -= 1;
        Some(score)
    }

    /// Hands out the members of the next hash prefixes, about `count` of them; returns the cursor to go on
    /// from, 0 at the end. Members that stay throughout a scan from 0 to 0 are handed out at least once.
    pub fn scan(&self, cursor: u64, count: usize, mut f: impl FnMut(&[u8], f64)) -> u64 {
        let mut cursor = cursor & ((1 << CURSOR_BITS) - 1);
        let mut seen = 0;
        loop {
            let (segment, depth) = self.root.segment(cursor << (64 - CURSOR_BITS));
            // As many leading bits more as leave about `count` of the segment's entries.
            let len = segment.entries.len();
            let mut bits = depth;
            while bits < CURSOR_BITS && len >> (bits - depth) > count.max(1) {
                bits += 1;
            }
            let prefix = cursor.checked_shr(CURSOR_BITS - bits).unwrap_or(0);
            for i in 0..len {
                let (member, score) = segment.entries.entry(i);
                if bits == depth || hash_of(member) >> (64 - bits) == prefix {
                    f(member, score);
                    seen += 1;
                }
            }
            cursor = (prefix + 1) << (CURSOR_BITS - bits);
            if cursor >> CURSOR_BITS != 0 {
                return 0;
            }
            if seen >= count {
                return cursor;
            }
        }
    }

    /// Bytes of the heap as they are, by a walk over all segments.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }

    #[cfg(test)]
    pub fn check(&self) {
        assert_eq!(self.root.check(0, 0), self.len);
    }
}

impl Hashed<'_, '_> {
    /// The branch of the entries in `range`, which share the hash's bits of the levels above.
    fn branch(&self, range: Range<usize>, level: u8) -> Branch {
        let mut branch = Branch { slots: [0; SLOTS], children: Vec::new() };
        self.add_children(&mut branch, range, level, 0, 0);
        branch
    }

    /// Adds what stands for `depth` bits of the hash, those of slot `first`.
    fn add_children(&self, branch: &mut Branch, range: Range<usize>, level: u8, first: usize, depth: u8) {
        let weight = self.weights[range.end] - self.weights[range.start];
        let node = if weight <= SEGMENT_BYTES_MAX || (level + 1 == LEVELS_MAX && depth == BITS_PER_LEVEL) {
            Node::Segment(Cow::new(self.segment(range)))
        } else if depth == BITS_PER_LEVEL {
            Node::Branch(Cow::new(self.branch(range, level + 1)))
        } else {
            let bit = 1 << (BITS_PER_LEVEL - 1 - depth);
            let zeros =
                self.order[range.clone()].partition_point(|&(hash, _)| slot_of(hash, level) & bit == 0);
            let middle = range.start + zeros;
            self.add_children(branch, range.start..middle, level, first, depth + 1);
            self.add_children(branch, middle..range.end, level, first | bit, depth + 1);
            return;
        };
        let named = first..first + (1 << (BITS_PER_LEVEL - depth));
        branch.slots[named].fill(branch.children.len() as u8);
        branch.children.push(Child { node, depth });
    }

    fn segment(&self, range: Range<usize>) -> Segment {
        let order = &self.order[range];
        let entries = order.iter().map(|&(_, i)| &self.entries[i as usize]);
        // They lie anywhere: all are asked for before the first is read.
        entries.clone().for_each(|entry| prefetch(entry));
        entries.clone().for_each(|(member, _)| member.prefetch());
        let mut index = vec![0; (order.len() * 4).div_ceil(3).max(4)].into_boxed_slice();
        for (number, &(hash, _)) in (1..).zip(order) {
            place(&mut index, tag_of(hash) << 16 | number);
        }
        Segment { entries: Packed::of(entries), index }
    }
}

impl Default for Branch {
    fn default() -> Self {
        Self::over(Node::Segment(Cow::default()))
    }
}

impl Branch {
    fn over(node: Node) -> Self {
        Self { slots: [0; SLOTS], children: vec![Child { node, depth: 0 }] }
    }

    /// The segment for a hash and how many leading bits of the hash lead to it.
    fn segment(&self, hash: u64) -> (&Segment, u32) {
        let mut branch = self;
        let mut level = 0;
        loop {
            let child = &branch.children[usize::from(branch.slots[slot_of(hash, level)])];
            match &child.node {
                Node::Segment(segment) => return (segment, u32::from(level * BITS_PER_LEVEL + child.depth)),
                Node::Branch(next) => branch = next,
            }
            level += 1;
        }
    }

    /// Returns whether the member is new.
    fn set(&mut self, level: u8, hash: u64, member: &MemberRef<'_>, score: f64) -> bool {
        loop {
            let at = usize::from(self.slots[slot_of(hash, level)]);
            let child = &mut self.children[at];
            match &mut child.node {
                Node::Branch(next) => return next.make_mut().set(level + 1, hash, member, score),
                Node::Segment(shared) => {
                    if let Some((_, entry)) = shared.find(hash, member.bytes()) {
                        shared.make_mut().entries.set_score(entry, score);
                        return false;
                    }
                    if shared.entries.weight() < SEGMENT_BYTES_MAX || level + 1 == LEVELS_MAX {
                        shared.make_mut().push(hash, member, score);
                        return true;
                    }
                    if child.depth == BITS_PER_LEVEL {
                        let segment = Node::Segment(std::mem::take(shared));
                        child.node = Node::Branch(Cow::new(Self::over(segment)));
                    } else {
                        self.cut(level, at);
                    }
                }
            }
        }
    }

    /// Cuts the segment of a child in two by the next bit of the hash.
    fn cut(&mut self, level: u8, at: usize) {
        let new = self.children.len() as u8;
        let child = &mut self.children[at];
        let bit = 1usize << (BITS_PER_LEVEL - 1 - child.depth);
        child.depth += 1;
        let depth = child.depth;
        let Node::Segment(segment) = &mut child.node else { unreachable!("only segments are cut") };
        let (zeros, ones) = segment.partition(|hash| slot_of(hash, level) & bit != 0);
        *segment = Cow::new(zeros);
        self.children.push(Child { node: Node::Segment(Cow::new(ones)), depth });
        for (i, slot) in self.slots.iter_mut().enumerate() {
            if usize::from(*slot) == at && i & bit != 0 {
                *slot = new;
            }
        }
    }

    /// Removes the entry that slot `slot` of its segment's index names.
    fn remove(&mut self, level: u8, hash: u64, slot: usize) {
        let at = usize::from(self.slots[slot_of(hash, level)]);
        match &mut self.children[at].node {
            Node::Segment(segment) => segment.make_mut().remove(slot),
            Node::Branch(next) => {
                let next = next.make_mut();
                next.remove(level + 1, hash, slot);
                // A branch that is down to one segment gives its place to it.
                if next.children.len() == 1
                    && let Node::Segment(only) = &next.children[0].node
                {
                    self.children[at].node = Node::Segment(only.clone());
                }
            }
        }
        self.join(slot_of(hash, level));
    }

    /// Joins the segment of a slot with its other half, as long as the two are light.
    fn join(&mut self, slot: usize) {
        loop {
            let at = usize::from(self.slots[slot]);
            let depth = self.children[at].depth;
            if depth == 0 {
                return;
            }
            let buddy = usize::from(self.slots[slot ^ (1 << (BITS_PER_LEVEL - depth))]);
            let (Node::Segment(a), Node::Segment(b)) = (&self.children[at].node, &self.children[buddy].node)
            else {
                return;
            };
            if self.children[buddy].depth != depth
                || a.entries.weight() + b.entries.weight() > SEGMENT_BYTES_JOINED
            {
                return;
            }
            let joined = Segment::joined(a, b);
            self.children[at] = Child { node: Node::Segment(Cow::new(joined)), depth: depth - 1 };
            let last = self.children.len() - 1;
            self.children.swap_remove(buddy);
            for slot in &mut self.slots {
                if usize::from(*slot) == buddy {
                    *slot = at as u8;
                }
                // The last child moved to the place that became free.
                if usize::from(*slot) == last {
                    *slot = buddy as u8;
                }
            }
        }
    }

    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        let own = 16 + size_of::<Self>() + self.children.capacity() * size_of::<Child>();
        let below = self.children.iter().map(|child| match &child.node {
            Node::Branch(next) => next.heap_bytes(),
            Node::Segment(segment) => {
                16 + size_of::<Segment>() + segment.entries.weight() + 4 * segment.index.len()
            }
        });
        own + below.sum::<usize>()
    }

    /// Checks everything below; returns the number of entries.
    #[cfg(test)]
    fn check(&self, level: u8, prefix: u64) -> usize {
        let mut count = 0;
        let mut named = vec![0; self.children.len()];
        for (i, &slot) in self.slots.iter().enumerate() {
            let child = &self.children[usize::from(slot)];
            let first = i & (SLOTS - 1) << (BITS_PER_LEVEL - child.depth);
            assert_eq!(self.slots[first], slot, "a child's slots are not adjacent");
            named[usize::from(slot)] += 1;
            if first != i {
                continue;
            }
            let prefix = prefix << BITS_PER_LEVEL | i as u64;
            let unused = BITS_PER_LEVEL - child.depth;
            match &child.node {
                Node::Branch(next) => count += next.check(level + 1, prefix),
                Node::Segment(segment) => {
                    for entry in 0..segment.entries.len() {
                        let member = segment.entries.member(entry);
                        let hash = hash_of(member);
                        let bits = u32::from((level + 1) * BITS_PER_LEVEL - unused);
                        assert_eq!(hash.checked_shr(64 - bits).unwrap_or(0), prefix >> unused);
                        assert_eq!(segment.find(hash, member).map(|found| found.1), Some(entry));
                    }
                    assert_eq!(
                        segment.index.iter().filter(|&&slot| slot != 0).count(),
                        segment.entries.len()
                    );
                    count += segment.entries.len();
                }
            }
        }
        for (child, named) in self.children.iter().zip(named) {
            assert_eq!(named, 1 << (BITS_PER_LEVEL - child.depth), "a wrong depth");
        }
        count
    }
}

impl Segment {
    /// The index slot and the number of a member's entry.
    fn find(&self, hash: u64, member: &[u8]) -> Option<(usize, usize)> {
        if self.index.is_empty() {
            return None;
        }
        let tag = tag_of(hash);
        let mut slot = home_of(tag, self.index.len());
        loop {
            let word = self.index[slot];
            if word == 0 {
                return None;
            }
            if word >> 16 == tag {
                let entry = (word & 0xffff) as usize - 1;
                if self.entries.member(entry) == member {
                    return Some((slot, entry));
                }
            }
            slot = next_of(slot, self.index.len());
        }
    }

    fn push(&mut self, hash: u64, member: &MemberRef<'_>, score: f64) {
        self.entries.push(score, member);
        let len = self.entries.len();
        if len * 8 > self.index.len() * 7 {
            let larger = vec![0; (len * 4).div_ceil(3).max(4)].into_boxed_slice();
            let words = std::mem::replace(&mut self.index, larger);
            words.iter().filter(|&&word| word != 0).for_each(|&word| place(&mut self.index, word));
        }
        place(&mut self.index, tag_of(hash) << 16 | len as u32);
    }

    fn remove(&mut self, slot: usize) {
        let number = self.index[slot] & 0xffff;
        self.entries.remove(number as usize - 1);
        // Entries behind the removed one have moved up.
        for word in &mut self.index {
            *word -= u32::from(*word & 0xffff > number);
        }
        self.index[slot] = 0;
        self.close_gap(slot);
    }

    /// Moves words back over a slot that became free, so that probing never stops too early.
    fn close_gap(&mut self, mut gap: usize) {
        let size = self.index.len();
        let mut slot = gap;
        loop {
            slot = next_of(slot, size);
            let word = self.index[slot];
            if word == 0 {
                return;
            }
            let home = home_of(word >> 16, size);
            if (slot + size - home) % size >= (slot + size - gap) % size {
                self.index[gap] = word;
                self.index[slot] = 0;
                gap = slot;
            }
        }
    }

    fn partition(&self, is_one: impl Fn(u64) -> bool) -> (Self, Self) {
        let (mut zeros, mut ones) = (Self::default(), Self::default());
        for i in 0..self.entries.len() {
            let member = self.entries.member_ref(i);
            let hash = hash_of(member.bytes());
            let half = if is_one(hash) { &mut ones } else { &mut zeros };
            half.push(hash, &member, self.entries.score(i));
        }
        (zeros, ones)
    }

    fn joined(a: &Self, b: &Self) -> Self {
        let mut joined = a.clone();
        for i in 0..b.entries.len() {
            let member = b.entries.member_ref(i);
            joined.push(hash_of(member.bytes()), &member, b.entries.score(i));
        }
        joined
    }
}

fn slot_of(hash: u64, level: u8) -> usize {
    (hash >> (64 - BITS_PER_LEVEL * (level + 1))) as usize & (SLOTS - 1)
}

fn tag_of(hash: u64) -> u32 {
    hash as u32 & 0xffff
}

fn home_of(tag: u32, size: usize) -> usize {
    (tag as usize * size) >> 16
}

fn next_of(slot: usize, size: usize) -> usize {
    if slot + 1 == size { 0 } else { slot + 1 }
}

fn place(index: &mut [u32], word: u32) {
    let mut slot = home_of(word >> 16, index.len());
    while index[slot] != 0 {
        slot = next_of(slot, index.len());
    }
    index[slot] = word;
}

#[cfg(test)]
mod tests {
    use super::{super::packed::INLINE_MAX, *};
    use std::collections::{BTreeSet, HashMap};

    #[test]
    fn a_table_equals_a_map_and_its_clones_stay_as_they_were() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut table = MemberTable::default();
        let mut model: HashMap<Vec<u8>, f64> = HashMap::new();
        let mut kept = None;
        for step in 0..120_000 {
            // The table grows, then shrinks.
            let grows = step < 60_000;
            let member = match rng.u32(0..40) {
                0 => vec![b'x'; INLINE_MAX + rng.usize(0..50)],
                _ => format!("member:{}", rng.u32(0..30_000)).into_bytes(),
            };
            if rng.u32(0..10) < if grows { 8 } else { 1 } {
                let score = f64::from(rng.i32(-70_000..70_000));
                table.set(&MemberRef::new(&member), score);
                model.insert(member, score);
            } else {
                assert_eq!(table.remove(&member), model.remove(&member));
            }
            if step % 9_973 == 0 {
                table.check();
                if let Some((old, old_model)) = kept.replace((table.clone(), model.clone())) {
                    assert_same(&old, &old_model);
                }
            }
        }
        assert_same(&table, &model);
    }

    fn assert_same(table: &MemberTable, model: &HashMap<Vec<u8>, f64>) {
        table.check();
        assert_eq!(table.len(), model.len());
        for (member, &score) in model {
            assert_eq!(table.get(member), Some(score));
        }
        assert_eq!(table.get(b"nobody"), None);
    }

    #[test]
    fn a_table_that_was_emptied_is_small_again() {
        let mut table = MemberTable::default();
        let members: Vec<Vec<u8>> = (0..50_000).map(|i| format!("m{i}").into_bytes()).collect();
        members.iter().for_each(|member| table.set(&MemberRef::new(member), 1.0));
        members.iter().for_each(|member| assert_eq!(table.remove(member), Some(1.0)));
        table.check();
        assert!(table.heap_bytes() < 10_000, "{} bytes", table.heap_bytes());
    }

    #[test]
    fn a_scan_hands_out_all_that_stay_while_the_table_grows_and_shrinks() {
        let mut table = MemberTable::default();
        let name = |i: u32| format!("member:{i}").into_bytes();
        (0..2_000).for_each(|i| table.set(&MemberRef::new(&name(i)), f64::from(i)));
        let (mut cursor, mut seen, mut step) = (0, BTreeSet::new(), 0);
        loop {
            cursor = table.scan(cursor, 10, |member, _| {
                seen.insert(member.to_vec());
            });
            if cursor == 0 {
                break;
            }
            step += 1;
            let noise = 10_000..10_000 + 20_000;
            if step % 20 == 10 {
                noise.for_each(|i| table.set(&MemberRef::new(&name(i)), 0.0));
            } else if step % 20 == 0 {
                noise.for_each(|i| assert!(table.remove(&name(i)).is_some()));
            }
        }
        assert!((0..2_000).all(|i| seen.contains(&name(i))));
    }
}
