//! The checksum at the end of RDB files and DUMP payloads: CRC-64 with the Jones polynomial, reflected,
//! zero at the start and at the end.

use crc::{CRC_64_REDIS, Crc, Table};

static CRC64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// Extends `crc` (0 for the empty input) by `data`.
pub fn update(crc: u64, data: &[u8]) -> u64 {
    // The algorithm is reflected and has no final xor, so a finished value, bit-reversed, is a valid start.
    let mut digest = CRC64.digest_with_initial(crc.reverse_bits());
    digest.update(data);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::update;

    #[test]
    fn check_value_is_redis() {
        assert_eq!(update(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn pieces_equal_the_whole() {
        assert_eq!(update(update(0, b"1234"), b"56789"), update(0, b"123456789"));
    }
}
