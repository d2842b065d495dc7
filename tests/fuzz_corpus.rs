//! What the fuzz targets hold, held in an ordinary test run: over the corpus in `fuzz/corpus/`, over mutations of it
//! that follow from a seed, and over generated input.
//!
//! A new target is a `mod` line and a test that calls `run_target`.

use std::fmt::Write as _;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use russet::resp::reply::write_request;
use russet::resp::request::Limits;

#[path = "../fuzz/src/request_decoder.rs"]
mod request_decoder;

#[test]
fn request_decoder_agrees_with_the_grammar_over_corpus_and_mutations() {
    let tokens: &[&[u8]] =
        &[b"\r\n", b"\r", b"\n", b"*", b"$", b"-1", b"0", b"12", b"\"", b"'", b"\\x", b"*1\r\n$"];
    run_target("request_decoder", request_decoder::check, tokens, 20_000);
}

#[test]
fn rdb_reader_loads_or_refuses_corpus_and_mutations() {
    let tokens: &[&[u8]] = &[
        b"REDIS0011",
        b"\xff",
        b"\xfe\x00",
        b"\xfc\x00\x00\x00\x00\x00\x00\x00\x80",
        b"\x80\xff\xff\xff\xff",
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xc3\x02\x40\xff",
        b"\x00",
        b"\x12",
        b"\x18\x01f\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00",
        b"\x19",
    ];
    run_target("rdb_reader", russet::persistence::rdb::check_reader, tokens, 20_000);
}

/// Runs `check` over the corpus of the target `name`, and over so many mutations of it, made with `tokens`.
fn run_target(name: &str, check: fn(&[u8]), tokens: &[&[u8]], mutations: usize) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files =
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut corpus: Vec<_> = files.map(|file| file.expect("a directory can be listed").path()).collect();
    corpus.sort();
    let corpus: Vec<Vec<u8>> =
        corpus.iter().map(|path| std::fs::read(path).expect("a corpus file can be read")).collect();
    assert!(corpus.len() >= 9, "{} holds too little", directory.display());
    corpus.iter().for_each(|data| check(data));

    let mut random = fastrand::Rng::with_seed(0x5eed);
    for _ in 0..mutations {
        let mut data = random.choice(&corpus).expect("the corpus is not empty").clone();
        for _ in 0..random.usize(1..=4) {
            mutate(&mut data, &corpus, tokens, &mut random);
        }
        check(&data);
    }
}

/// Changes one thing, as a fuzzer does.
fn mutate(data: &mut Vec<u8>, corpus: &[Vec<u8>], tokens: &[&[u8]], random: &mut fastrand::Rng) {
    if data.is_empty() {
        data.push(random.u8(..));
    }
    let at = random.usize(..data.len());
    let end = data.len().min(at + random.usize(1..=16));
    match random.u8(..8) {
        0 => data[at] ^= 1 << random.u8(..8),
        1 => data[at] = random.u8(..),
        2 => data.truncate(at),
        3 => drop(data.drain(at..end)),
        4 => data.extend_from_within(at..end),
        5 => {
            let other = random.choice(corpus).expect("the corpus is not empty");
            data.truncate(at);
            data.extend_from_slice(&other[random.usize(..=other.len())..]);
        }
        _ => drop(data.splice(at..at, random.choice(tokens).expect("there are tokens").iter().copied())),
    }
}

/// One request as a client may send it.
fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let short = vec(any::<u8>(), 0..20);
    let long = (1usize..20_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]);
    let arg = prop_oneof![20 => short, 1 => long];
    let args = prop_oneof![20 => vec(arg.clone(), 1..6), 1 => vec(arg, 60..120)];
    let skipped = prop_oneof![Just("*0\r\n"), Just("*-1\r\n"), Just("\r\n"), Just(" \t\n")];
    prop_oneof![
        8 => args.clone().prop_map(|args| multibulk(&args)),
        3 => args.prop_map(|args| quoted_line(&args)),
        1 => skipped.prop_map(|text| text.as_bytes().to_vec()),
    ]
}

fn multibulk(args: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = Vec::new();
    write_request(&mut wire, args.iter());
    wire
}

fn quoted_line(args: &[Vec<u8>]) -> Vec<u8> {
    let mut line = String::new();
    // A line longer than the limit is an error, which is another test's business.
    for arg in args.iter().filter(|arg| arg.len() < 100) {
        line.push('"');
        arg.iter().for_each(|byte| write!(line, "\\x{byte:02x}").expect("a String takes all"));
        line.push_str("\" ");
    }
    line.push_str("\r\n");
    line.into_bytes()
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let small = Limits { bulk_bytes_max: 64, args_max: 12, inline_bytes_max: 32, authenticated: true };
    prop_oneof![
        3 => Just(Limits::default()),
        1 => Just(Limits { authenticated: false, ..Limits::default() }),
        1 => Just(small),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_requests_are_decoded_in_any_pieces(
        requests in vec(any_request(), 0..12),
        pieces in vec(1usize..3000, 1..20),
        requests_max in 1usize..5,
    ) {
        let wire = requests.concat();
        let decoded = request_decoder::by_grammar(&wire, &Limits::default());
        prop_assert_eq!(decoded.bytes, Some(wire.len()));
        let mut pieces = pieces.into_iter().cycle();
        let piece = || pieces.next().expect("a cycle has no end");
        request_decoder::assert_agrees(&wire, &Limits::default(), requests_max, piece);
    }

    #[test]
    fn damaged_requests_are_refused_alike_in_any_pieces(
        requests in vec(any_request(), 1..6),
        damage in vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'\r'), Just(b'$'), Just(b'9')]), 0..4),
        pieces in vec(1usize..100, 1..20),
        limits in any_limits(),
    ) {
        let mut wire = requests.concat();
        for (at, byte) in damage {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        let mut pieces = pieces.into_iter().cycle();
        request_decoder::assert_agrees(&wire, &limits, 4, || pieces.next().expect("a cycle has no end"));
    }

    #[test]
    fn random_bytes_are_refused_alike_in_any_pieces(
        wire in prop_oneof![
            vec(any::<u8>(), 0..200),
            vec(prop::sample::select(b"*$\r\n-01239 a\"'\\x\t".as_slice()), 0..200),
        ],
        pieces in vec(1usize..20, 1..10),
        limits in any_limits(),
    ) {
        let mut pieces = pieces.into_iter().cycle();
        request_decoder::assert_agrees(&wire, &limits, 2, || pieces.next().expect("a cycle has no end"));
    }
}
