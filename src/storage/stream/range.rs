//! Walks over the entries of a stream, block by block.

use super::StreamBlocks;
use super::block::Entry;
use super::id::StreamId;
use super::tree::{Iter, IterBack};

type Blocks<'a> = Iter<'a, StreamId, super::Block>;
type BlocksBack<'a> = IterBack<'a, StreamId, super::Block>;

/// The live entries with ids from `start` to `end`, in order.
pub(super) fn forward(
    blocks: &StreamBlocks,
    start: StreamId,
    end: StreamId,
) -> impl Iterator<Item = Entry<'_>> {
    // The block whose master id is the greatest not above the start may hold it.
    let first = blocks.floor(&start).map_or(start, |(&id, _)| id);
    let blocks: Blocks<'_> = blocks.iter_from(&first);
    blocks
        .take_while(move |&(&master_id, _)| master_id <= end)
        .flat_map(|(&master_id, block)| block.entries(master_id))
        .skip_while(move |entry| entry.id < start)
        .take_while(move |entry| entry.id <= end)
}

/// The live entries with ids from `end` back to `start`.
pub(super) fn back(blocks: &StreamBlocks, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
    let blocks: BlocksBack<'_> = blocks.iter_back_from(&end);
    blocks
        .flat_map(|(&master_id, block)| block.entries_back(master_id))
        .skip_while(move |entry| entry.id > end)
        .take_while(move |entry| entry.id >= start)
}
