//! The one stream of effects: every change of data as bytes, at an offset, with the newest part (the backlog)
//! held.
//!
//! Invariants:
//! - The held bytes are `[start, end)` without a gap: the blocks in order, then the tail.
//! - Only an active log moves. Until the first reader needs it nothing is appended and the offset stands
//!   still.
//! - Bytes are copied once, into the tail. Readers share them; a reader that froze a piece keeps it alive
//!   alone.
//!
//! Deliberately does not know its readers: whoever trims says how far the slowest of them is.

use std::collections::VecDeque;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

/// What one allocation of the log holds. Larger effects get an allocation of their own size.
pub const BLOCK_BYTES: usize = 16 * 1024;

/// Room that an in-place encoding finds at least; most effects fit.
const ENCODE_ROOM_BYTES: usize = 512;

/// Below this mean size the pieces that a block was read in are merged again when the block is full.
const PIECE_BYTES_MIN: usize = 1024;

/// A position in the stream: how many bytes lie before it. `master_repl_offset` is the end's.
///
/// The wire and INFO also number bytes, from 1: the byte that follows position `n` is number `n + 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReplOffset(pub u64);

impl ReplOffset {
    pub fn advanced(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }

    /// The number of the byte that follows, as PSYNC asks for it and INFO shows it.
    pub fn next_byte(self) -> u64 {
        self.0 + 1
    }

    /// The position before byte `number`; none for 0 and less, which number no byte.
    pub fn before_byte(number: i64) -> Option<Self> {
        u64::try_from(number).ok()?.checked_sub(1).map(Self)
    }
}

impl fmt::Display for ReplOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Consecutive bytes of the log, shared with it.
pub type Pieces = SmallVec<[Bytes; 4]>;

/// The stream of effects with its backlog.
#[derive(Debug, Default)]
pub struct ReplicationLog {
    active: bool,
    start: ReplOffset,
    end: ReplOffset,
    blocks: VecDeque<(ReplOffset, Bytes)>,
    /// How many blocks at the back are pieces of the tail's own allocation.
    loose: usize,
    tail: BytesMut,
}

impl ReplicationLog {
    /// An inactive log at `at`.
    pub fn new(at: ReplOffset) -> Self {
        Self { start: at, end: at, ..Self::default() }
    }

    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Begins to hold what is appended, with an empty backlog. No effect on an active log.
    pub fn activate(&mut self) {
        self.active = true;
    }

    /// Drops the backlog; the offset stays where it is. What is appended from here on is part of no history,
    /// so the owner takes a new replication id.
    pub fn deactivate(&mut self) {
        self.reset(self.end);
        self.active = false;
    }

    /// Forgets all bytes and continues at `at`, as after a full resync. Whether it is active does not change.
    pub fn reset(&mut self, at: ReplOffset) {
        *self = Self { active: self.active, ..Self::new(at) };
    }

    /// Where the next byte goes: `master_repl_offset`.
    pub fn end_offset(&self) -> ReplOffset {
        self.end
    }

    /// The oldest position that can be read.
    pub fn start_offset(&self) -> ReplOffset {
        self.start
    }

    /// INFO's `repl_backlog_first_byte_offset`: the number of the first held byte, 0 for an inactive log.
    pub fn first_byte_offset(&self) -> u64 {
        if self.active { self.start.next_byte() } else { 0 }
    }

    /// INFO's `repl_backlog_histlen`: how many bytes are held.
    pub fn histlen(&self) -> u64 {
        self.end.0 - self.start.0
    }

    pub fn append(&mut self, data: &[u8]) {
        if !self.active {
            return;
        }
        let (head, rest) = data.split_at(self.tail_room().min(data.len()));
        self.extend_tail(head);
        if !rest.is_empty() {
            self.begin_block(rest.len());
            self.extend_tail(rest);
        }
    }

    /// Lets `encode` append to the log's own buffer. It must not shorten what is there.
    pub fn append_with(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        if !self.active {
            return;
        }
        if self.tail_room() < ENCODE_ROOM_BYTES {
            self.begin_block(BLOCK_BYTES);
        }
        let before = self.tail.len();
        encode(&mut self.tail);
        assert!(self.tail.len() >= before, "an encoder only appends to the log");
        self.end = self.end.advanced(self.tail.len() - before);
    }

    /// Appends one command: `*<n>` and its arguments as bulk strings.
    pub fn append_request<A: AsRef<[u8]>>(&mut self, args: impl ExactSizeIterator<Item = A>) {
        self.append_with(|tail| {
            let mut number = itoa::Buffer::new();
            tail.put_u8(b'*');
            tail.put_slice(number.format(args.len()).as_bytes());
            tail.put_slice(b"\r\n");
            for arg in args {
                let arg = arg.as_ref();
                tail.reserve(arg.len() + 24);
                tail.put_u8(b'$');
                tail.put_slice(number.format(arg.len()).as_bytes());
                tail.put_slice(b"\r\n");
                tail.put_slice(arg);
                tail.put_slice(b"\r\n");
            }
        });
    }

    /// Whether the stream can be read from `offset` on. The end itself can be: there is nothing to read yet.
    pub fn holds(&self, offset: ReplOffset) -> bool {
        self.active && (self.start..=self.end).contains(&offset)
    }

    /// Up to `bytes_max` bytes from `offset` on, without copying them; empty at the end.
    /// None: they are no longer, or not yet, part of the log.
    pub fn read_from(&mut self, offset: ReplOffset, bytes_max: usize) -> Option<Pieces> {
        if !self.holds(offset) {
            return None;
        }
        self.freeze_tail();
        let mut pieces = Pieces::new();
        let mut room = bytes_max;
        let first = self.blocks.partition_point(|(at, block)| at.advanced(block.len()) <= offset);
        for (at, block) in self.blocks.range(first..) {
            let from = offset.0.saturating_sub(at.0) as usize;
            let to = block.len().min(from.saturating_add(room));
            if from == to {
                break;
            }
            pieces.push(block.slice(from..to));
            room -= to - from;
        }
        Some(pieces)
    }

    /// Drops the oldest blocks, but keeps `backlog_bytes` and all that the slowest reader has yet to read.
    pub fn trim(&mut self, backlog_bytes: u64, lowest_reader: Option<ReplOffset>) {
        while let Some((at, block)) = self.blocks.front() {
            let block_end = at.advanced(block.len());
            let is_read = lowest_reader.is_none_or(|reader| reader >= block_end);
            if self.end.0 - block_end.0 < backlog_bytes || !is_read {
                break;
            }
            self.start = block_end;
            self.blocks.pop_front();
        }
        self.loose = self.loose.min(self.blocks.len());
        if self.blocks.capacity() > 4 * (self.blocks.len() + 16) {
            self.blocks.shrink_to(2 * self.blocks.len());
        }
    }

    /// Bytes this takes on the heap, spare room included.
    pub fn memory_bytes(&self) -> usize {
        /// What each block shares among those who read it: its counters, in an allocation of their own.
        const SHARED_BYTES: usize = 48;
        let index = self.blocks.capacity() * size_of::<(ReplOffset, Bytes)>();
        self.histlen() as usize + self.tail_room() + index + self.blocks.len() * SHARED_BYTES
    }

    fn tail_room(&self) -> usize {
        self.tail.capacity() - self.tail.len()
    }

    fn extend_tail(&mut self, data: &[u8]) {
        self.tail.extend_from_slice(data);
        self.end = self.end.advanced(data.len());
    }

    fn begin_block(&mut self, bytes_min: usize) {
        self.freeze_tail();
        self.merge_loose();
        self.tail = BytesMut::with_capacity(bytes_min.max(BLOCK_BYTES));
    }

    /// Makes the unread bytes of the tail a block; the room behind them stays the tail's.
    fn freeze_tail(&mut self) {
        if !self.tail.is_empty() {
            let piece = self.tail.split().freeze();
            self.blocks.push_back((ReplOffset(self.end.0 - piece.len() as u64), piece));
            self.loose += 1;
        }
    }

    /// A reader that follows every small write freezes many small pieces, each with its own index entry. One
    /// copy of the finished block keeps the index short.
    fn merge_loose(&mut self) {
        let count = std::mem::take(&mut self.loose);
        let pieces = self.blocks.range(self.blocks.len() - count..);
        let bytes: usize = pieces.clone().map(|(_, piece)| piece.len()).sum();
        if count < 2 || bytes / count >= PIECE_BYTES_MIN {
            return;
        }
        let mut merged = Vec::with_capacity(bytes);
        pieces.for_each(|(_, piece)| merged.extend_from_slice(piece));
        self.blocks.truncate(self.blocks.len() - count);
        self.blocks.push_back((ReplOffset(self.end.0 - bytes as u64), merged.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn active() -> ReplicationLog {
        let mut log = ReplicationLog::default();
        log.activate();
        log
    }

    fn read(log: &mut ReplicationLog, from: u64, max: usize) -> Option<Vec<u8>> {
        log.read_from(ReplOffset(from), max).map(|pieces| pieces.concat())
    }

    #[test]
    fn an_inactive_log_does_not_move() {
        let mut log = ReplicationLog::default();
        log.append(b"abc");
        log.append_with(|_| panic!("nobody reads this"));
        assert_eq!((log.end_offset(), log.first_byte_offset(), log.histlen()), (ReplOffset(0), 0, 0));
        assert_eq!(read(&mut log, 0, 10), None);
        log.activate();
        assert_eq!((log.first_byte_offset(), log.histlen()), (1, 0));
    }

    #[test]
    fn the_end_can_be_read_but_nothing_beyond_it() {
        let mut log = active();
        log.append(b"abc");
        assert_eq!(read(&mut log, 0, 2).unwrap(), b"ab");
        assert_eq!(read(&mut log, 3, 2).unwrap(), b"");
        assert_eq!(read(&mut log, 4, 2), None);
    }

    #[test]
    fn a_dropped_backlog_keeps_the_offset() {
        let mut log = active();
        log.append(b"abc");
        log.deactivate();
        log.append(b"lost");
        assert_eq!((log.end_offset(), log.histlen(), log.is_active()), (ReplOffset(3), 0, false));
        log.activate();
        log.append(b"d");
        assert_eq!(read(&mut log, 3, 9).unwrap(), b"d");
    }

    #[test]
    fn trimming_keeps_the_backlog_and_the_slowest_reader() {
        let mut log = active();
        for _ in 0..64 {
            log.append(&[b'x'; 4096]);
        }
        let all = log.histlen();
        log.trim(1 << 30, None);
        assert_eq!(log.histlen(), all);
        log.trim(1000, Some(ReplOffset(100_000)));
        assert!(log.holds(ReplOffset(100_000)) && !log.holds(ReplOffset(50_000)));
        log.trim(1000, None);
        assert!(log.histlen() >= 1000 && log.histlen() < 1000 + 2 * BLOCK_BYTES as u64);
        assert_eq!(log.end_offset(), ReplOffset(all));
    }

    #[test]
    fn small_pieces_are_merged_when_their_block_is_full() {
        let mut log = active();
        for n in 0..4000u64 {
            log.append(b"0123456789");
            assert_eq!(read(&mut log, n * 10, 100).unwrap(), b"0123456789");
        }
        assert!(log.blocks.len() < 2000, "{} pieces for 40000 bytes", log.blocks.len());
        assert_eq!(read(&mut log, 5, 30_000).unwrap(), b"5678901234".repeat(3000));
        assert!(log.memory_bytes() >= 40_000);
    }

    #[test]
    fn a_request_is_encoded_in_place() {
        let mut log = active();
        log.append_request(["SET", "key", &"v".repeat(1000)].iter());
        let expected = format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1000\r\n{}\r\n", "v".repeat(1000));
        assert_eq!(read(&mut log, 0, 5000).unwrap(), expected.as_bytes());
        assert_eq!(log.end_offset(), ReplOffset(expected.len() as u64));
    }

    proptest! {
        #[test]
        fn any_use_reads_as_one_string(steps in prop::collection::vec((0u8..5, 0usize..40_000), 1..60)) {
            let mut log = active();
            let mut model: Vec<u8> = Vec::new();
            for (kind, n) in steps {
                let data: Vec<u8> = (0..n).map(|i| (model.len() + i) as u8).collect();
                match kind {
                    0 => { log.append(&data); model.extend(&data); }
                    1 => { log.append(&data[..n.min(50)]); model.extend(&data[..n.min(50)]); }
                    2 => { log.append_with(|tail| tail.extend_from_slice(&data)); model.extend(&data); }
                    3 => log.trim(n as u64, None),
                    _ => {}
                }
                prop_assert_eq!(log.end_offset().0 as usize, model.len());
                let start = log.start_offset().0;
                let from = start + (n as u64 * 7919) % (log.histlen() + 1);
                let expected = &model[from as usize..];
                let expected = &expected[..expected.len().min(n)];
                prop_assert_eq!(read(&mut log, from, n).unwrap(), expected);
                if start > 0 {
                    prop_assert!(read(&mut log, start - 1, 1).is_none());
                }
            }
        }
    }
}
