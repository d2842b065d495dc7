//! Cleaning up, in slices, behind commands that have removed many elements of a value at once.

use super::super::value::Value;
use super::Db;

impl Db {
    /// Takes up to `max` steps of what is left to be done in the value at `key`. Whether there is more, and what is to be
    /// freed.
    pub fn sweep(&mut self, key: &[u8], max: usize) -> (bool, Option<Value>) {
        let Some(found) = self.find(key) else { return (false, None) };
        if !matches!(self.object(found), Some(Value::SortedSet(set)) if set.has_strays()) {
            return (false, None);
        }
        let Some(Value::SortedSet(set)) = self.object_mut(found) else { return (false, None) };
        let rest = set.sweep(max);
        (set.has_strays(), rest.map(Value::SortedSet))
    }
}
