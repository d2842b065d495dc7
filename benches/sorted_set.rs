//! The sorted set with a million members of 17 bytes and random scores: time per operation, bytes per member.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use russet::storage::{
    limits::EncodingLimits,
    sorted_set::{ScoreBound, ScoreRange, SortedSet},
};
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MEMBERS: u64 = 1_000_000;

fn member(i: u64) -> Vec<u8> {
    format!("member:{i:010}").into_bytes()
}

fn allocated_bytes() -> usize {
    tikv_jemalloc_ctl::epoch::advance().expect("statistics are built in");
    tikv_jemalloc_ctl::stats::allocated::read().expect("statistics are built in")
}

/// Members in random order, as a benchmark client sends them.
fn filled(limits: &EncodingLimits, score: impl Fn(&mut fastrand::Rng) -> f64) -> SortedSet {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut order: Vec<u64> = (0..MEMBERS).collect();
    rng.shuffle(&mut order);
    let before = allocated_bytes();
    let mut set = SortedSet::default();
    let start = std::time::Instant::now();
    for i in order.iter() {
        set.insert(score(&mut rng), &member(*i), limits);
    }
    let ns = start.elapsed().as_nanos() as u64 / MEMBERS;
    let bytes = (allocated_bytes() - before) as f64 / MEMBERS as f64;
    println!(
        "insert: {ns} ns each, {bytes:.1} bytes per member, {} estimated",
        set.memory_bytes() / MEMBERS as usize
    );
    set
}

fn sorted_set(c: &mut Criterion) {
    let limits = EncodingLimits::default();
    println!("small integers as scores:");
    filled(&limits, |rng| f64::from(rng.i32(0..1_000_000)));
    println!("one score:");
    filled(&limits, |_| 0.0);
    println!("random scores:");
    let set = filled(&limits, |rng| rng.f64() * 1e6);
    let mut rng = fastrand::Rng::with_seed(2);
    let mut group = c.benchmark_group("sorted_set");
    group.sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    group.bench_function("score", |b| b.iter(|| set.score(&member(rng.u64(0..MEMBERS)))));
    group.bench_function("rank", |b| b.iter(|| set.rank(&member(rng.u64(0..MEMBERS)))));
    group.bench_function("get_by_rank", |b| {
        b.iter(|| black_box(set.get_by_rank(rng.usize(0..MEMBERS as usize)).is_some()));
    });
    group.bench_function("ranks_by_score", |b| {
        b.iter(|| {
            let min = rng.f64() * 1e6;
            let max = ScoreBound::Excluding(min + 100.0);
            set.ranks_by_score(&ScoreRange { min: ScoreBound::Including(min), max })
        });
    });
    group.bench_function("range of 100", |b| {
        b.iter(|| {
            let start = rng.usize(0..MEMBERS as usize - 100);
            set.range(start..start + 100).map(|(member, _)| member.len()).sum::<usize>()
        });
    });
    group.bench_function("clone", |b| b.iter(|| set.clone()));
    group.bench_function("first write after a clone", |b| {
        b.iter_batched(
            || set.clone(),
            |mut clone| {
                clone.insert(rng.f64() * 1e6, &member(rng.u64(0..MEMBERS)), &limits);
                clone
            },
            BatchSize::PerIteration,
        );
    });
    let mut live = set.clone();
    drop(set);
    group.bench_function("update", |b| {
        b.iter(|| live.insert(rng.f64() * 1e6, &member(rng.u64(0..MEMBERS)), &limits));
    });
    group.bench_function("pop_first and insert", |b| {
        b.iter(|| {
            let (member, _) = live.pop_first().expect("it is put back");
            live.insert(rng.f64() * 1e6, &member, &limits)
        });
    });
    let mut small = SortedSet::default();
    for i in 0..100 {
        small.insert(rng.f64(), &member(i), &limits);
    }
    group.bench_function("update of a small one", |b| {
        b.iter(|| small.insert(rng.f64(), &member(rng.u64(0..100)), &limits));
    });
}

criterion_group!(benches, sorted_set);
criterion_main!(benches);
