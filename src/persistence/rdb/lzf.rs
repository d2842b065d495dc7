//! The LZF compression of long strings in RDB files: short back references, made for speed.
//!
//! A control byte below 32 says that one more than so many literal bytes follow. Otherwise its upper three
//! bits are the length of a match minus two (seven: a byte to add follows), its lower five bits and the
//! next byte the distance minus one.

use super::error::Reason;

const LITERALS_MAX: usize = 32;
const MATCH_BYTES_MAX: usize = 264;
const DISTANCE_MAX: usize = 1 << 13;
const HASH_BITS: u32 = 13;

/// Replaces the contents of `out` by the decompressed `input`, which must have exactly `length` bytes.
pub(super) fn decompress(input: &[u8], length: u64, out: &mut Vec<u8>) -> Result<(), Reason> {
    out.clear();
    // A longest match takes three bytes; nothing is denser.
    let possible = (input.len() as u64).saturating_mul(MATCH_BYTES_MAX as u64 / 3);
    let Some(length) = usize::try_from(length).ok().filter(|&n| n as u64 <= possible) else {
        return Err(Reason::malformed(
            format!("at most {possible} bytes out of {} compressed ones", input.len()),
            format!("a claim of {length}"),
        ));
    };
    out.reserve(length);
    let mut rest = input;
    while let [control, tail @ ..] = rest {
        rest = tail;
        let count = usize::from(*control);
        if count < LITERALS_MAX {
            let literals = rest.get(..count + 1).ok_or_else(cut_short)?;
            if out.len() + literals.len() > length {
                return Err(too_long(length));
            }
            out.extend_from_slice(literals);
            rest = &rest[count + 1..];
            continue;
        }
        let mut matched = (count >> 5) + 2;
        if matched == 9 {
            let [more, tail @ ..] = rest else { return Err(cut_short()) };
            matched += usize::from(*more);
            rest = tail;
        }
        let [low, tail @ ..] = rest else { return Err(cut_short()) };
        rest = tail;
        let distance = ((count & 0x1f) << 8 | usize::from(*low)) + 1;
        if out.len() + matched > length {
            return Err(too_long(length));
        }
        let Some(from) = out.len().checked_sub(distance) else {
            return Err(Reason::malformed(
                "a compressed string that refers to bytes before",
                format!("a distance of {distance} after {} bytes", out.len()),
            ));
        };
        copy_within(out, from, matched);
    }
    if out.len() != length {
        return Err(Reason::malformed(
            format!("{length} bytes out of a compressed string"),
            out.len().to_string(),
        ));
    }
    Ok(())
}

/// Appends `count` bytes that start at `from`; they may overlap those being appended.
fn copy_within(out: &mut Vec<u8>, from: usize, count: usize) {
    if from + 1 == out.len() {
        return out.resize(out.len() + count, out[from]);
    }
    let mut remaining = count;
    while remaining > 0 {
        // The run between `from` and the end repeats, so what is there may be copied whole, doubling it.
        let piece = remaining.min(out.len() - from);
        out.extend_from_within(from..from + piece);
        remaining -= piece;
    }
}

fn cut_short() -> Reason {
    Reason::malformed("more of a compressed string", "its end")
}

fn too_long(length: usize) -> Reason {
    Reason::malformed(format!("{length} bytes out of a compressed string"), "more")
}

/// A compressor that keeps its table from string to string: clearing it costs more than a short string does.
#[derive(Default)]
pub(super) struct Compressor {
    /// Where three bytes of this hash were last seen, plus `base`; below `base` it was in an earlier string.
    table: Vec<u32>,
    base: u32,
}

impl Compressor {
    /// Replaces the contents of `out`; false if the result would not be at least four bytes shorter.
    pub(super) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        let (Some(out_max), Ok(length)) = (input.len().checked_sub(4), u32::try_from(input.len())) else {
            return false;
        };
        self.prepare(length);
        let base = self.base as usize;
        self.base += length;
        let mut literals_from = 0;
        let mut at = 0;
        while at + 3 <= input.len() {
            let slot = slot_of_three(&input[at..]);
            let candidate = (self.table[slot] as usize).checked_sub(base);
            self.table[slot] = (base + at) as u32;
            let matched = candidate.map_or(0, |candidate| match_length(input, candidate, at));
            let Some(candidate) = candidate.filter(|_| matched >= 3) else {
                // Strides grow where nothing repeats.
                at += 1 + ((at - literals_from) >> 7);
                continue;
            };
            append_literals(out, &input[literals_from..at]);
            append_match(out, at - candidate, matched);
            if out.len() > out_max {
                return false;
            }
            at += matched;
            literals_from = at;
            if at + 1 < input.len() {
                self.table[slot_of_three(&input[at - 1..])] = (base + at - 1) as u32;
            }
        }
        append_literals(out, &input[literals_from..]);
        out.len() <= out_max
    }

    fn prepare(&mut self, length: u32) {
        if self.table.is_empty() {
            self.table = vec![0; 1 << HASH_BITS];
            self.base = 1;
        }
        if self.base.checked_add(length).is_none() {
            self.table.fill(0);
            self.base = 1;
        }
    }
}

/// The table slot of the first three bytes.
#[inline]
fn slot_of_three(bytes: &[u8]) -> usize {
    let three = u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]);
    (three.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

/// How many bytes at `at` repeat those at `candidate`; 0 if that is too far back.
#[inline]
fn match_length(input: &[u8], candidate: usize, at: usize) -> usize {
    if at - candidate > DISTANCE_MAX {
        return 0;
    }
    let matches = input[candidate..].iter().zip(&input[at..]).take(MATCH_BYTES_MAX);
    matches.take_while(|(a, b)| a == b).count()
}

fn append_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

fn append_match(out: &mut Vec<u8>, distance: usize, matched: usize) {
    let (distance, length) = (distance - 1, matched - 2);
    let high = (distance >> 8) as u8;
    if length < 7 {
        out.push((length as u8) << 5 | high);
    } else {
        out.extend([0xe0 | high, (length - 7) as u8]);
    }
    out.push(distance as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(compressor: &mut Compressor, input: &[u8]) -> Option<usize> {
        let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
        let compressed = compressor.compress(input, &mut packed);
        compressed.then(|| {
            decompress(&packed, input.len() as u64, &mut unpacked).unwrap();
            assert_eq!(unpacked, input);
            packed.len()
        })
    }

    #[test]
    fn repetitions_shrink_and_noise_is_left_alone() {
        let mut compressor = Compressor::default();
        assert!(round_trip(&mut compressor, &[b'x'; 100_000]).unwrap() < 1200);
        assert!(round_trip(&mut compressor, &b"the quick brown fox ".repeat(50)).unwrap() < 60);
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..100_000).map(|_| random.u8(..)).collect();
        assert_eq!(round_trip(&mut compressor, &noise), None);
        assert_eq!(round_trip(&mut compressor, b""), None);
        assert_eq!(round_trip(&mut compressor, b"aaaa"), None);
    }

    #[test]
    fn the_result_does_not_depend_on_the_strings_before() {
        let text = b"one two three one two three one two three";
        let (mut fresh, mut used) = (Vec::new(), Vec::new());
        assert!(Compressor::default().compress(text, &mut fresh));
        let mut compressor = Compressor::default();
        compressor.compress(b"three two one three two one", &mut used);
        compressor.base = u32::MAX - 10;
        assert!(compressor.compress(text, &mut used));
        assert_eq!(fresh, used);
    }

    #[test]
    fn broken_input_is_refused() {
        let mut out = Vec::new();
        for (input, length) in [
            (&b""[..], 1),
            (b"\x00", 1),
            (b"\x00ab", 1),
            (b"\x20\x00", 3),
            (b"\x00a\x20", 4),
            (b"\x00a\xe0", 10),
            (b"\x00a\x20\x01", 4),
            (b"\x00a\x20\x00", 3),
            (b"\x00a", 1 << 40),
        ] {
            assert!(decompress(input, length, &mut out).is_err(), "{input:?}");
        }
        assert!(decompress(b"", 0, &mut out).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(
            inputs in prop::collection::vec(prop::collection::vec(0u8..4, 0..600), 1..4)
        ) {
            let mut compressor = Compressor::default();
            for input in &inputs {
                round_trip(&mut compressor, input);
            }
        }
    }
}
