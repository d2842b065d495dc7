//! The table against its naive model, and the edges of its encodings.

use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

#[derive(Debug, Clone)]
enum Step {
    Insert(u32, usize),
    InsertMany(u32, u32, usize),
    Remove(u32),
    RemoveMany(u32, u32),
    /// Takes so many of a thousand out at random, so many times.
    Thin(usize, usize),
    Settle(usize),
    Clone,
}

/// Most values are short, some at the border to out-of-line storage and beyond it.
fn value_len() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0usize..30, 2 => 200usize..260, 1 => 300usize..2000]
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0u32..5000;
    prop_oneof![
        4 => (key(), value_len()).prop_map(|(key, len)| Step::Insert(key, len)),
        4 => (key(), 0u32..2000, value_len()).prop_map(|(key, n, len)| Step::InsertMany(key, n, len)),
        3 => key().prop_map(Step::Remove),
        3 => (key(), 0u32..3000).prop_map(|(key, n)| Step::RemoveMany(key, n)),
        2 => (0usize..=1000, 1usize..12).prop_map(|(of_thousand, draws)| Step::Thin(of_thousand, draws)),
        2 => (1usize..30).prop_map(Step::Settle),
        2 => Just(Step::Clone),
    ]
}

fn field(key: u32) -> Vec<u8> {
    // Every hundredth field is itself out of line.
    format!("{key:0width$}", width = if key % 100 == 7 { 300 } else { 1 }).into_bytes()
}

fn value(key: u32, len: usize) -> Vec<u8> {
    vec![key as u8; len]
}

fn check(table: &Table, model: &HashMap<Vec<u8>, Vec<u8>>) {
    assert_eq!(table.len(), model.len());
    let pairs: HashMap<Vec<u8>, Vec<u8>> = table.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
    assert!(pairs == *model);
    assert_eq!(table.iter().count(), model.len());
    assert!(model.iter().all(|(field, value)| table.get(field) == Some(value)));
    let segments = table.segments().count();
    assert_eq!(segments, table.free_effort() / 3);
}

fn told(lost: &Lost) -> HashMap<Vec<u8>, Vec<u8>> {
    let mut told = HashMap::new();
    lost.each(|field, value| assert!(told.insert(field.to_vec(), value.to_vec()).is_none()));
    told
}

#[test]
fn what_a_table_loses_is_drawn_with_equal_chances_together_and_alone() {
    const LEN: u32 = 3000;
    const ROUNDS: u32 = 2000;
    for count in [30, 1000, 1500, 2900] {
        let mut table = Table::new();
        (0..LEN).for_each(|key| assert!(table.insert(&key.to_be_bytes(), b"")));
        let beside: HashSet<Vec<u8>> = table.iter().take(100).map(|(field, _)| field.to_vec()).collect();
        let (mut times, mut sum, mut sum_of_squares) = (HashMap::new(), 0.0, 0.0);
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..ROUNDS {
            let (mut of_beside, lost) = (0.0, table.clone().thin(count, &mut rng));
            lost.each(|field, _| {
                *times.entry(field.to_vec()).or_insert(0.0) += 1.0;
                of_beside += if beside.contains(field) { 1.0 } else { 0.0 };
            });
            sum += of_beside;
            sum_of_squares += of_beside * of_beside;
        }
        let (len, rounds, chance) = (f64::from(LEN), f64::from(ROUNDS), count as f64 / f64::from(LEN));
        // Alone: how often each was drawn, against the binomial distribution.
        let (mean, variance) = (rounds * chance, rounds * chance * (1.0 - chance));
        let chi_square: f64 = times.values().map(|&n: &f64| (n - mean).powi(2) / variance).sum();
        let never = (len - times.len() as f64) * mean * mean / variance;
        assert!((chi_square + never - len).abs() < 5.0 * (2.0 * len).sqrt(), "{count}: {chi_square} {never}");
        // Together: how many of a hundred that lie side by side, against the hypergeometric distribution.
        let (group, mean) = (100.0, sum / rounds);
        let expected = group * chance * (1.0 - chance) * (len - group) / (len - 1.0);
        let variance = sum_of_squares / rounds - mean * mean;
        assert!((mean - group * chance).abs() < 5.0 * (expected / rounds).sqrt(), "{count}: mean {mean}");
        assert!(
            (variance / expected - 1.0).abs() < 5.0 * (2.0 / rounds).sqrt(),
            "{count}: {variance} {expected}"
        );
    }
}

#[test]
fn a_table_that_has_lost_nearly_all_is_small_again_when_it_is_settled() {
    let mut table = Table::new();
    (0..20_000).for_each(|key| assert!(table.insert(&field(key), b"")));
    drop(table.thin(19_000, &mut fastrand::Rng::with_seed(1)));
    assert!(table.is_unsettled() && table.segments().count() > 40);
    while table.is_unsettled() {
        table.settle(3);
    }
    assert!(table.segments().count() < 12, "{}", table.segments().count());
    assert_eq!(table.iter().count(), 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_table_is_a_map_and_its_clones_never_change(steps in prop::collection::vec(step(), 0..40)) {
        let (mut table, mut model) = (Table::new(), HashMap::new());
        let mut frozen = (table.clone(), model.clone());
        let mut rng = fastrand::Rng::with_seed(5);
        for step in steps {
            match step {
                Step::Insert(key, len) => {
                    let new = model.insert(field(key), value(key, len)).is_none();
                    prop_assert_eq!(table.insert(&field(key), &value(key, len)), new);
                }
                Step::InsertMany(first, count, len) => for key in first..first + count {
                    let new = model.insert(field(key), value(key, len)).is_none();
                    prop_assert_eq!(table.insert(&field(key), &value(key, len)), new);
                }
                Step::Remove(key) => {
                    prop_assert_eq!(table.remove(&field(key)), model.remove(&field(key)).is_some());
                }
                Step::RemoveMany(first, count) => for key in first..first + count {
                    prop_assert_eq!(table.remove(&field(key)), model.remove(&field(key)).is_some());
                }
                Step::Thin(of_thousand, draws) => {
                    // Nobody looks at what is left in between, so that the draws wait for each other.
                    let mut len = table.len();
                    let draws: Vec<Lost> = (0..draws)
                        .map(|_| {
                            let count = len * of_thousand / 1000;
                            len -= count;
                            table.thin(count, &mut rng)
                        })
                        .collect();
                    for lost in draws.iter().rev() {
                        prop_assert_eq!(told(lost).len(), lost.count());
                    }
                    for (field, value) in draws.iter().flat_map(told) {
                        prop_assert_eq!(model.remove(&field), Some(value));
                    }
                }
                Step::Settle(max) => table.settle(max),
                Step::Clone => {
                    check(&frozen.0, &frozen.1);
                    frozen = (table.clone(), model.clone());
                }
            }
            check(&table, &model);
        }
        check(&frozen.0, &frozen.1);
    }

    #[test]
    fn a_scan_tells_all_that_stay_while_others_come_and_go(
        start in 0u32..3000,
        changes in prop::collection::vec((0u32..60_000, any::<bool>(), 0u32..800), 1..30),
        count in 1usize..500,
    ) {
        let mut table = Table::new();
        let lasting = 100_000..100_500u32;
        lasting.clone().chain(0..start).for_each(|key| assert!(table.insert(&field(key), b"")));
        let mut told = HashSet::new();
        let (mut cursor, mut changes) = (0, changes.into_iter());
        loop {
            cursor = table.scan(cursor, count, |field, _| {
                told.insert(field.to_vec());
            });
            if cursor == 0 {
                break;
            }
            prop_assert!(cursor < 1 << 62);
            if let Some((first, insert, n)) = changes.next() {
                for key in first..first + n * 10 {
                    if insert {
                        table.insert(&field(key), b"");
                    } else {
                        // Mostly what is there: the first part of the range that was inserted.
                        table.remove(&field(key % start.max(1)));
                    }
                }
            }
        }
        prop_assert!(lasting.clone().all(|key| told.contains(&field(key))));
    }
}

#[test]
fn a_scan_of_an_unchanged_table_tells_each_pair_once_in_small_steps() {
    let mut table = Table::new();
    (0..20_000).for_each(|key| assert!(table.insert(&field(key), b"")));
    let (mut cursor, mut told, mut steps) = (0, Vec::new(), 0);
    loop {
        let before = told.len();
        cursor = table.scan(cursor, 10, |field, _| told.push(field.to_vec()));
        assert!(told.len() - before < 20);
        steps += 1;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(told.len(), 20_000);
    assert_eq!(told.iter().collect::<HashSet<_>>().len(), 20_000);
    assert!(steps > 1500);
}

#[test]
fn a_table_shrinks_when_it_is_emptied() {
    let mut table = Table::new();
    (0..200_000).for_each(|key| assert!(table.insert(&field(key), b"value")));
    assert!(table.depths.len() > NODE_BITS as usize, "the test wants directories under the root");
    let full = table.memory_bytes();
    (100..200_000).for_each(|key| assert!(table.remove(&field(key))));
    assert!(table.memory_bytes() * 50 < full, "{} of {full}", table.memory_bytes());
    assert!((0..100).all(|key| table.get(&field(key)).is_some()));
    let mut rng = fastrand::Rng::with_seed(1);
    let drawn: HashSet<_> = (0..2000).map(|_| table.random(&mut rng).unwrap().0).collect();
    assert_eq!(drawn.len(), 100);
}

#[test]
fn a_write_after_a_clone_copies_one_segment() {
    let mut table = Table::new();
    (0..100_000).for_each(|key| assert!(table.insert(&field(key), b"value")));
    let frozen = table.clone();
    table.insert(b"a new field", b"value");
    let pairs = table.segments().zip(frozen.segments());
    assert!(pairs.filter(|(ours, theirs)| !std::ptr::eq(*ours, *theirs)).count() <= 2);
}

#[test]
fn random_is_uniform_though_segments_differ_in_depth() {
    // Long values under part of the fields split some segments by bytes, others by count.
    let mut table = Table::new();
    (0..2000).for_each(|key| assert!(table.insert(&field(key), &value(key, (key % 3) as usize * 100))));
    let (mut rng, mut drawn) = (fastrand::Rng::with_seed(5), HashMap::new());
    for _ in 0..200_000 {
        *drawn.entry(table.random(&mut rng).unwrap().0).or_insert(0) += 1;
    }
    let chi_square: f64 = drawn.values().map(|&n| f64::from(n - 100).powi(2) / 100.0).sum();
    assert_eq!(drawn.len(), 2000);
    assert!((chi_square - 2000.0).abs() < 5.0 * 4000f64.sqrt(), "{chi_square}");
}
