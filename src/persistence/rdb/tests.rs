//! Files that a real Redis saved or agreed on (`tests/data/rdb/make.py`), random data sets, and broken bytes.

use proptest::prelude::*;

use super::encode::Encoder;
use super::listpack::ListpackBuilder;
use super::output::{Compression, Output};
use super::values::ValueRef;
use super::values::{self, Hash, List, Set, SortedSet, Stream, Value, as_ref};
use super::*;
use crate::base::clock::UnixMillis;
use crate::storage::limits::EncodingLimits;
use crate::storage::stream::{BlockLimits, Entry, Group, Keep, Pending, StreamId, Trim};

/// Built in, since only `runtime` opens files.
macro_rules! goldens {
    ($($name:literal),*) => {
        [$(($name, include_bytes!(concat!("../../../tests/data/rdb/", $name, ".rdb")).as_slice())),*]
    };
}

const GOLDENS: [(&str, &[u8]); 9] = goldens![
    "strings",
    "collections",
    "databases_lfu",
    "lru",
    "no_checksum",
    "stream",
    "version_1",
    "version_6",
    "empty_keys"
];

fn golden(name: &str) -> Vec<u8> {
    GOLDENS.iter().find(|(golden, _)| *golden == name).unwrap().1.to_vec()
}

/// A line for each thing in the file.
#[derive(Default)]
struct Transcript {
    db: u64,
    lines: Vec<String>,
    refuse_db: Option<u64>,
}

impl RdbSink for Transcript {
    fn select_db(&mut self, db: u64) -> Result<(), String> {
        if self.refuse_db == Some(db) {
            return Err(format!("no database {db}"));
        }
        self.db = db;
        Ok(())
    }

    fn resize(&mut self, keys: u64, expires: u64) -> Result<(), String> {
        self.lines.push(format!("db{} resize {keys} {expires}", self.db));
        Ok(())
    }

    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), String> {
        let RdbEntry { key, value, expires_at, usage } = entry;
        let mut line = format!("db{} {} {}", self.db, text(key), describe(&value.into_value()));
        if let Some(UnixMillis(at)) = expires_at {
            line += &format!(" expires {at}");
        }
        if let Some(usage) = usage {
            line += &format!(" {usage:?}");
        }
        self.lines.push(line);
        Ok(())
    }

    fn function(&mut self, code: Vec<u8>) -> Result<(), String> {
        self.lines.push(format!("function {}", text(&code)));
        Ok(())
    }
}

fn text(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=60 => bytes.escape_ascii().to_string(),
        length => format!("<{length} bytes, {:x}>", crate::base::crc64::update(0, bytes)),
    }
}

fn describe(value: &Value) -> String {
    let (name, mut parts): (_, Vec<String>) = match value {
        Value::String(bytes) => ("string", vec![text(bytes)]),
        Value::List(list) => ("list", values::elements(list).map(text).collect()),
        Value::Hash(hash) => {
            let timed = |(field, value, expiry): (&[u8], &[u8], i64)| match expiry {
                values::NEVER => format!("{}={}", text(field), text(value)),
                at => format!("{}={} until {at}", text(field), text(value)),
            };
            ("hash", values::timed_fields(hash).map(timed).collect())
        }
        Value::Set(set) => {
            let mut members = Vec::new();
            values::try_for_members(set, |member| {
                members.push(text(member));
                Ok::<(), ()>(())
            })
            .unwrap();
            ("set", members)
        }
        Value::SortedSet(scores) => {
            ("zset", values::scored(scores).map(|(m, s)| format!("{}:{s:?}", text(m))).collect())
        }
        Value::Stream(stream) => ("stream", describe_stream(stream)),
    };
    if matches!(value, Value::Hash(_) | Value::Set(_)) {
        parts.sort();
    }
    format!("{name} {}", parts.join(" "))
}

fn describe_stream(stream: &Stream) -> Vec<String> {
    let fields = |entry: Entry<'_>| -> Vec<String> {
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
        let [first, second] = &mut digits;
        entry
            .fields()
            .map(|(f, v)| format!("{}={}", text(f.as_bytes(first)), text(v.as_bytes(second))))
            .collect()
    };
    let entries = stream
        .range(StreamId::MIN, StreamId::MAX)
        .map(|entry| format!("{}({})", entry.id, fields(entry).join(",")));
    let mut parts: Vec<String> = entries.collect();
    parts.push(format!(
        "len {} last {} deleted {} added {}",
        stream.len(),
        stream.last_id(),
        stream.max_deleted_id(),
        stream.entries_added()
    ));
    for (name, group) in stream.groups() {
        parts.push(format!("group {} at {} read {:?}", text(name), group.last_id, group.entries_read));
        parts.extend(group.pending_from(StreamId::MIN).map(|(id, pending)| {
            let name = text(&pending.consumer);
            format!("{id} of {name} at {} times {}", pending.delivered_at, pending.deliveries)
        }));
        parts.extend(
            group.consumers().map(|(name, consumer)| format!("{} seen at {}", text(name), consumer.seen_at)),
        );
    }
    parts
}

fn transcript(bytes: &[u8]) -> Result<(Vec<String>, Summary), RdbError> {
    let mut sink = Transcript::default();
    let summary = read(bytes, &EncodingLimits::default(), &mut sink)?;
    sink.lines.sort();
    Ok((sink.lines, summary))
}

fn check(name: &str, expected: &[&str]) -> Summary {
    let bytes = golden(name);
    let (lines, summary) = transcript(&bytes).unwrap();
    assert_eq!(lines, expected);
    assert_eq!(summary.bytes, bytes.len() as u64);
    assert_eq!(summary.read_ahead, b"");
    summary
}

#[test]
fn strings_of_redis_7_are_loaded() {
    let binary: Vec<u8> = (0..=255).collect();
    let fourteen: Vec<u8> = (33..133).collect();
    let lzf = "compressible ".repeat(40);
    let mut expected = vec![
        "db0 1234567 string integer key".to_owned(),
        format!("db0 binary string {}", text(&binary)),
        "db0 empty string ".to_owned(),
        format!("db0 fourteen string {}", text(&fourteen)),
        "db0 int16 string 12345".to_owned(),
        "db0 int32 string -2000000000".to_owned(),
        "db0 int64 string 9223372036854775807".to_owned(),
        "db0 int8 string -5".to_owned(),
        format!("db0 lzf string {}", text(lzf.as_bytes())),
        "db0 resize 11 0".to_owned(),
        "db0 text string hello".to_owned(),
        "db0 zeros string 007".to_owned(),
    ];
    expected.sort();
    let summary = check("strings", &expected.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((summary.version, summary.keys), (10, 11));
    assert!(summary.aux.contains(&(b"redis-ver".to_vec(), b"7.0.15".to_vec())));
}

#[test]
fn collections_of_redis_7_are_loaded_from_each_encoding() {
    let long = text("b".repeat(70).as_bytes());
    check(
        "collections",
        &[
            "db0 hash:hashtable hash a=1 b=2 c=three",
            "db0 hash:listpack hash field=value n=42",
            "db0 list:nodes list 0 1 2 3 4 5 6",
            "db0 list:plain list small xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx small too",
            &format!("db0 list:small list a 1 -1 300 -40000 8000000 2000000000 9000000000 {long}"),
            "db0 resize 11 0",
            "db0 set:hashtable set 10 x y",
            "db0 set:int16 set 1 2 3",
            "db0 set:int32 set -1 70000",
            "db0 set:int64 set -5 5000000000",
            "db0 zset:listpack zset low:-inf one:1.0 two and a half:2.5 far:1e300",
            "db0 zset:skiplist zset tenth:0.1 one:1.0 high:inf",
        ],
    );
}

#[test]
fn databases_expiries_usage_and_functions_are_loaded() {
    let bytes = golden("databases_lfu");
    let (lines, summary) = transcript(&bytes).unwrap();
    // The counters begin at 5 and may move while the file is made.
    let without_usage: Vec<&str> = lines.iter().map(|line| line.split(" Freq").next().unwrap()).collect();
    assert_eq!(
        without_usage,
        [
            "db0 later string 1 expires 4102444800123",
            "db0 plain string 0",
            "db0 resize 2 1",
            "db15 last string db",
            "db15 resize 1 0",
            "db3 list list x expires 4102444800000",
            "db3 resize 1 1",
            &format!("function {}", text(FUNCTION.as_bytes())),
        ]
    );
    assert_eq!(lines.iter().filter(|line| line.contains(" Frequency(")).count(), 4);
    assert_eq!((summary.keys, summary.expires, summary.functions), (4, 2, 1));
    assert_eq!(summary.db_keys, [(0, 2), (3, 1), (15, 1)]);
    check("lru", &["db0 key string value Idle(0)", "db0 resize 1 0"]);
    check("no_checksum", &["db0 key string value", "db0 resize 1 0"]);
}

#[test]
fn streams_of_redis_7_are_loaded() {
    let (lines, _) = transcript(&golden("stream")).unwrap();
    // When a consumer was last seen is when the file was made.
    let lines: Vec<String> = lines
        .iter()
        .map(|line| {
            let words = line.split(' ').scan("", |before, word| {
                let shown =
                    if *before == "at" && word.len() == 13 && !word.starts_with("15") { "_" } else { word };
                *before = word;
                Some(shown)
            });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(
        lines,
        [
            "db0 nothing stream len 0 last 0-0 deleted 0-0 added 0 group group at 5-5 read Some(3)",
            "db0 resize 2 0",
            "db0 stream stream 1-1(field=value) 2-0(other=x,field=-5) 300-0(field=value) 300-1(field=last) \
             len 4 last 300-1 deleted 1-2 added 5 \
             group group at 2-0 read None \
             1-1 of alice at 1526569498056 times 2 2-0 of bob at 1526569498055 times 7 \
             alice seen at _ bob seen at _ \
             group idle at 300-1 read None",
        ]
    );
}

/// The layouts of Redis 5 and 7.2 tell less and more than that of 7.0.
#[test]
fn streams_of_older_and_newer_versions_are_loaded() {
    let entries: Vec<(u64, Vec<u8>, Vec<u8>)> = (0..8).map(|n| (2, b"f".to_vec(), vec![b'a' + n])).collect();
    let stream = build_stream(&entries);
    let mut output = Output::new(Vec::new(), Compression::None, false);
    output.byte(kind::STREAM_LISTPACKS);
    output.length(stream.blocks_len() as u64);
    for (id, listpack) in stream.blocks() {
        output.string(&id.to_bytes()).unwrap();
        output.string(listpack).unwrap();
    }
    // 8 entries, the last one 16-8, and a group that has read the first.
    for number in [8, 16, 8, 1] {
        output.length(number);
    }
    output.string(b"group").unwrap();
    [2, 1, 1].into_iter().for_each(|number| output.length(number));
    let id = StreamId::new(2, 1).to_bytes();
    output.small(&id);
    output.small(&5i64.to_le_bytes());
    [3, 1].into_iter().for_each(|number| output.length(number));
    output.string(b"alice").unwrap();
    output.small(&6i64.to_le_bytes());
    output.length(1);
    output.small(&id);
    let mut body = output.finish().unwrap();
    body.truncate(body.len() - 8);
    let limits = EncodingLimits::default();
    let old = describe(&read_value(&body, &limits).unwrap());
    let expected = "len 8 last 16-8 deleted 0-0 added 8 group group at 2-1 read Some(1) \
                    2-1 of alice at 5 times 3 alice seen at 6";
    assert!(old.ends_with(expected), "{old}");

    let mut output = Output::new(Vec::new(), Compression::None, false);
    Encoder::default().object(&mut output, None, ValueRef::Stream(&stream), 11).unwrap();
    let mut body = output.finish().unwrap();
    body.truncate(body.len() - 8);
    assert_eq!(body[0], kind::STREAM_LISTPACKS_3);
    assert_eq!(describe(&read_value(&body, &limits).unwrap()), describe(&Value::Stream(stream)));
}

const FUNCTION: &str = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";

#[test]
fn files_of_old_versions_are_loaded() {
    check(
        "version_1",
        &[
            "db0 hash hash f=v",
            "db0 list list a 7 c",
            "db0 set set x y",
            "db0 string string value expires 2000000000000",
            "db0 zset zset low:-inf half:0.5 one:1.0 high:inf",
        ],
    );
    let long = text("b".repeat(300).as_bytes());
    check(
        "version_6",
        &[
            "db2 hash hash f=v n=1000 expires 4102444800000",
            "db2 intset set -1 0 1",
            &format!("db2 list list a 0 12 13 -129 40000 1073741824 -1099511627776 {long} end"),
            "db2 quicklist list a b 3",
            "db2 zipmap hash f=vv field=value",
            "db2 zset zset minus:-3.0 half:0.5 one:1.0",
        ],
    );
}

#[test]
fn empty_collections_are_skipped_and_counted() {
    let summary = check("empty_keys", &["db0 resize 6 1", "db0 string string "]);
    assert_eq!((summary.keys, summary.expires, summary.empty_keys_skipped), (1, 0, 5));
    assert!(matches!(
        read_value(b"\x01\x00", &EncodingLimits::default()).unwrap_err().reason,
        Reason::EmptyKey
    ));
}

#[test]
fn what_cannot_be_served_is_refused_by_name_and_offset() {
    let error = transcript(b"REDIS0010\x07\x01k").unwrap_err();
    assert_eq!(error.to_string(), "offset 9: unsupported type module");
    let mut sink = Transcript { refuse_db: Some(2), ..Transcript::default() };
    let error = read(&golden("version_6")[..], &EncodingLimits::default(), &mut sink).unwrap_err();
    assert_eq!(error.to_string(), "offset 10: no database 2");
    for (bytes, message) in [
        (&b"REDIS0013"[..], "offset 0: expected a version from 1 to 12, found `REDIS0013`"),
        (b"RODIS0010", "offset 0: expected `REDIS` and a version, found `RODIS0010`"),
        (b"REDIS0010", "offset 9: expected at least 1 more bytes, found the end of the input"),
        (b"REDIS0010\x4d\x01k", "offset 9: expected an opcode or value type, found byte 77"),
    ] {
        assert_eq!(transcript(bytes).unwrap_err().to_string(), message);
    }
}

#[test]
fn duplicates_nan_and_odd_pairs_are_refused() {
    for (body, what) in [
        (&b"\x02\x02\x01a\x01a"[..], "set"),
        (b"\x04\x02\x01a\x01b\x01a\x01c", "hash"),
        (b"\x05\x02\x01a\0\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\0", "zset"),
        (b"\x05\x01\x01a\0\0\0\0\0\0\xf8\x7f", "NaN"),
        (b"\x03\x01\x01a\xfd", "NaN as text"),
        (b"\x03\x01\x01a\x03nan", "NaN in words"),
        (b"\x10\x09\x09\0\0\0\x01\0\x01\x01\xff", "a field without value"),
        (b"\x00\x01aa", "bytes after the value"),
        (b"", "nothing"),
    ] {
        assert!(read_value(body, &EncodingLimits::default()).is_err(), "{what}");
    }
}

#[test]
fn module_data_and_slots_are_skipped() {
    let file =
        b"REDIS0010\xf7\x81\0\0\0\0\0\0\0\x07\x02\x01\x05\x03abc\x01\x09\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\
        \x00\xf4\x01\x02\x03\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    assert_eq!(transcript(file).unwrap().0, ["db0 k string v"]);
}

#[test]
fn bytes_after_the_file_are_handed_back() {
    let mut bytes = golden("strings");
    let length = bytes.len() as u64;
    bytes.extend(b"*1\r\n$4\r\nPING\r\n");
    let (_, summary) = transcript(&bytes).unwrap();
    assert_eq!(summary.bytes, length);
    assert_eq!(summary.read_ahead, b"*1\r\n$4\r\nPING\r\n");
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut bytes = golden("strings");
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(transcript(&bytes).unwrap_err().reason, Reason::Checksum { .. }));
}

#[test]
fn a_list_node_without_bytes_is_refused() {
    assert!(read_value(b"\x12\x01\x01\x00", &EncodingLimits::default()).is_err());
}

#[test]
fn dump_payloads_carry_version_10_and_a_checksum() {
    // As redis-server 7.0.15 replies to DUMP of these.
    assert_eq!(dump_value(ValueRef::Int(10)), b"\x00\xc0\x0a\x0a\x00\x6e\x9f\x57\x45\x0e\xae\x63\xbb");
    let mut payload = dump_value(ValueRef::Str(b"hello"));
    assert_eq!(verify_dump_payload(&payload), Some(&b"\x00\x05hello"[..]));
    payload[1] ^= 1;
    assert_eq!(verify_dump_payload(&payload), None);
    assert_eq!(body_of_dump_payload(&payload, Trust::Checksum).map(<[u8]>::len), Some(7));
    assert_eq!(verify_dump_payload(b"short"), None);
}

#[test]
fn any_truncation_of_a_file_is_refused() {
    for (name, bytes) in GOLDENS {
        for end in 0..bytes.len() {
            assert!(transcript(&bytes[..end]).is_err(), "{name} up to {end}");
            check_reader(&bytes[..end]);
        }
    }
}

#[test]
fn a_changed_byte_never_panics() {
    for (_, golden) in GOLDENS {
        let mut bytes = golden.to_vec();
        for at in 0..bytes.len() {
            let original = bytes[at];
            let flips = (0..8).map(|bit| original ^ (1 << bit));
            for changed in flips.chain([0, 0x7f, 0x80, 0xff]) {
                bytes[at] = changed;
                check_reader(&bytes);
            }
            bytes[at] = original;
        }
    }
}

#[test]
fn random_mutations_never_panic() {
    let mut random = fastrand::Rng::with_seed(20);
    for _ in 0..20_000 {
        let mut bytes = random.choice(GOLDENS).unwrap().1.to_vec();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(9..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.insert(at, random.u8(..)),
                2 => {
                    let other = random.choice(GOLDENS).unwrap().1;
                    let from = random.usize(..other.len());
                    let to = random.usize(from..other.len().min(from + 40));
                    bytes.splice(at..at, other[from..to].iter().copied());
                }
                _ => {
                    bytes.remove(at);
                }
            }
        }
        check_reader(&bytes);
    }
}

/// A stream whose every bit was flipped and which was cut off everywhere is refused, or is one that can be worked with.
#[test]
fn no_broken_stream_is_read_as_something_that_panics() {
    let entries: Vec<(u64, Vec<u8>, Vec<u8>)> =
        (1..=16).map(|n| (n % 3, b"field"[..1 + n as usize % 2].to_vec(), vec![b'x'; n as usize])).collect();
    let mut output = Output::new(Vec::new(), Compression::None, false);
    Encoder::default().object(&mut output, None, ValueRef::Stream(&build_stream(&entries)), 11).unwrap();
    let mut body = output.finish().unwrap();
    body.truncate(body.len() - 8);
    let limits = EncodingLimits::default();
    assert!(read_value(&body, &limits).is_ok());
    let mut accepted = 0;
    for at in 0..body.len() {
        assert!(read_value(&body[..at], &limits).is_err());
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            let mut body = body.clone();
            body[at] ^= change;
            if let Ok(Value::Stream(stream)) = read_value(&body, &limits) {
                accepted += 1;
                work_with(stream);
            }
        }
    }
    assert!(accepted > 0, "a flipped bit of a value does no harm");
}

/// What commands do to a stream, all of it.
fn work_with(mut stream: Stream) {
    describe_stream(&stream);
    assert_eq!(stream.range_back(StreamId::MIN, StreamId::MAX).count(), stream.len());
    dump_value(ValueRef::Stream(&stream));
    let names: Vec<_> = stream.groups().map(|(name, _)| name.clone()).collect();
    for name in names {
        stream.group(&name).map(|group| stream.lag(group));
        let group = stream.group_mut(&name).unwrap();
        let consumers: Vec<_> = group.consumers().map(|(name, _)| name.clone()).collect();
        let owned = consumers.iter().filter_map(|name| group.delete_consumer(name)).sum::<usize>();
        assert_eq!((owned > 0, group.pending_len()), (!consumers.is_empty(), 0));
    }
    if let Some(id) = stream.last_id().next() {
        stream.append(id, &[(b"field", b"value")], BlockLimits::default());
        assert_eq!(stream.last_entry_id(), Some(id));
    }
    if let Some(id) = stream.first_entry_id() {
        assert!(stream.delete(id));
    }
    let trim = |keep| Trim { keep, is_approximate: false, entries_max: 0 };
    stream.trim(trim(Keep::Len(3)));
    stream.trim(trim(Keep::Len(0)));
    assert_eq!((stream.len(), stream.first_entry_id()), (0, None));
}

#[derive(Debug, Clone)]
enum Model {
    String(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(Vec<Vec<u8>>),
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
    /// With the expiries of fields, where they have one.
    VolatileHash(Vec<(Vec<u8>, Vec<u8>, Option<i64>)>),
    SortedSet(Vec<(Vec<u8>, f64)>),
    Stream(Vec<(u64, Vec<u8>, Vec<u8>)>),
}

impl Model {
    fn build(&self, limits: &EncodingLimits) -> Value {
        match self {
            Self::String(bytes) => Value::string(bytes.clone()),
            Self::List(elements) => {
                let mut list = List::default();
                elements.iter().for_each(|element| values::push(&mut list, element, limits));
                Value::List(list)
            }
            Self::Set(members) => {
                let mut set = Set::default();
                for member in members {
                    let _ = values::insert_member(&mut set, member, limits);
                }
                Value::Set(set)
            }
            Self::Hash(fields) => {
                let mut hash = Hash::default();
                for (field, value) in fields {
                    let _ = values::insert_field(&mut hash, field, value, limits);
                }
                Value::Hash(hash)
            }
            Self::VolatileHash(fields) => {
                let mut hash = Hash::default();
                for (field, value, expiry) in fields {
                    let expiry = expiry.unwrap_or(values::NEVER);
                    let _ = values::insert_timed_field(&mut hash, field, value, expiry, limits);
                }
                Value::Hash(hash)
            }
            Self::SortedSet(scores) => {
                let mut sorted_set = SortedSet::default();
                for (member, score) in scores {
                    let _ = values::insert_scored(&mut sorted_set, *score, member, limits);
                }
                Value::SortedSet(sorted_set)
            }
            Self::Stream(entries) => Value::Stream(build_stream(entries)),
        }
    }
}

/// A stream with a hole where there is room for one, and a group that has read half of it.
fn build_stream(entries: &[(u64, Vec<u8>, Vec<u8>)]) -> Stream {
    let mut stream = Stream::default();
    let mut group = Group::new(StreamId::MIN, Some(entries.len() as i64 / 2));
    for (index, (step, field, value)) in entries.iter().enumerate() {
        let last = stream.last_id();
        let id = StreamId { ms: last.ms + step, seq: last.seq + 1 };
        stream.append(id, &[(field, value)], BlockLimits { bytes: 300, entries: 7 });
        if index < entries.len() / 2 {
            let name = [b'a' + (index % 3) as u8];
            group.create_consumer(&name, *step as i64);
            let consumer = group.name_of(&name).unwrap();
            group.assign(id, Pending { consumer, delivered_at: *step as i64, deliveries: index as u64 });
            group.last_id = id;
        }
    }
    if let Some(id) = stream.first_entry_id().filter(|id| id.ms % 2 == 1) {
        stream.delete(id);
    }
    stream.create_group(b"group", group);
    stream.create_group(b"empty", Group::new(StreamId::MAX, None));
    stream
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (any::<i64>(), 0u32..64).prop_map(|(n, shift)| (n >> shift).to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(b'a'..b'c', 0..200),
        (0usize..20_000).prop_map(|length| vec![b'x'; length]),
    ]
}

fn model() -> impl Strategy<Value = Model> {
    let score = prop_oneof![
        any::<i32>().prop_map(f64::from),
        any::<f64>().prop_filter("a score is a number", |score| !score.is_nan()),
        Just(f64::INFINITY),
        Just(-0.0),
    ];
    let integer = any::<i32>().prop_map(|n| n.to_string().into_bytes());
    let expiry =
        || prop::option::of((0..=FIELD_EXPIRY_MAX, 0u32..48).prop_map(|(at, shift)| (at >> shift).max(1)));
    let short = || prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        element().prop_map(Model::String),
        prop::collection::vec(element(), 1..40).prop_map(Model::List),
        prop::collection::vec(element(), 1..40).prop_map(Model::Set),
        prop::collection::vec(integer, 1..600).prop_map(Model::Set),
        prop::collection::vec((element(), element()), 1..40).prop_map(Model::Hash),
        prop::collection::vec((element(), element(), expiry()), 1..40).prop_map(Model::VolatileHash),
        prop::collection::vec((short(), short(), expiry()), 1..40).prop_map(Model::VolatileHash),
        prop::collection::vec((element(), score), 1..40).prop_map(Model::SortedSet),
        prop::collection::vec((0u64..5, element(), element()), 0..40).prop_map(Model::Stream),
    ]
}

fn usage() -> impl Strategy<Value = Option<KeyUsage>> {
    let usage = prop_oneof![any::<u64>().prop_map(KeyUsage::Idle), any::<u8>().prop_map(KeyUsage::Frequency)];
    prop::option::of(usage)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_written_comes_back(
        entries in prop::collection::vec(
            (element(), model(), prop::option::of(any::<i64>()), usage()),
            0..12,
        ),
        checksum in any::<bool>(),
        compress in any::<bool>(),
        version in 10u16..=12,
    ) {
        let limits = EncodingLimits::default();
        let mut expected = Transcript { db: 7, ..Transcript::default() };
        let options = WriterOptions { checksum, compress, version };
        let mut writer = RdbWriter::new(Vec::new(), options);
        let mut counter = RdbWriter::new(CountingWriter::default(), options);
        writer.aux(b"redis-ver", b"7.4.0").unwrap();
        counter.aux(b"redis-ver", b"7.4.0").unwrap();
        writer.function(b"code").unwrap();
        counter.function(b"code").unwrap();
        expected.function(b"code".to_vec()).unwrap();
        let keys = entries.len() as u64;
        writer.select_db(7, keys, 2).unwrap();
        counter.select_db(7, keys, 2).unwrap();
        expected.resize(keys, 2).unwrap();
        for (key, model, expires_at, usage) in &entries {
            let value = model.build(&limits);
            let expires_at = expires_at.map(UnixMillis);
            writer.entry(key, as_ref(&value), expires_at, *usage).unwrap();
            counter.entry(key, as_ref(&value), expires_at, *usage).unwrap();
            let payload = dump_value(as_ref(&value));
            let again = read_value(verify_dump_payload(&payload).unwrap(), &limits).unwrap();
            prop_assert_eq!(describe(&again), describe(&value));
            let value = RdbValue::Whole(value);
            expected.entry(RdbEntry { key, value, expires_at, usage: *usage }).unwrap();
        }
        let bytes = writer.finish().unwrap();
        prop_assert_eq!(counter.finish().unwrap().bytes, bytes.len() as u64);
        let (lines, summary) = transcript(&bytes).unwrap();
        expected.lines.sort();
        prop_assert_eq!(lines, expected.lines);
        prop_assert_eq!(summary.version, version);
        prop_assert_eq!(summary.keys, keys);
    }
}

/// A hash of four fields, two of which expire, in the layouts of Redis 7.4 and of its release candidates.
#[test]
fn hashes_with_fields_that_expire_are_loaded_in_each_layout() {
    let limits = EncodingLimits::default();
    let (early, late) = (1_800_000_000_000_i64, 1_800_000_000_500_i64);
    let mut listpack = ListpackBuilder::default();
    for (field, value, expiry) in [("a", "1", early), ("b", "x", late), ("c", "2", 0)] {
        listpack.push(field.as_bytes());
        listpack.push(value.as_bytes());
        listpack.push_int(expiry);
    }
    let listpack = listpack.finish();
    let listpack = [&[listpack.len() as u8], listpack].concat();
    let pair = |field: &str, value: &str| [&[1], field.as_bytes(), &[1], value.as_bytes()].concat();
    let plain = |early: &[u8], late: &[u8]| {
        [&[3][..], late, &pair("b", "x"), &[0], &pair("c", "2"), early, &pair("a", "1")].concat()
    };
    let absolute = |at: i64| [&[0x81][..], &at.to_be_bytes()].concat();
    let layouts = [
        [&[kind::HASH_METADATA_PRE_GA][..], &plain(&absolute(early), &absolute(late))].concat(),
        [&[kind::HASH_LISTPACK_EX_PRE_GA][..], &listpack].concat(),
        [&[kind::HASH_METADATA][..], &early.to_le_bytes(), &plain(&[1], &[0x41, 0xf5])].concat(),
        [&[kind::HASH_LISTPACK_EX][..], &early.to_le_bytes(), &listpack].concat(),
    ];
    for layout in &layouts {
        let value = read_value(layout, &limits).unwrap();
        assert_eq!(describe(&value), format!("hash a=1 until {early} b=x until {late} c=2"), "{layout:?}");
    }
    // What is written is the last one for a small hash, and the one before for a large one.
    let value = read_value(&layouts[0], &limits).unwrap();
    let payload = dump_value(as_ref(&value));
    assert_eq!(payload[..9], layouts[3][..9]);
    assert_eq!(payload[payload.len() - 10..][..2], [12, 0]);
    let none_small = EncodingLimits { hash_max_listpack_entries: 0, ..limits };
    let value = read_value(&layouts[0], &none_small).unwrap();
    assert_eq!(dump_value(as_ref(&value))[0], kind::HASH_METADATA);
}

#[test]
fn broken_expiries_of_fields_are_refused() {
    let limits = EncodingLimits::default();
    let min = 1_800_000_000_000_i64.to_le_bytes();
    let field = [1, b'f', 1, b'v'];
    let too_late = [&[0x81][..], &(FIELD_EXPIRY_MAX + 1).to_be_bytes()].concat();
    let overflow = [&[0x81][..], &u64::MAX.to_be_bytes()].concat();
    let mut bodies = vec![
        [&[kind::HASH_METADATA_PRE_GA, 1][..], &too_late, &field].concat(),
        [&[kind::HASH_METADATA][..], &min, &[1], &overflow, &field].concat(),
        [&[kind::HASH_METADATA][..], &[0; 8], &[1], &overflow, &field].concat(),
        [&[kind::HASH_METADATA][..], &min, &[2, 0], &field, &[0], &field].concat(),
        // A count that promises more than there is must not size anything.
        [&[kind::HASH_METADATA][..], &min, &overflow].concat(),
        [&[kind::HASH_METADATA][..], &min, &[0]].concat(),
    ];
    let texts: [&[&[u8]]; 5] = [&[b"f", b"v"], &[b"f", b"v", b"x"], &[b"f", b"v", b"-1"], &[b"f"], &[]];
    for texts in texts {
        let mut listpack = ListpackBuilder::default();
        texts.iter().for_each(|text| listpack.push(text));
        let listpack = listpack.finish();
        let length = listpack.len() as u8;
        bodies.push([&[kind::HASH_LISTPACK_EX][..], &min, &[length], listpack].concat());
        bodies.push([&[kind::HASH_LISTPACK_EX_PRE_GA][..], &[length], listpack].concat());
    }
    for body in bodies {
        assert!(read_value(&body, &limits).is_err(), "{body:?}");
    }
}
