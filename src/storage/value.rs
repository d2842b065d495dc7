//! The value of one key, owned or borrowed. Cloning a value is cheap: large ones share their chunks.

use std::sync::Arc;

use super::digest;
use super::embedded::{Embedded, EmbeddedKind};
use super::segment::VALUE_INLINE_MAX;
use super::{hash::Hash, list::List, set::Set, sorted_set::SortedSet, stream::Stream};

/// A value on its own, as a loader builds it and a removal hands it back.
#[derive(Debug, Clone)]
pub enum Value {
    String(Arc<Vec<u8>>),
    List(List),
    Hash(Hash),
    Set(Set),
    SortedSet(SortedSet),
    Stream(Stream),
}

/// A value as it lies in the data set. A string that is a canonical 64-bit integer is stored as one.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    Int(i64),
    Str(&'a [u8]),
    List(&'a List),
    Hash(&'a Hash),
    Set(&'a Set),
    SortedSet(&'a SortedSet),
    Stream(&'a Stream),
    /// A small collection within its entry. Lookups through a `LiveDb` never answer this.
    Embedded(Embedded<'a>),
}

/// The key holds a value of another type than the command works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongType;

impl Value {
    pub fn string(bytes: impl Into<Vec<u8>>) -> Self {
        Self::String(Arc::new(bytes.into()))
    }

    /// Whether a snapshot, or a copy under another key, holds this very string. Of collections it is not known here.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::String(bytes) if Arc::strong_count(bytes) > 1)
    }

    /// Whether this is the value that `other` was copied from, unchanged since, or one of equal content. Of large
    /// collections it is known without looking at their content: a change gives them another root.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::String(a), Self::String(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => match (self.large_root(), other.large_root()) {
                (Some(a), Some(b)) => a == b,
                (None, None) => {
                    let (a, b) = (self.as_ref(), other.as_ref());
                    a.type_name() == b.type_name() && digest::of_value(a, false) == digest::of_value(b, false)
                }
                _ => false,
            },
        }
    }

    fn large_root(&self) -> Option<*const ()> {
        match self {
            Self::String(_) => None,
            Self::List(list) => list.large_root(),
            Self::Hash(hash) => hash.large_root(),
            Self::Set(set) => set.large_root(),
            Self::SortedSet(sorted_set) => sorted_set.large_root(),
            Self::Stream(stream) => Some(stream.root()),
        }
    }

    /// Whether a removal of many elements has left something to be cleaned up: `Db::sweep`.
    pub fn is_unswept(&self) -> bool {
        match self {
            Self::Set(set) => set.is_unsettled(),
            Self::SortedSet(sorted_set) => sorted_set.has_strays(),
            _ => false,
        }
    }

    /// Begins to load the place where a large collection looks for a member; answers the member's hash there.
    pub(super) fn prefetch_slot(&self, member: &[u8]) -> Option<u64> {
        match self {
            Self::Hash(hash) => Some(hash.table()?.prefetch_slot(member)),
            Self::Set(set) => Some(set.table()?.prefetch_slot(member)),
            Self::SortedSet(sorted_set) => sorted_set.prefetch_slot(member),
            _ => None,
        }
    }

    /// Begins to load what is found there.
    pub(super) fn prefetch_entry(&self, hash: u64) {
        match self {
            Self::Hash(it) => it.table().into_iter().for_each(|table| table.prefetch_entry(hash)),
            Self::Set(it) => it.table().into_iter().for_each(|table| table.prefetch_entry(hash)),
            Self::SortedSet(sorted_set) => sorted_set.prefetch_entry(hash),
            _ => {}
        }
    }

    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::String(bytes) => ValueRef::Str(bytes),
            Self::List(list) => ValueRef::List(list),
            Self::Hash(hash) => ValueRef::Hash(hash),
            Self::Set(set) => ValueRef::Set(set),
            Self::SortedSet(sorted_set) => ValueRef::SortedSet(sorted_set),
            Self::Stream(stream) => ValueRef::Stream(stream),
        }
    }
}

impl ValueRef<'_> {
    /// The type's name, as TYPE answers it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Int(_) | Self::Str(_) => "string",
            Self::List(_) => "list",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
            Self::SortedSet(_) => "zset",
            Self::Stream(_) => "stream",
            Self::Embedded(embedded) => embedded.type_name(),
        }
    }

    /// How many elements a collection has; 0 for a string, and for what is small enough to lie within its entry.
    pub fn elements_len(&self) -> usize {
        match self {
            Self::Int(_) | Self::Str(_) | Self::Embedded(_) => 0,
            Self::List(list) => list.len(),
            Self::Hash(hash) => hash.len(),
            Self::Set(set) => set.len(),
            Self::SortedSet(sorted_set) => sorted_set.len(),
            Self::Stream(stream) => stream.len(),
        }
    }

    /// Bytes on the heap beside the entry.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Str(bytes) if bytes.len() > VALUE_INLINE_MAX => bytes.len() + 40,
            Self::Int(_) | Self::Str(_) | Self::Embedded(_) => 0,
            Self::List(list) => list.memory_bytes(),
            Self::Hash(hash) => hash.memory_bytes(),
            Self::Set(set) => set.memory_bytes(),
            Self::SortedSet(sorted_set) => sorted_set.memory_bytes(),
            Self::Stream(stream) => stream.memory_bytes(),
        }
    }

    /// How many allocations freeing the value takes; the measure by which Redis, too, decides what is large.
    pub fn free_effort(&self) -> usize {
        match self {
            Self::Int(_) | Self::Embedded(_) => 0,
            Self::Str(bytes) => 1 + bytes.len() / (64 << 10),
            Self::List(list) => list.free_effort(),
            Self::Hash(hash) => hash.free_effort(),
            Self::Set(set) => set.free_effort(),
            Self::SortedSet(sorted_set) => sorted_set.free_effort(),
            Self::Stream(stream) => stream.free_effort(),
        }
    }

    /// An owned value. Collections share their chunks with the original.
    pub fn to_value(&self) -> Value {
        match *self {
            Self::Int(n) => Value::string(itoa::Buffer::new().format(n)),
            Self::Str(bytes) => Value::string(bytes),
            Self::List(list) => Value::List(list.clone()),
            Self::Hash(hash) => Value::Hash(hash.clone()),
            Self::Set(set) => Value::Set(set.clone()),
            Self::SortedSet(sorted_set) => Value::SortedSet(sorted_set.clone()),
            Self::Stream(stream) => Value::Stream(stream.clone()),
            Self::Embedded(embedded) => embedded.to_value(),
        }
    }
}

/// A collection type: how `Db` finds it among the values.
pub trait Collection: Default {
    /// What it is called when it lies within its entry; none if it never does.
    const EMBEDDED: Option<EmbeddedKind>;

    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    fn into_value(self) -> Value;
    fn is_empty(&self) -> bool;
}

macro_rules! collection {
    ($($name:ident: $embedded:expr),*) => {$(
        impl Collection for $name {
            const EMBEDDED: Option<EmbeddedKind> = $embedded;

            fn of(value: &Value) -> Option<&Self> {
                if let Value::$name(it) = value { Some(it) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$name(it) = value { Some(it) } else { None }
            }

            fn into_value(self) -> Value {
                Value::$name(self)
            }

            fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    )*};
}

collection!(
    List: None,
    Hash: Some(EmbeddedKind::Hash),
    Set: Some(EmbeddedKind::Set),
    SortedSet: None,
    Stream: None
);
