//! How long strings grow: without a copy where that can be, and without much room to spare.

/// Below this a string doubles its room, as any vector does.
const DOUBLED_MAX: usize = 4 << 20;
/// Above, this share of it is kept in reserve. The allocator moves such a string by its pages, so that growing is cheap.
const SHARE_IN_RESERVE: usize = 8;

/// Appends `tail`.
pub fn extend(bytes: &mut Vec<u8>, tail: &[u8]) {
    reserve(bytes, tail.len());
    bytes.extend_from_slice(tail);
}

/// Makes a string `len` bytes long, with zeros at its end, unless it is that long already.
pub fn lengthen(bytes: &mut Vec<u8>, len: usize) {
    let more = len.saturating_sub(bytes.len());
    if more > bytes.len() && len > DOUBLED_MAX {
        // Fresh pages are zero already and take no memory until they are written.
        let mut longer = vec![0; len];
        longer[..bytes.len()].copy_from_slice(bytes);
        *bytes = longer;
    } else if more > 0 {
        reserve(bytes, more);
        bytes.resize(len, 0);
    }
}

fn reserve(bytes: &mut Vec<u8>, more: usize) {
    if bytes.capacity() - bytes.len() >= more {
        return;
    }
    let len = bytes.len() + more;
    if len < DOUBLED_MAX {
        bytes.reserve(more);
    } else {
        bytes.reserve_exact(more + len / SHARE_IN_RESERVE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_any_length_grow_by_any_length() {
        for old in [0, 1, 1000, DOUBLED_MAX - 1, DOUBLED_MAX + 1] {
            for more in [0, 1, 1000, DOUBLED_MAX, 3 * DOUBLED_MAX] {
                let (mut extended, mut lengthened) = (vec![7; old], vec![7; old]);
                extend(&mut extended, &vec![9; more]);
                lengthen(&mut lengthened, old + more);
                lengthen(&mut lengthened, old);
                let is = |bytes: &[u8], tail: u8| {
                    bytes.len() == old + more
                        && bytes[..old].iter().all(|&byte| byte == 7)
                        && bytes[old..].iter().all(|&byte| byte == tail)
                };
                assert!(is(&extended, 9) && is(&lengthened, 0), "{old} and {more}");
                assert!(old + more < DOUBLED_MAX || extended.capacity() <= (old + more) / 8 * 9 + 8);
            }
        }
    }
}
