//! The sorted set: members with scores, in the order of (score, member).
//!
//! A small one is a single packed list. A large one is an order-statistic B+tree beside a table from member
//! to score. Both are shared between clones, so that a clone is cheap at every size, never changes, and costs
//! the next write one leaf, one segment and the paths to them.
//!
//! Removing many members by rank cuts them out of the tree, whatever their number; the table loses them later, in
//! slices (`strays.rs`).
//!
//! Which of the two it is says nothing about `OBJECT ENCODING`: that follows Redis' thresholds, however they
//! are set. Scores are never NaN; the two zeros are equal.

mod bulk;
mod iter;
mod member_table;
mod packed;
mod range;
mod strays;
mod tree;

#[cfg(test)]
mod tests;

pub use iter::Iter;
pub use member_table::seed_member_hash;
pub use range::{LexBound, LexRange, ScoreBound, ScoreRange};

use super::limits::EncodingLimits;
use crate::storage::cow::Cow;
use member_table::MemberTable;
use packed::{INLINE_MAX, MemberRef, Packed};
use std::{mem, ops::Range, sync::Arc};
use strays::Strays;
use tree::Tree;

/// A list with more entries or bytes than this costs more to change than a tree.
const PACKED_ENTRIES_MAX: usize = 256;
const PACKED_BYTES_MAX: usize = 12 * 1024;

/// Bytes per entry of a large set beside its member and its score, which are in the leaf and in the segment:
/// two bytes of offset in each, five in the segment's index, and the entry's share of the nodes above and of
/// what the allocator rounds up (measured with jemalloc).
const LARGE_ENTRY_BYTES: usize = 2 * 2 + 5 + 9;
/// What a list or a tree takes without any entry: blocks, headers, counters.
const PACKED_FIXED_BYTES: usize = 64;
const LARGE_FIXED_BYTES: usize = 512;

/// As many members are taken out of the table, or into a new one, by the command that removes the others.
const RENEWED_AT_ONCE_MAX: usize = if cfg!(test) { 40 } else { 2000 };

#[derive(Debug, Clone)]
pub struct SortedSet(Repr);

#[derive(Debug, Clone)]
enum Repr {
    /// Its encoding is `listpack`.
    Packed(Cow<Packed>),
    Large(Cow<Large>),
}

#[derive(Debug, Clone)]
struct Large {
    tree: Tree,
    scores: MemberTable,
    /// Members in the table that are none any more.
    strays: Option<Box<Strays>>,
    /// Bytes that all members in the table take, for `memory_bytes`.
    member_bytes: usize,
    /// Whether Redis would still keep it as one list.
    is_listpack: bool,
}

/// What an insertion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Added,
    /// The member was there with another score.
    Updated,
    Unchanged,
}

impl Default for SortedSet {
    fn default() -> Self {
        Self(Repr::Packed(Cow::default()))
    }
}

impl SortedSet {
    /// Begins to load the place where a large sorted set looks for a member; answers the member's hash.
    pub(super) fn prefetch_slot(&self, member: &[u8]) -> Option<u64> {
        match &self.0 {
            Repr::Packed(_) => None,
            Repr::Large(large) => Some(large.scores.prefetch_slot(member)),
        }
    }

    /// Begins to load what is found there.
    pub(super) fn prefetch_entry(&self, hash: u64) {
        if let Repr::Large(large) = &self.0 {
            large.scores.prefetch_entry(hash);
        }
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(list) => list.len(),
            Repr::Large(large) => large.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name that `OBJECT ENCODING` gives.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Large(large) if large.is_listpack => "listpack",
            Repr::Large(_) => "skiplist",
        }
    }

    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Repr::Packed(list) => Some(list.score(list.position(member)?)),
            Repr::Large(large) => large.score(member),
        }
    }

    /// How many members sort before `member`; None if it is not there.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        match &self.0 {
            Repr::Packed(list) => list.position(member),
            Repr::Large(large) => Some(large.tree.rank_of(large.score(member)?, member)),
        }
    }

    pub fn get_by_rank(&self, rank: usize) -> Option<(&[u8], f64)> {
        if rank >= self.len() {
            return None;
        }
        let (list, first) = self.list_of_rank(rank);
        Some(list.entry(rank - first))
    }

    pub fn first(&self) -> Option<(&[u8], f64)> {
        self.get_by_rank(0)
    }

    pub fn last(&self) -> Option<(&[u8], f64)> {
        self.get_by_rank(self.len().checked_sub(1)?)
    }

    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<(&[u8], f64)> {
        if self.is_empty() { None } else { self.get_by_rank(rng.usize(0..self.len())) }
    }

    /// All members in order.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len())
    }

    /// The members of these ranks, as far as they exist.
    pub fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        let end = ranks.end.min(self.len());
        Iter::new(self, ranks.start.min(end)..end)
    }

    /// The member of rank `rank` and those after it.
    pub fn iter_from_rank(&self, rank: usize) -> Iter<'_> {
        self.range(rank..self.len())
    }

    /// The member of rank `rank` and those before it, backwards.
    pub fn iter_rev_from_rank(&self, rank: usize) -> std::iter::Rev<Iter<'_>> {
        self.range(0..rank.saturating_add(1)).rev()
    }

    /// The ranks of the members whose scores lie in the interval.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        let start = self.partition_point(|list, i| range.is_below(list.score(i)));
        let end = self.partition_point(|list, i| range.is_up_to_max(list.score(i)));
        start..end.max(start)
    }

    /// The ranks of the members that lie in the interval, if all scores are equal.
    pub fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        let start = self.partition_point(|list, i| range.is_below(list.member(i)));
        let end = self.partition_point(|list, i| range.is_up_to_max(list.member(i)));
        start..end.max(start)
    }

    /// How many leading members have a score below the bound's; `Including` leaves those at the bound out.
    pub fn rank_of_bound(&self, min: ScoreBound) -> usize {
        let range = ScoreRange { min, max: ScoreBound::Including(f64::INFINITY) };
        self.partition_point(|list, i| range.is_below(list.score(i)))
    }

    /// Gives `member` this score. `limits` say when the encoding becomes `skiplist`. Panics on NaN.
    pub fn insert(&mut self, score: f64, member: &[u8], limits: &EncodingLimits) -> Change {
        assert!(!score.is_nan(), "a score is not a number");
        let (old, at) = match &self.0 {
            Repr::Packed(list) => {
                let at = list.position(member);
                (at.map(|at| list.score(at)), at)
            }
            Repr::Large(large) => (large.score(member), None),
        };
        if old == Some(score) {
            return Change::Unchanged;
        }
        let member = MemberRef::new(member);
        if old.is_none() {
            self.make_room(member.bytes().len(), limits);
        }
        match &mut self.0 {
            Repr::Packed(list) => {
                let list = list.make_mut();
                if let Some(at) = at {
                    list.remove(at);
                }
                let at = list.lower_bound(score, member.bytes());
                list.insert(at, score, &member);
            }
            Repr::Large(large) => large.make_mut().insert(old, score, &member),
        }
        if old.is_some() { Change::Updated } else { Change::Added }
    }

    /// Takes the sign from zeros unless the encoding is `skiplist`: a listpack keeps integers as such. For sets that were
    /// put together before their encoding was known.
    pub fn settle_zeros(&mut self, limits: &EncodingLimits) {
        if self.encoding() != "listpack" {
            return;
        }
        let zero = ScoreBound::Including(0.0);
        let zeros = self.range(self.ranks_by_score(&ScoreRange { min: zero, max: zero }));
        let negative: Vec<Vec<u8>> =
            zeros.filter(|(_, score)| score.is_sign_negative()).map(|(member, _)| member.to_vec()).collect();
        for member in negative {
            self.remove(&member);
            self.insert(0.0, &member, limits);
        }
    }

    /// Removes `member` and returns the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Repr::Packed(list) => {
                let at = list.position(member)?;
                let score = list.score(at);
                list.make_mut().remove(at);
                Some(score)
            }
            Repr::Large(large) => {
                // Asked first, so that a miss copies nothing.
                let score = large.score(member)?;
                let large = large.make_mut();
                large.forget(member);
                large.tree.remove(score, member);
                Some(score)
            }
        }
    }

    pub fn pop_first(&mut self) -> Option<(Vec<u8>, f64)> {
        self.pop(0)
    }

    pub fn pop_last(&mut self) -> Option<(Vec<u8>, f64)> {
        self.pop(self.len().checked_sub(1)?)
    }

    /// Removes the members of these ranks, as far as they exist; returns how many those were, and what is to be freed.
    pub fn remove_rank_range(&mut self, ranks: Range<usize>) -> (usize, Option<Self>) {
        let len = self.len();
        let ranks = ranks.start.min(len)..ranks.end.min(len);
        if ranks.is_empty() {
            return (0, None);
        }
        if ranks.len() == len {
            return (len, Some(mem::take(self)));
        }
        let rest = match &mut self.0 {
            Repr::Packed(list) => {
                list.make_mut().remove_range(ranks.clone());
                None
            }
            Repr::Large(large) => large.make_mut().remove_range(ranks.clone()),
        };
        (ranks.len(), rest.map(Self::of_large))
    }

    /// Whether a removal of many has left something for `sweep`.
    pub fn has_strays(&self) -> bool {
        matches!(&self.0, Repr::Large(large) if large.strays.is_some())
    }

    /// Takes up to `max` steps to clean up behind a removal of many; answers what is to be freed.
    pub fn sweep(&mut self, max: usize) -> Option<Self> {
        match &mut self.0 {
            Repr::Large(large) if large.strays.is_some() => {
                let tree = large.make_mut().sweep(max)?;
                Some(Self::of_large(Large::garbage(tree, MemberTable::default())))
            }
            _ => None,
        }
    }

    fn of_large(large: Large) -> Self {
        Self(Repr::Large(Cow::new(large)))
    }

    /// Hands out about `count` members and returns the cursor to go on from, 0 at the end. Members that stay
    /// throughout a scan from 0 to 0 are handed out at least once.
    pub fn scan(&self, cursor: u64, count: usize, mut f: impl FnMut(&[u8], f64)) -> u64 {
        match &self.0 {
            Repr::Packed(_) => {
                self.iter().for_each(|(member, score)| f(member, score));
                0
            }
            Repr::Large(large) => large.scores.scan(cursor, count, |member, score| {
                if large.is_ordered(score, member) {
                    f(member, score);
                }
            }),
        }
    }

    /// Where the large form lies, which a copy shares until either changes; none while it is small.
    pub fn large_root(&self) -> Option<*const ()> {
        match &self.0 {
            Repr::Large(root) => Some(root.as_ptr().cast()),
            Repr::Packed(_) => None,
        }
    }

    /// Bytes of the heap, estimated in constant time.
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Repr::Packed(list) => PACKED_FIXED_BYTES + list.weight(),
            Repr::Large(large) => {
                let entry_bytes = LARGE_ENTRY_BYTES + 2 * large.tree.score_width();
                LARGE_FIXED_BYTES + large.member_bytes + large.scores.len() * entry_bytes
            }
        }
    }

    /// How much work freeing it is, in Redis' count of allocations.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Repr::Packed(_) => 1,
            Repr::Large(large) => large.scores.len().max(large.tree.len()),
        }
    }

    fn pop(&mut self, rank: usize) -> Option<(Vec<u8>, f64)> {
        let (member, score) = self.get_by_rank(rank)?;
        let member = member.to_vec();
        self.remove_rank_range(rank..rank + 1);
        Some((member, score))
    }

    /// How many members satisfy `before`, which holds for a head of the order.
    fn partition_point(&self, before: impl Fn(&Packed, usize) -> bool) -> usize {
        match &self.0 {
            Repr::Packed(list) => list.partition_point(0..list.len(), before),
            Repr::Large(large) => large.tree.partition_point(before),
        }
    }

    /// The list that holds the entry of a rank that exists, and the rank of the list's first entry.
    fn list_of_rank(&self, rank: usize) -> (&Packed, usize) {
        match &self.0 {
            Repr::Packed(list) => (list, 0),
            Repr::Large(large) => large.tree.leaf_of_rank(rank),
        }
    }

    /// Changes encoding and representation if one more member of this size asks for it.
    fn make_room(&mut self, member_size: usize, limits: &EncodingLimits) {
        let stays_listpack =
            self.len() < limits.zset_max_listpack_entries && member_size <= limits.zset_max_listpack_value;
        match &mut self.0 {
            Repr::Packed(list) => {
                let fits = list.len() < PACKED_ENTRIES_MAX && list.weight() + member_size < PACKED_BYTES_MAX;
                if !stays_listpack || !fits {
                    let large = Large::from_list(mem::take(list), stays_listpack);
                    self.0 = Repr::Large(Cow::new(large));
                }
            }
            Repr::Large(large) => {
                if large.is_listpack && !stays_listpack {
                    large.make_mut().is_listpack = false;
                }
            }
        }
    }

    #[cfg(test)]
    fn check(&self) {
        if let Repr::Large(large) = &self.0 {
            large.tree.check();
            large.scores.check();
            assert_eq!(self.iter().count(), self.len());
            let member_bytes = self.iter().map(|(member, _)| stored_bytes(member)).sum::<usize>();
            assert!(large.member_bytes >= member_bytes);
            assert!(large.strays.is_some() || large.member_bytes == member_bytes);
            let mut scanned = 0;
            self.scan(0, usize::MAX, |_, _| scanned += 1);
            assert_eq!(scanned, self.len());
        }
        for (member, score) in self.iter() {
            assert_eq!(self.score(member), Some(score));
        }
    }

    /// Bytes of the heap as they are, long members aside.
    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Packed(list) => PACKED_FIXED_BYTES + list.weight(),
            Repr::Large(large) => large.tree.heap_bytes() + large.scores.heap_bytes(),
        }
    }
}

impl Large {
    fn from_list(list: Cow<Packed>, is_listpack: bool) -> Self {
        let mut scores = MemberTable::default();
        let mut member_bytes = 0;
        for i in 0..list.len() {
            let member = list.member_ref(i);
            member_bytes += stored_bytes(member.bytes());
            scores.set(&member, list.score(i));
        }
        let tree = Tree::from_sorted(list.into_inner());
        Self { tree, scores, strays: None, member_bytes, is_listpack }
    }

    /// What is only to be freed.
    fn garbage(tree: Tree, scores: MemberTable) -> Self {
        Self { tree, scores, strays: None, member_bytes: 0, is_listpack: false }
    }

    fn insert(&mut self, old: Option<f64>, score: f64, member: &MemberRef<'_>) {
        match old {
            Some(old) => self.tree.remove(old, member.bytes()),
            None if self.recall(member.bytes()) => {}
            None => self.member_bytes += stored_bytes(member.bytes()),
        }
        self.tree.insert(score, member);
        self.scores.set(member, score);
    }

    /// Removes the members of these ranks, which exist but are not all; answers what is to be freed.
    fn remove_range(&mut self, ranks: Range<usize>) -> Option<Self> {
        let staying = self.len() - ranks.len();
        if ranks.len() > RENEWED_AT_ONCE_MAX && staying > RENEWED_AT_ONCE_MAX {
            self.cut_out(ranks);
            return None;
        }
        if ranks.len() > staying {
            let tree = self.tree.clone();
            self.tree.remove_range(ranks);
            let strays = self.strays.take();
            return Some(Self { strays, ..Self::garbage(tree, self.renew_table()) });
        }
        let mut rank = ranks.start;
        while rank < ranks.end {
            let (leaf, first) = self.tree.leaf_of_rank(rank);
            let end = ranks.end.min(first + leaf.len());
            for i in rank - first..end - first {
                let member = leaf.member(i);
                self.member_bytes -= stored_bytes(member);
                self.scores.remove(member);
            }
            rank = end;
        }
        self.tree.remove_range(ranks);
        None
    }

    /// Makes the table anew from the order, without strays; answers the old one.
    fn renew_table(&mut self) -> MemberTable {
        let mut scores = MemberTable::default();
        self.member_bytes = 0;
        let (mut rank, len) = (0, self.tree.len());
        while rank < len {
            let (leaf, first) = self.tree.leaf_of_rank(rank);
            for i in 0..leaf.len() {
                let member = leaf.member_ref(i);
                self.member_bytes += stored_bytes(member.bytes());
                scores.set(&member, leaf.score(i));
            }
            rank = first + leaf.len();
        }
        mem::replace(&mut self.scores, scores)
    }

    fn forget(&mut self, member: &[u8]) {
        self.member_bytes -= stored_bytes(member);
        self.scores.remove(member);
    }
}

/// Bytes that a member takes in leaf and segment; a long one is shared by the two.
fn stored_bytes(member: &[u8]) -> usize {
    if member.len() <= INLINE_MAX { 2 * member.len() } else { member.len() + 3 * mem::size_of::<Arc<[u8]>>() }
}
