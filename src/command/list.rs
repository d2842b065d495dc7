//! Commands of the list group: what works on one list. Popping and moving are in files of their own.

mod lmove;
mod lpos;
mod pop;

pub(super) use lmove::COMMANDS as MOVE_COMMANDS;
pub(super) use pop::COMMANDS as POP_COMMANDS;

use super::context::Ctx;
use super::options::{integer, signed_count};
use super::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::list::List;
use crate::storage::{EncodingLimits, ValueRef};

const READ_KEY: &[KeySpec] = &[KeySpec::range(1, 1, 1, RO | ACCESS)];
const INSERT_KEY: &[KeySpec] = &[KeySpec::range(1, 1, 1, RW | INSERT)];
const UPDATE_KEY: &[KeySpec] = &[KeySpec::range(1, 1, 1, RW | UPDATE)];
const DELETE_KEY: &[KeySpec] = &[KeySpec::range(1, 1, 1, RW | DELETE)];

const PUSH_COMPLEXITY: &str = "O(N) where N is the number of elements pushed, O(1) for each of them.";

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("lpush", -3, WRITE | DENYOOM | FAST, "list", lpush).keys(INSERT_KEY).docs(
        "1.0.0",
        PUSH_COMPLEXITY,
        "Pushes elements at the head of a list, which is created when it is missing.",
        "key element [element ...]",
    ),
    CommandSpec::data("rpush", -3, WRITE | DENYOOM | FAST, "list", rpush).keys(INSERT_KEY).docs(
        "1.0.0",
        PUSH_COMPLEXITY,
        "Pushes elements at the tail of a list, which is created when it is missing.",
        "key element [element ...]",
    ),
    CommandSpec::data("lpushx", -3, WRITE | DENYOOM | FAST, "list", lpushx).keys(INSERT_KEY).docs(
        "2.2.0",
        PUSH_COMPLEXITY,
        "Pushes elements at the head of a list that is there already.",
        "key element [element ...]",
    ),
    CommandSpec::data("rpushx", -3, WRITE | DENYOOM | FAST, "list", rpushx).keys(INSERT_KEY).docs(
        "2.2.0",
        PUSH_COMPLEXITY,
        "Pushes elements at the tail of a list that is there already.",
        "key element [element ...]",
    ),
    CommandSpec::data("llen", 2, READONLY | FAST, "list", llen).keys(&[KeySpec::range(1, 1, 1, RO)]).docs(
        "1.0.0",
        "O(1)",
        "Answers how many elements a list has.",
        "key",
    ),
    CommandSpec::data("lrange", 4, READONLY, "list", lrange).keys(READ_KEY).looks_at(Extent::Positions).docs(
        "1.0.0",
        "O(log(L)+N) where L is the length of the list and N the number of elements answered.",
        "Answers the elements between two positions of a list.",
        "key start stop",
    ),
    CommandSpec::data("lindex", 3, READONLY, "list", lindex).keys(READ_KEY).docs(
        "1.0.0",
        "O(log(N)) where N is the length of the list.",
        "Answers the element at a position of a list.",
        "key index",
    ),
    CommandSpec::data("lset", 4, WRITE | DENYOOM, "list", lset).keys(UPDATE_KEY).docs(
        "1.0.0",
        "O(log(N)) where N is the length of the list.",
        "Replaces the element at a position of a list.",
        "key index element",
    ),
    CommandSpec::data("linsert", 5, WRITE | DENYOOM, "list", linsert).keys(INSERT_KEY).docs(
        "2.2.0",
        "O(N) where N is the number of elements in front of the pivot.",
        "Puts an element next to another one in a list.",
        "key <BEFORE | AFTER> pivot element",
    ),
    CommandSpec::data("lrem", 4, WRITE, "list", lrem).keys(DELETE_KEY).docs(
        "1.0.0",
        "O(N) where N is the length of the list.",
        "Removes the elements of a list that equal a value, all or so many from one end.",
        "key count element",
    ),
    CommandSpec::data("ltrim", 4, WRITE, "list", ltrim).keys(DELETE_KEY).docs(
        "1.0.0",
        "O(N) where N is the number of elements removed.",
        "Keeps the elements between two positions of a list and removes all others.",
        "key start stop",
    ),
    CommandSpec::data("lpos", -3, READONLY, "list", lpos::lpos)
        .keys(READ_KEY)
        .looks_at(Extent::Elements)
        .docs(
            "6.0.6",
            "O(N) where N is the number of elements compared.",
            "Finds the positions of an element in a list.",
            "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        ),
];

/// One end of a list: `LEFT` is the head, `RIGHT` the tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Right,
}

impl End {
    fn parse(arg: &[u8]) -> Result<Self, ErrorReply> {
        match arg {
            _ if arg.eq_ignore_ascii_case(b"LEFT") => Ok(Self::Left),
            _ if arg.eq_ignore_ascii_case(b"RIGHT") => Ok(Self::Right),
            _ => Err(ErrorReply::SYNTAX),
        }
    }

    fn push(self, list: &mut List, element: &[u8], limits: &EncodingLimits) {
        match self {
            Self::Left => list.push_front(element, limits),
            Self::Right => list.push_back(element, limits),
        }
    }

    fn push_event(self) -> &'static str {
        match self {
            Self::Left => "lpush",
            Self::Right => "rpush",
        }
    }

    fn pop_event(self) -> &'static str {
        match self {
            Self::Left => "lpop",
            Self::Right => "rpop",
        }
    }
}

/// `LPUSH key element [element ...]`
fn lpush(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    push(ctx, args, End::Left, Missing::Create)
}

/// `RPUSH key element [element ...]`
fn rpush(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    push(ctx, args, End::Right, Missing::Create)
}

/// `LPUSHX key element [element ...]`
fn lpushx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    push(ctx, args, End::Left, Missing::Leave)
}

/// `RPUSHX key element [element ...]`
fn rpushx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    push(ctx, args, End::Right, Missing::Leave)
}

/// What a push does to a key that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Leave,
}

fn push(ctx: &mut Ctx<'_>, args: &Args<'_>, end: End, missing: Missing) -> CommandResult {
    let key = args.bytes(1);
    let limits = ctx.db.limits;
    let list = match missing {
        Missing::Create => Some(ctx.db.write_or_create::<List>(key)?),
        Missing::Leave => ctx.db.write::<List>(key)?,
    };
    let Some(list) = list else {
        ctx.reply.integer(0);
        return Ok(Flow::Done);
    };
    let elements = args.from(2);
    for element in elements.iter() {
        end.push(list, element, limits);
    }
    let len = list.len();
    ctx.reply.integer(len as i64);
    ctx.modified(key, end.push_event());
    ctx.add_dirty(elements.len() as u64 - 1);
    Ok(Flow::Done)
}

/// `LLEN key`
fn llen(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let len = ctx.db.read::<List>(args.bytes(1))?.map_or(0, List::len);
    ctx.reply.integer(len as i64);
    Ok(Flow::Done)
}

/// `LRANGE key start stop`
fn lrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let (start, stop) = (integer(args.bytes(2))?, integer(args.bytes(3))?);
    let Some(list) = ctx.db.read::<List>(args.bytes(1))? else {
        ctx.reply.array(0);
        return Ok(Flow::Done);
    };
    let (start, len) = slice(start, stop, list.len());
    ctx.reply.array(len);
    for element in list.iter_range(start, len) {
        ctx.reply.bulk(element);
    }
    Ok(Flow::Done)
}

/// `LINDEX key index`
fn lindex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let Some(list) = ctx.db.read::<List>(args.bytes(1))? else {
        ctx.reply.null();
        return Ok(Flow::Done);
    };
    // Redis looks at the index only when there is a list.
    let index = position(integer(args.bytes(2))?, list.len());
    match index.and_then(|index| list.get(index)) {
        Some(element) => ctx.reply.bulk(element),
        None => ctx.reply.null(),
    }
    Ok(Flow::Done)
}

/// `LSET key index element`
fn lset(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let limits = ctx.db.limits;
    let len = peek(ctx, key)?.ok_or(ErrorReply::NO_SUCH_KEY)?.len();
    let index = position(integer(args.bytes(2))?, len).ok_or(ErrorReply::INDEX_OUT_OF_RANGE)?;
    if let Some(list) = ctx.db.write::<List>(key)? {
        list.set(index, args.bytes(3), limits);
    }
    ctx.reply.ok();
    ctx.modified(key, "lset");
    Ok(Flow::Done)
}

/// `LINSERT key <BEFORE | AFTER> pivot element`
fn linsert(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let behind = match args.bytes(2) {
        word if word.eq_ignore_ascii_case(b"BEFORE") => 0,
        word if word.eq_ignore_ascii_case(b"AFTER") => 1,
        _ => return Err(ErrorReply::SYNTAX),
    };
    let (key, pivot, element) = (args.bytes(1), args.bytes(3), args.bytes(4));
    let limits = ctx.db.limits;
    let Some(list) = peek(ctx, key)? else {
        ctx.reply.integer(0);
        return Ok(Flow::Done);
    };
    let Some(index) = list.iter().position(|other| other == pivot) else {
        ctx.reply.integer(-1);
        return Ok(Flow::Done);
    };
    if let Some(list) = ctx.db.write::<List>(key)? {
        list.insert(index + behind, element, limits);
        ctx.reply.integer(list.len() as i64);
    }
    ctx.modified(key, "linsert");
    Ok(Flow::Done)
}

/// `LREM key count element`
fn lrem(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let count = signed_count(args.bytes(2))?;
    let removed = match ctx.db.write::<List>(key)? {
        Some(list) => list.remove_matching(args.bytes(3), count),
        None => 0,
    };
    if removed > 0 {
        ctx.modified(key, "lrem");
        ctx.add_dirty(removed as u64 - 1);
        ctx.remove_if_empty::<List>(key);
    }
    ctx.reply.integer(removed as i64);
    Ok(Flow::Done)
}

/// `LTRIM key start stop`
fn ltrim(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let (start, stop) = (integer(args.bytes(2))?, integer(args.bytes(3))?);
    if let Some(list) = ctx.db.write::<List>(key)? {
        let before = list.len();
        let (start, len) = slice(start, stop, before);
        let cut_off = list.keep_range(start, len);
        cut_off.into_iter().for_each(|rest| ctx.db.discard(rest));
        // An event even when nothing was cut off, but then no change.
        ctx.event(key, "ltrim");
        ctx.add_dirty((before - len) as u64);
        ctx.remove_if_empty::<List>(key);
    }
    ctx.reply.ok();
    Ok(Flow::Done)
}

/// The list at `key`, without a trace of the look at it.
fn peek<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a List>, ErrorReply> {
    match ctx.db.peek(key) {
        None => Ok(None),
        Some(ValueRef::List(list)) => Ok(Some(list)),
        Some(_) => Err(ErrorReply::WRONG_TYPE),
    }
}

/// An index, counted from the end when negative, as a position in a list of `len` elements.
fn position(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(index).ok().filter(|&index| index < len)
}

/// The first position and the number of elements of `start..=stop`, negative ones counted from the end.
fn slice(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index + len } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop { (0, 0) } else { (start as usize, (stop - start + 1) as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_cut_to_the_list() {
        for (start, stop, len, expected) in [
            (0, -1, 3, (0, 3)),
            (-2, -1, 3, (1, 2)),
            (-100, 100, 3, (0, 3)),
            (1, 1, 3, (1, 1)),
            (2, 1, 3, (0, 0)),
            (3, 5, 3, (0, 0)),
            (0, -4, 3, (0, 0)),
            (0, -1, 0, (0, 0)),
            (i64::MIN, i64::MAX, 3, (0, 3)),
            (i64::MAX, i64::MIN, 3, (0, 0)),
        ] {
            assert_eq!(slice(start, stop, len), expected, "{start}..={stop} of {len}");
        }
    }

    #[test]
    fn a_position_is_within_the_list_or_none() {
        assert_eq!(position(-1, 3), Some(2));
        assert_eq!(position(-3, 3), Some(0));
        assert_eq!(position(-4, 3), None);
        assert_eq!(position(3, 3), None);
        assert_eq!(position(i64::MIN, 3), None);
        assert_eq!(position(i64::MAX, 3), None);
    }
}
