//! A few hundred keys with their values: the unit that a snapshot shares and a writer copies.
//!
//! Entries lie packed in one arena, so that a key costs little more than its bytes, and a small open-addressing table
//! of 32-bit slots finds them: 16 bits of the hash and 16 bits of the offset in the arena. Collections and long strings
//! lie beside the arena in `objects`.
//!
//! Layout of an entry: key length (1), meta (1), access stamp (3), value length (1), expiry (8, if any), key, value.
//! Invariant: the arena never exceeds `ARENA_MAX` bytes and a segment never holds more than `ENTRIES_MAX` entries; the
//! owner splits it before that. Does not know its place in the database, nor what time it is.

use std::sync::Arc;

use super::prefetch::prefetch;
use super::value::{Value, ValueRef};

pub(super) const ENTRIES_MAX: usize = 384;
const ARENA_MAX: usize = u16::MAX as usize;
const SLOTS_MAX: usize = 512;

/// Longer keys lie in `long_keys`.
const KEY_INLINE_MAX: usize = 128;
/// Longer strings lie in `objects`.
pub(super) const VALUE_INLINE_MAX: usize = 192;

const HEADER: usize = 6;
const EXPIRY: usize = 8;

const EMPTY: u32 = u32::MAX;

const KIND: u8 = 0b0000_0111;
const KIND_INT: u8 = 0;
const KIND_STR: u8 = 1;
/// A short string that was changed in place, which Redis holds in its `raw` encoding.
const KIND_RAW: u8 = 2;
const KIND_OBJECT: u8 = 3;
const HAS_EXPIRY: u8 = 0b0000_1000;
const LONG_KEY: u8 = 0b0001_0000;

/// What `put` stores.
#[derive(Debug)]
pub(super) enum NewValue<'a> {
    Int(i64),
    /// At most `VALUE_INLINE_MAX` bytes. `raw` marks a string that was modified.
    Inline {
        bytes: &'a [u8],
        raw: bool,
    },
    Object(Value),
}

impl NewValue<'_> {
    fn kind(&self) -> u8 {
        match self {
            Self::Int(_) => KIND_INT,
            Self::Inline { raw: false, .. } => KIND_STR,
            Self::Inline { raw: true, .. } => KIND_RAW,
            Self::Object(_) => KIND_OBJECT,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Int(_) => 8,
            Self::Inline { bytes, .. } => bytes.len(),
            Self::Object(_) => 2,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    slots: Vec<u32>,
    arena: Vec<u8>,
    objects: Vec<Option<Value>>,
    long_keys: Vec<Option<Arc<[u8]>>>,
    len: usize,
    /// Bytes of the arena that belong to no entry.
    garbage: usize,
    /// How many leading bits of the hash all entries share.
    pub(super) depth: u8,
}

/// One entry's place; valid until the segment changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// One entry, decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub key: &'a [u8],
    pub value: ValueRef<'a>,
    pub expires_at: Option<i64>,
    pub access: u32,
    /// A short string in Redis' `raw` encoding.
    pub is_raw: bool,
}

impl Segment {
    pub fn new(depth: u8) -> Self {
        Self { depth, ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let tag = hash as u16;
        let mut i = tag as usize & mask;
        loop {
            let slot = self.slots[i];
            if slot == EMPTY {
                return None;
            }
            if slot_tag(slot) == tag && self.key_at(slot_offset(slot)) == key {
                return Some(Slot(i));
            }
            i = (i + 1) & mask;
        }
    }

    /// Begins to load the place where a key's slot is.
    pub fn prefetch_slot(&self, hash: u64) {
        if !self.slots.is_empty() {
            let home = hash as u16 as usize & (self.slots.len() - 1);
            prefetch(&self.slots[home]);
        }
    }

    /// Begins to load the entry that a key's slot names. A likely one will do: a wrong guess costs nothing but a hint.
    pub fn prefetch_entry(&self, hash: u64) {
        let Some(mask) = self.slots.len().checked_sub(1) else { return };
        let tag = hash as u16;
        for step in 0..4 {
            let slot = self.slots[(tag as usize + step) & mask];
            if slot == EMPTY {
                return;
            }
            if slot_tag(slot) == tag {
                let offset = slot_offset(slot);
                prefetch(&self.arena[offset]);
                // An entry seldom fits one line.
                prefetch(self.arena.as_ptr().wrapping_add(offset + 64));
                return;
            }
        }
    }

    pub fn entry(&self, slot: Slot) -> Entry<'_> {
        self.entry_at(slot_offset(self.slots[slot.0]))
    }

    pub fn expires_at(&self, slot: Slot) -> Option<i64> {
        self.expires_at_offset(slot_offset(self.slots[slot.0]))
    }

    pub fn access(&self, slot: Slot) -> u32 {
        let offset = slot_offset(self.slots[slot.0]);
        let [a, b, c] = [self.arena[offset + 2], self.arena[offset + 3], self.arena[offset + 4]];
        u32::from_le_bytes([a, b, c, 0])
    }

    pub fn set_access(&mut self, slot: Slot, access: u32) {
        let offset = slot_offset(self.slots[slot.0]);
        self.arena[offset + 2..offset + 5].copy_from_slice(&access.to_le_bytes()[..3]);
    }

    /// Overwrites the value of an entry that holds an integer.
    pub fn set_integer(&mut self, slot: Slot, n: i64) {
        let offset = slot_offset(self.slots[slot.0]);
        debug_assert_eq!(self.arena[offset + 1] & KIND, KIND_INT);
        let start = self.value_start(offset);
        self.arena[start..start + 8].copy_from_slice(&n.to_le_bytes());
    }

    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.slots.iter().filter(|&&slot| slot != EMPTY).map(|&slot| self.entry_at(slot_offset(slot)))
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.slots.len()).filter(|&i| self.slots[i] != EMPTY).map(Slot)
    }

    /// The collection or long string of an entry.
    pub fn object(&self, slot: Slot) -> Option<&Value> {
        let offset = slot_offset(self.slots[slot.0]);
        if self.arena[offset + 1] & KIND != KIND_OBJECT {
            return None;
        }
        self.objects[self.object_index(offset)].as_ref()
    }

    /// The collection or long string of an entry, to be changed in place.
    pub fn object_mut(&mut self, slot: Slot) -> Option<&mut Value> {
        let offset = slot_offset(self.slots[slot.0]);
        if self.arena[offset + 1] & KIND != KIND_OBJECT {
            return None;
        }
        let index = self.object_index(offset);
        self.objects[index].as_mut()
    }

    /// Whether an entry of such a key and value would fit, after compaction at the most.
    pub fn has_room(&self, key: &[u8], value: &NewValue<'_>) -> bool {
        let entry = HEADER + EXPIRY + key.len().min(KEY_INLINE_MAX) + value.len();
        self.len < ENTRIES_MAX && self.arena.len() - self.garbage + entry <= ARENA_MAX
    }

    /// Whether an entry may be given an expiry, after compaction at the most.
    pub fn has_room_for_expiry(&self) -> bool {
        self.arena.len() - self.garbage + EXPIRY <= ARENA_MAX
    }

    /// Stores `value` at `key`, new or in the place of `found`. The caller has asked `has_room`.
    /// Answers the object that was there.
    pub fn put(
        &mut self,
        hash: u64,
        key: &[u8],
        found: Option<Slot>,
        value: NewValue<'_>,
        expires_at: Option<i64>,
        access: u32,
    ) -> Option<Value> {
        let Some(slot) = found else {
            self.push(hash, key, value, expires_at, access);
            return None;
        };
        if self.overwrite(slot, &value, expires_at, access) {
            return None;
        }
        let displaced = self.remove(slot);
        self.push(hash, key, value, expires_at, access);
        displaced
    }

    /// Removes an entry; answers its object, if it had one.
    pub fn remove(&mut self, slot: Slot) -> Option<Value> {
        let offset = slot_offset(self.slots[slot.0]);
        let size = self.size_at(offset);
        let meta = self.arena[offset + 1];
        if meta & LONG_KEY != 0 {
            let index = self.long_key_index(offset);
            self.long_keys[index] = None;
        }
        let object = (meta & KIND == KIND_OBJECT).then(|| {
            let index = self.object_index(offset);
            self.objects[index].take().expect("an object entry owns its object")
        });
        if offset + size == self.arena.len() {
            self.arena.truncate(offset);
        } else {
            self.garbage += size;
        }
        self.len -= 1;
        self.close_gap(slot.0);
        // Where much has been removed, its memory is given back; not sooner, or a key that comes and goes would have
        // everything copied each time.
        if (self.arena.len() - self.garbage) * 3 < self.arena.capacity() * 2 {
            self.give_back();
        }
        object
    }

    /// Gives back what entries do not need, if the allocator gains by it.
    pub fn give_back(&mut self) {
        if round_capacity(self.arena.len() - self.garbage) < self.arena.capacity() {
            self.compact(0);
        }
    }

    /// How many entries have an expiry.
    pub fn expires_len(&self) -> usize {
        self.slots().filter(|&slot| self.expires_at(slot).is_some()).count()
    }

    /// Sets or clears the expiry of an entry; its slot stays the same.
    pub fn set_expiry(&mut self, slot: Slot, expires_at: Option<i64>) {
        let offset = slot_offset(self.slots[slot.0]);
        let had = self.arena[offset + 1] & HAS_EXPIRY != 0;
        match expires_at {
            Some(at) if had => {
                self.arena[offset + HEADER..][..EXPIRY].copy_from_slice(&at.to_le_bytes());
                return;
            }
            None if !had => return,
            _ => {}
        }
        let size = self.size_at(offset);
        let mut bytes: smallvec::SmallVec<[u8; 512]> = smallvec::SmallVec::new();
        bytes.extend_from_slice(&self.arena[offset..offset + HEADER]);
        bytes[1] = (bytes[1] & !HAS_EXPIRY) | if expires_at.is_some() { HAS_EXPIRY } else { 0 };
        if let Some(at) = expires_at {
            bytes.extend_from_slice(&at.to_le_bytes());
        }
        bytes.extend_from_slice(&self.arena[offset + HEADER + if had { EXPIRY } else { 0 }..offset + size]);
        self.garbage += size;
        let tag = slot_tag(self.slots[slot.0]);
        self.slots[slot.0] = make_slot(tag, DETACHED);
        let at = self.append(&bytes);
        self.slots[slot.0] = make_slot(tag, at);
    }

    /// Moves every entry whose hash has the bit after `depth` set into a new segment; both are one bit deeper.
    pub fn split(&mut self, hash: impl Fn(&[u8]) -> u64) -> Segment {
        let depth = self.depth + 1;
        let mut old = std::mem::take(self);
        let (mut low, mut high) = (Segment::new(depth), Segment::new(depth));
        let half = old.arena.len() / 2;
        low.arena.reserve_exact(round_capacity(half));
        high.arena.reserve_exact(round_capacity(half));
        old.drain(|key, value, expires_at, access| {
            let hash = hash(key);
            let half = if hash << (depth - 1) >> 63 == 0 { &mut low } else { &mut high };
            half.push(hash, key, value, expires_at, access);
        });
        *self = low;
        high
    }

    /// Takes all entries of `other`, which differs from this segment in its last bit alone.
    pub fn merge(&mut self, mut other: Segment, hash: impl Fn(&[u8]) -> u64) {
        self.depth -= 1;
        other.drain(|key, value, expires_at, access| self.push(hash(key), key, value, expires_at, access));
    }

    /// Bytes on the heap, without what the objects hold.
    pub fn memory_bytes(&self) -> usize {
        self.slots.capacity() * 4
            + self.arena.capacity()
            + self.objects.capacity() * size_of::<Option<Value>>()
            + self.long_keys.iter().flatten().map(|key| key.len() + 32).sum::<usize>()
            + size_of::<Self>()
    }

    /// Bytes that one entry takes in the arena and the table.
    pub fn entry_bytes(&self, slot: Slot) -> usize {
        self.size_at(slot_offset(self.slots[slot.0])) + 6
    }

    /// Hands every entry to `sink` and leaves the segment useless.
    fn drain(&mut self, mut sink: impl FnMut(&[u8], NewValue<'_>, Option<i64>, u32)) {
        for i in 0..self.slots.len() {
            if self.slots[i] == EMPTY {
                continue;
            }
            let offset = slot_offset(self.slots[i]);
            let meta = self.arena[offset + 1];
            let object = (meta & KIND == KIND_OBJECT).then(|| self.object_index(offset));
            let object = object.and_then(|index| self.objects[index].take());
            let entry = RawEntry::of(self, offset);
            let value = match (meta & KIND, object) {
                (KIND_OBJECT, Some(value)) => NewValue::Object(value),
                (KIND_INT, _) => NewValue::Int(entry.int()),
                (kind, _) => NewValue::Inline { bytes: entry.value, raw: kind == KIND_RAW },
            };
            sink(entry.key, value, entry.expires_at, entry.access);
        }
    }

    /// Overwrites an entry whose new value has the same size and layout.
    fn overwrite(&mut self, slot: Slot, value: &NewValue<'_>, expires_at: Option<i64>, access: u32) -> bool {
        let offset = slot_offset(self.slots[slot.0]);
        let meta = self.arena[offset + 1];
        if meta & KIND == KIND_OBJECT
            || matches!(value, NewValue::Object(_))
            || (meta & HAS_EXPIRY != 0) != expires_at.is_some()
            || self.value_len_at(offset) != value.len()
        {
            return false;
        }
        self.arena[offset + 1] = meta & !KIND | value.kind();
        self.arena[offset + 2..offset + 5].copy_from_slice(&access.to_le_bytes()[..3]);
        self.arena[offset + 5] = value.len() as u8;
        if let Some(at) = expires_at {
            self.arena[offset + HEADER..][..EXPIRY].copy_from_slice(&at.to_le_bytes());
        }
        let start = self.value_start(offset);
        match value {
            NewValue::Int(n) => self.arena[start..start + 8].copy_from_slice(&n.to_le_bytes()),
            NewValue::Inline { bytes, .. } => self.arena[start..start + bytes.len()].copy_from_slice(bytes),
            NewValue::Object(_) => unreachable!("objects were excluded above"),
        }
        true
    }

    fn push(&mut self, hash: u64, key: &[u8], value: NewValue<'_>, expires_at: Option<i64>, access: u32) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow_slots();
        }
        let long = key.len() > KEY_INLINE_MAX;
        let key_len = if long { 2 } else { key.len() };
        let size = HEADER + expires_at.map_or(0, |_| EXPIRY) + key_len + value.len();
        self.reserve(size);
        let offset = self.arena.len();
        let meta = value.kind()
            | if expires_at.is_some() { HAS_EXPIRY } else { 0 }
            | if long { LONG_KEY } else { 0 };
        let stamp = access.to_le_bytes();
        self.arena.extend_from_slice(&[key_len as u8, meta, stamp[0], stamp[1], stamp[2], value.len() as u8]);
        if let Some(at) = expires_at {
            self.arena.extend_from_slice(&at.to_le_bytes());
        }
        if long {
            let index = store(&mut self.long_keys, key.into());
            self.arena.extend_from_slice(&index.to_le_bytes());
        } else {
            self.arena.extend_from_slice(key);
        }
        match value {
            NewValue::Int(n) => self.arena.extend_from_slice(&n.to_le_bytes()),
            NewValue::Inline { bytes, .. } => self.arena.extend_from_slice(bytes),
            NewValue::Object(value) => {
                let index = store(&mut self.objects, value);
                self.arena.extend_from_slice(&index.to_le_bytes());
            }
        }
        self.len += 1;
        self.link(make_slot(hash as u16, offset));
    }

    /// Copies the bytes of an entry to the end of the arena; its offset.
    fn append(&mut self, bytes: &[u8]) -> usize {
        self.reserve(bytes.len());
        let offset = self.arena.len();
        self.arena.extend_from_slice(bytes);
        offset
    }

    /// Makes room for `size` more bytes: by compaction when an eighth is garbage or the limit is near, else by growth.
    fn reserve(&mut self, size: usize) {
        let needed = self.arena.len() + size;
        if needed <= self.arena.capacity() && needed <= ARENA_MAX {
            return;
        }
        if self.garbage * 8 >= self.arena.len() || needed > ARENA_MAX {
            self.compact(size);
        } else {
            self.arena.reserve_exact(round_capacity(needed) - self.arena.len());
        }
        assert!(self.arena.len() + size <= ARENA_MAX, "the owner splits a segment before its arena is full");
    }

    /// Rewrites the arena without garbage, leaving room for `spare` bytes.
    fn compact(&mut self, spare: usize) {
        let mut arena = Vec::with_capacity(round_capacity(self.arena.len() - self.garbage + spare));
        for i in 0..self.slots.len() {
            let slot = self.slots[i];
            if slot == EMPTY || slot_offset(slot) == DETACHED {
                continue;
            }
            let offset = slot_offset(slot);
            let size = self.size_at(offset);
            self.slots[i] = make_slot(slot_tag(slot), arena.len());
            arena.extend_from_slice(&self.arena[offset..offset + size]);
        }
        self.arena = arena;
        self.garbage = 0;
    }

    fn grow_slots(&mut self) {
        let size = (self.slots.len() * 2).clamp(8, SLOTS_MAX);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; size]);
        for slot in old {
            if slot != EMPTY {
                self.link(slot);
            }
        }
    }

    fn link(&mut self, slot: u32) {
        let mask = self.slots.len() - 1;
        let mut i = slot_tag(slot) as usize & mask;
        while self.slots[i] != EMPTY {
            i = (i + 1) & mask;
        }
        self.slots[i] = slot;
    }

    /// Empties slot `gap`, moving later ones of the same run forward so that probing needs no tombstones.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.slots.len() - 1;
        let mut i = gap;
        loop {
            i = (i + 1) & mask;
            let slot = self.slots[i];
            if slot == EMPTY {
                break;
            }
            let home = slot_tag(slot) as usize & mask;
            if (i.wrapping_sub(home) & mask) >= (i.wrapping_sub(gap) & mask) {
                self.slots[gap] = slot;
                gap = i;
            }
        }
        self.slots[gap] = EMPTY;
    }

    fn entry_at(&self, offset: usize) -> Entry<'_> {
        let raw = RawEntry::of(self, offset);
        let value = match raw.meta & KIND {
            KIND_INT => ValueRef::Int(raw.int()),
            KIND_OBJECT => {
                let index = self.object_index(offset);
                self.objects[index].as_ref().expect("an object entry owns its object").as_ref()
            }
            _ => ValueRef::Str(raw.value),
        };
        let is_raw = raw.meta & KIND == KIND_RAW;
        Entry { key: raw.key, value, expires_at: raw.expires_at, access: raw.access, is_raw }
    }

    fn key_at(&self, offset: usize) -> &[u8] {
        let meta = self.arena[offset + 1];
        if meta & LONG_KEY != 0 {
            let index = self.long_key_index(offset);
            return self.long_keys[index].as_deref().expect("an entry with a long key owns it");
        }
        let start = self.key_start(offset);
        &self.arena[start..start + self.arena[offset] as usize]
    }

    fn expires_at_offset(&self, offset: usize) -> Option<i64> {
        (self.arena[offset + 1] & HAS_EXPIRY != 0).then(|| {
            let bytes = self.arena[offset + HEADER..][..EXPIRY].try_into();
            i64::from_le_bytes(bytes.expect("the slice has the size of the array"))
        })
    }

    fn key_start(&self, offset: usize) -> usize {
        offset + HEADER + if self.arena[offset + 1] & HAS_EXPIRY != 0 { EXPIRY } else { 0 }
    }

    fn value_start(&self, offset: usize) -> usize {
        self.key_start(offset) + self.arena[offset] as usize
    }

    fn value_len_at(&self, offset: usize) -> usize {
        self.arena[offset + 5] as usize
    }

    fn size_at(&self, offset: usize) -> usize {
        self.value_start(offset) - offset + self.value_len_at(offset)
    }

    fn object_index(&self, offset: usize) -> usize {
        self.u16_at(self.value_start(offset))
    }

    fn long_key_index(&self, offset: usize) -> usize {
        self.u16_at(self.key_start(offset))
    }

    fn u16_at(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.arena[at], self.arena[at + 1]]))
    }
}

/// The parts of an entry as they lie in the arena.
struct RawEntry<'a> {
    meta: u8,
    key: &'a [u8],
    value: &'a [u8],
    expires_at: Option<i64>,
    access: u32,
}

impl<'a> RawEntry<'a> {
    fn of(segment: &'a Segment, offset: usize) -> Self {
        let arena = &segment.arena;
        let start = segment.value_start(offset);
        Self {
            meta: arena[offset + 1],
            key: segment.key_at(offset),
            value: &arena[start..start + segment.value_len_at(offset)],
            expires_at: segment.expires_at_offset(offset),
            access: u32::from_le_bytes([arena[offset + 2], arena[offset + 3], arena[offset + 4], 0]),
        }
    }

    fn int(&self) -> i64 {
        i64::from_le_bytes(self.value.try_into().expect("an integer takes eight bytes"))
    }
}

/// The offset of an entry that is on its way to another place; no entry can start there.
const DETACHED: usize = u16::MAX as usize - 1;

fn slot_tag(slot: u32) -> u16 {
    (slot >> 16) as u16
}

fn slot_offset(slot: u32) -> usize {
    usize::from(slot as u16)
}

fn make_slot(tag: u16, offset: usize) -> u32 {
    u32::from(tag) << 16 | offset as u32
}

/// Puts `item` into a free place of `slab`; its index.
fn store<T>(slab: &mut Vec<Option<T>>, item: T) -> u16 {
    // A scan is short: it is made when a collection or a long key is new, among a few hundred at the most.
    let free = if slab.len() == slab.capacity() { slab.iter().position(Option::is_none) } else { None };
    let index = free.unwrap_or_else(|| {
        slab.push(None);
        slab.len() - 1
    });
    slab[index] = Some(item);
    index as u16
}

/// The allocator's size class at or above `bytes`: growing by class wastes nothing of what is allocated anyway.
fn round_capacity(bytes: usize) -> usize {
    let bytes = bytes.max(64);
    let step = (bytes - 1).next_power_of_two() / 8;
    bytes.next_multiple_of(step.max(16)).min(ARENA_MAX.max(bytes))
}
