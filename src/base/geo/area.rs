//! Circles and boxes on the globe, and the few cells in which everything inside of them must lie.

use super::cell::{Cell, Edges};
use super::{EARTH_RADIUS_METERS, Point, degrees, latitude_distance_meters, radians};

/// Lengths are in a unit of the client's choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

/// A shape around a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    pub center: Point,
    pub shape: Shape,
    /// How many meters the unit of the shape has.
    pub unit_meters: f64,
}

/// Half the circumference of the Mercator map at the equator.
const MERCATOR_MAX_METERS: f64 = 20_037_726.37;

/// The cell of the center is looked at first, then those around it: columns to the east and rows to the north.
const AROUND: [(i32, i32); 8] = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];

impl Area {
    /// How far `point` is from the center, if it is inside.
    pub fn distance_if_inside_meters(&self, point: Point) -> Option<f64> {
        let (center, unit) = (self.center, self.unit_meters);
        match self.shape {
            Shape::Circle { radius } => {
                let distance = center.distance_meters(point);
                // A distance that is no number, between antipodes, counts as inside.
                let is_outside = distance > radius * unit;
                (!is_outside).then_some(distance)
            }
            Shape::Box { width, height } => {
                if latitude_distance_meters(point.latitude, center.latitude) > height * unit / 2.0 {
                    return None;
                }
                let aside = Point::new(center.longitude, point.latitude);
                let is_outside = point.distance_meters(aside) > width * unit / 2.0;
                (!is_outside).then(|| center.distance_meters(point))
            }
        }
    }

    /// Cells that together cover the area, at most nine of one size, in the order in which they are to be searched.
    pub fn cells(&self) -> Vec<Cell> {
        let bounds = self.bounds();
        let mut cell = Cell::of(self.center, self.step());
        // Near an edge of its cell, a neighbor may not reach far enough.
        let reaches = |east, north| cell.neighbor(east, north).edges();
        let is_too_small = reaches(0, 1).north < bounds.north
            || reaches(0, -1).south > bounds.south
            || reaches(1, 0).east < bounds.east
            || reaches(-1, 0).west > bounds.west;
        if cell.step() > 1 && is_too_small {
            cell = Cell::of(self.center, cell.step() - 1);
        }

        let edges = cell.edges();
        let is_useless = |&(east, north): &(i32, i32)| {
            cell.step() >= 2
                && (north < 0 && edges.south < bounds.south
                    || north > 0 && edges.north > bounds.north
                    || east < 0 && edges.west < bounds.west
                    || east > 0 && edges.east > bounds.east)
        };
        let mut around: Vec<Cell> = AROUND
            .iter()
            .filter(|place| !is_useless(place))
            .map(|&(east, north)| cell.neighbor(east, north))
            .collect();
        // Where the map is only two cells wide, the neighbors on both sides are the same.
        around.dedup();
        around.insert(0, cell);
        around
    }

    /// How finely the map must be divided for nine cells to cover the area.
    fn step(&self) -> u32 {
        let mut range = self.reach_meters();
        if range == 0.0 {
            return Cell::STEP_MAX;
        }
        let mut step = 1;
        while range < MERCATOR_MAX_METERS {
            range *= 2.0;
            step += 1;
        }
        step -= 2;
        // Towards the poles the cells become narrower than they look.
        let latitude = self.center.latitude.abs();
        step -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        step.clamp(1, Cell::STEP_MAX as i32) as u32
    }

    /// How far the area goes from its center.
    fn reach_meters(&self) -> f64 {
        let reach = match self.shape {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        };
        reach * self.unit_meters
    }

    /// The edges of the area. Where it goes over a pole, or around the globe, they mean nothing.
    fn bounds(&self) -> Edges {
        let (half_width, half_height) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let (width, height) = (self.unit_meters * half_width, self.unit_meters * half_height);
        let Point { longitude, latitude } = self.center;
        let up = degrees(height / EARTH_RADIUS_METERS);
        // The parallel nearer to a pole is the shorter one, on which the same width covers more degrees.
        let widest = if latitude < 0.0 { latitude - up } else { latitude + up };
        let aside = degrees(width / EARTH_RADIUS_METERS / radians(widest).cos());
        Edges { west: longitude - aside, east: longitude + aside, south: latitude - up, north: latitude + up }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LATITUDE_MAX, LONGITUDE_MAX};
    use super::*;
    use proptest::prelude::*;

    fn circle(center: Point, radius: f64) -> Area {
        Area { center, shape: Shape::Circle { radius }, unit_meters: 1.0 }
    }

    proptest! {
        /// Away from the edges of the map, where the cells on the other side are missed, as by Redis.
        #[test]
        fn cells_cover_what_is_inside(
            longitude in -100.0..100.0,
            latitude in -60.0..60.0,
            radius in prop_oneof![1.0..1000.0, 1000.0..1_500_000.0],
            (angle, part) in (0.0..std::f64::consts::TAU, 0.0..1.0),
        ) {
            let area = circle(Point::new(longitude, latitude), radius);
            let reach = degrees(radius * part / EARTH_RADIUS_METERS);
            let point = Point::new(longitude + angle.cos() * reach, latitude + angle.sin() * reach);
            let covering = area.cells();
            prop_assert!(covering.len() <= 9);
            if area.distance_if_inside_meters(point).is_some() {
                let score = point.score();
                let holds = |cell: &Cell| (cell.first_score()..cell.end_score()).contains(&score);
                prop_assert_eq!(covering.iter().filter(|cell| holds(cell)).count(), 1);
            }
        }

        #[test]
        fn no_cell_is_named_twice(
            longitude in -LONGITUDE_MAX..=LONGITUDE_MAX,
            latitude in -LATITUDE_MAX..=LATITUDE_MAX,
            radius in prop_oneof![Just(0.0), Just(f64::INFINITY), 0.0..30_000_000.0],
        ) {
            let covering = circle(Point::new(longitude, latitude), radius).cells();
            for (i, cell) in covering.iter().enumerate() {
                prop_assert!(!covering[i + 1..].contains(cell), "{:?}", covering);
            }
        }
    }

    #[test]
    fn a_box_is_measured_along_its_sides() {
        let area = Area {
            center: Point::new(0.0, 0.0),
            shape: Shape::Box { width: 400.0, height: 200.0 },
            unit_meters: 1000.0,
        };
        assert!(area.distance_if_inside_meters(Point::new(1.7, 0.8)).is_some());
        assert!(area.distance_if_inside_meters(Point::new(1.9, 0.0)).is_none());
        assert!(area.distance_if_inside_meters(Point::new(0.0, 1.0)).is_none());
    }
}
