//! Taking many entries out of a table at random, with no step for any of them.
//!
//! How many entries each segment loses is drawn at once; which of them, when somebody asks for the segment. Until then
//! it is there as it was, with the seed of that draw. What was taken out is found by the same draw again, on whatever
//! thread.
//!
//! Every choice has the same chance. Each segment first loses a number that has the distribution of tossing a coin for
//! each of its entries. As long as that makes too few in all, another entry is chosen among those that nobody has
//! chosen, and as long as it makes too many, one of the chosen is let go: neither prefers any entry, so the choices of
//! one size stay equally likely, however fair the coin.

use super::segment::{ENTRIES_MAX, Segment};
use super::{Node, Slot, Table};
use crate::storage::cow::Cow;
use crate::storage::prefetch::prefetch;
use std::sync::{Arc, OnceLock};

/// Bits of the coin's chance: each costs a random word for 64 entries, and each one less twice as many to be chosen
/// one by one.
const CHANCE_BITS: u32 = 12;
/// Draws that wait for each other, at most.
const PENDING_MAX: u8 = 8;
/// How far ahead segments are prefetched.
const AHEAD: usize = 8;

/// A segment that has lost some of its entries.
pub(super) struct Thinned {
    before: Before,
    entries: u32,
    lost: u32,
    seed: u64,
    /// Draws that are pending below this one.
    pending: u8,
    rest: OnceLock<Cow<Segment>>,
}

enum Before {
    Segment(Cow<Segment>),
    Thinned(Arc<Thinned>),
}

/// What was taken out of a table.
pub struct Lost {
    parts: Vec<Arc<Thinned>>,
    len: usize,
}

impl Lost {
    pub fn count(&self) -> usize {
        self.len
    }

    /// Tells of all that was taken out, in no particular order.
    pub fn each(&self, mut tell: impl FnMut(&[u8], &[u8])) {
        for part in &self.parts {
            let mut draw = part.draw();
            part.before
                .segment()
                .iter()
                .filter(|_| draw.takes_next())
                .for_each(|(field, value)| tell(field, value));
        }
    }
}

impl Thinned {
    fn is_pending(&self) -> bool {
        self.rest.get().is_none()
    }

    /// The entries that are left.
    pub fn rest(&self) -> &Cow<Segment> {
        self.rest.get_or_init(|| {
            let mut draw = self.draw();
            let kept = (self.entries - self.lost) as usize;
            Cow::new(self.before.segment().filtered(kept, || !draw.takes_next()))
        })
    }

    fn draw(&self) -> Draw {
        Draw { rng: fastrand::Rng::with_seed(self.seed), entries: self.entries, lost: self.lost }
    }
}

impl Before {
    fn segment(&self) -> &Segment {
        match self {
            Self::Segment(segment) => segment,
            Self::Thinned(thinned) => thinned.rest(),
        }
    }
}

/// Which entries of a segment go: of those that are left, each with the same chance.
struct Draw {
    rng: fastrand::Rng,
    entries: u32,
    lost: u32,
}

impl Draw {
    fn takes_next(&mut self) -> bool {
        let takes = self.lost > 0 && self.rng.u32(..self.entries) < self.lost;
        self.entries -= 1;
        self.lost -= u32::from(takes);
        takes
    }
}

/// How many entries a segment has, and how many of them it is to lose.
struct Share {
    entries: u32,
    lost: u32,
}

impl Table {
    /// Takes `count` entries out, or all: every choice of as many has the same chance.
    pub fn thin(&mut self, count: usize, rng: &mut fastrand::Rng) -> Lost {
        let count = count.min(self.len);
        let mut slots = Vec::new();
        collect_slots(&mut self.root, &mut slots);
        let shares = share_out(&slots, count, self.len, rng);
        let losing = slots.into_iter().zip(shares).filter(|(_, share)| share.lost > 0);
        let parts = losing.map(|(slot, share)| thin_slot(slot, &share, rng.u64(..))).collect();
        self.len -= count;
        self.unsettled_from = Some(0);
        Lost { parts, len: count }
    }
}

fn collect_slots<'a>(node: &'a mut Node, slots: &mut Vec<&'a mut Slot>) {
    for slot in node {
        match slot {
            Slot::Alias => {}
            Slot::Node(below) => collect_slots(below.make_mut(), slots),
            Slot::Segment { .. } | Slot::Thinned { .. } => slots.push(slot),
        }
    }
}

fn share_out(slots: &[&mut Slot], count: usize, len: usize, rng: &mut fastrand::Rng) -> Vec<Share> {
    let chance = ((count as u128) << CHANCE_BITS) / (len.max(1) as u128);
    let chance = (chance as u32).min((1 << CHANCE_BITS) - 1);
    let mut lost_len = 0;
    let mut shares: Vec<Share> = Vec::with_capacity(slots.len());
    for (i, slot) in slots.iter().enumerate() {
        if let Some(later) = slots.get(i + AHEAD) {
            later.prefetch();
        }
        let entries = slot.entries_len();
        let lost = heads(entries, chance, rng);
        lost_len += lost as usize;
        shares.push(Share { entries, lost });
    }
    while lost_len != count {
        let share = &mut shares[rng.usize(..slots.len())];
        // An entry at random, of all there could be in a segment: it counts if it is there and can be changed over.
        let entry = rng.u32(..ENTRIES_MAX as u32);
        if lost_len < count && entry < share.entries - share.lost {
            share.lost += 1;
            lost_len += 1;
        } else if lost_len > count && entry < share.lost {
            share.lost -= 1;
            lost_len -= 1;
        }
    }
    shares
}

/// How many of `coins` show heads, each with a chance of `chance / 2^CHANCE_BITS`: 64 of them are tossed with a random
/// word for each binary digit of the chance.
fn heads(coins: u32, chance: u32, rng: &mut fastrand::Rng) -> u32 {
    if chance == 0 {
        return 0;
    }
    let mut heads = 0;
    let mut left = coins;
    while left > 0 {
        let tossed = left.min(u64::BITS);
        let mut shown = 0;
        for digit in chance.trailing_zeros()..CHANCE_BITS {
            let word = rng.u64(..);
            shown = if chance >> digit & 1 == 1 { shown | word } else { shown & word };
        }
        heads += (shown >> (u64::BITS - tossed)).count_ones();
        left -= tossed;
    }
    heads
}

fn thin_slot(slot: &mut Slot, share: &Share, seed: u64) -> Arc<Thinned> {
    let (depth, before, pending) = match std::mem::replace(slot, Slot::Alias) {
        Slot::Segment { depth, segment } => (depth, Before::Segment(segment), 0),
        Slot::Thinned { depth, thinned } if thinned.is_pending() && thinned.pending < PENDING_MAX => {
            let pending = thinned.pending + 1;
            (depth, Before::Thinned(thinned), pending)
        }
        Slot::Thinned { depth, thinned } => (depth, Before::Segment(thinned.rest().clone()), 0),
        Slot::Alias | Slot::Node(_) => unreachable!("only segments have a share"),
    };
    let Share { entries, lost } = *share;
    let thinned = Arc::new(Thinned { before, entries, lost, seed, pending, rest: OnceLock::new() });
    *slot = Slot::Thinned { depth, thinned: Arc::clone(&thinned) };
    thinned
}

impl Slot {
    /// Begins to load what `entries_len` reads.
    fn prefetch(&self) {
        match self {
            Self::Segment { segment, .. } => prefetch(Segment::place_of_len(segment.as_ptr())),
            Self::Thinned { thinned, .. } => prefetch(&raw const thinned.entries),
            Self::Alias | Self::Node(_) => {}
        }
    }

    fn entries_len(&self) -> u32 {
        match self {
            Self::Segment { segment, .. } => segment.len() as u32,
            Self::Thinned { thinned, .. } => thinned.entries - thinned.lost,
            Self::Alias | Self::Node(_) => unreachable!("only segments have entries"),
        }
    }

    /// Makes a thinned segment an ordinary one.
    pub(super) fn settle(&mut self) {
        if let Self::Thinned { depth, thinned } = self {
            *self = Self::Segment { depth: *depth, segment: thinned.rest().clone() };
        }
    }
}
