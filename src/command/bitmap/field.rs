//! BITFIELD: a string as an array of integers of any width, read, written and added to.

use smallvec::SmallVec;

use super::{bit_offset, change_string, with_string};
use crate::base::bits;
use crate::base::number::parse_i64;
use crate::command::context::Ctx;
use crate::command::options::integer;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

const COMPLEXITY: &str = "O(1) for each subcommand specified";

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("bitfield", -2, WRITE | DENYOOM, "bitmap", bitfield)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | UPDATE | VARIABLE_FLAGS).noted("This command allows both access and modification of the key")])
        .docs(
            "3.2.0",
            COMPLEXITY,
            "Reads, writes and adds to integers of any width inside a string.",
            "key [<GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding \
             offset increment>> ...]",
        ),
    CommandSpec::data("bitfield_ro", -2, READONLY | FAST, "bitmap", bitfield_ro)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs(
            "6.0.0",
            COMPLEXITY,
            "Reads integers of any width inside a string.",
            "key [GET encoding offset [GET encoding offset ...]]",
        ),
];

/// The type of a field: `i1` to `i64`, `u1` to `u63`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Encoding {
    is_signed: bool,
    width: u32,
}

impl Encoding {
    const UNSIGNED_WIDTH_MAX: i64 = 63;
    const SIGNED_WIDTH_MAX: i64 = 64;

    fn parse(arg: &[u8]) -> Result<Self, ErrorReply> {
        // Redis reads it as text of C, which ends where a zero byte is.
        let text = arg.split(|&byte| byte == 0).next().unwrap_or_default();
        let parsed = match text {
            [b'i', width @ ..] => Some((true, width, Self::SIGNED_WIDTH_MAX)),
            [b'u', width @ ..] => Some((false, width, Self::UNSIGNED_WIDTH_MAX)),
            _ => None,
        };
        parsed
            .and_then(|(is_signed, width, width_max)| {
                let width = parse_i64(width).filter(|width| (1..=width_max).contains(width))?;
                Some(Self { is_signed, width: width as u32 })
            })
            .ok_or(ErrorReply::fixed(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
            ))
    }

    fn min(self) -> i128 {
        if self.is_signed { -(1 << (self.width - 1)) } else { 0 }
    }

    fn max(self) -> i128 {
        if self.is_signed { (1 << (self.width - 1)) - 1 } else { (1 << self.width) - 1 }
    }

    /// The low bits of a number as a value of this type.
    fn wrapped(self, n: i128) -> i64 {
        let spare = i64::BITS - self.width;
        let high = (n as i64) << spare;
        if self.is_signed { high >> spare } else { ((high as u64) >> spare) as i64 }
    }

    fn read(self, bytes: &[u8], offset: u64) -> i64 {
        self.wrapped(i128::from(bits::field(bytes, offset, self.width)))
    }
}

/// What becomes of a value that its field cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    fn parse(args: &Args<'_>, at: usize) -> Result<Self, ErrorReply> {
        match () {
            () if args.is(at, "WRAP") => Ok(Self::Wrap),
            () if args.is(at, "SAT") => Ok(Self::Saturate),
            () if args.is(at, "FAIL") => Ok(Self::Fail),
            () => Err(ErrorReply::fixed("ERR Invalid OVERFLOW type specified")),
        }
    }

    /// What of `n` is stored in a field; nothing, if it does not fit and must.
    fn fit(self, n: i128, encoding: Encoding) -> Option<i64> {
        if (encoding.min()..=encoding.max()).contains(&n) {
            return Some(n as i64);
        }
        match self {
            Self::Wrap => Some(encoding.wrapped(n)),
            Self::Saturate => Some(n.clamp(encoding.min(), encoding.max()) as i64),
            Self::Fail => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

/// One operation on one field.
#[derive(Debug, Clone, Copy)]
struct Step {
    encoding: Encoding,
    offset: u64,
    action: Action,
}

type Steps = SmallVec<[Step; 4]>;

/// The operations that the arguments from 2 on name.
fn parse(ctx: &Ctx<'_>, args: &Args<'_>) -> Result<Steps, ErrorReply> {
    let mut steps = Steps::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while at < args.len() {
        let following = args.len() - at - 1;
        if args.is(at, "OVERFLOW") && following >= 1 {
            overflow = Overflow::parse(args, at + 1)?;
            at += 2;
            continue;
        }
        let action: Option<fn(i64, Overflow) -> Action> = match () {
            () if args.is(at, "GET") && following >= 2 => None,
            () if args.is(at, "SET") && following >= 3 => Some(Action::Set),
            () if args.is(at, "INCRBY") && following >= 3 => Some(Action::Increment),
            () => return Err(ErrorReply::SYNTAX),
        };
        let encoding = Encoding::parse(args.bytes(at + 1))?;
        let offset = bit_offset(ctx, args.bytes(at + 2), Some(encoding.width))?;
        at += 3;
        let action = match action {
            None => Action::Get,
            Some(action) => {
                at += 1;
                action(integer(args.bytes(at - 1))?, overflow)
            }
        };
        steps.push(Step { encoding, offset, action });
    }
    Ok(steps)
}

/// How long a string must be for all that is written; none if nothing is.
fn written_len(steps: &Steps) -> Option<usize> {
    let written = steps.iter().filter(|step| !matches!(step.action, Action::Get));
    written.map(|step| (step.offset + u64::from(step.encoding.width)).div_ceil(8) as usize).max()
}

/// `BITFIELD key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value |
/// INCRBY encoding offset increment> ...]`
fn bitfield(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let steps = parse(ctx, args)?;
    match written_len(&steps) {
        Some(len) => write(ctx, args.bytes(1), &steps, len)?,
        None => read(ctx, args.bytes(1), &steps)?,
    }
    Ok(Flow::Done)
}

/// `BITFIELD_RO key [GET encoding offset [GET encoding offset ...]]`
fn bitfield_ro(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let steps = parse(ctx, args)?;
    if written_len(&steps).is_some() {
        return Err(ErrorReply::fixed("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read(ctx, args.bytes(1), &steps)?;
    Ok(Flow::Done)
}

fn read(ctx: &mut Ctx<'_>, key: &[u8], steps: &Steps) -> Result<(), ErrorReply> {
    let values: SmallVec<[i64; 4]> = with_string(ctx, key, |bytes| {
        let bytes = bytes.unwrap_or_default();
        steps.iter().map(|step| step.encoding.read(bytes, step.offset)).collect()
    })?;
    ctx.reply.array(values.len());
    values.iter().for_each(|&value| ctx.reply.integer(value));
    Ok(())
}

fn write(ctx: &mut Ctx<'_>, key: &[u8], steps: &Steps, len: usize) -> Result<(), ErrorReply> {
    let mut answers: SmallVec<[Option<i64>; 4]> = SmallVec::with_capacity(steps.len());
    let (grown, (stored, changed)) = change_string(ctx, key, len, |bytes| {
        let (mut stored, mut changed) = (0, 0);
        for step in steps {
            let old = step.encoding.read(bytes, step.offset);
            let (wanted, overflow) = match step.action {
                Action::Get => {
                    answers.push(Some(old));
                    continue;
                }
                Action::Set(value, overflow) => (set_value(value, step.encoding), overflow),
                Action::Increment(by, overflow) => (i128::from(old) + i128::from(by), overflow),
            };
            let Some(new) = overflow.fit(wanted, step.encoding) else {
                answers.push(None);
                continue;
            };
            bits::set_field(bytes, step.offset, step.encoding.width, new as u64);
            stored += 1;
            changed += u64::from(new != old);
            let is_set = matches!(step.action, Action::Set(..));
            answers.push(Some(if is_set { old } else { new }));
        }
        (stored, changed)
    })?;
    // A string that has only grown has changed too, even if no operation succeeded.
    let changes = if grown { stored.max(1) } else { changed };
    if changes > 0 {
        ctx.modified(key, "setbit");
        ctx.add_dirty(changes - 1);
    }
    ctx.reply.array(answers.len());
    for answer in answers {
        match answer {
            Some(value) => ctx.reply.integer(value),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

/// What SET is to store. For an unsigned field a negative number is a very large one, by its bits; and so it is for a
/// signed field, if it is so low that the distance to the field's maximum is no 64-bit number.
fn set_value(value: i64, encoding: Encoding) -> i128 {
    let n = i128::from(value);
    let is_too_low = encoding.width < i64::BITS && encoding.max() - n > i128::from(i64::MAX);
    if n < 0 && (!encoding.is_signed || is_too_low) { n + (1 << i64::BITS) } else { n }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(text: &str) -> Encoding {
        Encoding::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn encodings_have_a_sign_and_a_width() {
        assert_eq!(encoding("i64"), Encoding { is_signed: true, width: 64 });
        assert_eq!(encoding("u63"), Encoding { is_signed: false, width: 63 });
        assert_eq!(encoding("u1\0x"), Encoding { is_signed: false, width: 1 });
        for bad in ["", "i", "u64", "i65", "u0", "i-1", "I8", "8", "i8 ", "i08", "\0"] {
            assert!(Encoding::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_does_not_fit_wraps_or_saturates_or_fails() {
        for (text, n, wrapped, saturated) in [
            ("u8", 256, 0, 255),
            ("u8", -1, 255, 0),
            ("i8", 128, -128, 127),
            ("i8", -129, 127, -128),
            ("u63", 1 << 63, 0, i64::MAX),
            ("i64", i128::from(i64::MAX) + 1, i64::MIN, i64::MAX),
            ("i64", i128::from(i64::MIN) * 2, 0, i64::MIN),
            ("i1", 1, -1, 0),
            ("u1", 3, 1, 1),
        ] {
            let encoding = encoding(text);
            assert_eq!(Overflow::Wrap.fit(n, encoding), Some(wrapped), "{text} {n}");
            assert_eq!(Overflow::Saturate.fit(n, encoding), Some(saturated), "{text} {n}");
            assert_eq!(Overflow::Fail.fit(n, encoding), None, "{text} {n}");
        }
        assert_eq!(Overflow::Fail.fit(-128, encoding("i8")), Some(-128));
    }

    #[test]
    fn set_takes_very_low_numbers_for_very_large_ones() {
        let saturated =
            |value, text| Overflow::Saturate.fit(set_value(value, encoding(text)), encoding(text));
        assert_eq!(saturated(-1, "u8"), Some(255));
        assert_eq!(saturated(-1000, "i8"), Some(-128));
        assert_eq!(saturated(i64::MIN + 127, "i8"), Some(127));
        assert_eq!(saturated(i64::MIN + 128, "i8"), Some(-128));
        assert_eq!(saturated(i64::MIN, "i64"), Some(i64::MIN));
        assert_eq!(Overflow::Wrap.fit(set_value(i64::MIN + 5, encoding("i8")), encoding("i8")), Some(5));
    }
}
