//! A consumer group: how far it has read, who reads for it, and which entries nobody has acknowledged yet.
//!
//! Every pending entry stands in the group's list with its consumer, and in that consumer's own list. Whether an entry
//! is still in the stream is not known here.

use std::sync::Arc;

use super::id::StreamId;
use super::tree::Tree;

/// The name of a consumer or a group, shared by all that mention it.
pub type Name = Arc<[u8]>;

/// A delivered entry that was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub consumer: Name,
    /// When it was last delivered, in milliseconds since 1970.
    pub delivered_at: i64,
    pub deliveries: u64,
}

#[derive(Clone, Default)]
pub struct Consumer {
    /// When the consumer last asked for entries, in milliseconds since 1970.
    pub seen_at: i64,
    /// When it was last given some; none before the first.
    pub active_at: Option<i64>,
    pending: Tree<StreamId, ()>,
}

impl Consumer {
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The ids of its pending entries from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = StreamId> {
        self.pending.iter_from(&start).map(|(&id, _)| id)
    }
}

#[derive(Clone, Default)]
pub struct Group {
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries of all that were ever added were read, where that is known.
    pub entries_read: Option<i64>,
    pending: Tree<StreamId, Pending>,
    consumers: Tree<Name, Consumer>,
}

impl Group {
    pub fn new(last_id: StreamId, entries_read: Option<i64>) -> Self {
        Self { last_id, entries_read, ..Self::default() }
    }

    pub fn consumers_len(&self) -> usize {
        self.consumers.len()
    }

    /// The consumers by name.
    pub fn consumers(&self) -> impl Iterator<Item = (&Name, &Consumer)> {
        self.consumers.iter()
    }

    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }

    pub fn consumer_mut(&mut self, name: &[u8]) -> Option<&mut Consumer> {
        self.consumers.get_mut(name)
    }

    /// The name of a consumer that is there, to be shared.
    pub fn name_of(&self, name: &[u8]) -> Option<Name> {
        self.consumers.get_key_value(name).map(|(name, _)| name.clone())
    }

    /// Adds a consumer; false if there is one of this name.
    pub fn create_consumer(&mut self, name: &[u8], seen_at: i64) -> bool {
        if self.consumers.get(name).is_some() {
            return false;
        }
        let consumer = Consumer { seen_at, ..Consumer::default() };
        self.consumers.insert(Name::from(name), consumer);
        true
    }

    /// Removes a consumer with its pending entries; answers how many these were.
    pub fn delete_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let consumer = self.consumers.remove(name)?;
        for (id, ()) in consumer.pending.iter() {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    pub fn pending(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// The pending entries from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = (StreamId, &Pending)> {
        self.pending.iter_from(&start).map(|(&id, pending)| (id, pending))
    }

    /// The first and last pending entry.
    pub fn pending_ends(&self) -> Option<(StreamId, StreamId)> {
        Some((*self.pending.first()?.0, *self.pending.last()?.0))
    }

    /// Makes an entry pending, or changes how it is, whoever it was delivered to before.
    pub fn assign(&mut self, id: StreamId, pending: Pending) {
        let consumer = pending.consumer.clone();
        if let Some(old) = self.pending.insert(id, pending) {
            if old.consumer == consumer {
                return;
            }
            if let Some(owner) = self.consumers.get_mut(&old.consumer) {
                owner.pending.remove(&id);
            }
        }
        if let Some(owner) = self.consumers.get_mut(&consumer) {
            owner.pending.insert(id, ());
        }
    }

    /// Counts another delivery to the same consumer.
    pub fn deliver_again(&mut self, id: StreamId, now: i64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.delivered_at = now;
            pending.deliveries = pending.deliveries.saturating_add(1);
        }
    }

    /// Forgets a pending entry; whether there was one.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        if let Some(owner) = self.consumers.get_mut(&pending.consumer) {
            owner.pending.remove(&id);
        }
        true
    }

    /// Bytes allocated for the group.
    pub(super) fn memory_bytes(&self) -> usize {
        /// The counters of an `Arc`.
        const ARC_BYTES: usize = 16;
        self.pending.memory_bytes(|_, _| 0)
            + self.consumers.memory_bytes(|name, consumer| {
                ARC_BYTES + name.len() + consumer.pending.memory_bytes(|_, ()| 0)
            })
    }
}
