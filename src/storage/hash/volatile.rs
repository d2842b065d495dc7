//! A hash some of whose fields expire.
//!
//! A small one is a packed list of triples in the order of their expiries, those without one behind: Redis' "listpackex",
//! in whose order clients see the fields. A large one is the table of any large hash beside a sorted set of the fields that
//! expire, whose scores are their instants. Both share their chunks with clones.
//!
//! Invariant: a field of the sorted set is in the table. Knows no time: a field is due when its expiry is at or before
//! the horizon that the caller names.

use super::super::limits::EncodingLimits;
use super::super::packed::{self, Packed, Span};
use super::super::sorted_set::{ScoreBound, SortedSet};
use super::super::table::Table;

/// The expiry of what has none.
pub const NEVER: i64 = i64::MAX;

/// Entries of the packed list for one field: its name, its value, its expiry.
const TRIPLE: usize = 3;

#[derive(Clone)]
pub(super) enum Volatile {
    /// An expiry is eight bytes, little-endian, or none.
    Packed(Packed<false>),
    Table(Box<TimedTable>),
}

#[derive(Clone)]
pub(super) struct TimedTable {
    pub table: Table,
    /// A score is an instant in milliseconds, which a double holds exactly for longer than the format allows.
    expiries: SortedSet,
}

/// What becomes of a field's expiry when its value is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldExpiry {
    Clear,
    Keep,
}

impl Volatile {
    /// A hash of these pairs, none of which expires yet.
    pub fn from_pairs(pairs: &Packed<false>) -> Self {
        let mut parts = Vec::with_capacity(pairs.len() / 2 * TRIPLE);
        let mut entries = pairs.iter();
        while let (Some(field), Some(value)) = (entries.next(), entries.next()) {
            parts.extend([field, value, &[]]);
        }
        Self::Packed(Packed::from_values(&parts))
    }

    pub fn from_table(table: Table) -> Self {
        Self::Table(Box::new(TimedTable { table, expiries: SortedSet::default() }))
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Packed(entries) => entries.len() / TRIPLE,
            Self::Table(timed) => timed.table.len(),
        }
    }

    /// The name that `OBJECT ENCODING` gives.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Packed(_) => "listpackex",
            Self::Table(_) => "hashtable",
        }
    }

    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Packed(entries) => entries.find(field, TRIPLE).map(|found| entries.value_at(found.end).0),
            Self::Table(timed) => timed.table.get(field),
        }
    }

    /// When the field expires; `NEVER` for one that does not, or is not there.
    pub fn expiry(&self, field: &[u8]) -> i64 {
        match self {
            Self::Packed(entries) => entries.find(field, TRIPLE).map_or(NEVER, |found| {
                let (_, value_end) = entries.value_at(found.end);
                decode(entries.value_at(value_end).0)
            }),
            Self::Table(timed) => timed.expiries.score(field).map_or(NEVER, |score| score as i64),
        }
    }

    /// The earliest expiry of all.
    pub fn next_expiry(&self) -> i64 {
        match self {
            Self::Packed(entries) => entries.iter().nth(TRIPLE - 1).map_or(NEVER, decode),
            Self::Table(timed) => timed.expiries.first().map_or(NEVER, |(_, score)| score as i64),
        }
    }

    /// How many fields are due.
    pub fn due_len(&self, horizon: i64) -> usize {
        match self {
            Self::Packed(entries) => expiries(entries).take_while(|&at| at != NEVER && at <= horizon).count(),
            Self::Table(timed) => timed.expiries.rank_of_bound(ScoreBound::Excluding(horizon as f64)),
        }
    }

    /// Up to `max` fields that are due, the earliest first.
    pub fn due_fields(&self, horizon: i64, max: usize) -> Vec<Vec<u8>> {
        let count = self.due_len(horizon).min(max);
        match self {
            Self::Packed(entries) => entries.iter().step_by(TRIPLE).take(count).map(<[u8]>::to_vec).collect(),
            Self::Table(timed) => timed.expiries.range(0..count).map(|(field, _)| field.to_vec()).collect(),
        }
    }

    /// Sets the field; true if it is new.
    pub fn insert(
        &mut self,
        field: &[u8],
        value: &[u8],
        expiry: FieldExpiry,
        limits: &EncodingLimits,
    ) -> bool {
        if let Self::Packed(entries) = self {
            let found = entries.find(field, TRIPLE);
            let len = entries.len() / TRIPLE + usize::from(found.is_none());
            if len <= limits.hash_max_listpack_entries
                && field.len().max(value.len()) <= limits.hash_max_listpack_value
            {
                match found {
                    Some(found) => replace(entries, found, field, value, expiry),
                    None => entries.splice(entries.back(), 0, &[field, value, &[]]),
                }
                return found.is_none();
            }
            *self = Self::Table(Box::new(TimedTable::from_triples(entries)));
        }
        let Self::Table(timed) = self else { unreachable!("converted above") };
        if expiry == FieldExpiry::Clear {
            timed.expiries.remove(field);
        }
        timed.table.insert(field, value)
    }

    /// Sets or, with `NEVER`, clears the expiry of a field; whether the field is there.
    pub fn set_expiry(&mut self, field: &[u8], at: i64) -> bool {
        match self {
            Self::Packed(entries) => {
                let Some(Span { start, end }) = entries.find(field, TRIPLE) else { return false };
                let (value, value_end) = entries.value_at(end);
                let (old, triple_end) = entries.value_at(value_end);
                if at == NEVER && old.is_empty() {
                    return true;
                }
                let value = value.to_vec();
                entries.splice(Span { start, end: triple_end }, TRIPLE, &[]);
                let place = place_of(entries, at);
                let (bytes, none) = (at.to_le_bytes(), [0u8; 0]);
                let expiry = if at == NEVER { &none[..] } else { &bytes[..] };
                entries.splice(place, 0, &[field, &value, expiry]);
                true
            }
            Self::Table(timed) => {
                if timed.table.get(field).is_none() {
                    return false;
                }
                if at == NEVER {
                    timed.expiries.remove(field);
                } else {
                    timed.expiries.insert(at as f64, field, &EncodingLimits::default());
                }
                true
            }
        }
    }

    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self {
            Self::Packed(entries) => {
                let Some(Span { start, end }) = entries.find(field, TRIPLE) else { return false };
                let end = entries.value_at(entries.value_at(end).1).1;
                entries.splice(Span { start, end }, TRIPLE, &[]);
                true
            }
            Self::Table(timed) => {
                timed.expiries.remove(field);
                timed.table.remove(field)
            }
        }
    }

    /// Whether it is a table none of whose fields expires any more, which a plain table holds as well.
    pub fn is_needless(&self) -> bool {
        matches!(self, Self::Table(timed) if timed.expiries.is_empty())
    }

    /// The bytes allocated, without the handle itself.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Packed(entries) => entries.memory_bytes(),
            Self::Table(timed) => {
                size_of::<TimedTable>() - size_of::<Table>()
                    + timed.table.memory_bytes()
                    + timed.expiries.memory_bytes()
            }
        }
    }

    /// About how many allocations are freed with the hash.
    pub fn free_effort(&self) -> usize {
        match self {
            Self::Packed(_) => 1,
            Self::Table(timed) => timed.table.free_effort() + timed.expiries.free_effort(),
        }
    }
}

impl TimedTable {
    fn from_triples(entries: &Packed<false>) -> Self {
        let mut timed = Self { table: Table::new(), expiries: SortedSet::default() };
        let mut entries = entries.iter();
        while let (Some(field), Some(value), Some(expiry)) = (entries.next(), entries.next(), entries.next())
        {
            timed.table.insert(field, value);
            if !expiry.is_empty() {
                timed.expiries.insert(decode(expiry) as f64, field, &EncodingLimits::default());
            }
        }
        timed
    }
}

/// The pairs of a packed list of triples.
#[derive(Clone)]
pub struct Triples<'a>(pub(super) packed::Iter<'a, false>);

impl<'a> Iterator for Triples<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let pair = (self.0.next()?, self.0.next()?);
        self.0.next()?;
        Some(pair)
    }
}

/// Replaces the value of the field at `found`. One whose expiry is cleared goes to the back, among those without.
fn replace(entries: &mut Packed<false>, found: Span, field: &[u8], value: &[u8], expiry: FieldExpiry) {
    let (old, value_end) = entries.value_at(found.end);
    let (at, triple_end) = entries.value_at(value_end);
    if at.is_empty() || expiry == FieldExpiry::Keep {
        if old != value {
            entries.splice(Span { start: found.end, end: value_end }, 1, &[value]);
        }
        return;
    }
    entries.splice(Span { start: found.start, end: triple_end }, TRIPLE, &[]);
    entries.splice(entries.back(), 0, &[field, value, &[]]);
}

/// The expiries in their order.
fn expiries(entries: &Packed<false>) -> impl Iterator<Item = i64> {
    entries.iter().skip(TRIPLE - 1).step_by(TRIPLE).map(decode)
}

/// The place before the first triple that expires no earlier.
fn place_of(entries: &Packed<false>, at: i64) -> Span {
    let back = entries.back();
    if at == NEVER {
        return back;
    }
    // The first entry is found where the list begins.
    let mut start =
        entries.get(0).and_then(|first| entries.find(first, TRIPLE)).map_or(back.end, |it| it.start);
    while start < back.end {
        let (_, value) = entries.value_at(start);
        let (_, expiry) = entries.value_at(value);
        let (expiry, next) = entries.value_at(expiry);
        if decode(expiry) >= at {
            break;
        }
        start = next;
    }
    Span { start, end: start }
}

/// The expiry that a list's third entry of a field stands for.
pub(super) fn decode(expiry: &[u8]) -> i64 {
    expiry.try_into().map_or(NEVER, i64::from_le_bytes)
}
