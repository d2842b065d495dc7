//! The bytes of an RDB file on their way out: buffered and checksummed. Also the primitives of the format.

use std::io::{self, Write};

use super::lzf::Compressor;
use crate::base::crc64;

/// What is buffered beyond this goes out. The checksum is computed over chunks of this size as well.
const BUFFER_BYTES: usize = 2048;
/// Redis does not try to compress shorter strings.
const COMPRESSED_STRING_BYTES_MIN: usize = 21;
/// The digits of a 32-bit integer and its sign.
const INTEGER_DIGITS_MAX: usize = 11;

/// Whether strings that shrink by it are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Lzf,
    None,
}

pub(super) struct Output<W> {
    inner: W,
    buffer: Vec<u8>,
    /// The checksum of what has left the buffer; `None` if none is wanted.
    crc: Option<u64>,
    compression: Compression,
    compressor: Compressor,
    compressed: Vec<u8>,
}

impl<W: Write> Output<W> {
    pub(super) fn new(inner: W, compression: Compression, checksum: bool) -> Self {
        Self {
            inner,
            buffer: Vec::new(),
            crc: checksum.then_some(0),
            compression,
            compressor: Compressor::default(),
            compressed: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.buffer.push(byte);
    }

    /// A few bytes; long ones go through `bytes`.
    #[inline]
    pub(super) fn small(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() >= BUFFER_BYTES {
            self.flush_buffer()?;
            return self.write_through(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        self.flush_if_full()
    }

    #[inline]
    pub(super) fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.flush_buffer()
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.write_through(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        written
    }

    fn write_through(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(crc) = &mut self.crc {
            *crc = crc64::update(*crc, bytes);
        }
        self.inner.write_all(bytes)
    }

    #[inline]
    pub(super) fn length(&mut self, length: u64) {
        match length {
            0..=0x3f => self.byte(length as u8),
            0x40..=0x3fff => self.small(&(0x4000 | length as u16).to_be_bytes()),
            0x4000..=0xffff_ffff => {
                self.byte(0x80);
                self.small(&(length as u32).to_be_bytes());
            }
            _ => {
                self.byte(0x81);
                self.small(&length.to_be_bytes());
            }
        }
    }

    /// A string, in the shortest of its encodings.
    #[inline]
    pub(super) fn string(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() <= INTEGER_DIGITS_MAX
            && let Some(number) = crate::base::number::parse_i64(bytes)
            && let Ok(number) = i32::try_from(number)
        {
            self.encoded_int(number);
            return self.flush_if_full();
        }
        if bytes.len() >= COMPRESSED_STRING_BYTES_MIN && self.compression == Compression::Lzf {
            let mut compressed = std::mem::take(&mut self.compressed);
            let smaller = self.compressor.compress(bytes, &mut compressed);
            if smaller {
                self.byte(0xc3);
                self.length(compressed.len() as u64);
                self.length(bytes.len() as u64);
                self.bytes(&compressed)?;
            }
            self.compressed = compressed;
            if smaller {
                return Ok(());
            }
        }
        self.length(bytes.len() as u64);
        self.bytes(bytes)
    }

    pub(super) fn int(&mut self, number: i64) -> io::Result<()> {
        match i32::try_from(number) {
            Ok(number) => self.encoded_int(number),
            Err(_) => {
                let mut digits = itoa::Buffer::new();
                let digits = digits.format(number).as_bytes();
                self.length(digits.len() as u64);
                self.small(digits);
            }
        }
        self.flush_if_full()
    }

    fn encoded_int(&mut self, number: i32) {
        if let Ok(number) = i8::try_from(number) {
            self.small(&[0xc0, number as u8]);
        } else if let Ok(number) = i16::try_from(number) {
            self.byte(0xc1);
            self.small(&number.to_le_bytes());
        } else {
            self.byte(0xc2);
            self.small(&number.to_le_bytes());
        }
    }

    /// Appends the checksum of everything before (zero if none is wanted) and hands the destination back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.flush_buffer()?;
        let crc = self.crc.take().unwrap_or(0);
        self.inner.write_all(&crc.to_le_bytes())?;
        self.inner.flush()?;
        Ok(self.inner)
    }
}

/// Counts what is written to it: how large a snapshot will be, before it is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CountingWriter {
    pub bytes: u64,
}

impl Write for CountingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::Input;
    use super::*;

    fn written(compression: Compression, write: impl FnOnce(&mut Output<Vec<u8>>)) -> Vec<u8> {
        let mut output = Output::new(Vec::new(), compression, false);
        write(&mut output);
        let mut bytes = output.finish().unwrap();
        bytes.truncate(bytes.len() - 8);
        bytes
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, size) in [(63, 1), (64, 2), (16383, 2), (16384, 5), (0xffff_ffff, 5), (1 << 32, 9)] {
            let bytes = written(Compression::None, |output| output.length(length));
            assert_eq!(bytes.len(), size);
            assert_eq!(Input::new(&bytes[..], 16).length().unwrap(), length);
        }
    }

    #[test]
    fn strings_are_integers_compressed_or_raw() {
        let long = "1".repeat(40);
        let cases = [
            ("", 1),
            ("7", 2),
            ("-129", 3),
            ("-2147483648", 5),
            ("2147483648", 11),
            ("007", 4),
            ("-0", 3),
            (long.as_str(), 8),
        ];
        for (text, size) in cases {
            let bytes = written(Compression::Lzf, |output| output.string(text.as_bytes()).unwrap());
            assert_eq!(bytes.len(), size, "{text}");
            assert_eq!(Input::new(&bytes[..], 64).string().unwrap(), text.as_bytes());
        }
        let raw = written(Compression::None, |output| output.string(long.as_bytes()).unwrap());
        assert_eq!(raw.len(), 41);
    }

    #[test]
    fn long_strings_and_the_checksum_are_the_same_in_any_chunks() {
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = (0..200_000).map(|_| random.u8(..)).collect();
        let mut output = Output::new(Vec::new(), Compression::Lzf, true);
        for piece in noise.chunks(50_000) {
            output.string(piece).unwrap();
        }
        output.string(&noise).unwrap();
        let bytes = output.finish().unwrap();
        let (body, crc) = bytes.split_at(bytes.len() - 8);
        assert_eq!(crc64::update(0, body).to_le_bytes(), crc);
        let mut input = Input::new(body, 1000);
        for piece in noise.chunks(50_000) {
            assert_eq!(input.string().unwrap(), piece);
        }
        assert_eq!(input.string().unwrap(), noise);
    }
}
