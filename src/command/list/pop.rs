//! Commands that pop from the first list that has something, and their blocking forms.

use super::End;
use crate::command::context::Ctx;
use crate::command::options::{integer_in, timeout};
use crate::command::spec::*;
use crate::engine::TimeoutReply;
use crate::engine::long_read::LateReplies;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::list::List;

const POP_KEY: &[KeySpec] = &[KeySpec::range(1, 1, 1, RW | ACCESS | DELETE)];
const POP_KEYS: &[KeySpec] = &[KeySpec::range(1, -2, 1, RW | ACCESS | DELETE)];

const MULTI_POP_COMPLEXITY: &str =
    "O(N+M) where N is the number of keys looked at and M the number of elements popped.";

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("lpop", -2, WRITE | FAST, "list", lpop).keys(POP_KEY).docs(
        "1.0.0",
        "O(N) where N is the number of elements popped.",
        "Takes elements from the head of a list.",
        "key [count]",
    ),
    CommandSpec::data("rpop", -2, WRITE | FAST, "list", rpop).keys(POP_KEY).docs(
        "1.0.0",
        "O(N) where N is the number of elements popped.",
        "Takes elements from the tail of a list.",
        "key [count]",
    ),
    CommandSpec::data("lmpop", -4, WRITE | MOVABLE_KEYS, "list", lmpop)
        .keys(&[KeySpec::counted(1, RW | ACCESS | DELETE)])
        .docs(
            "7.0.0",
            MULTI_POP_COMPLEXITY,
            "Takes elements from the first of several lists that is there.",
            "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        ),
    CommandSpec::data("blpop", -3, WRITE | BLOCKING, "list", blpop).keys(POP_KEYS).docs(
        "2.0.0",
        "O(N) where N is the number of keys looked at.",
        "Takes the head of the first list that is there, or waits for one.",
        "key [key ...] timeout",
    ),
    CommandSpec::data("brpop", -3, WRITE | BLOCKING, "list", brpop).keys(POP_KEYS).docs(
        "2.0.0",
        "O(N) where N is the number of keys looked at.",
        "Takes the tail of the first list that is there, or waits for one.",
        "key [key ...] timeout",
    ),
    CommandSpec::data("blmpop", -5, WRITE | BLOCKING | MOVABLE_KEYS, "list", blmpop)
        .keys(&[KeySpec::counted(2, RW | ACCESS | DELETE)])
        .docs(
            "7.0.0",
            MULTI_POP_COMPLEXITY,
            "Takes elements from the first of several lists that is there, or waits for one.",
            "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        ),
];

/// `LPOP key [count]`
fn lpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    pop(ctx, args, End::Left)
}

/// `RPOP key [count]`
fn rpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    pop(ctx, args, End::Right)
}

fn pop(ctx: &mut Ctx<'_>, args: &Args<'_>, end: End) -> CommandResult {
    if args.len() > 3 {
        // The row's arity has no upper bound, its name is that of the event.
        return Err(ErrorReply::wrong_arity(end.pop_event()));
    }
    let count = match args.get(2) {
        Some(arg) => match integer_in(arg, 0..=i64::MAX, ErrorReply::OUT_OF_RANGE_POSITIVE) {
            Ok(count) => Some(count as usize),
            Err(_) => return Err(ErrorReply::OUT_OF_RANGE_POSITIVE),
        },
        None => None,
    };
    let key = args.bytes(1);
    let Some(list) = ctx.db.write::<List>(key)? else {
        match count {
            Some(_) => ctx.reply.null_array(),
            None => ctx.reply.null(),
        }
        return Ok(Flow::Done);
    };
    let popped = count.unwrap_or(1).min(list.len());
    if count.is_some() {
        ctx.reply.array(popped);
    }
    if popped > 0 {
        let rest = take(list, end, popped, &mut ctx.reply, &mut ctx.late);
        ctx.db.discard(rest);
        conclude_pop(ctx, key, end, popped);
    }
    Ok(Flow::Done)
}

/// `LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count]`
fn lmpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let request = MultiPop::parse(&args.from(1))?;
    if !request.run(ctx)? {
        ctx.reply.null_array();
    }
    Ok(Flow::Done)
}

/// `BLPOP key [key ...] timeout`
fn blpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    blocking_pop(ctx, args, End::Left)
}

/// `BRPOP key [key ...] timeout`
fn brpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    blocking_pop(ctx, args, End::Right)
}

fn blocking_pop(ctx: &mut Ctx<'_>, args: &Args<'_>, end: End) -> CommandResult {
    let last = args.len() - 1;
    let deadline = timeout(args.bytes(last), ctx.now)?;
    let keys = args.iter().take(last).skip(1);
    let Some(key) = first_list(ctx, keys.clone())? else {
        let keys = keys.map(<[u8]>::to_vec).collect();
        return Ok(Flow::Block(BlockOnKeys::new(keys, deadline, TimeoutReply::NullArray)));
    };
    ctx.reply.array(2);
    ctx.reply.bulk(key);
    pop_found(ctx, key, end, 1)?;
    ctx.propagate_as([end.pop_name(), key]);
    Ok(Flow::Done)
}

/// `BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]`
fn blmpop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let request = MultiPop::parse(&args.from(2))?;
    let deadline = timeout(args.bytes(1), ctx.now)?;
    if request.run(ctx)? {
        return Ok(Flow::Done);
    }
    let keys = request.keys().map(<[u8]>::to_vec).collect();
    Ok(Flow::Block(BlockOnKeys::new(keys, deadline, TimeoutReply::NullArray)))
}

/// What LMPOP and BLMPOP are asked for.
struct MultiPop<'a> {
    /// `numkeys key [key ...]` and what follows.
    args: Args<'a>,
    keys_len: usize,
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    fn parse(args: &Args<'a>) -> Result<Self, ErrorReply> {
        let keys_len = positive(args.bytes(0), ErrorReply::NUMKEYS_NOT_POSITIVE)?;
        let end_at = keys_len.saturating_add(1);
        let end = End::parse(args.get(end_at).ok_or(ErrorReply::SYNTAX)?)?;
        let options = args.from(end_at + 1);
        let count = match options.len() {
            0 => 1,
            2 if options.is(0, "COUNT") => positive(options.bytes(1), ErrorReply::COUNT_NOT_POSITIVE)?,
            _ => return Err(Self::bad_options(&options)),
        };
        Ok(Self { args: *args, keys_len, end, count })
    }

    /// Options are read from left to right: a bad count comes before what is wrong behind it.
    fn bad_options(options: &Args<'_>) -> ErrorReply {
        match options.get(1) {
            Some(count) if options.is(0, "COUNT") => {
                positive(count, ErrorReply::COUNT_NOT_POSITIVE).err().unwrap_or(ErrorReply::SYNTAX)
            }
            _ => ErrorReply::SYNTAX,
        }
    }

    fn keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.args.iter().skip(1).take(self.keys_len)
    }

    /// Pops from the first list that is there and replies; false if there is none.
    fn run(&self, ctx: &mut Ctx<'_>) -> Result<bool, ErrorReply> {
        let Some(key) = first_list(ctx, self.keys())? else { return Ok(false) };
        ctx.reply.array(2);
        ctx.reply.bulk(key);
        let len = super::peek(ctx, key)?.map_or(0, List::len);
        let popped = self.count.min(len);
        ctx.reply.array(popped);
        pop_found(ctx, key, self.end, popped)?;
        let mut number = itoa::Buffer::new();
        ctx.propagate_as([self.end.pop_name(), key, number.format(popped).as_bytes()]);
        Ok(true)
    }
}

impl End {
    fn pop_name(self) -> &'static [u8] {
        match self {
            Self::Left => b"LPOP",
            Self::Right => b"RPOP",
        }
    }
}

/// The first of `keys` that is there, which must be a list.
fn first_list<'k>(
    ctx: &mut Ctx<'_>,
    mut keys: impl Iterator<Item = &'k [u8]>,
) -> Result<Option<&'k [u8]>, ErrorReply> {
    keys.find_map(|key| super::peek(ctx, key).map(|list| list.map(|_| key)).transpose()).transpose()
}

/// Pops from a list that is known to be there and to have `count` elements.
fn pop_found(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: usize) -> Result<(), ErrorReply> {
    if let Some(list) = ctx.db.write::<List>(key)? {
        let rest = take(list, end, count, &mut ctx.reply, &mut ctx.late);
        ctx.db.discard(rest);
        conclude_pop(ctx, key, end, count);
    }
    Ok(())
}

/// Moves `count` elements, of at least so many, to the end of the reply. Answers what is to be freed.
fn take(
    list: &mut List,
    end: End,
    count: usize,
    reply: &mut Reply<'_>,
    late: &mut LateReplies<'_>,
) -> Option<List> {
    let start = match end {
        End::Left => 0,
        End::Right => list.len() - count,
    };
    if late.take_elements(count) {
        let whole = list.clone();
        late.leave(move |reply| write_popped(reply, &whole, start, count, end));
    } else {
        write_popped(reply, list, start, count, end);
    }
    list.remove_range(start, count)
}

fn write_popped(reply: &mut Reply<'_>, list: &List, start: usize, count: usize, end: End) {
    let elements = list.iter_range(start, count);
    match end {
        End::Left => elements.for_each(|element| reply.bulk(element)),
        End::Right => elements.rev().for_each(|element| reply.bulk(element)),
    }
}

fn conclude_pop(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: usize) {
    ctx.modified(key, end.pop_event());
    ctx.add_dirty(count as u64 - 1);
    ctx.remove_if_empty::<List>(key);
}

/// A number above 0; `error` tells of anything else.
fn positive(arg: &[u8], error: ErrorReply) -> Result<usize, ErrorReply> {
    integer_in(arg, 1..=i64::MAX, error.clone()).map(|n| n as usize).map_err(|_| error)
}
