//! Registers of six bits each, one behind the other, the lowest bits of each byte first.

use super::{Mark, REGISTERS};

const REGISTER_BITS: usize = 6;
const RANK_MAX: u8 = (1 << REGISTER_BITS) - 1;
pub(super) const REGISTER_BYTES: usize = REGISTERS * REGISTER_BITS / 8;

/// Four registers fill three bytes.
const GROUP: usize = 4;
const GROUP_BYTES: usize = GROUP * REGISTER_BITS / 8;

fn group_of(bytes: &[u8; GROUP_BYTES]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
}

fn rank_in(group: u32, place: usize) -> u8 {
    (group >> (place * REGISTER_BITS)) as u8 & RANK_MAX
}

pub(super) fn register(registers: &[u8], index: usize) -> u8 {
    let (groups, _) = registers.as_chunks::<GROUP_BYTES>();
    rank_in(group_of(&groups[index / GROUP]), index % GROUP)
}

/// Makes a register at least as high as `mark` wants it; whether it was lower.
pub(super) fn raise(registers: &mut [u8], mark: Mark) -> bool {
    let (groups, _) = registers.as_chunks_mut::<GROUP_BYTES>();
    let bytes = &mut groups[mark.index / GROUP];
    let (group, place) = (group_of(bytes), mark.index % GROUP);
    if rank_in(group, place) >= mark.rank {
        return false;
    }
    let shift = place * REGISTER_BITS;
    let raised = group & !(u32::from(RANK_MAX) << shift) | u32::from(mark.rank) << shift;
    bytes.copy_from_slice(&raised.to_le_bytes()[..GROUP_BYTES]);
    true
}

/// Calls `f` with the index and the rank of each register.
pub(super) fn each_register(registers: &[u8], mut f: impl FnMut(usize, u8)) {
    let (groups, _) = registers.as_chunks::<GROUP_BYTES>();
    for (number, bytes) in groups.iter().enumerate() {
        let group = group_of(bytes);
        for place in 0..GROUP {
            f(number * GROUP + place, rank_in(group, place));
        }
    }
}
