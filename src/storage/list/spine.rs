//! The spine of a large list: a tree of chunks in which every link knows how many elements lie under it.
//!
//! All chunks are at the same depth; a node has at most `FANOUT` children. Nodes and chunks are shared with
//! clones and copied when they change, so a change copies one chunk and one node per level, whatever the
//! list's length. An element larger than a chunk's limit has a chunk of its own, which its neighbours'
//! changes never touch.

use crate::storage::cow::Cow;
use crate::storage::packed::{OVERHEAD_BYTES, Packed};

pub(super) type Chunk = Packed<true>;

const FANOUT: usize = 64;

/// Chunks whose memory is measured; the others are taken to be like them.
const SAMPLED_MAX: usize = 64;

/// What one chunk may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkLimit {
    bytes: usize,
    entries: usize,
}

impl ChunkLimit {
    /// From Redis' parameter: positive for entries, -1 to -5 for 4 KiB to 64 KiB with all overhead.
    pub(super) fn new(list_max_listpack_size: i64) -> Self {
        let (bytes, entries) = match list_max_listpack_size {
            0.. => (8 << 10, usize::try_from(list_max_listpack_size.max(1)).unwrap_or(usize::MAX)),
            -1 => (4 << 10, usize::MAX),
            -2 => (8 << 10, usize::MAX),
            -3 => (16 << 10, usize::MAX),
            -4 => (32 << 10, usize::MAX),
            _ => (64 << 10, usize::MAX),
        };
        Self { bytes: bytes - OVERHEAD_BYTES, entries }
    }

    pub(super) fn holds(self, entry_bytes: usize, entries: usize) -> bool {
        entry_bytes <= self.bytes && entries <= self.entries
    }

    fn part(self, numerator: usize, denominator: usize) -> Self {
        let entries =
            if self.entries == usize::MAX { usize::MAX } else { self.entries * numerator / denominator };
        Self { bytes: self.bytes * numerator / denominator, entries }
    }
}

#[derive(Clone)]
pub(super) struct Spine {
    root: Vec<Child>,
    len: usize,
    limit: ChunkLimit,
}

#[derive(Clone)]
struct Child {
    /// The number of elements below.
    len: usize,
    link: Link,
}

#[derive(Clone)]
enum Link {
    Chunk(Chunk),
    Node(Cow<Vec<Child>>),
}

impl Spine {
    pub(super) fn new(chunk: Chunk, limit: ChunkLimit) -> Self {
        Self { len: chunk.len(), root: vec![Child::chunk(chunk)], limit }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn set_limit(&mut self, limit: ChunkLimit) {
        self.limit = limit;
    }

    /// The only chunk, if all elements fit into half of one.
    pub(super) fn as_small(&self) -> Option<Chunk> {
        match &self.root[..] {
            [] => Some(Chunk::default()),
            [Child { link: Link::Chunk(chunk), len }] => {
                self.limit.part(1, 2).holds(chunk.entry_bytes(), *len).then(|| chunk.clone())
            }
            _ => None,
        }
    }

    /// The chunk of the element at `index`, and its index there.
    pub(super) fn locate(&self, mut index: usize) -> (&Chunk, usize) {
        let (mut children, mut len) = (&self.root, self.len);
        loop {
            let (i, at) = find(children, len, index);
            match &children[i].link {
                Link::Chunk(chunk) => return (chunk, at),
                Link::Node(node) => (children, len, index) = (node, children[i].len, at),
            }
        }
    }

    pub(super) fn insert(&mut self, index: usize, value: &[u8]) {
        if self.root.is_empty() {
            self.root.push(Child::chunk(Chunk::default()));
        }
        insert(&mut self.root, self.len, index, value, self.limit);
        if let Some(right) = split(&mut self.root, index, self.len) {
            let left = Child::node(std::mem::take(&mut self.root));
            self.root = vec![left, right];
        }
        self.len += 1;
    }

    /// Changes the chunk of the element at `index`; the chunk may lose elements but not grow beyond the
    /// limit.
    pub(super) fn edit<R>(&mut self, index: usize, change: impl FnOnce(&mut Chunk, usize) -> R) -> R {
        let (result, removed) = edit(&mut self.root, self.len, index, self.limit, change);
        self.len -= removed;
        self.collapse();
        result
    }

    pub(super) fn remove_range(&mut self, start: usize, len: usize) {
        remove_range(&mut self.root, self.len, start, start + len, self.limit);
        self.len -= len;
        self.collapse();
    }

    /// Removes the elements at the given indexes, which are ascending.
    pub(super) fn remove_all(&mut self, indexes: &mut Vec<usize>) {
        // From the back, so that the indexes in front stay good; each chunk is rewritten once.
        while let Some(&last) = indexes.last() {
            let first_in_chunk = last - self.locate(last).1;
            let mine = indexes.split_off(indexes.partition_point(|&index| index < first_in_chunk));
            self.edit(last, |chunk, _| remove_from_chunk(chunk, &mine, first_in_chunk));
        }
    }

    pub(super) fn chunks(&self) -> usize {
        fn count(children: &[Child]) -> usize {
            children
                .iter()
                .map(|child| if let Link::Node(node) = &child.link { count(node) } else { 1 })
                .sum()
        }
        count(&self.root)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        fn of_nodes(children: &Vec<Child>) -> usize {
            let below = children.iter().map(|child| match &child.link {
                Link::Chunk(_) => 0,
                Link::Node(node) => 16 + size_of::<Vec<Child>>() + of_nodes(node),
            });
            children.capacity() * size_of::<Child>() + below.sum::<usize>()
        }
        let chunks = self.chunks();
        let sampled = chunks.min(SAMPLED_MAX);
        let (mut index, mut bytes) = (0, 0);
        for _ in 0..sampled {
            let chunk = self.locate(index).0;
            index += chunk.len();
            bytes += chunk.memory_bytes();
        }
        16 + size_of::<Self>() + of_nodes(&self.root) + bytes * chunks / sampled.max(1)
    }

    /// Takes levels away that have become chains of single links.
    fn collapse(&mut self) {
        while let [Child { link: Link::Node(node), .. }] = &mut self.root[..] {
            let node = std::mem::take(node);
            self.root = node.into_inner();
        }
    }
}

impl Child {
    fn chunk(chunk: Chunk) -> Self {
        Self { len: chunk.len(), link: Link::Chunk(chunk) }
    }

    fn node(children: Vec<Child>) -> Self {
        Self { len: total(&children), link: Link::Node(Cow::new(children)) }
    }

    /// Removes the elements from `start` to before `end`; it may be empty afterwards.
    fn remove_range(&mut self, start: usize, end: usize, limit: ChunkLimit) {
        let len = self.len;
        self.len -= end - start;
        match &mut self.link {
            // What goes as a whole need not be copied first, if it is shared.
            Link::Chunk(chunk) if self.len == 0 => *chunk = Chunk::default(),
            Link::Chunk(chunk) => chunk.remove_range(start, end - start),
            Link::Node(node) if self.len == 0 => *node = Cow::default(),
            Link::Node(node) => remove_range(node.make_mut(), len, start, end, limit),
        }
    }
}

/// Removes the elements at the given ascending indexes, `base` being the index of the chunk's first.
pub(super) fn remove_from_chunk(chunk: &mut Chunk, indexes: &[usize], base: usize) {
    let mut dropped = indexes.iter().peekable();
    let kept = chunk.iter().enumerate().filter(|(at, _)| dropped.next_if_eq(&&(base + at)).is_none());
    let kept: Vec<&[u8]> = kept.map(|(_, value)| value).collect();
    *chunk = Chunk::from_values(&kept);
}

fn total(children: &[Child]) -> usize {
    children.iter().map(|child| child.len).sum()
}

/// The child in which `index` lies, and the index there; an index behind all lies behind the last child's
/// elements.
fn find(children: &[Child], len: usize, mut index: usize) -> (usize, usize) {
    if index < len / 2 {
        for (i, child) in children.iter().enumerate() {
            if index < child.len {
                return (i, index);
            }
            index -= child.len;
        }
    }
    let mut start = len;
    for (i, child) in children.iter().enumerate().rev() {
        start -= child.len;
        if index >= start {
            return (i, index - start);
        }
    }
    unreachable!("the lengths in the spine add up")
}

fn insert(children: &mut Vec<Child>, len: usize, index: usize, value: &[u8], limit: ChunkLimit) {
    let (i, at) = find(children, len, index);
    let child = &mut children[i];
    let Link::Node(node) = &mut child.link else {
        insert_into_chunk(children, i, at, value, limit);
        return;
    };
    let node = node.make_mut();
    insert(node, child.len, at, value, limit);
    let right = split(node, at, child.len);
    child.len += 1;
    if let Some(right) = right {
        child.len -= right.len;
        children.insert(i + 1, right);
    }
}

fn insert_into_chunk(children: &mut Vec<Child>, i: usize, at: usize, value: &[u8], limit: ChunkLimit) {
    if push_if_it_fits(&mut children[i], at, value, limit) {
        return;
    }
    let mut own = Child::chunk(Chunk::from_values(&[value]));
    if at == 0 {
        let into_previous = i > 0 && {
            let previous = &mut children[i - 1];
            push_if_it_fits(previous, previous.len, value, limit)
        };
        if !into_previous {
            children.insert(i, own);
        }
        return;
    }
    if at == children[i].len {
        children.insert(i + 1, own);
        return;
    }
    let left = &mut children[i];
    let Link::Chunk(chunk) = &mut left.link else { unreachable!("the caller saw a chunk") };
    let mut right = Child::chunk(chunk.split_off(at));
    left.len = at;
    // The shorter side first, so that repeated insertion at one place keeps both from filling up.
    let left_first = at <= right.len;
    let placed = (left_first && push_if_it_fits(left, at, value, limit))
        || push_if_it_fits(&mut right, 0, value, limit)
        || (!left_first && push_if_it_fits(left, at, value, limit));
    children.insert(i + 1, right);
    if !placed {
        std::mem::swap(&mut own, &mut children[i + 1]);
        children.insert(i + 2, own);
    }
    // An own chunk in between would be a third piece: merging the outer two with their neighbours is enough.
    merge(children, if placed { i + 1 } else { i + 2 }, limit);
    if i > 0 {
        merge(children, i - 1, limit);
    }
}

fn push_if_it_fits(child: &mut Child, at: usize, value: &[u8], limit: ChunkLimit) -> bool {
    let Link::Chunk(chunk) = &mut child.link else { return false };
    let bytes = chunk.entry_bytes() + Chunk::entry_bytes_of(value.len());
    // An empty chunk takes anything: it is where a value beyond the limit lives.
    if !chunk.is_empty() && !limit.holds(bytes, chunk.len() + 1) {
        return false;
    }
    chunk.insert(at, value);
    child.len += 1;
    true
}

/// Halves a node that has too many children and returns the right part; after growth at an end the other part
/// stays full, as lists grow at their ends. `index` of `len` is where the element went in.
fn split(children: &mut Vec<Child>, index: usize, len: usize) -> Option<Child> {
    if children.len() <= FANOUT {
        return None;
    }
    let middle = match index {
        _ if index == len => FANOUT,
        0 => children.len() - FANOUT,
        _ => children.len() / 2,
    };
    Some(Child::node(children.split_off(middle)))
}

/// The result of `change`, and how many elements it has removed.
fn edit<R>(
    children: &mut Vec<Child>,
    len: usize,
    index: usize,
    limit: ChunkLimit,
    change: impl FnOnce(&mut Chunk, usize) -> R,
) -> (R, usize) {
    let (i, at) = find(children, len, index);
    let child = &mut children[i];
    let (result, removed) = match &mut child.link {
        Link::Chunk(chunk) => {
            let result = change(chunk, at);
            (result, child.len - chunk.len())
        }
        Link::Node(node) => edit(node.make_mut(), child.len, at, limit, change),
    };
    child.len -= removed;
    settle(children, i, limit);
    (result, removed)
}

fn remove_range(children: &mut Vec<Child>, len: usize, start: usize, end: usize, limit: ChunkLimit) {
    if start >= end {
        return;
    }
    // From the nearer end, so that taking elements off an end looks at no other child.
    let (first, from) = find(children, len, start);
    let (last, to) = find(children, len, end - 1);
    if first == last {
        children[first].remove_range(from, to + 1, limit);
    } else {
        children[last].remove_range(0, to + 1, limit);
        let first_len = children[first].len;
        children[first].remove_range(from, first_len, limit);
        children.drain(first + 1..last);
    }
    // Those at both ends of the gap may be empty or small now.
    settle(children, first + 1, limit);
    settle(children, first, limit);
}

/// Drops the child if it is empty, joins it with a neighbour if it is small.
fn settle(children: &mut Vec<Child>, i: usize, limit: ChunkLimit) {
    let Some(child) = children.get(i) else { return };
    if child.len == 0 {
        children.remove(i);
        return;
    }
    let small = match &child.link {
        Link::Chunk(chunk) => limit.part(1, 4).holds(chunk.entry_bytes(), chunk.len()),
        Link::Node(node) => node.len() < FANOUT / 4,
    };
    if small && !merge(children, i, limit) && i > 0 {
        merge(children, i - 1, limit);
    }
}

/// Joins the children `i` and `i + 1` if the result leaves room to grow.
fn merge(children: &mut Vec<Child>, i: usize, limit: ChunkLimit) -> bool {
    let Some([left, right]) = children.get_mut(i..i + 2) else { return false };
    let merged = match (&mut left.link, &right.link) {
        (Link::Chunk(left), Link::Chunk(right)) => {
            let bytes = left.entry_bytes() + right.entry_bytes();
            let fits = limit.part(3, 4).holds(bytes, left.len() + right.len());
            if fits {
                left.append(right);
            }
            fits
        }
        (Link::Node(left), Link::Node(right)) => {
            let fits = left.len() + right.len() <= FANOUT * 3 / 4;
            if fits {
                left.make_mut().extend_from_slice(right);
            }
            fits
        }
        _ => false,
    };
    if merged {
        left.len += right.len;
        children.remove(i + 1);
    }
    merged
}
