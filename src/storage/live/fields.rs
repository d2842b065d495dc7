//! Hashes as a command sees them at one instant: fields whose time has passed are hidden, and where keys are removed when
//! their time has passed, such fields are too.
//!
//! Redis removes a field that a command asks for by name, but not those that HGETALL or HSCAN pass over, nor does HLEN leave
//! them out; so do the commands that use this.

use super::{ExpiryPolicy, Found, LiveDb};
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
        match self.find(key) {
            Some(found) => self.edit_found(found, edit).map(Some),
            None => Ok(None),
        }
    }

    /// [`LiveDb::edit_hash`], the hash being created when there is none.
    pub fn edit_or_create_hash<R>(
        &mut self,
        key: &[u8],
        edit: impl FnOnce(&mut Hash) -> R,
    ) -> Result<R, WrongType> {
        let found = self.find(key).unwrap_or_else(|| {
            self.db.put_value(key, Hash::new().into_value(), None, self.access.initial());
            self.upkeep.taken_out.push(self.db.hash(key));
            self.db.find(key).expect("the key was just put")
        });
        self.edit_found(found, edit)
    }

    fn edit_found<R>(&mut self, found: Found, edit: impl FnOnce(&mut Hash) -> R) -> Result<R, WrongType> {
        // The type is checked on the shared segment: a command that fails copies nothing.
        self.expect_type::<Hash>(found)?;
        let (access, rng) = (self.access, &mut *self.rng);
        self.db.touch(found, |old| access.touched(old, rng));
        self.take_out(found);
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::base::clock::UnixMillis;
    use crate::storage::db::Db;
    use crate::storage::hash::{Field, NEVER};
    use crate::storage::live::{AccessPolicy, NewExpiry, Upkeep, View};
    use crate::storage::{EncodingLimits, Value};

    fn with_db<R>(db: &mut Db, now: i64, expiry: ExpiryPolicy, f: impl FnOnce(&mut LiveDb<'_>) -> R) -> R {
        let limits = EncodingLimits { hash_max_listpack_entries: 4, ..EncodingLimits::default() };
        let (mut rng, mut upkeep) = (fastrand::Rng::with_seed(1), Upkeep::default());
        let access = AccessPolicy::Lru { seconds: 1 };
        let view = View { now: UnixMillis(now), expiry, access, limits: &limits };
        f(&mut LiveDb::new(db, view, &mut rng, &mut upkeep))
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set { key: u16, field: u8, expiry: i64 },
        RemoveField { key: u16, field: u8 },
        Overwrite { key: u16 },
        Remove { key: u16 },
        Copy { from: u16, to: u16 },
        Expire { now: i64, max: usize },
        Freeze,
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = || 0u16..700;
        let expiry = prop_oneof![2 => Just(NEVER), 1 => 1i64..1000];
        prop_oneof![
            20 => (key(), 0u8..8, expiry).prop_map(|(key, field, expiry)| Step::Set { key, field, expiry }),
            4 => (key(), 0u8..8).prop_map(|(key, field)| Step::RemoveField { key, field }),
            1 => key().prop_map(|key| Step::Overwrite { key }),
            6 => key().prop_map(|key| Step::Remove { key }),
            2 => (key(), key()).prop_map(|(from, to)| Step::Copy { from, to }),
            1 => (1i64..1000, 1usize..40).prop_map(|(now, max)| Step::Expire { now, max }),
            1 => Just(Step::Freeze),
        ]
    }

    type Model = HashMap<Vec<u8>, HashMap<Vec<u8>, i64>>;

    fn apply(db: &mut Db, model: &mut Model, step: &Step) {
        let name = |key: u16| format!("key:{key}").into_bytes();
        let see_all = ExpiryPolicy::Ignore;
        match *step {
            Step::Set { key, field, expiry } => {
                let (key, field) = (name(key), vec![field]);
                let limits = EncodingLimits { hash_max_listpack_entries: 4, ..EncodingLimits::default() };
                let set = |hash: &mut Hash| {
                    hash.insert(&field, b"value", &limits);
                    hash.set_expiry(&field, expiry);
                };
                if with_db(db, 0, see_all, |db| db.edit_or_create_hash(&key, set)).is_ok() {
                    model.entry(key).or_default().insert(field, expiry);
                }
            }
            Step::RemoveField { key, field } => {
                let key = name(key);
                let removed = with_db(db, 0, see_all, |db| {
                    let removed = db.edit_hash(&key, |hash| hash.remove(&[field]));
                    db.remove_if_empty::<Hash>(&key);
                    removed
                });
                let fields = model.get_mut(&key);
                let expected = fields.is_some_and(|fields| fields.remove(&vec![field]).is_some());
                assert_eq!(removed.ok().flatten().unwrap_or_default(), expected);
                model.retain(|_, fields| !fields.is_empty());
            }
            Step::Overwrite { key } => {
                with_db(db, 0, see_all, |db| db.set_string(&name(key), b"text", NewExpiry::Clear));
                model.remove(&name(key));
            }
            Step::Remove { key } => {
                with_db(db, 0, see_all, |db| db.remove(&name(key)));
                model.remove(&name(key));
            }
            Step::Copy { from, to } => with_db(db, 0, see_all, |db| {
                let Some((value, _)) = db.copy_of(&name(from)) else { return };
                db.insert(&name(to), value, None);
                match model.get(&name(from)).cloned() {
                    Some(fields) => model.insert(name(to), fields),
                    None => model.remove(&name(to)),
                };
            }),
            Step::Expire { now, max } => expire(db, model, now, max),
            Step::Freeze => unreachable!("handled by the caller"),
        }
    }

    /// Removes all that is due, as the active cycle does.
    fn expire(db: &mut Db, model: &mut Model, now: i64, max: usize) {
        let mut from = 0;
        let mut due = Vec::new();
        loop {
            from = db.due_hashes(from, 2, max, now, &mut due);
            let found_any = !due.is_empty();
            for key in due.drain(..) {
                while with_db(db, now, ExpiryPolicy::Remove, |db| db.expire_due_fields(&key, 3)) > 0 {}
            }
            if from == 0 && !found_any {
                break;
            }
        }
        for fields in model.values_mut() {
            fields.retain(|_, expiry| *expiry > now);
        }
        model.retain(|_, fields| !fields.is_empty());
    }

    fn contents(db: &Db) -> Model {
        let hashes = db.iter().filter_map(|item| match item.value.to_value() {
            Value::Hash(hash) => {
                Some((item.key.to_vec(), hash.timed().map(|(field, _, at)| (field.to_vec(), at)).collect()))
            }
            _ => None,
        });
        hashes.collect()
    }

    fn volatile_hashes(model: &Model) -> usize {
        model.values().filter(|fields| fields.values().any(|at| *at != NEVER)).count()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_db_knows_which_hashes_have_fields_that_expire_and_finds_all_that_are_due(
            steps in prop::collection::vec(step(), 0..2500)
        ) {
            let (mut db, mut model) = (Db::new(7), Model::new());
            let mut frozen: Option<(Db, Model)> = None;
            for step in &steps {
                if let Step::Freeze = step {
                    frozen = Some((db.clone(), model.clone()));
                } else {
                    apply(&mut db, &mut model, step);
                }
            }
            prop_assert_eq!(db.volatile_hashes_len(), volatile_hashes(&model));
            expire(&mut db, &mut model, 500, 10);
            prop_assert_eq!(db.volatile_hashes_len(), volatile_hashes(&model));
            prop_assert_eq!(contents(&db), model);
            if let Some((db, model)) = frozen {
                prop_assert_eq!(db.volatile_hashes_len(), volatile_hashes(&model));
                prop_assert_eq!(contents(&db), model);
            }
        }
    }

    #[test]
    fn fields_whose_time_has_passed_are_removed_hidden_or_seen_as_the_policy_says() {
        let mut db = Db::new(7);
        with_db(&mut db, 0, ExpiryPolicy::Remove, |db| {
            let limits = EncodingLimits::default();
            db.edit_or_create_hash(b"h", |hash| {
                hash.insert(b"f", b"v", &limits);
                hash.set_expiry(b"f", 100)
            })
        })
        .unwrap();
        let find = |db: &mut LiveDb<'_>| {
            let horizon = db.horizon();
            let found =
                db.read::<Hash>(b"h").unwrap().map(|hash| hash.find(b"f", horizon) == Field::Live(b"v"));
            db.expire_fields(b"h", [&b"f"[..]]);
            (found, db.take_expired_fields())
        };
        assert_eq!(with_db(&mut db, 99, ExpiryPolicy::Remove, find), (Some(true), vec![]));
        assert_eq!(with_db(&mut db, 100, ExpiryPolicy::Ignore, find), (Some(true), vec![]));
        assert_eq!(with_db(&mut db, 100, ExpiryPolicy::Hide, find), (Some(false), vec![]));
        let expired = ExpiredFields { key: b"h".to_vec(), fields: vec![b"f".to_vec()], was_emptied: true };
        assert_eq!(with_db(&mut db, 100, ExpiryPolicy::Remove, find), (Some(false), vec![expired]));
        assert!(db.is_empty());
    }
}
