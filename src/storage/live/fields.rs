//! Hashes as a command sees them at one instant: fields whose time has passed are hidden, and where keys are removed when
//! their time has passed, such fields are too.
//!
//! Redis removes a field that a command asks for by name, but not those that HGETALL or HSCAN pass over, nor does HLEN leave
//! them out; so do the commands that use this.

use super::{ExpiryPolicy, LiveDb};
use crate::storage::hash::Hash;
use crate::storage::value::{Collection, WrongType};

/// Fields that were removed because their time had passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredFields {
    pub key: Vec<u8>,
    pub fields: Vec<Vec<u8>>,
    /// They were the last ones, and the key is gone with them.
    pub was_emptied: bool,
}

impl LiveDb<'_> {
    /// Fields that expire at this instant or before are due: those up to now, or none where all are to be seen.
    pub fn horizon(&self) -> i64 {
        if self.expiry == ExpiryPolicy::Ignore { i64::MIN } else { self.now.0 }
    }

    /// The fields that lookups have removed so far because their time had passed.
    pub fn take_expired_fields(&mut self) -> Vec<ExpiredFields> {
        std::mem::take(&mut self.upkeep.expired_fields)
    }

    /// Changes the hash at `key`, which may be about the expiry of fields too.
    pub fn edit_hash<R>(
        &mut self,
        key: &[u8],
        edit: impl FnOnce(&mut Hash) -> R,
    ) -> Result<Option<R>, WrongType> {
        let Some(found) = self.find(key) else { return Ok(None) };
        if self.db.object(found).and_then(Hash::of).is_none() {
            return Err(WrongType);
        }
        let (access, rng) = (self.access, &mut *self.rng);
        self.db.touch(found, |old| access.touched(old, rng));
        Ok(self.db.edit_hash(found, edit))
    }

    /// [`LiveDb::edit_hash`], the hash being created when there is none.
    pub fn edit_or_create_hash<R>(
        &mut self,
        key: &[u8],
        edit: impl FnOnce(&mut Hash) -> R,
    ) -> Result<R, WrongType> {
        self.write_or_create::<Hash>(key)?;
        let found = self.db.find(key).expect("the hash was just there");
        self.db.edit_hash(found, edit).ok_or(WrongType)
    }

    /// Removes those of the fields whose time has passed, and the key with the last of them.
    pub fn expire_fields<'f>(&mut self, key: &[u8], fields: impl IntoIterator<Item = &'f [u8]>) {
        if self.db.volatile_hashes_len() > 0 {
            let horizon = self.now.0;
            self.remove_due(key, |hash| {
                let due = fields.into_iter().filter(|field| hash.is_due(field, horizon));
                let mut due: Vec<Vec<u8>> = due.map(<[u8]>::to_vec).collect();
                due.retain(|field| hash.remove(field));
                due
            });
        }
    }

    /// Removes up to `max` fields whose time has passed, and the key with the last of them. How many.
    pub fn expire_due_fields(&mut self, key: &[u8], max: usize) -> usize {
        if self.db.volatile_hashes_len() == 0 {
            return 0;
        }
        let horizon = self.now.0;
        self.remove_due(key, |hash| {
            let due = hash.due_fields(horizon, max);
            for field in &due {
                hash.remove(field);
            }
            due
        })
    }

    /// Removes from a hash what `remove` finds due, where that is to be. How many fields.
    fn remove_due(&mut self, key: &[u8], remove: impl FnOnce(&mut Hash) -> Vec<Vec<u8>>) -> usize {
        if self.expiry != ExpiryPolicy::Remove {
            return 0;
        }
        let Some(found) = self.find(key) else { return 0 };
        // Asked of the shared segment: a hash with nothing to remove is not copied.
        let is_due = |hash: &Hash| hash.next_expiry() <= self.now.0;
        if !self.db.object(found).and_then(Hash::of).is_some_and(is_due) {
            return 0;
        }
        let fields = self.db.edit_hash(found, remove).unwrap_or_default();
        if fields.is_empty() {
            return 0;
        }
        let removed = fields.len();
        let was_emptied = self.remove_if_empty::<Hash>(key);
        self.upkeep.expired_fields.push(ExpiredFields { key: key.to_vec(), fields, was_emptied });
        removed
    }
}
