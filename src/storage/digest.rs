//! DEBUG DIGEST: one 160-bit value for a data set, equal for equal data whatever its order in memory.
//!
//! The construction is Redis' own, so that the digest of a Russet equals that of a Redis with the same data: elements
//! whose order matters are mixed (hash of the digest so far), those without order are combined with xor.

use sha1::{Digest as _, Sha1};

use crate::base::number::format_g17;

use super::hash::NEVER;
use super::stream::StreamId;
use super::{Db, Keyspace, ValueRef};

/// A SHA-1 sized digest.
pub type Digest = [u8; 20];

/// The digest of all databases; zero when there is no key.
pub fn of_keyspace(keyspace: &Keyspace) -> Digest {
    let mut digest = [0; 20];
    for (index, db) in keyspace.dbs().enumerate().filter(|(_, db)| !db.is_empty()) {
        mix(&mut digest, &(index as u32).to_be_bytes());
        xor_db(&mut digest, db);
    }
    digest
}

fn xor_db(digest: &mut Digest, db: &Db) {
    for item in db.iter() {
        let mut of_key = [0; 20];
        mix(&mut of_key, item.key);
        mix_value(&mut of_key, item.value, item.expires_at.is_some());
        xor(digest, &of_key);
    }
}

/// The digest of one value, as DEBUG DIGEST-VALUE answers it.
pub fn of_value(value: ValueRef<'_>, has_expiry: bool) -> Digest {
    let mut digest = [0; 20];
    mix_value(&mut digest, value, has_expiry);
    digest
}

fn mix_value(digest: &mut Digest, value: ValueRef<'_>, has_expiry: bool) {
    let mut kind = |number: u32| mix(digest, &number.to_be_bytes());
    match value {
        ValueRef::Embedded(embedded) => return mix_value(digest, embedded.to_value().as_ref(), has_expiry),
        ValueRef::Int(n) => {
            kind(0);
            mix(digest, itoa::Buffer::new().format(n).as_bytes());
        }
        ValueRef::Str(bytes) => {
            kind(0);
            mix(digest, bytes);
        }
        ValueRef::List(list) => {
            kind(1);
            for element in list.iter() {
                mix(digest, element);
            }
        }
        ValueRef::Set(set) => {
            kind(2);
            let mut buffer = itoa::Buffer::new();
            for member in set.iter() {
                xor(digest, member.as_bytes(&mut buffer));
            }
        }
        ValueRef::SortedSet(sorted_set) => {
            kind(3);
            for (member, score) in sorted_set.iter() {
                xor_pair(digest, member, format_g17(score).as_bytes());
            }
        }
        ValueRef::Hash(hash) => {
            kind(4);
            for (field, value, expiry) in hash.timed() {
                let mut pair = of_pair(field, value);
                if expiry != NEVER {
                    xor(&mut pair, b"!!hexpire!!");
                }
                xor(digest, &pair);
            }
        }
        ValueRef::Stream(stream) => {
            // Groups do not count, as they do not for Redis.
            kind(6);
            for entry in stream.range(StreamId::MIN, StreamId::MAX) {
                mix(digest, format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                let (mut name_digits, mut value_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
                for (name, value) in entry.fields() {
                    mix(digest, name.as_bytes(&mut name_digits));
                    mix(digest, value.as_bytes(&mut value_digits));
                }
            }
        }
    }
    if has_expiry {
        xor(digest, b"!!expire!!");
    }
}

/// Adds two elements that belong together, as a whole whose place does not matter.
fn xor_pair(digest: &mut Digest, first: &[u8], second: &[u8]) {
    xor(digest, &of_pair(first, second));
}

fn of_pair(first: &[u8], second: &[u8]) -> Digest {
    let mut pair = [0; 20];
    mix(&mut pair, first);
    mix(&mut pair, second);
    pair
}

/// Adds an element whose place does not matter.
fn xor(digest: &mut Digest, element: &[u8]) {
    let hash = Sha1::digest(element);
    for (byte, other) in digest.iter_mut().zip(hash) {
        *byte ^= other;
    }
}

/// Adds an element whose place matters.
fn mix(digest: &mut Digest, element: &[u8]) {
    xor(digest, element);
    *digest = Sha1::digest(*digest).into();
}
