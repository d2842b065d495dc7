//! RESP as a grammar, in nom: requests (multibulk and inline) and replies (RESP2 and RESP3).
//!
//! This is the definition. `request` and `value` read one whole item from a buffer's start and ask for more with
//! `Incomplete`; they keep nothing between calls. The hot path is `request::Decoder`, which understands the
//! common forms by hand, uses the headers below for all others, and is held equal to `request` by
//! `tests/fuzz_corpus.rs`.
//!
//! Redis reads requests leniently: after a length's `\r`, and after a bulk, it takes any bytes for the line break.
//! Replies are read strictly.

use std::borrow::Cow;

use nom::branch::alt;
use nom::bytes::streaming::{tag, take, take_till};
use nom::combinator::{map, map_opt, peek, value as constant};
use nom::error::{ErrorKind, ParseError};
use nom::multi::count;
use nom::number::streaming::u8 as byte;
use nom::sequence::{pair, terminated};
use nom::{Err, IResult, Parser};

use super::inline;
use super::protocol::{Limits, ProtocolError};
use super::value::Value;
use crate::base::number;

/// Why bytes are no request or no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// A request that Redis refuses with a sentence.
    Protocol(ProtocolError),
    /// Aggregates within aggregates, deeper than `VALUE_DEPTH_MAX`.
    TooDeep,
    /// Not RESP at all.
    Syntax(ErrorKind),
}

pub type Parsed<'a, T> = IResult<&'a [u8], T, WireError>;

/// How deep a reply may nest. Redis' own replies stay below ten, scripts excepted.
pub const VALUE_DEPTH_MAX: usize = 128;

impl ParseError<&[u8]> for WireError {
    fn from_error_kind(_: &[u8], kind: ErrorKind) -> Self {
        Self::Syntax(kind)
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

impl From<ProtocolError> for Err<WireError> {
    fn from(error: ProtocolError) -> Self {
        Err::Failure(WireError::Protocol(error))
    }
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Protocol(error) => error.fmt(f),
            Self::TooDeep => f.write_str("reply nests too deep"),
            Self::Syntax(_) => f.write_str("reply is not RESP"),
        }
    }
}

impl std::error::Error for WireError {}

/// One request; without arguments when it is to be skipped (`*0`, `*-1`, an empty line).
pub fn request<'a>(limits: &Limits, input: &'a [u8]) -> Parsed<'a, Vec<Cow<'a, [u8]>>> {
    match peek(byte).parse(input)? {
        (_, b'*') => multibulk(limits, input),
        _ => inline_request(limits, input),
    }
}

/// `*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n`
fn multibulk<'a>(limits: &Limits, input: &'a [u8]) -> Parsed<'a, Vec<Cow<'a, [u8]>>> {
    let (mut rest, args_count) = multibulk_header(limits, input)?;
    let mut args = Vec::new();
    for _ in 0..args_count {
        let (data, len) = bulk_header(limits, input.len() - rest.len(), rest)?;
        let (after, arg) = terminated(take(len), take(2usize)).parse(data)?;
        args.push(Cow::Borrowed(arg));
        rest = after;
    }
    Ok((rest, args))
}

/// `*2\r\n`: how many bulks follow, 0 for a request to skip.
pub fn multibulk_header<'a>(limits: &Limits, input: &'a [u8]) -> Parsed<'a, u32> {
    let line = line_within(b'\r', limits.inline_bytes_max, ProtocolError::MultibulkCountTooLong);
    let (rest, line) = terminated(line, take(2usize)).parse(input)?;
    Ok((rest, limits.multibulk_count(&line[1..])?))
}

/// `$4\r\n`: how long the bulk is that follows. `offset` is where in its request this header lies.
pub fn bulk_header<'a>(limits: &Limits, offset: usize, input: &'a [u8]) -> Parsed<'a, usize> {
    let line = line_within(b'\r', limits.inline_bytes_max, ProtocolError::BulkCountTooLong);
    let (rest, line) = terminated(line, take(2usize)).parse(input)?;
    match line {
        [b'$', digits @ ..] => Ok((rest, limits.bulk_len(digits, offset)?)),
        _ => Err(ProtocolError::ExpectedBulk { got: input[0] }.into()),
    }
}

/// `ECHO "a word"\n`
fn inline_request<'a>(limits: &Limits, input: &'a [u8]) -> Parsed<'a, Vec<Cow<'a, [u8]>>> {
    let (rest, line) = inline_line(limits, input)?;
    let args = inline::split_args(line).ok_or(ProtocolError::UnbalancedQuotes)?;
    Ok((rest, args.into_iter().map(Cow::Owned).collect()))
}

/// The line of an inline request, without `\n`. A `\r` before it is white space and needs no care.
pub fn inline_line<'a>(limits: &Limits, input: &'a [u8]) -> Parsed<'a, &'a [u8]> {
    let line = line_within(b'\n', limits.inline_bytes_max, ProtocolError::InlineTooLong);
    terminated(line, take(1usize)).parse(input)
}

/// The bytes before `end`, which stays; a failure when it is not among the first `bytes_max + 1` bytes.
fn line_within<'a>(
    end: u8,
    bytes_max: usize,
    too_long: ProtocolError,
) -> impl Parser<&'a [u8], Output = &'a [u8], Error = WireError> {
    move |input: &'a [u8]| {
        let within = &input[..input.len().min(bytes_max.saturating_add(1))];
        let found: Parsed<'a, &'a [u8]> = take_till(|byte| byte == end)(within);
        match found {
            Ok((_, line)) => Ok((&input[line.len()..], line)),
            Err(_) if input.len() > bytes_max => Err(too_long.into()),
            Err(incomplete) => Err(incomplete),
        }
    }
}

/// One reply of RESP2 or RESP3.
pub fn value(input: &[u8]) -> Parsed<'_, Value> {
    value_within(VALUE_DEPTH_MAX, input)
}

fn value_within(depth_left: usize, input: &[u8]) -> Parsed<'_, Value> {
    if depth_left == 0 {
        return Err(Err::Failure(WireError::TooDeep));
    }
    let (rest, kind) = byte(input)?;
    match kind {
        b'+' => map(line, |text| Value::Simple(text.to_vec())).parse(rest),
        b'-' => map(line, |text| Value::Error(text.to_vec())).parse(rest),
        b':' => map(integer, Value::Integer).parse(rest),
        b'_' => constant(Value::Null, tag("\r\n")).parse(rest),
        b'#' => boolean(rest),
        b',' => map(map_opt(line, double), Value::Double).parse(rest),
        b'(' => map(map_opt(line, big_number), Value::BigNumber).parse(rest),
        b'$' => alt((constant(Value::NullBulk, tag("-1\r\n")), map(blob, Value::Bulk))).parse(rest),
        b'!' => map(blob, Value::BulkError).parse(rest),
        b'=' => map_opt(blob, verbatim).parse(rest),
        b'*' if rest.starts_with(b"-") => constant(Value::NullArray, tag("-1\r\n")).parse(rest),
        b'*' => map(|i| elements(depth_left, i), Value::Array).parse(rest),
        b'~' => map(|i| elements(depth_left, i), Value::Set).parse(rest),
        b'>' => map(|i| elements(depth_left, i), Value::Push).parse(rest),
        b'%' => map(|i| pairs(depth_left, i), Value::Map).parse(rest),
        b'|' => {
            let (rest, attributes) = pairs(depth_left, rest)?;
            let (rest, value) = value_within(depth_left - 1, rest)?;
            Ok((rest, Value::Attributed { attributes, value: Box::new(value) }))
        }
        _ => Err(Err::Failure(WireError::Syntax(ErrorKind::Switch))),
    }
}

fn line(input: &[u8]) -> Parsed<'_, &[u8]> {
    terminated(take_till(|byte| byte == b'\r'), tag("\r\n")).parse(input)
}

fn integer(input: &[u8]) -> Parsed<'_, i64> {
    map_opt(line, |digits| number::parse_i64(digits.strip_prefix(b"+").unwrap_or(digits))).parse(input)
}

fn length(input: &[u8]) -> Parsed<'_, usize> {
    map_opt(line, |digits| usize::try_from(number::parse_i64(digits)?).ok()).parse(input)
}

fn boolean(input: &[u8]) -> Parsed<'_, Value> {
    let truth = alt((constant(true, tag("t\r\n")), constant(false, tag("f\r\n"))));
    map(truth, Value::Boolean).parse(input)
}

fn double(text: &[u8]) -> Option<f64> {
    match text {
        b"nan" | b"-nan" => Some(f64::NAN),
        _ => number::parse_f64(text),
    }
}

fn big_number(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then(|| text.to_vec())
}

/// A length, that many bytes, and a line break.
fn blob(input: &[u8]) -> Parsed<'_, Vec<u8>> {
    let (rest, len) = length(input)?;
    map(terminated(take(len), tag("\r\n")), <[u8]>::to_vec).parse(rest)
}

fn verbatim(blob: Vec<u8>) -> Option<Value> {
    match blob.split_first_chunk() {
        Some((format, [b':', text @ ..])) => Some(Value::Verbatim { format: *format, text: text.to_vec() }),
        _ => None,
    }
}

// `count` bounds what it allocates beforehand, so a huge length from the wire is harmless.
fn elements(depth_left: usize, input: &[u8]) -> Parsed<'_, Vec<Value>> {
    let (rest, len) = length(input)?;
    count(|i| value_within(depth_left - 1, i), len).parse(rest)
}

fn pairs(depth_left: usize, input: &[u8]) -> Parsed<'_, Vec<(Value, Value)>> {
    let (rest, len) = length(input)?;
    let element = |i| value_within(depth_left - 1, i);
    count(pair(element, element), len).parse(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_reply_is_read_and_written_back() {
        for text in [
            "+OK\r\n",
            "-ERR no\r\n",
            ":-7\r\n",
            "$-1\r\n",
            "$0\r\n\r\n",
            "$4\r\na\r\nb\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*2\r\n:1\r\n*1\r\n$1\r\nx\r\n",
            "_\r\n",
            "#t\r\n",
            "#f\r\n",
            ",1.5\r\n",
            ",-inf\r\n",
            "(-12345678901234567890\r\n",
            "!5\r\nERR x\r\n",
            "=6\r\ntxt:hi\r\n",
            "%1\r\n+k\r\n%0\r\n",
            "~2\r\n+a\r\n+b\r\n",
            ">2\r\n+message\r\n_\r\n",
            "|1\r\n+ttl\r\n:5\r\n$1\r\nv\r\n",
        ] {
            let (rest, read) = value(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert!(rest.is_empty(), "{text:?}");
            let mut written = Vec::new();
            read.write(&mut written);
            assert_eq!(written, text.as_bytes(), "{text:?}");
            for cut in 0..text.len() {
                let part = &text.as_bytes()[..cut];
                assert!(matches!(value(part), Err(Err::Incomplete(_))), "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for text in
            ["x\r\n", ":x\r\n", "$x\r\n", "$1\r\nabc", "#x\r\n", "=2\r\nhi\r\n", "(x\r\n", "*-2\r\n", ",\r\n"]
        {
            assert!(
                matches!(value(text.as_bytes()), Err(Err::Error(_) | Err::Failure(_))),
                "{text:?} is read as {:?}",
                value(text.as_bytes())
            );
        }
        let deep = "*1\r\n".repeat(VALUE_DEPTH_MAX + 1);
        assert_eq!(value(deep.as_bytes()), Err(Err::Failure(WireError::TooDeep)));
    }
}
