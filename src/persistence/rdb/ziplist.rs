//! Ziplists, the packed lists before Redis 7: read with full checks.
//!
//! Ten bytes of header (total bytes, offset of the last element, count), elements, `0xff`. An element is
//! the size of the one before it, an encoding byte and the data.

use super::error::Reason;
use super::packed::{Cursor, Element, Packed, i24};

const END: u8 = 0xff;
const COUNT_UNKNOWN: usize = 0xffff;
/// Announces a previous size of four bytes.
const LARGE_PREVIOUS: u8 = 0xfe;

pub(super) struct Ziplist<'a> {
    cursor: Cursor<'a>,
    tail: usize,
    count: usize,
    seen: usize,
    /// Where the element before starts, and its size.
    last: usize,
    last_size: usize,
}

impl<'a> Ziplist<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Reason> {
        let mut cursor = Cursor::new(bytes, "ziplist");
        let total = u32::from_le_bytes(cursor.array()?) as usize;
        cursor.expect_equal("a total size of", bytes.len(), total)?;
        let tail = u32::from_le_bytes(cursor.array()?) as usize;
        let count = usize::from(u16::from_le_bytes(cursor.array()?));
        let last = cursor.position();
        Ok(Self { cursor, tail, count, seen: 0, last, last_size: 0 })
    }

    fn element(&mut self) -> Result<Element<'a>, Reason> {
        let cursor = &mut self.cursor;
        let first = cursor.byte()?;
        Ok(match first {
            0x00..=0x3f => Element::Bytes(cursor.take(usize::from(first))?),
            0x40..=0x7f => {
                let length = usize::from(first & 0x3f) << 8 | usize::from(cursor.byte()?);
                Element::Bytes(cursor.take(length)?)
            }
            0x80 => {
                let length = u32::from_be_bytes(cursor.array()?) as usize;
                Element::Bytes(cursor.take(length)?)
            }
            0xc0 => Element::Int(i64::from(i16::from_le_bytes(cursor.array()?))),
            0xd0 => Element::Int(i64::from(i32::from_le_bytes(cursor.array()?))),
            0xe0 => Element::Int(i64::from_le_bytes(cursor.array()?)),
            0xf0 => Element::Int(i24(cursor.array()?)),
            0xf1..=0xfd => Element::Int(i64::from(first & 0x0f) - 1),
            0xfe => Element::Int(i64::from(cursor.byte()? as i8)),
            _ => return Err(cursor.malformed("an element", format!("byte {first}"))),
        })
    }
}

impl<'a> Packed<'a> for Ziplist<'a> {
    fn next(&mut self) -> Result<Option<Element<'a>>, Reason> {
        let start = self.cursor.position();
        let previous = match self.cursor.byte()? {
            END => {
                self.cursor.finish()?;
                self.cursor.expect_equal("a tail offset of", self.last, self.tail)?;
                if self.count != COUNT_UNKNOWN {
                    self.cursor.expect_equal("a count of", self.seen, self.count)?;
                }
                return Ok(None);
            }
            LARGE_PREVIOUS => u32::from_le_bytes(self.cursor.array()?) as usize,
            small => usize::from(small),
        };
        self.cursor.expect_equal("a previous element of", self.last_size, previous)?;
        let element = self.element()?;
        self.last = start;
        self.last_size = self.cursor.position() - start;
        self.seen += 1;
        Ok(Some(element))
    }
}

/// A ziplist of elements that are already encoded, for tests.
#[cfg(test)]
pub(super) fn ziplist_of(elements: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    let (mut tail, mut previous) = (10, 0);
    for element in elements {
        tail = 10 + body.len();
        let start = body.len();
        if previous < 254 {
            body.push(previous as u8);
        } else {
            body.push(LARGE_PREVIOUS);
            body.extend((previous as u32).to_le_bytes());
        }
        body.extend_from_slice(element);
        previous = body.len() - start;
    }
    let total = (10 + body.len() + 1) as u32;
    let count = elements.len() as u16;
    let (tail, body) = (tail as u32, body.as_slice());
    [&total.to_le_bytes()[..], &tail.to_le_bytes(), &count.to_le_bytes(), body, &[END]].concat()
}

#[cfg(test)]
mod tests {
    use super::super::packed::collect;
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<String>, Reason> {
        collect(Ziplist::new(bytes)?)
    }

    #[test]
    fn each_encoding_of_an_element_is_read() {
        let long = "y".repeat(300);
        let elements: Vec<Vec<u8>> = vec![
            b"\x02hi".to_vec(),
            [b"\x41\x2c", long.as_bytes()].concat(),
            b"\x80\x00\x00\x00\x03abc".to_vec(),
            b"\xc0\x00\x80".to_vec(),
            b"\xd0\x00\x00\x00\x80".to_vec(),
            b"\xe0\0\0\0\0\0\0\0\x80".to_vec(),
            b"\xf0\xff\xff\xff".to_vec(),
            b"\xf1".to_vec(),
            b"\xfd".to_vec(),
            b"\xfe\x80".to_vec(),
        ];
        let slices: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
        let expected =
            ["hi", &long, "abc", "-32768", "-2147483648", "-9223372036854775808", "-1", "0", "12", "-128"];
        assert_eq!(read(&ziplist_of(&slices)).unwrap(), expected);
        assert!(read(&ziplist_of(&[])).unwrap().is_empty());
    }

    #[test]
    fn lies_are_refused() {
        let good = ziplist_of(&[b"\x02hi", b"\xf1"]);
        assert!(read(&good).is_ok());
        // Total, tail, count, previous size, length, encoding.
        for (at, value) in [(0, 99), (4, 11), (8, 3), (10, 1), (11, 60), (15, 0xc0)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(read(&bad).is_err(), "byte {at}");
        }
        for end in 0..good.len() {
            assert!(read(&good[..end]).is_err());
        }
    }
}
