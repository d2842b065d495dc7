//! The hash against a map, with expiries and without.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => (0u32..40).prop_map(|n| n.to_string().into_bytes()),
        1 => (0usize..3).prop_map(|n| vec![b'm'; 70 + n]),
        1 => (0usize..3).prop_map(|n| vec![b'l'; 249 + n]),
    ]
}

proptest! {
    #[test]
    fn a_hash_is_a_map_and_its_clones_never_change(
        steps in prop::collection::vec((0u8..12, text(), text()), 0..150), entries in 0usize..40
    ) {
        let limits = EncodingLimits { hash_max_listpack_entries: entries, ..EncodingLimits::default() };
        let (mut hash, mut model) = (Hash::new(), HashMap::new());
        let mut frozen = (hash.clone(), model.clone());
        for (kind, field, value) in steps {
            match kind {
                0..7 => {
                    let new = model.insert(field.clone(), value.clone()).is_none();
                    prop_assert_eq!(hash.insert(&field, &value, &limits), new);
                }
                7..9 => prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
                9..11 => prop_assert_eq!(hash.take(&field), model.remove(&field)),
                _ => frozen = (hash.clone(), model.clone()),
            }
            for (hash, model) in [(&hash, &model), (&frozen.0, &frozen.1)] {
                prop_assert_eq!(hash.len(), model.len());
                prop_assert_eq!(hash.iter().count(), model.len());
                for (field, value) in model {
                    prop_assert_eq!(hash.get(field), Some(&value[..]));
                }
            }
        }
    }
}

#[test]
fn the_handle_is_two_words() {
    assert!(size_of::<Hash>() <= 16);
}

#[test]
fn a_hash_becomes_a_table_by_count_or_by_size() {
    let limits = EncodingLimits::default();
    let mut hash = Hash::new();
    for i in 0..512 {
        hash.insert(format!("f{i}").as_bytes(), b"v", &limits);
    }
    assert_eq!(hash.encoding(), "listpack");
    hash.insert(b"one more", b"v", &limits);
    assert_eq!(hash.encoding(), "hashtable");
    let mut hash = Hash::new();
    hash.insert(b"f", &[b'v'; 64], &limits);
    assert_eq!(hash.encoding(), "listpack");
    hash.insert(b"f", &[b'v'; 65], &limits);
    assert_eq!((hash.encoding(), hash.len()), ("hashtable", 1));
}

#[test]
fn a_field_of_a_big_hash_costs_less_than_50_bytes() {
    let mut hash = Hash::new();
    for i in 0..100_000 {
        let (field, value) = (format!("field:{i:010}"), format!("value:{i:010}"));
        hash.insert(field.as_bytes(), value.as_bytes(), &EncodingLimits::default());
    }
    let bytes = hash.memory_bytes() as f64 / 100_000.0;
    assert!(bytes < 50.0, "{bytes}");
}

/// What a step of the test with expiries does.
#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<u8>, Vec<u8>),
    Update(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Expire(Vec<u8>, i64),
    Persist(Vec<u8>),
    RemoveDue(i64, usize),
    Clone,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (text(), text()).prop_map(|(field, value)| Step::Insert(field, value)),
        2 => (text(), text()).prop_map(|(field, value)| Step::Update(field, value)),
        2 => text().prop_map(Step::Remove),
        6 => (text(), 0i64..50).prop_map(|(field, at)| Step::Expire(field, at)),
        2 => text().prop_map(Step::Persist),
        1 => (0i64..50, 0usize..9).prop_map(|(horizon, max)| Step::RemoveDue(horizon, max)),
        1 => Just(Step::Clone),
    ]
}

type Model = HashMap<Vec<u8>, (Vec<u8>, i64)>;

fn apply(hash: &mut Hash, model: &mut Model, step: Step, limits: &EncodingLimits) {
    match step {
        Step::Insert(field, value) => {
            let is_new = model.insert(field.clone(), (value.clone(), NEVER)).is_none();
            assert_eq!(hash.insert(&field, &value, limits), is_new);
        }
        Step::Update(field, value) => {
            let at = model.get(&field).map_or(NEVER, |(_, at)| *at);
            let is_new = model.insert(field.clone(), (value.clone(), at)).is_none();
            assert_eq!(hash.set(&field, &value, FieldExpiry::Keep, limits), is_new);
        }
        Step::Remove(field) => assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
        Step::Expire(field, at) => {
            let found = model.get_mut(&field).map(|entry| entry.1 = at);
            assert_eq!(hash.set_expiry(&field, at), found.is_some());
        }
        Step::Persist(field) => {
            let found = model.get_mut(&field).map(|entry| entry.1 = NEVER);
            assert_eq!(hash.set_expiry(&field, NEVER), found.is_some());
        }
        Step::RemoveDue(horizon, max) => {
            let due = hash.due_fields(horizon, max);
            assert_eq!(due.len(), max.min(hash.due_len(horizon)));
            let latest = due.iter().map(|field| model[field].1).max().unwrap_or(horizon);
            assert!(latest <= horizon);
            for field in due {
                assert!(hash.remove(&field));
                model.remove(&field);
            }
        }
        Step::Clone => unreachable!("the caller clones"),
    }
}

fn assert_equal(hash: &Hash, model: &Model, horizon: i64) {
    assert_eq!(hash.len(), model.len());
    assert_eq!(hash.next_expiry(), model.values().map(|(_, at)| *at).min().unwrap_or(NEVER));
    let due = |at: i64| at <= horizon;
    assert_eq!(hash.live_len(horizon), model.values().filter(|(_, at)| !due(*at)).count());
    assert_eq!(hash.live(horizon).count(), hash.live_len(horizon));
    let mut scanned = 0;
    let mut cursor = 0;
    loop {
        cursor = hash.scan(cursor, 10, horizon, |_, _| scanned += 1);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(scanned, hash.live_len(horizon));
    assert_eq!(hash.timed().count(), model.len());
    for (field, value, at) in hash.timed() {
        assert_eq!((value.to_vec(), at), model[field].clone());
        assert_eq!(hash.expiry(field), at);
        let expected = if due(at) { Field::Due } else { Field::Live(value) };
        assert_eq!(hash.find(field, horizon), expected);
    }
    if hash.encoding() == "listpackex" {
        assert!(hash.timed().is_sorted_by_key(|(_, _, at)| at));
    }
}

proptest! {
    #[test]
    fn a_hash_with_expiries_is_a_map_with_expiries_and_its_clones_never_change(
        steps in prop::collection::vec(step(), 0..120), entries in 0usize..40, horizon in 0i64..50
    ) {
        let limits = EncodingLimits { hash_max_listpack_entries: entries, ..EncodingLimits::default() };
        let (mut hash, mut model) = (Hash::new(), Model::new());
        let mut frozen = (hash.clone(), model.clone());
        for step in steps {
            match step {
                Step::Clone => frozen = (hash.clone(), model.clone()),
                step => apply(&mut hash, &mut model, step, &limits),
            }
            assert_equal(&hash, &model, horizon);
            assert_equal(&frozen.0, &frozen.1, horizon);
        }
    }
}

#[test]
fn fields_that_expire_cost_the_others_nothing() {
    assert_eq!(size_of::<Large>(), size_of::<Table>());
}

#[test]
fn the_encoding_tells_of_a_small_hash_that_a_field_expires_or_has_done_so() {
    let limits = EncodingLimits::default();
    let mut hash = Hash::new();
    hash.insert(b"f", b"v", &limits);
    hash.insert(b"g", b"v", &limits);
    assert!(hash.set_expiry(b"g", 5));
    assert_eq!((hash.encoding(), hash.next_expiry()), ("listpackex", 5));
    // In the order of their expiries, as Redis shows them.
    assert_eq!(hash.iter().next(), Some((&b"g"[..], &b"v"[..])));
    assert!(hash.set_expiry(b"g", NEVER));
    assert_eq!((hash.encoding(), hash.next_expiry()), ("listpackex", NEVER));
    hash.insert(b"f", &[b'v'; 65], &limits);
    assert_eq!(hash.encoding(), "hashtable");
    assert!(hash.set_expiry(b"f", 7));
    assert_eq!((hash.encoding(), hash.next_expiry()), ("hashtable", 7));
    hash.insert(b"f", b"v", &limits);
    assert!(matches!(hash.form(), Form::Table(_)));
}

#[test]
fn a_large_hash_finds_what_is_due_in_order() {
    let limits = EncodingLimits::default();
    let mut hash = Hash::new();
    for i in 0..5000i64 {
        let field = format!("field:{i}");
        hash.insert(field.as_bytes(), b"value", &limits);
        if i % 2 == 0 {
            hash.set_expiry(field.as_bytes(), 10_000 - i);
        }
    }
    assert_eq!(hash.due_len(5_100), 50);
    assert_eq!(hash.due_fields(i64::MAX - 1, 2), [b"field:4998".to_vec(), b"field:4996".to_vec()]);
    assert_eq!(hash.live_len(10_000), 2500);
}
