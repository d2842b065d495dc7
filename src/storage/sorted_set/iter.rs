//! A walk over the members of a sorted set by rank, from both ends.

use super::{SortedSet, packed::Packed};
use std::ops::Range;

/// Members and scores in order. Looks a leaf up by rank when it has walked through the one before.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    set: &'a SortedSet,
    ranks: Range<usize>,
    front: Option<Cursor<'a>>,
    back: Option<Cursor<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct Cursor<'a> {
    list: &'a Packed,
    /// The rank of the list's first entry.
    first: usize,
}

impl<'a> Iter<'a> {
    pub(super) fn new(set: &'a SortedSet, ranks: Range<usize>) -> Self {
        Self { set, ranks, front: None, back: None }
    }
}

/// The entry of a rank, from the list of `cursor` if that holds it, else from the one that does.
fn entry<'a>(set: &'a SortedSet, cursor: &mut Option<Cursor<'a>>, rank: usize) -> (&'a [u8], f64) {
    let Cursor { list, first } = match *cursor {
        Some(cursor) if (cursor.first..cursor.first + cursor.list.len()).contains(&rank) => cursor,
        _ => {
            let (list, first) = set.list_of_rank(rank);
            *cursor.insert(Cursor { list, first })
        }
    };
    list.entry(rank - first)
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);

    fn next(&mut self) -> Option<Self::Item> {
        let rank = self.ranks.next()?;
        Some(entry(self.set, &mut self.front, rank))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranks.size_hint()
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        let rank = self.ranks.nth(n)?;
        Some(entry(self.set, &mut self.front, rank))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let rank = self.ranks.next_back()?;
        Some(entry(self.set, &mut self.back, rank))
    }

    fn nth_back(&mut self, n: usize) -> Option<Self::Item> {
        let rank = self.ranks.nth_back(n)?;
        Some(entry(self.set, &mut self.back, rank))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a SortedSet {
    type Item = (&'a [u8], f64);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
