//! XADD and XDEL, which add and delete entries, and XSETID, which does neither.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::trim::TrimOptions;
use super::{block_limits, ids, peek};
use crate::command::context::Ctx;
use crate::command::options::integer;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::stream::{BYTES_MAX, Stream, StreamId, Trim};

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("xadd", -5, WRITE | DENYOOM | FAST, "stream", xadd)
        .keys(&[KeySpec::range(1, 1, 1, RW | UPDATE).noted("UPDATE instead of INSERT because of the optional trimming feature")])
        .docs(
            "5.0.0",
            "O(1), and O(N) where N is the number of entries that are trimmed.",
            "Adds an entry to a stream, creating the stream when the key is missing.",
            "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]",
        ).tips(&["nondeterministic_output"]),
    CommandSpec::data("xdel", -3, WRITE | FAST, "stream", xdel)
        .keys(&[KeySpec::range(1, 1, 1, RW | DELETE)])
        .docs("5.0.0", "O(1) for each entry.", "Deletes entries of a stream by their ids.", "key id [id ...]"),
    CommandSpec::data("xsetid", -3, WRITE | DENYOOM | FAST, "stream", xsetid)
        .keys(&[KeySpec::range(1, 1, 1, RW | UPDATE)])
        .docs(
            "5.0.0",
            "O(1)",
            "Sets what a stream remembers of entries that it may not have any more.",
            "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
        ),
];

/// What XADD is asked for.
struct AddOptions {
    creates: bool,
    trim_options: TrimOptions,
    trim: Option<Trim>,
    id: NewId,
    id_at: usize,
}

/// The id of a new entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewId {
    /// `*`
    Now,
    /// `ms-*`
    NextIn(u64),
    Given(StreamId),
}

impl AddOptions {
    fn parse(ctx: &Ctx<'_>, args: &Args<'_>) -> Result<Self, ErrorReply> {
        let mut creates = true;
        let mut trim_options = TrimOptions::default();
        let mut at = 2;
        let mut id = NewId::Now;
        while at < args.len() {
            if args.bytes(at) == b"*" {
                break;
            }
            if let Some(taken) = trim_options.take(args, at)? {
                at += taken;
            } else if args.is(at, "NOMKSTREAM") {
                creates = false;
                at += 1;
            } else {
                id = match ids::new_entry(args.bytes(at))? {
                    (ms, None) => NewId::NextIn(ms),
                    (ms, Some(seq)) => NewId::Given(StreamId { ms, seq }),
                };
                break;
            }
        }
        let trim = trim_options.finish(ctx)?;
        let fields = args.len().saturating_sub(at + 1);
        if fields < 2 || fields % 2 == 1 {
            return Err(ErrorReply::wrong_arity("xadd"));
        }
        if id == NewId::Given(StreamId::MIN) {
            return Err(ErrorReply::fixed("ERR The ID specified in XADD must be greater than 0-0"));
        }
        Ok(Self { creates, trim_options, trim, id, id_at: at })
    }
}

impl NewId {
    /// The id itself, behind the last one of a stream.
    fn after(self, last: StreamId, now_ms: i64) -> Result<StreamId, ErrorReply> {
        const TOO_SMALL: ErrorReply = ErrorReply::fixed(
            "ERR The ID specified in XADD is equal or smaller than the target stream top item",
        );
        if last == StreamId::MAX {
            return Err(ErrorReply::fixed(
                "ERR The stream has exhausted the last possible ID, unable to add more items",
            ));
        }
        let now_ms = now_ms.max(0) as u64;
        let id = match self {
            Self::Now if now_ms > last.ms => StreamId { ms: now_ms, seq: 0 },
            Self::Now => last.next().unwrap_or(last),
            Self::NextIn(ms) if ms == last.ms => {
                StreamId { ms, seq: last.seq.checked_add(1).ok_or(TOO_SMALL)? }
            }
            Self::NextIn(ms) => StreamId { ms, seq: 0 },
            Self::Given(id) => id,
        };
        if id > last { Ok(id) } else { Err(TOO_SMALL) }
    }
}

/// `XADD key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]`
fn xadd(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let options = AddOptions::parse(ctx, args)?;
    let key = args.bytes(1);
    let (limits, now_ms) = (block_limits(ctx), ctx.now.0);
    let fields = args.from(options.id_at + 1);
    let pairs = (0..fields.len()).step_by(2).map(|i| (fields.bytes(i), fields.bytes(i + 1)));
    let pairs: SmallVec<[(&[u8], &[u8]); 8]> = pairs.collect();

    // Of a stream that is not there yet all that can fail has failed: no empty one is left behind.
    if peek(ctx, key)?.is_none() && !options.creates {
        ctx.reply.null();
        return Ok(Flow::Done);
    }
    if pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > BYTES_MAX {
        return Err(ErrorReply::fixed("ERR Elements are too large to be stored"));
    }
    let stream = ctx.db.write_or_create::<Stream>(key)?;
    let id = options.id.after(stream.last_id(), now_ms)?;
    stream.append(id, &pairs, limits);
    let (trimmed, rest) = options.trim.map_or((0, None), |trim| stream.trim(trim));
    ctx.db.discard(rest);
    let id_text = ids::text(id);
    ctx.reply.bulk(&id_text);
    ctx.modified(key, "xadd");
    if trimmed > 0 {
        ctx.event(key, "xtrim");
    }
    propagate_add(ctx, args, &options, &id_text)
}

/// Propagates an addition with the id that was found and with what was trimmed.
fn propagate_add(ctx: &mut Ctx<'_>, args: &Args<'_>, options: &AddOptions, id: &[u8]) -> CommandResult {
    let is_approximate = options.trim.is_some_and(|trim| trim.is_approximate);
    let is_given = matches!(options.id, NewId::Given(_));
    if !ctx.is_propagating() || (is_given && !is_approximate) {
        return Ok(Flow::Done);
    }
    let mut effect: SmallVec<[Cow<'_, [u8]>; 16]> = args.iter().map(Cow::Borrowed).collect();
    if !is_given {
        effect[options.id_at] = Cow::Borrowed(id);
    }
    if is_approximate {
        options.trim_options.make_exact(&mut effect, peek(ctx, args.bytes(1))?);
    }
    ctx.propagate_as(effect);
    Ok(Flow::Done)
}

/// `XDEL key id [id ...]`
fn xdel(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    if peek(ctx, key)?.is_none() {
        ctx.reply.integer(0);
        return Ok(Flow::Done);
    }
    // A bad id must not end the command half-way.
    let ids: SmallVec<[StreamId; 8]> = args.iter().skip(2).map(ids::exact).collect::<Result<_, _>>()?;
    let deleted = match ctx.db.write::<Stream>(key)? {
        Some(stream) => ids.into_iter().filter(|&id| stream.delete(id)).count(),
        None => 0,
    };
    if deleted > 0 {
        ctx.modified(key, "xdel");
        ctx.add_dirty(deleted as u64 - 1);
    }
    ctx.reply.integer(deleted as i64);
    Ok(Flow::Done)
}

/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`
fn xsetid(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let last_id = ids::exact(args.bytes(2))?;
    let (mut entries_added, mut max_deleted_id) = (None, None);
    let mut at = 3;
    while at < args.len() {
        let Some(value) = args.get(at + 1) else { return Err(ErrorReply::SYNTAX) };
        if args.is(at, "ENTRIESADDED") {
            let error = ErrorReply::fixed("ERR entries_added must be positive");
            entries_added = Some(u64::try_from(integer(value)?).map_err(|_| error)?);
        } else if args.is(at, "MAXDELETEDID") {
            let id = ids::exact(value)?;
            if last_id < id {
                return Err(ErrorReply::fixed(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            max_deleted_id = Some(id);
        } else {
            return Err(ErrorReply::SYNTAX);
        }
        at += 2;
    }
    let key = args.bytes(1);
    let stream = ctx.db.write::<Stream>(key)?.ok_or(ErrorReply::NO_SUCH_KEY)?;
    if last_id < stream.max_deleted_id() {
        return Err(ErrorReply::fixed(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if let Some(top) = stream.last_entry_id() {
        if last_id < top {
            return Err(ErrorReply::fixed(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            ));
        }
        if entries_added.is_some_and(|added| added < stream.len() as u64) {
            return Err(ErrorReply::fixed(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            ));
        }
    }
    // 0-0 says that nothing is given.
    let max_deleted_id = max_deleted_id.filter(|&id| id != StreamId::MIN);
    stream.set_figures(last_id, entries_added, max_deleted_id);
    ctx.modified(key, "xsetid");
    ctx.reply.ok();
    Ok(Flow::Done)
}
