//! Which hashes of a database have fields that expire, and where the next ones are.
//!
//! Each segment remembers an instant before which no field in it expires, as it does for its keys: what is due is found
//! without a look at the other segments. The instant may be too early, never too late.

use super::super::hash::{Hash, NEVER};
use super::super::segment::NewValue;
use super::super::value::{Value, ValueRef};
use super::{Db, Found};

/// The earliest expiry of a field in a value; `NEVER` for one that has none.
pub(super) fn of(value: Option<&Value>) -> i64 {
    if let Some(Value::Hash(hash)) = value { hash.next_expiry() } else { NEVER }
}

/// [`of`] a value that is about to be stored.
pub(super) fn of_new(value: &NewValue<'_>) -> i64 {
    if let NewValue::Object(value) = value { of(Some(value)) } else { NEVER }
}

impl Db {
    /// How many hashes have a field that expires.
    pub fn volatile_hashes_len(&self) -> usize {
        self.volatile_hashes
    }

    /// Changes the hash at a place; none if there is no hash.
    pub(in crate::storage) fn edit_hash<R>(
        &mut self,
        found: Found,
        edit: impl FnOnce(&mut Hash) -> R,
    ) -> Option<R> {
        let Some(Value::Hash(hash)) = self.object_mut(found) else { return None };
        let before = hash.next_expiry();
        let result = edit(hash);
        let after = hash.next_expiry();
        self.note_field_expiry(found.segment, before, after);
        Some(result)
    }

    /// Notes that the earliest expiry of a field in one value of a segment has changed.
    pub(super) fn note_field_expiry(&mut self, segment: usize, before: i64, after: i64) {
        self.volatile_hashes =
            self.volatile_hashes + usize::from(after != NEVER) - usize::from(before != NEVER);
        self.next_field_expiry[segment] = self.next_field_expiry[segment].min(after);
    }

    /// Collects up to `max` hashes with fields that are due at `now`, looking at no more than `segments_max` segments
    /// from `from` on. Answers where to go on; a round is over when that is 0.
    pub fn due_hashes(
        &mut self,
        from: usize,
        segments_max: usize,
        max: usize,
        now: i64,
        due: &mut Vec<Vec<u8>>,
    ) -> usize {
        let end = from.saturating_add(segments_max).min(self.segments.len());
        for index in from..end {
            if self.next_field_expiry[index] > now {
                continue;
            }
            let mut next = NEVER;
            for entry in self.segments[index].iter() {
                let ValueRef::Hash(hash) = entry.value else { continue };
                next = next.min(hash.next_expiry());
                if hash.next_expiry() <= now {
                    due.push(entry.key.to_vec());
                }
                if due.len() >= max {
                    return index;
                }
            }
            // With what is due, since the caller need not remove all of it: the next round looks again.
            self.next_field_expiry[index] = next;
        }
        if end == self.segments.len() { 0 } else { end }
    }
}
