//! Reading the ends of intervals: ranks, scores (`5`, `(5`, `+inf`) and members (`[a`, `(a`, `-`, `+`).

use std::ops::Range;

use crate::base::number::parse_f64;
use crate::resp::error::ErrorReply;
use crate::storage::sorted_set::{LexBound, LexRange, ScoreBound, ScoreRange};

/// The interval of scores that two arguments name.
pub(super) fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, ErrorReply> {
    match (score_bound(min), score_bound(max)) {
        (Some(min), Some(max)) => Ok(ScoreRange { min, max }),
        _ => Err(ErrorReply::fixed("ERR min or max is not a float")),
    }
}

/// The interval of members that two arguments name.
pub(super) fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, ErrorReply> {
    match (lex_bound(min), lex_bound(max)) {
        (Some(min), Some(max)) => Ok(LexRange { min, max }),
        _ => Err(ErrorReply::fixed("ERR min or max not valid string range item")),
    }
}

/// The ranks from `start` to `stop` inclusive, both counted from the end when negative, among `len`.
pub(super) fn rank_range(start: i64, stop: i64, len: usize) -> Range<usize> {
    let from_start = |rank: i64| if rank < 0 { rank.saturating_add(len as i64) } else { rank };
    let start = from_start(start).max(0) as usize;
    let end = (from_start(stop).saturating_add(1).max(0) as usize).min(len);
    start.min(end)..end
}

fn score_bound(arg: &[u8]) -> Option<ScoreBound> {
    match arg {
        [b'(', rest @ ..] => bound_value(rest).map(ScoreBound::Excluding),
        _ => bound_value(arg).map(ScoreBound::Including),
    }
}

/// A number as C's `strtod` reads it: bounds are laxer than scores. Nothing is 0, space may precede the number,
/// and one that is too large is infinite.
fn bound_value(arg: &[u8]) -> Option<f64> {
    if arg.is_empty() {
        return Some(0.0);
    }
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'\x0b';
    let text = &arg[arg.iter().take_while(|byte| blank(byte)).count()..];
    parse_f64(text)
        .or_else(|| std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| !value.is_nan()))
}

fn lex_bound(arg: &[u8]) -> Option<LexBound<'_>> {
    match arg {
        b"-" => Some(LexBound::Min),
        b"+" => Some(LexBound::Max),
        [b'[', member @ ..] => Some(LexBound::Including(member)),
        [b'(', member @ ..] => Some(LexBound::Excluding(member)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_scores_are_read_as_c_reads_numbers() {
        use ScoreBound::{Excluding, Including};
        for (arg, expected) in [
            ("5", Some(Including(5.0))),
            ("(5", Some(Excluding(5.0))),
            ("", Some(Including(0.0))),
            ("(", Some(Excluding(0.0))),
            (" 5", Some(Including(5.0))),
            ("1e999", Some(Including(f64::INFINITY))),
            ("(-inf", Some(Excluding(f64::NEG_INFINITY))),
            ("nan", None),
            ("5 ", None),
            (" ", None),
            ("((5", None),
        ] {
            assert_eq!(score_bound(arg.as_bytes()), expected, "{arg:?}");
        }
    }

    #[test]
    fn ranks_count_from_both_ends() {
        for (start, stop, expected) in [
            (0, -1, 0..3),
            (-2, -1, 1..3),
            (-100, 0, 0..1),
            (1, 100, 1..3),
            (2, 1, 2..2),
            (5, 9, 3..3),
            (0, -4, 0..0),
            (i64::MIN, i64::MAX, 0..3),
        ] {
            assert_eq!(rank_range(start, stop, 3), expected, "{start} {stop}");
        }
    }
}
