//! The list against its naive model, and the edges of its encodings.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

#[derive(Debug, Clone)]
enum Step {
    PushFront(Vec<u8>),
    PushBack(Vec<u8>),
    PushMany(usize),
    PopFront,
    PopBack,
    Set(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
    InsertMany(usize, usize),
    Remove(usize),
    RemoveRange(usize, usize),
    KeepRange(usize, usize),
    RemoveMatching(u8, i64),
    Clone,
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u8..6).prop_map(|value| vec![value]),
        3 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (1000usize..5000).prop_map(|len| vec![1; len]),
        1 => (8000usize..20_000).prop_map(|len| vec![2; len]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<usize>;
    prop_oneof![
        4 => value().prop_map(Step::PushFront),
        4 => value().prop_map(Step::PushBack),
        2 => (0usize..600).prop_map(Step::PushMany),
        2 => Just(Step::PopFront),
        2 => Just(Step::PopBack),
        3 => (at(), value()).prop_map(|(at, value)| Step::Set(at, value)),
        3 => (at(), value()).prop_map(|(at, value)| Step::Insert(at, value)),
        1 => (at(), 0usize..300).prop_map(|(at, count)| Step::InsertMany(at, count)),
        2 => at().prop_map(Step::Remove),
        1 => (at(), at()).prop_map(|(at, len)| Step::RemoveRange(at, len)),
        1 => (at(), at()).prop_map(|(at, len)| Step::KeepRange(at, len)),
        1 => (0u8..6, -3i64..4).prop_map(|(value, count)| Step::RemoveMatching(value, count)),
        2 => Just(Step::Clone),
    ]
}

fn apply(list: &mut List, model: &mut VecDeque<Vec<u8>>, step: Step, limits: &EncodingLimits) {
    let len = model.len();
    match step {
        Step::PushFront(value) => {
            list.push_front(&value, limits);
            model.push_front(value);
        }
        Step::PushBack(value) => {
            list.push_back(&value, limits);
            model.push_back(value);
        }
        Step::PushMany(count) => {
            for i in 0..count {
                list.push_back(i.to_string().as_bytes(), limits);
                model.push_back(i.to_string().into_bytes());
            }
        }
        Step::PopFront => assert_eq!(list.pop_front(), model.pop_front()),
        Step::PopBack => assert_eq!(list.pop_back(), model.pop_back()),
        Step::Set(at, value) => {
            assert_eq!(list.set(at % (len + 1), &value, limits), at % (len + 1) < len);
            if let Some(element) = model.get_mut(at % (len + 1)) {
                *element = value;
            }
        }
        Step::Insert(at, value) => {
            list.insert(at % (len + 1), &value, limits);
            model.insert(at % (len + 1), value);
        }
        Step::InsertMany(at, count) => {
            for i in 0..count {
                list.insert(at % (len + 1), i.to_string().as_bytes(), limits);
                model.insert(at % (len + 1), i.to_string().into_bytes());
            }
        }
        Step::Remove(at) => assert_eq!(list.remove(at % (len + 1)), model.remove(at % (len + 1))),
        Step::RemoveRange(at, count) => {
            let (at, count) = (at % (len + 1), count % (len / 2 + 1));
            let removed = list.remove_range(at, count);
            let gone: VecDeque<_> = model.drain(at..(at + count).min(len)).collect();
            removed.into_iter().for_each(|removed| check(&removed, &gone));
        }
        Step::KeepRange(at, count) => {
            let (at, count) = (at % (len / 4 + 1), len / 2 + count % (len + 1));
            list.keep_range(at, count);
            model.truncate(at + count);
            model.drain(..at);
        }
        Step::RemoveMatching(value, count) => {
            let mut left = if count == 0 { u64::MAX } else { count.unsigned_abs() };
            let mut doomed = |element: &Vec<u8>| {
                let hit = *element == [value] && left > 0;
                left -= u64::from(hit);
                hit
            };
            if count < 0 {
                let kept: Vec<_> = model.drain(..).rev().filter(|element| !doomed(element)).collect();
                model.extend(kept.into_iter().rev());
            } else {
                model.retain(|element| !doomed(element));
            }
            assert_eq!(list.remove_matching(&[value], count), len - model.len());
        }
        Step::Clone => {}
    }
}

fn check(list: &List, model: &VecDeque<Vec<u8>>) {
    assert_eq!(list.len(), model.len());
    assert!(list.iter().eq(model.iter()));
    assert!(list.iter().rev().eq(model.iter().rev()));
    for index in (0..model.len()).step_by(7) {
        assert_eq!(list.get(index), Some(&model[index][..]));
    }
    assert_eq!(list.get(model.len()), None);
    let (start, len) = (model.len() / 3, model.len() / 2);
    assert!(list.iter_range(start, len).eq(model.iter().skip(start).take(len)));
    assert!(list.iter_rev_from(start).eq(model.iter().take(start + 1).rev()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn a_list_is_a_deque_and_its_clones_never_change(
        steps in prop::collection::vec(step(), 0..50),
        size in prop_oneof![Just(-2i64), Just(-1), Just(1), Just(2), Just(5), Just(128)],
    ) {
        let limits = EncodingLimits { list_max_listpack_size: size, ..EncodingLimits::default() };
        let (mut list, mut model) = (List::new(), VecDeque::new());
        let mut frozen = (list.clone(), model.clone());
        for step in steps {
            if let Step::Clone = step {
                check(&frozen.0, &frozen.1);
                frozen = (list.clone(), model.clone());
            }
            apply(&mut list, &mut model, step, &limits);
            check(&list, &model);
        }
        check(&frozen.0, &frozen.1);
        while let Some(value) = list.pop_front() {
            prop_assert_eq!(Some(value), model.pop_front());
        }
        prop_assert_eq!(list.encoding(), "listpack");
    }
}

#[test]
fn the_handle_is_two_words() {
    assert!(size_of::<List>() <= 16);
}

#[test]
fn the_encoding_follows_the_size_both_ways() {
    let limits = EncodingLimits { list_max_listpack_size: 4, ..EncodingLimits::default() };
    let mut list = List::new();
    for value in ["a", "b", "c", "d"] {
        list.push_back(value.as_bytes(), &limits);
        assert_eq!(list.encoding(), "listpack");
    }
    list.push_back(b"e", &limits);
    assert_eq!(list.encoding(), "quicklist");
    for encoding in ["quicklist", "quicklist", "listpack"] {
        list.pop_back();
        assert_eq!(list.encoding(), encoding, "{}", list.len());
    }
    let limits = EncodingLimits::default();
    list.push_back(&[b'x'; 9000], &limits);
    assert_eq!(list.encoding(), "quicklist");
    list.set(2, b"small", &limits);
    assert_eq!(list.encoding(), "listpack");
}

#[test]
fn an_element_of_18_bytes_costs_hardly_more() {
    let limits = EncodingLimits::default();
    for push in [List::push_back, List::push_front] {
        let mut list = List::new();
        for i in 0..100_000 {
            push(&mut list, format!("element:{i:010}").as_bytes(), &limits);
        }
        let bytes = list.memory_bytes() as f64 / 100_000.0;
        assert!(bytes < 20.6, "{bytes}");
    }
}

#[test]
fn insertion_in_the_middle_leaves_chunks_well_filled() {
    let limits = EncodingLimits::default();
    let mut list = List::new();
    let mut rng = fastrand::Rng::with_seed(1);
    for i in 0..50_000 {
        list.insert(rng.usize(..=list.len()), format!("element:{i:010}").as_bytes(), &limits);
    }
    let bytes = list.memory_bytes() as f64 / 50_000.0;
    assert!(bytes < 28.0, "{bytes}");
}

#[test]
fn a_deep_spine_keeps_its_order_and_its_clone() {
    // One element per chunk: 20,000 elements need three levels.
    let limits = EncodingLimits { list_max_listpack_size: 1, ..EncodingLimits::default() };
    let (mut list, mut model) = (List::new(), VecDeque::new());
    let mut rng = fastrand::Rng::with_seed(2);
    for i in 0..20_000u32 {
        let at = if i % 3 == 0 { rng.usize(..=model.len()) } else { model.len() };
        list.insert(at, &i.to_le_bytes(), &limits);
        model.insert(at, i.to_le_bytes().to_vec());
    }
    let frozen = (list.clone(), model.clone());
    check(&list, &model);
    while model.len() > 50 {
        let at = rng.usize(..model.len());
        let count = rng.usize(..200).min(model.len() - at);
        list.remove_range(at, count);
        model.drain(at..at + count);
        let at = rng.usize(..=model.len());
        list.insert(at, b"new", &limits);
        model.insert(at, b"new".to_vec());
        assert!(list.iter().eq(model.iter()));
    }
    check(&frozen.0, &frozen.1);
}

#[test]
fn a_write_after_a_clone_copies_one_chunk_and_no_huge_element() {
    let limits = EncodingLimits::default();
    let mut list = List::new();
    for i in 0..10_000 {
        list.push_back(format!("element:{i:010}").as_bytes(), &limits);
    }
    list.insert(5000, &vec![b'h'; 1 << 20], &limits);
    let frozen = list.clone();
    list.set(4999, b"changed", &limits);
    list.insert(5001, b"inserted", &limits);
    let unshared = (0..10_001).filter(|&i| {
        !frozen.iter_range(i, 1).next().is_some_and(|element| {
            let j = if i > 5000 { i + 1 } else { i };
            list.get(j).is_some_and(|ours| std::ptr::eq(ours, element))
        })
    });
    let unshared: Vec<usize> = unshared.collect();
    assert!(!unshared.contains(&5000));
    assert!(unshared.len() < 2 * 410, "{}", unshared.len());
}
