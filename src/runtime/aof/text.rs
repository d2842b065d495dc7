//! A part of an append-only file while it is read from disk.

use std::io::{self, ErrorKind, Read};

use crate::persistence::aof::reader::{self, Step};

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

    /// Whether the command that begins at `start` in the buffer is wrong because the end of the file is lost: where nothing
    /// but zeros stands, a machine has stopped before it forced to disk what was written. Reads the file to its end.
    pub fn is_lost_from(&mut self, start: usize) -> io::Result<bool> {
        let rest = &self.buffer[start..];
        let kept = rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let is_cut_short =
            kept == 0 || matches!(reader::step(&rest[..kept], &mut Vec::new()), Step::Incomplete { .. });
        if kept == rest.len() || !is_cut_short {
            return Ok(false);
        }
        let mut bytes = vec![0; READ_BYTES];
        loop {
            match self.file.read(&mut bytes) {
                Ok(0) => return Ok(true),
                Ok(n) if bytes[..n].iter().all(|&byte| byte == 0) => {}
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_of_zeros_is_lost_and_anything_else_is_damage() {
        let is_lost = |head: &[u8], zeros: usize, tail: &[u8]| {
            let file = [head, &vec![0; zeros], tail].concat();
            let mut text = Text::begin(&file[..]).unwrap();
            text.read_more(1).unwrap();
            text.is_lost_from(0).unwrap()
        };
        let command = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        for cut in 0..command.len() {
            for zeros in [1, 5000, 3 * READ_BYTES] {
                assert!(is_lost(&command[..cut], zeros, b""), "{cut} bytes and {zeros} zeros");
                assert!(!is_lost(&command[..cut], zeros, b"x"), "{cut} bytes, {zeros} zeros and more");
            }
        }
        assert!(!is_lost(b"bla", 0, b""));
        assert!(!is_lost(b"bla", 10, b""));
    }
}
