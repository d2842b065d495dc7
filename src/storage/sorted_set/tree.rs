//! The order of a large sorted set: a B+tree over (score, member) that counts the entries below each child.
//!
//! Invariants: all leaves are equally deep; no node but an empty root is empty; separator `i` is greater than
//! every entry left of child `i` and not greater than any entry in it (separator 0 is never looked at).
//! Nodes are shared between clones: a change copies the nodes on its path, and nothing else.

use super::packed::{Entry, MemberRef, Packed};
use crate::storage::cow::Cow;
use std::{mem, ops::Range};

/// A leaf heavier than this is cut in two.
const LEAF_BYTES_MAX: usize = 2048;
/// A leaf lighter than this after a removal is joined with a neighbour.
const LEAF_BYTES_MIN: usize = LEAF_BYTES_MAX / 4;
/// Two leaves that are joined stay one up to this weight, so that the next insertion does not cut them again.
const LEAF_BYTES_JOINED: usize = LEAF_BYTES_MAX * 3 / 4;

/// How full a leaf is made of entries that come in order.
const LEAF_BYTES_FILLED: usize = LEAF_BYTES_MAX * 15 / 16;

const FANOUT_MAX: usize = 64;
const FANOUT_MIN: usize = FANOUT_MAX / 4;
const FANOUT_JOINED: usize = FANOUT_MAX * 3 / 4;
const FANOUT_FILLED: usize = FANOUT_MAX * 15 / 16;

#[derive(Debug, Clone)]
pub(super) struct Tree {
    root: Node,
}

#[derive(Debug, Clone)]
enum Node {
    Leaf(Cow<Packed>),
    Inner(Cow<Inner>),
}

#[derive(Debug, Clone, Default)]
struct Inner {
    separators: Packed,
    children: Vec<Child>,
}

#[derive(Debug, Clone)]
struct Child {
    node: Node,
    /// Entries below `node`.
    count: usize,
}

impl Tree {
    /// A tree of entries that are in order already.
    pub fn from_sorted(entries: Packed) -> Self {
        Self { root: Node::Leaf(Cow::new(entries)) }
    }

    /// The same of any number of entries, at least one.
    pub fn from_ordered(entries: &[Entry<'_>]) -> Self {
        let mut nodes = Vec::new();
        let mut rest = entries;
        while !rest.is_empty() {
            let mut weight = 0;
            let fitting = rest.iter().take_while(|(member, _)| {
                weight += member.weight_max();
                weight <= LEAF_BYTES_FILLED
            });
            let (leaf, others) = rest.split_at(fitting.count().max(1));
            nodes.push(Node::Leaf(Cow::new(Packed::of(leaf.iter()))));
            rest = others;
        }
        while nodes.len() > 1 {
            let parents = nodes.len().div_ceil(FANOUT_FILLED);
            let mut above = Vec::with_capacity(parents);
            let mut left = nodes.len();
            let mut nodes_below = nodes.into_iter();
            for parent in (1..=parents).rev() {
                let share = left.div_ceil(parent);
                left -= share;
                let mut inner = Inner::default();
                nodes_below.by_ref().take(share).for_each(|node| inner.push(node));
                above.push(Node::Inner(Cow::new(inner)));
            }
            nodes = above;
        }
        Self { root: nodes.pop().expect("there are entries") }
    }

    /// Inserts an entry that is not there yet.
    pub fn insert(&mut self, score: f64, member: &MemberRef<'_>) {
        if let Some(right) = self.root.insert(score, member) {
            let left = mem::replace(&mut self.root, Node::Leaf(Cow::default()));
            let mut root = Inner::default();
            root.push(left);
            root.push(right);
            self.root = Node::Inner(Cow::new(root));
        }
    }

    /// Removes an entry that is there.
    pub fn remove(&mut self, score: f64, member: &[u8]) {
        self.root.remove(score, member);
        self.lower();
    }

    /// Removes the entries of these ranks, which exist: O(log n) nodes are changed, those between are dropped.
    pub fn remove_range(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        self.root.remove_range(range);
        self.lower();
    }

    /// Drops roots that have a single child.
    fn lower(&mut self) {
        while let Node::Inner(inner) = &mut self.root {
            match inner.children.len() {
                0 => self.root = Node::Leaf(Cow::default()),
                1 => self.root = inner.children[0].node.clone(),
                _ => break,
            }
        }
    }

    pub fn len(&self) -> usize {
        self.root.count()
    }

    pub fn contains(&self, score: f64, member: &[u8]) -> bool {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let at = leaf.lower_bound(score, member);
                    return at < leaf.len() && leaf.score(at) == score && leaf.member(at) == member;
                }
                Node::Inner(inner) => node = &inner.children[inner.child_for(score, member)].node,
            }
        }
    }

    /// How many entries sort before (score, member).
    pub fn rank_of(&self, score: f64, member: &[u8]) -> usize {
        self.descend(|list, range| list.lower_bound_in(range, score, member))
    }

    /// How many entries satisfy `before`, which holds for a head of the order.
    pub fn partition_point(&self, before: impl Fn(&Packed, usize) -> bool) -> usize {
        self.descend(|list, range| list.partition_point(range, &before))
    }

    /// The rank at which `search`, which finds a place in a part of one list, comes out.
    fn descend(&self, search: impl Fn(&Packed, Range<usize>) -> usize) -> usize {
        let mut rank = 0;
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return rank + search(leaf, 0..leaf.len()),
                Node::Inner(inner) => {
                    let at = search(&inner.separators, 1..inner.children.len()) - 1;
                    rank += inner.children[..at].iter().map(|child| child.count).sum::<usize>();
                    node = &inner.children[at].node;
                }
            }
        }
    }

    /// The leaf that holds the entry of this rank, and the rank of the leaf's first entry. `rank` exists.
    pub fn leaf_of_rank(&self, rank: usize) -> (&Packed, usize) {
        let mut first = 0;
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return (leaf, first),
                Node::Inner(inner) => {
                    let mut children = inner.children.iter();
                    node = loop {
                        let child = children.next().expect("the counts sum up to the number of entries");
                        if rank < first + child.count {
                            break &child.node;
                        }
                        first += child.count;
                    };
                }
            }
        }
    }

    /// Bytes per score in most of the lists, judged by the root.
    pub fn score_width(&self) -> usize {
        match &self.root {
            Node::Leaf(leaf) => leaf.width(),
            Node::Inner(inner) => inner.separators.width(),
        }
    }

    /// Bytes of the heap as they are, by a walk over all nodes.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }

    #[cfg(test)]
    pub fn check(&self) {
        self.root.check(None, None, true);
    }
}

impl Node {
    fn count(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Inner(inner) => inner.children.iter().map(|child| child.count).sum(),
        }
    }

    /// An entry that separates this node from those left of it.
    fn first(&self) -> (f64, MemberRef<'_>) {
        let entries = match self {
            Self::Leaf(leaf) => leaf,
            Self::Inner(inner) => &inner.separators,
        };
        (entries.score(0), entries.member_ref(0))
    }

    /// Inserts, and returns the right part if the node had to be cut.
    fn insert(&mut self, score: f64, member: &MemberRef<'_>) -> Option<Node> {
        match self {
            Self::Leaf(leaf) => {
                let leaf = leaf.make_mut();
                leaf.prefetch_all();
                let at = leaf.lower_bound(score, member.bytes());
                leaf.insert(at, score, member);
                if leaf.weight() <= LEAF_BYTES_MAX || leaf.len() < 2 {
                    return None;
                }
                // Whoever inserts in order leaves full leaves behind.
                let part = if at + 1 == leaf.len() {
                    15
                } else if at == 0 {
                    1
                } else {
                    8
                };
                let cut = leaf.cut_point(part, 16);
                Some(Self::Leaf(Cow::new(leaf.split_off(cut))))
            }
            Self::Inner(inner) => inner.make_mut().insert(score, member),
        }
    }

    fn remove(&mut self, score: f64, member: &[u8]) {
        match self {
            Self::Leaf(leaf) => {
                let at = leaf.lower_bound(score, member);
                leaf.make_mut().remove(at);
            }
            Self::Inner(inner) => {
                let inner = inner.make_mut();
                let at = inner.child_for(score, member);
                let child = &mut inner.children[at];
                child.count -= 1;
                child.node.remove(score, member);
                inner.refill(at);
            }
        }
    }

    fn remove_range(&mut self, range: Range<usize>) {
        match self {
            Self::Leaf(leaf) => leaf.make_mut().remove_range(range),
            Self::Inner(inner) => inner.make_mut().remove_range(range),
        }
    }

    fn is_underfull(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.weight() < LEAF_BYTES_MIN,
            Self::Inner(inner) => inner.children.len() < FANOUT_MIN,
        }
    }

    /// Takes over the entries of the node to the right, and returns the right part again if that is too much
    /// for one node. `separator` stood between the two.
    fn join(&mut self, right: Node, separator: (f64, MemberRef<'_>)) -> Option<Node> {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => {
                let left = left.make_mut();
                left.append(&right);
                (left.weight() > LEAF_BYTES_JOINED && left.len() > 1).then(|| {
                    let cut = left.cut_point(1, 2);
                    Self::Leaf(Cow::new(left.split_off(cut)))
                })
            }
            (Self::Inner(left), Self::Inner(right)) => {
                let left = left.make_mut();
                let seam = left.children.len();
                let right = right.into_inner();
                left.separators.push(separator.0, &separator.1);
                let mut tail = right.separators;
                tail.remove(0);
                left.separators.append(&tail);
                left.children.extend(right.children);
                left.refill(seam);
                left.refill(seam - 1);
                let half = left.children.len() / 2;
                (left.children.len() > FANOUT_JOINED).then(|| Self::Inner(Cow::new(left.split_off(half))))
            }
            _ => unreachable!("all leaves are equally deep"),
        }
    }

    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Leaf(leaf) => 16 + mem::size_of::<Packed>() + leaf.weight(),
            Self::Inner(inner) => {
                let own = 16 + mem::size_of::<Inner>() + inner.separators.weight();
                let slots = inner.children.capacity() * mem::size_of::<Child>();
                own + slots + inner.children.iter().map(|child| child.node.heap_bytes()).sum::<usize>()
            }
        }
    }

    /// Checks the invariants below this node, whose entries lie in `from..to`; returns its height.
    #[cfg(test)]
    fn check(&self, from: Option<(f64, &[u8])>, to: Option<(f64, &[u8])>, is_root: bool) -> usize {
        let inner = match self {
            Self::Leaf(leaf) => {
                assert!(is_root || !leaf.is_empty(), "an empty leaf");
                assert!(leaf.weight() <= 8 * LEAF_BYTES_MAX, "a leaf of {} bytes", leaf.weight());
                for i in 0..leaf.len() {
                    let (member, score) = leaf.entry(i);
                    assert!(i == 0 || leaf.is_before(i - 1, score, member), "a leaf out of order");
                    assert!(from.is_none_or(|(s, m)| !leaf.is_before(i, s, m)), "left of its separator");
                    assert!(to.is_none_or(|(s, m)| leaf.is_before(i, s, m)), "right of its separator");
                }
                return 0;
            }
            Self::Inner(inner) => inner,
        };
        let (children, separators) = (&inner.children, &inner.separators);
        assert_eq!(children.len(), separators.len());
        assert!(children.len() > usize::from(is_root) && children.len() <= FANOUT_MAX + 1);
        let bound = |i: usize| (separators.score(i), separators.member(i));
        let heights: Vec<usize> = (0..children.len())
            .map(|i| {
                let from = if i == 0 { from } else { Some(bound(i)) };
                let to = if i + 1 == children.len() { to } else { Some(bound(i + 1)) };
                assert_eq!(children[i].count, children[i].node.count(), "a wrong count");
                children[i].node.check(from, to, false)
            })
            .collect();
        assert!(heights.iter().all(|&height| height == heights[0]), "leaves of different depth");
        heights[0] + 1
    }
}

impl Inner {
    fn push(&mut self, node: Node) {
        self.insert_child(self.children.len(), node);
    }

    fn insert_child(&mut self, at: usize, node: Node) {
        let (score, member) = node.first();
        self.separators.insert(at, score, &member);
        let count = node.count();
        drop(member);
        self.children.insert(at, Child { node, count });
    }

    /// The child that holds, or would hold, this entry.
    fn child_for(&self, score: f64, member: &[u8]) -> usize {
        let at = self.separators.lower_bound_in(1..self.children.len(), score, member);
        // A separator that equals the entry belongs to the child right of it.
        let equals = at < self.children.len()
            && self.separators.score(at) == score
            && self.separators.member(at) == member;
        at - usize::from(!equals)
    }

    fn insert(&mut self, score: f64, member: &MemberRef<'_>) -> Option<Node> {
        let at = self.child_for(score, member.bytes());
        let child = &mut self.children[at];
        child.count += 1;
        let right = child.node.insert(score, member)?;
        child.count -= right.count();
        self.insert_child(at + 1, right);
        let half = self.children.len() / 2;
        (self.children.len() > FANOUT_MAX).then(|| Node::Inner(Cow::new(self.split_off(half))))
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self { separators: self.separators.split_off(at), children: self.children.split_off(at) }
    }

    fn remove_range(&mut self, range: Range<usize>) {
        let mut first_rank = 0;
        let mut first = 0;
        while first_rank + self.children[first].count <= range.start {
            first_rank += self.children[first].count;
            first += 1;
        }
        let mut whole = first..first;
        for (i, child) in self.children.iter_mut().enumerate().skip(first) {
            let ranks = first_rank..first_rank + child.count;
            if ranks.start >= range.end {
                break;
            }
            first_rank = ranks.end;
            let cut = range.start.max(ranks.start) - ranks.start..range.end.min(ranks.end) - ranks.start;
            if cut.len() == child.count {
                whole = if whole.is_empty() { i..i + 1 } else { whole.start..i + 1 };
            } else {
                child.count -= cut.len();
                child.node.remove_range(cut);
            }
        }
        self.children.drain(whole.clone());
        self.separators.remove_range(whole);
        // What was changed and still exists are the children on both sides of the gap.
        self.refill(first + 1);
        self.refill(first);
    }

    /// Joins child `at` with a neighbour if it is underfull.
    fn refill(&mut self, at: usize) {
        if self.children.len() < 2 || !self.children.get(at).is_some_and(|child| child.node.is_underfull()) {
            return;
        }
        let at = at.min(self.children.len() - 2);
        let right = self.children.remove(at + 1).node;
        let separator = (self.separators.score(at + 1), self.separators.member_ref(at + 1));
        let rest = self.children[at].node.join(right, separator);
        self.children[at].count = self.children[at].node.count();
        self.separators.remove(at + 1);
        if let Some(right) = rest {
            self.insert_child(at + 1, right);
        }
    }
}
