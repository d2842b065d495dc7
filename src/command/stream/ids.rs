//! Ids of entries as clients write them: `ms`, `ms-seq`, `ms-*`, and the ends of ranges.

use smallvec::SmallVec;

use crate::base::number::parse_i64;
use crate::resp::error::ErrorReply;
use crate::storage::stream::StreamId;

const INVALID: ErrorReply = ErrorReply::fixed("ERR Invalid stream ID specified as stream command argument");
/// Redis copies ids into a buffer of 128 bytes.
const LEN_MAX: usize = 127;

/// An id as it is shown.
pub(super) fn text(id: StreamId) -> SmallVec<[u8; 41]> {
    let mut text = SmallVec::from_slice(itoa::Buffer::new().format(id.ms).as_bytes());
    text.push(b'-');
    text.extend_from_slice(itoa::Buffer::new().format(id.seq).as_bytes());
    text
}

/// The id of an entry; the number counts as 0 when it is left out.
pub(super) fn exact(arg: &[u8]) -> Result<StreamId, ErrorReply> {
    strict(arg, 0)
}

/// The id of an entry, or `-` and `+` for the first and last that could be.
pub(super) fn exact_or_end(arg: &[u8]) -> Result<StreamId, ErrorReply> {
    with_ends(arg, 0)
}

/// The id of a new entry: a time, and a number unless that is to be found.
pub(super) fn new_entry(arg: &[u8]) -> Result<(u64, Option<u64>), ErrorReply> {
    let text = as_c_string(arg)?;
    if let Some(ms) = text.strip_suffix(b"-*").filter(|ms| !ms.contains(&b'-')) {
        return Ok((number(ms).ok_or(INVALID)?, None));
    }
    let id = exact(arg)?;
    Ok((id.ms, Some(id.seq)))
}

/// The start of a range: an id, `(id` for what follows it, or `-`.
pub(super) fn start(arg: &[u8]) -> Result<StreamId, ErrorReply> {
    match exclusive(arg) {
        Some(id) => strict(id, 0)?.next().ok_or(ErrorReply::fixed("ERR invalid start ID for the interval")),
        None => with_ends(arg, 0),
    }
}

/// The end of a range: an id, `(id` for what is before it, or `+`. A time alone means all of it.
pub(super) fn end(arg: &[u8]) -> Result<StreamId, ErrorReply> {
    match exclusive(arg) {
        Some(id) => {
            let id = strict(id, u64::MAX)?;
            id.previous().ok_or(ErrorReply::fixed("ERR invalid end ID for the interval"))
        }
        None => with_ends(arg, u64::MAX),
    }
}

fn exclusive(arg: &[u8]) -> Option<&[u8]> {
    arg.strip_prefix(b"(").filter(|id| !id.is_empty())
}

fn with_ends(arg: &[u8], missing_seq: u64) -> Result<StreamId, ErrorReply> {
    match as_c_string(arg)? {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => strict(arg, missing_seq),
    }
}

fn strict(arg: &[u8], missing_seq: u64) -> Result<StreamId, ErrorReply> {
    let text = as_c_string(arg)?;
    let mut parts = text.splitn(2, |&byte| byte == b'-');
    let ms = parts.next().and_then(number).ok_or(INVALID)?;
    let seq = match parts.next() {
        Some(seq) => number(seq).ok_or(INVALID)?,
        None => missing_seq,
    };
    Ok(StreamId { ms, seq })
}

/// What Redis sees of an argument: nothing behind a NUL.
fn as_c_string(arg: &[u8]) -> Result<&[u8], ErrorReply> {
    if arg.len() > LEN_MAX {
        return Err(INVALID);
    }
    Ok(arg.split(|&byte| byte == 0).next().unwrap_or_default())
}

/// An unsigned number as the C library reads it: spaces, a sign and zeros may stand in front, and a sign that makes it
/// negative wraps it around, unless it is a canonical negative integer.
fn number(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_i64(text) {
        return u64::try_from(number).ok();
    }
    let spaces = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let text = &text[spaces..];
    let (digits, is_negative) = match text.first()? {
        b'+' => (&text[1..], false),
        b'-' => (&text[1..], true),
        _ => (text, false),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .try_fold(0u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    Some(if is_negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        let id = |ms, seq| Ok(StreamId { ms, seq });
        for (arg, expected) in [
            (&b"5"[..], id(5, 0)),
            (b"5-3", id(5, 3)),
            (b"18446744073709551615-18446744073709551615", id(u64::MAX, u64::MAX)),
            (b"007-08", id(7, 8)),
            (b" 5-+3", id(5, 3)),
            (b"5--03", id(5, 3u64.wrapping_neg())),
            (b"5\0-x", id(5, 0)),
            (b"18446744073709551616", Err(INVALID)),
            (b"5--3", Err(INVALID)),
            (b"5-", Err(INVALID)),
            (b"-5", Err(INVALID)),
            (b"-", Err(INVALID)),
            (b"+", Err(INVALID)),
            (b"", Err(INVALID)),
            (b"5-3-1", Err(INVALID)),
            (b"5-*", Err(INVALID)),
            (b"5 ", Err(INVALID)),
            (&[b'1'; 128], Err(INVALID)),
        ] {
            assert_eq!(exact(arg), expected, "{}", arg.escape_ascii());
        }
        assert_eq!(new_entry(b"5-*"), Ok((5, None)));
        assert_eq!(new_entry(b"5-**"), Err(INVALID));
        assert_eq!(new_entry(b"5"), Ok((5, Some(0))));
        assert_eq!(start(b"(5"), id(5, 1));
        assert_eq!(end(b"(5"), id(5, u64::MAX - 1));
        assert_eq!(end(b"(0-0"), Err(ErrorReply::fixed("ERR invalid end ID for the interval")));
        assert_eq!(end(b"5"), id(5, u64::MAX));
        assert_eq!(start(b"("), Err(INVALID));
        assert_eq!(start(b"(-"), Err(INVALID));
        assert_eq!(end(b"+"), id(u64::MAX, u64::MAX));
    }
}
