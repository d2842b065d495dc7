//! The sorted set against a sorted Vec, clones against what they were cloned from, and sizes.

use super::*;
use proptest::prelude::*;
use std::cmp::Ordering;

type Model = Vec<(f64, Vec<u8>)>;

fn position(model: &Model, score: f64, member: &[u8]) -> usize {
    model.partition_point(|(s, m)| {
        s.partial_cmp(&score).unwrap().then_with(|| m.as_slice().cmp(member)) == Ordering::Less
    })
}

fn model_insert(model: &mut Model, score: f64, member: &[u8]) -> Change {
    let old = model.iter().position(|(_, m)| m == member);
    if old.is_some_and(|i| model[i].0 == score) {
        return Change::Unchanged;
    }
    let change = if old.is_some() { Change::Updated } else { Change::Added };
    old.map(|i| model.remove(i));
    model.insert(position(model, score, member), (score, member.to_vec()));
    change
}

fn assert_same(set: &SortedSet, model: &Model) {
    set.check();
    assert_eq!(set.len(), model.len());
    assert!(set.iter().map(|(m, s)| (s, m)).eq(model.iter().map(|(s, m)| (*s, m.as_slice()))));
    let backwards = set.iter().rev().map(|(m, s)| (s, m));
    assert!(backwards.eq(model.iter().rev().map(|(s, m)| (*s, m.as_slice()))));
}

#[derive(Debug, Clone)]
enum Step {
    Insert(f64, Vec<u8>),
    InsertMany(usize, u64),
    Remove(usize),
    RemoveAbsent(Vec<u8>),
    RemoveRanks(usize, usize),
    Sweep(usize),
    Pop(bool),
    Clone,
    QueryScores(ScoreRange),
    QueryLex(Vec<u8>, Vec<u8>, bool),
    Walk(usize),
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-8i32..8).prop_map(f64::from),
        2 => (-100i32..100).prop_map(|n| f64::from(n) / 8.0),
        1 => prop::sample::select(vec![0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1e9, 70_000.0]),
    ]
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => "[a-d]{0,4}".prop_map(String::into_bytes),
        1 => (250usize..300, b'a'..b'e').prop_map(|(n, byte)| vec![byte; n]),
    ]
}

fn bound() -> impl Strategy<Value = ScoreBound> {
    (score(), any::<bool>()).prop_map(|(score, including)| {
        if including { ScoreBound::Including(score) } else { ScoreBound::Excluding(score) }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (score(), member()).prop_map(|(s, m)| Step::Insert(s, m)),
        2 => (0usize..400, any::<u64>()).prop_map(|(n, seed)| Step::InsertMany(n, seed)),
        4 => any::<usize>().prop_map(Step::Remove),
        1 => member().prop_map(Step::RemoveAbsent),
        2 => (any::<usize>(), 0usize..500).prop_map(|(i, n)| Step::RemoveRanks(i, n)),
        2 => (0usize..120).prop_map(Step::Sweep),
        2 => any::<bool>().prop_map(Step::Pop),
        2 => Just(Step::Clone),
        2 => (bound(), bound()).prop_map(|(min, max)| Step::QueryScores(ScoreRange { min, max })),
        2 => (member(), member(), any::<bool>()).prop_map(|(a, b, x)| Step::QueryLex(a, b, x)),
        1 => any::<usize>().prop_map(Step::Walk),
    ]
}

fn run(steps: Vec<Step>, limits: &EncodingLimits) {
    let mut set = SortedSet::default();
    let mut model = Model::new();
    let mut clones: Vec<(SortedSet, Model)> = Vec::new();
    for step in steps {
        match step {
            Step::Insert(score, member) => {
                let expected = model_insert(&mut model, score, &member);
                assert_eq!(set.insert(score, &member, limits), expected);
            }
            Step::InsertMany(n, seed) => {
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..n {
                    let member = format!("member:{:0w$}", rng.u32(0..2_000), w = rng.usize(4..40));
                    let score = f64::from(rng.i32(-50..50));
                    let expected = model_insert(&mut model, score, member.as_bytes());
                    assert_eq!(set.insert(score, member.as_bytes(), limits), expected);
                }
            }
            Step::Remove(i) if !model.is_empty() => {
                let i = i % model.len();
                assert_eq!(set.rank(&model[i].1), Some(i));
                let (score, member) = model.remove(i);
                assert_eq!(set.remove(&member), Some(score));
                assert_eq!(set.score(&member), None);
            }
            Step::RemoveAbsent(member) => {
                let old = model.iter().position(|(_, m)| *m == member);
                assert_eq!(set.rank(&member), old);
                assert_eq!(set.remove(&member), old.map(|i| model.remove(i).0));
            }
            Step::RemoveRanks(i, n) => {
                let i = i % (model.len() + 1);
                let end = (i + n).min(model.len());
                assert_eq!(set.remove_rank_range(i..i + n).0, end - i);
                model.drain(i..end);
            }
            Step::Sweep(max) => {
                set.sweep(max);
            }
            Step::Pop(first) => {
                let at = if first { 0 } else { model.len().saturating_sub(1) };
                let expected = (!model.is_empty()).then(|| model.remove(at)).map(|(s, m)| (m, s));
                assert_eq!(if first { set.pop_first() } else { set.pop_last() }, expected);
            }
            Step::Clone => clones.push((set.clone(), model.clone())),
            Step::QueryScores(range) => {
                let ranks = set.ranks_by_score(&range);
                for (i, (score, _)) in model.iter().enumerate() {
                    assert_eq!(ranks.contains(&i), range.contains(*score));
                }
                let below = model.iter().filter(|(s, _)| range.is_below(*s)).count();
                assert_eq!(set.rank_of_bound(range.min), below);
            }
            Step::QueryLex(min, max, including) => {
                // Lexical intervals are defined for equal scores.
                let mut flat = SortedSet::default();
                model.iter().for_each(|(_, m)| assert_eq!(flat.insert(0.0, m, limits), Change::Added));
                let range = if including {
                    LexRange { min: LexBound::Including(&min), max: LexBound::Excluding(&max) }
                } else {
                    LexRange { min: LexBound::Excluding(&min), max: LexBound::Including(&max) }
                };
                let ranks = flat.ranks_by_lex(&range);
                for (i, (member, _)) in flat.iter().enumerate() {
                    assert_eq!(ranks.contains(&i), range.contains(member));
                }
            }
            Step::Walk(i) => {
                let i = i % (model.len() + 1);
                assert!(set.iter_from_rank(i).map(|e| e.0).eq(model[i..].iter().map(|e| e.1.as_slice())));
                let head = &model[..(i + 1).min(model.len())];
                assert!(set.iter_rev_from_rank(i).map(|e| e.0).eq(head.iter().rev().map(|e| e.1.as_slice())));
                assert_eq!(set.get_by_rank(i), model.get(i).map(|(s, m)| (m.as_slice(), *s)));
            }
            Step::Remove(_) => {}
        }
    }
    assert_same(&set, &model);
    for (set, model) in &clones {
        assert_same(set, model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_sorted_set_equals_a_sorted_vec_after_any_steps(steps in prop::collection::vec(step(), 1..60)) {
        run(steps, &EncodingLimits::default());
    }

    #[test]
    fn a_sorted_set_that_is_large_at_once_equals_a_sorted_vec(steps in prop::collection::vec(step(), 1..60)) {
        run(steps, &EncodingLimits { zset_max_listpack_entries: 0, ..EncodingLimits::default() });
    }
}

fn filled(n: usize, member_of: impl Fn(usize) -> (f64, String)) -> SortedSet {
    let limits = EncodingLimits::default();
    let mut set = SortedSet::default();
    for i in 0..n {
        let (score, member) = member_of(i);
        set.insert(score, member.as_bytes(), &limits);
    }
    set
}

fn shuffled(i: usize) -> (f64, String) {
    let mixed = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    (mixed as f64 / 1024.0, format!("member:{mixed:010}").chars().take(17).collect())
}

#[test]
fn a_handle_takes_two_words() {
    assert!(mem::size_of::<SortedSet>() <= 16);
}

#[test]
fn the_encoding_follows_the_thresholds_of_the_configuration() {
    let limits = EncodingLimits { zset_max_listpack_entries: 3, ..EncodingLimits::default() };
    let mut set = SortedSet::default();
    for i in 0..3 {
        set.insert(f64::from(i), &[i as u8], &limits);
        assert_eq!(set.encoding(), "listpack");
    }
    set.insert(9.0, &[0], &limits);
    assert_eq!(set.encoding(), "listpack");
    set.insert(3.0, b"3", &limits);
    assert_eq!(set.encoding(), "skiplist");
    let mut set = SortedSet::default();
    set.insert(1.0, &[b'x'; 64], &limits);
    assert_eq!(set.encoding(), "listpack");
    set.insert(1.0, &[b'y'; 65], &limits);
    assert_eq!(set.encoding(), "skiplist");
    set.remove(&[b'y'; 65]);
    assert_eq!(set.encoding(), "skiplist");
}

#[test]
fn a_long_listpack_is_a_tree_inside_and_a_listpack_by_name() {
    let limits = EncodingLimits {
        zset_max_listpack_entries: 5_000,
        zset_max_listpack_value: 100_000,
        ..EncodingLimits::default()
    };
    let mut set = SortedSet::default();
    for i in 0..5_000 {
        set.insert(f64::from(i % 7), format!("member:{i}").as_bytes(), &limits);
    }
    set.insert(1.0, b"member:1", &limits);
    assert_eq!(set.encoding(), "listpack");
    set.check();
    set.insert(1.0, b"one more", &limits);
    assert_eq!(set.encoding(), "skiplist");
}

#[test]
fn the_two_zeros_are_one_score_and_the_first_one_stays() {
    let limits = EncodingLimits::default();
    let mut set = SortedSet::default();
    assert_eq!(set.insert(-0.0, b"a", &limits), Change::Added);
    assert_eq!(set.insert(0.0, b"a", &limits), Change::Unchanged);
    assert!(set.score(b"a").is_some_and(f64::is_sign_negative));
}

#[test]
#[should_panic(expected = "not a number")]
fn nan_never_enters() {
    SortedSet::default().insert(f64::NAN, b"a", &EncodingLimits::default());
}

#[test]
fn a_member_costs_less_than_seventy_bytes_and_the_estimate_is_near() {
    for (name, set) in [
        ("random", filled(100_000, shuffled)),
        ("ascending", filled(100_000, |i| (i as f64 + 0.5, format!("member:{i:010}")))),
    ] {
        set.check();
        let (real, estimate) = (set.heap_bytes(), set.memory_bytes());
        let per_member = real as f64 / set.len() as f64;
        assert!(per_member < 70.0, "{name}: {per_member:.1} bytes per member");
        let ratio = estimate as f64 / real as f64;
        assert!((0.95..1.15).contains(&ratio), "{name}: {estimate} estimated, {real} real");
    }
}

#[test]
fn what_was_removed_in_ranges_leaves_a_sound_and_small_set() {
    let mut set = filled(60_000, shuffled);
    let mut model: Model = set.iter().map(|(m, s)| (s, m.to_vec())).collect();
    let before = set.clone();
    let full = model.clone();
    let mut rng = fastrand::Rng::with_seed(7);
    while model.len() > 100 {
        let start = rng.usize(0..model.len());
        let end = (start + rng.usize(0..3_000)).min(model.len());
        assert_eq!(set.remove_rank_range(start..end).0, end - start);
        model.drain(start..end);
    }
    assert_same(&set, &model);
    while set.has_strays() {
        set.sweep(1_000);
    }
    assert_same(&set, &model);
    assert_same(&before, &full);
    assert!(set.heap_bytes() < 60_000, "{} bytes are left", set.heap_bytes());
}

#[test]
fn a_large_set_that_changes_all_the_time_stays_sound_and_its_clones_stay_the_same() {
    let limits = EncodingLimits::default();
    let mut set = filled(20_000, shuffled);
    let mut model: Model = set.iter().map(|(m, s)| (s, m.to_vec())).collect();
    let mut rng = fastrand::Rng::with_seed(11);
    let mut kept = (set.clone(), model.clone());
    for step in 0..60_000 {
        let grows = step % 30_000 < 8_000;
        match rng.u32(0..10) {
            0..2 => {
                let i = rng.usize(0..model.len());
                let (_, member) = model.remove(i);
                let score = f64::from(rng.i32(-1_000..1_000));
                model.insert(position(&model, score, &member), (score, member.clone()));
                assert_ne!(set.insert(score, &member, &limits), Change::Added);
            }
            2..9 if !grows && model.len() > 10 => {
                let i = rng.usize(0..model.len());
                let (score, member) = model.remove(i);
                assert_eq!(set.remove(&member), Some(score));
            }
            _ => {
                let (score, member) = (f64::from(rng.i32(-1_000..1_000)), format!("new:{step}"));
                model
                    .insert(position(&model, score, member.as_bytes()), (score, member.clone().into_bytes()));
                assert_eq!(set.insert(score, member.as_bytes(), &limits), Change::Added);
            }
        }
        if step % 5_000 == 0 {
            assert_same(&set, &model);
            assert_same(&kept.0, &kept.1);
            kept = (set.clone(), model.clone());
        }
    }
    assert_same(&set, &model);
}

#[test]
fn members_of_any_length_are_kept() {
    let set = filled(400, |i| ((i % 3) as f64, "x".repeat(i * i)));
    set.check();
    assert_eq!(set.len(), 400);
    assert_eq!(set.rank("x".repeat(9).as_bytes()), Some(1));
}

#[test]
fn a_random_member_comes_from_the_set() {
    let set = filled(500, shuffled);
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..100 {
        let (member, score) = set.random(&mut rng).unwrap();
        assert_eq!(set.score(member), Some(score));
    }
    assert_eq!(SortedSet::default().random(&mut rng), None);
}

#[test]
fn strays_are_no_members_come_back_as_new_ones_and_go_in_slices() {
    let limits = EncodingLimits::default();
    let mut set = filled(5_000, |i| (i as f64, format!("member:{i}")));
    let mut model: Model = set.iter().map(|(m, s)| (s, m.to_vec())).collect();
    let whole = (set.clone(), model.clone());
    let (removed, garbage) = set.remove_rank_range(1_000..4_000);
    assert_eq!((removed, garbage.is_none()), (3_000, true));
    model.drain(1_000..4_000);
    assert_same(&set, &model);
    assert_eq!((set.score(b"member:1500"), set.rank(b"member:1500")), (None, None));
    assert_eq!(set.remove(b"member:1500"), None);
    // With the score that it had, and with another one.
    for (score, member) in [(2_000.0, "member:2000"), (7.5, "member:2001")] {
        assert_eq!(set.insert(score, member.as_bytes(), &limits), Change::Added);
        model.insert(position(&model, score, member.as_bytes()), (score, member.as_bytes().to_vec()));
    }
    let midway = (set.clone(), model.clone());
    assert_eq!(set.remove_rank_range(500..1_500).0, 1_000);
    model.drain(500..1_500);
    assert_same(&set, &model);
    let mut freed = 0;
    while set.has_strays() {
        freed += usize::from(set.sweep(100).is_some_and(|garbage| garbage.free_effort() > 0));
        assert_same(&set, &model);
    }
    assert_eq!(freed, 2);
    assert_same(&whole.0, &whole.1);
    assert_same(&midway.0, &midway.1);
}

/// Members in order, some of them long, from scores that repeat.
fn ordered_members(len: usize, scores: u64, member_len: usize) -> Model {
    let mut model: Model = (0..len as u64)
        .map(|i| {
            let spread = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            let score = (spread % scores) as f64 / if scores.is_multiple_of(3) { 8.0 } else { 1.0 };
            let long = if i % 97 == 5 { 300 } else { member_len };
            (score, format!("{i:0long$}").into_bytes())
        })
        .collect();
    model.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    model
}

fn from_model(model: &Model, limits: &EncodingLimits) -> SortedSet {
    let members: Vec<(&[u8], f64)> = model.iter().map(|(score, member)| (&member[..], *score)).collect();
    SortedSet::from_ordered(members.into_iter(), limits)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_set_that_is_built_at_once_equals_one_that_has_grown(
        len in 0usize..12_000,
        scores in 1u64..100_000,
        member_len in 0usize..40,
        ranks in (0usize..12_000, 0usize..12_000),
        listpack_max in prop::sample::select(vec![0, 128, 20_000]),
    ) {
        let limits = EncodingLimits { zset_max_listpack_entries: listpack_max, ..EncodingLimits::default() };
        let mut model = ordered_members(len, scores, member_len);
        let mut set = from_model(&model, &limits);
        assert_same(&set, &model);
        let mut grown = SortedSet::default();
        for (score, member) in &model {
            grown.insert(*score, member, &limits);
        }
        prop_assert_eq!(set.encoding(), grown.encoding());

        let ranks = ranks.0.min(ranks.1).min(len)..ranks.0.max(ranks.1).min(len);
        let part = model[ranks.clone()].to_vec();
        let mut subset = set.subset(ranks, &limits);
        assert_same(&subset, &part);
        prop_assert_eq!(subset.encoding(), from_model(&part, &limits).encoding());

        // What was built changes as any other, and neither of the two knows of the other's changes.
        for i in 0..200 {
            let member = format!("new:{i}").into_bytes();
            prop_assert_eq!(set.insert(f64::from(i), &member, &limits), model_insert(&mut model, f64::from(i), &member));
            if i % 2 == 0 && !model.is_empty() {
                let at = i as usize * 7 % model.len();
                let (score, member) = model.remove(at);
                prop_assert_eq!(set.remove(&member), Some(score));
            }
        }
        assert_same(&set, &model);
        assert_same(&subset, &part);
        while subset.has_strays() {
            drop(subset.sweep(1000));
        }
        assert_same(&subset, &part);
    }
}
