//! The hash: packed field/value pairs while it is small ("listpack"), a table beyond ("hashtable").
//!
//! As in Redis, a hash that became a table stays one. A hash of whose fields one expires is of another form (`volatile`),
//! so that the others pay nothing for it.

mod volatile;

use super::cow::Cow;
use super::{limits::EncodingLimits, packed, packed::Packed, packed::Span, table, table::Table};
use volatile::{Triples, Volatile};

pub use volatile::{FieldExpiry, NEVER};

#[derive(Clone, Default)]
pub struct Hash {
    repr: Repr,
}

#[derive(Clone)]
enum Repr {
    /// A field, its value, the next field...
    Packed(Packed<false>),
    Large(Cow<Large>),
}

#[derive(Clone)]
enum Large {
    Table(Table),
    /// Perhaps small, for all its name: the form of hashes with fields that expire.
    Volatile(Volatile),
}

/// The form of a hash, to be looked at.
enum Form<'a> {
    Packed(&'a Packed<false>),
    Table(&'a Table),
    Volatile(&'a Volatile),
}

/// What a field is at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    Missing,
    /// Its time has passed, and nobody has removed it yet.
    Due,
    Live(&'a [u8]),
}

impl<'a> Field<'a> {
    pub fn live(self) -> Option<&'a [u8]> {
        if let Self::Live(value) = self { Some(value) } else { None }
    }
}

impl Default for Repr {
    fn default() -> Self {
        Self::Packed(Packed::default())
    }
}

impl Hash {
    pub fn new() -> Self {
        Self::default()
    }

    /// The small hash of these strings (a field, its value, the next field...), put together at once; none if it is not
    /// small, or a field is there twice.
    pub fn of_strings(strings: &[&[u8]], limits: &EncodingLimits) -> Option<Self> {
        let is_small = strings.len() / 2 <= limits.hash_max_listpack_entries
            && strings.iter().all(|string| string.len() <= limits.hash_max_listpack_value);
        let fields = || strings.iter().step_by(2);
        let is_new = |(index, field): (usize, &&[u8])| !fields().take(index).any(|before| before == field);
        (is_small && fields().enumerate().all(is_new))
            .then(|| Self { repr: Repr::Packed(Packed::from_values(strings)) })
    }

    /// Fields, those included that are due but were not removed yet.
    pub fn len(&self) -> usize {
        match self.form() {
            Form::Packed(pairs) => pairs.len() / 2,
            Form::Table(table) => table.len(),
            Form::Volatile(volatile) => volatile.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name that `OBJECT ENCODING` gives.
    pub fn encoding(&self) -> &'static str {
        match self.form() {
            Form::Packed(_) => "listpack",
            Form::Table(_) => "hashtable",
            Form::Volatile(volatile) => volatile.encoding(),
        }
    }

    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// The value of the field, whether it is due or not.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match self.form() {
            Form::Packed(pairs) => pairs.find(field, 2).map(|found| pairs.value_at(found.end).0),
            Form::Table(table) => table.get(field),
            Form::Volatile(volatile) => volatile.get(field),
        }
    }

    /// The field as it is when all expiries up to `horizon` have passed.
    pub fn find(&self, field: &[u8], horizon: i64) -> Field<'_> {
        match self.get(field) {
            None => Field::Missing,
            Some(_) if self.is_due(field, horizon) => Field::Due,
            Some(value) => Field::Live(value),
        }
    }

    /// The number of fields and values, and their bytes, of a hash in its packed form.
    pub(super) fn packed_entries(&self) -> Option<(usize, &[u8])> {
        match &self.repr {
            Repr::Packed(pairs) => Some((pairs.len(), pairs.entries())),
            Repr::Large(_) => None,
        }
    }

    /// Becomes the hash that has such a packed form.
    pub(super) fn fill_packed(&mut self, count: usize, entries: &[u8]) {
        if let Repr::Large(_) = self.repr {
            self.repr = Repr::default();
        }
        if let Repr::Packed(pairs) = &mut self.repr {
            pairs.fill(count, entries);
        }
    }

    /// Sets the field, whose expiry is cleared; true if it is new.
    pub fn insert(&mut self, field: &[u8], value: &[u8], limits: &EncodingLimits) -> bool {
        self.set(field, value, FieldExpiry::Clear, limits)
    }

    /// Sets the field; true if it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], expiry: FieldExpiry, limits: &EncodingLimits) -> bool {
        if let Repr::Packed(pairs) = &mut self.repr {
            let found = pairs.find(field, 2);
            let len = pairs.len() / 2 + usize::from(found.is_none());
            if len <= limits.hash_max_listpack_entries
                && field.len().max(value.len()) <= limits.hash_max_listpack_value
            {
                match found {
                    Some(found) => {
                        let (old, end) = pairs.value_at(found.end);
                        if old != value {
                            pairs.splice(Span { start: found.end, end }, 1, &[value]);
                        }
                    }
                    None => pairs.splice(pairs.back(), 0, &[field, value]),
                }
                return found.is_none();
            }
            let mut table = Table::new();
            let mut entries = pairs.iter();
            while let (Some(field), Some(value)) = (entries.next(), entries.next()) {
                table.insert(field, value);
            }
            self.repr = Repr::Large(Cow::new(Large::Table(table)));
        }
        // What changes nothing must not copy what is shared.
        let is_same = |hash: &Self| {
            hash.get(field) == Some(value) && (expiry == FieldExpiry::Keep || hash.expiry(field) == NEVER)
        };
        if self.is_shared() && is_same(self) {
            return false;
        }
        match self.large_mut() {
            Large::Table(table) => table.insert(field, value),
            Large::Volatile(volatile) => {
                let is_new = volatile.insert(field, value, expiry, limits);
                self.simplify();
                is_new
            }
        }
    }

    pub fn remove(&mut self, field: &[u8]) -> bool {
        if let Repr::Packed(pairs) = &mut self.repr {
            let Some(Span { start, end }) = pairs.find(field, 2) else { return false };
            let end = pairs.value_at(end).1;
            pairs.splice(Span { start, end }, 2, &[]);
            return true;
        }
        if self.is_shared() && !self.contains(field) {
            return false;
        }
        match self.large_mut() {
            Large::Table(table) => table.remove(field),
            Large::Volatile(volatile) => {
                let is_removed = volatile.remove(field);
                self.simplify();
                is_removed
            }
        }
    }

    /// Removes the field and returns its value.
    pub fn take(&mut self, field: &[u8]) -> Option<Vec<u8>> {
        let value = self.get(field)?.to_vec();
        self.remove(field);
        Some(value)
    }

    /// All pairs, those included that are due.
    pub fn iter(&self) -> Iter<'_> {
        match self.form() {
            Form::Packed(pairs) => Iter::Packed(pairs.iter()),
            Form::Table(table) => Iter::Table(table.iter()),
            Form::Volatile(Volatile::Packed(entries)) => Iter::Triples(Triples(entries.iter())),
            Form::Volatile(Volatile::Table(timed)) => Iter::Table(timed.table.iter()),
        }
    }

    /// The pairs that are left when all expiries up to `horizon` have passed: `live_len` of them.
    pub fn live(&self, horizon: i64) -> impl Iterator<Item = (&[u8], &[u8])> {
        let due = self.due_len(horizon);
        // In a packed list those that are due come first.
        let skipped = if let Form::Volatile(Volatile::Packed(_)) = self.form() { due } else { 0 };
        let is_looked_up = due > skipped;
        self.iter().skip(skipped).filter(move |(field, _)| !is_looked_up || !self.is_due(field, horizon))
    }

    pub fn live_len(&self, horizon: i64) -> usize {
        self.len() - self.due_len(horizon)
    }

    /// All pairs with their expiries, `NEVER` where there is none.
    pub fn timed(&self) -> Timed<'_> {
        match self.form() {
            Form::Volatile(Volatile::Packed(entries)) => Timed::Triples(entries.iter()),
            Form::Volatile(Volatile::Table(_)) => Timed::LookedUp(self, self.iter()),
            Form::Packed(_) | Form::Table(_) => Timed::Never(self.iter()),
        }
    }

    /// Whether a field expires.
    pub fn is_volatile(&self) -> bool {
        self.next_expiry() != NEVER
    }

    /// The earliest expiry of a field, in milliseconds since 1970; `NEVER` if none expires.
    pub fn next_expiry(&self) -> i64 {
        match self.form() {
            Form::Packed(_) | Form::Table(_) => NEVER,
            Form::Volatile(volatile) => volatile.next_expiry(),
        }
    }

    /// When the field expires; `NEVER` for one that does not, or is not there.
    pub fn expiry(&self, field: &[u8]) -> i64 {
        match self.form() {
            Form::Packed(_) | Form::Table(_) => NEVER,
            Form::Volatile(volatile) => volatile.expiry(field),
        }
    }

    /// Sets or, with `NEVER`, clears the expiry of a field; whether the field is there.
    pub fn set_expiry(&mut self, field: &[u8], at: i64) -> bool {
        if !self.contains(field) {
            return false;
        }
        if self.expiry(field) == at {
            return true;
        }
        if let Repr::Packed(pairs) = &self.repr {
            self.repr = Repr::Large(Cow::new(Large::Volatile(Volatile::from_pairs(pairs))));
        }
        let large = self.large_mut();
        if let Large::Table(table) = large {
            *large = Large::Volatile(Volatile::from_table(std::mem::take(table)));
        }
        let Large::Volatile(volatile) = large else { unreachable!("converted above") };
        volatile.set_expiry(field, at);
        self.simplify();
        true
    }

    /// Whether the field is there and expires at `horizon` or before.
    pub fn is_due(&self, field: &[u8], horizon: i64) -> bool {
        match self.form() {
            Form::Packed(_) | Form::Table(_) => false,
            Form::Volatile(volatile) => {
                volatile.next_expiry() <= horizon && volatile.expiry(field) <= horizon
            }
        }
    }

    /// How many fields expire at `horizon` or before.
    pub fn due_len(&self, horizon: i64) -> usize {
        match self.form() {
            Form::Packed(_) | Form::Table(_) => 0,
            Form::Volatile(volatile) => volatile.due_len(horizon),
        }
    }

    /// Up to `max` fields that expire at `horizon` or before, the earliest first.
    pub fn due_fields(&self, horizon: i64, max: usize) -> Vec<Vec<u8>> {
        match self.form() {
            Form::Packed(_) | Form::Table(_) => Vec::new(),
            Form::Volatile(volatile) => volatile.due_fields(horizon, max),
        }
    }

    /// A pair drawn with equal chances.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<(&[u8], &[u8])> {
        match self.table() {
            Some(table) => table.random(rng),
            None if self.is_empty() => None,
            None => self.iter().nth(rng.usize(..self.len())),
        }
    }

    /// `count` distinct pairs, or all if there are no more; every choice has the same chance.
    pub fn random_distinct(&self, count: usize, rng: &mut fastrand::Rng) -> Vec<(&[u8], &[u8])> {
        super::table::draw_distinct(self.len(), count, rng, || self.iter(), |rng| self.random(rng))
    }

    /// Draws `count` times, each time any pair with equal chances; an empty hash has none to tell.
    pub fn random_repeated(&self, count: usize, rng: &mut fastrand::Rng, tell: impl FnMut((&[u8], &[u8]))) {
        table::draw_repeated(self.len(), count, rng, || self.iter(), |rng| self.random(rng), tell);
    }

    /// Tells about `count` pairs from the cursor on, but for those that expire at `horizon` or before, and returns the
    /// next cursor, 0 after the last. A pair that is present from the first call to the last is told at least once. A
    /// small hash is told at once.
    pub fn scan(&self, cursor: u64, count: usize, horizon: i64, mut tell: impl FnMut(&[u8], &[u8])) -> u64 {
        let Some(table) = self.table() else {
            self.live(horizon).for_each(|(field, value)| tell(field, value));
            return 0;
        };
        table.scan(cursor, count, |field, value| {
            if !self.is_due(field, horizon) {
                tell(field, value);
            }
        })
    }

    /// Where the large form lies, which a copy shares until either changes; none while it is small.
    pub fn large_root(&self) -> Option<*const ()> {
        match &self.repr {
            Repr::Large(root) => Some(root.as_ptr().cast()),
            Repr::Packed(_) => None,
        }
    }

    /// The bytes allocated for this hash, without the handle itself; takes a step per segment.
    pub fn memory_bytes(&self) -> usize {
        match self.form() {
            Form::Packed(pairs) => pairs.memory_bytes(),
            Form::Table(table) => 16 + table.memory_bytes(),
            Form::Volatile(volatile) => 16 + size_of::<Large>() + volatile.memory_bytes(),
        }
    }

    /// About how many allocations are freed with the hash.
    pub fn free_effort(&self) -> usize {
        match self.form() {
            Form::Packed(_) => 1,
            Form::Table(table) => table.free_effort(),
            Form::Volatile(volatile) => volatile.free_effort(),
        }
    }

    fn form(&self) -> Form<'_> {
        match &self.repr {
            Repr::Packed(pairs) => Form::Packed(pairs),
            Repr::Large(large) => match &**large {
                Large::Table(table) => Form::Table(table),
                Large::Volatile(volatile) => Form::Volatile(volatile),
            },
        }
    }

    /// The table of a hash that has one.
    pub(super) fn table(&self) -> Option<&Table> {
        match self.form() {
            Form::Table(table) => Some(table),
            Form::Volatile(Volatile::Table(timed)) => Some(&timed.table),
            Form::Packed(_) | Form::Volatile(Volatile::Packed(_)) => None,
        }
    }

    fn is_shared(&self) -> bool {
        matches!(&self.repr, Repr::Large(large) if large.is_shared())
    }

    fn large_mut(&mut self) -> &mut Large {
        match &mut self.repr {
            Repr::Large(large) => large.make_mut(),
            Repr::Packed(_) => unreachable!("the caller has dealt with packed pairs"),
        }
    }

    /// Makes a plain table of one none of whose fields expires any more. A packed list stays what it is, as in Redis.
    fn simplify(&mut self) {
        let large = self.large_mut();
        if let Large::Volatile(volatile) = large
            && volatile.is_needless()
            && let Volatile::Table(timed) = volatile
        {
            *large = Large::Table(std::mem::take(&mut timed.table));
        }
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy;
        f.debug_map().entries(self.iter().map(|(field, value)| (text(field), text(value)))).finish()
    }
}

/// The pairs of a hash with the expiries of their fields.
pub enum Timed<'a> {
    Never(Iter<'a>),
    Triples(packed::Iter<'a, false>),
    LookedUp(&'a Hash, Iter<'a>),
}

impl<'a> Iterator for Timed<'a> {
    type Item = (&'a [u8], &'a [u8], i64);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Never(pairs) => pairs.next().map(|(field, value)| (field, value, NEVER)),
            Self::Triples(entries) => {
                Some((entries.next()?, entries.next()?, volatile::decode(entries.next()?)))
            }
            Self::LookedUp(hash, pairs) => {
                pairs.next().map(|(field, value)| (field, value, hash.expiry(field)))
            }
        }
    }
}

/// The pairs of a hash, in no particular order.
#[derive(Clone)]
pub enum Iter<'a> {
    Packed(packed::Iter<'a, false>),
    Triples(Triples<'a>),
    Table(table::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Packed(entries) => Some((entries.next()?, entries.next()?)),
            Self::Triples(triples) => triples.next(),
            Self::Table(pairs) => pairs.next(),
        }
    }
}

#[cfg(test)]
mod tests;
