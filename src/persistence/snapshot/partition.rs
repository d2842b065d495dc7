//! Entries that a loader has read and not stored yet, all of one part of the space of hashes.
//!
//! A file's keys come in the order of other hashes than those of this process, so that storing each where it belongs is a
//! few cache misses and page walks per key. Here they wait, written one behind the other, until there are some for each of
//! the few segments that a part has; then those segments stay in the processor's cache while they are filled.

use std::collections::VecDeque;

use crate::base::clock::UnixMillis;
use crate::persistence::rdb::RdbValue;
use crate::storage::Value;
use crate::storage::prefetch::prefetch;

#[derive(Default)]
pub(super) struct Partition {
    len: usize,
    /// Of each entry a head, the key, and the string if it has a short one.
    bytes: Vec<u8>,
    /// The values of the others, in their order.
    values: VecDeque<Value>,
}

/// An entry for the present database.
pub(super) struct Waiting<'a> {
    pub key: &'a [u8],
    pub value: RdbValue<'a>,
    pub expires_at: Option<UnixMillis>,
    pub stamp: Option<u32>,
}

/// Key length, string length, expiry and access stamp.
const HEAD_BYTES: usize = 4 + 4 + 8 + 4;
/// Instead of a string's length, an expiry and a stamp where there is none.
const NO_STRING: u32 = u32::MAX;
const NO_EXPIRY: i64 = i64::MIN;
const NO_STAMP: u32 = u32::MAX;

impl Partition {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    pub fn push(&mut self, entry: Waiting<'_>) -> Result<(), String> {
        let Waiting { key, value, expires_at, stamp } = entry;
        let key_len = u32::try_from(key.len()).map_err(|_| "a key of 4 GiB or more")?;
        let (string, value) = match value {
            RdbValue::Short(string) => (Some(string), None),
            RdbValue::Whole(value) => (None, Some(value)),
        };
        let string_len = string.map_or(NO_STRING, |string| string.len() as u32);
        let expires_at = expires_at.map_or(NO_EXPIRY, |at| at.0.max(NO_EXPIRY + 1));
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&key_len.to_le_bytes());
        head[4..8].copy_from_slice(&string_len.to_le_bytes());
        head[8..16].copy_from_slice(&expires_at.to_le_bytes());
        head[16..].copy_from_slice(&stamp.unwrap_or(NO_STAMP).to_le_bytes());
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(string.unwrap_or_default());
        self.values.extend(value);
        self.len += 1;
        // All partitions together are more than the cache holds; until the next entry of this one there is time.
        let next = self.bytes.as_ptr_range().end;
        prefetch(next.wrapping_add(64));
        prefetch(next.wrapping_add(128));
        Ok(())
    }

    /// The entries in their order; to be followed by `clear`.
    pub fn drain(&mut self) -> impl Iterator<Item = Waiting<'_>> {
        let Self { bytes, values, .. } = self;
        let mut rest = &bytes[..];
        std::iter::from_fn(move || take_entry(&mut rest, values))
    }

    pub fn clear(&mut self) {
        self.len = 0;
        self.bytes.clear();
        self.values.clear();
    }
}

/// Cuts the entry at the front off.
fn take_entry<'a>(bytes: &mut &'a [u8], values: &mut VecDeque<Value>) -> Option<Waiting<'a>> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (key, rest) = rest.split_at(u32_at(0) as usize);
    let (value, rest) = match u32_at(4) {
        NO_STRING => {
            (RdbValue::Whole(values.pop_front().expect("an entry without a string has a value")), rest)
        }
        len => {
            let (string, rest) = rest.split_at(len as usize);
            (RdbValue::Short(string), rest)
        }
    };
    *bytes = rest;
    let expires_at = i64::from(u32_at(8)) | i64::from(u32_at(12)) << 32;
    Some(Waiting {
        key,
        value,
        expires_at: (expires_at != NO_EXPIRY).then_some(UnixMillis(expires_at)),
        stamp: Some(u32_at(16)).filter(|&stamp| stamp != NO_STAMP),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Plain = (&'static [u8], Option<&'static [u8]>, Option<i64>, Option<u32>);

    #[test]
    fn entries_come_out_as_they_went_in() {
        let mut partition = Partition::default();
        let entries: [Plain; 5] = [
            (b"a", Some(b"1"), None, None),
            (b"", Some(b""), Some(-1), Some(0)),
            (b"collection", None, Some(i64::MAX), None),
            (b"b", Some(&[7; 1024]), Some(0), Some(0xff_ffff)),
            (b"another", None, None, Some(5)),
        ];
        for round in 0..2 {
            for (i, (key, string, expires_at, stamp)) in entries.into_iter().enumerate() {
                let value = match string {
                    Some(string) => RdbValue::Short(string),
                    None => RdbValue::Whole(Value::string(vec![i as u8; 2000])),
                };
                let expires_at = expires_at.map(UnixMillis);
                partition.push(Waiting { key, value, expires_at, stamp }).unwrap();
            }
            assert_eq!(partition.len(), entries.len(), "round {round}");
            let mut drained = partition.drain();
            for (i, (key, string, expires_at, stamp)) in entries.into_iter().enumerate() {
                let entry = drained.next().unwrap();
                let found = (entry.key, entry.expires_at.map(|at| at.0), entry.stamp);
                assert_eq!(found, (key, expires_at, stamp));
                match (entry.value, string) {
                    (RdbValue::Short(found), Some(string)) => assert_eq!(found, string),
                    (RdbValue::Whole(Value::String(found)), None) => assert_eq!(**found, [i as u8; 2000]),
                    (found, _) => panic!("{found:?}"),
                }
            }
            assert!(drained.next().is_none());
            drop(drained);
            partition.clear();
        }
    }
}
