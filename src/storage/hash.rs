//! The hash: packed field/value pairs while it is small ("listpack"), a table beyond ("hashtable").
//!
//! As in Redis, a hash that became a table stays one.

use super::{limits::EncodingLimits, packed, packed::Packed, packed::Span, table, table::Table};
use std::sync::Arc;

#[derive(Clone, Default)]
pub struct Hash {
    repr: Repr,
}

#[derive(Clone)]
enum Repr {
    /// A field, its value, the next field...
    Packed(Packed<false>),
    Table(Arc<Table>),
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

    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Packed(pairs) => pairs.len() / 2,
            Repr::Table(table) => table.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name that `OBJECT ENCODING` gives.
    pub fn encoding(&self) -> &'static str {
        match &self.repr {
            Repr::Packed(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match &self.repr {
            Repr::Packed(pairs) => pairs.find(field, 2).map(|found| pairs.value_at(found.end).0),
            Repr::Table(table) => table.get(field),
        }
    }

    /// Sets the field; true if it is new.
    pub fn insert(&mut self, field: &[u8], value: &[u8], limits: &EncodingLimits) -> bool {
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
            self.repr = Repr::Table(Arc::new(table));
        }
        let Repr::Table(table) = &mut self.repr else { unreachable!("converted above") };
        Table::insert_shared(table, field, value)
    }

    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.repr {
            Repr::Packed(pairs) => {
                let Some(Span { start, end }) = pairs.find(field, 2) else { return false };
                let end = pairs.value_at(end).1;
                pairs.splice(Span { start, end }, 2, &[]);
                true
            }
            Repr::Table(table) => Table::remove_shared(table, field),
        }
    }

    /// Removes the field and returns its value.
    pub fn take(&mut self, field: &[u8]) -> Option<Vec<u8>> {
        let value = self.get(field)?.to_vec();
        self.remove(field);
        Some(value)
    }

    pub fn iter(&self) -> Iter<'_> {
        match &self.repr {
            Repr::Packed(pairs) => Iter::Packed(pairs.iter()),
            Repr::Table(table) => Iter::Table(table.iter()),
        }
    }

    /// A pair drawn with equal chances.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<(&[u8], &[u8])> {
        match &self.repr {
            Repr::Packed(pairs) if pairs.is_empty() => None,
            Repr::Packed(_) => self.iter().nth(rng.usize(..self.len())),
            Repr::Table(table) => table.random(rng),
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

    /// Tells about `count` pairs from the cursor on and returns the next cursor, 0 after the last. A pair
    /// that is present from the first call to the last is told at least once. A small hash is told at once.
    pub fn scan(&self, cursor: u64, count: usize, mut tell: impl FnMut(&[u8], &[u8])) -> u64 {
        match &self.repr {
            Repr::Packed(_) => {
                self.iter().for_each(|(field, value)| tell(field, value));
                0
            }
            Repr::Table(table) => table.scan(cursor, count, tell),
        }
    }

    /// Where the large form lies, which a copy shares until either changes; none while it is small.
    pub fn large_root(&self) -> Option<*const ()> {
        match &self.repr {
            Repr::Table(root) => Some(Arc::as_ptr(root).cast()),
            Repr::Packed(_) => None,
        }
    }

    /// The bytes allocated for this hash, without the handle itself; takes a step per segment.
    pub fn memory_bytes(&self) -> usize {
        match &self.repr {
            Repr::Packed(pairs) => pairs.memory_bytes(),
            Repr::Table(table) => 16 + table.memory_bytes(),
        }
    }

    /// About how many allocations are freed with the hash.
    pub fn free_effort(&self) -> usize {
        match &self.repr {
            Repr::Packed(_) => 1,
            Repr::Table(table) => table.free_effort(),
        }
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy;
        f.debug_map().entries(self.iter().map(|(field, value)| (text(field), text(value)))).finish()
    }
}

/// The pairs of a hash, in no particular order.
#[derive(Clone)]
pub enum Iter<'a> {
    Packed(packed::Iter<'a, false>),
    Table(table::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Packed(entries) => Some((entries.next()?, entries.next()?)),
            Self::Table(pairs) => pairs.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            12 => (0u32..40).prop_map(|n| n.to_string().into_bytes()),
            1 => (0usize..3).prop_map(|n| vec![b'm'; 70 + n]),
            1 => (0usize..3).prop_map(|n| vec![b'l'; 249 + n]),
        ]
    }

    proptest! {
        #[test]
        fn a_hash_is_a_map_and_its_clones_never_change(
            steps in prop::collection::vec((0u8..12, text(), text()), 0..150), entries in 0usize..40
        ) {
            let limits = EncodingLimits { hash_max_listpack_entries: entries, ..EncodingLimits::default() };
            let (mut hash, mut model) = (Hash::new(), HashMap::new());
            let mut frozen = (hash.clone(), model.clone());
            for (kind, field, value) in steps {
                match kind {
                    0..7 => {
                        let new = model.insert(field.clone(), value.clone()).is_none();
                        prop_assert_eq!(hash.insert(&field, &value, &limits), new);
                    }
                    7..9 => prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
                    9..11 => prop_assert_eq!(hash.take(&field), model.remove(&field)),
                    _ => frozen = (hash.clone(), model.clone()),
                }
                for (hash, model) in [(&hash, &model), (&frozen.0, &frozen.1)] {
                    prop_assert_eq!(hash.len(), model.len());
                    prop_assert_eq!(hash.iter().count(), model.len());
                    for (field, value) in model {
                        prop_assert_eq!(hash.get(field), Some(&value[..]));
                    }
                }
            }
        }
    }

    #[test]
    fn the_handle_is_two_words() {
        assert!(size_of::<Hash>() <= 16);
    }

    #[test]
    fn a_hash_becomes_a_table_by_count_or_by_size() {
        let limits = EncodingLimits::default();
        let mut hash = Hash::new();
        for i in 0..512 {
            hash.insert(format!("f{i}").as_bytes(), b"v", &limits);
        }
        assert_eq!(hash.encoding(), "listpack");
        hash.insert(b"one more", b"v", &limits);
        assert_eq!(hash.encoding(), "hashtable");
        let mut hash = Hash::new();
        hash.insert(b"f", &[b'v'; 64], &limits);
        assert_eq!(hash.encoding(), "listpack");
        hash.insert(b"f", &[b'v'; 65], &limits);
        assert_eq!((hash.encoding(), hash.len()), ("hashtable", 1));
    }

    #[test]
    fn a_field_of_a_big_hash_costs_less_than_50_bytes() {
        let mut hash = Hash::new();
        for i in 0..100_000 {
            let (field, value) = (format!("field:{i:010}"), format!("value:{i:010}"));
            hash.insert(field.as_bytes(), value.as_bytes(), &EncodingLimits::default());
        }
        let bytes = hash.memory_bytes() as f64 / 100_000.0;
        assert!(bytes < 50.0, "{bytes}");
    }
}
