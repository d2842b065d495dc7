//! Commands of the stream group, one file for each thing that is done to a stream.
//!
//! What a consumer group does is propagated as its outcome: an entry that was given to a consumer as XCLAIM, a group's
//! place as XGROUP SETID, a consumer that came to be by reading as XGROUP CREATECONSUMER.

pub(super) mod add;
pub(super) mod claim;
mod effect;
pub(super) mod group;
mod ids;
pub(super) mod info;
pub(super) mod pending;
pub(super) mod range;
pub(super) mod read;
pub(super) mod trim;

use super::context::Ctx;
use super::spec::*;
use crate::engine::long_read::LateReplies;
use crate::resp::error::ErrorReply;
use crate::resp::reply::{Deferred, Reply};
use crate::storage::stream::{BlockLimits, Entry, Stream, StreamId};
use crate::storage::{ValueRef, WrongType};

/// The key of the commands that only read.
const READ_KEY: &[KeySpec] = &[KeySpec::range(1, 1, 1, RO | ACCESS)];

/// The stream at `key`, without a trace in the statistics.
fn peek<'c>(ctx: &'c mut Ctx<'_>, key: &[u8]) -> Result<Option<&'c Stream>, WrongType> {
    match ctx.db.peek(key) {
        None => Ok(None),
        Some(ValueRef::Stream(stream)) => Ok(Some(stream)),
        Some(_) => Err(WrongType),
    }
}

fn block_limits(ctx: &Ctx<'_>) -> BlockLimits {
    BlockLimits { bytes: ctx.config.stream_node_max_bytes, entries: ctx.config.stream_node_max_entries }
}

/// Writes an entry: its id, and a flat array of its fields and values.
fn write_entry(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply.array(2);
    reply.bulk(ids::text(entry.id));
    reply.array(2 * entry.len());
    let mut digits = itoa::Buffer::new();
    for (name, value) in entry.fields() {
        reply.bulk(name.as_bytes(&mut digits));
        reply.bulk(value.as_bytes(&mut digits));
    }
}

/// Writes an array of entries.
fn write_entries<'a>(reply: &mut Reply<'_>, entries: impl Iterator<Item = Entry<'a>>) {
    let array = reply.defer();
    let mut len = 0;
    for entry in entries {
        write_entry(reply, &entry);
        len += 1;
    }
    reply.end_array(array, len);
}

/// Whether so many entries lie between two ids that they are to be written beside the engine.
fn is_long(
    late: &LateReplies<'_>,
    stream: &Stream,
    (start, end): (StreamId, StreamId),
    count: usize,
) -> bool {
    late.take_elements(stream.len().min(count))
        && late.take_elements(stream.entries_len_max(start, end, late.elements_min()))
}

/// Puts the header before entries that were written by stream; in RESP3 they are a map by key.
fn end_streams(reply: &mut Reply<'_>, deferred: Deferred, streams: usize) {
    if reply.is_resp3() {
        reply.end_map(deferred, streams);
    } else {
        reply.end_array(deferred, streams);
    }
}

fn no_group(key: &[u8], group: &[u8]) -> ErrorReply {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    ErrorReply::new(format!("NOGROUP No such key '{key}' or consumer group '{group}'"))
}

/// As the commands say it that administer groups.
fn no_group_of_key(key: &[u8], group: &[u8]) -> ErrorReply {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    ErrorReply::new(format!("NOGROUP No such consumer group '{group}' for key name '{key}'"))
}
