//! Commands on parts of a string.

use crate::command::context::Ctx;
use crate::command::options::integer;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::{NewExpiry, StringRef, growth};

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("append", 3, WRITE | DENYOOM | FAST, "string", append)
        .keys(&[KeySpec::range(1, 1, 1, RW | INSERT)])
        .docs(
            "2.0.0",
            "O(M) amortized, where M is the length of the value",
            "Appends to a string, which begins empty.",
            "key value",
        ),
    CommandSpec::data("strlen", 2, READONLY | FAST, "string", strlen)
        .keys(&[KeySpec::range(1, 1, 1, RO)])
        .docs("2.2.0", "O(1)", "Tells how many bytes a string has.", "key"),
    CommandSpec::data("setrange", 4, WRITE | DENYOOM, "string", setrange)
        .keys(&[KeySpec::range(1, 1, 1, RW | UPDATE)])
        .docs(
            "2.2.0",
            "O(M) where M is the length of the value, plus the zero bytes in front of it",
            "Overwrites a part of a string, which is filled up with zero bytes as far as needed.",
            "key offset value",
        ),
    CommandSpec::data("getrange", 4, READONLY, "string", getrange)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs(
            "2.4.0",
            "O(M) where M is the length of the part",
            "Reads a part of a string.",
            "key start end",
        ),
    CommandSpec::data("substr", 4, READONLY, "string", getrange)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS)])
        .docs(
            "1.0.0",
            "O(M) where M is the length of the part",
            "Reads a part of a string; the old name of GETRANGE.",
            "key start end",
        )
        .deprecated("2.0.0", "`GETRANGE`"),
];

/// `APPEND key value`
fn append(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, value) = (args.bytes(1), args.bytes(2));
    let len = match ctx.db.peek_string(key)?.map(len_of) {
        None => {
            ctx.db.set_string(key, value, NewExpiry::Clear);
            value.len()
        }
        Some(old_len) => {
            check_len(ctx, old_len.checked_add(value.len()))?;
            ctx.db.update_string(key, |bytes| {
                growth::extend(bytes, value);
                bytes.len()
            })?
        }
    };
    ctx.modified(key, "append");
    ctx.reply.integer(len as i64);
    Ok(Flow::Done)
}

/// Refuses a string longer than a client could send or read whole.
fn check_len(ctx: &Ctx<'_>, len: Option<usize>) -> Result<(), ErrorReply> {
    match len {
        Some(len) if ctx.must_obey || len as u64 <= ctx.config.proto_max_bulk_len => Ok(()),
        _ => Err(ErrorReply::STRING_TOO_LONG),
    }
}

fn len_of(string: StringRef<'_>) -> usize {
    string.as_bytes(&mut itoa::Buffer::new()).len()
}

/// `STRLEN key`
fn strlen(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let len = ctx.db.string(args.bytes(1))?.map_or(0, len_of);
    ctx.reply.integer(len as i64);
    Ok(Flow::Done)
}

/// `SETRANGE key offset value`
fn setrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (key, value) = (args.bytes(1), args.bytes(3));
    let offset = usize::try_from(integer(args.bytes(2))?).map_err(|_| ErrorReply::OFFSET_OUT_OF_RANGE)?;
    let old_len = ctx.db.peek_string(key)?.map_or(0, len_of);
    if value.is_empty() {
        ctx.reply.integer(old_len as i64);
        return Ok(Flow::Done);
    }
    let end = offset.checked_add(value.len());
    check_len(ctx, end)?;
    let end = end.ok_or(ErrorReply::STRING_TOO_LONG)?;
    let len = ctx.db.update_string(key, |bytes| {
        growth::lengthen(bytes, end);
        bytes[offset..end].copy_from_slice(value);
        bytes.len()
    })?;
    ctx.modified(key, "setrange");
    ctx.reply.integer(len as i64);
    Ok(Flow::Done)
}

/// `GETRANGE key start end`
fn getrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (start, end) = (integer(args.bytes(2))?, integer(args.bytes(3))?);
    let mut buffer = itoa::Buffer::new();
    let bytes = ctx.db.string(args.bytes(1))?.map_or(&[][..], |string| string.as_bytes(&mut buffer));
    let bytes = part(bytes, start, end);
    if !ctx.late.take_bytes(bytes.len()) {
        ctx.reply.bulk(bytes);
    } else if let Some(bytes) = ctx.db.shared_string(args.bytes(1)) {
        ctx.late.leave(move |reply| reply.bulk(part(&bytes, start, end)));
    }
    Ok(Flow::Done)
}

/// The bytes from `start` to `end`, the last one included; negative ones count from the end of the string. Those that
/// lie before its beginning mean its first byte, unless they were in the wrong order.
fn part(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let len = bytes.len() as i64;
    let place = |index: i64| if index < 0 { index.saturating_add(len).max(0) } else { index };
    let (start, end) = (place(start), place(end).min(len - 1));
    if start > end { &[] } else { &bytes[start as usize..=end as usize] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_as_getrange_cuts_them() {
        for (start, end, expected) in [
            (0, -1, "hello"),
            (1, 3, "ell"),
            (-3, -2, "ll"),
            (-2, -3, ""),
            (3, 1, ""),
            (0, -100, "h"),
            (-100, -100, "h"),
            (-100, -200, ""),
            (5, 10, ""),
            (4, i64::MAX, "o"),
            (i64::MIN, i64::MAX, "hello"),
        ] {
            assert_eq!(part(b"hello", start, end), expected.as_bytes(), "{start} {end}");
        }
        assert_eq!(part(b"", 0, -1), b"");
    }
}
