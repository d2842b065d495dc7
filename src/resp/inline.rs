//! Inline requests: a line of words as a person types it into telnet, with quotes and escapes.
//!
//! The syntax is Redis': words are separated by white space; `"..."` takes `\n \r \t \b \a \xHH` and a
//! backslash before any other byte; `'...'` takes `\'` alone; a closing quote ends its word.

use super::args::ArgRange;

/// The words of `line`, or nothing when a quote is unbalanced or glued to the word after it.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut text, mut ranges) = (Vec::new(), Vec::new());
    split_args_into(line, &mut text, &mut ranges).then(|| {
        let word = |range: &ArgRange| text[range.start as usize..][..range.len as usize].to_vec();
        ranges.iter().map(word).collect()
    })
}

/// Appends the words' bytes to `text`, and to `ranges` where they lie, counted from `text`'s end before.
/// False, with something half-written, when a quote is unbalanced.
pub(super) fn split_args_into(line: &[u8], text: &mut Vec<u8>, ranges: &mut Vec<ArgRange>) -> bool {
    let base = text.len();
    let mut rest = skip_space(line);
    while !rest.is_empty() {
        let start = text.len();
        let Some(after) = word(rest, text) else { return false };
        ranges.push(ArgRange { start: (start - base) as u32, len: (text.len() - start) as u32 });
        rest = skip_space(after);
    }
    true
}

/// Appends the word that `rest` begins with; what follows it.
fn word<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some(rest),
            [b'"', quoted @ ..] => return closed(double_quoted(quoted, text)?),
            [b'\'', quoted @ ..] => return closed(single_quoted(quoted, text)?),
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}

/// Only white space or nothing may follow a closing quote.
fn closed(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [byte, ..] if !is_space(*byte) => None,
        _ => Some(rest),
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_digit(*high) << 4 | hex_digit(*low), after)
            }
            [b'\\', escaped, after @ ..] => (unescape(*escaped), after),
            [byte, after @ ..] => (*byte, after),
        };
        text.push(byte);
        rest = after;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [] => return None,
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
        };
        text.push(byte);
        rest = after;
    }
}

fn unescape(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// White space as C's `isspace` has it: unlike Rust's, with the vertical tab.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn skip_space(text: &[u8]) -> &[u8] {
    let blank = text.iter().take_while(|byte| is_space(**byte)).count();
    &text[blank..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[u8], expected: &[&[u8]]) {
        let words = split_args(line).unwrap_or_else(|| panic!("{line:?} is refused"));
        assert_eq!(words, expected, "{}", line.escape_ascii());
    }

    #[test]
    fn words_quotes_and_escapes_are_read_as_redis_reads_them() {
        check(b"", &[]);
        check(b" \t ", &[]);
        check(b"SET key value", &[b"SET", b"key", b"value"]);
        check(b"  SET\tkey  value ", &[b"SET", b"key", b"value"]);
        check(b"a\rb", &[b"a", b"b"]);
        check(b"\x0bx\x0cy", &[b"x\x0cy"]);
        check(b"a\0b", &[b"a\0b"]);
        check(br#""a b" c"#, &[b"a b", b"c"]);
        check(br#"a"b c""#, &[b"ab c"]);
        check(br#""" ''"#, &[b"", b""]);
        check(br#""\x41\n\r\t\b\a\q\xzz\"\\""#, &[b"A\n\r\t\x08\x07qxzz\"\\"]);
        check(br#""\xfF\x0""#, &[b"\xffx0"]);
        check(br"'a\'b\n'", &[br"a'b\n"]);
        check(b"\"a\"\x0bb", &[b"a", b"b"]);
        check(br"a\nb", &[br"a\nb"]);
    }

    #[test]
    fn unbalanced_or_glued_quotes_are_refused() {
        for line in [r#"""#, r#"a "b"#, "'", r"'a\'", r#""a"b"#, "'a'b", r#""a""b""#, r#""\"#] {
            assert_eq!(split_args(line.as_bytes()), None, "{line}");
        }
    }
}
