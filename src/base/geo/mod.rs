//! Places on the globe: distances, geohash cells, and which cells cover an area.
//!
//! All arithmetic is done in the order in which Redis does it, so that distances and coordinates agree to the last digit.

mod area;
mod cell;

pub use area::{Area, Shape};
pub use cell::Cell;

/// Beyond these latitudes the Mercator projection, a square of the longitudes, does not reach.
pub const LATITUDE_MAX: f64 = 85.05112878;
pub const LONGITUDE_MAX: f64 = 180.0;

/// The earth's quadratic mean radius, as WGS-84 has it.
const EARTH_RADIUS_METERS: f64 = 6_372_797.560856;

/// In degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

impl Point {
    pub fn new(longitude: f64, latitude: f64) -> Self {
        Self { longitude, latitude }
    }

    /// Whether a cell can hold it.
    pub fn is_on_map(&self) -> bool {
        self.longitude.abs() <= LONGITUDE_MAX && self.latitude.abs() <= LATITUDE_MAX
    }

    /// The place that a score of a sorted set stands for. Every number stands for some place.
    pub fn of_score(score: f64) -> Self {
        Cell::of_score(score).center()
    }

    /// The score that stands for it, which must be on the map.
    pub fn score(&self) -> u64 {
        Cell::of(*self, Cell::STEP_MAX).first_score()
    }

    /// The great circle distance in meters (haversine).
    pub fn distance_meters(&self, other: Point) -> f64 {
        let v = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance_meters(self.latitude, other.latitude);
        }
        let (latitude, other_latitude) = (radians(self.latitude), radians(other.latitude));
        let u = ((other_latitude - latitude) / 2.0).sin();
        let a = u * u + latitude.cos() * other_latitude.cos() * v * v;
        2.0 * EARTH_RADIUS_METERS * a.sqrt().asin()
    }

    /// The geohash of eleven letters that others know, of which the last is always `0`: the cell of a place has 52 bits.
    pub fn geohash(&self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        const LATITUDE_STANDARD_MAX: f64 = 90.0;
        let bits = Cell::in_map_up_to(*self, Cell::STEP_MAX, LATITUDE_STANDARD_MAX).bits();
        std::array::from_fn(|i| {
            let shift = (2 * Cell::STEP_MAX as usize).checked_sub(5 * (i + 1));
            ALPHABET[shift.map_or(0, |shift| (bits >> shift) as usize % ALPHABET.len())]
        })
    }
}

fn latitude_distance_meters(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_METERS * (radians(b) - radians(a)).abs()
}

/// A degree in radians; `f64::to_radians` rounds otherwise.
const DEGREE: f64 = std::f64::consts::PI / 180.0;

fn radians(degrees: f64) -> f64 {
    degrees * DEGREE
}

fn degrees(radians: f64) -> f64 {
    radians / DEGREE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_and_geohashes_are_those_of_the_command_reference() {
        let (palermo, catania) = (Point::new(13.361389, 38.115556), Point::new(15.087269, 37.502669));
        assert_eq!((palermo.score(), catania.score()), (3479099956230698, 3479447370796909));
        let (palermo, catania) = (Point::of_score(3479099956230698.0), Point::of_score(3479447370796909.0));
        assert_eq!(format!("{:.4}", palermo.distance_meters(catania)), "166274.1516");
        assert_eq!(&palermo.geohash(), b"sqc8b49rny0");
        assert_eq!(&catania.geohash(), b"sqdtr74hyu0");
    }

    #[test]
    fn any_score_is_a_place_on_the_map() {
        for score in [0.0, -1.0, 1.5, 1e15, 1e19, 1e300, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Point::of_score(score).is_on_map(), "{score}");
        }
    }
}
