//! What must hold for any bytes whatsoever: they load or are refused, and what loads can be written and
//! loads again.

use super::KeyUsage;
use super::dump::{dump_value, read_value, verify_dump_payload};
use super::reader::{RdbEntry, RdbSink, Summary, read};
use super::values::{Value, as_ref};
use super::writer::{RdbWriter, WriterOptions};
use crate::base::clock::UnixMillis;
use crate::storage::limits::EncodingLimits;

struct Entry {
    key: Vec<u8>,
    value: Value,
    expires_at: Option<UnixMillis>,
    usage: Option<KeyUsage>,
}

/// Keeps what it is handed.
#[derive(Default)]
struct Kept {
    entries: Vec<Entry>,
}

impl RdbSink for Kept {
    fn select_db(&mut self, _db: u64) -> Result<(), String> {
        Ok(())
    }

    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), String> {
        let RdbEntry { key, value, expires_at, usage } = entry;
        self.entries.push(Entry { key: key.to_vec(), value: value.into_value(), expires_at, usage });
        Ok(())
    }
}

/// Panics if the reader does something else with `data` than to load or to refuse it. For fuzzing and tests.
pub fn check_reader(data: &[u8]) {
    let limits = EncodingLimits::default();
    check_file(data, &limits);
    if let Some((body, _)) = data.split_last_chunk::<8>() {
        // The checksum refuses nearly every mutation; without it the contents have to be believed.
        check_file(&[body, &[0; 8]].concat(), &limits);
    }
    let _ = verify_dump_payload(data);
    if let Ok(value) = read_value(data, &limits) {
        let payload = dump_value(as_ref(&value));
        let body = verify_dump_payload(&payload).expect("our own footer is right");
        read_value(body, &limits).expect("a value that was written can be read");
    }
}

fn check_file(data: &[u8], limits: &EncodingLimits) {
    let mut kept = Kept::default();
    let Ok(summary) = read(data, limits, &mut kept) else { return };
    assert_eq!(summary.keys, kept.entries.len() as u64);
    assert!(summary.bytes + summary.read_ahead.len() as u64 <= data.len() as u64);
    let again = write_and_read(&kept, limits);
    assert_eq!((again.keys, again.expires), (summary.keys, summary.expires));
    assert_eq!(again.empty_keys_skipped, 0);
}

fn write_and_read(kept: &Kept, limits: &EncodingLimits) -> Summary {
    let mut writer = RdbWriter::new(Vec::new(), WriterOptions::default());
    for Entry { key, value, expires_at, usage } in &kept.entries {
        writer.entry(key, as_ref(value), *expires_at, *usage).expect("a vector takes all bytes");
    }
    let bytes = writer.finish().expect("a vector takes all bytes");
    read(&bytes[..], limits, &mut Kept::default()).expect("a file that was written can be read")
}
