//! Intsets, sorted integers of one width: read with full checks, and written.
//!
//! The width in bytes and the count, then the integers, little-endian.

use super::error::Reason;
use super::packed::{Cursor, Element, Packed};

pub(super) struct Intset<'a> {
    cursor: Cursor<'a>,
    width: usize,
    last: Option<i64>,
}

impl<'a> Intset<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Reason> {
        let mut cursor = Cursor::new(bytes, "intset");
        let width = match u32::from_le_bytes(cursor.array()?) {
            width @ (2 | 4 | 8) => width as usize,
            other => return Err(cursor.malformed("a width of 2, 4 or 8", other.to_string())),
        };
        let count = u32::from_le_bytes(cursor.array()?) as usize;
        let found = (bytes.len() - cursor.position()) / width;
        cursor.expect_equal("a count of", found, count)?;
        Ok(Self { cursor, width, last: None })
    }
}

impl<'a> Packed<'a> for Intset<'a> {
    fn next(&mut self) -> Result<Option<Element<'a>>, Reason> {
        if self.cursor.peek().is_none() {
            return Ok(None);
        }
        let number = match self.width {
            2 => i64::from(i16::from_le_bytes(self.cursor.array()?)),
            4 => i64::from(i32::from_le_bytes(self.cursor.array()?)),
            _ => i64::from_le_bytes(self.cursor.array()?),
        };
        if let Some(last) = self.last.filter(|&last| last >= number) {
            return Err(self.cursor.malformed(format!("a number above {last}"), number.to_string()));
        }
        self.last = Some(number);
        Ok(Some(Element::Int(number)))
    }
}

/// Replaces the contents of `out` by the intset of `numbers`, which ascend.
pub(super) fn write_intset(numbers: &[i64], out: &mut Vec<u8>) {
    let fits = |min: i64, max: i64| numbers.iter().all(|n| (min..=max).contains(n));
    let width: u32 = if fits(i64::from(i16::MIN), i64::from(i16::MAX)) {
        2
    } else if fits(i64::from(i32::MIN), i64::from(i32::MAX)) {
        4
    } else {
        8
    };
    out.clear();
    out.extend(width.to_le_bytes());
    out.extend((numbers.len() as u32).to_le_bytes());
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes()[..width as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::collect;
    use super::*;

    #[test]
    fn intsets_of_each_width_come_back() {
        for numbers in [vec![], vec![-1, 0, 5], vec![-32769, 7], vec![i64::MIN, 0, i64::MAX]] {
            let mut bytes = Vec::new();
            write_intset(&numbers, &mut bytes);
            let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
            assert_eq!(collect(Intset::new(&bytes).unwrap()).unwrap(), texts);
        }
    }

    #[test]
    fn intsets_out_of_order_or_size_are_refused() {
        let read = |bytes: &[u8]| Intset::new(bytes).and_then(collect);
        assert!(read(b"\x02\0\0\0\x02\0\0\0\x01\0\x02\0").is_ok());
        assert!(read(b"\x02\0\0\0\x02\0\0\0\x01\0\x01\0").is_err());
        assert!(read(b"\x02\0\0\0\x03\0\0\0\x01\0\x02\0").is_err());
        assert!(read(b"\x02\0\0\0\x01\0\0\0\x01\0\x02").is_err());
        assert!(read(b"\x03\0\0\0\x00\0\0\0").is_err());
        assert!(read(b"\x02\0\0").is_err());
    }
}
