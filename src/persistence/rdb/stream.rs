//! Streams: their blocks as the listpacks that they are, their figures, and their groups.
//!
//! Redis 7.0 added how much was added and deleted, and 7.2 when a consumer was last given an entry; what an older file
//! does not tell is worked out as Redis does. Foreign streams are checked as a whole: ids that do not ascend, counts
//! that do not agree, pending entries without a consumer, or of two.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::error::{RdbError, Reason};
use super::input::Input;
use super::kind;
use super::output::Output;
use super::values::Stream;
use crate::storage::stream::{Figures, Group, Pending, StreamId};

pub(super) fn write_stream<W: Write>(
    output: &mut Output<W>,
    stream: &Stream,
    has_activity: bool,
) -> io::Result<()> {
    output.length(stream.blocks_len() as u64);
    for (id, listpack) in stream.blocks() {
        output.string(&id.to_bytes())?;
        output.string(listpack)?;
    }
    output.length(stream.len() as u64);
    write_id(output, stream.last_id());
    write_id(output, stream.first_entry_id().unwrap_or_default());
    write_id(output, stream.max_deleted_id());
    output.length(stream.entries_added());
    output.length(stream.groups_len() as u64);
    for (name, group) in stream.groups() {
        output.string(name)?;
        write_group(output, group, has_activity)?;
    }
    Ok(())
}

fn write_group<W: Write>(output: &mut Output<W>, group: &Group, has_activity: bool) -> io::Result<()> {
    write_id(output, group.last_id);
    output.length(group.entries_read.unwrap_or(UNKNOWN) as u64);
    output.length(group.pending_len() as u64);
    for (id, pending) in group.pending_from(StreamId::MIN) {
        output.small(&id.to_bytes());
        output.small(&pending.delivered_at.to_le_bytes());
        output.length(pending.deliveries);
        output.flush_if_full()?;
    }
    output.length(group.consumers_len() as u64);
    for (name, consumer) in group.consumers() {
        output.string(name)?;
        output.small(&consumer.seen_at.to_le_bytes());
        if has_activity {
            output.small(&consumer.active_at.unwrap_or(UNKNOWN).to_le_bytes());
        }
        output.length(consumer.pending_len() as u64);
        for id in consumer.pending_from(StreamId::MIN) {
            output.small(&id.to_bytes());
            output.flush_if_full()?;
        }
    }
    Ok(())
}

/// How a count or an instant is written that is not known.
const UNKNOWN: i64 = -1;

fn write_id<W: Write>(output: &mut Output<W>, id: StreamId) {
    output.length(id.ms);
    output.length(id.seq);
}

pub(super) fn read_stream<R: Read>(input: &mut Input<R>, kind: u8) -> Result<Stream, RdbError> {
    let has_counts = kind != kind::STREAM_LISTPACKS;
    let mut stream = Stream::default();
    for _ in 0..input.length()? {
        let start = input.offset();
        let expected = |what: &'static str| Reason::malformed(what, "something else").at(start);
        let id = input.string()?.try_into().map_err(|_| expected("a stream id of 16 bytes"))?;
        let listpack = input.string()?;
        stream.push_block(StreamId::from_bytes(id), listpack).map_err(expected)?;
    }
    let start = input.offset();
    let expected = |what: &'static str| Reason::malformed(what, "something else").at(start);
    let len = input.length()?;
    let last_id = read_id(input)?;
    let (max_deleted_id, entries_added) = if has_counts {
        // The first entry is known from the entries.
        read_id(input)?;
        (read_id(input)?, input.length()?)
    } else {
        (StreamId::MIN, len)
    };
    let figures = Figures { len, last_id, max_deleted_id, entries_added };
    stream.restore_figures(figures).map_err(expected)?;
    for _ in 0..input.length()? {
        let start = input.offset();
        let name = input.string()?;
        let group = read_group(input, kind, &stream)?;
        if !stream.create_group(&name, group) {
            return Err(Reason::malformed("each group once", "one of them twice").at(start));
        }
    }
    Ok(stream)
}

fn read_id<R: Read>(input: &mut Input<R>) -> Result<StreamId, RdbError> {
    Ok(StreamId { ms: input.length()?, seq: input.length()? })
}

fn read_group<R: Read>(input: &mut Input<R>, kind: u8, stream: &Stream) -> Result<Group, RdbError> {
    let last_id = read_id(input)?;
    let entries_read = if kind == kind::STREAM_LISTPACKS {
        stream.entries_added_up_to(last_id)
    } else {
        Some(input.length()? as i64).filter(|&read| read >= 0)
    };
    let mut group = Group::new(last_id, entries_read);
    // Pending entries whose consumer is still to come.
    let mut ownerless = BTreeMap::new();
    for _ in 0..input.length()? {
        let start = input.offset();
        let id = StreamId::from_bytes(input.array()?);
        let delivered_at = i64::from_le_bytes(input.array()?);
        // The command that restores them on a replica takes no more.
        let deliveries = input.length()?.min(i64::MAX as u64);
        if ownerless.insert(id, (delivered_at, deliveries)).is_some() {
            return Err(Reason::malformed("each pending entry once", "one of them twice").at(start));
        }
    }
    for _ in 0..input.length()? {
        read_consumer(input, kind, &mut group, &mut ownerless)?;
    }
    if !ownerless.is_empty() {
        let reason = Reason::malformed("a consumer for every pending entry", "one without");
        return Err(reason.at(input.offset()));
    }
    Ok(group)
}

fn read_consumer<R: Read>(
    input: &mut Input<R>,
    kind: u8,
    group: &mut Group,
    ownerless: &mut BTreeMap<StreamId, (i64, u64)>,
) -> Result<(), RdbError> {
    let start = input.offset();
    let name = input.string()?;
    let seen_at = i64::from_le_bytes(input.array()?);
    let active_at =
        if kind == kind::STREAM_LISTPACKS_3 { i64::from_le_bytes(input.array()?) } else { seen_at };
    if !group.create_consumer(&name, seen_at) {
        return Err(Reason::malformed("each consumer once", "one of them twice").at(start));
    }
    if let Some(consumer) = group.consumer_mut(&name) {
        consumer.active_at = Some(active_at).filter(|&at| at != UNKNOWN);
    }
    for _ in 0..input.length()? {
        let start = input.offset();
        let id = StreamId::from_bytes(input.array()?);
        let (Some((delivered_at, deliveries)), Some(consumer)) =
            (ownerless.remove(&id), group.name_of(&name))
        else {
            return Err(
                Reason::malformed("a pending entry of the group, of no other consumer", "another").at(start)
            );
        };
        group.assign(id, Pending { consumer, delivered_at, deliveries });
    }
    Ok(())
}
