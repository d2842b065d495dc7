//! Arguments to numbers and options, with the error sentence that a bad one earns.

use crate::base::clock::UnixMillis;
use crate::base::number::{parse_f64, parse_i64};
use crate::resp::error::ErrorReply;
use crate::storage::WrongType;

impl From<WrongType> for ErrorReply {
    fn from(_: WrongType) -> Self {
        Self::WRONG_TYPE
    }
}

/// A 64-bit integer.
pub fn integer(arg: &[u8]) -> Result<i64, ErrorReply> {
    parse_i64(arg).ok_or(ErrorReply::NOT_AN_INTEGER)
}

/// A 64-bit integer within bounds; `error` tells of one outside.
pub fn integer_in(
    arg: &[u8],
    range: std::ops::RangeInclusive<i64>,
    error: ErrorReply,
) -> Result<i64, ErrorReply> {
    let n = integer(arg)?;
    if range.contains(&n) { Ok(n) } else { Err(error) }
}

/// A number whose sign means something of its own: that of HRANDFIELD, say, that a field may be drawn again.
pub fn signed_count(arg: &[u8]) -> Result<i64, ErrorReply> {
    integer_in(arg, -i64::MAX..=i64::MAX, ErrorReply::OUT_OF_LONG_RANGE)
}

/// `count` in rounds, between which a command may find that it has written enough.
pub fn rounds(count: usize) -> impl Iterator<Item = usize> {
    const ROUND: usize = 4096;
    (0..count.div_ceil(ROUND)).map(move |round| ROUND.min(count - round * ROUND))
}

/// A double; NaN is none.
pub fn float(arg: &[u8]) -> Result<f64, ErrorReply> {
    parse_f64(arg).ok_or(ErrorReply::NOT_A_FLOAT)
}

/// The timeout of a blocking command, in seconds with a fraction: the instant at which it ends, none for 0.
pub fn timeout(arg: &[u8], now: UnixMillis) -> Result<Option<UnixMillis>, ErrorReply> {
    let seconds = parse_f64(arg).ok_or(ErrorReply::TIMEOUT_NOT_A_FLOAT)?;
    // Rounded up to whole milliseconds, but not for what only the binary fraction adds to them.
    let ms = seconds * 1000.0;
    let ms = if (ms - ms.round()).abs() <= ms.abs() * 1e-12 { ms.round() } else { ms.ceil() };
    if ms < 0.0 {
        return Err(ErrorReply::TIMEOUT_NEGATIVE);
    }
    if ms >= (i64::MAX - now.0) as f64 {
        return Err(ErrorReply::fixed("ERR timeout is out of range"));
    }
    Ok((ms > 0.0).then(|| UnixMillis(now.0 + ms as i64)))
}

/// The timeout of a blocking command in whole milliseconds: the instant at which it ends, none for 0.
pub fn timeout_ms(arg: &[u8], now: UnixMillis) -> Result<Option<UnixMillis>, ErrorReply> {
    match parse_i64(arg).ok_or(ErrorReply::TIMEOUT_NOT_AN_INTEGER)? {
        0 => Ok(None),
        ..0 => Err(ErrorReply::TIMEOUT_NEGATIVE),
        ms => match now.0.checked_add(ms) {
            Some(at) => Ok(Some(UnixMillis(at))),
            None => Err(ErrorReply::fixed("ERR timeout is out of range")),
        },
    }
}

/// The number of a database.
pub fn db_index(arg: &[u8], databases: usize) -> Result<usize, ErrorReply> {
    let n = parse_i64(arg).ok_or(ErrorReply::fixed("ERR invalid DB index"))?;
    usize::try_from(n).ok().filter(|&n| n < databases).ok_or(ErrorReply::DB_INDEX_OUT_OF_RANGE)
}

/// The number of a database as COPY and MOVE take it.
pub fn destination_db(arg: &[u8], databases: usize) -> Result<usize, ErrorReply> {
    let n = integer_in(arg, i64::from(i32::MIN)..=i64::from(i32::MAX), ErrorReply::OUT_OF_I32_RANGE)?;
    usize::try_from(n).ok().filter(|&n| n < databases).ok_or(ErrorReply::DB_INDEX_OUT_OF_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_an_instant_in_whole_milliseconds() {
        let at = |arg: &str| timeout(arg.as_bytes(), UnixMillis(1000)).map(|at| at.map(|at| at.0));
        for (arg, expected) in [
            ("0", None),
            ("-0.0001", None),
            ("0.001", Some(1001)),
            ("0.00001", Some(1001)),
            ("0.0011", Some(1002)),
            ("8.004", Some(9004)),
            ("1e3", Some(1_001_000)),
        ] {
            assert_eq!(at(arg), Ok(expected), "{arg}");
        }
        assert_eq!(at("-1"), Err(ErrorReply::TIMEOUT_NEGATIVE));
        assert_eq!(at("-inf"), Err(ErrorReply::TIMEOUT_NEGATIVE));
        for arg in ["inf", "1e30", "9223372036854775"] {
            assert_eq!(at(arg), Err(ErrorReply::fixed("ERR timeout is out of range")), "{arg}");
        }
        for arg in ["", "x", "nan", " 1"] {
            assert_eq!(at(arg), Err(ErrorReply::TIMEOUT_NOT_A_FLOAT), "{arg}");
        }
    }
}
