//! The stream: entries with ascending ids in blocks, and the consumer groups that read them.
//!
//! A handle is one `Arc`. What it leads to are trees of `Arc`ed nodes over `Arc`ed blocks, so cloning a stream costs nothing,
//! and a change after it copies one block or one node of a group, and the path to it. Entries are added at the end and
//! deleted in place; a block goes when its last live entry does. A stream without entries is still one: it remembers
//! its last id and its groups.

mod block;
mod counts;
mod group;
mod id;
mod range;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;

use block::Block;
pub use block::{BYTES_MAX, BlockLimits, Entry};
pub use group::{Consumer, Group, Name, Pending};
pub use id::StreamId;
use tree::{Goes, Tree};

type StreamBlocks = Tree<StreamId, Block>;

/// More blocks than this are cut off at once, and freed elsewhere.
const CUT_ONE_BY_ONE_MAX: usize = if cfg!(test) { 3 } else { 32 };

#[derive(Clone, Default)]
pub struct Stream {
    inner: Arc<Inner>,
}

#[derive(Clone, Default)]
struct Inner {
    /// By master id, which is that of the first entry when the block was begun.
    blocks: StreamBlocks,
    len: u64,
    /// The greatest id that an entry ever had.
    last_id: StreamId,
    /// The greatest id of an entry that was deleted by name; trimming does not count.
    max_deleted_id: StreamId,
    /// Entries ever added.
    entries_added: u64,
    groups: Tree<Name, Group>,
}

/// What trimming leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So many of the last entries.
    Len(u64),
    /// Entries from this id on.
    From(StreamId),
}

/// How exactly to trim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    pub keep: Keep,
    /// Only whole blocks go.
    pub is_approximate: bool,
    /// Stop before more entries than this have gone; 0 is no limit.
    pub entries_max: u64,
}

/// A stream's figures that do not follow from its entries, as a loader restores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    pub len: u64,
    pub last_id: StreamId,
    pub max_deleted_id: StreamId,
    pub entries_added: u64,
}

impl Stream {
    /// Where the stream lies, which a copy shares until either changes.
    pub fn root(&self) -> *const () {
        Arc::as_ptr(&self.inner).cast()
    }

    pub fn len(&self) -> usize {
        self.inner.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.inner.len == 0
    }

    /// The greatest id that an entry ever had, or that XSETID has set.
    pub fn last_id(&self) -> StreamId {
        self.inner.last_id
    }

    pub fn max_deleted_id(&self) -> StreamId {
        self.inner.max_deleted_id
    }

    pub fn entries_added(&self) -> u64 {
        self.inner.entries_added
    }

    /// The id of the first entry that is there.
    pub fn first_entry_id(&self) -> Option<StreamId> {
        self.range(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    /// The id of the last entry that is there.
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.range_back(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    /// The first id in memory, be its entry deleted or not.
    pub fn first_stored_id(&self) -> Option<StreamId> {
        let (&master_id, block) = self.inner.blocks.first()?;
        block.first_id(master_id)
    }

    /// The live entries with ids from `start` to `end`, in order.
    pub fn range(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
        range::forward(&self.inner.blocks, start, end)
    }

    /// The live entries with ids from `end` back to `start`.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
        range::back(&self.inner.blocks, start, end)
    }

    /// How many entries there may be at most between two ids, counted up to `enough` by whole blocks.
    pub fn entries_len_max(&self, start: StreamId, end: StreamId, enough: usize) -> usize {
        let blocks = &self.inner.blocks;
        let first = blocks.floor(&start).map_or(start, |(&id, _)| id);
        let mut entries = 0;
        for (_, block) in blocks.iter_from(&first).take_while(|&(&master_id, _)| master_id <= end) {
            entries += block.live() as usize;
            if entries >= enough {
                break;
            }
        }
        entries
    }

    pub fn entry(&self, id: StreamId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    pub fn contains(&self, id: StreamId) -> bool {
        self.entry(id).is_some()
    }

    /// Adds an entry at the end; `id` is above `last_id`.
    pub fn append(&mut self, id: StreamId, fields: &[(&[u8], &[u8])], limits: BlockLimits) {
        debug_assert!(id > self.last_id());
        let inner = self.inner_mut();
        let data_bytes = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        let has_room = inner.blocks.last().is_some_and(|(_, block)| block.has_room(data_bytes, limits));
        match inner.blocks.last_mut() {
            Some((&master_id, block)) if has_room => block.append(master_id, id, fields),
            last => {
                if let Some((_, full)) = last {
                    full.shrink();
                }
                let mut block = Block::new(fields);
                block.append(id, id, fields);
                inner.blocks.insert(id, block);
            }
        }
        inner.len += 1;
        inner.last_id = id;
        inner.entries_added = inner.entries_added.wrapping_add(1);
    }

    /// Deletes an entry by name; whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some(at) = self.entry(id).map(|entry| entry.at()) else { return false };
        let inner = self.inner_mut();
        let Some((&master_id, block)) = inner.blocks.floor(&id) else { return false };
        if block.live() == 1 {
            inner.blocks.remove(&master_id);
        } else if let Some(block) = inner.blocks.get_mut(&master_id) {
            block.delete(at);
        }
        inner.len -= 1;
        inner.max_deleted_id = inner.max_deleted_id.max(id);
        true
    }

    /// Removes entries from the front; answers how many, and them if they are many: to be freed elsewhere.
    pub fn trim(&mut self, trim: Trim) -> (u64, Option<Self>) {
        let (mut removed, rest) = if trim.entries_max == 0 { self.cut_front(trim.keep) } else { (0, None) };
        while let Some((&master_id, block)) = self.inner.blocks.first() {
            let live = block.live();
            let len = self.inner.len;
            if matches!(trim.keep, Keep::Len(max) if len <= max) {
                break;
            }
            if trim.entries_max > 0 && removed + live > trim.entries_max {
                break;
            }
            let goes_whole = match trim.keep {
                Keep::Len(max) => len - live >= max,
                Keep::From(min) => block.last_id(master_id).is_none_or(|last| last < min),
            };
            if goes_whole {
                let inner = self.inner_mut();
                inner.blocks.remove(&master_id);
                inner.len -= live;
                removed += live;
                continue;
            }
            if !trim.is_approximate {
                removed += self.trim_first_block(master_id, trim.keep);
            }
            break;
        }
        (removed, rest)
    }

    /// Cuts off the blocks at the front that go as a whole, if they are many: counts them from the nearer end.
    fn cut_front(&mut self, keep: Keep) -> (u64, Option<Self>) {
        let (blocks, len) = (&self.inner.blocks, self.inner.len);
        // Of the blocks that begin below an id only the last one has to be looked at.
        let last_going = match keep {
            Keep::Len(_) => None,
            Keep::From(min) => blocks.floor(&min).and_then(|(&master_id, block)| {
                let goes = block.last_id(master_id).is_none_or(|last| last < min);
                if goes { Some(master_id) } else { master_id.previous() }
            }),
        };
        let goes_whole = |before: u64, master_id: StreamId, block: &Block| match keep {
            Keep::Len(max) => len - before - block.live() >= max,
            Keep::From(_) => Some(master_id) <= last_going,
        };
        let mut few = blocks.iter().take(CUT_ONE_BY_ONE_MAX);
        if blocks.len() <= CUT_ONE_BY_ONE_MAX || !few.all(|(&id, block)| goes_whole(0, id, block)) {
            return (0, None);
        }
        // From the front: what goes before the first block that stays. From the back: what stays behind the last that goes.
        let (mut gone, mut kept, mut first_kept) = (0, 0, None);
        let mut back = blocks.iter_back_from(&StreamId::MAX);
        let removed = 'found: {
            for (&id, block) in blocks.iter() {
                if !goes_whole(gone, id, block) {
                    first_kept = Some(id);
                    break 'found gone;
                }
                gone += block.live();
                let Some((&id, block)) = back.next() else { break };
                let before = len - kept - block.live();
                if goes_whole(before, id, block) {
                    break 'found len - kept;
                }
                kept += block.live();
                first_kept = Some(id);
            }
            len
        };
        let mut rest = self.clone();
        let inner = self.inner_mut();
        match first_kept {
            Some(id) => {
                inner.blocks.cut(&id, Goes::Below);
                rest.inner_mut().blocks.cut(&id, Goes::FromOn);
            }
            None => inner.blocks = Tree::default(),
        }
        inner.len -= removed;
        rest.inner_mut().groups = Tree::default();
        (removed, Some(rest))
    }

    /// Removes entries from the front of the first block, which does not go as a whole.
    fn trim_first_block(&mut self, master_id: StreamId, keep: Keep) -> u64 {
        let (max, end) = match keep {
            Keep::Len(max) => (self.inner.len - max, None),
            Keep::From(min) => (u64::MAX, Some(min)),
        };
        // What has nothing to go copies nothing.
        if let Some(min) = end
            && self
                .inner
                .blocks
                .first()
                .and_then(|(_, block)| block.first_id(master_id))
                .is_none_or(|id| id >= min)
        {
            return 0;
        }
        let inner = self.inner_mut();
        let Some(block) = inner.blocks.get_mut(&master_id) else { return 0 };
        let removed = block.delete_front(master_id, max, end);
        inner.len -= removed;
        removed
    }

    /// Sets the last id, which is not below that of any entry, and what else is given.
    pub fn set_figures(
        &mut self,
        last_id: StreamId,
        entries_added: Option<u64>,
        max_deleted_id: Option<StreamId>,
    ) {
        let inner = self.inner_mut();
        inner.last_id = last_id;
        inner.entries_added = entries_added.unwrap_or(inner.entries_added);
        inner.max_deleted_id = max_deleted_id.unwrap_or(inner.max_deleted_id);
    }

    pub fn groups_len(&self) -> usize {
        self.inner.groups.len()
    }

    /// The groups by name.
    pub fn groups(&self) -> impl Iterator<Item = (&Name, &Group)> {
        self.inner.groups.iter()
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.inner.groups.get(name)
    }

    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.group(name)?;
        self.inner_mut().groups.get_mut(name)
    }

    /// Adds a group; false if there is one of this name.
    pub fn create_group(&mut self, name: &[u8], group: Group) -> bool {
        let is_new = self.group(name).is_none();
        if is_new {
            self.inner_mut().groups.insert(Name::from(name), group);
        }
        is_new
    }

    /// Removes a group; a stream that has nothing but it, to be freed elsewhere. None if it was not there.
    pub fn destroy_group(&mut self, name: &[u8]) -> Option<Self> {
        self.group(name)?;
        let group = self.inner_mut().groups.remove(name)?;
        let mut destroyed = Self::default();
        destroyed.inner_mut().groups.insert(Name::from(name), group);
        Some(destroyed)
    }

    /// The blocks by master id, as listpacks.
    pub fn blocks(&self) -> impl Iterator<Item = (StreamId, &[u8])> {
        self.inner.blocks.iter().map(|(&id, block)| (id, block.bytes()))
    }

    pub fn blocks_len(&self) -> usize {
        self.inner.blocks.len()
    }

    /// Adds a block of foreign bytes behind the others, once it is in order. The error is what was expected.
    pub fn push_block(&mut self, master_id: StreamId, listpack: Vec<u8>) -> Result<(), &'static str> {
        let follows = |(&id, _): (&StreamId, &Block)| id < master_id;
        if !self.inner.blocks.last().is_none_or(follows)
            || self.last_entry_id().is_some_and(|id| id >= master_id)
        {
            return Err("blocks with ascending ids");
        }
        let (block, contents) = Block::parse(master_id, listpack)?;
        let inner = self.inner_mut();
        inner.len = inner.len.checked_add(contents.live).ok_or("a sensible number of entries")?;
        // Until the figures are restored, the last id is that of the last entry.
        inner.last_id = contents.ids.map_or(inner.last_id, |(_, last)| last);
        inner.blocks.insert(master_id, block);
        Ok(())
    }

    /// Restores the figures once all blocks are there. The error is what was expected.
    pub fn restore_figures(&mut self, figures: Figures) -> Result<(), &'static str> {
        if figures.len != self.inner.len {
            return Err("the number of the entries");
        }
        if figures.last_id < self.inner.last_id {
            return Err("a last id not below that of the last entry");
        }
        let inner = self.inner_mut();
        inner.last_id = figures.last_id;
        inner.max_deleted_id = figures.max_deleted_id;
        inner.entries_added = figures.entries_added;
        Ok(())
    }

    /// The bytes allocated for this stream, without the handle itself; of many blocks an estimate by the first ones.
    pub fn memory_bytes(&self) -> usize {
        /// The counters of an `Arc`.
        const ARC_BYTES: usize = 16;
        /// Blocks that are measured; the others are taken to be like them.
        const SAMPLED_MAX: usize = 64;
        let sampled = self.blocks_len().min(SAMPLED_MAX);
        let blocks = self.inner.blocks.iter().take(sampled);
        let blocks = blocks.map(|(_, block)| block.memory_bytes()).sum::<usize>();
        ARC_BYTES
            + size_of::<Inner>()
            + self.inner.blocks.memory_bytes(|_, _| 0)
            + blocks * self.blocks_len() / sampled.max(1)
            + self.inner.groups.memory_bytes(|name, group| ARC_BYTES + name.len() + group.memory_bytes())
    }

    /// About how many allocations are freed with the stream.
    pub fn free_effort(&self) -> usize {
        let of_groups = self.groups().map(|(_, group)| 2 + group.consumers_len() + group.pending_len() / 32);
        // Groups beyond a few tell as much as those few.
        1 + 2 * self.blocks_len() + of_groups.take(64).sum::<usize>() + self.groups_len()
    }

    fn inner_mut(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.inner)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id.to_string()))
            .finish()
    }
}
