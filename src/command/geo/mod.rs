//! Places in a sorted set, by geohash as score: GEOADD, GEOPOS, GEODIST, GEOHASH. `search` has what looks around.

mod options;
pub(super) mod search;

use super::context::Ctx;
use super::options::float;
use super::sorted_set::add::zadd_in_place_of;
use super::spec::*;
use crate::base::geo::Point;
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::sorted_set::SortedSet;

const READ_KEY: &[KeySpec] = &[KeySpec::range(1, 1, 1, RO | ACCESS)];

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("geoadd", -5, WRITE | DENYOOM, "geo", geoadd)
        .keys(&[KeySpec::range(1, 1, 1, RW | UPDATE)])
        .docs(
            "3.2.0",
            "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
            "Adds places to a sorted set, or moves those that are there.",
            "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
        ),
    CommandSpec::data("geopos", -2, READONLY, "geo", geopos).keys(READ_KEY).docs(
        "3.2.0",
        "O(N) where N is the number of members requested.",
        "Tells longitude and latitude of places.",
        "key [member [member ...]]",
    ),
    CommandSpec::data("geodist", -4, READONLY, "geo", geodist).keys(READ_KEY).docs(
        "3.2.0",
        "O(log(N))",
        "Tells how far two places are from each other.",
        "key member1 member2 [M | KM | FT | MI]",
    ),
    CommandSpec::data("geohash", -2, READONLY, "geo", geohash).keys(READ_KEY).docs(
        "3.2.0",
        "O(log(N)) for each member requested, where N is the number of elements in the sorted set.",
        "Tells the geohashes of places, as other programs write them.",
        "key [member [member ...]]",
    ),
];

/// Longitude and latitude from two arguments.
fn point(longitude: &[u8], latitude: &[u8]) -> Result<Point, ErrorReply> {
    let point = Point::new(float(longitude)?, float(latitude)?);
    if point.is_on_map() {
        return Ok(point);
    }
    let Point { longitude, latitude } = point;
    Err(ErrorReply::new(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")))
}

/// How many meters a unit has.
fn unit_meters(unit: &[u8]) -> Result<f64, ErrorReply> {
    const UNITS: [(&[u8], f64); 4] = [(b"m", 1.0), (b"km", 1000.0), (b"ft", 0.3048), (b"mi", 1609.34)];
    let found = UNITS.into_iter().find(|(name, _)| unit.eq_ignore_ascii_case(name));
    found
        .map(|(_, meters)| meters)
        .ok_or(ErrorReply::fixed("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// Writes longitude and latitude, with up to 17 digits behind the point.
fn write_point(reply: &mut Reply<'_>, point: Point) {
    reply.array(2);
    for degrees in [point.longitude, point.latitude] {
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        reply.double_as(if text == "-0" { "0" } else { text });
    }
}

/// Writes a distance with four digits behind the point, as a bulk string in RESP3 too.
fn write_distance(reply: &mut Reply<'_>, distance: f64) {
    const SCALE: u64 = 10_000;
    let scaled = (distance * SCALE as f64).round_ties_even();
    // What is no number turns into the lowest integer in C.
    let scaled = if scaled.is_nan() { i64::MIN } else { scaled as i64 };
    let sign = if scaled < 0 { "-" } else { "" };
    let magnitude = scaled.unsigned_abs();
    reply.bulk(format!("{sign}{}.{:04}", magnitude / SCALE, magnitude % SCALE));
}

/// `GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]`
fn geoadd(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let mut at = 2;
    let (mut only_new, mut only_existing) = (false, false);
    loop {
        match () {
            () if args.is(at, "NX") => only_new = true,
            () if args.is(at, "XX") => only_existing = true,
            () if args.is(at, "CH") => {}
            () => break,
        }
        at += 1;
    }
    if !(args.len() - at).is_multiple_of(3) || (only_new && only_existing) {
        return Err(ErrorReply::SYNTAX);
    }
    // What is left is a ZADD, and replicas are told of it as one.
    let mut zadd: Vec<Vec<u8>> = vec![b"ZADD".to_vec()];
    zadd.extend(args.iter().take(at).skip(1).map(<[u8]>::to_vec));
    for i in (at..args.len()).step_by(3) {
        let score = point(args.bytes(i), args.bytes(i + 1))?.score();
        zadd.push(itoa::Buffer::new().format(score).as_bytes().to_vec());
        zadd.push(args.bytes(i + 2).to_vec());
    }
    let zadd: OwnedArgs = zadd.into_iter().collect();
    zadd_in_place_of(ctx, &zadd.as_args())
}

/// The places of the members from argument 2 on.
fn places(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Result<Vec<Option<Point>>, ErrorReply> {
    let set = ctx.db.read::<SortedSet>(args.bytes(1))?;
    let place = |member| Some(Point::of_score(set?.score(member)?));
    Ok(args.from(2).iter().map(place).collect())
}

/// `GEOPOS key [member [member ...]]`
fn geopos(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let places = places(ctx, args)?;
    ctx.reply.array(places.len());
    for place in places {
        match place {
            Some(point) => write_point(&mut ctx.reply, point),
            None => ctx.reply.null_array(),
        }
    }
    Ok(Flow::Done)
}

/// `GEOHASH key [member [member ...]]`
fn geohash(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let places = places(ctx, args)?;
    ctx.reply.array(places.len());
    for place in places {
        match place {
            Some(point) => ctx.reply.bulk(point.geohash()),
            None => ctx.reply.null(),
        }
    }
    Ok(Flow::Done)
}

/// `GEODIST key member1 member2 [M | KM | FT | MI]`
fn geodist(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let meters = match args.get(4) {
        None => 1.0,
        Some(unit) if args.len() == 5 => unit_meters(unit)?,
        Some(_) => return Err(ErrorReply::SYNTAX),
    };
    let set = ctx.db.read::<SortedSet>(args.bytes(1))?;
    let place = |at| Some(Point::of_score(set?.score(args.bytes(at))?));
    match (place(2), place(3)) {
        (Some(from), Some(to)) => write_distance(&mut ctx.reply, from.distance_meters(to) / meters),
        _ => ctx.reply.null(),
    }
    Ok(Flow::Done)
}
