//! A run of consecutive entries in one listpack, laid out as Redis lays out the nodes of its streams.
//!
//! ```text
//! live | deleted | n | name 1 | ... | name n | 0 | entry | entry | ...
//! entry: flags | ms | seq | value 1 | ... | value n | how many elements before this one
//! entry: flags | ms | seq | m | name 1 | value 1 | ... | name m | value m | how many elements before this one
//! ```
//!
//! The field names of the first entry stand in front; an entry with the same ones does not repeat them. Times and numbers
//! are differences from the block's master id, which the block does not know. A deleted entry stays, with a flag.
//! The listpack is Redis' to the byte, so that it can be saved as it is.

use std::sync::Arc;

use bytes::BufMut as _;

use super::id::StreamId;
use crate::storage::listpack::{
    COUNT_UNKNOWN, ELEMENT_OVERHEAD_MAX, END, Element, HEADER_BYTES, checked_element_at, element_at, push,
    push_int, start_of_element_before,
};
use crate::storage::packed::{ARC_BYTES, round_to_allocation};

const DELETED: u8 = 1;
/// The entry has the names of the block.
const SAME_FIELDS: u8 = 2;
/// Elements of an entry besides names, values and their number: flags, ms, seq.
const ENTRY_ELEMENTS: usize = 3;
/// A listpack larger than this is not written to.
pub const BYTES_MAX: usize = 1 << 30;

/// How large a block may become before the next one is begun; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLimits {
    pub bytes: usize,
    pub entries: u64,
}

impl Default for BlockLimits {
    fn default() -> Self {
        Self { bytes: 4096, entries: 100 }
    }
}

/// Clones share the listpack; a change after that is made to a copy.
#[derive(Clone)]
pub(super) struct Block {
    /// The listpack, whose header says where it ends, and room for more entries.
    buf: Arc<[u8]>,
    /// How many live entries are there: so that counting those of many blocks looks at none of them.
    live: u64,
}

/// What stands in front of the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Master {
    pub live: u64,
    pub deleted: u64,
    fields: usize,
    names_at: usize,
    entries_at: usize,
}

/// One entry of a stream.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub id: StreamId,
    bytes: &'a [u8],
    /// Where the flags are.
    at: usize,
    is_deleted: bool,
    fields: usize,
    /// Where the names are, if they are the block's.
    names_at: Option<usize>,
    /// Where the values are, with the names before them if they are not the block's.
    data_at: usize,
}

/// What was found in foreign bytes that are a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contents {
    pub live: u64,
    /// The first and last live entry.
    pub ids: Option<(StreamId, StreamId)>,
}

impl Block {
    /// A block without entries whose names are those of `fields`.
    pub fn new(fields: &[(&[u8], &[u8])]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        push_int(&mut bytes, 0);
        push_int(&mut bytes, 0);
        push_int(&mut bytes, fields.len() as i64);
        fields.iter().for_each(|(name, _)| push(&mut bytes, name));
        push_int(&mut bytes, 0);
        bytes.push(END);
        write_header(&mut bytes, fields.len() + 4);
        Self { buf: bytes.into(), live: 0 }
    }

    /// The listpack.
    pub fn bytes(&self) -> &[u8] {
        &self.buf[..listpack_bytes(&self.buf)]
    }

    pub fn memory_bytes(&self) -> usize {
        ARC_BYTES + self.buf.len()
    }

    /// Gives back the room for more entries, unless a clone shares it.
    pub fn shrink(&mut self) {
        if self.bytes().len() < self.buf.len() && Arc::get_mut(&mut self.buf).is_some() {
            self.buf = self.bytes().into();
        }
    }

    /// How many entries are there.
    pub fn live(&self) -> u64 {
        self.live
    }

    pub fn master(&self) -> Master {
        let mut at = HEADER_BYTES;
        let (live, deleted) = (self.int(&mut at) as u64, self.int(&mut at) as u64);
        let fields = self.int(&mut at) as usize;
        let names_at = at;
        let entries_at = skip(&self.buf, at, fields + 1);
        Master { live, deleted, fields, names_at, entries_at }
    }

    /// Whether another entry of `data_bytes` fits.
    pub fn has_room(&self, data_bytes: usize, limits: BlockLimits) -> bool {
        let bytes_max = if limits.bytes == 0 { BYTES_MAX } else { limits.bytes.min(BYTES_MAX) };
        if self.bytes().len() + data_bytes >= bytes_max {
            return false;
        }
        let mut at = HEADER_BYTES;
        limits.entries == 0 || ((self.int(&mut at) + self.int(&mut at)) as u64) < limits.entries
    }

    /// Appends an entry. Its id is above those that are there.
    pub fn append(&mut self, master_id: StreamId, id: StreamId, fields: &[(&[u8], &[u8])]) {
        let master = self.master();
        let same = master.fields == fields.len() && self.has_names(master.names_at, fields);
        let own_names = if same { 0 } else { 1 + fields.len() };
        let elements = ENTRY_ELEMENTS + own_names + fields.len();
        let strings =
            fields.iter().map(|(name, value)| value.len() + if same { 0 } else { name.len() }).sum::<usize>();
        let end = self.bytes().len();
        let buf = self.room_for(strings + (elements + 1) * ELEMENT_OVERHEAD_MAX);
        let mut out = &mut buf[end - 1..];
        push_int(&mut out, i64::from(if same { SAME_FIELDS } else { 0 }));
        push_int(&mut out, id.ms.wrapping_sub(master_id.ms) as i64);
        push_int(&mut out, id.seq.wrapping_sub(master_id.seq) as i64);
        if !same {
            push_int(&mut out, fields.len() as i64);
        }
        for (name, value) in fields {
            if !same {
                push(&mut out, name);
            }
            push(&mut out, value);
        }
        push_int(&mut out, elements as i64);
        out.put_u8(END);
        let room = out.len();
        let end = buf.len() - room;
        write_header(&mut buf[..end], elements + 1);
        self.set_counts(master.live + 1, master.deleted);
    }

    /// The buffer, unshared, with so many bytes behind the listpack.
    fn room_for(&mut self, more: usize) -> &mut [u8] {
        let used = self.bytes().len();
        if self.buf.len() < used + more {
            let mut grown = Vec::with_capacity(round_to_allocation(used + more.max(used / 2)));
            grown.extend_from_slice(self.bytes());
            grown.resize(grown.capacity(), 0);
            self.buf = grown.into();
        }
        Arc::make_mut(&mut self.buf)
    }

    fn has_names(&self, mut at: usize, fields: &[(&[u8], &[u8])]) -> bool {
        fields.iter().all(|(name, _)| {
            let (element, next) = element(&self.buf, at);
            at = next;
            element.as_bytes(&mut itoa::Buffer::new()) == *name
        })
    }

    /// Flags the live entry whose flags are at `at` as deleted.
    pub fn delete(&mut self, at: usize) {
        Arc::make_mut(&mut self.buf)[at] |= DELETED;
        let master = self.master();
        self.set_counts(master.live - 1, master.deleted + 1);
    }

    /// Deletes live entries from the front on, `max` at most, and none from the first id on that is `end` or above.
    /// Answers how many.
    pub fn delete_front(&mut self, master_id: StreamId, max: u64, end: Option<StreamId>) -> u64 {
        let master = self.master();
        let (mut at, mut deleted) = (master.entries_at, 0);
        let buf = Arc::make_mut(&mut self.buf);
        while deleted < max {
            let Some(entry) = entry_at(buf, &master, master_id, at) else { break };
            if end.is_some_and(|end| entry.id >= end) {
                break;
            }
            let is_deleted = entry.is_deleted;
            let next = entry.end();
            if !is_deleted {
                buf[at] |= DELETED;
                deleted += 1;
            }
            at = next;
        }
        self.set_counts(master.live - deleted, master.deleted + deleted);
        deleted
    }

    /// All entries in order, deleted ones too.
    fn all(&self, master_id: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let master = self.master();
        let mut at = master.entries_at;
        std::iter::from_fn(move || {
            let entry = entry_at(&self.buf, &master, master_id, at)?;
            at = entry.end();
            Some(entry)
        })
    }

    /// The live entries in order.
    pub fn entries(&self, master_id: StreamId) -> impl Iterator<Item = Entry<'_>> {
        self.all(master_id).filter(|entry| !entry.is_deleted)
    }

    /// The live entries from the back.
    pub fn entries_back(&self, master_id: StreamId) -> impl Iterator<Item = Entry<'_>> {
        self.all_back(master_id).filter(|entry| !entry.is_deleted)
    }

    fn all_back(&self, master_id: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let master = self.master();
        let mut end = self.bytes().len() - 1;
        std::iter::from_fn(move || {
            if end <= master.entries_at {
                return None;
            }
            let mut at = start_of_element_before(&self.buf, end);
            let elements = self.int(&mut at.clone());
            for _ in 0..elements {
                at = start_of_element_before(&self.buf, at);
            }
            end = at;
            entry_at(&self.buf, &master, master_id, at)
        })
    }

    /// The id of the first entry, deleted or not.
    pub fn first_id(&self, master_id: StreamId) -> Option<StreamId> {
        self.all(master_id).next().map(|entry| entry.id)
    }

    /// The id of the last entry, deleted or not.
    pub fn last_id(&self, master_id: StreamId) -> Option<StreamId> {
        self.all_back(master_id).next().map(|entry| entry.id)
    }

    /// The integer at `at`, which moves behind it.
    fn int(&self, at: &mut usize) -> i64 {
        let (number, next) = int_at(&self.buf, *at);
        *at = next;
        number
    }

    /// Writes the numbers of live and deleted entries, which are the first elements.
    fn set_counts(&mut self, live: u64, deleted: u64) {
        const BYTE_MAX: u64 = 127;
        self.live = live;
        // As a rule both are of one byte, with one of backward length, before and after.
        if let [old_live @ 0..=127, _, old_deleted @ 0..=127, ..] =
            &mut Arc::make_mut(&mut self.buf)[HEADER_BYTES..]
            && live.max(deleted) <= BYTE_MAX
        {
            (*old_live, *old_deleted) = (live as u8, deleted as u8);
            return;
        }
        let mut counts = Vec::with_capacity(2 * ELEMENT_OVERHEAD_MAX);
        push_int(&mut counts, live as i64);
        push_int(&mut counts, deleted as i64);
        let old = HEADER_BYTES..skip(&self.buf, HEADER_BYTES, 2);
        let end = self.bytes().len();
        let new_end = end - old.len() + counts.len();
        let buf = self.room_for(new_end.saturating_sub(end));
        buf.copy_within(old.end..end, old.start + counts.len());
        buf[old.start..old.start + counts.len()].copy_from_slice(&counts);
        write_header(&mut buf[..new_end], 0);
    }

    /// Takes foreign bytes as a block once everything about them is in order: the listpack, the counts, the layout of
    /// each entry, and that ids ascend. The error is what was expected.
    pub fn parse(master_id: StreamId, bytes: Vec<u8>) -> Result<(Self, Contents), &'static str> {
        check_listpack(&bytes).ok_or("a well-formed listpack")?;
        let mut block = Self { buf: bytes.into(), live: 0 };
        let contents = block.check(master_id).ok_or("the entries of a stream")?;
        block.live = contents.live;
        Ok((block, contents))
    }

    fn check(&self, master_id: StreamId) -> Option<Contents> {
        let bytes = self.bytes();
        let mut at = HEADER_BYTES;
        let number = |at: &mut usize| {
            let (Element::Int(number), next) = element_at(bytes, *at)? else { return None };
            *at = next;
            u64::try_from(number).ok()
        };
        let (live, deleted, fields) = (number(&mut at)?, number(&mut at)?, number(&mut at)?);
        let names_at = at;
        for _ in 0..fields {
            at = element_at(bytes, at)?.1;
        }
        if number(&mut at)? != 0 {
            return None;
        }
        let master = Master { live, deleted, fields: fields as usize, names_at, entries_at: at };
        let (mut seen_live, mut seen_deleted) = (0, 0);
        let mut ids: Option<(StreamId, StreamId)> = None;
        while bytes.get(at) != Some(&END) {
            let entry = checked_entry_at(bytes, &master, master_id, at)?;
            at = entry.1;
            if entry.0.is_deleted {
                seen_deleted += 1;
                continue;
            }
            seen_live += 1;
            let id = entry.0.id;
            if id < master_id || ids.is_some_and(|(_, last)| last >= id) {
                return None;
            }
            ids = Some((ids.map_or(id, |(first, _)| first), id));
        }
        let has_entries = seen_live + seen_deleted > 0;
        (has_entries && seen_live == live && seen_deleted == deleted).then_some(Contents { live, ids })
    }
}

/// How many bytes of a buffer are the listpack at its start, as its header says.
fn listpack_bytes(buf: &[u8]) -> usize {
    u32::from_le_bytes([buf[0], buf[1], buf[2], buf[3]]) as usize
}

/// Writes the header of a listpack that has got `added` elements.
fn write_header(listpack: &mut [u8], added: usize) {
    let total = listpack.len() as u32;
    listpack[..4].copy_from_slice(&total.to_le_bytes());
    let count = usize::from(u16::from_le_bytes([listpack[4], listpack[5]]));
    let count = (count + added).min(COUNT_UNKNOWN) as u16;
    listpack[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
}

/// Whether the bytes are a listpack, all of whose elements are in order.
fn check_listpack(bytes: &[u8]) -> Option<()> {
    let total = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let count = usize::from(u16::from_le_bytes(bytes.get(4..HEADER_BYTES)?.try_into().ok()?));
    if total as usize != bytes.len() || *bytes.last()? != END {
        return None;
    }
    let (mut at, mut seen) = (HEADER_BYTES, 0);
    while at + 1 < bytes.len() {
        at = checked_element_at(bytes, at)?.1;
        seen += 1;
    }
    (at + 1 == bytes.len() && (count == seen || count == COUNT_UNKNOWN)).then_some(())
}

/// The entry at `at` of foreign bytes, which are a listpack, and where it ends.
fn checked_entry_at<'a>(
    bytes: &'a [u8],
    master: &Master,
    master_id: StreamId,
    at: usize,
) -> Option<(Entry<'a>, usize)> {
    let int = |at: usize| match element_at(bytes, at)? {
        (Element::Int(number), next) => Some((number, next)),
        _ => None,
    };
    // Flags are changed in place, so they have to be one byte.
    if bytes[at] > DELETED | SAME_FIELDS {
        return None;
    }
    let has_names = bytes[at] & SAME_FIELDS == 0;
    let (_, ms_at) = int(at)?;
    let (_, seq_at) = int(ms_at)?;
    let (_, mut end) = int(seq_at)?;
    let (mut elements, mut expected) = (master.fields as u64, ENTRY_ELEMENTS as u64);
    if has_names {
        let (fields, next) = int(end)?;
        end = next;
        elements = u64::try_from(fields).ok()?.checked_mul(2)?;
        expected += 1;
    }
    for _ in 0..elements {
        end = element_at(bytes, end)?.1;
    }
    let (before, end) = int(end)?;
    if u64::try_from(before).ok()? != expected + elements {
        return None;
    }
    Some((entry_at(bytes, master, master_id, at)?, end))
}

/// The entry at `at`; none at the end.
fn entry_at<'a>(bytes: &'a [u8], master: &Master, master_id: StreamId, at: usize) -> Option<Entry<'a>> {
    let flags = bytes[at];
    if flags == END {
        return None;
    }
    // Flags are one byte with one byte of backward length.
    let (ms, seq_at) = int_at(bytes, at + 2);
    let (seq, data_at) = int_at(bytes, seq_at);
    let id =
        StreamId { ms: master_id.ms.wrapping_add(ms as u64), seq: master_id.seq.wrapping_add(seq as u64) };
    let is_deleted = flags & DELETED != 0;
    if flags & SAME_FIELDS != 0 {
        let names_at = Some(master.names_at);
        return Some(Entry { id, bytes, at, is_deleted, fields: master.fields, names_at, data_at });
    }
    let (fields, data_at) = int_at(bytes, data_at);
    Some(Entry { id, bytes, at, is_deleted, fields: fields as usize, names_at: None, data_at })
}

fn element(bytes: &[u8], at: usize) -> (Element<'_>, usize) {
    element_at(bytes, at).expect("a block is written here, or was checked when it was read")
}

fn int_at(bytes: &[u8], at: usize) -> (i64, usize) {
    match element(bytes, at) {
        (Element::Int(number), next) => (number, next),
        _ => unreachable!("a block is written here, or was checked when it was read"),
    }
}

/// Where the element begins that is `count` elements behind the one at `at`.
fn skip(bytes: &[u8], at: usize, count: usize) -> usize {
    (0..count).fold(at, |at, _| element(bytes, at).1)
}

impl<'a> Entry<'a> {
    /// How many fields the entry has.
    pub fn len(&self) -> usize {
        self.fields
    }

    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// The fields with their values, as they were given.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (Element<'a>, Element<'a>)> + use<'a> {
        let bytes = self.bytes;
        let (mut names_at, mut data_at) = (self.names_at, self.data_at);
        (0..self.fields).map(move |_| {
            let from = names_at.as_mut().unwrap_or(&mut data_at);
            let (name, next) = element(bytes, *from);
            *from = next;
            let (value, next) = element(bytes, data_at);
            data_at = next;
            (name, value)
        })
    }

    /// Where the entry lies in its block.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Where the next entry begins.
    fn end(&self) -> usize {
        let elements = if self.names_at.is_some() { self.fields } else { 2 * self.fields };
        skip(self.bytes, self.data_at, elements + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(block: &Block, master_id: StreamId) -> Vec<String> {
        let shown = |entry: Entry<'_>| {
            let text = |element: Element<'_>| {
                String::from_utf8_lossy(element.as_bytes(&mut itoa::Buffer::new())).into_owned()
            };
            let fields = entry.fields().map(|(name, value)| format!(" {}={}", text(name), text(value)));
            format!("{}{}", entry.id, fields.collect::<String>())
        };
        let forward: Vec<String> = block.entries(master_id).map(shown).collect();
        let mut back: Vec<String> = block.entries_back(master_id).map(shown).collect();
        back.reverse();
        assert_eq!(forward, back);
        forward
    }

    fn example() -> (StreamId, Block) {
        let first = StreamId::new(5, 7);
        let mut block = Block::new(&[(b"a", b""), (b"7", b"")]);
        block.append(first, first, &[(b"a", b"1"), (b"7", b"x")]);
        block.append(first, StreamId::new(9, 0), &[(b"a", b"2"), (b"7", b"y")]);
        block.append(first, StreamId::new(9, 1), &[(b"other", b"-70000")]);
        block.append(first, StreamId::new(u64::MAX, u64::MAX), &[(b"a", b"3"), (b"8", b"z")]);
        (first, block)
    }

    #[test]
    fn entries_come_back_in_both_directions_and_through_foreign_hands() {
        let (first, mut block) = example();
        let all = [
            "5-7 a=1 7=x",
            "9-0 a=2 7=y",
            "9-1 other=-70000",
            "18446744073709551615-18446744073709551615 a=3 8=z",
        ];
        assert_eq!(text(&block, first), all);
        let at = block.entries(first).nth(1).unwrap().at();
        block.delete(at);
        assert_eq!(text(&block, first), [all[0], all[2], all[3]]);
        assert_eq!(block.delete_front(first, 5, Some(StreamId::new(9, 1))), 1);
        assert_eq!(text(&block, first), [all[2], all[3]]);
        assert_eq!(block.first_id(first), Some(first));
        let (parsed, contents) = Block::parse(first, block.bytes().to_vec()).unwrap();
        assert_eq!(text(&parsed, first), [all[2], all[3]]);
        assert_eq!(contents, Contents { live: 2, ids: Some((StreamId::new(9, 1), StreamId::MAX)) });
    }

    #[test]
    fn counts_grow_beyond_one_byte() {
        let first = StreamId::new(1, 0);
        let mut block = Block::new(&[(b"f", b"")]);
        for seq in 0..300 {
            assert!(block.has_room(2, BlockLimits { bytes: 0, entries: 300 }));
            block.append(first, StreamId::new(1, seq), &[(b"f", b"v")]);
        }
        assert!(!block.has_room(2, BlockLimits { bytes: 0, entries: 300 }));
        assert!(!block.has_room(2, BlockLimits { bytes: 100, entries: 0 }));
        assert_eq!(block.delete_front(first, 200, None), 200);
        assert_eq!(text(&block, first).len(), 100);
        Block::parse(first, block.bytes().to_vec()).unwrap();
    }

    #[test]
    fn no_flipped_bit_is_read_as_something_that_panics() {
        let (first, block) = example();
        for at in 0..block.bytes().len() {
            for bit in 0..8 {
                let mut bytes = block.bytes().to_vec();
                bytes[at] ^= 1 << bit;
                if let Ok((mut block, contents)) = Block::parse(first, bytes) {
                    assert_eq!(text(&block, first).len() as u64, contents.live);
                    block.append(first, StreamId::MAX, &[(b"a", b"1")]);
                    block.delete_front(first, 2, None);
                    text(&block, first);
                }
            }
        }
        for len in 0..block.bytes().len() {
            assert!(Block::parse(first, block.bytes()[..len].to_vec()).is_err());
        }
    }
}
