//! How many entries a group has read of all that were ever added, and how many it has still to read.
//!
//! A stream does not number its entries, so this is known only as long as no deleted entry lies where it is counted: at
//! the first entry, at the last, and from there by counting along. The rules are those of Redis 8, which correct those of
//! 7.0 for streams that have lost entries around the group's place.

use super::{Group, Stream, StreamId};

impl Stream {
    /// How many entries were ever added up to `id`, where that is known.
    pub fn entries_added_up_to(&self, id: StreamId) -> Option<i64> {
        let added = self.entries_added() as i64;
        if added == 0 || (self.is_empty() && id <= self.last_id()) {
            return Some(added);
        }
        if id != StreamId::MIN && id < self.max_deleted_id() {
            return None;
        }
        match id.cmp(&self.last_id()) {
            std::cmp::Ordering::Equal => return Some(added),
            std::cmp::Ordering::Greater => return None,
            std::cmp::Ordering::Less => {}
        }
        let first_id = self.first_entry_id().unwrap_or_default();
        if self.max_deleted_id() == StreamId::MIN || self.max_deleted_id() < first_id {
            let before_first = added.wrapping_sub(self.len() as i64);
            match id.cmp(&first_id) {
                std::cmp::Ordering::Less => return Some(before_first),
                std::cmp::Ordering::Equal => return Some(before_first + 1),
                std::cmp::Ordering::Greater => {}
            }
        }
        None
    }

    /// Whether an entry from `start` on was deleted by name, as far as is remembered.
    fn has_deleted_from(&self, start: StreamId) -> bool {
        let deleted = self.max_deleted_id();
        !self.is_empty() && deleted != StreamId::MIN && start <= deleted
    }

    /// How many entries a group at `place`, which has read so many, will have read with the next one, that with `id`.
    pub fn entries_read_after(&self, read: Option<i64>, place: StreamId, id: StreamId) -> Option<i64> {
        match read {
            Some(read)
                if place >= self.first_entry_id().unwrap_or_default() && !self.has_deleted_from(place) =>
            {
                Some(read.saturating_add(1))
            }
            read if self.entries_added() == 0 => read,
            _ => self.entries_added_up_to(id),
        }
    }

    /// How many entries a group has still to read, where that is known.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let added = self.entries_added() as i64;
        if added == 0 || self.is_empty() {
            return Some(0);
        }
        let first_id = self.first_entry_id().unwrap_or_default();
        if group.last_id < first_id && self.max_deleted_id() < first_id {
            return Some(self.len() as i64);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_deleted_from(group.last_id) => read,
            _ => self.entries_added_up_to(group.last_id)?,
        };
        Some(added.wrapping_sub(read))
    }

    /// How many nodes Redis' radix tree of the blocks would have, which XINFO tells.
    pub fn radix_tree_nodes(&self) -> usize {
        let keys: Vec<[u8; 16]> = self.blocks().map(|(id, _)| id.to_bytes()).collect();
        if keys.is_empty() { 1 } else { radix_nodes(&keys, 0) }
    }
}

/// The nodes for sorted keys of one length that have `depth` bytes in common: one for what else they have in common, one
/// where they part, and those below; or the end of the only one.
fn radix_nodes(keys: &[[u8; 16]], depth: usize) -> usize {
    let [first, .., last] = keys else { return 1 + usize::from(depth < 16) };
    let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let below = keys.chunk_by(|a, b| a[common] == b[common]).map(|keys| radix_nodes(keys, common + 1));
    1 + usize::from(common > depth) + below.sum::<usize>()
}
