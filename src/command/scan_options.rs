//! What SCAN, HSCAN, SSCAN and ZSCAN have in common: their cursor, their options, and the page they reply.

use super::options::integer;
use crate::base::glob::{self, Case};
use crate::base::number::{parse_i64, parse_u64};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::{Protocol, Reply};

/// Elements per call unless COUNT says otherwise.
const COUNT_DEFAULT: usize = 10;

/// `[MATCH pattern] [COUNT count] [TYPE type] [NOVALUES]`
#[derive(Debug, Clone, Copy)]
pub struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    /// A type's name in any case; that of no type matches nothing.
    type_name: Option<&'a [u8]>,
    pub count: usize,
    pub has_values: bool,
}

/// What is gone through: only fields have values that NOVALUES could leave out, and only keys are of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanOf {
    Keys,
    Fields,
    Members,
}

impl<'a> ScanOptions<'a> {
    pub fn parse(args: Args<'a>, of: ScanOf) -> Result<Self, ErrorReply> {
        let mut options =
            Self { pattern: None, type_name: None, count: COUNT_DEFAULT, has_values: of == ScanOf::Fields };
        let mut i = 0;
        while i < args.len() {
            if args.is(i, "COUNT") && i + 1 < args.len() {
                let count = integer(args.bytes(i + 1))?;
                options.count = usize::try_from(count).ok().filter(|&n| n > 0).ok_or(ErrorReply::SYNTAX)?;
                i += 2;
            } else if args.is(i, "MATCH") && i + 1 < args.len() {
                options.pattern = Some(args.bytes(i + 1)).filter(|&pattern| pattern != b"*");
                i += 2;
            } else if of == ScanOf::Keys && args.is(i, "TYPE") && i + 1 < args.len() {
                options.type_name = Some(args.bytes(i + 1));
                i += 2;
            } else if args.is(i, "NOVALUES") {
                if of != ScanOf::Fields {
                    return Err(ErrorReply::NOVALUES_OUTSIDE_HSCAN);
                }
                options.has_values = false;
                i += 1;
            } else {
                return Err(ErrorReply::SYNTAX);
            }
        }
        Ok(options)
    }

    pub fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, Case::Sensitive))
    }

    pub fn matches_type(&self, type_name: &str) -> bool {
        self.type_name.is_none_or(|wanted| wanted.eq_ignore_ascii_case(type_name.as_bytes()))
    }
}

/// A cursor as Redis 7.4 reads it: not as a negative number, and otherwise with C's `strtoull`, which takes leading space, a
/// sign and leading zeros. A zero byte ends it.
pub fn cursor(arg: &[u8]) -> Result<u64, ErrorReply> {
    let arg = arg.split(|&byte| byte == 0).next().unwrap_or_default();
    if parse_i64(arg).is_some_and(|number| number < 0) {
        return Err(ErrorReply::INVALID_CURSOR);
    }
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'\x0b';
    let (negative, digits) = match &arg[arg.iter().take_while(|byte| is_space(byte)).count()..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    let magnitude = match &digits[zeros..] {
        [] if zeros > 0 => Some(0),
        significant => parse_u64(significant),
    };
    let magnitude = magnitude.ok_or(ErrorReply::INVALID_CURSOR)?;
    Ok(if negative { magnitude.wrapping_neg() } else { magnitude })
}

/// The elements of one call, which are told before the cursor that stands in front of them is known.
pub struct Page {
    encoded: Vec<u8>,
    protocol: Protocol,
    len: usize,
}

impl Page {
    pub fn new(reply: &Reply<'_>) -> Self {
        Self { encoded: Vec::new(), protocol: reply.protocol(), len: 0 }
    }

    pub fn push(&mut self, element: &[u8]) {
        Reply::new(&mut self.encoded, self.protocol).bulk(element);
        self.len += 1;
    }

    /// Writes the whole reply.
    pub fn write(&self, reply: &mut Reply<'_>, next_cursor: u64) {
        reply.array(2);
        reply.bulk(itoa::Buffer::new().format(next_cursor));
        reply.array(self.len);
        reply.raw(&self.encoded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_strtoull_reads_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("", None),
            (" ", None),
            ("+1", Some(1)),
            ("-1", None),
            ("-01", Some(u64::MAX)),
            ("-0", Some(0)),
            ("007", Some(7)),
            ("00", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            (" 1", Some(1)),
            ("1 ", None),
            ("-", None),
            ("0x1", None),
            ("\x007", None),
            ("7\x00x", Some(7)),
        ] {
            assert_eq!(cursor(text.as_bytes()).ok(), expected, "{text:?}");
        }
    }
}
