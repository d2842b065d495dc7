//! The checksum at the end of RDB files and DUMP payloads: CRC-64 with the Jones polynomial, reflected,
//! zero at the start and at the end.

use crc_fast::{CrcAlgorithm, Digest};

/// Extends `crc` (0 for the empty input) by `data`.
pub fn update(crc: u64, data: &[u8]) -> u64 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc64Redis, crc);
    digest.update(data);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::update;

    /// The polynomial without its leading term, bit-reversed.
    const JONES: u64 = 0x95ac_9329_ac4b_c9b5;

    fn bit_by_bit(crc: u64, data: &[u8]) -> u64 {
        data.iter().fold(crc, |crc, &byte| {
            (0..8).fold(crc ^ u64::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { JONES } else { 0 })
        })
    }

    #[test]
    fn check_value_is_redis() {
        assert_eq!(update(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    proptest! {
        #[test]
        fn every_length_and_start_equals_the_definition(
            data in prop::collection::vec(any::<u8>(), 0..2000),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = bit_by_bit(0, &data);
            prop_assert_eq!(update(0, &data), whole);
            let (head, tail) = data.split_at(cut.index(data.len() + 1));
            prop_assert_eq!(update(update(0, head), tail), whole);
        }
    }
}
