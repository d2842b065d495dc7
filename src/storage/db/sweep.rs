//! Cleaning up, in slices, behind commands that have removed many elements of a value at once.

use super::super::value::Value;
use super::Db;

/// Steps that a segment of a set is worth.
const SEGMENT_STEPS: usize = 16;

impl Db {
    /// Takes up to `max` steps of what is left to be done in the value at `key`. Whether there is more, and what is to be
    /// freed.
    pub fn sweep(&mut self, key: &[u8], max: usize) -> (bool, Option<Value>) {
        let Some(found) = self.find(key) else { return (false, None) };
        if !self.object(found).is_some_and(Value::is_unswept) {
            return (false, None);
        }
        let Some(value) = self.object_mut(found) else { return (false, None) };
        let rest = match value {
            Value::SortedSet(set) => set.sweep(max).map(Value::SortedSet),
            Value::Set(set) => {
                set.settle(max.div_ceil(SEGMENT_STEPS));
                None
            }
            _ => None,
        };
        (value.is_unswept(), rest)
    }
}
