//! The one place where RDB meets the collections of `storage`: building them and looking into them.

use super::error::Reason;
use crate::storage::limits::EncodingLimits;
use crate::storage::set::Member;

pub(super) use crate::storage::hash::{Hash, NEVER};
pub(super) use crate::storage::list::List;
pub(super) use crate::storage::set::Set;
pub(super) use crate::storage::sorted_set::SortedSet;
pub(super) use crate::storage::stream::Stream;
pub(super) use crate::storage::value::{Value, ValueRef};

pub(super) fn push(list: &mut List, element: &[u8], limits: &EncodingLimits) {
    list.push_back(element, limits);
}

pub(super) fn insert_field(
    hash: &mut Hash,
    field: &[u8],
    value: &[u8],
    limits: &EncodingLimits,
) -> Result<(), Reason> {
    let before = hash.len();
    hash.insert(field, value, limits);
    refuse_duplicate(before, hash.len(), "field")
}

/// The hash of these strings: a field, its value, the next field...
pub(super) fn hash_of(strings: &[&[u8]], limits: &EncodingLimits) -> Result<Hash, Reason> {
    if let Some(hash) = Hash::of_strings(strings, limits) {
        return Ok(hash);
    }
    let mut hash = Hash::default();
    for pair in strings.chunks_exact(2) {
        insert_field(&mut hash, pair[0], pair[1], limits)?;
    }
    Ok(hash)
}

/// [`insert_field`] with an expiry, `NEVER` for none.
pub(super) fn insert_timed_field(
    hash: &mut Hash,
    field: &[u8],
    value: &[u8],
    expiry: i64,
    limits: &EncodingLimits,
) -> Result<(), Reason> {
    insert_field(hash, field, value, limits)?;
    hash.set_expiry(field, expiry);
    Ok(())
}

pub(super) fn insert_member(set: &mut Set, member: &[u8], limits: &EncodingLimits) -> Result<(), Reason> {
    let before = set.len();
    set.insert(member, limits);
    refuse_duplicate(before, set.len(), "member")
}

pub(super) fn insert_scored(
    sorted_set: &mut SortedSet,
    score: f64,
    member: &[u8],
    limits: &EncodingLimits,
) -> Result<(), Reason> {
    if score.is_nan() {
        return Err(Reason::malformed("a score", "NaN"));
    }
    let before = sorted_set.len();
    sorted_set.insert(score, member, limits);
    refuse_duplicate(before, sorted_set.len(), "member")
}

fn refuse_duplicate(before: usize, after: usize, what: &'static str) -> Result<(), Reason> {
    if before == after {
        return Err(Reason::malformed(format!("each {what} once"), "one of them twice"));
    }
    Ok(())
}

/// `None` if the collection is empty, which a key cannot hold.
pub(super) fn unless_empty(value: Value) -> Option<Value> {
    let empty = match &value {
        Value::String(_) => false,
        Value::List(list) => list.is_empty(),
        Value::Hash(hash) => hash.is_empty(),
        Value::Set(set) => set.is_empty(),
        Value::SortedSet(sorted_set) => sorted_set.is_empty(),
        // A stream without entries is still one.
        Value::Stream(_) => false,
    };
    (!empty).then_some(value)
}

pub(super) fn as_ref(value: &Value) -> ValueRef<'_> {
    match value {
        Value::String(bytes) => ValueRef::Str(bytes),
        Value::List(list) => ValueRef::List(list),
        Value::Hash(hash) => ValueRef::Hash(hash),
        Value::Set(set) => ValueRef::Set(set),
        Value::SortedSet(sorted_set) => ValueRef::SortedSet(sorted_set),
        Value::Stream(stream) => ValueRef::Stream(stream),
    }
}

pub(super) fn elements(list: &List) -> impl Iterator<Item = &[u8]> {
    list.iter()
}

pub(super) fn fields(hash: &Hash) -> impl Iterator<Item = (&[u8], &[u8])> {
    hash.iter()
}

/// Calls `each` with the members as strings.
pub(super) fn try_for_members<E>(set: &Set, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut digits = itoa::Buffer::new();
    for member in set.iter() {
        match member {
            Member::Int(number) => each(digits.format(number).as_bytes())?,
            Member::Bytes(bytes) => each(bytes)?,
        }
    }
    Ok(())
}

/// The members in ascending order, if all of them are integers and stored so.
pub(super) fn integers(set: &Set) -> Option<Vec<i64>> {
    if set.encoding() != "intset" {
        return None;
    }
    let numbers = set.iter().map(|member| match member {
        Member::Int(number) => Some(number),
        Member::Bytes(_) => None,
    });
    let mut numbers: Vec<i64> = numbers.collect::<Option<_>>()?;
    numbers.sort_unstable();
    Some(numbers)
}

/// Members and scores, ascending.
pub(super) fn scored(sorted_set: &SortedSet) -> impl Iterator<Item = (&[u8], f64)> {
    sorted_set.iter()
}

/// Fields and values with the expiries of the fields, `NEVER` for none; those of a small hash in the order of expiries.
pub(super) fn timed_fields(hash: &Hash) -> impl Iterator<Item = (&[u8], &[u8], i64)> {
    hash.timed()
}

pub(super) fn is_listpack_hash(hash: &Hash) -> bool {
    hash.encoding() != "hashtable"
}

pub(super) fn is_listpack_set(set: &Set) -> bool {
    set.encoding() == "listpack"
}

pub(super) fn is_listpack_sorted_set(sorted_set: &SortedSet) -> bool {
    sorted_set.encoding() == "listpack"
}
