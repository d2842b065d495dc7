//! Bits of byte strings, numbered as Redis numbers them: bit 0 is the highest one of byte 0.
//!
//! Whatever may run over megabytes goes word by word. What lies behind the end of a string reads as zero.

use std::ops::Range;

const WORD_BYTES: usize = size_of::<u64>();

/// Widest field that `field` and `set_field` know.
const FIELD_BITS_MAX: u32 = 64;

/// The bit at `at`.
pub fn bit(bytes: &[u8], at: u64) -> bool {
    let byte = usize::try_from(at / 8).ok().and_then(|index| bytes.get(index));
    byte.is_some_and(|byte| byte & mask_of(at) != 0)
}

/// Sets the bit at `at`, which must lie inside.
pub fn set_bit(bytes: &mut [u8], at: u64, on: bool) {
    let byte = &mut bytes[(at / 8) as usize];
    if on { *byte |= mask_of(at) } else { *byte &= !mask_of(at) }
}

fn mask_of(at: u64) -> u8 {
    0x80 >> (at % 8)
}

/// How many bits are set.
pub fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
    let of_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    of_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// How many bits of `range` are set; it must lie inside.
pub fn count_ones_in(bytes: &[u8], range: Range<u64>) -> u64 {
    match edges(range) {
        Edges::None => 0,
        Edges::Within { byte, mask } => u64::from((bytes[byte] & mask).count_ones()),
        Edges::Across { first, first_mask, last, last_mask } => {
            u64::from((bytes[first] & first_mask).count_ones())
                + count_ones(&bytes[first + 1..last])
                + u64::from((bytes[last] & last_mask).count_ones())
        }
    }
}

/// The first bit of `range` that is `wanted`; the range must lie inside.
pub fn position(bytes: &[u8], wanted: bool, range: Range<u64>) -> Option<u64> {
    // A byte without any of what is looked for; against it, a bit that is looked for is a set one.
    let dull = if wanted { 0 } else { 0xff };
    let in_byte = |byte: usize, mask: u8| {
        let found = (bytes[byte] ^ dull) & mask;
        (found != 0).then(|| byte as u64 * 8 + u64::from(found.leading_zeros()))
    };
    match edges(range) {
        Edges::None => None,
        Edges::Within { byte, mask } => in_byte(byte, mask),
        Edges::Across { first, first_mask, last, last_mask } => in_byte(first, first_mask)
            .or_else(|| {
                let at = first_byte_other_than(&bytes[first + 1..last], dull)?;
                in_byte(first + 1 + at, 0xff)
            })
            .or_else(|| in_byte(last, last_mask)),
    }
}

fn first_byte_other_than(bytes: &[u8], dull: u8) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
    let from = match words.iter().position(|word| *word != [dull; WORD_BYTES]) {
        Some(word) => word * WORD_BYTES,
        None => bytes.len() - rest.len(),
    };
    Some(from + bytes[from..].iter().position(|&byte| byte != dull)?)
}

/// A range of bits as bytes, the first and the last of them in part.
enum Edges {
    None,
    Within { byte: usize, mask: u8 },
    Across { first: usize, first_mask: u8, last: usize, last_mask: u8 },
}

fn edges(range: Range<u64>) -> Edges {
    if range.is_empty() {
        return Edges::None;
    }
    let end = range.end - 1;
    let (first, last) = ((range.start / 8) as usize, (end / 8) as usize);
    let first_mask = 0xff >> (range.start % 8);
    let last_mask = 0xff << (7 - end % 8);
    if first == last {
        Edges::Within { byte: first, mask: first_mask & last_mask }
    } else {
        Edges::Across { first, first_mask, last, last_mask }
    }
}

/// The `width` bits from `at` on as a number, the first of them the highest.
pub fn field(bytes: &[u8], at: u64, width: u32) -> u64 {
    debug_assert!((1..=FIELD_BITS_MAX).contains(&width));
    let window = u128::from_be_bytes(window(bytes, at));
    (window << (at % 8) >> (u128::BITS - width)) as u64
}

/// Writes the low `width` bits of `value` from `at` on, which must lie inside.
pub fn set_field(bytes: &mut [u8], at: u64, width: u32, value: u64) {
    debug_assert!((1..=FIELD_BITS_MAX).contains(&width));
    let shift = u128::BITS - width - (at % 8) as u32;
    let mask = (u128::MAX >> (u128::BITS - width)) << shift;
    let old = u128::from_be_bytes(window(bytes, at));
    let new = (old & !mask) | (u128::from(value) << shift & mask);
    let first = (at / 8) as usize;
    let touched = ((at % 8) as usize + width as usize).div_ceil(8);
    bytes[first..first + touched].copy_from_slice(&new.to_be_bytes()[..touched]);
}

/// Sixteen bytes from the one on that bit `at` lies in.
fn window(bytes: &[u8], at: u64) -> [u8; 16] {
    let mut window = [0; 16];
    let from = usize::try_from(at / 8).map_or(bytes.len(), |from| from.min(bytes.len()));
    let len = (bytes.len() - from).min(window.len());
    window[..len].copy_from_slice(&bytes[from..from + len]);
    window
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The model: a vector of bits.
    fn bits_of(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().flat_map(|byte| (0..8).map(move |i| byte & (0x80 >> i) != 0)).collect()
    }

    fn bytes_with_a_range() -> impl Strategy<Value = (Vec<u8>, Range<u64>)> {
        let byte = prop_oneof![4 => Just(0u8), 4 => Just(0xff), 1 => any::<u8>()];
        prop::collection::vec(byte, 0..64).prop_flat_map(|bytes| {
            let len = bytes.len() as u64 * 8;
            (Just(bytes), 0..=len, 0..=len).prop_map(|(bytes, a, b)| (bytes, a.min(b)..a.max(b)))
        })
    }

    proptest! {
        #[test]
        fn ranges_are_counted_and_searched_as_a_vector_of_bits((bytes, range) in bytes_with_a_range()) {
            let model = bits_of(&bytes);
            let part = &model[range.start as usize..range.end as usize];
            let ones = part.iter().filter(|&&bit| bit).count() as u64;
            prop_assert_eq!(count_ones_in(&bytes, range.clone()), ones);
            for wanted in [false, true] {
                let found = part.iter().position(|&bit| bit == wanted).map(|at| at as u64 + range.start);
                prop_assert_eq!(position(&bytes, wanted, range.clone()), found);
            }
            prop_assert_eq!(count_ones(&bytes), model.iter().filter(|&&bit| bit).count() as u64);
        }

        #[test]
        fn a_field_is_its_bits(
            mut bytes in prop::collection::vec(any::<u8>(), 0..32),
            at in 0u64..256,
            width in 1u32..=64,
            value: u64,
        ) {
            let mut model = bits_of(&bytes);
            let len = model.len();
            model.resize(len.max(at as usize + 64), false);
            let read = (0..width).fold(0u64, |n, i| n << 1 | u64::from(model[at as usize + i as usize]));
            prop_assert_eq!(field(&bytes, at, width), read);
            if at as usize + width as usize <= len {
                for i in 0..width {
                    model[at as usize + i as usize] = value >> (width - 1 - i) & 1 == 1;
                }
                set_field(&mut bytes, at, width, value);
                prop_assert_eq!(bits_of(&bytes), &model[..len]);
            }
        }

        #[test]
        fn one_bit_is_set_and_read(mut bytes in prop::collection::vec(any::<u8>(), 1..16), at in 0u64..128, on: bool) {
            let mut model = bits_of(&bytes);
            match model.get_mut(at as usize) {
                Some(place) => {
                    prop_assert_eq!(bit(&bytes, at), *place);
                    *place = on;
                    set_bit(&mut bytes, at, on);
                    prop_assert_eq!(bits_of(&bytes), model);
                }
                None => prop_assert!(!bit(&bytes, at)),
            }
        }
    }
}
