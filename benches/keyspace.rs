//! What one lookup, one write, a snapshot and a write behind a snapshot cost in a database of a million keys.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use russet::base::clock::UnixMillis;
use russet::storage::live::{AccessPolicy, ExpiryPolicy, LiveDb, Upkeep, View};
use russet::storage::{Db, EncodingLimits, NewExpiry};

const KEYS: u64 = 1_000_000;
const VALUE: &[u8] = &[b'x'; 64];
/// As many requests as a connection with a pipeline of this depth brings at once.
const PIPELINE: usize = 64;

struct Bench {
    db: Db,
    limits: EncodingLimits,
    rng: fastrand::Rng,
    upkeep: Upkeep,
}

impl Bench {
    fn filled() -> Self {
        let mut bench = Self {
            db: Db::new(1),
            limits: EncodingLimits::default(),
            rng: fastrand::Rng::with_seed(1),
            upkeep: Upkeep::default(),
        };
        for n in 0..KEYS {
            bench.live().set_string(&key(n), VALUE, NewExpiry::Clear);
        }
        bench
    }

    fn live(&mut self) -> LiveDb<'_> {
        let view = View {
            now: UnixMillis(1_000_000),
            expiry: ExpiryPolicy::Remove,
            access: AccessPolicy::Lru { seconds: 1000 },
            limits: &self.limits,
        };
        LiveDb::new(&mut self.db, view, &mut self.rng, &mut self.upkeep)
    }
}

fn key(n: u64) -> Vec<u8> {
    format!("key:{n:012}").into_bytes()
}

fn random_keys(count: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| key(rng.u64(..KEYS))).collect()
}

fn lookups(c: &mut Criterion) {
    let mut bench = Bench::filled();
    let keys = random_keys(1 << 16, 2);
    let mut group = c.benchmark_group("a million keys");
    group.throughput(Throughput::Elements(PIPELINE as u64));
    let mut at = 0;
    let mut next = move || {
        at = (at + PIPELINE) % (keys.len() - PIPELINE);
        keys[at..at + PIPELINE].to_vec()
    };
    group.bench_function("64 GETs, prefetched", |b| {
        b.iter_batched(
            &mut next,
            |keys| {
                bench.db.prefetch(keys.iter().map(|key| (key.as_slice(), None)));
                for key in &keys {
                    black_box(bench.live().string(key).is_ok());
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("64 GETs, not prefetched", |b| {
        b.iter_batched(
            &mut next,
            |keys| {
                for key in &keys {
                    black_box(bench.live().string(key).is_ok());
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("64 SETs, prefetched", |b| {
        b.iter_batched(
            &mut next,
            |keys| {
                bench.db.prefetch(keys.iter().map(|key| (key.as_slice(), None)));
                for key in &keys {
                    bench.live().set_string(key, VALUE, NewExpiry::Clear);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn snapshots(c: &mut Criterion) {
    let mut bench = Bench::filled();
    let mut group = c.benchmark_group("a snapshot of a million keys");
    group.bench_function("clone", |b| b.iter_with_large_drop(|| bench.db.clone()));
    // The snapshot is renewed so rarely that its clone does not count, and so often that most segments are shared.
    let (mut n, mut frozen) = (0u64, bench.db.clone());
    group.bench_function("SET behind it, most segments shared", |b| {
        b.iter(|| {
            n += 1;
            if n.is_multiple_of(1000) {
                frozen = bench.db.clone();
            }
            bench.live().set_string(&key(n * 7919 % KEYS), VALUE, NewExpiry::Clear);
        });
    });
    drop(frozen);
    group.bench_function("SCAN COUNT 10", |b| {
        let mut cursor = 0;
        b.iter(|| {
            cursor = bench.db.scan(cursor, 10, |item| {
                black_box(item.key);
            })
        });
    });
    group.finish();
}

criterion_group!(benches, lookups, snapshots);
criterion_main!(benches);
