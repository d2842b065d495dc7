//! One database: an extendible hash table of copy-on-write segments.
//!
//! The leading bits of a key's hash index `directory`, which names one of `segments`; a full segment splits by the next
//! bit, alone, so that no operation ever rehashes the whole. Cloning a `Db` freezes it: the clone shares every segment,
//! and a later write copies the one segment that it touches.
//!
//! A `Db` knows no time: it stores expiries and finds what is due at an instant, and `LiveDb` decides what to do.

mod field_expiry;
mod sweep;

use std::sync::Arc;

use ahash::RandomState;
use smallvec::SmallVec;

use super::cow::Cow;
use super::embedded::Embedded;
use super::segment::{ENTRIES_MAX, Entry, NewValue, Segment, Slot, VALUE_INLINE_MAX};
use super::value::{Value, ValueRef, WrongType};
use crate::base::number::parse_i64;

/// How many keys one `prefetch` looks at: more would push each other out of the cache again.
pub const PREFETCH_KEYS_MAX: usize = 64;

/// Without an expiry.
const NEVER: i64 = i64::MAX;

#[derive(Debug, Clone)]
pub struct Db {
    /// For each value of the leading `depth` bits, the index of a segment.
    directory: Vec<u32>,
    segments: Vec<Cow<Segment>>,
    /// For each segment, an instant (ms) before which nothing in it expires.
    next_expiry: Vec<i64>,
    /// For each segment, an instant (ms) before which no field of a hash in it expires.
    next_field_expiry: Vec<i64>,
    /// How many hashes have a field that expires.
    volatile_hashes: usize,
    /// For each segment, how many of its keys have an expiry.
    volatile: Vec<u16>,
    depth: u8,
    len: usize,
    expires: usize,
    /// Bytes of segments and long strings that writers have copied because a snapshot holds them.
    copied_bytes: u64,
    hasher: RandomState,
}

/// A member to be prefetched.
struct WantedMember<'k> {
    /// The index of its key's place.
    place: usize,
    key: &'k [u8],
    member: &'k [u8],
}

/// Where a key was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    segment: usize,
    slot: Slot,
}

/// What a value that was stored has taken the place of.
#[derive(Debug, Default)]
pub(super) struct Displaced {
    pub object: Option<Value>,
    /// The expiry of the entry that was there.
    pub expires_at: Option<i64>,
}

/// Among which keys samples are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampled {
    AllKeys,
    /// Those with an expiry.
    Volatile,
}

/// What is at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Missing,
    /// Its time has passed, and nobody has removed it yet.
    Expired,
    Live,
}

/// One key of a frozen database.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    pub key: &'a [u8],
    pub value: ValueRef<'a>,
    /// Milliseconds since 1970.
    pub expires_at: Option<i64>,
    /// The 24-bit access stamp: seconds for LRU, minutes and counter for LFU.
    pub access: u32,
}

impl Db {
    /// `seed` makes the hash function unpredictable for those who choose the keys.
    pub fn new(seed: u64) -> Self {
        Self {
            directory: vec![0],
            segments: vec![Cow::new(Segment::new(0))],
            next_expiry: vec![NEVER],
            next_field_expiry: vec![NEVER],
            volatile_hashes: 0,
            volatile: vec![0],
            depth: 0,
            len: 0,
            expires: 0,
            copied_bytes: 0,
            hasher: RandomState::with_seeds(seed, !seed, seed.rotate_left(21), seed.rotate_left(42)),
        }
    }

    /// An empty database that hashes as this one does.
    pub fn emptied(&self) -> Self {
        Self {
            directory: vec![0],
            segments: vec![Cow::new(Segment::new(0))],
            next_expiry: vec![NEVER],
            next_field_expiry: vec![NEVER],
            volatile_hashes: 0,
            volatile: vec![0],
            depth: 0,
            len: 0,
            expires: 0,
            copied_bytes: 0,
            hasher: self.hasher.clone(),
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many keys have an expiry.
    pub fn expires_len(&self) -> usize {
        self.expires
    }

    /// Every key, in no order; those that are due to expire included.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        self.segments.iter().flat_map(|segment| segment.iter()).map(item)
    }

    /// Bytes of the table itself, without what collections and long strings hold.
    pub fn table_bytes(&self) -> usize {
        let segments: usize = self.segments.iter().map(|segment| segment.memory_bytes()).sum();
        self.directory.capacity() * 4 + self.segments.capacity() * 16 + segments
    }

    /// Frees everything in small steps; `note` is told after each of how many keys it was.
    pub fn free(self, mut note: impl FnMut(usize)) {
        for segment in self.segments {
            let keys = segment.len();
            drop(segment);
            note(keys);
        }
    }

    /// How many segments there are; for DEBUG HTSTATS.
    pub fn segments_len(&self) -> usize {
        self.segments.len()
    }

    /// Adds a key as a loader does; false when it is there already.
    pub fn load(&mut self, key: &[u8], value: Value, expires_at: Option<i64>) -> bool {
        let before = self.len;
        self.put_value(key, value, expires_at, 0);
        self.len > before
    }

    /// Bytes of segments and long strings that writers have copied because a snapshot holds them.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// Begins to count anew what a snapshot holds.
    pub fn forget_copied_bytes(&mut self) {
        self.copied_bytes = 0;
    }

    /// Changes entries of the segment at `index`: of copies, if a snapshot holds it.
    fn change<R>(&mut self, index: usize, change: impl FnOnce(&mut Segment) -> R) -> R {
        let segment = self.segment_mut(index);
        let changed = change(segment);
        let copied_bytes = segment.take_copied_bytes();
        self.copied_bytes += copied_bytes;
        changed
    }

    /// The segment at `index`, to be changed: a copy, if a snapshot holds it.
    fn segment_mut(&mut self, index: usize) -> &mut Segment {
        let segment = &mut self.segments[index];
        if segment.is_shared() {
            self.copied_bytes += segment.clone_bytes() as u64;
        }
        segment.make_mut()
    }

    /// Counts what becomes of the expiry of one key of a segment.
    fn count_expiry(&mut self, segment: usize, before: bool, after: bool) {
        self.expires = self.expires + usize::from(after) - usize::from(before);
        self.volatile[segment] = self.volatile[segment] + u16::from(after) - u16::from(before);
    }

    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn segment_index(&self, hash: u64) -> usize {
        let prefix = if self.depth == 0 { 0 } else { hash >> (64 - self.depth) };
        self.directory[prefix as usize] as usize
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<Found> {
        let hash = self.hash(key);
        let segment = self.segment_index(hash);
        let slot = self.segments[segment].find(hash, key)?;
        Some(Found { segment, slot })
    }

    /// What is at `key` at `now`.
    pub fn presence(&self, key: &[u8], now: i64) -> Presence {
        match self.find(key).map(|found| self.expires_at(found)) {
            None => Presence::Missing,
            Some(Some(at)) if at <= now => Presence::Expired,
            Some(_) => Presence::Live,
        }
    }

    pub(super) fn entry(&self, found: Found) -> Entry<'_> {
        self.segments[found.segment].entry(found.slot)
    }

    pub(super) fn expires_at(&self, found: Found) -> Option<i64> {
        self.segments[found.segment].expires_at(found.slot)
    }

    /// Records an access, unless a snapshot shares the segment: reading never copies.
    pub(super) fn touch(&mut self, found: Found, access: impl FnOnce(u32) -> u32) {
        let segment = &mut self.segments[found.segment];
        let old = segment.access(found.slot);
        let new = access(old);
        if new != old
            && let Some(segment) = segment.get_mut()
        {
            segment.touch(found.slot, new);
        }
    }

    /// Sets the access stamp, as a loader does.
    pub(super) fn set_access(&mut self, found: Found, access: u32) {
        self.change(found.segment, |segment| segment.set_access(found.slot, access));
    }

    /// The collection or long string at a place.
    pub(super) fn object(&self, found: Found) -> Option<&Value> {
        self.segments[found.segment].object(found.slot)
    }

    /// The bytes of a long string, to be changed in place; none if it lies inline.
    pub(super) fn object_mut_if_string(&mut self, found: Found) -> Result<Option<&mut Vec<u8>>, WrongType> {
        match self.object(found) {
            None => return Ok(None),
            Some(Value::String(_)) => {}
            Some(_) => return Err(WrongType),
        }
        let shared_bytes = match self.object(found) {
            Some(Value::String(bytes)) if Arc::strong_count(bytes) > 1 => bytes.capacity(),
            _ => 0,
        };
        self.copied_bytes += shared_bytes as u64;
        Ok(self.object_mut(found).and_then(|value| match value {
            Value::String(bytes) => Some(Arc::make_mut(bytes)),
            _ => None,
        }))
    }

    /// Bytes that an entry takes in its segment.
    pub(super) fn entry_bytes(&self, found: Found) -> usize {
        self.segments[found.segment].entry_bytes(found.slot)
    }

    pub(super) fn object_mut(&mut self, found: Found) -> Option<&mut Value> {
        self.segment_mut(found.segment).object_mut(found.slot)
    }

    /// Stores a string, as an integer when it is one in canonical form. Answers what it displaced.
    pub(super) fn put_string(
        &mut self,
        key: &[u8],
        bytes: &[u8],
        raw: bool,
        expires_at: Option<i64>,
        access: u32,
    ) -> Displaced {
        let value = match if raw || bytes.len() > 20 { None } else { parse_i64(bytes) } {
            Some(n) => NewValue::Int(n),
            None if bytes.len() <= VALUE_INLINE_MAX => NewValue::Inline { bytes, raw },
            None => NewValue::Object(Value::string(bytes)),
        };
        self.put(key, value, expires_at, access)
    }

    /// Stores a string that was changed as bytes; it stays bytes even where it reads as an integer.
    pub(super) fn put_raw_string(
        &mut self,
        key: &[u8],
        bytes: Vec<u8>,
        expires_at: Option<i64>,
        access: u32,
    ) -> Displaced {
        let value = if bytes.len() <= VALUE_INLINE_MAX {
            NewValue::Inline { bytes: &bytes, raw: true }
        } else {
            return self.put(key, NewValue::Object(Value::string(bytes)), expires_at, access);
        };
        self.put(key, value, expires_at, access)
    }

    pub(super) fn put_integer(
        &mut self,
        key: &[u8],
        n: i64,
        expires_at: Option<i64>,
        access: u32,
    ) -> Displaced {
        self.put(key, NewValue::Int(n), expires_at, access)
    }

    /// Stores a value of any kind; a short string goes inline. Answers what it displaced.
    pub(super) fn put_value(
        &mut self,
        key: &[u8],
        value: Value,
        expires_at: Option<i64>,
        access: u32,
    ) -> Displaced {
        match value {
            Value::String(bytes) if bytes.len() <= VALUE_INLINE_MAX => {
                self.put_string(key, &bytes, false, expires_at, access)
            }
            value => match Embedded::of(&value) {
                Some(embedded) => self.put(key, NewValue::Embedded(embedded), expires_at, access),
                None => self.put(key, NewValue::Object(value), expires_at, access),
            },
        }
    }

    /// Takes a small collection out of its entry, to be changed as an object; the place stays the same.
    pub(super) fn take_out(&mut self, found: Found, value: Value) {
        self.change(found.segment, |segment| segment.replace(found.slot, NewValue::Object(value)));
    }

    /// Puts the collections at keys with this hash into their entries, those that are small. What they were is handed to
    /// `spare`.
    pub fn embed(&mut self, hash: u64, mut spare: impl FnMut(Value)) {
        let index = self.segment_index(hash);
        for slot in self.segments[index].objects_of_hash(hash) {
            self.change(index, |segment| {
                let Some(value) = segment.object(slot).cloned() else { return };
                let Some(embedded) = Embedded::of(&value) else { return };
                if segment.has_room_for(embedded.bytes_len()) {
                    drop(segment.replace(slot, NewValue::Embedded(embedded)));
                    spare(value);
                }
            });
        }
    }

    pub(super) fn put(
        &mut self,
        key: &[u8],
        value: NewValue<'_>,
        expires_at: Option<i64>,
        access: u32,
    ) -> Displaced {
        let hash = self.hash(key);
        let mut index = self.segment_index(hash);
        while !self.segments[index].has_room(key, &value) && self.can_split(index) {
            self.split(index);
            index = self.segment_index(hash);
        }
        let field_expiry = field_expiry::of_new(&value);
        let mut displaced = Displaced::default();
        let is_new = self.change(index, |segment| {
            let found = segment.find(hash, key);
            displaced.expires_at = found.and_then(|slot| segment.expires_at(slot));
            segment.put(hash, key, found, value, expires_at, access, &mut displaced.object);
            found.is_none()
        });
        self.len += usize::from(is_new);
        self.count_expiry(index, displaced.expires_at.is_some(), expires_at.is_some());
        if let Some(at) = expires_at {
            self.next_expiry[index] = self.next_expiry[index].min(at);
        }
        self.note_field_expiry(index, field_expiry::of(displaced.object.as_ref()), field_expiry);
        displaced
    }

    /// Overwrites an integer in place.
    pub(super) fn set_integer(&mut self, found: Found, n: i64) {
        self.change(found.segment, |segment| segment.set_integer(found.slot, n));
    }

    pub(super) fn set_expires_at(&mut self, key: &[u8], expires_at: Option<i64>) {
        let hash = self.hash(key);
        let mut index = self.segment_index(hash);
        while !self.segments[index].has_room_for_expiry() && self.can_split(index) {
            self.split(index);
            index = self.segment_index(hash);
        }
        let had_expiry = self.change(index, |segment| {
            let slot = segment.find(hash, key).expect("the caller has found the key");
            let had_expiry = segment.expires_at(slot).is_some();
            segment.set_expiry(slot, expires_at);
            had_expiry
        });
        self.count_expiry(index, had_expiry, expires_at.is_some());
        if let Some(at) = expires_at {
            self.next_expiry[index] = self.next_expiry[index].min(at);
        }
    }

    /// Removes a key; answers its object, if it had one.
    pub(super) fn remove(&mut self, found: Found) -> Option<Value> {
        let (object, had_expiry, len) = self.change(found.segment, |segment| {
            let had_expiry = segment.expires_at(found.slot).is_some();
            (segment.remove(found.slot), had_expiry, segment.len())
        });
        self.len -= 1;
        self.count_expiry(found.segment, had_expiry, false);
        self.note_field_expiry(found.segment, field_expiry::of(object.as_ref()), NEVER);
        if len < MERGE_BELOW {
            self.merge(found.segment);
        }
        object
    }

    /// Begins to bring what lookups of these keys will read into the processor's cache, all keys at a time for each of
    /// the dependent steps, so that the misses of a batch overlap. With a key may come a member of its collection, which
    /// is looked for in turn.
    pub fn prefetch<'k>(&self, wanted: impl Iterator<Item = (&'k [u8], Option<&'k [u8]>)>) {
        let mut places: SmallVec<[(u64, usize); PREFETCH_KEYS_MAX]> = SmallVec::new();
        let mut members: SmallVec<[WantedMember<'k>; PREFETCH_KEYS_MAX]> = SmallVec::new();
        let mut last_key = None;
        for (key, member) in wanted.take(PREFETCH_KEYS_MAX) {
            if last_key != Some(key) {
                let hash = self.hash(key);
                let index = self.segment_index(hash);
                Segment::prefetch(self.segments[index].as_ptr());
                places.push((hash, index));
                last_key = Some(key);
            }
            let place = places.len() - 1;
            members.extend(member.map(|member| WantedMember { place, key, member }));
        }
        for &(hash, index) in &places {
            self.segments[index].prefetch_slot(hash);
        }
        for &(hash, index) in &places {
            self.segments[index].prefetch_entry(hash);
        }
        if !members.is_empty() {
            self.prefetch_members(&places, &members);
        }
    }

    /// The same for members of large collections, whose keys are at `places`.
    fn prefetch_members(&self, places: &[(u64, usize)], members: &[WantedMember<'_>]) {
        let mut found: SmallVec<[(&Value, u64); PREFETCH_KEYS_MAX]> = SmallVec::new();
        let mut last: Option<(usize, Option<&Value>)> = None;
        for wanted in members {
            let value = match last {
                Some((place, value)) if place == wanted.place => value,
                _ => {
                    let (hash, index) = places[wanted.place];
                    let segment = &self.segments[index];
                    segment.find(hash, wanted.key).and_then(|slot| segment.object(slot))
                }
            };
            last = Some((wanted.place, value));
            let hash = value.and_then(|value| value.prefetch_slot(wanted.member));
            found.extend(value.zip(hash));
        }
        for &(value, hash) in &found {
            value.prefetch_entry(hash);
        }
    }

    /// Calls `f` for keys in the order of their hashes, from `cursor` on, until about `count` were seen.
    /// Answers the next cursor, 0 at the end. A key that is there all the time is seen at least once:
    /// the cursor is a place in the space of hashes, which splitting and merging do not move.
    pub fn scan(&self, cursor: u64, count: usize, mut f: impl FnMut(Item<'_>)) -> u64 {
        let mut from = unfold_cursor(cursor);
        let mut left = count.max(1);
        let mut ordered: Vec<(u64, Slot)> = Vec::new();
        loop {
            let index = self.segment_index(from);
            let segment = &self.segments[index];
            ordered.clear();
            ordered.extend(
                segment
                    .slots()
                    .map(|slot| (self.hash(segment.entry(slot).key) & CURSOR_BITS, slot))
                    .filter(|&(hash, _)| hash >= from),
            );
            ordered.sort_unstable_by_key(|&(hash, _)| hash);
            let mut seen = 0;
            while seen < ordered.len() && (seen < left || ordered[seen].0 == ordered[seen - 1].0) {
                f(item(segment.entry(ordered[seen].1)));
                seen += 1;
            }
            if seen < ordered.len() {
                return fold_cursor(ordered[seen].0);
            }
            left = left.saturating_sub(seen.max(1));
            match segment_end(from, segment.depth) {
                None => return 0,
                Some(next) if left == 0 => return fold_cursor(next),
                Some(next) => from = next,
            }
        }
    }

    /// A key chosen uniformly.
    pub fn random_key(&self, rng: &mut fastrand::Rng) -> Option<Vec<u8>> {
        if self.len == 0 {
            return None;
        }
        // A segment is chosen with the weight of its share of the directory, which its depth undoes, and
        // accepted with the weight of its entries.
        loop {
            let prefix = rng.usize(..self.directory.len());
            let segment = &self.segments[self.directory[prefix] as usize];
            let repeats = 1usize << (self.depth - segment.depth);
            let ticket = rng.usize(..super::segment::ENTRIES_MAX * repeats);
            if ticket < segment.len() {
                return segment.iter().nth(ticket).map(|entry| entry.key.to_vec());
            }
            if self.len < 16 && self.segments.len() == 1 {
                return segment.iter().nth(rng.usize(..self.len)).map(|entry| entry.key.to_vec());
            }
        }
    }

    /// Hands `f` up to `samples` different keys, each key with the same chance; with an expiry, if so asked.
    ///
    /// They are of one segment, chosen with the weight of its keys: which keys share a segment is chance already, and
    /// one segment costs a few cache misses instead of a few for each key.
    pub fn sample(
        &self,
        which: Sampled,
        samples: usize,
        rng: &mut fastrand::Rng,
        mut f: impl FnMut(Item<'_>),
    ) {
        let segment = match which {
            Sampled::AllKeys => self.random_segment(self.len, rng, |index| self.segments[index].len()),
            Sampled::Volatile => {
                self.random_segment(self.expires, rng, |index| usize::from(self.volatile[index]))
            }
        };
        let Some(segment) = segment.map(|index| &self.segments[index]) else { return };
        let is_wanted = |slot: &Slot| which == Sampled::AllKeys || segment.expires_at(*slot).is_some();
        let mut slots: SmallVec<[Slot; super::segment::ENTRIES_MAX]> =
            segment.slots().filter(is_wanted).collect();
        for drawn in 0..samples.min(slots.len()) {
            let other = rng.usize(drawn..slots.len());
            slots.swap(drawn, other);
            f(item(segment.entry(slots[drawn])));
        }
    }

    /// One key with its value.
    pub fn item(&self, key: &[u8]) -> Option<Item<'_>> {
        self.find(key).map(|found| item(self.entry(found)))
    }

    #[cfg(test)]
    pub(super) fn volatile_counts(&self) -> &[u16] {
        &self.volatile
    }

    /// The index of a segment, chosen with its `weight`; the weights of all segments add up to `total`.
    fn random_segment(
        &self,
        total: usize,
        rng: &mut fastrand::Rng,
        weight: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        /// So many are drawn and refused before all are added up: where few have any weight.
        const TRIES_MAX: usize = 32;
        if total == 0 {
            return None;
        }
        for _ in 0..TRIES_MAX {
            let index = rng.usize(..self.segments.len());
            if rng.usize(..super::segment::ENTRIES_MAX) < weight(index) {
                return Some(index);
            }
        }
        let mut ticket = rng.usize(..total);
        (0..self.segments.len()).find(|&index| {
            let weight = weight(index);
            let is_drawn = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            is_drawn
        })
    }

    /// Gives back memory that the segment of `key` does not need, if the allocator gains by it.
    pub(super) fn give_back(&mut self, key: &[u8]) {
        let index = self.segment_index(self.hash(key));
        if let Some(segment) = self.segments[index].get_mut() {
            segment.give_back(0);
        }
    }

    /// Collects up to `max` keys that are due at `now`, looking at no more than `segments_max` segments from `from` on.
    /// Answers where to go on; a round is over when that is 0.
    pub fn due_keys(
        &mut self,
        from: usize,
        segments_max: usize,
        max: usize,
        now: i64,
        due: &mut Vec<Vec<u8>>,
    ) -> usize {
        let end = from.saturating_add(segments_max).min(self.segments.len());
        for index in from..end {
            if self.next_expiry[index] > now {
                continue;
            }
            let mut next = NEVER;
            for entry in self.segments[index].iter() {
                match entry.expires_at {
                    Some(at) if at <= now && due.len() < max => due.push(entry.key.to_vec()),
                    Some(at) => next = next.min(at),
                    None => {}
                }
            }
            // What is due stays due until it is removed; the next round looks again only if some was left.
            self.next_expiry[index] = next;
            if due.len() >= max {
                self.next_expiry[index] = next.min(now);
                return index;
            }
        }
        if end == self.segments.len() { 0 } else { end }
    }

    /// Splits segments until there are as many as `keys` will need, so that each key is put into its place once. Whatever is
    /// claimed, room is made for no more than some times as many keys as there are, and where there are none for as many as
    /// cost little.
    pub fn reserve(&mut self, keys: usize) {
        let most = match self.len {
            0 => RESERVED_AT_ONCE_MAX,
            len => RESERVED_PER_KEY_MAX * len,
        };
        let keys = keys.min(most);
        let fits = |depth: u8| keys.checked_shr(depth.into()).unwrap_or(0) <= ENTRIES_MAX * 7 / 8;
        let depth = (0..48).find(|&depth| fits(depth)).unwrap_or(0);
        if self.len == 0 {
            return self.lay_out(depth, keys >> depth);
        }
        let mut index = 0;
        while index < self.segments.len() {
            match self.segments[index].depth < depth && self.can_split(index) {
                true => self.split(index),
                false => index += 1,
            }
        }
    }

    /// The segments of an empty database, all of one depth, each with room for so many keys in its table.
    fn lay_out(&mut self, depth: u8, keys_per_segment: usize) {
        let count = 1 << depth;
        self.depth = depth;
        self.directory = (0..count).collect();
        self.segments = (0..count).map(|_| Cow::new(Segment::with_room(depth, keys_per_segment))).collect();
        let count = self.segments.len();
        (self.next_expiry, self.next_field_expiry) = (vec![NEVER; count], vec![NEVER; count]);
        self.volatile = vec![0; count];
    }

    /// Into how many parts a loader divides the keys that it has yet to store: so many that those of one part share a few
    /// segments.
    pub fn partition_bits(&self) -> u32 {
        u32::from(self.depth).saturating_sub(PARTITION_SEGMENT_BITS).min(PARTITION_BITS_MAX)
    }

    /// The part that a key belongs to, by so many leading bits of its hash.
    pub fn partition_of(&self, key: &[u8], bits: u32) -> usize {
        if bits == 0 { 0 } else { (self.hash(key) >> (64 - bits)) as usize }
    }

    fn can_split(&self, index: usize) -> bool {
        self.segments[index].len() > 1 && self.segments[index].depth < 48
    }

    fn split(&mut self, index: usize) {
        let hasher = self.hasher.clone();
        let segment = self.segment_mut(index);
        let high = segment.split(|key| hasher.hash_one(key));
        let depth = segment.depth;
        if self.volatile[index] > 0 {
            let of_high = high.expires_len() as u16;
            self.volatile[index] -= of_high;
            self.volatile.push(of_high);
        } else {
            self.volatile.push(0);
        }
        if depth > self.depth {
            self.directory = self.directory.iter().flat_map(|&segment| [segment, segment]).collect();
            self.depth += 1;
        }
        let new = self.segments.len() as u32;
        let span = 1usize << (self.depth - depth);
        let places = self.places_of(index as u32, 2 * span);
        self.directory[places.start + span..places.end].fill(new);
        self.segments.push(Cow::new(high));
        self.next_expiry.push(self.next_expiry[index]);
        self.next_field_expiry.push(self.next_field_expiry[index]);
    }

    /// The directory's run of `span` places that name `segment`.
    fn places_of(&self, segment: u32, span: usize) -> std::ops::Range<usize> {
        let entry = self.segments[segment as usize].iter().map(|entry| entry.key).next();
        let start = match entry {
            Some(key) if self.depth > 0 => (self.hash(key) >> (64 - self.depth)) as usize / span * span,
            _ => {
                self.directory.iter().position(|&s| s == segment).expect("every segment has a place") / span
                    * span
            }
        };
        start..start + span
    }

    /// Unites a segment that has become small with its buddy, when that one is small too.
    fn merge(&mut self, index: usize) {
        let depth = self.segments[index].depth;
        if depth == 0 {
            return;
        }
        let span = 1usize << (self.depth - depth);
        let places = self.places_of(index as u32, span);
        let buddy_start = places.start ^ span;
        let buddy = self.directory[buddy_start] as usize;
        let together = self.segments[index].len() + self.segments[buddy].len();
        if self.segments[buddy].depth != depth || together > 2 * MERGE_BELOW {
            return;
        }
        let other = std::mem::take(&mut self.segments[buddy]).into_inner();
        let hasher = self.hasher.clone();
        self.segment_mut(index).merge(other, |key| hasher.hash_one(key));
        self.next_expiry[index] = self.next_expiry[index].min(self.next_expiry[buddy]);
        self.next_field_expiry[index] = self.next_field_expiry[index].min(self.next_field_expiry[buddy]);
        self.volatile[index] += self.volatile[buddy];
        self.directory[buddy_start..buddy_start + span].fill(index as u32);
        // The last segment takes the place of the one that is gone.
        let last = self.segments.len() - 1;
        if buddy != last {
            let span = 1usize << (self.depth - self.segments[last].depth);
            let places = self.places_of(last as u32, span);
            self.directory[places].fill(buddy as u32);
        }
        self.segments.swap_remove(buddy);
        self.next_expiry.swap_remove(buddy);
        self.next_field_expiry.swap_remove(buddy);
        self.volatile.swap_remove(buddy);
        self.shrink_directory();
    }

    /// Halves the directory while it is four times as large as its segments need.
    fn shrink_directory(&mut self) {
        while self.depth > 0 && self.directory.len() >= 8 * self.segments.len() {
            if self.segments.iter().any(|segment| segment.depth == self.depth) {
                return;
            }
            self.directory = self.directory.iter().step_by(2).copied().collect();
            self.depth -= 1;
        }
    }
}

/// For how many keys `reserve` makes room at most, for each that is there.
pub const RESERVED_PER_KEY_MAX: usize = 8;
/// The segments of so many keys take some 10 MB when they are empty.
const RESERVED_AT_ONCE_MAX: usize = 1 << 20;

/// A part of the keys to be stored covers so many segments, so that they stay in the processor's cache.
const PARTITION_SEGMENT_BITS: u32 = 4;
const PARTITION_BITS_MAX: u32 = 8;

/// A segment with fewer entries looks for a buddy to merge with.
const MERGE_BELOW: usize = 48;

/// Cursors are 48-bit prefixes of hashes, so that every client can hold one in a double or a signed integer.
const CURSOR_BITS: u64 = !0 << 16;

fn fold_cursor(hash: u64) -> u64 {
    hash >> 16
}

fn unfold_cursor(cursor: u64) -> u64 {
    cursor << 16
}

/// The first hash behind the segment of `depth` bits that holds `hash`; none at the end of the space.
fn segment_end(hash: u64, depth: u8) -> Option<u64> {
    if depth == 0 {
        return None;
    }
    ((hash >> (64 - depth)) + 1).checked_shl(64 - u32::from(depth)).filter(|&end| end > hash)
}

fn item(entry: Entry<'_>) -> Item<'_> {
    Item { key: entry.key, value: entry.value, expires_at: entry.expires_at, access: entry.access }
}
