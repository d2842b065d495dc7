//! What decoding a request costs: small ones in a pipeline, by hand and by grammar, and a huge one in small pieces.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use russet::resp::grammar;
use russet::resp::reply::write_request;
use russet::resp::request::{Batch, Decoder, Limits};

const PIPELINE: usize = 128;

/// `PIPELINE` times the same request, with another key each time.
fn pipeline(args: impl Fn(&str) -> Vec<Vec<u8>>) -> Vec<u8> {
    let mut wire = Vec::new();
    for n in 0..PIPELINE {
        write_request(&mut wire, args(&format!("key:{n:012}")).iter());
    }
    wire
}

fn set(key: &str) -> Vec<Vec<u8>> {
    vec![b"SET".to_vec(), key.into(), vec![b'x'; 64]]
}

fn get(key: &str) -> Vec<Vec<u8>> {
    vec![b"GET".to_vec(), key.into()]
}

fn mset(key: &str) -> Vec<Vec<u8>> {
    let mut args = vec![b"MSET".to_vec()];
    args.extend((0..200).map(|n| format!("{key}:{n}").into_bytes()));
    args
}

fn decode_all(decoder: &mut Decoder, batch: &mut Batch, wire: &[u8]) {
    let decoded = decoder.decode(black_box(wire), &Limits::default(), batch, usize::MAX, usize::MAX);
    assert_eq!(decoded, Ok(wire.len()));
}

/// Times are for one request.
fn small_requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline of 128");
    group.throughput(Throughput::Elements(PIPELINE as u64));
    let inline = b"SET key:000000000001 value\r\n".repeat(PIPELINE);
    for (name, wire) in [
        ("SET of 64 bytes", pipeline(set)),
        ("GET", pipeline(get)),
        ("inline SET", inline),
        ("MSET of 200 arguments", pipeline(mset)),
    ] {
        let (mut decoder, mut batch) = (Decoder::new(), Batch::new());
        group.bench_function(name, |b| b.iter(|| decode_all(&mut decoder, &mut batch, &wire)));
    }
    let wire = pipeline(set);
    group.bench_function("SET of 64 bytes, by grammar", |b| {
        b.iter(|| {
            let mut rest = black_box(wire.as_slice());
            while !rest.is_empty() {
                let (after, args) = grammar::request(&Limits::default(), rest).expect("the wire is valid");
                black_box(args);
                rest = after;
            }
        });
    });
    group.finish();
}

/// Copying the pieces is not in the figure: it is what the decoder adds.
fn huge_set(c: &mut Criterion) {
    let mut group = c.benchmark_group("SET in pieces of 1 KiB");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    for megabytes in [1usize, 10, 100] {
        let mut wire = Vec::new();
        write_request(&mut wire, [b"SET".to_vec(), b"key".to_vec(), vec![b'x'; megabytes << 20]].iter());
        group.throughput(Throughput::Elements(wire.len().div_ceil(1024) as u64));
        let mut batch = Batch::new();
        group.bench_function(format!("{megabytes} MiB"), |b| {
            b.iter(|| {
                let mut decoder = Decoder::new();
                for end in (1024..wire.len()).step_by(1024) {
                    let arrived = &black_box(&wire)[..end];
                    let decoded = decoder.decode(arrived, &Limits::default(), &mut batch, 1, usize::MAX);
                    assert_eq!(decoded, Ok(0));
                }
                decode_all(&mut decoder, &mut batch, &wire);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, small_requests, huge_set);
criterion_main!(benches);
