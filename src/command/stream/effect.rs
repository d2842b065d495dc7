//! What a consumer group did, as commands that do it again: on a replica, or from a log.

use super::ids;
use crate::command::context::Ctx;
use crate::storage::stream::{Group, Pending, StreamId};

/// An entry that is pending now as it is told here, or, if the stream has lost it, is not pending any more.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub id: StreamId,
    pub pending: Pending,
    /// The group's place when this happened.
    pub last_id: StreamId,
}

impl Claim {
    pub fn propagate(&self, ctx: &mut Ctx<'_>, key: &[u8], group: &[u8]) {
        let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        ctx.propagate_as([
            &b"XCLAIM"[..],
            key,
            group,
            &self.pending.consumer,
            b"0",
            &ids::text(self.id),
            b"TIME",
            time.format(self.pending.delivered_at).as_bytes(),
            b"RETRYCOUNT",
            count.format(self.pending.deliveries).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            &ids::text(self.last_id),
        ]);
    }
}

/// Propagates how far a group has read.
pub(super) fn propagate_place(ctx: &mut Ctx<'_>, key: &[u8], name: &[u8], group: &Group) {
    let mut entries_read = itoa::Buffer::new();
    ctx.propagate_as([
        &b"XGROUP"[..],
        b"SETID",
        key,
        name,
        &ids::text(group.last_id),
        b"ENTRIESREAD",
        entries_read.format(group.entries_read.unwrap_or(-1)).as_bytes(),
    ]);
}

/// Propagates that a consumer came to be.
pub(super) fn propagate_consumer(ctx: &mut Ctx<'_>, key: &[u8], group: &[u8], consumer: &[u8]) {
    ctx.propagate_as([&b"XGROUP"[..], b"CREATECONSUMER", key, group, consumer]);
}
