//! Putting a large sorted set together from entries that are in order already.
//!
//! The tree is built from its leaves up. The table from member to score is filled in the order of hashes, segment by
//! segment, so that no member is looked for, nothing is cut, and each segment is written once.

use super::member_table::MemberTable;
use super::packed::{Entry, MemberRef};
use super::tree::Tree;
use super::{Large, PACKED_ENTRIES_MAX, RENEWED_AT_ONCE_MAX, Repr, SortedSet, stored_bytes};
use crate::storage::limits::EncodingLimits;
use std::ops::Range;

impl SortedSet {
    /// The set of these members, which ascend by score and member and differ from each other.
    pub fn from_ordered<'a>(
        members: impl ExactSizeIterator<Item = (&'a [u8], f64)>,
        limits: &EncodingLimits,
    ) -> Self {
        if members.len() <= PACKED_ENTRIES_MAX {
            let mut set = Self::default();
            for (member, score) in members {
                set.insert(score, member, limits);
            }
            return set;
        }
        let entries: Vec<Entry<'a>> =
            members.map(|(member, score)| (MemberRef::new(member), score)).collect();
        let widest = entries.iter().map(|(member, _)| member.bytes().len()).max().unwrap_or(0);
        let is_listpack =
            entries.len() <= limits.zset_max_listpack_entries && widest <= limits.zset_max_listpack_value;
        Self::of_large(Large {
            tree: Tree::from_ordered(&entries),
            scores: MemberTable::from_entries(&entries),
            strays: None,
            member_bytes: entries.iter().map(|(member, _)| stored_bytes(member.bytes())).sum(),
            is_listpack,
        })
    }

    /// The members of these ranks, which exist, as a set of their own. Most of a large set shares what is stored with it.
    pub fn subset(&self, ranks: Range<usize>, limits: &EncodingLimits) -> Self {
        let is_most = ranks.len() > RENEWED_AT_ONCE_MAX && ranks.len() >= self.len() / 2;
        // Else the encoding may be another one.
        let stays_large = ranks.len() > limits.zset_max_listpack_entries;
        if !is_most || !stays_large || matches!(self.0, Repr::Packed(_)) {
            return Self::from_ordered(self.range(ranks), limits);
        }
        let mut subset = self.clone();
        subset.remove_rank_range(ranks.end..self.len());
        subset.remove_rank_range(0..ranks.start);
        subset
    }
}
