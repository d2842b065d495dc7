//! Listpacks, the packed lists of Redis 7: read with full checks, and written.
//!
//! Six bytes of header (total bytes, count), elements, `0xff`. An element is an encoding byte with its
//! data, and then the size of both, written so that it can be read backwards.

use super::error::Reason;
use super::packed::{Cursor, Element, Packed, i24};
use crate::storage::listpack::{self, COUNT_UNKNOWN, END, HEADER_BYTES, backward_length};

/// More than the longest encoded integer or header of a string, and the longest backward length.
const ELEMENT_OVERHEAD_BYTES_MAX: usize = 14;

pub(super) struct Listpack<'a> {
    cursor: Cursor<'a>,
    count: usize,
    seen: usize,
}

impl<'a> Listpack<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Reason> {
        let mut cursor = Cursor::new(bytes, "listpack");
        let total = u32::from_le_bytes(cursor.array()?) as usize;
        cursor.expect_equal("a total size of", bytes.len(), total)?;
        let count = usize::from(u16::from_le_bytes(cursor.array()?));
        Ok(Self { cursor, count, seen: 0 })
    }

    fn element(&mut self) -> Result<Element<'a>, Reason> {
        let cursor = &mut self.cursor;
        let first = cursor.byte()?;
        Ok(match first {
            0x00..=0x7f => Element::Int(i64::from(first)),
            0x80..=0xbf => Element::Bytes(cursor.take(usize::from(first & 0x3f))?),
            0xc0..=0xdf => {
                let unsigned = u16::from(first & 0x1f) << 8 | u16::from(cursor.byte()?);
                // Thirteen bits in two's complement.
                Element::Int(i64::from((unsigned << 3) as i16 >> 3))
            }
            0xe0..=0xef => {
                let length = usize::from(first & 0x0f) << 8 | usize::from(cursor.byte()?);
                Element::Bytes(cursor.take(length)?)
            }
            0xf0 => {
                let length = u32::from_le_bytes(cursor.array()?) as usize;
                Element::Bytes(cursor.take(length)?)
            }
            0xf1 => Element::Int(i64::from(i16::from_le_bytes(cursor.array()?))),
            0xf2 => Element::Int(i24(cursor.array()?)),
            0xf3 => Element::Int(i64::from(i32::from_le_bytes(cursor.array()?))),
            0xf4 => Element::Int(i64::from_le_bytes(cursor.array()?)),
            _ => return Err(cursor.malformed("an element", format!("byte {first}"))),
        })
    }
}

impl<'a> Packed<'a> for Listpack<'a> {
    fn next(&mut self) -> Result<Option<Element<'a>>, Reason> {
        if self.cursor.peek() == Some(END) {
            self.cursor.byte()?;
            self.cursor.finish()?;
            if self.count != COUNT_UNKNOWN {
                self.cursor.expect_equal("a count of", self.seen, self.count)?;
            }
            return Ok(None);
        }
        let start = self.cursor.position();
        let element = self.element()?;
        let size = self.cursor.position() - start;
        let mut expected = [0; 5];
        let backward = backward_length(size, &mut expected);
        if self.cursor.take(backward.len())? != backward {
            return Err(self.cursor.malformed(format!("a backward length of {size}"), "another"));
        }
        self.seen += 1;
        Ok(Some(element))
    }
}

/// A listpack being written, into a buffer that is used again.
pub(super) struct ListpackBuilder {
    bytes: Vec<u8>,
    count: usize,
}

impl Default for ListpackBuilder {
    fn default() -> Self {
        Self { bytes: vec![0; HEADER_BYTES], count: 0 }
    }
}

impl ListpackBuilder {
    pub(super) fn clear(&mut self) {
        self.bytes.truncate(HEADER_BYTES);
        self.count = 0;
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// At most how many bytes there would be with one more element of `length` bytes.
    pub(super) fn bytes_max_with(&self, length: usize) -> usize {
        self.bytes.len() + length + ELEMENT_OVERHEAD_BYTES_MAX
    }

    /// Appends a string; a canonical integer is written as one.
    pub(super) fn push(&mut self, element: &[u8]) {
        listpack::push(&mut self.bytes, element);
        self.count += 1;
    }

    pub(super) fn push_int(&mut self, number: i64) {
        listpack::push_int(&mut self.bytes, number);
        self.count += 1;
    }

    /// The listpack; call `clear` before the next.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.bytes.push(END);
        let total = u32::try_from(self.bytes.len()).expect("the caller bounds the bytes of a listpack");
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
        let count = self.count.min(COUNT_UNKNOWN) as u16;
        self.bytes[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::collect;
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Vec<String>, Reason> {
        collect(Listpack::new(bytes)?)
    }

    fn with_header(count: u16, elements: &[u8]) -> Vec<u8> {
        let total = (elements.len() + 7) as u32;
        [&total.to_le_bytes()[..], &count.to_le_bytes(), elements, &[END]].concat()
    }

    #[test]
    fn each_encoding_of_an_element_is_read() {
        let elements = b"\x07\x01\x82hi\x03\xdf\xff\x02\xd0\x00\x02\xe0\x03abc\x05\xf0\x01\0\0\0x\x06\
            \xf1\x00\x80\x03\xf2\xff\xff\xff\x04\xf3\x00\x00\x00\x80\x05\xf4\0\0\0\0\0\0\0\x80\x09";
        let expected =
            ["7", "hi", "-1", "-4096", "abc", "x", "-32768", "-1", "-2147483648", "-9223372036854775808"];
        assert_eq!(read(&with_header(10, elements)).unwrap(), expected);
        assert_eq!(read(&with_header(0xffff, elements)).unwrap(), expected);
        assert!(read(&with_header(9, elements)).is_err());
    }

    #[test]
    fn lies_are_refused() {
        assert!(read(b"").is_err());
        assert!(read(&with_header(1, b"\x07\x02")).is_err(), "backward length");
        assert!(read(&with_header(1, b"\x85hi\x03")).is_err(), "length past the end");
        assert!(read(&with_header(1, b"\xf5\x01")).is_err(), "unknown encoding");
        assert!(read(&with_header(1, b"\x07\x01\xff")).is_err(), "bytes after the end");
        let mut total = with_header(1, b"\x07\x01");
        total[0] += 1;
        assert!(read(&total).is_err(), "total size");
        let unended = with_header(1, b"\x07\x01");
        assert!(read(&unended[..unended.len() - 1]).is_err());
    }

    #[test]
    fn integers_are_written_in_their_shortest_encoding() {
        let mut builder = ListpackBuilder::default();
        let sizes = [(0, 1), (127, 1), (128, 2), (-4096, 2), (4096, 3), (-32769, 4), (1 << 23, 5)];
        for (number, size) in sizes {
            builder.clear();
            builder.push(number.to_string().as_bytes());
            assert_eq!(builder.finish().len(), HEADER_BYTES + size + 2, "{number}");
        }
    }

    #[test]
    fn sizes_around_the_bounds_of_the_backward_length_come_back() {
        for length in [62, 63, 64, 125, 126, 4095, 4096, 16377, 16378, 16379, 2_097_145, 2_097_146] {
            let mut builder = ListpackBuilder::default();
            let text = "x".repeat(length);
            builder.push(text.as_bytes());
            builder.push(b"1");
            assert_eq!(read(builder.finish()).unwrap(), [text.as_str(), "1"]);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(
            texts in prop::collection::vec("[a-z]{0,100}", 0..20),
            numbers in prop::collection::vec(any::<i64>(), 0..20),
            shift in 0u32..64,
        ) {
            let mut builder = ListpackBuilder::default();
            let mut all = texts;
            all.extend(numbers.iter().map(|n| (n >> shift).to_string()));
            for element in &all {
                builder.push(element.as_bytes());
            }
            prop_assert_eq!(read(builder.finish()).unwrap(), all);
        }
    }
}
