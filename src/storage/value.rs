//! The value of one key, owned or borrowed. Cloning a value is cheap: large ones share their chunks.

use super::{hash::Hash, list::List, set::Set};

/// A value on its own, as a loader builds it and a removal hands it back.
#[derive(Debug, Clone)]
pub enum Value {
    String(Vec<u8>),
    List(List),
    Hash(Hash),
    Set(Set),
}

/// A value as it lies in the data set. A string that is a canonical 64-bit integer is stored as one.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    Int(i64),
    Str(&'a [u8]),
    List(&'a List),
    Hash(&'a Hash),
    Set(&'a Set),
}
