//! The bytes of an RDB file as they arrive: buffered, counted and checksummed.
//!
//! Never asks the source for bytes once those that it needs are there, so it can sit on a live connection.
//! Never allocates much more than the source has delivered: a claimed length is a claim until its bytes come.

use std::io::{ErrorKind, Read};

use super::error::{RdbError, Reason};
use super::lzf;
use crate::base::crc64;

/// Strings longer than the buffer are read in pieces of at most this size.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// A string that is kept has at most so much unused capacity.
const SLACK_BYTES_MAX: usize = 4096;

/// A length field: a plain number, or the code of a string in a special encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Plain(u64),
    Encoded(u8),
}

pub(super) struct Input<R> {
    source: R,
    buffer: Box<[u8]>,
    /// The unread bytes are `buffer[position..end]`.
    position: usize,
    end: usize,
    /// Offset of `buffer[0]` in the input.
    buffer_offset: u64,
    /// The checksum of everything before `buffer[checksummed]`.
    crc: u64,
    checksummed: usize,
}

/// Takes a string out of the buffer that it was read into. It may live for long, so without the slack that it has when
/// it grew piece by piece.
pub(super) fn keep(string: &mut Vec<u8>) -> Vec<u8> {
    let mut string = std::mem::take(string);
    if string.capacity() - string.len() > string.len().min(SLACK_BYTES_MAX) / 8 {
        string.shrink_to_fit();
    }
    string
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R, buffer_bytes: usize) -> Self {
        Self {
            source,
            buffer: vec![0; buffer_bytes.max(1)].into_boxed_slice(),
            position: 0,
            end: 0,
            buffer_offset: 0,
            crc: 0,
            checksummed: 0,
        }
    }

    /// How many bytes have been consumed.
    pub(super) fn offset(&self) -> u64 {
        self.buffer_offset + self.position as u64
    }

    /// The checksum of all bytes consumed.
    pub(super) fn checksum(&mut self) -> u64 {
        self.crc = crc64::update(self.crc, &self.buffer[self.checksummed..self.position]);
        self.checksummed = self.position;
        self.crc
    }

    /// What was read from the source but not consumed.
    pub(super) fn into_read_ahead(self) -> Vec<u8> {
        self.buffer[self.position..self.end].to_vec()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, RdbError> {
        if self.position == self.end {
            self.fill(1)?;
        }
        let byte = self.buffer[self.position];
        self.position += 1;
        Ok(byte)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut out = [0; N];
        if self.end - self.position >= N {
            out.copy_from_slice(&self.buffer[self.position..self.position + N]);
            self.position += N;
        } else {
            for byte in &mut out {
                *byte = self.byte()?;
            }
        }
        Ok(out)
    }

    #[inline]
    pub(super) fn length_or_encoding(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(first)),
            1 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            2 => match first {
                0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
                0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
                _ => return Err(self.malformed_before("a length", format!("byte {first}"))),
            },
            _ => Length::Encoded(first & 0x3f),
        })
    }

    #[inline]
    pub(super) fn length(&mut self) -> Result<u64, RdbError> {
        match self.length_or_encoding()? {
            Length::Plain(length) => Ok(length),
            Length::Encoded(code) => {
                Err(self.malformed_before("a plain length", format!("string encoding {code}")))
            }
        }
    }

    /// A string in any encoding; integers come out as their decimal digits.
    pub(super) fn string(&mut self) -> Result<Vec<u8>, RdbError> {
        let mut out = Vec::new();
        self.string_into(&mut out)?;
        Ok(keep(&mut out))
    }

    /// As `string`, replacing the contents of `out`.
    pub(super) fn string_into(&mut self, out: &mut Vec<u8>) -> Result<(), RdbError> {
        out.clear();
        let number = match self.length_or_encoding()? {
            Length::Plain(length) => return self.append(length, out),
            Length::Encoded(0) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(1) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(2) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Encoded(3) => return self.compressed_into(out),
            Length::Encoded(code) => {
                return Err(self.malformed_before("a string", format!("string encoding {code}")));
            }
        };
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        Ok(())
    }

    fn compressed_into(&mut self, out: &mut Vec<u8>) -> Result<(), RdbError> {
        let start = self.offset();
        let compressed_length = self.length()?;
        let length = self.length()?;
        let available = &self.buffer[self.position..self.end];
        let decompressed = match available.get(..compressed_length as usize) {
            Some(compressed) => {
                self.position += compressed.len();
                lzf::decompress(compressed, length, out)
            }
            None => {
                let mut compressed = Vec::new();
                self.append_in_pieces(compressed_length, &mut compressed)?;
                lzf::decompress(&compressed, length, out)
            }
        };
        decompressed.map_err(|reason| reason.at(start))
    }

    /// Appends the next `length` bytes to `out`.
    #[inline]
    fn append(&mut self, length: u64, out: &mut Vec<u8>) -> Result<(), RdbError> {
        let available = self.end - self.position;
        if length <= available as u64 {
            let to = self.position + length as usize;
            out.extend_from_slice(&self.buffer[self.position..to]);
            self.position = to;
            return Ok(());
        }
        self.append_in_pieces(length, out)
    }

    #[cold]
    fn append_in_pieces(&mut self, length: u64, out: &mut Vec<u8>) -> Result<(), RdbError> {
        let mut remaining = length;
        while remaining > 0 {
            if self.position == self.end && remaining >= self.buffer.len() as u64 {
                let piece = remaining.min(PIECE_BYTES_MAX as u64) as usize;
                self.append_from_source(piece, out)?;
                remaining -= piece as u64;
                continue;
            }
            if self.position == self.end {
                self.fill(remaining)?;
            }
            let available = (self.end - self.position) as u64;
            let taken = remaining.min(available) as usize;
            out.extend_from_slice(&self.buffer[self.position..self.position + taken]);
            self.position += taken;
            remaining -= taken as u64;
        }
        Ok(())
    }

    /// Reads `piece` bytes past the buffer, which is empty.
    fn append_from_source(&mut self, piece: usize, out: &mut Vec<u8>) -> Result<(), RdbError> {
        self.checksum();
        self.buffer_offset = self.offset();
        (self.position, self.end, self.checksummed) = (0, 0, 0);
        let start = out.len();
        out.resize(start + piece, 0);
        let mut at = start;
        while at < out.len() {
            let wanted = (out.len() - at) as u64;
            let count = self.read_some(wanted, |source| source.read(&mut out[at..]))?;
            at += count;
            self.buffer_offset += count as u64;
        }
        self.crc = crc64::update(self.crc, &out[start..]);
        Ok(())
    }

    /// Refills the empty buffer with at least one byte; `wanted` is for the error.
    #[cold]
    fn fill(&mut self, wanted: u64) -> Result<(), RdbError> {
        self.checksum();
        self.buffer_offset = self.offset();
        (self.position, self.end, self.checksummed) = (0, 0, 0);
        let mut buffer = std::mem::take(&mut self.buffer);
        let count = self.read_some(wanted, |source| source.read(&mut buffer));
        self.buffer = buffer;
        self.end = count?;
        Ok(())
    }

    fn read_some(
        &mut self,
        wanted: u64,
        mut read: impl FnMut(&mut R) -> std::io::Result<usize>,
    ) -> Result<usize, RdbError> {
        loop {
            match read(&mut self.source) {
                Ok(0) => return Err(Reason::Truncated { wanted }.at(self.offset())),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Reason::Io(error).at(self.offset())),
            }
        }
    }

    /// The byte just consumed is not what it should be.
    pub(super) fn malformed_before(&self, expected: &'static str, found: String) -> RdbError {
        Reason::malformed(expected, found).at(self.offset().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delivers a few bytes at a time, as a socket does.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(self.0.len()).min(out.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn string(bytes: &[u8]) -> Result<Vec<u8>, RdbError> {
        Input::new(bytes, 64).string()
    }

    #[test]
    fn lengths_come_in_six_fourteen_thirty_two_and_sixty_four_bits() {
        let length = |bytes: &[u8]| Input::new(bytes, 16).length();
        assert_eq!(length(&[0x3f]).unwrap(), 63);
        assert_eq!(length(&[0x7f, 0xff]).unwrap(), 16383);
        assert_eq!(length(&[0x80, 0, 1, 0, 0]).unwrap(), 65536);
        assert_eq!(length(&[0x81, 0, 0, 0, 1, 0, 0, 0, 0]).unwrap(), 1 << 32);
        assert!(length(&[0x82, 0, 0, 0, 0]).is_err());
        assert!(length(&[0xc0, 1]).is_err());
        assert!(length(&[0x41]).is_err());
    }

    #[test]
    fn strings_are_raw_integers_or_compressed() {
        assert_eq!(string(b"\x03abc").unwrap(), b"abc");
        assert_eq!(string(b"\xc0\xff").unwrap(), b"-1");
        assert_eq!(string(b"\xc1\x00\x80").unwrap(), b"-32768");
        assert_eq!(string(b"\xc2\xff\xff\xff\x7f").unwrap(), b"2147483647");
        // One literal `a`, then 9 bytes from one byte back.
        assert_eq!(string(b"\xc3\x05\x0a\x00a\xe0\x00\x00").unwrap(), b"aaaaaaaaaa");
        assert!(string(b"\xc4\x00").is_err());
    }

    #[test]
    fn a_claimed_length_allocates_little() {
        let mut out = Vec::new();
        let mut input = Input::new(&b"\x81\x00\x00\x00\x01\x00\x00\x00\x00abc"[..], 64);
        assert!(matches!(
            input.string_into(&mut out).unwrap_err().reason,
            Reason::Truncated { wanted } if wanted <= 1 << 32
        ));
        assert!(out.capacity() <= 2 * PIECE_BYTES_MAX);
        assert!(string(b"\xc3\x81\x00\x00\x00\x01\x00\x00\x00\x00\x01a").is_err());
    }

    #[test]
    fn offset_and_checksum_do_not_depend_on_how_bytes_arrive() {
        let mut bytes = vec![0x80, 0, 0, 1, 44];
        bytes.extend((0..300u32).map(|n| n as u8));
        bytes.extend(b"\x02okrest");
        for (step, buffer) in [(1, 1), (3, 16), (7, 64), (1000, 4096), (1000, 8), (305, 301)] {
            let mut input = Input::new(Trickle(&bytes, step), buffer);
            assert_eq!(input.string().unwrap(), &bytes[5..305]);
            assert_eq!(input.string().unwrap(), b"ok");
            assert_eq!(input.offset(), 308);
            assert_eq!(input.checksum(), crc64::update(0, &bytes[..308]));
            assert!(b"rest".starts_with(&input.into_read_ahead()));
        }
    }
}
