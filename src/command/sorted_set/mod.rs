//! Commands of the sorted_set group, one file for each thing that is done to a sorted set.
//!
//! Where the reply holds members with scores, RESP2 reads one flat array and RESP3 an array of pairs.

pub(super) mod add;
mod bounds;
pub(super) mod combine;
pub(super) mod lookup;
pub(super) mod pop;
pub(super) mod range;

use super::context::Ctx;
use super::spec::*;
use crate::base::number::parse_f64;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;
use crate::storage::sorted_set::{Change, SortedSet};
use crate::storage::{EncodingLimits, Value};

/// The one key of most of these commands.
const READ_KEY: &[KeySpec] = &[KeySpec::range(1, 1, 1, RO | ACCESS)];

/// Whether scores are part of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scores {
    With,
    Without,
}

/// A score or an increment.
fn score(arg: &[u8]) -> Result<f64, ErrorReply> {
    /// Integers of so many digits are exact as doubles.
    const EXACT_DIGITS: usize = 15;
    if !arg.is_empty() && arg.len() <= EXACT_DIGITS && arg.iter().all(u8::is_ascii_digit) {
        return Ok(arg.iter().fold(0, |n: i64, digit| n * 10 + i64::from(digit - b'0')) as f64);
    }
    parse_f64(arg).ok_or(ErrorReply::NOT_A_FLOAT)
}

/// Gives a member a score. A listpack keeps integers as such, and so has but one zero.
pub(super) fn insert(set: &mut SortedSet, score: f64, member: &[u8], limits: &EncodingLimits) -> Change {
    let stays_listpack = || {
        let has_room = set.len() < limits.zset_max_listpack_entries
            && member.len() <= limits.zset_max_listpack_value
            || set.score(member).is_some();
        set.encoding() == "listpack" && has_room
    };
    let score = if score == 0.0 && score.is_sign_negative() && stays_listpack() { 0.0 } else { score };
    set.insert(score, member, limits)
}

/// Writes an array of members, in the order given.
fn write_members<'a>(
    reply: &mut Reply<'_>,
    members: impl ExactSizeIterator<Item = (&'a [u8], f64)>,
    scores: Scores,
) {
    match scores {
        Scores::With if !reply.is_resp3() => reply.array(2 * members.len()),
        _ => reply.array(members.len()),
    }
    for (member, score) in members {
        write_member(reply, member, score, scores);
    }
}

fn write_member(reply: &mut Reply<'_>, member: &[u8], score: f64, scores: Scores) {
    match scores {
        Scores::With => write_pair(reply, member, score),
        Scores::Without => reply.bulk(member),
    }
}

/// Writes a member with its score as an element of an array: a pair of its own in RESP3.
fn write_pair(reply: &mut Reply<'_>, member: &[u8], score: f64) {
    if reply.is_resp3() {
        reply.array(2);
    }
    reply.bulk(member);
    reply.double(score);
}

/// Replaces whatever is at `key` by a result, or removes it if the result is empty. Answers the result's size.
pub(super) fn store(ctx: &mut Ctx<'_>, key: &[u8], result: SortedSet, event: &'static str) {
    let len = result.len();
    if len > 0 {
        ctx.db.insert(key, Value::SortedSet(result), None);
        ctx.modified(key, event);
    } else if ctx.db.remove(key) {
        ctx.modified(key, "del");
    }
    ctx.reply.integer(len as i64);
}
