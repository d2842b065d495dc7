//! One segment against a plain map, with keys and values of all lengths that lie inline.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Put {
        key: u16,
        len: usize,
        expires_at: Option<i64>,
    },
    /// A run of keys that were put one after the other, which lie side by side.
    Remove {
        from: u16,
        count: u16,
    },
    SetExpiry {
        key: u16,
        expires_at: Option<i64>,
    },
    GiveBack,
    Freeze,
}

type Model = BTreeMap<u16, (Vec<u8>, Option<i64>)>;

fn key_of(key: u16) -> Vec<u8> {
    format!("{key:0width$}", width = 1 + usize::from(key) * 7 % KEY_INLINE_MAX).into_bytes()
}

fn hash_of(key: u16) -> u64 {
    u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn find(segment: &Segment, key: u16) -> Option<Slot> {
    segment.find(hash_of(key), &key_of(key))
}

fn put(segment: &mut Segment, model: &mut Model, key: u16, len: usize, expires_at: Option<i64>) {
    let bytes = vec![key as u8; len];
    let value = NewValue::Inline { bytes: &bytes, raw: false };
    if !segment.has_room(&key_of(key), &value) {
        return;
    }
    let found = find(segment, key);
    segment.put(hash_of(key), &key_of(key), found, value, expires_at, 0, &mut None);
    model.insert(key, (bytes, expires_at));
}

fn remove(segment: &mut Segment, model: &mut Model, key: u16) {
    let found = find(segment, key);
    assert_eq!(found.is_some(), model.remove(&key).is_some());
    if let Some(slot) = found {
        segment.remove(slot);
    }
}

fn contents(segment: &Segment) -> BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)> {
    let entries = segment.iter().map(|entry| {
        let ValueRef::Str(bytes) = entry.value else { panic!("{entry:?} is no string") };
        (entry.key.to_vec(), (bytes.to_vec(), entry.expires_at))
    });
    entries.collect()
}

#[track_caller]
fn assert_equal(segment: &Segment, model: &Model) {
    let expected: BTreeMap<_, _> = model.iter().map(|(&key, value)| (key_of(key), value.clone())).collect();
    assert_eq!(contents(segment), expected);
    assert_eq!(segment.len(), model.len());
    assert!(model.keys().all(|&key| find(segment, key).is_some()));
}

/// The page in the middle was empty already when the last one was to be given up: both went, and what the last one had
/// held did not fit into the first.
#[test]
fn a_page_is_given_back_only_if_its_entries_fit_into_those_that_stay() {
    let (mut segment, mut model) = (Segment::new(0), Model::new());
    let mut key = 0;
    let mut ends = Vec::new();
    while segment.arena.pages_len() <= 3 {
        put(&mut segment, &mut model, key, 150, None);
        key += 1;
        if segment.arena.pages_len() > ends.len() {
            ends.push(key - 1);
        }
    }
    // The first page stays full, the second becomes empty, and of the third half goes.
    for key in (ends[1]..ends[2]).chain(ends[3]..key).chain((ends[2]..ends[3]).step_by(2)) {
        remove(&mut segment, &mut model, key);
    }
    assert_equal(&segment, &model);
    segment.give_back(0);
    assert_equal(&segment, &model);
}

fn step() -> impl Strategy<Value = Step> {
    const KEYS: u16 = 400;
    let expiry = || prop::option::of(0..1000i64);
    prop_oneof![
        8 => (0..KEYS, 0..=VALUE_INLINE_MAX, expiry())
            .prop_map(|(key, len, expires_at)| Step::Put { key, len, expires_at }),
        2 => (0..KEYS, 1..200u16).prop_map(|(from, count)| Step::Remove { from, count }),
        2 => (0..KEYS, expiry()).prop_map(|(key, expires_at)| Step::SetExpiry { key, expires_at }),
        1 => Just(Step::GiveBack),
        1 => Just(Step::Freeze),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_segment_is_a_map_and_a_frozen_one_stays_as_it_was(
        filled in 0..400u16,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let (mut segment, mut model) = (Segment::new(0), Model::new());
        for key in 0..filled {
            put(&mut segment, &mut model, key, usize::from(key) * 31 % (VALUE_INLINE_MAX + 1), None);
        }
        let mut frozen: Option<(Segment, Model)> = None;
        for step in steps {
            match step {
                Step::Put { key, len, expires_at } => put(&mut segment, &mut model, key, len, expires_at),
                Step::Remove { from, count } => {
                    (from..from + count).for_each(|key| remove(&mut segment, &mut model, key));
                }
                Step::SetExpiry { key, expires_at } => {
                    if let Some(slot) = find(&segment, key).filter(|_| segment.has_room_for_expiry()) {
                        segment.set_expiry(slot, expires_at);
                        model.get_mut(&key).expect("it was found").1 = expires_at;
                    }
                }
                Step::GiveBack => segment.give_back(0),
                Step::Freeze => {
                    if let Some((segment, model)) = frozen.replace((segment.clone(), model.clone())) {
                        assert_equal(&segment, &model);
                    }
                }
            }
            assert_equal(&segment, &model);
        }
        if let Some((segment, model)) = frozen {
            assert_equal(&segment, &model);
        }
    }
}
