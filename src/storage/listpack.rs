//! The elements of listpacks, the packed lists of Redis 7, which streams are kept and saved in.
//!
//! A listpack is six bytes of header (total bytes, count), elements, `0xff`. An element is an encoding byte with its
//! data, and then the size of both, written so that it can be read backwards.

use bytes::BufMut;

use crate::base::number::parse_i64;

pub const HEADER_BYTES: usize = 6;
pub const END: u8 = 0xff;
/// The count of a listpack that holds at least so many: unknown.
pub const COUNT_UNKNOWN: usize = 0xffff;

/// One element: what reads as an integer is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The element as a string; digits are written to `digits`.
    pub fn as_bytes<'b>(&self, digits: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Self::Int(number) => digits.format(number).as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// The most bytes that an element takes besides those of its string, whatever it is.
pub const ELEMENT_OVERHEAD_MAX: usize = 10;

/// Appends a string as an element; a canonical integer is written as one, since Redis looks for it so.
pub fn push(out: &mut impl BufMut, element: &[u8]) {
    match parse_i64(element) {
        Some(number) => push_int(out, number),
        None => push_bytes(out, element),
    }
}

/// Appends an integer in its shortest encoding.
pub fn push_int(out: &mut impl BufMut, number: i64) {
    let mut append = |encoding: u8, data: &[u8]| {
        out.put_u8(encoding);
        out.put_slice(data);
        // One byte is enough for the length of any integer.
        out.put_u8(1 + data.len() as u8);
    };
    match number {
        0..=127 => append(number as u8, &[]),
        -4096..=4095 => {
            let [high, low] = (0xc000 | number as u16 & 0x1fff).to_be_bytes();
            append(high, &[low]);
        }
        -0x8000..=0x7fff => append(0xf1, &(number as i16).to_le_bytes()),
        -0x80_0000..=0x7f_ffff => append(0xf2, &(number as i32).to_le_bytes()[..3]),
        -0x8000_0000..=0x7fff_ffff => append(0xf3, &(number as i32).to_le_bytes()),
        _ => append(0xf4, &number.to_le_bytes()),
    }
}

fn push_bytes(out: &mut impl BufMut, element: &[u8]) {
    let prefix = match element.len() {
        length @ 0..=63 => {
            out.put_u8(0x80 | length as u8);
            1
        }
        length @ 64..=4095 => {
            out.put_u16(0xe000 | length as u16);
            2
        }
        length => {
            out.put_u8(0xf0);
            out.put_u32_le(length as u32);
            5
        }
    };
    out.put_slice(element);
    out.put_slice(backward_length(prefix + element.len(), &mut [0; 5]));
}

/// The size of an element as it stands behind it: seven bits a byte, the highest first.
pub fn backward_length(size: usize, out: &mut [u8; 5]) -> &[u8] {
    let count = backward_length_bytes(size);
    for (index, byte) in out[..count].iter_mut().enumerate() {
        let bits = (size >> (7 * (count - 1 - index))) as u8 & 0x7f;
        *byte = if index == 0 { bits } else { bits | 0x80 };
    }
    &out[..count]
}

fn backward_length_bytes(size: usize) -> usize {
    // The bounds are Redis', which spends a byte more than needed on the last number of each length.
    match size {
        0..=127 => 1,
        128..=16382 => 2,
        16383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// The element at `at` and where the next one begins; none if the bytes are no element. The backward length is not
/// looked at.
#[inline]
pub fn element_at(bytes: &[u8], at: usize) -> Option<(Element<'_>, usize)> {
    let first = *bytes.get(at)?;
    let data = |from: usize, length: usize| bytes.get(at + from..(at + from).checked_add(length)?);
    let little_endian = |length: usize| {
        let data = data(1, length)?;
        let mut whole = [if data[length - 1] & 0x80 == 0 { 0 } else { 0xff }; 8];
        whole[..length].copy_from_slice(data);
        Some((Element::Int(i64::from_le_bytes(whole)), 1 + length))
    };
    let (element, size) = match first {
        0x00..=0x7f => (Element::Int(i64::from(first)), 1),
        0x80..=0xbf => {
            let length = usize::from(first & 0x3f);
            (Element::Bytes(data(1, length)?), 1 + length)
        }
        0xc0..=0xdf => {
            let unsigned = u16::from(first & 0x1f) << 8 | u16::from(*bytes.get(at + 1)?);
            // Thirteen bits in two's complement.
            (Element::Int(i64::from((unsigned << 3) as i16 >> 3)), 2)
        }
        0xe0..=0xef => {
            let length = usize::from(first & 0x0f) << 8 | usize::from(*bytes.get(at + 1)?);
            (Element::Bytes(data(2, length)?), 2 + length)
        }
        0xf0 => {
            let length = u32::from_le_bytes(data(1, 4)?.try_into().ok()?) as usize;
            (Element::Bytes(data(5, length)?), 5 + length)
        }
        0xf1 => little_endian(2)?,
        0xf2 => little_endian(3)?,
        0xf3 => little_endian(4)?,
        0xf4 => little_endian(8)?,
        _ => return None,
    };
    Some((element, at + size + backward_length_bytes(size)))
}

/// As `element_at`, and the backward length must be right.
pub fn checked_element_at(bytes: &[u8], at: usize) -> Option<(Element<'_>, usize)> {
    let (element, next) = element_at(bytes, at)?;
    let size = (1..=5).map(|length| next - at - length).find(|&size| {
        // Exactly one length of the backward length fits the size in front of it.
        backward_length_bytes(size) == next - at - size
    })?;
    let mut expected = [0; 5];
    (bytes.get(at + size..next)? == backward_length(size, &mut expected)).then_some((element, next))
}

/// Where the element begins that ends at `end`, in a listpack that was checked.
#[inline]
pub fn start_of_element_before(bytes: &[u8], end: usize) -> usize {
    let (mut size, mut shift, mut at) = (0, 0, end - 1);
    loop {
        size |= usize::from(bytes[at] & 0x7f) << shift;
        if bytes[at] & 0x80 == 0 {
            return at - size;
        }
        shift += 7;
        at -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(elements: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        elements.iter().for_each(|element| push(&mut bytes, element));
        bytes
    }

    fn check(elements: &[Vec<u8>]) {
        let bytes = packed(elements);
        let (mut at, mut starts) = (0, Vec::new());
        for expected in elements {
            let (element, next) = checked_element_at(&bytes, at).unwrap();
            assert_eq!(element_at(&bytes, at), Some((element, next)));
            assert_eq!(element.as_bytes(&mut itoa::Buffer::new()), expected);
            starts.push(at);
            at = next;
        }
        assert_eq!(at, bytes.len());
        for &start in starts.iter().rev() {
            at = start_of_element_before(&bytes, at);
            assert_eq!(at, start);
        }
    }

    #[test]
    fn sizes_around_the_bounds_of_the_backward_length_are_walked_both_ways() {
        let lengths =
            [0, 1, 62, 63, 64, 125, 126, 127, 4095, 4096, 16377, 16378, 16379, 2_097_145, 2_097_146];
        check(&lengths.map(|length| vec![b'x'; length]));
    }

    #[test]
    fn what_is_no_element_is_none() {
        for bytes in [&b""[..], b"\x85hi\x03", b"\xf5\x01", b"\xff", b"\xf4\0\0", b"\xf0\xff\xff\xff\xff"] {
            assert_eq!(checked_element_at(bytes, 0), None, "{bytes:?}");
        }
        assert_eq!(checked_element_at(b"\x07\x02", 0), None, "backward length");
    }

    proptest! {
        #[test]
        fn elements_are_walked_both_ways(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            numbers in prop::collection::vec(any::<i64>(), 0..20),
            shift in 0u32..64,
        ) {
            let mut all = texts;
            all.extend(numbers.iter().map(|n| (n >> shift).to_string().into_bytes()));
            check(&all);
        }

        #[test]
        fn no_bytes_are_too_strange_to_look_at(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut at = 0;
            while let Some((_, next)) = checked_element_at(&bytes, at) {
                prop_assert!(next > at && next <= bytes.len());
                at = next;
            }
        }
    }
}
