//! What GEOSEARCH and GEORADIUS are asked for. The two families share most options; the order in which arguments are
//! found wrong is observable, and so is whether the key exists: a member of a key that is missing is not looked at.

use super::{point, unit_meters};
use crate::base::geo::{Area, Point, Shape};
use crate::base::number::parse_f64;
use crate::command::options::integer;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::sorted_set::SortedSet;

/// Which command it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// GEORADIUS, around a point.
    RadiusOfPoint(Storing),
    /// GEORADIUSBYMEMBER.
    RadiusOfMember(Storing),
    /// GEOSEARCH.
    Search,
    /// GEOSEARCHSTORE.
    SearchStore,
}

/// Whether STORE and STOREDIST are options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storing {
    Allowed,
    Refused,
}

impl Family {
    pub fn is_search(self) -> bool {
        matches!(self, Self::Search | Self::SearchStore)
    }

    fn may_name_store(self) -> bool {
        matches!(self, Self::RadiusOfPoint(Storing::Allowed) | Self::RadiusOfMember(Storing::Allowed))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Near,
    Far,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Destination<'a> {
    pub key: &'a [u8],
    /// Distances become the scores.
    pub stores_distance: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Options<'a> {
    center: Option<Point>,
    shape: Option<(Shape, f64)>,
    pub with_distance: bool,
    pub with_hash: bool,
    pub with_point: bool,
    pub order: Option<Order>,
    pub count: Option<usize>,
    /// As soon as there are enough, whatever is farther or nearer.
    pub any: bool,
    pub destination: Option<Destination<'a>>,
}

impl<'a> Options<'a> {
    /// `set` is what is at the key that is searched.
    pub fn parse(family: Family, args: &Args<'a>, set: Option<&SortedSet>) -> Result<Self, ErrorReply> {
        let mut options = Self::default();
        let first = match family {
            Family::RadiusOfPoint(_) => {
                options.center = Some(point(args.bytes(2), args.bytes(3))?);
                options.shape = Some(circle(args, 4)?);
                6
            }
            Family::RadiusOfMember(_) => {
                if let Some(set) = set {
                    options.center = Some(place_of(set, args.bytes(2))?);
                    options.shape = Some(circle(args, 3)?);
                }
                5
            }
            Family::Search => 2,
            Family::SearchStore => {
                options.destination = Some(Destination { key: args.bytes(1), stores_distance: false });
                3
            }
        };
        options.parse_words(family, &args.from(first), set)?;
        options.check(family, args)?;
        Ok(options)
    }

    /// Where is searched; nothing if the key is missing.
    pub fn area(&self) -> Option<Area> {
        let (shape, unit_meters) = self.shape?;
        Some(Area { center: self.center?, shape, unit_meters })
    }

    fn parse_words(
        &mut self,
        family: Family,
        args: &Args<'a>,
        set: Option<&SortedSet>,
    ) -> Result<(), ErrorReply> {
        // Which of two options that exclude each other came first.
        let (mut from_member, mut from_point, mut by_radius, mut by_box) = (false, false, false, false);
        let mut at = 0;
        while at < args.len() {
            let following = args.len() - at - 1;
            match () {
                () if args.is(at, "WITHDIST") => self.with_distance = true,
                () if args.is(at, "WITHHASH") => self.with_hash = true,
                () if args.is(at, "WITHCOORD") => self.with_point = true,
                () if args.is(at, "ANY") => self.any = true,
                () if args.is(at, "ASC") => self.order = Some(Order::Near),
                () if args.is(at, "DESC") => self.order = Some(Order::Far),
                () if args.is(at, "COUNT") && following >= 1 => {
                    let count = integer(args.bytes(at + 1))?;
                    if count <= 0 {
                        return Err(ErrorReply::fixed("ERR COUNT must be > 0"));
                    }
                    self.count = Some(count as usize);
                    at += 1;
                }
                () if args.is(at, "STORE") && following >= 1 && family.may_name_store() => {
                    self.destination = Some(Destination { key: args.bytes(at + 1), stores_distance: false });
                    at += 1;
                }
                () if args.is(at, "STOREDIST") && following >= 1 && family.may_name_store() => {
                    self.destination = Some(Destination { key: args.bytes(at + 1), stores_distance: true });
                    at += 1;
                }
                () if args.is(at, "STOREDIST") && family == Family::SearchStore => {
                    self.destination = self.destination.map(|to| Destination { stores_distance: true, ..to });
                }
                () if !family.is_search() => return Err(ErrorReply::SYNTAX),
                () if args.is(at, "FROMMEMBER") && following >= 1 && !from_point => {
                    // The place of a key that is missing is never asked for.
                    let place = set.map(|set| place_of(set, args.bytes(at + 1))).transpose()?;
                    self.center = Some(place.unwrap_or(Point::new(0.0, 0.0)));
                    from_member = true;
                    at += 1;
                }
                () if args.is(at, "FROMLONLAT") && following >= 2 && !from_member => {
                    self.center = Some(point(args.bytes(at + 1), args.bytes(at + 2))?);
                    from_point = true;
                    at += 2;
                }
                () if args.is(at, "BYRADIUS") && following >= 2 && !by_box => {
                    self.shape = Some(circle(args, at + 1)?);
                    by_radius = true;
                    at += 2;
                }
                () if args.is(at, "BYBOX") && following >= 3 && !by_radius => {
                    self.shape = Some(rectangle(args, at + 1)?);
                    by_box = true;
                    at += 3;
                }
                () => return Err(ErrorReply::SYNTAX),
            }
            at += 1;
        }
        Ok(())
    }

    fn check(&self, family: Family, args: &Args<'_>) -> Result<(), ErrorReply> {
        if self.destination.is_some() && (self.with_distance || self.with_hash || self.with_point) {
            let name = match family {
                Family::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            return Err(ErrorReply::new(format!(
                "ERR {name} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let name = String::from_utf8_lossy(args.bytes(0));
        if family.is_search() && self.center.is_none() {
            return Err(ErrorReply::new(format!(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}"
            )));
        }
        if family.is_search() && self.shape.is_none() {
            return Err(ErrorReply::new(format!(
                "ERR exactly one of BYRADIUS and BYBOX can be specified for {name}"
            )));
        }
        if self.any && self.count.is_none() {
            return Err(ErrorReply::fixed("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }
}

fn place_of(set: &SortedSet, member: &[u8]) -> Result<Point, ErrorReply> {
    let score = set.score(member);
    score.map(Point::of_score).ok_or(ErrorReply::fixed("ERR could not decode requested zset member"))
}

/// `radius unit` from argument `at` on.
fn circle(args: &Args<'_>, at: usize) -> Result<(Shape, f64), ErrorReply> {
    let radius = parse_f64(args.bytes(at)).ok_or(ErrorReply::fixed("ERR need numeric radius"))?;
    if radius < 0.0 {
        return Err(ErrorReply::fixed("ERR radius cannot be negative"));
    }
    Ok((Shape::Circle { radius }, unit_meters(args.bytes(at + 1))?))
}

/// `width height unit` from argument `at` on.
fn rectangle(args: &Args<'_>, at: usize) -> Result<(Shape, f64), ErrorReply> {
    let width = parse_f64(args.bytes(at)).ok_or(ErrorReply::fixed("ERR need numeric width"))?;
    let height = parse_f64(args.bytes(at + 1)).ok_or(ErrorReply::fixed("ERR need numeric height"))?;
    if width < 0.0 || height < 0.0 {
        return Err(ErrorReply::fixed("ERR height or width cannot be negative"));
    }
    Ok((Shape::Box { width, height }, unit_meters(args.bytes(at + 2))?))
}
