//! Zipmaps, the packed hashes before Redis 2.6: read with full checks.
//!
//! A count, then fields and values in turn, then `0xff`.

use super::error::Reason;
use super::packed::{Cursor, Element, Packed};

/// Fields and values in turn: a length, the bytes, and for values some that are unused.
pub(super) struct Zipmap<'a> {
    cursor: Cursor<'a>,
    count: usize,
    seen: usize,
    value_follows: bool,
}

const END: u8 = 0xff;
/// Announces a length of four bytes; as a count it means that there are at least so many.
const LARGE: u8 = 0xfe;

impl<'a> Zipmap<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Reason> {
        let mut cursor = Cursor::new(bytes, "zipmap");
        let count = usize::from(cursor.byte()?);
        Ok(Self { cursor, count, seen: 0, value_follows: false })
    }
}

impl<'a> Packed<'a> for Zipmap<'a> {
    fn next(&mut self) -> Result<Option<Element<'a>>, Reason> {
        let length = match self.cursor.byte()? {
            END if !self.value_follows => {
                self.cursor.finish()?;
                if self.count < usize::from(LARGE) {
                    self.cursor.expect_equal("a count of", self.seen, self.count)?;
                }
                return Ok(None);
            }
            END => return Err(self.cursor.malformed("a value", "the end")),
            LARGE => match u32::from_le_bytes(self.cursor.array()?) as usize {
                short if short < usize::from(LARGE) => {
                    return Err(self.cursor.malformed("a length of one byte", "one of five"));
                }
                length => length,
            },
            small => usize::from(small),
        };
        let unused = if self.value_follows { usize::from(self.cursor.byte()?) } else { 0 };
        let bytes = self.cursor.take(length)?;
        self.cursor.take(unused)?;
        self.seen += usize::from(self.value_follows);
        self.value_follows = !self.value_follows;
        Ok(Some(Element::Bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::collect;
    use super::*;

    #[test]
    fn zipmaps_are_read_and_checked() {
        let read = |bytes: &[u8]| Zipmap::new(bytes).and_then(collect);
        assert_eq!(read(b"\x01\x01f\x02\x03vv...\xff").unwrap(), ["f", "vv"]);
        let long = "v".repeat(254);
        let bytes = [b"\xfe\x01f\xfe\xfe\0\0\0\0", long.as_bytes(), b"\xff"].concat();
        assert_eq!(read(&bytes).unwrap(), ["f", &long]);
        assert_eq!(read(b"\x00\xff").unwrap(), [""; 0]);
        for bad in [
            &b""[..],
            b"\x01",
            b"\x02\x01f\x01\0v\xff",
            b"\x01\x01f\xff",
            b"\x01\x01f\x01\0v",
            b"\x01\x01f\x05\0v\xff",
            b"\x01\x01f\x01\x09v\xff",
            b"\x01\x01f\x01\0v\xff\xff",
            b"\x01\xfe\x01\0\0\0f\x01\0v\xff",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
