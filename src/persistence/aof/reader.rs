//! The commands of a part, found one after the other in its bytes.
//!
//! Stricter than what clients may send: a file was written by a server, so whatever is not exactly a command or an
//! annotation is damage. That the bytes end too early is told apart from that: the end of a file may have been cut off.

use crate::resp::args::ArgRange;

/// What stands at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A command of so many bytes; its arguments are in the ranges that were handed in.
    Command { bytes: usize },
    /// An annotation of so many bytes, and the Unix time in seconds if it is one.
    Annotation { bytes: usize, timestamp: Option<i64> },
    /// The start of either, so far as the bytes go; at least this many more have to follow.
    Incomplete { wanted: usize },
    /// Neither. `at` is where the bytes are wrong, from the start.
    Corrupt { at: usize, expected: &'static str },
}

/// A header line holds a short number.
const HEADER_BYTES_MAX: usize = 32;
const ANNOTATION_BYTES_MAX: usize = 1024;
/// What a client may send at once, and so what an effect can be made of.
const ARGS_MAX: usize = 1 << 30;
const ARG_BYTES_MAX: usize = u32::MAX as usize;

/// Looks at what `bytes` begin with, which are at least one. `ranges` receives the arguments of a command.
pub fn step(bytes: &[u8], ranges: &mut Vec<ArgRange>) -> Step {
    ranges.clear();
    match bytes.first() {
        Some(b'#') => annotation(bytes),
        _ => match command(bytes, ranges) {
            Ok(end) => Step::Command { bytes: end },
            Err(step) => step,
        },
    }
}

fn annotation(bytes: &[u8]) -> Step {
    let Some(end) = memchr::memchr(b'\n', &bytes[..bytes.len().min(ANNOTATION_BYTES_MAX)]) else {
        return match bytes.len() < ANNOTATION_BYTES_MAX {
            true => Step::Incomplete { wanted: 1 },
            false => Step::Corrupt { at: 0, expected: "an annotation of one line" },
        };
    };
    let text = bytes[..end].trim_ascii_end().strip_prefix(b"#TS:");
    Step::Annotation { bytes: end + 1, timestamp: text.and_then(crate::base::number::parse_i64) }
}

fn command(bytes: &[u8], ranges: &mut Vec<ArgRange>) -> Result<usize, Step> {
    let (count, mut at) = header(bytes, 0, b'*', "a command, which begins with *<arguments>")?;
    if count == 0 || count > ARGS_MAX {
        return Err(Step::Corrupt { at: 0, expected: "a command with arguments" });
    }
    for _ in 0..count {
        let (length, start) = header(bytes, at, b'$', "an argument, which begins with $<length>")?;
        if length > ARG_BYTES_MAX {
            return Err(Step::Corrupt { at, expected: "an argument of less than 4 GiB" });
        }
        let end = start + length;
        for (offset, expected) in [(end, b'\r'), (end + 1, b'\n')] {
            match bytes.get(offset) {
                Some(&found) if found == expected => {}
                Some(_) => {
                    return Err(Step::Corrupt { at: offset, expected: "a line break behind an argument" });
                }
                None => return Err(Step::Incomplete { wanted: end + 2 - bytes.len() }),
            }
        }
        let (Ok(start), Ok(len)) = (u32::try_from(start), u32::try_from(length)) else {
            return Err(Step::Corrupt { at, expected: "a command of less than 4 GiB" });
        };
        ranges.push(ArgRange { start, len });
        at = end + 2;
    }
    Ok(at)
}

/// A line of `mark`, a number and a line break; the number, and where the next line begins.
fn header(bytes: &[u8], at: usize, mark: u8, expected: &'static str) -> Result<(usize, usize), Step> {
    let corrupt = Err(Step::Corrupt { at, expected });
    let line = &bytes[at..bytes.len().min(at + HEADER_BYTES_MAX)];
    let Some(&first) = line.first() else { return Err(Step::Incomplete { wanted: 1 }) };
    if first != mark {
        return corrupt;
    }
    let digits = line[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    match &line[1 + digits..] {
        [] | [b'\r'] if line.len() < HEADER_BYTES_MAX => Err(Step::Incomplete { wanted: 1 }),
        [b'\r', b'\n', ..] => {
            let number =
                std::str::from_utf8(&line[1..1 + digits]).ok().and_then(|digits| digits.parse().ok());
            match number {
                Some(number) => Ok((number, at + digits + 3)),
                None => corrupt,
            }
        }
        _ => corrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::args::Args;
    use crate::resp::reply::write_request;
    use proptest::prelude::*;

    fn encoded(args: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        write_request(&mut out, args.iter());
        out
    }

    #[test]
    fn annotations_are_told_from_commands() {
        let mut ranges = Vec::new();
        assert_eq!(
            step(b"#TS:1628217470\r\n*1\r\n", &mut ranges),
            Step::Annotation { bytes: 16, timestamp: Some(1_628_217_470) }
        );
        assert_eq!(step(b"# x\n", &mut ranges), Step::Annotation { bytes: 4, timestamp: None });
        assert_eq!(step(b"#TS:16", &mut ranges), Step::Incomplete { wanted: 1 });
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let mut ranges = Vec::new();
        let mut place = |bytes: &[u8]| match step(bytes, &mut ranges) {
            Step::Corrupt { at, .. } => at,
            other => panic!("{other:?}"),
        };
        assert_eq!(place(b"!!!"), 0);
        assert_eq!(place(b"*0\r\n"), 0);
        assert_eq!(place(b"*x\r\n"), 0);
        assert_eq!(place(b"*1\n$4"), 0);
        assert_eq!(place(b"*1\r\n+4\r\n"), 4);
        assert_eq!(place(b"*1\r\n$4\r\nPINGxx"), 12);
        assert_eq!(place(b"*99999999999999999999999\r\n"), 0);
        assert_eq!(place(b"*1\r\n$99999999999\r\n"), 4);
    }

    proptest! {
        #[test]
        fn a_command_is_found_whole_and_every_cut_is_seen(
            args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..6),
        ) {
            let bytes = encoded(&args);
            let mut ranges = Vec::new();
            let longer = [&bytes[..], b"*1\r\n"].concat();
            prop_assert_eq!(step(&longer, &mut ranges), Step::Command { bytes: bytes.len() });
            let found: Vec<Vec<u8>> = Args::new(&longer, &ranges).iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(found, args);
            for cut in 0..bytes.len() {
                let Step::Incomplete { wanted } = step(&bytes[..cut], &mut ranges) else {
                    return Err(TestCaseError::fail(format!("cut at {cut}")));
                };
                prop_assert!(wanted > 0 && cut + wanted <= bytes.len());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            step(&bytes, &mut Vec::new());
        }
    }
}
