//! A few hundred keys with their values: the unit that a snapshot shares and a writer copies.
//!
//! Entries lie packed in an arena of pages, so that a key costs little more than its bytes, and a small open-addressing
//! table of 32-bit slots finds them: 16 bits of the hash and 16 bits of the address in the arena. Collections and long
//! strings lie beside the arena in `objects`.
//!
//! Layout of an entry: key length (1), meta (1), access stamp (3), value length (1), expiry (8, if any), key, value.
//! Invariant: entries never take more than `LIVE_BYTES_MAX` and there are never more than `ENTRIES_MAX`; the owner splits
//! the segment before that. Does not know its place in the database, nor what time it is.

use std::sync::Arc;

use super::arena::{Address, Arena, PAGE_BYTES, PAGES_MAX};
use super::embedded::{Embedded, EmbeddedKind};
use super::prefetch::prefetch;
use super::value::{Value, ValueRef};
use smallvec::SmallVec;

pub(super) const ENTRIES_MAX: usize = 384;
const SLOTS_MIN: usize = 8;
const SLOTS_MAX: usize = 512;

/// Longer keys lie in `long_keys`.
const KEY_INLINE_MAX: usize = 128;
/// Longer strings lie in `objects`.
pub(super) const VALUE_INLINE_MAX: usize = 192;

const HEADER: usize = 6;
const EXPIRY: usize = 8;
const ENTRY_BYTES_MAX: usize = HEADER + EXPIRY + KEY_INLINE_MAX + VALUE_INLINE_MAX;
/// With no more than this in all pages, there is always one in which another entry fits.
const LIVE_BYTES_MAX: usize = PAGES_MAX * (PAGE_BYTES - ENTRY_BYTES_MAX);

const EMPTY: u32 = u32::MAX;

const KIND: u8 = 0b0000_0111;
const KIND_INT: u8 = 0;
const KIND_STR: u8 = 1;
/// A short string that was changed in place, which Redis holds in its `raw` encoding.
const KIND_RAW: u8 = 2;
const KIND_OBJECT: u8 = 3;
/// Small collections.
const KIND_HASH: u8 = 4;
const KIND_SET: u8 = 5;
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
    /// At most `VALUE_INLINE_MAX` bytes.
    Embedded(Embedded<'a>),
}

impl NewValue<'_> {
    fn kind(&self) -> u8 {
        match self {
            Self::Int(_) => KIND_INT,
            Self::Inline { raw: false, .. } => KIND_STR,
            Self::Inline { raw: true, .. } => KIND_RAW,
            Self::Object(_) => KIND_OBJECT,
            Self::Embedded(embedded) => match embedded.kind {
                EmbeddedKind::Hash => KIND_HASH,
                EmbeddedKind::Set => KIND_SET,
            },
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Int(_) => 8,
            Self::Inline { bytes, .. } => bytes.len(),
            Self::Object(_) => 2,
            Self::Embedded(embedded) => embedded.bytes_len(),
        }
    }
}

/// What every operation reads comes first, so that few cache lines hold it.
#[derive(Debug, Clone, Default)]
#[repr(C)]
pub(super) struct Segment {
    slots: Vec<u32>,
    len: u16,
    /// How many leading bits of the hash all entries share.
    pub(super) depth: u8,
    arena: Arena,
    objects: Vec<Option<Value>>,
    long_keys: Vec<Option<Arc<[u8]>>>,
}

/// How much of a segment a lookup reads: the slots' place and those of the pages.
const LOOKUP_BYTES: usize = 192;

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

    /// With a table for so many entries.
    pub fn with_room(depth: u8, entries: usize) -> Self {
        Self {
            slots: if entries == 0 { Vec::new() } else { vec![EMPTY; slots_for(entries)] },
            ..Self::new(depth)
        }
    }

    pub fn len(&self) -> usize {
        usize::from(self.len)
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
            if slot_tag(slot) == tag && self.key_of(self.arena.at(address(slot))) == key {
                return Some(Slot(i));
            }
            i = (i + 1) & mask;
        }
    }

    /// Begins to load what every lookup reads first. `segment` is only an address here.
    pub fn prefetch(segment: *const Self) {
        for line in 0..LOOKUP_BYTES / 64 {
            prefetch(segment.cast::<u8>().wrapping_add(line * 64));
        }
    }

    /// Begins to load the place where a key's slot is, and what tells where a new entry goes.
    pub fn prefetch_slot(&self, hash: u64) {
        self.arena.prefetch_room();
        if !self.slots.is_empty() {
            let home = hash as u16 as usize & (self.slots.len() - 1);
            prefetch(&self.slots[home]);
        }
    }

    /// Begins to load the entry that a key's slot names, or the place where it would go. A likely one will do: a wrong
    /// guess costs nothing but a hint.
    pub fn prefetch_entry(&self, hash: u64) {
        let Some(mask) = self.slots.len().checked_sub(1) else { return };
        let tag = hash as u16;
        for step in 0..4 {
            let slot = self.slots[(tag as usize + step) & mask];
            if slot == EMPTY {
                if let Some(place) = self.arena.next_pointer() {
                    prefetch(place);
                    prefetch(place.wrapping_add(64));
                }
                return;
            }
            if slot_tag(slot) == tag {
                if let Some(entry) = self.arena.pointer(address(slot)) {
                    prefetch(entry);
                    // An entry seldom fits one line, and a large one that begins late in its line takes three.
                    prefetch(entry.wrapping_add(64));
                    if self.arena.live_bytes() > 64 * self.len() {
                        prefetch(entry.wrapping_add(96));
                    }
                }
                return;
            }
        }
    }

    fn bytes(&self, slot: Slot) -> &[u8] {
        self.arena.at(address(self.slots[slot.0]))
    }

    fn bytes_mut(&mut self, slot: Slot) -> &mut [u8] {
        self.arena.at_mut(address(self.slots[slot.0]))
    }

    pub fn entry(&self, slot: Slot) -> Entry<'_> {
        self.decode(self.bytes(slot))
    }

    pub fn expires_at(&self, slot: Slot) -> Option<i64> {
        expires_at(self.bytes(slot))
    }

    pub fn access(&self, slot: Slot) -> u32 {
        access(self.bytes(slot))
    }

    pub fn set_access(&mut self, slot: Slot, access: u32) {
        self.bytes_mut(slot)[2..5].copy_from_slice(&access.to_le_bytes()[..3]);
    }

    /// Sets the access stamp unless a snapshot shares the entry: reading never copies.
    pub fn touch(&mut self, slot: Slot, access: u32) {
        if let Some(entry) = self.arena.at_mut_unshared(address(self.slots[slot.0])) {
            entry[2..5].copy_from_slice(&access.to_le_bytes()[..3]);
        }
    }

    /// Overwrites the value of an entry that holds an integer.
    pub fn set_integer(&mut self, slot: Slot, n: i64) {
        let entry = self.bytes_mut(slot);
        debug_assert_eq!(entry[1] & KIND, KIND_INT);
        let start = value_start(entry);
        entry[start..start + 8].copy_from_slice(&n.to_le_bytes());
    }

    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.slots().map(|slot| self.entry(slot))
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.slots.len()).filter(|&i| self.slots[i] != EMPTY).map(Slot)
    }

    /// The collection or long string of an entry.
    pub fn object(&self, slot: Slot) -> Option<&Value> {
        self.objects[self.object_index(slot)?].as_ref()
    }

    /// The collection or long string of an entry, to be changed in place.
    pub fn object_mut(&mut self, slot: Slot) -> Option<&mut Value> {
        let index = self.object_index(slot)?;
        self.objects[index].as_mut()
    }

    fn object_index(&self, slot: Slot) -> Option<usize> {
        let entry = self.bytes(slot);
        (entry[1] & KIND == KIND_OBJECT).then(|| u16_at(entry, value_start(entry)))
    }

    /// Whether an entry of such a key and value would fit, after compaction at the most.
    pub fn has_room(&self, key: &[u8], value: &NewValue<'_>) -> bool {
        let entry = HEADER + EXPIRY + key.len().min(KEY_INLINE_MAX) + value.len();
        self.len() < ENTRIES_MAX && self.arena.live_bytes() + entry <= LIVE_BYTES_MAX
    }

    /// Whether an entry may be given an expiry, after compaction at the most.
    pub fn has_room_for_expiry(&self) -> bool {
        self.has_room_for(EXPIRY)
    }

    /// Stores `value` at `key`, new or in the place of `found`. The caller has asked `has_room`.
    ///
    /// The object that was there goes to `displaced`, which is left alone otherwise: an answer would be written here and
    /// read at once as a whole, which makes the processor wait until the entry's bytes have reached the cache.
    pub fn put(
        &mut self,
        hash: u64,
        key: &[u8],
        found: Option<Slot>,
        value: NewValue<'_>,
        expires_at: Option<i64>,
        access: u32,
        displaced: &mut Option<Value>,
    ) {
        if let Some(slot) = found {
            if self.overwrite(slot, &value, expires_at, access) {
                return;
            }
            if let Some(object) = self.remove(slot) {
                *displaced = Some(object);
            }
        }
        self.push(hash, key, value, expires_at, access);
    }

    /// Removes an entry; answers its object, if it had one.
    pub fn remove(&mut self, slot: Slot) -> Option<Value> {
        let at = address(self.slots[slot.0]);
        let entry = self.arena.at(at);
        let size = entry_bytes(entry);
        if entry[1] & LONG_KEY != 0 {
            let index = u16_at(entry, key_start(entry));
            self.long_keys[index] = None;
        }
        let object = self
            .object_index(slot)
            .map(|index| self.objects[index].take().expect("an object entry owns its object"));
        self.arena.free(at, size);
        self.len -= 1;
        self.close_gap(slot.0);
        // Not sooner, or a key that comes and goes would have everything copied each time.
        self.give_back(PAGE_BYTES / 4);
        object
    }

    /// Gives back the pages that entries do not need, even if they were to grow by `spare_bytes`.
    pub fn give_back(&mut self, spare_bytes: usize) {
        // In the end of a page that is full there may be room for no entry.
        let needed = (self.arena.live_bytes() + spare_bytes).div_ceil(PAGE_BYTES - ENTRY_BYTES_MAX);
        while needed.max(1) < self.arena.pages_len() {
            self.release_last_page();
        }
        self.arena.trim();
    }

    /// Moves the entries of the last page to the others, which have room for them.
    fn release_last_page(&mut self) {
        let (index, page) = self.arena.take_last_page();
        for i in 0..self.slots.len() {
            let slot = self.slots[i];
            if slot == EMPTY || address(slot).page() != index {
                continue;
            }
            let entry = &page.0[address(slot).place()..];
            let size = entry_bytes(entry);
            let at = self.find_room(size, true).expect("the caller has seen that the other pages have room");
            self.arena.at_mut(at)[..size].copy_from_slice(&entry[..size]);
            self.slots[i] = make_slot(slot_tag(slot), at);
        }
    }

    /// How many entries have an expiry.
    pub fn expires_len(&self) -> usize {
        self.slots().filter(|&slot| self.expires_at(slot).is_some()).count()
    }

    /// Sets or clears the expiry of an entry; its slot stays the same.
    pub fn set_expiry(&mut self, slot: Slot, expires_at: Option<i64>) {
        let at = address(self.slots[slot.0]);
        let entry = self.arena.at(at);
        let had = entry[1] & HAS_EXPIRY != 0;
        match expires_at {
            Some(at) if had => {
                self.bytes_mut(slot)[HEADER..][..EXPIRY].copy_from_slice(&at.to_le_bytes());
                return;
            }
            None if !had => return,
            _ => {}
        }
        let size = entry_bytes(entry);
        let mut bytes: SmallVec<[u8; 512]> = SmallVec::new();
        bytes.extend_from_slice(&entry[..HEADER]);
        bytes[1] = (bytes[1] & !HAS_EXPIRY) | if expires_at.is_some() { HAS_EXPIRY } else { 0 };
        if let Some(at) = expires_at {
            bytes.extend_from_slice(&at.to_le_bytes());
        }
        bytes.extend_from_slice(&entry[HEADER + if had { EXPIRY } else { 0 }..size]);
        self.rewrite(slot, size, &bytes);
    }

    /// Stores another form of the same value; the slot stays the same. The caller has asked `has_room_for`.
    pub fn replace(&mut self, slot: Slot, value: NewValue<'_>) -> Option<Value> {
        let at = address(self.slots[slot.0]);
        let entry = self.arena.at(at);
        let (size, start) = (entry_bytes(entry), value_start(entry));
        let mut bytes: SmallVec<[u8; 512]> = SmallVec::from_slice(&entry[..start]);
        bytes[1] = bytes[1] & !KIND | value.kind();
        bytes[5] = value.len() as u8;
        bytes.resize(start + value.len(), 0);
        let displaced = self.object_index(slot).and_then(|index| self.objects[index].take());
        write_value(&mut bytes[start..], value, &mut self.objects);
        self.rewrite(slot, size, &bytes);
        displaced
    }

    /// Puts `bytes` in the place of an entry of `old_size`; the slot stays the same.
    fn rewrite(&mut self, slot: Slot, old_size: usize, bytes: &[u8]) {
        let (tag, at) = (slot_tag(self.slots[slot.0]), address(self.slots[slot.0]));
        self.slots[slot.0] = make_slot(tag, DETACHED);
        self.arena.free(at, old_size);
        let at = self.allocate(bytes.len());
        self.arena.at_mut(at)[..bytes.len()].copy_from_slice(bytes);
        self.slots[slot.0] = make_slot(tag, at);
    }

    /// Whether an entry may grow by so many bytes, after compaction at the most.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.arena.live_bytes() + bytes <= LIVE_BYTES_MAX
    }

    /// The slots of objects whose keys may have this hash.
    pub fn objects_of_hash(&self, hash: u64) -> SmallVec<[Slot; 4]> {
        let mut found = SmallVec::new();
        if self.slots.is_empty() {
            return found;
        }
        let mask = self.slots.len() - 1;
        let tag = hash as u16;
        let mut i = tag as usize & mask;
        while self.slots[i] != EMPTY {
            if slot_tag(self.slots[i]) == tag && self.bytes(Slot(i))[1] & KIND == KIND_OBJECT {
                found.push(Slot(i));
            }
            i = (i + 1) & mask;
        }
        found
    }

    /// Moves every entry whose hash has the bit after `depth` set into a new segment; both are one bit deeper.
    pub fn split(&mut self, hash: impl Fn(&[u8]) -> u64) -> Segment {
        let depth = self.depth + 1;
        let mut old = std::mem::take(self);
        let (mut low, mut high) = (Segment::new(depth), Segment::new(depth));
        // Each with as many slots as half of the entries need.
        let slots = slots_for(old.len() / 2);
        (low.slots, high.slots) = (vec![EMPTY; slots], vec![EMPTY; slots]);
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

    /// Bytes of pages that a snapshot shared and that were copied since the last call.
    pub fn take_copied_bytes(&mut self) -> u64 {
        self.arena.take_copied_bytes()
    }

    /// Bytes that cloning takes at once: pages are copied when they are changed.
    pub fn clone_bytes(&self) -> usize {
        self.memory_bytes() - self.arena.memory_bytes()
    }

    /// Bytes on the heap, without what the objects hold.
    pub fn memory_bytes(&self) -> usize {
        self.slots.capacity() * 4
            + self.arena.memory_bytes()
            + self.objects.capacity() * size_of::<Option<Value>>()
            + self.long_keys.iter().flatten().map(|key| key.len() + 32).sum::<usize>()
            + size_of::<Self>()
    }

    /// Bytes that one entry takes in the arena and the table.
    pub fn entry_bytes(&self, slot: Slot) -> usize {
        entry_bytes(self.bytes(slot)) + 6
    }

    /// Hands every entry to `sink` and leaves the segment useless.
    fn drain(&mut self, mut sink: impl FnMut(&[u8], NewValue<'_>, Option<i64>, u32)) {
        for i in 0..self.slots.len() {
            if self.slots[i] == EMPTY {
                continue;
            }
            let object = self.object_index(Slot(i)).and_then(|index| self.objects[index].take());
            let entry = self.bytes(Slot(i));
            let value = match (entry[1] & KIND, object) {
                (KIND_OBJECT, Some(value)) => NewValue::Object(value),
                (KIND_INT, _) => NewValue::Int(int(value(entry))),
                (KIND_HASH | KIND_SET, _) => NewValue::Embedded(embedded(entry)),
                (kind, _) => NewValue::Inline { bytes: value(entry), raw: kind == KIND_RAW },
            };
            sink(self.key_of(entry), value, expires_at(entry), access(entry));
        }
    }

    /// Overwrites an entry whose new value has the same size and layout.
    fn overwrite(&mut self, slot: Slot, value: &NewValue<'_>, expires_at: Option<i64>, access: u32) -> bool {
        let entry = self.bytes(slot);
        let meta = entry[1];
        if meta & KIND == KIND_OBJECT
            || matches!(value, NewValue::Object(_))
            || (meta & HAS_EXPIRY != 0) != expires_at.is_some()
            || usize::from(entry[5]) != value.len()
        {
            return false;
        }
        let entry = self.bytes_mut(slot);
        entry[1] = meta & !KIND | value.kind();
        entry[2..5].copy_from_slice(&access.to_le_bytes()[..3]);
        if let Some(at) = expires_at {
            entry[HEADER..][..EXPIRY].copy_from_slice(&at.to_le_bytes());
        }
        let start = value_start(entry);
        match value {
            NewValue::Int(n) => entry[start..start + 8].copy_from_slice(&n.to_le_bytes()),
            NewValue::Inline { bytes, .. } => entry[start..start + bytes.len()].copy_from_slice(bytes),
            NewValue::Embedded(embedded) => write_embedded(&mut entry[start..], embedded),
            NewValue::Object(_) => unreachable!("objects were excluded above"),
        }
        true
    }

    fn push(&mut self, hash: u64, key: &[u8], value: NewValue<'_>, expires_at: Option<i64>, access: u32) {
        if (self.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow_slots();
        }
        let long = key.len() > KEY_INLINE_MAX;
        let key_len = if long { 2 } else { key.len() };
        let start = HEADER + expires_at.map_or(0, |_| EXPIRY);
        let size = start + key_len + value.len();
        let at = self.allocate(size);
        let entry = &mut self.arena.at_mut(at)[..size];
        let meta = value.kind()
            | if expires_at.is_some() { HAS_EXPIRY } else { 0 }
            | if long { LONG_KEY } else { 0 };
        let stamp = access.to_le_bytes();
        entry[..HEADER].copy_from_slice(&[
            key_len as u8,
            meta,
            stamp[0],
            stamp[1],
            stamp[2],
            value.len() as u8,
        ]);
        if let Some(at) = expires_at {
            entry[HEADER..start].copy_from_slice(&at.to_le_bytes());
        }
        let (to_key, to_value) = entry[start..].split_at_mut(key_len);
        if long {
            let index = store(&mut self.long_keys, key.into());
            to_key.copy_from_slice(&index.to_le_bytes());
        } else {
            to_key.copy_from_slice(key);
        }
        write_value(to_value, value, &mut self.objects);
        self.len += 1;
        self.link(make_slot(hash as u16, at));
    }

    /// A place for `size` more bytes: in a page with room, else in one whose garbage is worth to be swept together, else in
    /// a new one.
    fn allocate(&mut self, size: usize) -> Address {
        if let Some(at) = self.find_room(size, false) {
            return at;
        }
        let is_needed = !self.arena.add_page();
        self.find_room(size, is_needed).expect("the owner splits a segment before all its pages are full")
    }

    /// A place for `size` more bytes in the pages that there are.
    fn find_room(&mut self, size: usize, is_needed: bool) -> Option<Address> {
        self.arena.take_room(size).or_else(|| {
            let page = self.arena.page_to_compact(size, is_needed)?;
            self.compact(page);
            self.arena.take_room(size)
        })
    }

    /// Moves the entries of one page together.
    fn compact(&mut self, page: usize) {
        let of_page = |slot: u32| slot != EMPTY && address(slot).page() == page && address(slot) != DETACHED;
        let mut entries: Vec<(Address, usize, usize)> = (0..self.slots.len())
            .filter(|&i| of_page(self.slots[i]))
            .map(|i| (address(self.slots[i]), entry_bytes(self.arena.at(address(self.slots[i]))), i))
            .collect();
        entries.sort_unstable_by_key(|&(at, ..)| at.0);
        let mut slots_of = entries.iter().map(|&(_, _, i)| i);
        self.arena.compact(page, entries.iter().map(|&(at, size, _)| (at, size)), |_, to| {
            let i = slots_of.next().expect("every entry has a slot");
            self.slots[i] = make_slot(slot_tag(self.slots[i]), to);
        });
    }

    fn grow_slots(&mut self) {
        let size = (self.slots.len() * 2).clamp(SLOTS_MIN, SLOTS_MAX);
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

    fn decode<'a>(&'a self, entry: &'a [u8]) -> Entry<'a> {
        let value = match entry[1] & KIND {
            KIND_INT => ValueRef::Int(int(value(entry))),
            KIND_OBJECT => {
                let object = self.objects[u16_at(entry, value_start(entry))].as_ref();
                object.expect("an object entry owns its object").as_ref()
            }
            KIND_HASH | KIND_SET => ValueRef::Embedded(embedded(entry)),
            _ => ValueRef::Str(value(entry)),
        };
        let is_raw = entry[1] & KIND == KIND_RAW;
        Entry { key: self.key_of(entry), value, expires_at: expires_at(entry), access: access(entry), is_raw }
    }

    fn key_of<'a>(&'a self, entry: &'a [u8]) -> &'a [u8] {
        let start = key_start(entry);
        if entry[1] & LONG_KEY != 0 {
            let index = u16_at(entry, start);
            return self.long_keys[index].as_deref().expect("an entry with a long key owns it");
        }
        &entry[start..start + usize::from(entry[0])]
    }
}

/// The size of a table in which so many entries fill no more than three quarters.
fn slots_for(entries: usize) -> usize {
    (entries * 4 / 3).next_power_of_two().clamp(SLOTS_MIN, SLOTS_MAX)
}

fn access(entry: &[u8]) -> u32 {
    u32::from_le_bytes([entry[2], entry[3], entry[4], 0])
}

fn expires_at(entry: &[u8]) -> Option<i64> {
    (entry[1] & HAS_EXPIRY != 0).then(|| int(&entry[HEADER..HEADER + EXPIRY]))
}

fn key_start(entry: &[u8]) -> usize {
    HEADER + if entry[1] & HAS_EXPIRY != 0 { EXPIRY } else { 0 }
}

fn value_start(entry: &[u8]) -> usize {
    key_start(entry) + usize::from(entry[0])
}

fn value(entry: &[u8]) -> &[u8] {
    &entry[value_start(entry)..][..usize::from(entry[5])]
}

fn entry_bytes(entry: &[u8]) -> usize {
    value_start(entry) + usize::from(entry[5])
}

/// The small collection of an entry that has one.
fn embedded(entry: &[u8]) -> Embedded<'_> {
    let kind = if entry[1] & KIND == KIND_HASH { EmbeddedKind::Hash } else { EmbeddedKind::Set };
    let value = value(entry);
    Embedded { kind, count: value[0], entries: &value[1..] }
}

fn write_embedded(to: &mut [u8], embedded: &Embedded<'_>) {
    to[0] = embedded.count;
    to[1..embedded.bytes_len()].copy_from_slice(embedded.entries);
}

/// Writes a value of its own length; an object goes into `objects`.
fn write_value(to: &mut [u8], value: NewValue<'_>, objects: &mut Vec<Option<Value>>) {
    match value {
        NewValue::Int(n) => to.copy_from_slice(&n.to_le_bytes()),
        NewValue::Inline { bytes, .. } => to.copy_from_slice(bytes),
        NewValue::Embedded(embedded) => write_embedded(to, &embedded),
        NewValue::Object(value) => to.copy_from_slice(&store(objects, value).to_le_bytes()),
    }
}

fn int(bytes: &[u8]) -> i64 {
    i64::from_le_bytes(bytes.try_into().expect("an integer takes eight bytes"))
}

fn u16_at(entry: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([entry[at], entry[at + 1]]))
}

/// The address of an entry that is on its way to another place; no entry can start there.
const DETACHED: Address = Address(u16::MAX - 1);

fn slot_tag(slot: u32) -> u16 {
    (slot >> 16) as u16
}

fn address(slot: u32) -> Address {
    Address(slot as u16)
}

fn make_slot(tag: u16, at: Address) -> u32 {
    u32::from(tag) << 16 | u32::from(at.0)
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

#[cfg(test)]
mod tests;
