//! RESTORE of damaged payloads, and the use of what it lets in: no panic, and no more memory than the bytes can mean.
//!
//! The payloads of `tests/data/dumps.txt`, made by a real server, are mutated and get a valid checksum, so that the
//! damage reaches the decoders. `RUSSET_HOSTILE_PAYLOADS=500000` tries so many (in release), `RUSSET_SEED=7` others.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use russet::base::clock::{ManualClock, UnixMillis};
use russet::base::crc64;
use russet::command::{self, TABLE, dispatch};
use russet::config::{Config, Permission};
use russet::engine::{ClientId, Engine};
use russet::resp::args::OwnedArgs;

const PAYLOADS: u64 = 20_000;
const NOW: UnixMillis = UnixMillis(1_767_225_600_000);
const CHECKSUM_BYTES: usize = 8;
const VERSION_BYTES: usize = 2;

/// LZF makes 264 bytes of 3 at best, and a member has its place in an index too.
const MEMORY_PER_PAYLOAD_BYTE_MAX: u64 = 1000;
const MEMORY_OF_ANY_KEY_MAX: u64 = 100_000;

/// Bytes with a meaning: lengths, encodings, types, ends.
const TOKENS: &[&[u8]] = &[
    b"\xff",
    b"\x00",
    b"\x80\xff\xff\xff\xff",
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x80\x00\x00\x10\x00",
    b"\xc0\x80",
    b"\xc2\xff\xff\xff\x7f",
    b"\xc3\x05\x40\xff",
    b"\xf1\xff\xff",
    b"\xf4\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xe0\x40",
    b"\xf0\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff",
    b"\x7f",
    b"\xfe",
    b"\x00\x00\x00\x00\x00\x00\xf8\x7f",
];

/// What is done to a key that a damaged payload became; most is refused for its type, cheaply.
const USES: &[&str] = &[
    "DEBUG DIGEST-VALUE k",
    "TYPE k",
    "OBJECT ENCODING k",
    "COPY k other REPLACE",
    "GETRANGE k 0 -1",
    "APPEND k x",
    "SETRANGE k 3 y",
    "INCR k",
    "BITCOUNT k",
    "PFCOUNT k",
    "PFADD k a b c",
    "PFMERGE k other",
    "GETBIT k 7",
    "LRANGE k 0 -1",
    "LPUSH k a",
    "LSET k -1 z",
    "LINSERT k BEFORE a b",
    "LREM k 0 2",
    "LPOP k",
    "RPOP k 2",
    "LTRIM k 1 -2",
    "SORT k ALPHA",
    "SMEMBERS k",
    "SADD k 5 a",
    "SREM k 1 b",
    "SPOP k 2",
    "SRANDMEMBER k 3",
    "SUNION k other",
    "SINTERCARD 2 k other",
    "HGETALL k",
    "HSET k f 1 new 2",
    "HINCRBY k n 1",
    "HDEL k f",
    "HRANDFIELD k 2",
    "HPERSIST k FIELDS 1 n",
    "ZRANGE k 0 -1 WITHSCORES",
    "ZADD k 3 a 4 new",
    "ZRANK k a",
    "ZRANGEBYSCORE k -inf +inf",
    "ZRANGEBYLEX k - +",
    "ZINCRBY k 1 b",
    "ZREM k c",
    "ZPOPMIN k",
    "ZUNIONSTORE other 1 k",
    "GEOPOS k Palermo",
    "GEOSEARCH k FROMLONLAT 15 37 BYRADIUS 200 km ASC",
    "XRANGE k - +",
    "XREVRANGE k + -",
    "XINFO STREAM k FULL COUNT 0",
    "XINFO GROUPS k",
    "XPENDING k group",
    "XPENDING k group - + 10",
    "XREADGROUP GROUP group bob STREAMS k >",
    "XREADGROUP GROUP group alice STREAMS k 0",
    "XADD k * f v",
    "XACK k group 1-1 3-0",
    "XAUTOCLAIM k group bob 0 0",
    "XDEL k 1-1 4-1",
    "XTRIM k MAXLEN 3",
    "XADD k 18446744073709551615-1 f v",
    "XGROUP DELCONSUMER k group alice",
    "XGROUP DESTROY k group",
    "SCAN 0",
    "HSCAN k 0",
    "SSCAN k 0",
    "ZSCAN k 0",
    "DUMP k",
    "DEBUG DIGEST",
];

struct Server {
    engine: Engine,
    client: ClientId,
}

impl Server {
    fn new() -> Self {
        let config = Config { enable_debug_command: Permission::Yes, ..Config::default() };
        let mut engine = command::new_engine(config, Box::new(ManualClock::new(NOW)), 1);
        engine.time.sample();
        let client = engine.clients.connect(NOW);
        client.is_authenticated = true;
        let client = client.id;
        Self { engine, client }
    }

    fn call(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let args: OwnedArgs = words.iter().collect();
        let args = args.as_args();
        dispatch::execute(&mut self.engine, self.client, TABLE.lookup(&args), &args);
        self.engine.jobs.clear();
        self.engine.take_pending_writes();
        let mut reply = Vec::new();
        self.engine.clients.get_mut(self.client).expect("it is connected").swap_output(&mut reply);
        reply
    }

    fn call_line(&mut self, line: &str) -> Vec<u8> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.call(&words)
    }

    /// Whether the payload was let in; what it became has been used and is gone again.
    fn try_payload(&mut self, payload: &[u8]) -> bool {
        let reply = self.call(&[b"RESTORE", b"k", b"0", payload]);
        if reply != b"+OK\r\n" {
            assert!(reply.starts_with(b"-ERR Bad data format"), "{}", reply.escape_ascii());
            return false;
        }
        let memory = self.call_line("MEMORY USAGE k SAMPLES 0");
        let memory: u64 = std::str::from_utf8(&memory[1..memory.len() - 2]).unwrap().parse().unwrap();
        let memory_max = MEMORY_OF_ANY_KEY_MAX + payload.len() as u64 * MEMORY_PER_PAYLOAD_BYTE_MAX;
        assert!(memory <= memory_max, "{memory} bytes came of {}", payload.escape_ascii());
        // What the server dumps it takes again, and it is the same.
        let digest = self.call_line("DEBUG DIGEST-VALUE k");
        let dump = self.call_line("DUMP k");
        let start = dump.iter().position(|byte| *byte == b'\n').expect("it is a bulk string") + 1;
        let again = self.call(&[b"RESTORE", b"again", b"0", &dump[start..dump.len() - 2]]);
        assert_eq!(again, b"+OK\r\n", "its own dump is refused: {}", again.escape_ascii());
        assert_eq!(digest, self.call_line("DEBUG DIGEST-VALUE again"));
        for line in USES {
            self.call_line(line);
        }
        self.call_line("DEL k again other");
        true
    }
}

#[test]
fn damaged_payloads_are_refused_or_used_without_harm() {
    let number =
        |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("it is a number"));
    let payloads = number("RUSSET_HOSTILE_PAYLOADS").unwrap_or(PAYLOADS);
    let mut random = fastrand::Rng::with_seed(number("RUSSET_SEED").unwrap_or(0x5eed));
    let corpus = corpus();
    let mut server = Server::new();
    for (name, body) in &corpus {
        assert!(server.try_payload(&signed(body)), "{name} is refused as it is");
    }
    let mut survivors = 0;
    for number in 0..payloads {
        let (name, body) = &corpus[random.usize(..corpus.len())];
        let mut body = body.clone();
        for _ in 0..random.usize(1..=3) {
            mutate(&mut body, &corpus, &mut random);
        }
        let payload = signed(&body);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.try_payload(&payload)));
        match outcome {
            Ok(is_in) => survivors += u64::from(is_in),
            Err(_) => panic!("payload {number}, of {name}: {}", hex(&payload)),
        }
    }
    println!("{payloads} payloads, {survivors} became keys");
    assert!(survivors > payloads / 20, "only {survivors} of {payloads} were let in");
}

/// The payloads without version and checksum, with their names.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let lines = include_str!("data/dumps.txt").lines();
    let entries = lines.map(|line| {
        let (name, digits) = line.split_once(' ').expect("a name and digits");
        let payload = bytes_of_hex(digits);
        (name.to_owned(), payload[..payload.len() - CHECKSUM_BYTES - VERSION_BYTES].to_vec())
    });
    entries.collect()
}

fn signed(body: &[u8]) -> Vec<u8> {
    const VERSION: [u8; VERSION_BYTES] = 10u16.to_le_bytes();
    let mut payload = [body, &VERSION].concat();
    payload.extend(crc64::update(0, &payload).to_le_bytes());
    payload
}

fn bytes_of_hex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Changes one thing.
fn mutate(body: &mut Vec<u8>, corpus: &[(String, Vec<u8>)], random: &mut fastrand::Rng) {
    if body.is_empty() {
        body.push(random.u8(..));
    }
    let at = random.usize(..body.len());
    let end = body.len().min(at + random.usize(1..=12));
    match random.u8(..10) {
        0 | 1 => body[at] ^= 1 << random.u8(..8),
        2 => body[at] = random.u8(..),
        3 => body[at] = body[at].wrapping_add(1),
        4 => body[at] = body[at].wrapping_sub(1),
        // Another type for the same bytes.
        5 => body[0] = random.u8(..26),
        6 => drop(body.drain(at..end)),
        7 => body.extend_from_within(at..end),
        8 => {
            let (_, other) = &corpus[random.usize(..corpus.len())];
            let from = random.usize(..other.len());
            let piece = &other[from..other.len().min(from + 24)];
            body.splice(at..end, piece.iter().copied());
        }
        _ => {
            let token = TOKENS[random.usize(..TOKENS.len())];
            body.splice(at..end, token.iter().copied());
        }
    }
}
