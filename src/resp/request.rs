//! Finds complete requests in what a client has sent: the hot path of the wire.
//!
//! - Arguments are ranges of the caller's buffer; nothing is copied, and nothing is allocated per request.
//! - An incomplete request is resumed where it stopped, never read again from its start: a bulk that arrives in many
//!   pieces costs O(1) per piece, a request of many arguments reads each header once.
//! - What is decoded does not depend on the pieces in which it arrives, and equals what `grammar::request` reads.
//!
//! Requests of few, short arguments take a lane of their own; all others go through the headers of `grammar`.
//! Does not reserve memory and does not know where bytes come from.

use memchr::memchr;

use super::args::{ArgRange, Args};
use super::grammar::{self, Parsed, WireError};
use super::inline;
pub use super::protocol::{Limits, ProtocolError};
use super::protocol::{REQUEST_BYTES_MAX, UNAUTHENTICATED_ARGS_MAX, UNAUTHENTICATED_BULK_BYTES_MAX};

/// Decodes one client's requests. Remembers the request at the end of the buffer while it is incomplete.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Partial,
}

/// The requests of one buffer. Reused, so that decoding allocates nothing once it has grown.
#[derive(Debug, Default)]
pub struct Batch {
    requests: Vec<Request>,
    ranges: Vec<ArgRange>,
    /// The unescaped words of inline requests, which lie in no buffer of the caller's.
    extra: Vec<u8>,
}

/// One complete request of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Where it begins in the buffer.
    pub start: usize,
    /// How long it is, framing included.
    pub bytes: usize,
    first_range: u32,
    range_count: u32,
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Buffer,
    Extra { start: usize },
}

/// What is known of an incomplete request. Offsets count from its first byte, which the caller may move.
#[derive(Debug, Default)]
struct Partial {
    ranges: Vec<ArgRange>,
    /// Arguments still to come; 0 before the header is read.
    args_left: u32,
    /// The first byte that is not understood yet.
    at: usize,
    /// The length of the bulk that begins at `at`, once its header is read.
    bulk_len: Option<usize>,
    /// How many bytes from `at` on hold no line end.
    line_scanned: usize,
    /// How much of the request has arrived.
    arrived: usize,
}

enum Progress {
    Incomplete,
    /// A request of this many bytes ends here; it is in the batch, unless it was an empty one.
    Complete(usize),
}

/// The limits of the short lane: any request that is larger takes the other one.
#[derive(Clone, Copy)]
struct ShortMax {
    args: u32,
    bulk_bytes: u32,
}

/// What a `Batch` or `Decoder` keeps of its memory when one request made it grow.
const RANGES_KEPT: usize = 4096;
const EXTRA_BYTES_KEPT: usize = 64 * 1024;

/// The least that `bytes_wanted` lets the caller reserve at once.
const WANTED_BYTES_MIN: usize = 64 * 1024;

impl Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces `batch`'s content by the complete requests at the start of `buf`, until there are `requests_max`,
    /// or they make up `bytes_max` bytes (the last may pass it), or the bytes run out. Answers how many bytes are
    /// done with: empty requests, which Redis skips, are among them. The next call's `buf` begins right after those.
    ///
    /// An error behind complete requests comes with the next call, since a request before it (AUTH) may lift a limit.
    pub fn decode(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        batch: &mut Batch,
        requests_max: usize,
        bytes_max: usize,
    ) -> Result<usize, ProtocolError> {
        let short = ShortMax::of(limits);
        let mut at = 0;
        batch.clear();
        while at < buf.len() && at < bytes_max && batch.len() < requests_max {
            if self.partial.is_fresh()
                && let Some(bytes) = batch.push_short(buf, at, short)
            {
                at += bytes;
                continue;
            }
            match self.partial.resume(&buf[at..], at, limits, batch) {
                Ok(Progress::Complete(bytes)) => {
                    self.partial.reset();
                    at += bytes;
                }
                Ok(Progress::Incomplete) => break,
                Err(error) if batch.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(at)
    }

    /// How many more bytes the incomplete request needs at least, as far as reserving them is safe: never more than
    /// have arrived of it (or 64 KiB), so that a client which only announces a huge bulk gets no memory for it.
    pub fn bytes_wanted(&self) -> usize {
        let Some(bulk_len) = self.partial.bulk_len else { return 0 };
        let missing = (self.partial.at + bulk_len + 2).saturating_sub(self.partial.arrived);
        missing.min(self.partial.arrived.max(WANTED_BYTES_MIN))
    }

    /// Whether a request has begun and not ended.
    pub fn is_within_request(&self) -> bool {
        self.partial.arrived > 0
    }
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all requests, and gives back memory that only an unusually large one needed.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.ranges.clear();
        self.ranges.shrink_to(RANGES_KEPT);
        self.extra.clear();
        self.extra.shrink_to(EXTRA_BYTES_KEPT);
    }

    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Panics when there are not so many.
    pub fn request(&self, index: usize) -> &Request {
        &self.requests[index]
    }

    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The arguments of the request at `index`. `buf` is the one that was decoded. Never empty.
    pub fn args<'a>(&'a self, buf: &'a [u8], index: usize) -> Args<'a> {
        let request = &self.requests[index];
        let ranges = &self.ranges[request.first_range as usize..][..request.range_count as usize];
        match request.source {
            Source::Buffer => Args::new(&buf[request.start..][..request.bytes], ranges),
            Source::Extra { start } => Args::new(&self.extra[start..], ranges),
        }
    }

    /// The arguments of all requests, in their order.
    pub fn iter<'a>(&'a self, buf: &'a [u8]) -> impl ExactSizeIterator<Item = Args<'a>> {
        (0..self.len()).map(move |index| self.args(buf, index))
    }

    /// The short lane: adds the request at `start` when it is complete, of few arguments, and these are short.
    /// Answers its length. Anything else, be it an error, leaves the batch as it was.
    #[inline]
    fn push_short(&mut self, buf: &[u8], start: usize, max: ShortMax) -> Option<usize> {
        let rest = &buf[start..];
        let [b'*', header @ ..] = rest else { return None };
        let (args, header_bytes) = short_length(header)?;
        if args == 0 || args > max.args {
            return None;
        }
        let first_range = self.ranges.len();
        let mut at = 1 + header_bytes;
        for _ in 0..args {
            let Some((range, end)) = short_bulk(rest, at, max.bulk_bytes) else {
                self.ranges.truncate(first_range);
                return None;
            };
            self.ranges.push(range);
            at = end;
        }
        self.push(start, at, first_range, Source::Buffer);
        Some(at)
    }

    /// Adds the request whose ranges are all those from `first_range` on.
    fn push(&mut self, start: usize, bytes: usize, first_range: usize, source: Source) {
        let range_count = (self.ranges.len() - first_range) as u32;
        self.requests.push(Request { start, bytes, first_range: first_range as u32, range_count, source });
    }
}

impl Partial {
    /// Whether nothing of the request has been looked at.
    fn is_fresh(&self) -> bool {
        self.arrived == 0
    }

    fn reset(&mut self) {
        let mut ranges = std::mem::take(&mut self.ranges);
        ranges.clear();
        ranges.shrink_to(RANGES_KEPT);
        *self = Self { ranges, ..Self::default() };
    }

    /// Goes on with the request that begins with `rest`, which lies at `start` in the buffer.
    fn resume(
        &mut self,
        rest: &[u8],
        start: usize,
        limits: &Limits,
        batch: &mut Batch,
    ) -> Result<Progress, ProtocolError> {
        self.arrived = rest.len();
        if self.args_left > 0 {
            return self.resume_bulks(rest, start, limits, batch);
        }
        if rest[0] != b'*' {
            return self.resume_inline(rest, start, limits, batch);
        }
        let too_long = ProtocolError::MultibulkCountTooLong;
        if !self.has_line(rest, b'\r', limits, too_long)? {
            return Ok(Progress::Incomplete);
        }
        match parsed(grammar::multibulk_header(limits, rest))? {
            None => Ok(Progress::Incomplete),
            Some((after, 0)) => Ok(Progress::Complete(rest.len() - after.len())),
            Some((after, args)) => {
                self.args_left = args;
                self.advance(rest.len() - after.len());
                self.resume_bulks(rest, start, limits, batch)
            }
        }
    }

    fn resume_bulks(
        &mut self,
        rest: &[u8],
        start: usize,
        limits: &Limits,
        batch: &mut Batch,
    ) -> Result<Progress, ProtocolError> {
        let short = ShortMax::of(limits);
        while self.args_left > 0 {
            if self.bulk_len.is_none()
                && let Some((range, end)) = short_bulk(rest, self.at, short.bulk_bytes)
            {
                self.ranges.push(range);
                self.args_left -= 1;
                self.advance(end);
                continue;
            }
            let Some(len) = self.bulk_len(rest, limits)? else { return Ok(Progress::Incomplete) };
            let end = self.at + len + 2;
            if rest.len() < end {
                return Ok(Progress::Incomplete);
            }
            // `Limits::bulk_len` keeps the end of a request within 32 bits.
            self.ranges.push(ArgRange { start: self.at as u32, len: len as u32 });
            self.args_left -= 1;
            self.bulk_len = None;
            self.advance(end);
        }
        let first_range = batch.ranges.len();
        batch.ranges.extend_from_slice(&self.ranges);
        batch.push(start, self.at, first_range, Source::Buffer);
        Ok(Progress::Complete(self.at))
    }

    /// The length of the bulk at `at`, whose header may be read already; none when it has not arrived whole.
    fn bulk_len(&mut self, rest: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        if self.bulk_len.is_none() {
            let too_long = ProtocolError::BulkCountTooLong;
            if !self.has_line(rest, b'\r', limits, too_long)? {
                return Ok(None);
            }
            if let Some((after, len)) = parsed(grammar::bulk_header(limits, self.at, &rest[self.at..]))? {
                self.bulk_len = Some(len);
                self.advance(rest.len() - after.len());
            }
        }
        Ok(self.bulk_len)
    }

    fn resume_inline(
        &mut self,
        rest: &[u8],
        start: usize,
        limits: &Limits,
        batch: &mut Batch,
    ) -> Result<Progress, ProtocolError> {
        let too_long = ProtocolError::InlineTooLong;
        if !self.has_line(rest, b'\n', limits, too_long)? {
            return Ok(Progress::Incomplete);
        }
        let Some((after, line)) = parsed(grammar::inline_line(limits, rest))? else {
            return Ok(Progress::Incomplete);
        };
        let bytes = rest.len() - after.len();
        let (first_range, extra_start) = (batch.ranges.len(), batch.extra.len());
        if !inline::split_args_into(line, &mut batch.extra, &mut batch.ranges) {
            batch.ranges.truncate(first_range);
            batch.extra.truncate(extra_start);
            return Err(ProtocolError::UnbalancedQuotes);
        }
        if batch.ranges.len() > first_range {
            batch.push(start, bytes, first_range, Source::Extra { start: extra_start });
        }
        Ok(Progress::Complete(bytes))
    }

    fn advance(&mut self, at: usize) {
        self.at = at;
        self.line_scanned = 0;
    }

    /// Whether the line at `at` ends within `rest`. Looks at no byte twice, however small the pieces are.
    fn has_line(
        &mut self,
        rest: &[u8],
        end: u8,
        limits: &Limits,
        too_long: ProtocolError,
    ) -> Result<bool, ProtocolError> {
        let line = &rest[self.at..];
        if let Some(found) = memchr(end, &line[self.line_scanned..]) {
            self.line_scanned += found;
            return Ok(true);
        }
        self.line_scanned = line.len();
        if line.len() > limits.inline_bytes_max { Err(too_long) } else { Ok(false) }
    }
}

impl ShortMax {
    fn of(limits: &Limits) -> Self {
        let (args, bulk_bytes) = if limits.authenticated {
            (limits.args_max, limits.bulk_bytes_max)
        } else {
            (
                limits.args_max.min(UNAUTHENTICATED_ARGS_MAX),
                limits.bulk_bytes_max.min(UNAUTHENTICATED_BULK_BYTES_MAX),
            )
        };
        Self { args: args.min(64), bulk_bytes: bulk_bytes.min(9999) as u32 }
    }
}

/// The bulk at `at` and the offset after it, when it is whole and short.
#[inline(always)]
fn short_bulk(rest: &[u8], at: usize, bytes_max: u32) -> Option<(ArgRange, usize)> {
    let [b'$', header @ ..] = rest.get(at..)? else { return None };
    let (len, header_bytes) = short_length(header)?;
    let start = at + 1 + header_bytes;
    let end = start + len as usize + 2;
    if len > bytes_max || end > rest.len() || end > REQUEST_BYTES_MAX as usize {
        return None;
    }
    Some((ArgRange { start: start as u32, len }, end))
}

/// A length of one to four digits and its line break: the number, and how many bytes the two take.
#[inline(always)]
fn short_length(text: &[u8]) -> Option<(u32, usize)> {
    // One bounds check for all. Only a bulk of no bytes at the buffer's very end is shorter: the other lane reads it.
    let digit = |byte: u8| u32::from(byte.wrapping_sub(b'0'));
    let (number, bytes, first, others) = match *text.first_chunk::<6>()? {
        [a, b'\r', ..] => return (digit(a) < 10).then_some((digit(a), 3)),
        [a, b, b'\r', ..] => (10 * digit(a) + digit(b), 4, a, digit(b)),
        [a, b, c, b'\r', ..] => (100 * digit(a) + 10 * digit(b) + digit(c), 5, a, digit(b).max(digit(c))),
        [a, b, c, d, b'\r', _] => (
            1000 * digit(a) + 100 * digit(b) + 10 * digit(c) + digit(d),
            6,
            a,
            digit(b).max(digit(c)).max(digit(d)),
        ),
        _ => return None,
    };
    (matches!(first, b'1'..=b'9') && others < 10).then_some((number, bytes))
}

/// What the grammar read, or none when it wants more bytes.
fn parsed<T>(result: Parsed<'_, T>) -> Result<Option<(&[u8], T)>, ProtocolError> {
    match result {
        Ok(read) => Ok(Some(read)),
        Err(nom::Err::Incomplete(_)) => Ok(None),
        Err(nom::Err::Error(error) | nom::Err::Failure(error)) => match error {
            WireError::Protocol(error) => Err(error),
            WireError::TooDeep | WireError::Syntax(_) => {
                unreachable!("the grammar of requests fails with protocol errors alone")
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The requests in `wire`, decoded in one call: words joined by a comma, one request a string.
    fn decoded(wire: &[u8]) -> (Vec<String>, usize) {
        let mut batch = Batch::new();
        let bytes = Decoder::new().decode(wire, &Limits::default(), &mut batch, 100, 1 << 20).unwrap();
        let words =
            |args: Args<'_>| args.iter().map(|arg| arg.escape_ascii().to_string()).collect::<Vec<_>>();
        (batch.iter(wire).map(|args| words(args).join(",")).collect(), bytes)
    }

    fn refused(wire: &[u8], limits: &Limits) -> String {
        let error = Decoder::new().decode(wire, limits, &mut Batch::new(), 100, 1 << 20).unwrap_err();
        String::from_utf8(error.reply_line().as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn requests_of_both_forms_are_found() {
        let wire =
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\nGET \"a b\"\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI";
        let (requests, bytes) = decoded(wire);
        assert_eq!(requests, ["SET,k,", "GET,a b", "PING"]);
        assert_eq!(bytes, wire.len() - "*1\r\n$4\r\nPI".len());
    }

    #[test]
    fn empty_requests_are_skipped() {
        let wire = b"*0\r\n\r\n*-1\r\n\n  \r\n*-5\r\nPING\r\n\r\n";
        assert_eq!(decoded(wire), (vec!["PING".to_owned()], wire.len()));
    }

    #[test]
    fn any_two_bytes_count_as_the_break_after_a_bulk() {
        let (requests, _) = decoded(b"*1\r\n$4\r\nPINGxxPING\r\n*1\rx$4\r\nECHO\r\n");
        assert_eq!(requests, ["PING", "PING", "ECHO"]);
    }

    #[test]
    fn lengths_are_as_strict_as_in_redis() {
        let limits = Limits::default();
        for count in
            ["+1", "01", "-0", " 1", "1 ", "", "x", "1x", "--1", "2147483648", "-9223372036854775809"]
        {
            let sentence = refused(format!("*{count}\r\n$4\r\nPING\r\n").as_bytes(), &limits);
            assert_eq!(sentence, "ERR Protocol error: invalid multibulk length", "{count:?}");
        }
        for len in ["+4", "04", "-0", " 4", "4 ", "", "x", "4x", "-1", "00", "536870913"] {
            let sentence = refused(format!("*1\r\n${len}\r\nPING\r\n").as_bytes(), &limits);
            assert_eq!(sentence, "ERR Protocol error: invalid bulk length", "{len:?}");
        }
        assert_eq!(refused(b"*1\r\nfoo\r\n", &limits), "ERR Protocol error: expected '$', got 'f'");
        assert_eq!(refused(b"*1\r\n\r\n", &limits), "ERR Protocol error: expected '$', got ' '");
        assert_eq!(refused(b"PING \"a\n", &limits), "ERR Protocol error: unbalanced quotes in request");
    }

    #[test]
    fn endless_lines_are_refused_one_byte_past_the_limit() {
        let digits = "1".repeat(65536);
        let limits = Limits::default();
        let check = |wire: String, sentence: &str| {
            let whole = &wire.as_bytes()[..wire.len() - 1];
            assert_eq!(Decoder::new().decode(whole, &limits, &mut Batch::new(), 1, 1), Ok(0));
            assert_eq!(refused(wire.as_bytes(), &limits), format!("ERR Protocol error: {sentence}"));
        };
        check(format!("*{digits}"), "too big mbulk count string");
        check(format!("*1\r\n${digits}"), "too big bulk count string");
        check(format!("a{digits}"), "too big inline request");
    }

    #[test]
    fn a_stranger_gets_little_until_auth_before_it_lifts_the_limit() {
        let stranger = Limits { authenticated: false, ..Limits::default() };
        assert_eq!(refused(b"*11\r\n", &stranger), "ERR Protocol error: unauthenticated multibulk length");
        assert_eq!(
            refused(b"*1\r\n$16385\r\n", &stranger),
            "ERR Protocol error: unauthenticated bulk length"
        );
        let wire = b"AUTH secret\r\n*1\r\n$16385\r\n";
        let (mut decoder, mut batch) = (Decoder::new(), Batch::new());
        assert_eq!(decoder.decode(wire, &stranger, &mut batch, 9, 99), Ok(13));
        assert_eq!(batch.len(), 1);
        assert_eq!(decoder.decode(&wire[13..], &Limits::default(), &mut batch, 9, 99), Ok(0));
    }

    #[test]
    fn an_error_waits_for_the_requests_before_it() {
        let wire = b"PING\r\n*1\r\nfoo\r\n";
        let (mut decoder, mut batch) = (Decoder::new(), Batch::new());
        let limits = Limits::default();
        assert_eq!(decoder.decode(wire, &limits, &mut batch, 9, 99), Ok(6));
        assert_eq!(
            decoder.decode(&wire[6..], &limits, &mut batch, 9, 99),
            Err(ProtocolError::ExpectedBulk { got: b'f' })
        );
    }

    #[test]
    fn a_batch_ends_at_its_requests_or_bytes() {
        let wire = b"PING\r\n".repeat(10);
        let (mut decoder, mut batch) = (Decoder::new(), Batch::new());
        let limits = Limits::default();
        assert_eq!(decoder.decode(&wire, &limits, &mut batch, 3, 1000), Ok(18));
        assert_eq!(decoder.decode(&wire, &limits, &mut batch, 100, 7), Ok(12));
    }

    #[test]
    fn an_announced_bulk_gets_memory_only_as_it_arrives() {
        let (mut decoder, mut batch) = (Decoder::new(), Batch::new());
        let limits = Limits::default();
        let mut wire = b"*1\r\n$500000000\r\n".to_vec();
        decoder.decode(&wire, &limits, &mut batch, 1, 1).unwrap();
        assert_eq!(decoder.bytes_wanted(), WANTED_BYTES_MIN);
        wire.resize(1 << 20, b'x');
        decoder.decode(&wire, &limits, &mut batch, 1, 1).unwrap();
        assert_eq!(decoder.bytes_wanted(), 1 << 20);
        assert!(decoder.is_within_request());
    }
}
