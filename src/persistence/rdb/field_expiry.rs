//! Hashes with fields that expire, read in the layouts of Redis 7.4 and of its release candidates.
//!
//! Field by field: its expiry, the field, the value. Or one listpack of field, value and expiry in turn. An expiry is in
//! milliseconds since 1970, 0 for none; field by field it counts from one below the earliest one, which comes first. The
//! layouts of the release candidates lack that number, and their expiries are absolute.

use std::io::Read;

use super::error::{RdbError, Reason};
use super::input::Input;
use super::listpack::Listpack;
use super::object::partner;
use super::packed::{Element, Packed};
use super::values::{self, Hash, NEVER};
use super::{FIELD_EXPIRY_MAX, kind};
use crate::storage::limits::EncodingLimits;

/// Reads a hash that is written field by field.
pub(super) fn read_plain<R: Read>(
    input: &mut Input<R>,
    kind: u8,
    limits: &EncodingLimits,
) -> Result<Hash, RdbError> {
    let base = match kind {
        kind::HASH_METADATA => u64::from_le_bytes(input.array()?).checked_sub(1),
        _ => Some(0),
    };
    let mut hash = Hash::default();
    let (mut field, mut value) = (Vec::new(), Vec::new());
    for _ in 0..input.length()? {
        let start = input.offset();
        let expiry = match (input.length()?, base) {
            (0, _) => Ok(NEVER),
            (distance, Some(base)) => expiry(base.checked_add(distance)),
            // The earliest expiry is 0, as it is where no field has one.
            (distance, None) => expiry(Some(distance - 1)),
        };
        let expiry = expiry.map_err(|reason| reason.at(start))?;
        input.string_into(&mut field)?;
        input.string_into(&mut value)?;
        values::insert_timed_field(&mut hash, &field, &value, expiry, limits)
            .map_err(|reason| reason.at(start))?;
    }
    Ok(hash)
}

/// Reads a hash that is one listpack.
pub(super) fn read_packed<R: Read>(
    input: &mut Input<R>,
    kind: u8,
    limits: &EncodingLimits,
) -> Result<Hash, RdbError> {
    if kind == kind::HASH_LISTPACK_EX {
        // The earliest expiry is in the listpack as well.
        input.array::<8>()?;
    }
    let start = input.offset();
    let bytes = input.string()?;
    unpack(&bytes, limits).map_err(|reason| reason.at(start))
}

fn unpack(bytes: &[u8], limits: &EncodingLimits) -> Result<Hash, Reason> {
    let mut packed = Listpack::new(bytes)?;
    let mut hash = Hash::default();
    let (mut field_digits, mut value_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
    while let Some(field) = packed.next()? {
        let value = partner(&mut packed)?;
        let expiry = match partner(&mut packed)? {
            Element::Int(0) => NEVER,
            Element::Int(at) => expiry(u64::try_from(at).ok())?,
            Element::Bytes(text) => {
                let text = text[..text.len().min(32)].escape_ascii().to_string();
                return Err(Reason::malformed("the expiry of a field", text));
            }
        };
        let (field, value) = (field.as_bytes(&mut field_digits), value.as_bytes(&mut value_digits));
        values::insert_timed_field(&mut hash, field, value, expiry, limits)?;
    }
    Ok(hash)
}

/// An expiry that is not too late for Redis.
fn expiry(at: Option<u64>) -> Result<i64, Reason> {
    at.and_then(|at| i64::try_from(at).ok())
        .filter(|&at| at <= FIELD_EXPIRY_MAX)
        .ok_or_else(|| Reason::malformed("the expiry of a field", "one that is too late"))
}
