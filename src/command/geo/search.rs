//! GEOSEARCH, GEOSEARCHSTORE and the older GEORADIUS commands: the places inside a circle or a box.
//!
//! The area is covered by at most nine cells of the map, each a range of scores; what lies in them is measured.

use super::options::{Destination, Family, Options, Order, Storing};
use super::{write_distance, write_point};
use crate::base::geo::{Area, Point};
use crate::command::context::Ctx;
use crate::command::sorted_set;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::sorted_set::{ScoreBound, ScoreRange, SortedSet};

const SEARCH_COMPLEXITY: &str = "O(N+log(M)) where N is the number of elements in the cells around the shape and M is the number of items inside the shape";
const RADIUS_COMPLEXITY: &str = "O(N+log(M)) where N is the number of elements in the cells around the circle and M is the number of items inside the index.";

/// STORE and STOREDIST behind the fixed arguments.
const fn stored(word: &'static str, start_from: i32) -> KeySpec {
    KeySpec {
        flags: OW | UPDATE,
        begin: BeginSearch::Keyword { word, start_from },
        find: FindKeys::Range { last: 0, step: 1, limit: 0 },
        note: "",
    }
}

const SOURCE: KeySpec = KeySpec::range(1, 1, 1, RO | ACCESS);

pub(in crate::command) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("geosearch", -7, READONLY, "geo", geosearch).keys(&[SOURCE]).docs(
        "6.2.0",
        SEARCH_COMPLEXITY,
        "Finds the places inside a circle or a box.",
        "key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width \
         height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
    ),
    CommandSpec::data("geosearchstore", -8, WRITE | DENYOOM, "geo", geosearchstore)
        .keys(&[KeySpec::range(1, 1, 1, OW | UPDATE), KeySpec::range(2, 2, 1, RO | ACCESS)])
        .docs(
            "6.2.0",
            SEARCH_COMPLEXITY,
            "Stores the places inside a circle or a box.",
            "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | \
             MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
        ),
    CommandSpec::data("georadius", -6, WRITE | DENYOOM | MOVABLE_KEYS, "geo", georadius)
        .keys(&[SOURCE, stored("STORE", 6), stored("STOREDIST", 6)])
        .docs(
            "3.2.0",
            RADIUS_COMPLEXITY,
            "Finds or stores the places around a point; superseded by GEOSEARCH and GEOSEARCHSTORE.",
            "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] \
             [ASC | DESC] [STORE key | STOREDIST key]",
        ).deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
    CommandSpec::data("georadius_ro", -6, READONLY, "geo", georadius_ro).keys(&[SOURCE]).docs(
        "3.2.10",
        RADIUS_COMPLEXITY,
        "Finds the places around a point; superseded by GEOSEARCH.",
        "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] \
         [ASC | DESC]",
    ).deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument"),
    CommandSpec::data("georadiusbymember", -5, WRITE | DENYOOM | MOVABLE_KEYS, "geo", georadiusbymember)
        .keys(&[SOURCE, stored("STORE", 5), stored("STOREDIST", 5)])
        .docs(
            "3.2.0",
            RADIUS_COMPLEXITY,
            "Finds or stores the places around a member; superseded by GEOSEARCH and GEOSEARCHSTORE.",
            "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] \
             [STORE key | STOREDIST key]",
        ).deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    CommandSpec::data("georadiusbymember_ro", -5, READONLY, "geo", georadiusbymember_ro)
        .keys(&[SOURCE])
        .docs(
            "3.2.10",
            RADIUS_COMPLEXITY,
            "Finds the places around a member; superseded by GEOSEARCH.",
            "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        ).deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"),
];

/// `GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius unit | BYBOX width height unit>
/// [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]`
fn geosearch(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    search(ctx, args, args.bytes(1), Family::Search)
}

/// `GEOSEARCHSTORE destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius unit |
/// BYBOX width height unit> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]`
fn geosearchstore(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    search(ctx, args, args.bytes(2), Family::SearchStore)
}

/// `GEORADIUS key longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]
/// [STORE key | STOREDIST key]`
fn georadius(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    search(ctx, args, args.bytes(1), Family::RadiusOfPoint(Storing::Allowed))
}

/// `GEORADIUS_RO key longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]`
fn georadius_ro(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    search(ctx, args, args.bytes(1), Family::RadiusOfPoint(Storing::Refused))
}

/// `GEORADIUSBYMEMBER key member radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]
/// [STORE key | STOREDIST key]`
fn georadiusbymember(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    search(ctx, args, args.bytes(1), Family::RadiusOfMember(Storing::Allowed))
}

/// `GEORADIUSBYMEMBER_RO key member radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]`
fn georadiusbymember_ro(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    search(ctx, args, args.bytes(1), Family::RadiusOfMember(Storing::Refused))
}

/// A member inside the area.
#[derive(Debug, Clone, Copy)]
struct Hit<'a> {
    member: &'a [u8],
    score: f64,
    point: Point,
    /// From the center. Hits are sorted by meters, since distances in another unit are rounded.
    meters: f64,
    /// The same in the client's unit.
    distance: f64,
}

fn search(ctx: &mut Ctx<'_>, args: &Args<'_>, key: &[u8], family: Family) -> CommandResult {
    let limits = ctx.db.limits;
    let set = ctx.db.read::<SortedSet>(key)?;
    let options = Options::parse(family, args, set)?;
    let hits = match (set, options.area()) {
        (Some(set), Some(area)) => arranged(hits(set, &area, &options), &options),
        _ => Vec::new(),
    };
    let Some(Destination { key, stores_distance }) = options.destination else {
        write_hits(&mut ctx.reply, &hits, &options);
        return Ok(Flow::Done);
    };
    let score_of = |hit: &Hit<'_>| if stores_distance { hit.distance } else { hit.score };
    if hits.iter().any(|hit| score_of(hit).is_nan()) {
        return Err(ErrorReply::fixed("ERR resulting score is not a number (NaN)"));
    }
    let mut members: Vec<(&[u8], f64)> = hits.iter().map(|hit| (hit.member, score_of(hit))).collect();
    members.sort_unstable_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(b.0)));
    let result = SortedSet::from_ordered(members.into_iter(), limits);
    let stored = result.len() as u64;
    sorted_set::store(ctx, key, result, if family.is_search() { "geosearchstore" } else { "georadiusstore" });
    ctx.add_dirty(stored.saturating_sub(1));
    Ok(Flow::Done)
}

/// The members inside the area, cell by cell and by score in each.
fn hits<'a>(set: &'a SortedSet, area: &Area, options: &Options<'_>) -> Vec<Hit<'a>> {
    let hits_max = options.count.filter(|_| options.any).unwrap_or(usize::MAX);
    let in_cells = area.cells().into_iter().flat_map(|cell| {
        let scores = ScoreRange {
            min: ScoreBound::Including(cell.first_score() as f64),
            max: ScoreBound::Excluding(cell.end_score() as f64),
        };
        set.range(set.ranks_by_score(&scores))
    });
    let hit = |(member, score): (&'a [u8], f64)| {
        let point = Point::of_score(score);
        let meters = area.distance_if_inside_meters(point)?;
        Some(Hit { member, score, point, meters, distance: meters / area.unit_meters })
    };
    in_cells.filter_map(hit).take(hits_max).collect()
}

/// The hits that are wanted, in the order that is. COUNT means the nearest, unless any will do.
fn arranged<'a>(hits: Vec<Hit<'a>>, options: &Options<'_>) -> Vec<Hit<'a>> {
    let wanted = options.count.unwrap_or(usize::MAX).min(hits.len());
    let order = options.order.or((options.count.is_some() && !options.any).then_some(Order::Near));
    let Some(order) = order else { return hits.into_iter().take(wanted).collect() };
    // Those of equal distance stay in the order in which they were found.
    let mut numbered: Vec<(usize, Hit<'a>)> = hits.into_iter().enumerate().collect();
    let by_distance = |(i, a): &(usize, Hit<'_>), (j, b): &(usize, Hit<'_>)| {
        let near = a.meters.total_cmp(&b.meters);
        (if order == Order::Near { near } else { near.reverse() }).then(i.cmp(j))
    };
    if wanted < numbered.len() {
        numbered.select_nth_unstable_by(wanted, by_distance);
        numbered.truncate(wanted);
    }
    numbered.sort_unstable_by(by_distance);
    numbered.into_iter().map(|(_, hit)| hit).collect()
}

fn write_hits(reply: &mut Reply<'_>, hits: &[Hit<'_>], options: &Options<'_>) {
    let extras = [options.with_distance, options.with_hash, options.with_point];
    let extras = extras.into_iter().filter(|&is_wanted| is_wanted).count();
    reply.array(hits.len());
    for hit in hits {
        if extras > 0 {
            reply.array(1 + extras);
        }
        reply.bulk(hit.member);
        if options.with_distance {
            write_distance(reply, hit.distance);
        }
        if options.with_hash {
            reply.integer(hit.score as i64);
        }
        if options.with_point {
            write_point(reply, hit.point);
        }
    }
}
