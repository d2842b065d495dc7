//! The list: one packed buffer while it is small ("listpack"), a spine of packed chunks beyond ("quicklist").
//!
//! Cloning shares everything; a change after it copies one chunk of a few kilobytes and the path to it. A
//! list that has shrunk to one chunk of half the limit becomes small again.

mod spine;

use super::cow::Cow;
use super::{limits::EncodingLimits, packed};
use spine::{Chunk, ChunkLimit, Spine};

/// More elements than this are freed elsewhere.
const FREED_HERE_MAX: usize = if cfg!(test) { 20 } else { 5000 };

#[derive(Clone, Default)]
pub struct List {
    repr: Repr,
}

#[derive(Clone)]
enum Repr {
    Packed(Chunk),
    Spine(Cow<Spine>),
}

impl Default for Repr {
    fn default() -> Self {
        Self::Packed(Chunk::default())
    }
}

impl List {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Packed(chunk) => chunk.len(),
            Repr::Spine(spine) => spine.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name that `OBJECT ENCODING` gives.
    pub fn encoding(&self) -> &'static str {
        match &self.repr {
            Repr::Packed(_) => "listpack",
            Repr::Spine(_) => "quicklist",
        }
    }

    pub fn push_front(&mut self, value: &[u8], limits: &EncodingLimits) {
        self.insert(0, value, limits);
    }

    pub fn push_back(&mut self, value: &[u8], limits: &EncodingLimits) {
        self.insert(self.len(), value, limits);
    }

    pub fn pop_front(&mut self) -> Option<Vec<u8>> {
        self.remove(0)
    }

    pub fn pop_back(&mut self) -> Option<Vec<u8>> {
        self.remove(self.len().wrapping_sub(1))
    }

    pub fn get(&self, index: usize) -> Option<&[u8]> {
        if index >= self.len() {
            return None;
        }
        let (chunk, at) = self.locate(index);
        chunk.get(at)
    }

    /// Replaces the element at `index`; false if there is none.
    pub fn set(&mut self, index: usize, value: &[u8], limits: &EncodingLimits) -> bool {
        let Some(old) = self.get(index) else { return false };
        let (old_bytes, new_bytes) = (Chunk::entry_bytes_of(old.len()), Chunk::entry_bytes_of(value.len()));
        let limit = ChunkLimit::new(limits.list_max_listpack_size);
        let chunk = self.locate(index).0;
        if !limit.holds(chunk.entry_bytes() - old_bytes + new_bytes, chunk.len()) {
            self.remove_keeping_encoding(index);
            self.insert(index, value, limits);
            return true;
        }
        match &mut self.repr {
            Repr::Packed(chunk) => chunk.replace(index, value),
            Repr::Spine(spine) => {
                let spine = spine.make_mut();
                spine.set_limit(limit);
                spine.edit(index, |chunk, at| chunk.replace(at, value));
            }
        }
        self.shrink();
        true
    }

    /// Inserts before the element at `index`, or at the back if `index` is the length or beyond.
    pub fn insert(&mut self, index: usize, value: &[u8], limits: &EncodingLimits) {
        let index = index.min(self.len());
        let limit = ChunkLimit::new(limits.list_max_listpack_size);
        if let Repr::Packed(chunk) = &mut self.repr {
            let bytes = chunk.entry_bytes() + Chunk::entry_bytes_of(value.len());
            if limit.holds(bytes, chunk.len() + 1) {
                chunk.insert(index, value);
                return;
            }
            self.repr = Repr::Spine(Cow::new(Spine::new(std::mem::take(chunk), limit)));
        }
        if let Repr::Spine(spine) = &mut self.repr {
            let spine = spine.make_mut();
            spine.set_limit(limit);
            spine.insert(index, value);
        }
    }

    pub fn remove(&mut self, index: usize) -> Option<Vec<u8>> {
        let value = (index < self.len()).then(|| self.remove_keeping_encoding(index));
        self.shrink();
        value
    }

    /// Removes up to `len` elements from `start` on. Answers them if they are many: to be freed elsewhere, at leisure.
    pub fn remove_range(&mut self, start: usize, len: usize) -> Option<Self> {
        let start = start.min(self.len());
        let len = len.min(self.len() - start);
        if len == 0 {
            return None;
        }
        if len == self.len() {
            return Some(std::mem::take(self));
        }
        // Two clones that lose what the other one keeps: no element is touched, but at the edges.
        let removed = (len > FREED_HERE_MAX).then(|| {
            let mut removed = self.clone();
            removed.cut(start + len, usize::MAX);
            removed.cut(0, start);
            removed
        });
        self.cut(start, len);
        removed
    }

    fn cut(&mut self, start: usize, len: usize) {
        let len = len.min(self.len() - start);
        match &mut self.repr {
            _ if len == 0 => {}
            Repr::Packed(chunk) => chunk.remove_range(start, len),
            Repr::Spine(spine) => spine.make_mut().remove_range(start, len),
        }
        self.shrink();
    }

    /// Keeps the `len` elements from `start` on. Answers the others where they are many.
    pub fn keep_range(&mut self, start: usize, len: usize) -> [Option<Self>; 2] {
        let end = start.saturating_add(len).min(self.len());
        [self.remove_range(end, usize::MAX), self.remove_range(0, start)]
    }

    /// Removes elements equal to `value` and returns how many: the first `count`, the last `-count`, or with
    /// 0 all.
    pub fn remove_matching(&mut self, value: &[u8], count: i64) -> usize {
        let wanted = match usize::try_from(count.unsigned_abs()) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(wanted) => wanted,
        };
        let len = self.len();
        let mut matches: Vec<usize> = if count < 0 {
            let from_back = self.iter().rev().enumerate().filter(|(_, element)| *element == value);
            from_back.map(|(index, _)| len - 1 - index).take(wanted).collect()
        } else {
            let from_front = self.iter().enumerate().filter(|(_, element)| *element == value);
            from_front.map(|(index, _)| index).take(wanted).collect()
        };
        matches.sort_unstable();
        let removed = matches.len();
        match &mut self.repr {
            _ if matches.is_empty() => {}
            Repr::Packed(chunk) => spine::remove_from_chunk(chunk, &matches, 0),
            Repr::Spine(spine) => spine.make_mut().remove_all(&mut matches),
        }
        self.shrink();
        removed
    }

    pub fn iter(&self) -> Iter<'_> {
        self.iter_range(0, usize::MAX)
    }

    /// Up to `len` elements from `start` on.
    pub fn iter_range(&self, start: usize, len: usize) -> Iter<'_> {
        let start = start.min(self.len());
        let end = start.saturating_add(len).min(self.len());
        Iter { list: self, start, end, front: packed::Iter::default(), back: packed::Iter::default() }
    }

    /// The elements from `index` back to the first.
    pub fn iter_rev_from(&self, index: usize) -> std::iter::Rev<Iter<'_>> {
        self.iter_range(0, index.saturating_add(1)).rev()
    }

    /// Where the large form lies, which a copy shares until either changes; none while it is small.
    pub fn large_root(&self) -> Option<*const ()> {
        match &self.repr {
            Repr::Spine(root) => Some(root.as_ptr().cast()),
            Repr::Packed(_) => None,
        }
    }

    /// The bytes allocated for this list, without the handle itself; of many chunks an estimate by the first ones.
    pub fn memory_bytes(&self) -> usize {
        match &self.repr {
            Repr::Packed(chunk) => chunk.memory_bytes(),
            Repr::Spine(spine) => spine.memory_bytes(),
        }
    }

    /// About how many allocations are freed with the list.
    pub fn free_effort(&self) -> usize {
        match &self.repr {
            Repr::Packed(_) => 1,
            Repr::Spine(spine) => spine.chunks(),
        }
    }

    fn locate(&self, index: usize) -> (&Chunk, usize) {
        match &self.repr {
            Repr::Packed(chunk) => (chunk, index),
            Repr::Spine(spine) => spine.locate(index),
        }
    }

    fn remove_keeping_encoding(&mut self, index: usize) -> Vec<u8> {
        match &mut self.repr {
            Repr::Packed(chunk) => chunk.remove(index),
            Repr::Spine(spine) => spine.make_mut().edit(index, Chunk::remove),
        }
    }

    fn shrink(&mut self) {
        if let Repr::Spine(spine) = &self.repr
            && let Some(chunk) = spine.as_small()
        {
            self.repr = Repr::Packed(chunk);
        }
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

/// The elements of a list or of a range of it, from both ends.
#[derive(Clone)]
pub struct Iter<'a> {
    list: &'a List,
    start: usize,
    end: usize,
    front: packed::Iter<'a, true>,
    back: packed::Iter<'a, true>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.start == self.end {
            return None;
        }
        let value = self.front.next().or_else(|| {
            let (chunk, at) = self.list.locate(self.start);
            self.front = chunk.iter_from(at);
            self.front.next()
        });
        self.start += 1;
        value
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.start, Some(self.end - self.start))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.start == self.end {
            return None;
        }
        self.end -= 1;
        self.back.next_back().or_else(|| {
            let (chunk, at) = self.list.locate(self.end);
            self.back = chunk.iter_until(at + 1);
            self.back.next_back()
        })
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests;
