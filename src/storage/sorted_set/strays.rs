//! Strays: members that a removal of many has taken out of the order, but that the table from member to score still
//! knows.
//!
//! Cutting a stretch out of the tree takes O(log n), taking its members out of the table a step for each. So the order
//! alone says who is a member, and the table is cleaned in slices. What is removed is held on to meanwhile: it says whom
//! to look for.
//!
//! Invariant: every member of the order is in the table with its score; the others there are the strays, each of which
//! lies in one of the stretches that are left.

use std::collections::VecDeque;
use std::ops::Range;

use super::tree::Tree;
use super::{Large, stored_bytes};

#[derive(Debug, Clone, Default)]
pub(super) struct Strays {
    pub len: usize,
    stretches: VecDeque<Stretch>,
}

/// What one removal has cut out, as the tree was before.
#[derive(Debug, Clone)]
struct Stretch {
    tree: Tree,
    /// The ranks that were not looked at yet.
    ranks: Range<usize>,
}

impl Large {
    pub fn len(&self) -> usize {
        self.scores.len() - self.strays.as_ref().map_or(0, |strays| strays.len)
    }

    pub fn score(&self, member: &[u8]) -> Option<f64> {
        let score = self.scores.get(member)?;
        self.is_ordered(score, member).then_some(score)
    }

    /// Whether what the table says of a member is true.
    pub fn is_ordered(&self, score: f64, member: &[u8]) -> bool {
        self.strays.is_none() || self.tree.contains(score, member)
    }

    /// Takes note of a member that is about to come back into the order; whether the table knows it as a stray.
    pub fn recall(&mut self, member: &[u8]) -> bool {
        let Some(strays) = &mut self.strays else { return false };
        let is_stray = self.scores.get(member).is_some();
        strays.len -= usize::from(is_stray);
        is_stray
    }

    /// Cuts these ranks out of the order and leaves the table as it is.
    pub fn cut_out(&mut self, ranks: Range<usize>) {
        let tree = self.tree.clone();
        self.tree.remove_range(ranks.clone());
        let strays = self.strays.get_or_insert_default();
        strays.len += ranks.len();
        strays.stretches.push_back(Stretch { tree, ranks });
    }

    /// Takes the strays among the next `max` members out of the table; answers a tree that is of no use any more.
    pub fn sweep(&mut self, max: usize) -> Option<Tree> {
        let mut strays = self.strays.take()?;
        let stretch = strays.stretches.front_mut()?;
        let end = stretch.ranks.end.min(stretch.ranks.start.saturating_add(max));
        while stretch.ranks.start < end {
            let (leaf, first) = stretch.tree.leaf_of_rank(stretch.ranks.start);
            let leaf_end = end.min(first + leaf.len());
            for at in stretch.ranks.start - first..leaf_end - first {
                let member = leaf.member(at);
                if self.scores.get(member).is_some_and(|score| !self.tree.contains(score, member)) {
                    self.scores.remove(member);
                    self.member_bytes -= stored_bytes(member);
                    strays.len -= 1;
                }
            }
            stretch.ranks.start = leaf_end;
        }
        let is_done = stretch.ranks.is_empty();
        let done = if is_done { strays.stretches.pop_front() } else { None };
        if strays.stretches.is_empty() {
            debug_assert_eq!(strays.len, 0, "a stray lies in a stretch");
        } else {
            self.strays = Some(strays);
        }
        done.map(|stretch| stretch.tree)
    }
}
