//! Strings as arrays of bits: SETBIT, GETBIT, BITCOUNT, BITPOS. `operation` combines strings, `field` has BITFIELD.
//!
//! A long string that no snapshot shares is changed where it lies. Bit 0 is the highest one of the first byte.

pub(super) mod field;
pub(super) mod operation;

use std::ops::Range;

use super::context::Ctx;
use super::options::integer;
use super::spec::*;
use crate::base::bits;
use crate::base::number::parse_i64;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::{StringRef, growth};

const BIT_OFFSET: ErrorReply = ErrorReply::fixed("ERR bit offset is not an integer or out of range");

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("setbit", 4, WRITE | DENYOOM, "bitmap", setbit)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | UPDATE)])
        .docs(
            "2.2.0",
            "O(1)",
            "Sets or clears one bit of a string, which is filled up with zero bytes as far as needed.",
            "key offset value",
        ),
    CommandSpec::data("getbit", 3, READONLY | FAST, "bitmap", getbit)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs("2.2.0", "O(1)", "Reads one bit of a string.", "key offset"),
    CommandSpec::data("bitcount", -2, READONLY, "bitmap", bitcount)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs("2.6.0", "O(N)", "Counts the bits of a string that are set.", "key [start end [BYTE | BIT]]"),
    CommandSpec::data("bitpos", -3, READONLY, "bitmap", bitpos)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs(
            "2.8.7",
            "O(N)",
            "Finds the first bit of a string that is set, or that is clear.",
            "key bit [start [end [BYTE | BIT]]]",
        ),
];

/// The number of a bit. Where `width` is that of a field, `#<n>` counts in fields.
fn bit_offset(ctx: &Ctx<'_>, arg: &[u8], width: Option<u32>) -> Result<u64, ErrorReply> {
    let offset = match (arg, width) {
        ([b'#', number @ ..], Some(width)) => {
            parse_i64(number).and_then(|number| number.checked_mul(i64::from(width)))
        }
        _ => parse_i64(arg),
    };
    let offset = offset.and_then(|offset| u64::try_from(offset).ok()).ok_or(BIT_OFFSET)?;
    let is_inside = ctx.must_obey || offset / 8 < ctx.config.proto_max_bulk_len;
    if is_inside { Ok(offset) } else { Err(BIT_OFFSET) }
}

/// Lets `change` work on the string at `key` after it has been filled up to `len_min` bytes; whether it had to be.
fn change_string<R>(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    len_min: usize,
    change: impl FnOnce(&mut [u8]) -> R,
) -> Result<(bool, R), ErrorReply> {
    Ok(ctx.db.update_string(key, |bytes| {
        let grows = bytes.len() < len_min;
        growth::lengthen(bytes, len_min);
        (grows, change(bytes))
    })?)
}

/// `SETBIT key offset value`
fn setbit(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let offset = bit_offset(ctx, args.bytes(2), None)?;
    let on = match parse_i64(args.bytes(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(ErrorReply::fixed("ERR bit is not an integer or out of range")),
    };
    if is_long_with_bit(ctx, key, offset, on)? {
        ctx.db.access(key);
        ctx.reply.integer(i64::from(on));
        return Ok(Flow::Done);
    }
    let (grown, old) = change_string(ctx, key, (offset / 8) as usize + 1, |bytes| {
        let old = bits::bit(bytes, offset);
        bits::set_bit(bytes, offset, on);
        old
    })?;
    if grown || old != on {
        ctx.modified(key, "setbit");
    }
    ctx.reply.integer(i64::from(old));
    Ok(Flow::Done)
}

/// Whether the bit at `offset` of a long string is `on` already: nothing is written then, since writing copies a string
/// that a snapshot shares.
fn is_long_with_bit(ctx: &mut Ctx<'_>, key: &[u8], offset: u64, on: bool) -> Result<bool, ErrorReply> {
    const LONG_BYTES: usize = 1024;
    Ok(match ctx.db.peek_string(key)? {
        Some(StringRef::Bytes(bytes)) if bytes.len() >= LONG_BYTES => {
            offset / 8 < bytes.len() as u64 && bits::bit(bytes, offset) == on
        }
        _ => false,
    })
}

/// `GETBIT key offset`
fn getbit(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let offset = bit_offset(ctx, args.bytes(2), None)?;
    let on = with_string(ctx, args.bytes(1), |bytes| bits::bit(bytes.unwrap_or_default(), offset))?;
    ctx.reply.integer(i64::from(on));
    Ok(Flow::Done)
}

/// Hands the string at `key` to `read`.
fn with_string<R>(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    read: impl FnOnce(Option<&[u8]>) -> R,
) -> Result<R, ErrorReply> {
    let mut buffer = itoa::Buffer::new();
    let string: Option<StringRef<'_>> = ctx.db.string(key)?;
    Ok(read(string.map(|string| string.as_bytes(&mut buffer))))
}

/// Which part of a string BITCOUNT and BITPOS look at.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// Negative: from the end.
    start: i64,
    end: Option<i64>,
    /// Both count bits instead of bytes.
    is_in_bits: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    EndFirst,
    UnitFirst,
}

impl Part {
    /// `[start [end [BYTE | BIT]]]` from argument `at` on. If several are wrong, `order` says which is complained about.
    fn parse(args: &Args<'_>, at: usize, order: Order) -> Result<Self, ErrorReply> {
        if args.len() > at + 3 {
            return Err(ErrorReply::SYNTAX);
        }
        let start = args.get(at).map_or(Ok(0), integer)?;
        let end = || args.get(at + 1).map(integer).transpose();
        let is_in_bits = || match args.get(at + 2) {
            None => Ok(false),
            Some(_) if args.is(at + 2, "BIT") => Ok(true),
            Some(_) if args.is(at + 2, "BYTE") => Ok(false),
            Some(_) => Err(ErrorReply::SYNTAX),
        };
        Ok(match order {
            Order::EndFirst => Self { start, end: end()?, is_in_bits: is_in_bits()? },
            Order::UnitFirst => Self { start, is_in_bits: is_in_bits()?, end: end()? },
        })
    }

    /// As bits of a string of `len` bytes.
    fn bits(&self, len: usize) -> Range<u64> {
        let unit_bits = if self.is_in_bits { 1 } else { 8 };
        let len = (len as i64 * 8) / unit_bits;
        let from_start = |place: i64| if place < 0 { place.saturating_add(len).max(0) } else { place };
        let start = from_start(self.start);
        let end = self.end.map_or(len, |end| from_start(end).saturating_add(1).min(len));
        if start >= end { 0..0 } else { (start * unit_bits) as u64..(end * unit_bits) as u64 }
    }

    /// Whether both ends are counted from the end of the string and cross.
    fn is_crossed(&self) -> bool {
        self.end.is_some_and(|end| self.start < 0 && end < 0 && self.start > end)
    }
}

/// `BITCOUNT key [start end [BYTE | BIT]]`
fn bitcount(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    if args.len() == 3 {
        return Err(ErrorReply::SYNTAX);
    }
    let part = Part::parse(args, 2, Order::EndFirst)?;
    let count = with_string(ctx, args.bytes(1), |bytes| match bytes {
        Some(bytes) if !part.is_crossed() => bits::count_ones_in(bytes, part.bits(bytes.len())),
        _ => 0,
    })?;
    ctx.reply.integer(count as i64);
    Ok(Flow::Done)
}

/// `BITPOS key bit [start [end [BYTE | BIT]]]`
fn bitpos(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let wanted = match integer(args.bytes(2))? {
        0 => false,
        1 => true,
        _ => return Err(ErrorReply::fixed("ERR The bit argument must be 1 or 0.")),
    };
    let part = Part::parse(args, 3, Order::UnitFirst)?;
    let found = with_string(ctx, args.bytes(1), |bytes| {
        // A string that is missing is as good as endless zeros, and so is what follows one whose end is not named.
        let Some(bytes) = bytes else { return if wanted { None } else { Some(0) } };
        let range = part.bits(bytes.len());
        let behind = (!wanted && part.end.is_none() && !range.is_empty()).then_some(range.end);
        bits::position(bytes, wanted, range).or(behind)
    })?;
    ctx.reply.integer(found.map_or(-1, |at| at as i64));
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_at_the_ends_of_the_string() {
        for (start, end, is_in_bits, expected) in [
            (0, None, false, 0..32),
            (1, Some(2), false, 8..24),
            (-2, Some(-1), false, 16..32),
            (-100, Some(0), false, 0..8),
            (2, Some(1), false, 0..0),
            (4, None, false, 0..0),
            (0, Some(-5), false, 0..8),
            (5, Some(30), true, 5..31),
            (-3, Some(100), true, 29..32),
            (i64::MIN, Some(i64::MAX), true, 0..32),
            (i64::MAX, Some(i64::MAX), false, 0..0),
        ] {
            assert_eq!(Part { start, end, is_in_bits }.bits(4), expected, "{start} {end:?} {is_in_bits}");
        }
    }
}
