//! The value of one key, owned or borrowed. Cloning a value is cheap: large ones share their chunks.

use std::sync::Arc;

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
        }
    }

    /// Bytes on the heap beside the entry.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Str(bytes) if bytes.len() > VALUE_INLINE_MAX => bytes.len() + 40,
            Self::Int(_) | Self::Str(_) => 0,
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
            Self::Int(_) => 0,
            Self::Str(bytes) => 1 + bytes.len() / (1 << 20),
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
        }
    }
}

/// A collection type: how `Db` finds it among the values.
pub trait Collection: Default {
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    fn into_value(self) -> Value;
    fn is_empty(&self) -> bool;
}

macro_rules! collection {
    ($($name:ident)*) => {$(
        impl Collection for $name {
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

collection!(List Hash Set SortedSet Stream);
