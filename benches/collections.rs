//! What one operation on a large list, hash or set costs, and what the first write after a clone costs.
#![allow(clippy::unwrap_used)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use russet::storage::{hash::Hash, limits::EncodingLimits, list::List, set::Set};
use std::hint::black_box;

const ELEMENTS: usize = 1_000_000;

fn text(kind: &str, i: usize) -> Vec<u8> {
    format!("{kind}:{i:010}").into_bytes()
}

fn lists(c: &mut Criterion) {
    let limits = EncodingLimits::default();
    let mut list = List::new();
    (0..ELEMENTS).for_each(|i| list.push_back(&text("element", i), &limits));
    let mut rng = fastrand::Rng::with_seed(1);
    let mut group = c.benchmark_group("list");
    group.bench_function("push_back", |b| b.iter(|| list.push_back(b"element:0000000000", &limits)));
    group.bench_function("push_front", |b| b.iter(|| list.push_front(b"element:0000000000", &limits)));
    group.bench_function("push_front, pop_back", |b| {
        b.iter(|| {
            list.push_front(b"element:0000000000", &limits);
            black_box(list.pop_back())
        });
    });
    group.bench_function("push_back, pop_front", |b| {
        b.iter(|| {
            list.push_back(b"element:0000000000", &limits);
            black_box(list.pop_front())
        });
    });
    list.keep_range(0, ELEMENTS);
    group.bench_function("get anywhere", |b| {
        b.iter(|| black_box(list.get(rng.usize(..ELEMENTS)).map(<[u8]>::len)))
    });
    group.bench_function("set anywhere", |b| {
        b.iter(|| list.set(rng.usize(..ELEMENTS), b"element:1111111111", &limits));
    });
    group.bench_function("insert and remove anywhere", |b| {
        b.iter(|| {
            list.insert(rng.usize(..ELEMENTS), b"element:2222222222", &limits);
            black_box(list.remove(rng.usize(..ELEMENTS)))
        });
    });
    group.bench_function("walk 100", |b| {
        b.iter(|| list.iter_range(ELEMENTS / 2, 100).map(<[u8]>::len).sum::<usize>())
    });
    group.bench_function("first write after a clone", |b| {
        let mut frozen = list.clone();
        b.iter(|| {
            list.set(rng.usize(..ELEMENTS), b"element:3333333333", &limits);
            frozen = list.clone();
        });
    });
}

fn hashes(c: &mut Criterion) {
    let limits = EncodingLimits::default();
    let mut hash = Hash::new();
    for i in 0..ELEMENTS {
        hash.insert(&text("field", i), &text("value", i), &limits);
    }
    println!("{:.1} bytes per field", hash.memory_bytes() as f64 / ELEMENTS as f64);
    let fields: Vec<Vec<u8>> = (0..ELEMENTS).map(|i| text("field", i)).collect();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut group = c.benchmark_group("hash");
    group.bench_function("get", |b| {
        b.iter(|| black_box(hash.get(rng.choice(&fields).unwrap()).map(<[u8]>::len)))
    });
    group.bench_function("overwrite", |b| {
        let mut i = 0;
        b.iter(|| {
            i += 1;
            hash.insert(rng.choice(&fields).unwrap(), &text("value", i), &limits)
        });
    });
    group.bench_function("remove and insert", |b| {
        b.iter(|| {
            let field = rng.choice(&fields).unwrap();
            hash.remove(field);
            hash.insert(field, b"value:0000000000", &limits)
        });
    });
    group.bench_function("random", |b| {
        b.iter(|| black_box(hash.random(&mut rng).map(|(field, _)| field.len())))
    });
    group.bench_function("scan 10", |b| {
        let mut cursor = 0;
        b.iter(|| cursor = hash.scan(cursor, 10, i64::MIN, |field, _| _ = black_box(field)));
    });
    group.bench_function("first write after a clone", |b| {
        let (mut frozen, mut i) = (hash.clone(), 0);
        b.iter(|| {
            i += 1;
            hash.insert(rng.choice(&fields).unwrap(), &text("other", i), &limits);
            frozen = hash.clone();
        });
    });
    group.bench_function("ten fields", |b| {
        let pairs: Vec<_> = (0..10).map(|i| (format!("f{i}"), format!("value{i}"))).collect();
        b.iter_batched_ref(
            Hash::new,
            |hash| pairs.iter().for_each(|(f, v)| _ = hash.insert(f.as_bytes(), v.as_bytes(), &limits)),
            BatchSize::SmallInput,
        );
    });
}

fn sets(c: &mut Criterion) {
    let limits = EncodingLimits::default();
    let members: Vec<Vec<u8>> = (0..ELEMENTS).map(|i| text("member", i)).collect();
    let mut group = c.benchmark_group("set");
    group.bench_function("fill with 100,000 members", |b| {
        b.iter(|| {
            let mut set = Set::new();
            members[..100_000].iter().for_each(|member| _ = set.insert(member, &limits));
            set
        });
    });
    let mut set = Set::new();
    members.iter().for_each(|member| _ = set.insert(member, &limits));
    println!("{:.1} bytes per member", set.memory_bytes() as f64 / ELEMENTS as f64);
    let mut rng = fastrand::Rng::with_seed(1);
    group.bench_function("contains", |b| b.iter(|| set.contains(rng.choice(&members).unwrap())));
    group.bench_function("insert what is there", |b| {
        b.iter(|| set.insert(rng.choice(&members).unwrap(), &limits))
    });
    group.bench_function("pop_random and insert", |b| {
        b.iter(|| {
            let member = set.pop_random(&mut rng).unwrap();
            set.insert(&member, &limits)
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1))
        .sample_size(20);
    targets = lists, hashes, sets
}
criterion_main!(benches);
