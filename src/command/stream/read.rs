//! XREAD and XREADGROUP: what is behind an id in several streams, waiting for it if there is nothing.
//!
//! A waiting client's command is run again when one of its streams changes, so `$` is replaced by what it meant. One that
//! reads for a group is woken too when the stream or the group is gone, and fails.

use smallvec::SmallVec;

use super::effect::{Claim, propagate_consumer, propagate_place};
use super::{end_streams, ids, write_entry};
use crate::base::clock::UnixMillis;
use crate::command::context::Ctx;
use crate::command::options::{integer, timeout_ms};
use crate::command::spec::*;
use crate::engine::TimeoutReply;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::stream::{Group, Name, Pending, Stream, StreamId};

const fn streams_keys(start_from: i32) -> KeySpec {
    KeySpec {
        flags: RO | ACCESS,
        begin: BeginSearch::Keyword { word: "STREAMS", start_from },
        find: FindKeys::Range { last: -1, step: 1, limit: 2 },
        note: "",
    }
}

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("xread", -4, READONLY | BLOCKING | MOVABLE_KEYS, "stream", xread)
        .keys(&[streams_keys(1)])
        .docs(
            "5.0.0",
            "O(N) for each stream where N is the number of entries returned.",
            "Reads the entries behind an id of each of several streams, or waits for one.",
            "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
        ),
    CommandSpec::data("xreadgroup", -7, WRITE | BLOCKING | MOVABLE_KEYS, "stream", xreadgroup)
        .keys(&[streams_keys(4)])
        .docs(
            "5.0.0",
            "O(N) for each stream where N is the number of entries returned.",
            "Reads entries for a consumer of a group: those that nobody was given yet, or its own again.",
            "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]",
        ),
];

/// What a reading command is asked for.
struct Request<'a> {
    keys: SmallVec<[&'a [u8]; 4]>,
    ids: Args<'a>,
    /// Which argument the first id is.
    ids_at: usize,
    count: usize,
    /// Whether to wait, and until when.
    blocks: Option<Option<UnixMillis>>,
    /// The names of a group and its consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    is_no_ack: bool,
}

impl<'a> Request<'a> {
    fn parse(args: &Args<'a>, now: UnixMillis, is_of_group: bool) -> Result<Self, ErrorReply> {
        let mut request = Self {
            keys: SmallVec::new(),
            ids: args.from(args.len()),
            ids_at: 0,
            count: usize::MAX,
            blocks: None,
            group: None,
            is_no_ack: false,
        };
        let mut at = 1;
        while request.ids_at == 0 {
            let value = args.get(at + 1);
            at += match (value, args.get(at + 2)) {
                (Some(value), _) if args.is(at, "BLOCK") => {
                    request.blocks = Some(timeout_ms(value, now)?);
                    2
                }
                (Some(value), _) if args.is(at, "COUNT") => {
                    let count = usize::try_from(integer(value)?).unwrap_or(0);
                    request.count = if count == 0 { usize::MAX } else { count };
                    2
                }
                (Some(_), _) if args.is(at, "STREAMS") => {
                    request.take_streams(args, at + 1, is_of_group)?;
                    0
                }
                (Some(group), Some(consumer)) if args.is(at, "GROUP") => {
                    if !is_of_group {
                        return Err(ErrorReply::fixed(
                            "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                        ));
                    }
                    request.group = Some((group, consumer));
                    3
                }
                _ if args.is(at, "NOACK") => {
                    if !is_of_group {
                        return Err(ErrorReply::fixed(
                            "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                        ));
                    }
                    request.is_no_ack = true;
                    1
                }
                _ => return Err(ErrorReply::SYNTAX),
            };
        }
        if is_of_group && request.group.is_none() {
            return Err(ErrorReply::fixed("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(request)
    }

    /// Takes what follows STREAMS: keys, and as many ids.
    fn take_streams(&mut self, args: &Args<'a>, at: usize, is_of_group: bool) -> Result<(), ErrorReply> {
        let len = args.len() - at;
        if !len.is_multiple_of(2) {
            let (name, place) =
                if is_of_group { ("xreadgroup", "ID or '>'") } else { ("xread", "ID, '+', or '$'") };
            return Err(ErrorReply::new(format!(
                "ERR Unbalanced '{name}' list of streams: for each stream key an {place} must be specified."
            )));
        }
        self.keys = args.iter().skip(at).take(len / 2).collect();
        self.ids_at = at + len / 2;
        self.ids = args.from(self.ids_at);
        Ok(())
    }

    /// How the command ends that has found nothing to read.
    fn end_without_entries(&self, ctx: &mut Ctx<'_>, wakes_without_value: bool) -> BlockOrDone {
        let Some(deadline) = self.blocks else {
            ctx.reply.null_array();
            return BlockOrDone::Done;
        };
        let keys = self.keys.iter().map(|key| key.to_vec()).collect();
        let block = BlockOnKeys::new(keys, deadline, TimeoutReply::NullArray);
        BlockOrDone::Block(BlockOnKeys { wakes_without_value, ..block })
    }
}

enum BlockOrDone {
    Block(BlockOnKeys),
    Done,
}

/// `XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]`
fn xread(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let request = Request::parse(args, ctx.now, false)?;
    let mut behind: SmallVec<[StreamId; 4]> = SmallVec::new();
    let mut may_be_long = false;
    for (key, id) in request.keys.iter().zip(request.ids.iter()) {
        let stream = ctx.db.read::<Stream>(key)?;
        let len = stream.map_or(0, Stream::len);
        may_be_long |= ctx.late.take_elements(len.min(request.count));
        behind.push(match id {
            b"$" => stream.map_or(StreamId::MIN, Stream::last_id),
            // The last entry itself is to be read.
            b"+" => stream.and_then(Stream::last_entry_id).and_then(StreamId::previous).unwrap_or_default(),
            b">" => {
                return Err(ErrorReply::fixed(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
                     <consumer> option.",
                ));
            }
            id => ids::exact(id)?,
        });
    }
    if may_be_long && leave_streams(ctx, &request, &behind)? {
        return Ok(Flow::Done);
    }
    let streams = ctx.reply.defer();
    let mut served = 0;
    for (key, &behind) in request.keys.iter().zip(&behind) {
        let Some(ValueAndReply { stream, reply }) = stream_and_reply(ctx, key)? else { continue };
        let Some(start) = start_behind(stream, behind) else { continue };
        served += 1;
        begin_stream(reply, key);
        super::write_entries(reply, stream.range(start, StreamId::MAX).take(request.count));
    }
    if served > 0 {
        end_streams(&mut ctx.reply, streams, served);
        return Ok(Flow::Done);
    }
    match request.end_without_entries(ctx, false) {
        BlockOrDone::Done => Ok(Flow::Done),
        BlockOrDone::Block(mut block) => {
            // What `$` means is decided now.
            let texts: SmallVec<[_; 4]> = behind.iter().map(|&id| ids::text(id)).collect();
            let ids =
                request.ids.iter().zip(&texts).map(|(id, text)| if id == b"$" { &text[..] } else { id });
            block.args = Some(args.iter().take(request.ids_at).chain(ids).collect());
            Ok(Flow::Block(block))
        }
    }
}

/// Where what is behind an id begins; none if there is nothing.
fn start_behind(stream: &Stream, id: StreamId) -> Option<StreamId> {
    id.next().filter(|&start| stream.last_entry_id().is_some_and(|last| last >= start))
}

/// Leaves the reply to be written beside the engine if there is much to be read; whether there is.
fn leave_streams(ctx: &mut Ctx<'_>, request: &Request<'_>, behind: &[StreamId]) -> Result<bool, ErrorReply> {
    let (count, enough) = (request.count, ctx.late.elements_min());
    let (mut found, mut entries) = (Vec::new(), 0);
    for (key, &behind) in request.keys.iter().zip(behind) {
        let Some(stream) = super::peek(ctx, key)? else { continue };
        let Some(start) = start_behind(stream, behind) else { continue };
        entries += stream.entries_len_max(start, StreamId::MAX, enough).min(count);
        found.push((key.to_vec(), stream.clone(), start));
    }
    if !ctx.late.take_elements(entries) {
        return Ok(false);
    }
    ctx.late.leave(move |reply| {
        let streams = reply.defer();
        for (key, stream, start) in &found {
            begin_stream(reply, key);
            super::write_entries(reply, stream.range(*start, StreamId::MAX).take(count));
        }
        end_streams(reply, streams, found.len());
    });
    Ok(true)
}

struct ValueAndReply<'c, 'r> {
    stream: &'c Stream,
    reply: &'c mut Reply<'r>,
}

/// The stream at `key` beside the reply that it is written into. Counts as a lookup, as in Redis, which looks a second time.
fn stream_and_reply<'c, 'r>(
    ctx: &'c mut Ctx<'r>,
    key: &[u8],
) -> Result<Option<ValueAndReply<'c, 'r>>, ErrorReply> {
    let reply = &mut ctx.reply;
    match ctx.db.look(key) {
        None => Ok(None),
        Some(crate::storage::ValueRef::Stream(stream)) => Ok(Some(ValueAndReply { stream, reply })),
        Some(_) => Err(ErrorReply::WRONG_TYPE),
    }
}

/// Begins the part of a reply that is one stream's.
fn begin_stream(reply: &mut Reply<'_>, key: &[u8]) {
    if !reply.is_resp3() {
        reply.array(2);
    }
    reply.bulk(key);
}

/// Which entries XREADGROUP is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// `>`: those that nobody was given.
    New,
    /// The consumer's own pending ones behind an id.
    Pending(StreamId),
}

/// `XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]`
fn xreadgroup(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let request = Request::parse(args, ctx.now, true)?;
    let (group, consumer) = request.group.unwrap_or_default();
    let mut wanted: SmallVec<[Wanted; 4]> = SmallVec::new();
    for (key, id) in request.keys.iter().zip(request.ids.iter()) {
        if ctx.db.read::<Stream>(key)?.is_none_or(|stream| stream.group(group).is_none()) {
            let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
            return Err(ErrorReply::new(format!(
                "NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP with GROUP option"
            )));
        }
        wanted.push(wanted_by(id)?);
    }
    ctx.propagate_nothing();
    let writing = match wanted[..] {
        [Wanted::New] => Writing::LateIfLong,
        _ => Writing::AtOnce,
    };
    let streams = ctx.reply.defer();
    let mut served = 0;
    for (key, &wanted) in request.keys.iter().zip(&wanted) {
        let created = make_consumer(ctx, key, group, consumer)?;
        if created && request.is_no_ack {
            propagate_consumer(ctx, key, group, consumer);
        }
        let claimed = match wanted {
            Wanted::Pending(behind) => {
                served += 1;
                read_pending(ctx, key, group, consumer, behind, request.count)?;
                false
            }
            Wanted::New => {
                let delivery = read_new(ctx, key, &request, writing)?;
                served += usize::from(delivery.is_some());
                delivery.is_some_and(|delivery| delivery.conclude(ctx, key, group))
            }
        };
        // An entry that a consumer is given tells of the consumer as well.
        if created && !request.is_no_ack && !claimed {
            propagate_consumer(ctx, key, group, consumer);
        }
    }
    if served > 0 {
        end_streams(&mut ctx.reply, streams, served);
        return Ok(Flow::Done);
    }
    match request.end_without_entries(ctx, true) {
        BlockOrDone::Done => Ok(Flow::Done),
        BlockOrDone::Block(block) => Ok(Flow::Block(block)),
    }
}

fn wanted_by(id: &[u8]) -> Result<Wanted, ErrorReply> {
    match id {
        b">" => Ok(Wanted::New),
        b"$" | b"+" => {
            let id = char::from(id[0]);
            Err(ErrorReply::new(format!(
                "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                 consumer by specifying a proper ID, or use the > ID to get new messages. The {id} ID would just \
                 return an empty result set."
            )))
        }
        // The greatest id has nothing behind it; Redis takes it for `>`.
        id => Ok(match ids::exact(id)? {
            StreamId::MAX => Wanted::New,
            id => Wanted::Pending(id),
        }),
    }
}

/// Sees to it that the consumer is there, and that it was seen; whether it is new.
pub(super) fn make_consumer(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    group: &[u8],
    consumer: &[u8],
) -> Result<bool, ErrorReply> {
    let now = ctx.now.0;
    let Some(group) = ctx.db.write::<Stream>(key)?.and_then(|stream| stream.group_mut(group)) else {
        return Ok(false);
    };
    let created = group.create_consumer(consumer, now);
    if let Some(consumer) = group.consumer_mut(consumer) {
        consumer.seen_at = now;
    }
    if created {
        ctx.modified(key, "xgroup-createconsumer");
    }
    Ok(created)
}

/// Writes the consumer's pending entries behind an id, and counts another delivery of each.
fn read_pending(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    group: &[u8],
    consumer: &[u8],
    behind: StreamId,
    count: usize,
) -> Result<(), ErrorReply> {
    let now = ctx.now.0;
    begin_stream(&mut ctx.reply, key);
    let Some(stream) = ctx.db.write::<Stream>(key)? else { return Ok(()) };
    let array = ctx.reply.defer();
    let (mut len, mut delivered) = (0, Vec::new());
    let own = stream.group(group).and_then(|group| group.consumer(consumer));
    let pending = behind
        .next()
        .into_iter()
        .flat_map(|start| own.into_iter().flat_map(move |own| own.pending_from(start)));
    for id in pending.take(count) {
        match stream.entry(id) {
            Some(entry) => {
                write_entry(&mut ctx.reply, &entry);
                delivered.push(id);
            }
            // It was deleted since.
            None => {
                ctx.reply.array(2);
                ctx.reply.bulk(ids::text(id));
                ctx.reply.null_array();
            }
        }
        len += 1;
    }
    ctx.reply.end_array(array, len);
    if let Some(group) = stream.group_mut(group).filter(|_| !delivered.is_empty()) {
        delivered.into_iter().for_each(|id| group.deliver_again(id, now));
    }
    Ok(())
}

/// What a consumer was given of a stream.
struct Delivery {
    claims: Vec<Claim>,
    /// The group, if its place has changed.
    moved: Option<Group>,
}

/// When the entries of a delivery are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    AtOnce,
    /// Beside the engine, if they are many: nothing is written behind them.
    LateIfLong,
}

/// Writes the entries behind the group's place and gives them to the consumer; none if there are none.
fn read_new(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    request: &Request<'_>,
    writing: Writing,
) -> Result<Option<Delivery>, ErrorReply> {
    let (name, consumer) = request.group.unwrap_or_default();
    let now = ctx.now.0;
    let Some(stream) = ctx.db.write::<Stream>(key)? else { return Ok(None) };
    let Some(group) = stream.group(name) else { return Ok(None) };
    let Some(consumer_name) = group.name_of(consumer) else { return Ok(None) };
    let Some(start) =
        group.last_id.next().filter(|&start| stream.last_entry_id().is_some_and(|last| last >= start))
    else {
        return Ok(None);
    };
    begin_stream(&mut ctx.reply, key);
    let count = request.count;
    let len_max = || stream.entries_len_max(start, StreamId::MAX, ctx.late.elements_min()).min(count);
    let frozen =
        (writing == Writing::LateIfLong && ctx.late.take_elements(len_max())).then(|| stream.clone());
    let array = ctx.reply.defer();
    let (mut last_id, mut entries_read) = (group.last_id, group.entries_read);
    let mut ids = Vec::new();
    for entry in stream.range(start, StreamId::MAX).take(count) {
        if frozen.is_none() {
            write_entry(&mut ctx.reply, &entry);
        }
        entries_read = stream.entries_read_after(entries_read, last_id, entry.id);
        last_id = entry.id;
        ids.push(entry.id);
    }
    ctx.reply.end_array(array, ids.len());
    if let Some(frozen) = frozen {
        ctx.late.leave(move |reply| {
            frozen.range(start, StreamId::MAX).take(count).for_each(|entry| write_entry(reply, &entry));
        });
    }

    let Some(group) = stream.group_mut(name) else { return Ok(None) };
    (group.last_id, group.entries_read) = (last_id, entries_read);
    let claims = if request.is_no_ack { Vec::new() } else { assign(group, &ids, &consumer_name, now) };
    let moved = Some(Group::new(last_id, entries_read));
    ctx.add_dirty(1);
    Ok(Some(Delivery { claims, moved }))
}

/// Makes entries pending that a consumer was given.
fn assign(group: &mut Group, ids: &[StreamId], consumer: &Name, now: i64) -> Vec<Claim> {
    if let Some(consumer) = group.consumer_mut(consumer) {
        consumer.active_at = Some(now);
    }
    let mut claims = Vec::with_capacity(ids.len());
    for &id in ids {
        let pending = Pending { consumer: consumer.clone(), delivered_at: now, deliveries: 1 };
        group.assign(id, pending.clone());
        claims.push(Claim { id, pending, last_id: id });
    }
    claims
}

impl Delivery {
    /// Propagates it; whether it tells of the consumer.
    fn conclude(self, ctx: &mut Ctx<'_>, key: &[u8], group: &[u8]) -> bool {
        if ctx.is_propagating() {
            self.claims.iter().for_each(|claim| claim.propagate(ctx, key, group));
            if let Some(moved) = &self.moved {
                propagate_place(ctx, key, group, moved);
            }
        }
        !self.claims.is_empty()
    }
}
