//! A segment: a few hundred field/value pairs in one byte arena, found through a small open-addressing index.
//!
//! ```text
//! slot:  16 bits of the field's hash (the tag) | 16 bits of offset into the arena; all ones: free
//! entry: field, value
//! each:  one byte of length and the bytes; or 255 and the 16-bit number of a blob outside the arena
//! ```
//!
//! A slot's home is the tag's low bits, so growing the index and closing gaps need no field read again.
//! Removed and outgrown entries stay as garbage until they are a quarter of the arena.

use crate::storage::packed::round_to_allocation;
use crate::storage::prefetch::prefetch;
use std::sync::Arc;

pub(super) const ENTRIES_MAX: usize = 448;
pub(super) const ARENA_BYTES_MAX: usize = 32 << 10;
const INLINE_BYTES_MAX: usize = 250;
const OUT_OF_LINE: u8 = 255;
const SLOTS_MIN: usize = 8;
const FREE: u32 = u32::MAX;

#[derive(Clone, Default)]
pub(super) struct Segment {
    arena: Vec<u8>,
    slots: Vec<u32>,
    blobs: Vec<Option<Arc<[u8]>>>,
    len: usize,
    garbage_bytes: usize,
}

/// What came of [`Segment::set`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored {
    New,
    Replaced,
    /// Nothing was stored: the segment has to split first.
    Full,
}

/// A field or a value where it lies.
#[derive(Clone, Copy)]
enum Text<'a> {
    Inline(&'a [u8]),
    Blob(usize),
}

impl Segment {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where the number of entries lies, for a prefetch.
    pub(super) fn place_of_len(segment: *const Self) -> *const u8 {
        segment.cast::<u8>().wrapping_add(std::mem::offset_of!(Self, len))
    }

    /// The bytes of the arena in use.
    pub(super) fn live_bytes(&self) -> usize {
        self.arena.len() - self.garbage_bytes
    }

    pub(super) fn get(&self, tag: u16, field: &[u8]) -> Option<&[u8]> {
        self.find(tag, field).map(|slot| self.entry(self.slots[slot]).1)
    }

    /// Begins to load the place where the slot of a tag is.
    pub(super) fn prefetch_slot(&self, tag: u16) {
        if let Some(mask) = self.slots.len().checked_sub(1) {
            prefetch(&self.slots[usize::from(tag) & mask]);
        }
    }

    /// Begins to load the entry that the first slot of a tag names.
    pub(super) fn prefetch_entry(&self, tag: u16) {
        let Some(mask) = self.slots.len().checked_sub(1) else { return };
        let run = (0..4).map(|step| self.slots[(usize::from(tag) + step) & mask]);
        let slot = run.take_while(|&slot| slot != FREE).find(|&slot| tag_of(slot) == usize::from(tag));
        if let Some(entry) = slot.and_then(|slot| self.arena.get(offset_of(slot))) {
            prefetch(entry);
        }
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { segment: self, slots: self.slots.iter() }
    }

    /// The tags and entries from `tag` on: the lowest tags, `count` of them or more where tags are equal.
    /// Also the tag to continue from, if something is left.
    pub(super) fn lowest_tags(&self, tag: usize, count: usize) -> (Vec<u32>, Option<usize>) {
        let mut slots: Vec<u32> = self.used_slots().filter(|&slot| tag_of(slot) >= tag).collect();
        if slots.len() <= count {
            return (slots, None);
        }
        let (_, &mut last, rest) = slots.select_nth_unstable(count.max(1) - 1);
        let next = rest.iter().map(|&slot| tag_of(slot)).filter(|&tag| tag > tag_of(last)).min();
        slots.retain(|&slot| tag_of(slot) <= tag_of(last));
        (slots, next)
    }

    /// The entry of the `n`th used slot.
    pub(super) fn nth(&self, n: usize) -> Option<(&[u8], &[u8])> {
        self.iter().nth(n)
    }

    /// The entry of a random slot: each with the same chance.
    pub(super) fn random(&self, rng: &mut fastrand::Rng) -> (&[u8], &[u8]) {
        loop {
            let slot = self.slots[rng.usize(..self.slots.len())];
            if slot != FREE {
                return self.entry(slot);
            }
        }
    }

    pub(super) fn entry(&self, slot: u32) -> (&[u8], &[u8]) {
        let (field, value_at) = self.text(offset_of(slot));
        (self.bytes(field), self.bytes(self.text(value_at).0))
    }

    pub(super) fn set(&mut self, tag: u16, field: &[u8], value: &[u8]) -> Stored {
        let found = self.find(tag, field);
        if let Some(slot) = found
            && self.overwrite(slot, value)
        {
            return Stored::Replaced;
        }
        let bytes = text_bytes(field) + text_bytes(value);
        // For less garbage than this, splitting is cheaper than compacting over and over.
        if self.arena.len() + bytes > ARENA_BYTES_MAX && self.garbage_bytes > ARENA_BYTES_MAX / 8 {
            // Compaction may shrink the index: the entry is looked up again.
            self.compact();
            return self.set_in(self.find(tag, field), tag, field, value, bytes);
        }
        self.set_in(found, tag, field, value, bytes)
    }

    fn set_in(&mut self, found: Option<usize>, tag: u16, field: &[u8], value: &[u8], bytes: usize) -> Stored {
        if self.arena.len() + bytes > ARENA_BYTES_MAX || (found.is_none() && self.len >= ENTRIES_MAX) {
            return Stored::Full;
        }
        if let Some(slot) = found {
            self.discard(self.slots[slot]);
            self.slots[slot] = self.append(tag, field, value);
            self.compact_if_wasteful();
            return Stored::Replaced;
        }
        self.make_slot();
        let slot = self.append(tag, field, value);
        place(&mut self.slots, slot);
        self.len += 1;
        Stored::New
    }

    pub(super) fn remove(&mut self, tag: u16, field: &[u8]) -> bool {
        let Some(slot) = self.find(tag, field) else { return false };
        self.discard(self.slots[slot]);
        close_gap(&mut self.slots, slot);
        self.len -= 1;
        self.compact_if_wasteful();
        true
    }

    /// Two segments of the entries, by what `high` says of the field.
    pub(super) fn split(&self, high: impl Fn(&[u8]) -> bool) -> [Self; 2] {
        let mut halves = [Self::default(), Self::default()];
        for half in &mut halves {
            half.arena.reserve_exact(round_to_allocation(self.live_bytes() / 2));
        }
        for slot in self.used_slots() {
            halves[usize::from(high(self.entry(slot).0))].adopt(self, slot);
        }
        for half in &mut halves {
            half.arena.shrink_to(round_to_allocation(half.arena.len()));
        }
        halves
    }

    /// The entries for which `keeps` says yes, which is asked once for each, in order; they are `len`.
    pub(super) fn filtered(&self, len: usize, mut keeps: impl FnMut() -> bool) -> Self {
        let mut rest = Self::default();
        let bytes = self.live_bytes() * len / self.len.max(1);
        rest.arena.reserve_exact(round_to_allocation(bytes));
        rest.slots = vec![FREE; slots_for(len)];
        for slot in self.used_slots() {
            if keeps() {
                rest.adopt(self, slot);
            }
        }
        rest.arena.shrink_to(round_to_allocation(rest.arena.len()));
        rest
    }

    /// Takes all entries of `other` in too.
    pub(super) fn absorb(&mut self, other: &Self) {
        for slot in other.used_slots() {
            self.adopt(other, slot);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let blobs: usize = self.blobs.iter().flatten().map(|blob| 16 + blob.len()).sum();
        16 + size_of::<Self>()
            + self.arena.capacity()
            + self.slots.capacity() * size_of::<u32>()
            + self.blobs.capacity() * size_of::<Option<Arc<[u8]>>>()
            + blobs
    }

    fn used_slots(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().copied().filter(|&slot| slot != FREE)
    }

    fn find(&self, tag: u16, field: &[u8]) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = usize::from(tag) & mask;
        while self.slots[at] != FREE {
            let slot = self.slots[at];
            if tag_of(slot) == usize::from(tag) && self.bytes(self.text(offset_of(slot)).0) == field {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn text(&self, at: usize) -> (Text<'_>, usize) {
        match self.arena[at] {
            OUT_OF_LINE => {
                let blob = u16::from_le_bytes([self.arena[at + 1], self.arena[at + 2]]);
                (Text::Blob(usize::from(blob)), at + 3)
            }
            len => {
                let end = at + 1 + usize::from(len);
                (Text::Inline(&self.arena[at + 1..end]), end)
            }
        }
    }

    fn bytes<'a>(&'a self, text: Text<'a>) -> &'a [u8] {
        match text {
            Text::Inline(bytes) => bytes,
            Text::Blob(blob) => self.blob(blob),
        }
    }

    fn blob(&self, blob: usize) -> &Arc<[u8]> {
        self.blobs[blob].as_ref().expect("an entry's blob lives as long as the entry")
    }

    /// Stores a value of the same shape in the old one's place.
    fn overwrite(&mut self, slot: usize, value: &[u8]) -> bool {
        let value_at = self.text(offset_of(self.slots[slot])).1;
        match self.text(value_at) {
            (Text::Inline(old), end) if old.len() == value.len() => {
                self.arena[end - value.len()..end].copy_from_slice(value);
                true
            }
            (Text::Blob(blob), _) if value.len() > INLINE_BYTES_MAX => {
                self.blobs[blob] = Some(Arc::from(value));
                true
            }
            _ => false,
        }
    }

    fn append(&mut self, tag: u16, field: &[u8], value: &[u8]) -> u32 {
        let offset = self.arena.len();
        self.reserve(text_bytes(field) + text_bytes(value));
        for text in [field, value] {
            if text.len() > INLINE_BYTES_MAX {
                self.append_blob(Arc::from(text));
            } else {
                self.append_inline(text);
            }
        }
        slot_of(tag, offset)
    }

    /// Copies an entry of another segment; blobs are shared.
    fn adopt(&mut self, from: &Self, slot: u32) {
        let offset = self.arena.len();
        let (field, value_at) = from.text(offset_of(slot));
        let (value, end) = from.text(value_at);
        self.reserve(end - offset_of(slot));
        for text in [field, value] {
            match text {
                Text::Inline(bytes) => self.append_inline(bytes),
                Text::Blob(blob) => self.append_blob(Arc::clone(from.blob(blob))),
            }
        }
        self.make_slot();
        place(&mut self.slots, slot_of(tag_of(slot) as u16, offset));
        self.len += 1;
    }

    fn append_inline(&mut self, bytes: &[u8]) {
        self.arena.push(bytes.len() as u8);
        self.arena.extend_from_slice(bytes);
    }

    fn append_blob(&mut self, bytes: Arc<[u8]>) {
        let blob = self.blobs.iter().position(Option::is_none).unwrap_or_else(|| {
            self.blobs.push(None);
            self.blobs.len() - 1
        });
        self.blobs[blob] = Some(bytes);
        self.arena.push(OUT_OF_LINE);
        self.arena.extend_from_slice(&(blob as u16).to_le_bytes());
    }

    /// Makes room in steps of the allocator's sizes instead of doubling.
    fn reserve(&mut self, bytes: usize) {
        let needed = self.arena.len() + bytes;
        if needed > self.arena.capacity() {
            self.arena.reserve_exact(round_to_allocation(needed) - self.arena.len());
        }
    }

    /// Keeps the index at most seven eighths full.
    fn make_slot(&mut self) {
        if (self.len + 1) * 8 > self.slots.len() * 7 {
            self.resize_index((self.slots.len() * 2).max(SLOTS_MIN));
        }
    }

    fn resize_index(&mut self, len: usize) {
        let mut slots = vec![FREE; len];
        for slot in self.used_slots() {
            place(&mut slots, slot);
        }
        self.slots = slots;
    }

    /// Leaves the entry's bytes as garbage and frees its blobs.
    fn discard(&mut self, slot: u32) {
        let (field, value_at) = self.text(offset_of(slot));
        let (value, end) = self.text(value_at);
        let blobs = [field, value].map(|text| if let Text::Blob(blob) = text { Some(blob) } else { None });
        self.garbage_bytes += end - offset_of(slot);
        for blob in blobs.into_iter().flatten() {
            self.blobs[blob] = None;
        }
    }

    fn compact_if_wasteful(&mut self) {
        if self.garbage_bytes * 4 > self.arena.len() {
            self.compact();
        }
    }

    pub(super) fn compact(&mut self) {
        let mut arena = Vec::with_capacity(round_to_allocation(self.live_bytes()));
        for i in 0..self.slots.len() {
            let slot = self.slots[i];
            if slot != FREE {
                let end = self.text(self.text(offset_of(slot)).1).1;
                self.slots[i] = slot_of(tag_of(slot) as u16, arena.len());
                arena.extend_from_slice(&self.arena[offset_of(slot)..end]);
            }
        }
        self.arena = arena;
        self.garbage_bytes = 0;
        let ideal = slots_for(self.len);
        // One step of slack, or a set that hovers around a power of two would resize all the time.
        if self.slots.len() > 2 * ideal {
            self.resize_index(ideal);
        }
        while let Some(None) = self.blobs.last() {
            self.blobs.pop();
        }
        self.blobs.shrink_to(self.blobs.len() * 2);
    }
}

/// The entries of a segment, in no particular order.
#[derive(Clone)]
pub(super) struct Iter<'a> {
    segment: &'a Segment,
    slots: std::slice::Iter<'a, u32>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let slot = *self.slots.find(|&&slot| slot != FREE)?;
        Some(self.segment.entry(slot))
    }
}

/// The index for so many entries.
fn slots_for(len: usize) -> usize {
    (len * 8 / 7 + 1).next_power_of_two().max(SLOTS_MIN)
}

fn slot_of(tag: u16, offset: usize) -> u32 {
    u32::from(tag) << 16 | offset as u32
}

fn tag_of(slot: u32) -> usize {
    (slot >> 16) as usize
}

fn offset_of(slot: u32) -> usize {
    (slot & 0xFFFF) as usize
}

fn text_bytes(text: &[u8]) -> usize {
    if text.len() > INLINE_BYTES_MAX { 3 } else { 1 + text.len() }
}

fn place(slots: &mut [u32], slot: u32) {
    let mask = slots.len() - 1;
    let mut at = tag_of(slot) & mask;
    while slots[at] != FREE {
        at = (at + 1) & mask;
    }
    slots[at] = slot;
}

/// Frees a slot and moves later ones of the same run up, so that searches need no tombstones.
fn close_gap(slots: &mut [u32], mut gap: usize) {
    let mask = slots.len() - 1;
    let mut at = (gap + 1) & mask;
    while slots[at] != FREE {
        let from_home = at.wrapping_sub(tag_of(slots[at])) & mask;
        if from_home >= at.wrapping_sub(gap) & mask {
            slots[gap] = slots[at];
            gap = at;
        }
        at = (at + 1) & mask;
    }
    slots[gap] = FREE;
}
