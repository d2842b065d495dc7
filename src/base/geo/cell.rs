//! Geohash cells: the map halved again and again, east from west and north from south.
//!
//! After `step` halvings of each kind a cell is named by `2 * step` bits, those of the longitude and of the latitude in
//! turn, the longitude's first. The cells of the last step are the scores of sorted sets; a larger cell is a range of them.

use super::{LATITUDE_MAX, LONGITUDE_MAX, Point};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The column, counted from the west. The eastern edge of the map lies in a column behind the last.
    x: u32,
    /// The row, counted from the south; the northern edge lies in a row behind the last.
    y: u32,
    step: u32,
}

/// The edges of a cell, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Edges {
    pub west: f64,
    pub east: f64,
    pub south: f64,
    pub north: f64,
}

impl Cell {
    /// Steps after which a cell's bits still fit the 53 bits of a score.
    pub const STEP_MAX: u32 = 26;

    /// The cell that a place on the map lies in.
    pub fn of(point: Point, step: u32) -> Self {
        Self::in_map_up_to(point, step, LATITUDE_MAX)
    }

    /// The same in a map that goes further north and south.
    pub(super) fn in_map_up_to(point: Point, step: u32, latitude_max: f64) -> Self {
        let cells = (1u64 << step) as f64;
        let place = |degrees: f64, max: f64| ((degrees + max) / (max + max) * cells) as u32;
        Self { x: place(point.longitude, LONGITUDE_MAX), y: place(point.latitude, latitude_max), step }
    }

    /// The smallest cell, of a score. Numbers that are none turn into bits as they do in C on x86-64.
    pub(super) fn of_score(score: f64) -> Self {
        const TWO_TO_63: f64 = (1u64 << 63) as f64;
        let bits = if score < TWO_TO_63 {
            score as i64 as u64
        } else if score < 2.0 * TWO_TO_63 {
            score as u64
        } else if score.is_nan() {
            1 << 63
        } else {
            0
        };
        Self { x: every_second_bit(bits >> 1), y: every_second_bit(bits), step: Self::STEP_MAX }
    }

    pub fn step(&self) -> u32 {
        self.step
    }

    pub(super) fn bits(&self) -> u64 {
        spread(self.x) << 1 | spread(self.y)
    }

    /// The lowest score inside.
    pub fn first_score(&self) -> u64 {
        self.bits() << (2 * (Self::STEP_MAX - self.step))
    }

    /// The lowest score behind.
    pub fn end_score(&self) -> u64 {
        (self.bits() + 1) << (2 * (Self::STEP_MAX - self.step))
    }

    /// The cell so many columns to the east and rows to the north; beyond an edge of the map it is on the other side.
    pub(super) fn neighbor(&self, east: i32, north: i32) -> Self {
        let mask = (1u32 << self.step) - 1;
        let moved = |place: u32, by: i32| if by == 0 { place } else { place.wrapping_add_signed(by) & mask };
        Self { x: moved(self.x, east), y: moved(self.y, north), step: self.step }
    }

    pub(super) fn edges(&self) -> Edges {
        let cells = (1u64 << self.step) as f64;
        let degrees = |place: u32, max: f64| -max + f64::from(place) / cells * (max + max);
        Edges {
            west: degrees(self.x, LONGITUDE_MAX),
            east: degrees(self.x.wrapping_add(1), LONGITUDE_MAX),
            south: degrees(self.y, LATITUDE_MAX),
            north: degrees(self.y.wrapping_add(1), LATITUDE_MAX),
        }
    }

    /// The place in the middle, kept on the map.
    pub fn center(&self) -> Point {
        let Edges { west, east, south, north } = self.edges();
        Point {
            longitude: ((west + east) / 2.0).clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: ((south + north) / 2.0).clamp(-LATITUDE_MAX, LATITUDE_MAX),
        }
    }
}

/// Puts a zero in front of every bit.
fn spread(n: u32) -> u64 {
    const STEPS: [(u32, u64); 5] = [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ];
    STEPS.into_iter().fold(u64::from(n), |n, (shift, mask)| (n | n << shift) & mask)
}

/// The reverse of `spread`; looks at the even bits only.
fn every_second_bit(n: u64) -> u32 {
    const STEPS: [(u32, u64); 5] = [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ];
    let even = n & 0x5555_5555_5555_5555;
    STEPS.into_iter().fold(even, |n, (shift, mask)| (n | n >> shift) & mask) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_are_spread_and_gathered(n: u32) {
            prop_assert_eq!(every_second_bit(spread(n)), n);
            prop_assert_eq!(every_second_bit(spread(n) << 1), 0);
            for bit in 0..32 {
                prop_assert_eq!(spread(n) >> (2 * bit) & 1, u64::from(n >> bit & 1));
            }
        }

        #[test]
        fn a_place_lies_in_its_cell(
            longitude in -LONGITUDE_MAX..LONGITUDE_MAX,
            latitude in -LATITUDE_MAX..LATITUDE_MAX,
            step in 1u32..=26,
        ) {
            let cell = Cell::of(Point { longitude, latitude }, step);
            let edges = cell.edges();
            prop_assert!((edges.west..=edges.east).contains(&longitude));
            prop_assert!((edges.south..=edges.north).contains(&latitude));
            let smallest = Cell::of(Point { longitude, latitude }, Cell::STEP_MAX).first_score();
            prop_assert!((cell.first_score()..cell.end_score()).contains(&smallest));
        }
    }

    #[test]
    fn neighbors_go_around_the_map() {
        let cell = Cell { x: 0, y: 7, step: 3 };
        assert_eq!(cell.neighbor(-1, 1), Cell { x: 7, y: 0, step: 3 });
        assert_eq!(cell.neighbor(1, -1), Cell { x: 1, y: 6, step: 3 });
        // The edge of the map itself lies behind the last row, until a step is taken from there.
        let edge = Cell { x: 3, y: 8, step: 3 };
        assert_eq!(edge.neighbor(1, 0), Cell { x: 4, y: 8, step: 3 });
        assert_eq!(edge.neighbor(0, -1), Cell { x: 3, y: 7, step: 3 });
    }
}
