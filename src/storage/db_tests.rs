//! The keyspace against its naive model.

use std::collections::HashMap;

use proptest::prelude::*;

use super::db::Db;
use super::live::{AccessPolicy, CopiedArg, ExpiryPolicy, LiveDb, NewExpiry, Upkeep, View};
use super::{EncodingLimits, ValueRef};
use crate::base::clock::UnixMillis;

const NOW: UnixMillis = UnixMillis(100_0000);

type Model = HashMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

fn with_db<R>(db: &mut Db, f: impl FnOnce(&mut LiveDb<'_>) -> R) -> R {
    let limits = EncodingLimits::default();
    let (mut rng, mut upkeep) = (fastrand::Rng::with_seed(1), Upkeep::default());
    let view = View {
        now: NOW,
        expiry: ExpiryPolicy::Remove,
        access: AccessPolicy::Lru { seconds: 1 },
        limits: &limits,
    };
    f(&mut LiveDb::new(db, view, &mut rng, &mut upkeep))
}

fn contents(db: &Db) -> Model {
    db.iter()
        .map(|item| {
            let bytes = match item.value {
                ValueRef::Int(n) => n.to_string().into_bytes(),
                ValueRef::Str(bytes) => bytes.to_vec(),
                other => panic!("unexpected {}", other.type_name()),
            };
            (item.key.to_vec(), (bytes, item.expires_at))
        })
        .collect()
}

#[derive(Debug, Clone)]
enum Step {
    Set { key: u16, len: usize, expiry: Option<i64> },
    SetInteger { key: u16, n: i64 },
    Append { key: u16, len: usize },
    Expire { key: u16, at: Option<i64> },
    Remove { key: u16 },
    Reserve { keys: usize },
    Freeze,
}

/// Few keys are long: those lie outside the arena.
fn key_bytes(key: u16) -> Vec<u8> {
    let mut bytes = format!("key:{key}").into_bytes();
    if key.is_multiple_of(17) {
        bytes.resize(200, b'k');
        bytes.extend_from_slice(key.to_string().as_bytes());
    }
    bytes
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0u16..1500;
    let len = prop_oneof![4 => 0usize..40, 1 => 100usize..192, 1 => 193usize..400];
    let expiry = prop_oneof![3 => Just(None), 1 => (NOW.0 + 1..NOW.0 + 1000).prop_map(Some)];
    prop_oneof![
        8 => (key.clone(), len.clone(), expiry.clone())
            .prop_map(|(key, len, expiry)| Step::Set { key, len, expiry }),
        2 => (key.clone(), any::<i64>()).prop_map(|(key, n)| Step::SetInteger { key, n }),
        2 => (key.clone(), len).prop_map(|(key, len)| Step::Append { key, len }),
        2 => (key.clone(), expiry).prop_map(|(key, at)| Step::Expire { key, at }),
        5 => key.prop_map(|key| Step::Remove { key }),
        1 => (0usize..20_000).prop_map(|keys| Step::Reserve { keys }),
        1 => Just(Step::Freeze),
    ]
}

fn apply(db: &mut Db, model: &mut Model, step: &Step) {
    match *step {
        Step::Set { key, len, expiry } => {
            let (key, value) = (key_bytes(key), vec![b'x'; len]);
            let new = expiry.map_or(NewExpiry::Clear, |at| NewExpiry::At(UnixMillis(at)));
            with_db(db, |db| db.set_string(&key, &value, new));
            model.insert(key, (value, expiry));
        }
        Step::SetInteger { key, n } => {
            let key = key_bytes(key);
            with_db(db, |db| db.set_integer(&key, n, NewExpiry::Keep));
            let expiry = model.get(&key).and_then(|(_, expiry)| *expiry);
            model.insert(key, (n.to_string().into_bytes(), expiry));
        }
        Step::Append { key, len } => {
            let key = key_bytes(key);
            with_db(db, |db| db.update_string(&key, |bytes| bytes.resize(bytes.len() + len, b'y'))).unwrap();
            let (value, _) = model.entry(key).or_default();
            value.resize(value.len() + len, b'y');
        }
        Step::Expire { key, at } => {
            let key = key_bytes(key);
            let found = with_db(db, |db| db.set_expires_at(&key, at.map(UnixMillis)));
            assert_eq!(found, model.contains_key(&key));
            if let Some((_, expiry)) = model.get_mut(&key) {
                *expiry = at;
            }
        }
        Step::Remove { key } => {
            let key = key_bytes(key);
            assert_eq!(with_db(db, |db| db.remove(&key)), model.remove(&key).is_some());
        }
        Step::Reserve { keys } => db.reserve(keys),
        Step::Freeze => unreachable!("handled by the caller"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_db_equals_a_hash_map_and_its_clones_never_change(steps in prop::collection::vec(step(), 0..3000)) {
        let mut db = Db::new(7);
        let mut model = Model::new();
        let mut frozen: Option<(Db, Model)> = None;
        for step in &steps {
            if let Step::Freeze = step {
                if let Some((db, model)) = frozen.take() {
                    prop_assert_eq!(contents(&db), model);
                }
                frozen = Some((db.clone(), model.clone()));
            } else {
                apply(&mut db, &mut model, step);
            }
        }
        prop_assert_eq!(db.len(), model.len());
        prop_assert_eq!(db.expires_len(), model.values().filter(|(_, expiry)| expiry.is_some()).count());
        for key in (0..1500).map(key_bytes) {
            let value = with_db(&mut db, |db| db.string(&key).unwrap().map(|value| value.to_vec()));
            prop_assert_eq!(value.as_ref(), model.get(&key).map(|(value, _)| value));
        }
        prop_assert_eq!(contents(&db), model);
        if let Some((db, model)) = frozen {
            prop_assert_eq!(contents(&db), model);
        }
    }
}

fn filled(keys: usize) -> Db {
    let mut db = Db::new(3);
    for i in 0..keys {
        with_db(&mut db, |db| db.set_string(format!("k:{i:014}").as_bytes(), b"value", NewExpiry::Clear));
    }
    db
}

#[test]
fn scan_sees_every_key_while_segments_split_and_merge() {
    let mut db = filled(5000);
    let mut seen = std::collections::HashSet::new();
    let (mut cursor, mut calls) = (0, 0);
    loop {
        cursor = db.scan(cursor, 10, |item| {
            seen.insert(item.key.to_vec());
        });
        calls += 1;
        if calls == 100 {
            for i in 0..50_000 {
                with_db(&mut db, |db| db.set_string(format!("new:{i}").as_bytes(), b"", NewExpiry::Clear));
            }
        }
        if calls == 300 {
            for i in 0..50_000 {
                with_db(&mut db, |db| db.remove(format!("new:{i}").as_bytes()));
            }
        }
        if cursor == 0 {
            break;
        }
    }
    for i in 0..5000 {
        assert!(seen.contains(format!("k:{i:014}").as_bytes()), "key {i} was not seen");
    }
    assert!(calls > 400, "{calls} calls for 5000 keys and COUNT 10");
}

#[test]
fn room_is_reserved_once_and_not_for_more_than_some_times_what_is_there() {
    let table_after = |reserved: usize| {
        let mut db = filled(20_000);
        db.reserve(reserved);
        assert_eq!(contents(&db).len(), 20_000);
        db.table_bytes()
    };
    assert_eq!(table_after(0), table_after(20_000), "what is there already needs no room");
    assert!(table_after(usize::MAX) < 4 * table_after(0), "a claim is not believed");
    let mut db = filled(20_000);
    db.reserve(100_000);
    let segments = db.segments_len();
    for i in 0..80_000 {
        with_db(&mut db, |db| db.set_string(format!("new:{i:012}").as_bytes(), b"", NewExpiry::Clear));
    }
    let split = db.segments_len() - segments;
    assert!(split * 10 < segments, "{split} of {segments} segments were split once more");
}

#[test]
fn a_db_shrinks_after_its_keys_are_gone() {
    let mut db = filled(100_000);
    let full = db.table_bytes();
    for i in 0..99_990 {
        with_db(&mut db, |db| db.remove(format!("k:{i:014}").as_bytes()));
    }
    assert!(db.table_bytes() * 10 < full, "{} of {full} bytes are left", db.table_bytes());
    assert_eq!(db.iter().count(), 10);
}

#[test]
fn short_keys_and_values_take_little_more_than_their_bytes() {
    let db = filled(100_000);
    let per_key = db.table_bytes() as f64 / db.len() as f64;
    assert!(per_key < 50.0, "{per_key} bytes for a 16-byte key and a 5-byte value");
}

#[test]
fn random_keys_are_uniform() {
    let db = filled(1000);
    let mut rng = fastrand::Rng::with_seed(5);
    let mut counts: HashMap<Vec<u8>, u32> = HashMap::new();
    for _ in 0..100_000 {
        *counts.entry(db.random_key(&mut rng).unwrap()).or_default() += 1;
    }
    assert_eq!(counts.len(), 1000);
    assert!(counts.values().all(|&n| (50..=160).contains(&n)), "each key is expected about 100 times");
}

#[test]
fn due_keys_are_found_in_slices() {
    let mut db = filled(3000);
    for i in 0..3000 {
        let at = if i % 3 == 0 { NOW.0 - 1 } else { NOW.0 + 50 };
        db.set_expires_at(format!("k:{i:014}").as_bytes(), Some(at));
    }
    let mut found = 0;
    let mut from = 0;
    for _ in 0..1000 {
        let mut due = Vec::new();
        from = db.due_keys(from, 3, 20, NOW.0, &mut due);
        found += due.len();
        for key in due {
            assert!(!with_db(&mut db, |db| db.contains(&key)));
        }
    }
    assert_eq!(found, 1000);
    assert_eq!(db.len(), 2000);
}

#[test]
fn a_copied_argument_is_stored_as_it_is() {
    let (arg, twin) = (vec![b'x'; 5000], vec![b'x'; 5000]);
    let copied = CopiedArg::new(&arg);
    let (mut db, limits) = (Db::new(1), EncodingLimits::default());
    let (mut rng, mut upkeep) = (fastrand::Rng::with_seed(1), Upkeep::default());
    upkeep.copied.push(copied);
    let view = View { now: NOW, expiry: ExpiryPolicy::Remove, access: AccessPolicy::Leave, limits: &limits };
    let mut live = LiveDb::new(&mut db, view, &mut rng, &mut upkeep);
    // Of equal bytes that lie elsewhere it is no copy.
    live.set_string(b"twin", &twin, NewExpiry::Clear);
    live.set_string(b"key", &arg, NewExpiry::At(UnixMillis(NOW.0 + 1)));
    live.set_string(b"again", &arg, NewExpiry::Clear);
    assert!(upkeep.copied.is_empty());
    let found = contents(&db);
    for (key, expires_at) in [("twin", None), ("key", Some(NOW.0 + 1)), ("again", None)] {
        assert_eq!(found[key.as_bytes()], (arg.clone(), expires_at), "{key}");
    }
}
