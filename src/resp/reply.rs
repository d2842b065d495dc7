//! Writes replies, in the protocol version that the client chose.
//!
//! A `Reply` appends to a buffer that somebody else owns and never fails. Types that RESP2 lacks (maps, sets,
//! doubles, booleans, pushes) are written as Redis downgrades them.

use super::error::ErrorReply;

/// The protocol version of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Where one command writes its reply.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    protocol: Protocol,
}

/// The place of an aggregate whose length is known only after its elements are written.
#[derive(Debug)]
#[must_use]
pub struct Deferred {
    at: usize,
}

impl<'a> Reply<'a> {
    pub fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// Bytes in the buffer, this reply's and those before it.
    pub fn buffered_bytes(&self) -> usize {
        self.out.len()
    }

    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; `text` holds no line break.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    pub fn error(&mut self, error: &ErrorReply) {
        self.line(b'-', error.as_bytes());
    }

    pub fn integer(&mut self, n: i64) {
        self.number_line(b':', n);
    }

    pub fn bulk(&mut self, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        self.out.reserve(data.len() + 32);
        self.number_line(b'$', data.len() as i64);
        self.out.extend_from_slice(data);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer as a bulk string, as GET answers for a value that is stored as one.
    pub fn bulk_integer(&mut self, n: i64) {
        self.bulk(itoa::Buffer::new().format(n));
    }

    /// A missing value: `$-1` in RESP2, `_` in RESP3.
    pub fn null(&mut self) {
        let null: &[u8] = if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" };
        self.out.extend_from_slice(null);
    }

    /// A missing aggregate: `*-1` in RESP2, `_` in RESP3.
    pub fn null_array(&mut self) {
        let null: &[u8] = if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" };
        self.out.extend_from_slice(null);
    }

    /// The header of an array; `len` elements follow.
    pub fn array(&mut self, len: usize) {
        self.number_line(b'*', len as i64);
    }

    /// The header of a map; `pairs` keys and values follow.
    pub fn map(&mut self, pairs: usize) {
        if self.is_resp3() {
            self.number_line(b'%', pairs as i64);
        } else {
            self.number_line(b'*', 2 * pairs as i64);
        }
    }

    /// The header of a set; `len` elements follow.
    pub fn set(&mut self, len: usize) {
        let kind = if self.is_resp3() { b'~' } else { b'*' };
        self.number_line(kind, len as i64);
    }

    /// The header of an out-of-band message; `len` elements follow.
    pub fn push(&mut self, len: usize) {
        let kind = if self.is_resp3() { b'>' } else { b'*' };
        self.number_line(kind, len as i64);
    }

    pub fn boolean(&mut self, value: bool) {
        if self.is_resp3() {
            self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" });
        } else {
            self.integer(i64::from(value));
        }
    }

    /// A double in its shortest form that reads back the same: `,1.5` or a bulk string.
    pub fn double(&mut self, value: f64) {
        // Most scores are small integers, which need no allocation.
        let integer = value as i32;
        if f64::from(integer).to_bits() == value.to_bits() {
            if self.is_resp3() {
                self.number_line(b',', i64::from(integer));
            } else {
                self.bulk_integer(i64::from(integer));
            }
            return;
        }
        let mut text = String::with_capacity(24);
        format_double(value, &mut text);
        if self.is_resp3() {
            self.line(b',', text.as_bytes());
        } else {
            self.bulk(text);
        }
    }

    /// A double in digits that the caller has chosen.
    pub fn double_as(&mut self, digits: &str) {
        if self.is_resp3() {
            self.line(b',', digits.as_bytes());
        } else {
            self.bulk(digits);
        }
    }

    /// A text with a three-letter format ("txt", "mkd"): a plain bulk string in RESP2.
    pub fn verbatim(&mut self, format: &str, text: impl AsRef<[u8]>) {
        debug_assert_eq!(format.len(), 3);
        let text = text.as_ref();
        if self.is_resp3() {
            self.number_line(b'=', text.len() as i64 + 4);
            self.out.extend_from_slice(format.as_bytes());
            self.out.push(b':');
            self.out.extend_from_slice(text);
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text);
        }
    }

    /// A text with a three-letter format that somebody else has chosen.
    pub fn verbatim_bytes(&mut self, format: [u8; 3], text: &[u8]) {
        if !self.is_resp3() {
            return self.bulk(text);
        }
        self.number_line(b'=', text.len() as i64 + 4);
        self.out.extend_from_slice(&format);
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer of any size in decimal digits: a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &[u8]) {
        if self.is_resp3() {
            return self.foreign_line(b'(', digits);
        }
        let line = digits.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte });
        self.bulk(line.collect::<Vec<u8>>());
    }

    /// An error whose text is somebody else's; what would end the line becomes a space.
    pub fn error_line(&mut self, text: &[u8]) {
        self.foreign_line(b'-', text);
    }

    /// A simple string whose text is somebody else's; what would end the line becomes a space.
    pub fn simple_line(&mut self, text: &[u8]) {
        self.foreign_line(b'+', text);
    }

    fn foreign_line(&mut self, kind: u8, text: &[u8]) {
        let start = self.out.len();
        self.line(kind, text);
        let end = self.out.len() - 2;
        for byte in self.out[start..end].iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')) {
            *byte = b' ';
        }
    }

    /// Bytes that are a reply already.
    pub fn raw(&mut self, encoded: &[u8]) {
        self.out.extend_from_slice(encoded);
    }

    /// Begins an aggregate of unknown length; `end_array`, `end_map` or `end_set` writes its header.
    pub fn defer(&self) -> Deferred {
        Deferred { at: self.out.len() }
    }

    pub fn end_array(&mut self, deferred: Deferred, len: usize) {
        self.insert_header(deferred, |reply| reply.array(len));
    }

    pub fn end_map(&mut self, deferred: Deferred, pairs: usize) {
        self.insert_header(deferred, |reply| reply.map(pairs));
    }

    pub fn end_set(&mut self, deferred: Deferred, len: usize) {
        self.insert_header(deferred, |reply| reply.set(len));
    }

    /// How much the buffer holds; with `truncate`, drops a half-written reply.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    pub fn truncate(&mut self, position: usize) {
        self.out.truncate(position);
    }

    /// Whether nothing was written since `position`.
    pub fn is_at(&self, position: usize) -> bool {
        self.out.len() == position
    }

    fn insert_header(&mut self, deferred: Deferred, write: impl FnOnce(&mut Self)) {
        let end = self.out.len();
        write(self);
        let header = self.out.len() - end;
        self.out[deferred.at..].rotate_right(header);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    fn number_line(&mut self, kind: u8, n: i64) {
        self.line(kind, itoa::Buffer::new().format(n).as_bytes());
    }
}

/// Appends `value` as Redis 7.2 and later print it: as an integer where it is one, else with the shortest digits that
/// read back the same, laid out as the `fpconv` library of Redis lays them out.
pub fn format_double(value: f64, text: &mut String) {
    /// Integers beyond this are laid out from their digits.
    const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;
    if !value.is_finite() {
        text.push_str(if value.is_nan() {
            "nan"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        });
        return;
    }
    if value == 0.0 {
        text.push_str(if value.is_sign_negative() { "-0" } else { "0" });
        return;
    }
    let integer = value as i64;
    if value.abs() <= INTEGER_MAX && integer as f64 == value {
        text.push_str(itoa::Buffer::new().format(integer));
        return;
    }
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` prints an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` prints a decimal exponent");
    let digits = mantissa.replace('.', "");
    if value < 0.0 {
        text.push('-');
    }
    lay_out(&digits, exponent, text);
}

/// Appends the number that has these digits, the first of them worth 10^`exponent`: plainly if it takes few zeros.
fn lay_out(digits: &str, exponent: i32, text: &mut String) {
    let len = digits.len() as i32;
    // The last digit is worth 10^`scale`.
    let scale = exponent + 1 - len;
    let zeros = |n: i32| "0".repeat(n.max(0) as usize);
    if scale >= 0 && exponent < len + 7 {
        text.push_str(digits);
        text.push_str(&zeros(scale));
    } else if scale < 0 && (scale > -7 || exponent.abs() < 4) {
        if exponent < 0 {
            text.push_str("0.");
            text.push_str(&zeros(-exponent - 1));
            text.push_str(digits);
        } else {
            let (whole, fraction) = digits.split_at(exponent as usize + 1);
            text.push_str(whole);
            text.push('.');
            text.push_str(fraction);
        }
    } else {
        let (first, rest) = digits.split_at(1);
        text.push_str(first);
        if !rest.is_empty() {
            text.push('.');
            text.push_str(rest);
        }
        text.push('e');
        text.push(if exponent < 0 { '-' } else { '+' });
        text.push_str(itoa::Buffer::new().format(exponent.abs()));
    }
}

/// Appends a request, `*<n>` and its arguments as bulk strings, the form in which effects travel.
pub fn write_request<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: impl ExactSizeIterator<Item = A>) {
    let mut number = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(number.format(args.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for arg in args {
        let arg = arg.as_ref();
        out.reserve(arg.len() + 24);
        out.push(b'$');
        out.extend_from_slice(number.format(arg.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, protocol));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn types_that_resp2_lacks_are_downgraded() {
        let all = |reply: &mut Reply<'_>| {
            reply.map(1);
            reply.set(0);
            reply.push(0);
            reply.null();
            reply.null_array();
            reply.boolean(true);
            reply.double(1.5);
            reply.verbatim("txt", "hi");
        };
        assert_eq!(
            written(Protocol::Resp2, all),
            "*2\r\n*0\r\n*0\r\n$-1\r\n*-1\r\n:1\r\n$3\r\n1.5\r\n$2\r\nhi\r\n"
        );
        assert_eq!(
            written(Protocol::Resp3, all),
            "%1\r\n~0\r\n>0\r\n_\r\n_\r\n#t\r\n,1.5\r\n=6\r\ntxt:hi\r\n"
        );
    }

    #[test]
    fn a_deferred_header_lands_before_its_elements() {
        let text = written(Protocol::Resp2, |reply| {
            reply.ok();
            let array = reply.defer();
            reply.integer(1);
            reply.integer(2);
            reply.end_array(array, 2);
        });
        assert_eq!(text, "+OK\r\n*2\r\n:1\r\n:2\r\n");
    }

    #[test]
    fn doubles_print_as_redis_prints_them() {
        for (value, expected) in [
            (3.0, "3"),
            (0.1, "0.1"),
            (1e17, "100000000000000000"),
            (1e21, "1e+21"),
            (4.7e18, "4.7e+18"),
            (12345678901234567890.0, "12345678901234567000"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (1.25e-120, "1.25e-120"),
            (-0.5, "-0.5"),
            (-123456.789, "-123456.789"),
            (1234567.12345678, "1.23456712345678e+6"),
            (9.80665123456789, "9.80665123456789"),
            (-0.0, "-0"),
        ] {
            let mut text = String::new();
            format_double(value, &mut text);
            assert_eq!(text, expected);
        }
    }
}
