//! Small collections as bytes within their entry, as short strings are: without an allocation of their own a hash of ten
//! short fields takes two thirds of the memory.
//!
//! Reading fills a scratch value; writing takes the collection out of its entry (`LiveDb::write`), and when the command is
//! over the dispatcher puts it back if it is still small (`Db::embed`). Who looks at entries without a `LiveDb`, as a
//! snapshot does, meets [`Embedded`] and asks for a value of its own.
//!
//! Layout: how many strings there are (1 byte), then the entries of a [`Packed`](super::packed::Packed).

use super::hash::Hash;
use super::segment::VALUE_INLINE_MAX;
use super::set::Set;
use super::value::{Value, ValueRef};

/// What an embedded collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddedKind {
    Hash,
    Set,
}

/// A collection as it lies in its entry; never empty.
#[derive(Debug, Clone, Copy)]
pub struct Embedded<'a> {
    pub kind: EmbeddedKind,
    pub count: u8,
    /// The entries of a packed sequence of `count` strings.
    pub entries: &'a [u8],
}

impl<'a> Embedded<'a> {
    /// The form of a value that is small enough and has one.
    pub fn of(value: &'a Value) -> Option<Self> {
        let (kind, (count, entries)) = match value {
            Value::Hash(hash) => (EmbeddedKind::Hash, hash.packed_entries()?),
            Value::Set(set) => (EmbeddedKind::Set, set.packed_entries()?),
            _ => return None,
        };
        let count = u8::try_from(count).ok()?;
        let embedded = Self { kind, count, entries };
        (count > 0 && embedded.bytes_len() <= VALUE_INLINE_MAX).then_some(embedded)
    }

    /// Bytes in the entry.
    pub fn bytes_len(&self) -> usize {
        1 + self.entries.len()
    }

    pub fn type_name(&self) -> &'static str {
        match self.kind {
            EmbeddedKind::Hash => "hash",
            EmbeddedKind::Set => "set",
        }
    }

    pub fn to_value(self) -> Value {
        let mut scratch = Scratch::default();
        scratch.fill(self);
        scratch.take(self.kind)
    }
}

/// Where embedded collections are unfolded, over and over in the same memory.
#[derive(Debug)]
pub struct Scratch {
    hash: Value,
    set: Value,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { hash: Value::Hash(Hash::default()), set: Value::Set(Set::default()) }
    }
}

impl Scratch {
    fn of_kind(&mut self, kind: EmbeddedKind) -> &mut Value {
        match kind {
            EmbeddedKind::Hash => &mut self.hash,
            EmbeddedKind::Set => &mut self.set,
        }
    }

    /// Unfolds a collection; good until the next one of its kind.
    pub fn fill(&mut self, embedded: Embedded<'_>) -> &Value {
        let value = self.of_kind(embedded.kind);
        match value {
            Value::Hash(hash) => hash.fill_packed(usize::from(embedded.count), embedded.entries),
            Value::Set(set) => set.fill_packed(usize::from(embedded.count), embedded.entries),
            _ => unreachable!("a scratch value keeps its type"),
        }
        value
    }

    /// Takes the unfolded collection out, to become a value of the data set.
    pub fn take(&mut self, kind: EmbeddedKind) -> Value {
        let empty = match kind {
            EmbeddedKind::Hash => Value::Hash(Hash::default()),
            EmbeddedKind::Set => Value::Set(Set::default()),
        };
        std::mem::replace(self.of_kind(kind), empty)
    }

    /// Keeps the memory of a collection that was embedded, for the next one.
    pub fn give_back(&mut self, value: Value) {
        match &value {
            Value::Hash(_) => self.hash = value,
            Value::Set(_) => self.set = value,
            _ => {}
        }
    }

    /// A value as others than this module know it.
    pub fn unfold<'a>(&'a mut self, value: ValueRef<'a>) -> ValueRef<'a> {
        match value {
            ValueRef::Embedded(embedded) => self.fill(embedded).as_ref(),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::EncodingLimits;

    #[test]
    fn small_collections_come_out_as_they_went_in_and_large_ones_do_not_go_in() {
        let limits = EncodingLimits::default();
        let mut scratch = Scratch::default();
        let (mut hash, mut set) = (Hash::new(), Set::new());
        for n in 0..40 {
            hash.insert(format!("field{n}").as_bytes(), b"value", &limits);
            set.insert(format!("member{n}").as_bytes(), &limits);
            for value in [Value::Hash(hash.clone()), Value::Set(set.clone())] {
                let Some(embedded) = Embedded::of(&value) else {
                    assert!(n > 10, "{n} strings fit");
                    continue;
                };
                assert!(embedded.bytes_len() <= VALUE_INLINE_MAX);
                let digest = |value: ValueRef<'_>| crate::storage::digest::of_value(value, false);
                assert_eq!(digest(scratch.fill(embedded).as_ref()), digest(value.as_ref()));
                assert_eq!(digest(embedded.to_value().as_ref()), digest(value.as_ref()));
                assert_eq!(digest(ValueRef::Embedded(embedded)), digest(value.as_ref()));
            }
        }
        assert!(Embedded::of(&Value::Hash(hash)).is_none());
        let mut integers = Set::new();
        integers.insert(b"1", &limits);
        assert!(Embedded::of(&Value::Set(integers)).is_none(), "an intset has another form");
    }

    #[test]
    fn what_was_read_from_a_scratch_outlives_the_next_reading() {
        let limits = EncodingLimits::default();
        let mut scratch = Scratch::default();
        let hash_of = |field: &[u8]| {
            let mut hash = Hash::new();
            hash.insert(field, b"value", &limits);
            Value::Hash(hash)
        };
        let (first, second) = (hash_of(b"first"), hash_of(b"second"));
        let kept = scratch.fill(Embedded::of(&first).unwrap()).clone();
        scratch.fill(Embedded::of(&second).unwrap());
        let Value::Hash(kept) = kept else { panic!("it is a hash") };
        assert!(kept.contains(b"first") && !kept.contains(b"second"));
    }
}
