//! DUMP payloads: a type byte and value, then the version (two bytes) and the CRC-64 of all before it.

use super::encode::Encoder;
use super::error::{RdbError, Reason};
use super::input::Input;
use super::object::read_object;
use super::output::{Compression, Output};
use super::values::{Value, ValueRef};
use super::{VERSION, VERSION_MAX, VERSION_OF_FIELD_EXPIRY, opcode};
use crate::base::crc64;
use crate::storage::limits::EncodingLimits;

const VERSION_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 8;
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// The payload that DUMP replies with.
pub fn dump_value(value: ValueRef<'_>) -> Vec<u8> {
    let has_field_expiry = matches!(value, ValueRef::Hash(hash) if hash.is_volatile());
    let version = if has_field_expiry { VERSION_OF_FIELD_EXPIRY } else { VERSION };
    let mut output = Output::new(Vec::new(), Compression::Lzf, true);
    Encoder::default()
        .object(&mut output, None, value, VERSION)
        .expect("a vector takes everything that is written to it");
    output.small(&version.to_le_bytes());
    output.finish().expect("a vector takes everything that is written to it")
}

/// What is believed of a payload without a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    Nothing,
    /// For tests: damaged values come with checksums that are not theirs.
    Checksum,
}

/// The payload that FUNCTION DUMP replies with: the code of each library as a record of its own.
pub fn dump_functions<'a>(codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut output = Output::new(Vec::new(), Compression::Lzf, true);
    for code in codes {
        output.byte(opcode::FUNCTION2);
        output.string(code).expect("a vector takes everything that is written to it");
    }
    output.small(&VERSION.to_le_bytes());
    output.finish().expect("a vector takes everything that is written to it")
}

/// The libraries in the body of a payload.
pub fn read_functions(body: &[u8]) -> Result<Vec<Vec<u8>>, RdbError> {
    let mut input = Input::new(body, body.len().clamp(1, BUFFER_BYTES_MAX));
    let mut codes = Vec::new();
    while input.offset() < body.len() as u64 {
        let at = input.offset();
        if input.byte()? != opcode::FUNCTION2 {
            return Err(Reason::malformed("a function library", "another record").at(at));
        }
        codes.push(input.string()?.to_vec());
    }
    Ok(codes)
}

/// The body of a payload, for `read_value`; `None` if its version or checksum are wrong.
pub fn verify_dump_payload(payload: &[u8]) -> Option<&[u8]> {
    body_of_dump_payload(payload, Trust::Nothing)
}

/// The same where the checksum may not count.
pub fn body_of_dump_payload(payload: &[u8], trust: Trust) -> Option<&[u8]> {
    let (signed, checksum) = payload.split_at_checked(payload.len().checked_sub(CHECKSUM_BYTES)?)?;
    let (body, version) = signed.split_at_checked(signed.len().checked_sub(VERSION_BYTES)?)?;
    let version = u16::from_le_bytes(version.try_into().ok()?);
    let checksum = u64::from_le_bytes(checksum.try_into().ok()?);
    let is_right = || trust == Trust::Checksum || checksum == crc64::update(0, signed);
    (version <= VERSION_MAX && is_right()).then_some(body)
}

/// Reads the body of a payload, all of it. An empty collection is an error here.
pub fn read_value(body: &[u8], limits: &EncodingLimits) -> Result<Value, RdbError> {
    let mut input = Input::new(body, body.len().min(BUFFER_BYTES_MAX));
    let kind = input.byte()?;
    let value = read_object(&mut input, kind, limits)?;
    let end = input.offset();
    if end != body.len() as u64 {
        let found = format!("{} more bytes", body.len() as u64 - end);
        return Err(Reason::malformed("the end of the value", found).at(end));
    }
    value.ok_or_else(|| Reason::EmptyKey.at(0))
}
