//! One database as a command sees it: at one instant, without what has expired by then.
//!
//! Every lookup goes through `LiveDb`, so no handler tests for expiry. What lookups find out on the way (keys that
//! expired, values to be freed elsewhere, hits and misses) is left in `Upkeep` for the dispatcher.

mod fields;

pub use fields::ExpiredFields;

use std::sync::Arc;

use smallvec::SmallVec;

use super::db::{Db, Displaced, Found, Item};
use super::embedded::Scratch;
use super::limits::EncodingLimits;
use super::segment::{NewValue, VALUE_INLINE_MAX};
use super::value::{Collection, Value, ValueRef, WrongType};
use crate::base::clock::UnixMillis;

/// What a lookup does with a key whose time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryPolicy {
    /// A master removes it and tells its replicas.
    Remove,
    /// A replica hides it from clients and waits for the master's DEL.
    Hide,
    /// Commands from the master, and loading, see it still.
    Ignore,
}

/// How an access changes a key's 24-bit stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessPolicy {
    /// Seconds, modulo 2^24.
    Lru { seconds: u32 },
    /// Minutes modulo 2^16, then a logarithmic counter; Redis' LFU.
    Lfu { minutes: u32, log_factor: u32, decay_minutes: u32 },
    /// CLIENT NO-TOUCH.
    Leave,
}

/// A new key's LFU counter, so that it is not evicted before it can be used again.
pub const LFU_INITIAL: u32 = 5;

impl AccessPolicy {
    /// The stamp of a key that is new.
    pub fn initial(self) -> u32 {
        match self {
            Self::Lru { seconds } => seconds & 0xff_ffff,
            Self::Lfu { minutes, .. } => (minutes & 0xffff) << 8 | LFU_INITIAL,
            Self::Leave => 0,
        }
    }

    /// The stamp of a key after one more access.
    fn touched(self, old: u32, rng: &mut fastrand::Rng) -> u32 {
        match self {
            Self::Lru { seconds } => seconds & 0xff_ffff,
            Self::Leave => old,
            Self::Lfu { minutes, log_factor, decay_minutes } => {
                let counter = decayed_counter(old, minutes, decay_minutes);
                let base = counter.saturating_sub(LFU_INITIAL);
                let chance = 1.0 / (f64::from(base) * f64::from(log_factor) + 1.0);
                let counter = if counter < 255 && rng.f64() < chance { counter + 1 } else { counter };
                (minutes & 0xffff) << 8 | counter
            }
        }
    }
}

/// The LFU counter of `stamp` after the minutes since its last access have worn it down.
pub fn decayed_counter(stamp: u32, minutes: u32, decay_minutes: u32) -> u32 {
    let elapsed = (minutes & 0xffff).wrapping_sub(stamp >> 8) & 0xffff;
    let lost = elapsed.checked_div(decay_minutes).unwrap_or(0);
    (stamp & 0xff).saturating_sub(lost)
}

/// What lookups and changes leave behind for the dispatcher.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// Keys that a lookup removed because their time had passed.
    pub expired: Vec<Vec<u8>>,
    /// Fields of hashes that were removed because their time had passed.
    pub expired_fields: Vec<ExpiredFields>,
    /// Long arguments of the requests that run now, copied before the engine was entered.
    pub copied: Vec<CopiedArg>,
    /// Values whose memory another thread should free.
    pub garbage: Vec<Value>,
    /// Whether it is worth knowing how much memory that is.
    pub measures_garbage: bool,
    /// An estimate of what `garbage` takes.
    pub garbage_bytes: u64,
    /// Removed while measuring, but held by a snapshot.
    pub held_bytes: u64,
    /// Whether `own_expiries` are wanted: on a replica that its own clients may write to.
    pub notes_expiries: bool,
    /// Keys that were given an expiry by others than the master.
    pub own_expiries: Vec<Vec<u8>>,
    pub hits: u64,
    pub misses: u64,
    /// Whether `missed` is wanted.
    pub notes_misses: bool,
    /// Keys that were asked for and are not there.
    pub missed: Vec<Vec<u8>>,
    /// The hashes of keys whose collection was taken out of its entry, or is new: to be embedded when the command is over.
    pub taken_out: SmallVec<[u64; 4]>,
    /// Keys of values that something is left to be cleaned up in: `Db::sweep`.
    pub to_sweep: Vec<Vec<u8>>,
    /// Where embedded collections are unfolded.
    pub scratch: Scratch,
}

/// A long argument's copy, for a command that stores it.
#[derive(Debug)]
pub struct CopiedArg {
    /// Where the argument itself lies while its request runs.
    address: usize,
    copy: Vec<u8>,
}

impl CopiedArg {
    pub fn new(arg: &[u8]) -> Self {
        Self { address: arg.as_ptr().addr(), copy: arg.to_vec() }
    }
}

/// Values that take more allocations than this to free go to another thread.
const FREE_EFFORT_INLINE_MAX: usize = 32;

impl Upkeep {
    /// The copy of these bytes, if they are an argument of which there is one.
    fn take_copy(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let address = bytes.as_ptr().addr();
        let at =
            self.copied.iter().position(|arg| arg.address == address && arg.copy.len() == bytes.len())?;
        Some(self.copied.swap_remove(at).copy)
    }

    fn miss(&mut self, key: &[u8]) {
        self.misses += 1;
        if self.notes_misses {
            self.missed.push(key.to_vec());
        }
    }

    /// Takes a value that is no longer in the data set.
    pub fn discard(&mut self, value: Option<Value>) {
        let Some(value) = value else { return };
        if self.measures_garbage && value.is_shared() {
            self.held_bytes += value.as_ref().memory_bytes() as u64;
        } else if value.as_ref().free_effort() > FREE_EFFORT_INLINE_MAX {
            if self.measures_garbage {
                self.garbage_bytes += value.as_ref().memory_bytes() as u64;
            }
            self.garbage.push(value);
        }
    }
}

/// The instant and the rules under which a command looks at a database.
#[derive(Debug)]
pub struct View<'a> {
    pub now: UnixMillis,
    pub expiry: ExpiryPolicy,
    pub access: AccessPolicy,
    pub limits: &'a EncodingLimits,
}

/// One database at one instant.
#[derive(Debug)]
pub struct LiveDb<'a> {
    db: &'a mut Db,
    now: UnixMillis,
    expiry: ExpiryPolicy,
    access: AccessPolicy,
    pub limits: &'a EncodingLimits,
    rng: &'a mut fastrand::Rng,
    upkeep: &'a mut Upkeep,
}

/// A string value: as an integer where it is stored as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StringRef<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> StringRef<'a> {
    /// The bytes, formatted into `buffer` for an integer.
    pub fn as_bytes<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Int(n) => buffer.format(n).as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.as_bytes(&mut itoa::Buffer::new()).to_vec()
    }
}

/// What happens to a key's expiry when its value is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewExpiry {
    Clear,
    Keep,
    At(UnixMillis),
}

impl<'a> LiveDb<'a> {
    pub fn new(db: &'a mut Db, view: View<'a>, rng: &'a mut fastrand::Rng, upkeep: &'a mut Upkeep) -> Self {
        Self { db, now: view.now, expiry: view.expiry, access: view.access, limits: view.limits, rng, upkeep }
    }

    /// The instant at which the database is seen.
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// Whether `take_expired`, `take_missed` or `take_expired_fields` has something to tell.
    pub fn has_notes(&self) -> bool {
        let upkeep = &self.upkeep;
        !(upkeep.expired.is_empty() && upkeep.missed.is_empty() && upkeep.expired_fields.is_empty())
    }

    /// The keys that lookups have removed so far because their time had passed.
    pub fn take_expired(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.upkeep.expired)
    }

    /// The keys that were asked for so far and are not there, where somebody wants to know.
    pub fn take_missed(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.upkeep.missed)
    }

    /// Keys, those included that are due to expire but were not looked at since.
    pub fn len(&self) -> usize {
        self.db.len()
    }

    pub fn is_empty(&self) -> bool {
        self.db.is_empty()
    }

    /// Begins to load what lookups of these keys will read, so that their cache misses overlap. Of at most
    /// [`PREFETCH_KEYS_MAX`] keys; worth it from two on.
    pub fn prefetch<'k>(&self, keys: impl ExactSizeIterator<Item = &'k [u8]>) {
        if keys.len() > 1 {
            self.db.prefetch(keys.map(|key| (key, None)));
        }
    }

    /// The value at `key`, for a command that reads: counts as a hit or a miss, and as an access.
    pub fn get(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        match self.find(key) {
            Some(found) => {
                self.upkeep.hits += 1;
                let (access, rng) = (self.access, &mut *self.rng);
                self.db.touch(found, |old| access.touched(old, rng));
                Some(self.upkeep.scratch.unfold(self.db.entry(found).value))
            }
            None => {
                self.upkeep.miss(key);
                None
            }
        }
    }

    /// The value at `key` without a trace: no hit, no miss, no access.
    pub fn peek(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        let found = self.find(key)?;
        Some(self.upkeep.scratch.unfold(self.db.entry(found).value))
    }

    /// Counts a hit or a miss of `key`, but neither an access nor a miss to be told of.
    pub fn count_lookup(&mut self, key: &[u8]) {
        match self.find(key) {
            Some(_) => self.upkeep.hits += 1,
            None => self.upkeep.misses += 1,
        }
    }

    /// The value at `key`, for a command that asks about it only: counts as a hit or a miss, but not as an access.
    pub fn look(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        match self.find(key) {
            Some(found) => {
                self.upkeep.hits += 1;
                Some(self.upkeep.scratch.unfold(self.db.entry(found).value))
            }
            None => {
                self.upkeep.miss(key);
                None
            }
        }
    }

    /// Counts an access, but no hit or miss, as a command does that changes `key`; whether it is there.
    pub fn access(&mut self, key: &[u8]) -> bool {
        let Some(found) = self.find(key) else { return false };
        let (access, rng) = (self.access, &mut *self.rng);
        self.db.touch(found, |old| access.touched(old, rng));
        true
    }

    /// Whether keys are removed when their time has passed, as a master does.
    pub fn removes_expired(&self) -> bool {
        self.expiry == ExpiryPolicy::Remove
    }

    /// From here on lookups see keys whose time has passed too.
    pub fn see_expired(&mut self) {
        self.expiry = ExpiryPolicy::Ignore;
    }

    pub fn contains(&mut self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// The string at `key`, for a command that reads.
    pub fn string(&mut self, key: &[u8]) -> Result<Option<StringRef<'_>>, WrongType> {
        as_string(self.get(key))
    }

    /// The string at `key`, for a command that will replace it.
    pub fn peek_string(&mut self, key: &[u8]) -> Result<Option<StringRef<'_>>, WrongType> {
        as_string(self.peek(key))
    }

    /// The collection at `key`, for a command that reads.
    pub fn read<T: Collection + 'static>(&mut self, key: &[u8]) -> Result<Option<&T>, WrongType> {
        match self.find(key) {
            Some(found) => {
                self.upkeep.hits += 1;
                let (access, rng) = (self.access, &mut *self.rng);
                self.db.touch(found, |old| access.touched(old, rng));
                let value = match (self.db.object(found), self.db.entry(found).value) {
                    (None, ValueRef::Embedded(embedded)) => Some(self.upkeep.scratch.fill(embedded)),
                    (object, _) => object,
                };
                value.and_then(T::of).map(Some).ok_or(WrongType)
            }
            None => {
                self.upkeep.miss(key);
                Ok(None)
            }
        }
    }

    /// The collection at `key`, to be changed.
    pub fn write<T: Collection + 'static>(&mut self, key: &[u8]) -> Result<Option<&mut T>, WrongType> {
        match self.find(key) {
            Some(found) => self.write_found(found).map(Some),
            None => Ok(None),
        }
    }

    /// The collection at `key`, created when there is none.
    pub fn write_or_create<T: Collection + 'static>(&mut self, key: &[u8]) -> Result<&mut T, WrongType> {
        if let Some(found) = self.find(key) {
            return self.write_found(found);
        }
        let access = self.access.initial();
        self.db.put_value(key, T::default().into_value(), None, access);
        let found = self.db.find(key).expect("the key was just put");
        self.upkeep.taken_out.push(self.db.hash(key));
        self.write_found(found)
    }

    /// Removes `key` if its collection has become empty; whether it was.
    pub fn remove_if_empty<T: Collection + 'static>(&mut self, key: &[u8]) -> bool {
        let Some(found) = self.db.find(key) else { return false };
        if !self.db.object(found).and_then(T::of).is_some_and(T::is_empty) {
            return false;
        }
        let object = self.db.remove(found);
        self.upkeep.discard(object);
        true
    }

    /// Replaces whatever is at `key` by a string, stored as an integer where it is one.
    pub fn set_string(&mut self, key: &[u8], bytes: &[u8], expiry: NewExpiry) {
        self.store_string(key, bytes, false, expiry);
    }

    /// Replaces whatever is at `key` by a string that stays text even where it reads as an integer.
    pub fn set_text(&mut self, key: &[u8], bytes: &[u8], expiry: NewExpiry) {
        let expires_at = self.expiry_of(key, expiry);
        let access = self.access_of_overwritten(key);
        let value = if bytes.len() <= VALUE_INLINE_MAX {
            NewValue::Inline { bytes, raw: false }
        } else {
            NewValue::Object(Value::string(bytes))
        };
        let displaced = self.db.put(key, value, expires_at, access);
        self.displace(key, displaced);
    }

    /// Replaces the value of `key` by a string that was put together in place (Redis' `raw` encoding); keeps its expiry.
    pub fn set_raw_string(&mut self, key: &[u8], bytes: &[u8]) {
        self.store_string(key, bytes, true, NewExpiry::Keep);
    }

    /// Replaces whatever is at `key` by a string that was put together elsewhere (Redis' `raw` encoding).
    pub fn set_raw_bytes(&mut self, key: &[u8], bytes: Vec<u8>) {
        let access = self.access_of_overwritten(key);
        let displaced = self.db.put_raw_string(key, bytes, None, access);
        self.displace(key, displaced);
    }

    /// Replaces the value of `key` by an integer.
    pub fn set_integer(&mut self, key: &[u8], n: i64, expiry: NewExpiry) {
        let expires_at = self.expiry_of(key, expiry);
        let access = self.access_of_overwritten(key);
        let displaced = self.db.put_integer(key, n, expires_at, access);
        self.displace(key, displaced);
    }

    /// Replaces the string at `key` by the integer that `change` makes of it; keeps its expiry.
    pub fn update_integer<E: From<WrongType>>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(Option<StringRef<'_>>) -> Result<i64, E>,
    ) -> Result<i64, E> {
        let Some(found) = self.find(key) else {
            let n = change(None)?;
            let access = self.access.initial();
            self.db.put_integer(key, n, None, access);
            return Ok(n);
        };
        let entry = self.db.entry(found);
        let (old, expires_at) = (as_string(Some(entry.value))?, entry.expires_at);
        let is_integer = matches!(old, Some(StringRef::Int(_)));
        let n = change(old)?;
        if is_integer {
            self.db.set_integer(found, n);
            let (access, rng) = (self.access, &mut *self.rng);
            self.db.touch(found, |old| access.touched(old, rng));
        } else {
            let access = self.access_of_overwritten(key);
            let displaced = self.db.put_integer(key, n, expires_at, access);
            self.displace(key, displaced);
        }
        Ok(n)
    }

    /// Changes the string at `key` (empty, if there is none) as bytes; keeps its expiry. A long one is changed in place.
    pub fn update_string<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> Result<R, WrongType> {
        let found = self.find(key);
        if let Some(found) = found
            && let Some(value) = self.db.object_mut_if_string(found)?
        {
            let result = change(value);
            let (access, rng) = (self.access, &mut *self.rng);
            self.db.touch(found, |old| access.touched(old, rng));
            return Ok(result);
        }
        let mut bytes = match found {
            Some(_) => self.peek_string(key)?.map(StringRef::to_vec).unwrap_or_default(),
            None => Vec::new(),
        };
        let result = change(&mut bytes);
        let expires_at = self.expiry_of(key, NewExpiry::Keep);
        let access = self.access_of_overwritten(key);
        let displaced = self.db.put_raw_string(key, bytes, expires_at, access);
        self.displace(key, displaced);
        Ok(result)
    }

    /// Replaces whatever is at `key`.
    pub fn insert(&mut self, key: &[u8], value: Value, expires_at: Option<UnixMillis>) {
        if value.is_unswept() {
            self.sweep_later(key);
        }
        let access = self.access.initial();
        if expires_at.is_some() {
            self.note_expiry(key);
        }
        let displaced = self.db.put_value(key, value, expires_at.map(|at| at.0), access);
        self.displace(key, displaced);
    }

    /// The same for a string.
    pub fn insert_string(&mut self, key: &[u8], bytes: &[u8], expires_at: Option<UnixMillis>) {
        if expires_at.is_some() {
            self.note_expiry(key);
        }
        let access = self.access.initial();
        let displaced = self.db.put_string(key, bytes, false, expires_at.map(|at| at.0), access);
        self.displace(key, displaced);
    }

    /// Lets another thread free what a removal of many elements has left.
    pub fn discard(&mut self, rest: Option<impl Collection>) {
        self.upkeep.discard(rest.map(Collection::into_value));
    }

    /// Cleans up behind a removal of many elements from the value at `key`, which has left `rest` to be freed.
    pub fn clean_up(&mut self, key: &[u8], rest: Option<impl Collection>) {
        self.discard(rest);
        let found = self.db.find(key);
        if found.and_then(|found| self.db.object(found)).is_some_and(Value::is_unswept) {
            self.sweep_later(key);
        }
    }

    /// Asks for `Db::sweep` of the value at `key`.
    fn sweep_later(&mut self, key: &[u8]) {
        self.upkeep.to_sweep.push(key.to_vec());
    }

    /// The string at `key`, shared with it; none unless it is a long one.
    pub fn shared_string(&mut self, key: &[u8]) -> Option<Arc<Vec<u8>>> {
        let found = self.find(key)?;
        match self.db.object(found)? {
            Value::String(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// Removes `key`; whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(found) = self.find(key) else { return false };
        let object = self.db.remove(found);
        self.upkeep.discard(object);
        true
    }

    /// Removes `key`, whose time has passed, whatever the policy is.
    pub fn expire(&mut self, key: &[u8]) {
        self.expiry = ExpiryPolicy::Remove;
        self.find(key);
    }

    /// Removes `key` to make room; whether it was there. Memory that its segment does not need any more is given back.
    pub fn evict(&mut self, key: &[u8]) -> bool {
        let Some(found) = self.db.find(key) else { return false };
        let object = self.db.remove(found);
        self.db.give_back(key);
        self.upkeep.discard(object);
        true
    }

    /// Takes a key's value and expiry out of the database.
    pub fn take(&mut self, key: &[u8]) -> Option<(Value, Option<UnixMillis>)> {
        let found = self.find(key)?;
        let entry = self.db.entry(found);
        let expires_at = entry.expires_at.map(UnixMillis);
        let inline = match entry.value {
            value @ (ValueRef::Int(_) | ValueRef::Str(_) | ValueRef::Embedded(_)) => Some(value),
            _ => None,
        };
        let inline = inline.map(|value| value.to_value());
        let object = self.db.remove(found);
        Some((object.or(inline)?, expires_at))
    }

    /// A copy of the value and the expiry of `key`; collections share their chunks with it.
    pub fn copy_of(&mut self, key: &[u8]) -> Option<(Value, Option<UnixMillis>)> {
        let found = self.find(key)?;
        let entry = self.db.entry(found);
        let value = self.db.object(found).cloned().unwrap_or_else(|| entry.value.to_value());
        Some((value, entry.expires_at.map(UnixMillis)))
    }

    /// How many elements the collection at `key` has, without a trace of the question: see `ValueRef::elements_len`.
    pub fn elements_len(&mut self, key: &[u8]) -> usize {
        self.find(key).map_or(0, |found| self.db.entry(found).value.elements_len())
    }

    /// The database as it stands, those keys included that are due to expire.
    pub fn frozen(&self) -> Db {
        self.db.clone()
    }

    /// A database with these keys alone, as far as they are there; collections share their chunks with it.
    pub fn frozen_keys<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) -> Db {
        let mut frozen = self.db.emptied();
        for key in keys {
            if let Some((value, expires_at)) = self.copy_of(key) {
                frozen.load(key, value, expires_at.map(|at| at.0));
            }
        }
        frozen
    }

    /// The expiry of `key`: none if the key is missing, `Some(None)` if it never expires.
    pub fn expires_at(&mut self, key: &[u8]) -> Option<Option<UnixMillis>> {
        let found = self.find(key)?;
        Some(self.db.expires_at(found).map(UnixMillis))
    }

    /// Sets or clears the expiry of a key; whether the key is there.
    pub fn set_expires_at(&mut self, key: &[u8], expires_at: Option<UnixMillis>) -> bool {
        if self.find(key).is_none() {
            return false;
        }
        if expires_at.is_some() {
            self.note_expiry(key);
        }
        self.db.set_expires_at(key, expires_at.map(|at| at.0));
        true
    }

    /// The name of the encoding of the value at `key`, as OBJECT ENCODING answers it.
    pub fn encoding(&mut self, key: &[u8]) -> Option<&'static str> {
        /// Redis keeps strings up to this length in one allocation with their header.
        const EMBEDDED_MAX: usize = 44;
        let found = self.find(key)?;
        let entry = self.db.entry(found);
        Some(match entry.value {
            ValueRef::Int(_) => "int",
            ValueRef::Str(bytes) if entry.is_raw || bytes.len() > EMBEDDED_MAX => "raw",
            ValueRef::Str(_) => "embstr",
            ValueRef::List(list) => list.encoding(),
            ValueRef::Embedded(_) => "listpack",
            ValueRef::Hash(hash) => hash.encoding(),
            ValueRef::Set(set) => set.encoding(),
            ValueRef::SortedSet(sorted_set) => sorted_set.encoding(),
            ValueRef::Stream(_) => "stream",
        })
    }

    /// The 24-bit access stamp of `key`.
    pub fn access_stamp(&mut self, key: &[u8]) -> Option<u32> {
        let found = self.find(key)?;
        Some(self.db.entry(found).access)
    }

    /// Overwrites the access stamp of `key`, as RESTORE and a loader do.
    pub fn set_access_stamp(&mut self, key: &[u8], stamp: u32) {
        if let Some(found) = self.find(key) {
            self.db.set_access(found, stamp);
        }
    }

    /// Counts an access to `key` as TOUCH does; whether it is there.
    pub fn touch(&mut self, key: &[u8], access: AccessPolicy) -> bool {
        let usual = std::mem::replace(&mut self.access, access);
        let is_there = self.get(key).is_some();
        self.access = usual;
        is_there
    }

    /// Bytes that `key` takes, with its value and its share of the table.
    pub fn memory_bytes(&mut self, key: &[u8]) -> Option<usize> {
        let found = self.find(key)?;
        Some(self.db.entry_bytes(found) + self.db.entry(found).value.memory_bytes())
    }

    /// A key chosen uniformly among those that have not expired.
    pub fn random_key(&mut self) -> Option<Vec<u8>> {
        for _ in 0..100 {
            let key = self.db.random_key(self.rng)?;
            if self.contains(&key) {
                return Some(key);
            }
        }
        // Nearly all are due to expire: the first that is not will do.
        let now = self.now.0;
        let live = self.db.iter().find(|item| !is_due(item, now)).map(|item| item.key.to_vec());
        // Who may not remove what has expired names one of these keys, as Redis does.
        live.or_else(|| if self.removes_expired() { None } else { self.db.random_key(self.rng) })
    }

    /// Calls `f` for about `count` keys from `cursor` on; answers the next cursor, 0 at the end. See `Db::scan`.
    pub fn scan(&self, cursor: u64, count: usize, mut f: impl FnMut(Item<'_>)) -> u64 {
        self.db.scan(cursor, count, |item| {
            if self.expiry == ExpiryPolicy::Ignore || !is_due(&item, self.now.0) {
                f(item);
            }
        })
    }

    /// Does as `scan`, and removes what it finds expired where that is to be.
    pub fn scan_live(&mut self, cursor: u64, count: usize, mut f: impl FnMut(Item<'_>)) -> u64 {
        let mut due = Vec::new();
        let next = self.db.scan(cursor, count, |item| {
            if self.expiry == ExpiryPolicy::Ignore || !is_due(&item, self.now.0) {
                f(item);
            } else {
                due.push(item.key.to_vec());
            }
        });
        for key in due {
            self.find(&key);
        }
        next
    }

    /// Every key that has not expired.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        self.db.iter().filter(|item| self.expiry == ExpiryPolicy::Ignore || !is_due(item, self.now.0))
    }

    fn write_found<T: Collection + 'static>(&mut self, found: Found) -> Result<&mut T, WrongType> {
        // The type is checked on the shared segment: a command that fails copies nothing.
        self.expect_type::<T>(found)?;
        let (access, rng) = (self.access, &mut *self.rng);
        self.db.touch(found, |old| access.touched(old, rng));
        self.take_out(found);
        self.db.object_mut(found).and_then(T::of_mut).ok_or(WrongType)
    }

    /// Whether there is a collection of this type.
    fn expect_type<T: Collection>(&mut self, found: Found) -> Result<(), WrongType> {
        let value = match (self.db.object(found), self.db.entry(found).value) {
            (None, ValueRef::Embedded(embedded)) if T::EMBEDDED == Some(embedded.kind) => return Ok(()),
            (object, _) => object,
        };
        value.and_then(T::of).map(|_| ()).ok_or(WrongType)
    }

    /// Makes an object of a collection that lies in its entry, until the command is over.
    fn take_out(&mut self, found: Found) {
        let entry = self.db.entry(found);
        let ValueRef::Embedded(embedded) = entry.value else { return };
        let scratch = &mut self.upkeep.scratch;
        scratch.fill(embedded);
        self.upkeep.taken_out.push(self.db.hash(entry.key));
        self.db.take_out(found, scratch.take(embedded.kind));
    }

    fn find(&mut self, key: &[u8]) -> Option<Found> {
        let found = self.db.find(key)?;
        match self.db.expires_at(found) {
            Some(at) if at <= self.now.0 => match self.expiry {
                ExpiryPolicy::Ignore => Some(found),
                ExpiryPolicy::Hide => None,
                ExpiryPolicy::Remove => {
                    let object = self.db.remove(found);
                    self.upkeep.discard(object);
                    self.upkeep.expired.push(key.to_vec());
                    None
                }
            },
            _ => Some(found),
        }
    }

    /// The stamp of a string that is about to replace what is at `key`: how often a key is used outlives its value, when
    /// it was last used does not.
    fn access_of_overwritten(&mut self, key: &[u8]) -> u32 {
        if !matches!(self.access, AccessPolicy::Lfu { .. }) {
            return self.access.initial();
        }
        match self.db.find(key).map(|found| self.db.entry(found)) {
            Some(entry) if entry.expires_at.is_none_or(|at| at > self.now.0) => {
                self.access.touched(entry.access, self.rng)
            }
            _ => self.access.initial(),
        }
    }

    fn store_string(&mut self, key: &[u8], bytes: &[u8], raw: bool, expiry: NewExpiry) {
        let expires_at = self.expiry_of(key, expiry);
        let access = self.access_of_overwritten(key);
        let displaced = match self.upkeep.take_copy(bytes) {
            Some(copy) => self.db.put_raw_string(key, copy, expires_at, access),
            None => self.db.put_string(key, bytes, raw, expires_at, access),
        };
        self.displace(key, displaced);
    }

    /// Takes care of what a new value of `key` has displaced. That may be a key whose time had passed, which counts as
    /// expired although no lookup has come upon it.
    fn displace(&mut self, key: &[u8], displaced: Displaced) {
        if let Some(at) = displaced.expires_at
            && at <= self.now.0
            && self.expiry == ExpiryPolicy::Remove
        {
            self.upkeep.expired.push(key.to_vec());
        }
        if displaced.object.is_some() {
            self.upkeep.discard(displaced.object);
        }
    }

    /// On a replica: the master will not tell when this key is to go.
    fn note_expiry(&mut self, key: &[u8]) {
        if self.upkeep.notes_expiries && self.expiry == ExpiryPolicy::Hide {
            self.upkeep.own_expiries.push(key.to_vec());
        }
    }

    fn expiry_of(&mut self, key: &[u8], expiry: NewExpiry) -> Option<i64> {
        match expiry {
            NewExpiry::Clear => None,
            NewExpiry::At(at) => {
                self.note_expiry(key);
                Some(at.0)
            }
            NewExpiry::Keep => self.expires_at(key).flatten().map(|at| at.0),
        }
    }
}

fn is_due(item: &Item<'_>, now: i64) -> bool {
    item.expires_at.is_some_and(|at| at <= now)
}

fn as_string(value: Option<ValueRef<'_>>) -> Result<Option<StringRef<'_>>, WrongType> {
    match value {
        None => Ok(None),
        Some(ValueRef::Int(n)) => Ok(Some(StringRef::Int(n))),
        Some(ValueRef::Str(bytes)) => Ok(Some(StringRef::Bytes(bytes))),
        Some(_) => Err(WrongType),
    }
}
