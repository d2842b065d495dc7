//! A part of an append-only file while it is read from disk.

use std::io::{self, Read};

const READ_BYTES: usize = 1 << 20;
/// What an RDB file begins with.
const RDB_MAGIC: &[u8] = b"REDIS";

pub struct Text<F> {
    pub file: F,
    pub buffer: Vec<u8>,
    /// What of the buffer is done with.
    pub used: usize,
    /// Where the unused bytes begin in the file.
    pub offset: u64,
    pub is_at_end: bool,
}

impl<F: Read> Text<F> {
    /// Reads enough to tell what the file is.
    pub fn begin(mut file: F) -> io::Result<Self> {
        let mut buffer = Vec::new();
        (&mut file).take(RDB_MAGIC.len() as u64).read_to_end(&mut buffer)?;
        Ok(Self { file, buffer, used: 0, offset: 0, is_at_end: false })
    }

    /// Whether an RDB file stands at the front.
    pub fn is_rdb(&self) -> bool {
        self.buffer == RDB_MAGIC
    }

    /// Reads more, at least as much as is there already, so that a long command is not looked at too often.
    pub fn read_more(&mut self, wanted: usize) -> io::Result<()> {
        self.buffer.drain(..std::mem::take(&mut self.used));
        let wanted = wanted.max(READ_BYTES).max(self.buffer.len()) as u64;
        let n = (&mut self.file).take(wanted).read_to_end(&mut self.buffer)?;
        self.is_at_end = (n as u64) < wanted;
        Ok(())
    }
}
