//! The options of SET and GETEX, and the instants that their expiries name.

use crate::base::clock::UnixMillis;
use crate::command::options::integer;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

/// What SET asks of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// `NX`
    Missing,
    /// `XX`
    Exists,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry<'a> {
    At(Term<'a>),
    /// `KEEPTTL`
    Keep,
    Persist,
}

/// `EX seconds`, `PX milliseconds`, `EXAT unix-time-seconds` or `PXAT unix-time-milliseconds`; the number is not
/// looked at yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term<'a> {
    pub amount: &'a [u8],
    pub unit: Unit,
    /// Counts from 1970, not from now.
    pub is_absolute: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Millis,
}

impl Term<'_> {
    /// The instant at which the term ends. `command` is named in the error.
    pub fn instant(&self, now: UnixMillis, command: &str) -> Result<UnixMillis, ErrorReply> {
        let amount = integer(self.amount)?;
        let ms = match self.unit {
            Unit::Seconds => amount.checked_mul(1000),
            Unit::Millis => Some(amount),
        };
        ms.filter(|&ms| ms > 0)
            .and_then(|ms| if self.is_absolute { Some(ms) } else { ms.checked_add(now.0) })
            .map(UnixMillis)
            .ok_or_else(|| ErrorReply::invalid_expire_time(command))
    }

    /// Whether `other` is the same option, perhaps with another number.
    fn is_same_option(&self, other: &Self) -> bool {
        (self.unit, self.is_absolute) == (other.unit, other.is_absolute)
    }
}

/// Adds an expiry to the options. One option may be repeated, different ones exclude each other.
fn merge<'a>(expiry: &mut Option<Expiry<'a>>, new: Expiry<'a>) -> Result<(), ErrorReply> {
    let fits = match (&*expiry, &new) {
        (None, _) => true,
        (Some(Expiry::At(old)), Expiry::At(new)) => old.is_same_option(new),
        (Some(old), new) => old == new,
    };
    if !fits {
        return Err(ErrorReply::SYNTAX);
    }
    *expiry = Some(new);
    Ok(())
}

/// The term that begins at argument `index`, if there is one.
fn term_at<'a>(args: &Args<'a>, index: usize) -> Option<Term<'a>> {
    const TERMS: [(&str, Unit, bool); 4] = [
        ("EX", Unit::Seconds, false),
        ("PX", Unit::Millis, false),
        ("EXAT", Unit::Seconds, true),
        ("PXAT", Unit::Millis, true),
    ];
    let amount = args.get(index + 1)?;
    let (_, unit, is_absolute) = TERMS.into_iter().find(|(word, ..)| args.is(index, word))?;
    Some(Term { amount, unit, is_absolute })
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SetOptions<'a> {
    pub condition: Option<Condition>,
    pub expiry: Option<Expiry<'a>>,
    /// `GET`
    pub answers_old: bool,
}

impl<'a> SetOptions<'a> {
    pub fn parse(args: &Args<'a>) -> Result<Self, ErrorReply> {
        let mut options = Self::default();
        let mut index = 3;
        while index < args.len() {
            if let Some(term) = term_at(args, index) {
                merge(&mut options.expiry, Expiry::At(term))?;
                index += 1;
            } else if args.is(index, "NX") && options.condition != Some(Condition::Exists) {
                options.condition = Some(Condition::Missing);
            } else if args.is(index, "XX") && options.condition != Some(Condition::Missing) {
                options.condition = Some(Condition::Exists);
            } else if args.is(index, "GET") {
                options.answers_old = true;
            } else if args.is(index, "KEEPTTL") {
                merge(&mut options.expiry, Expiry::Keep)?;
            } else {
                return Err(ErrorReply::SYNTAX);
            }
            index += 1;
        }
        Ok(options)
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GetexOptions<'a> {
    pub expiry: Option<Expiry<'a>>,
}

impl<'a> GetexOptions<'a> {
    pub fn parse(args: &Args<'a>) -> Result<Self, ErrorReply> {
        let mut options = Self::default();
        let mut index = 2;
        while index < args.len() {
            if let Some(term) = term_at(args, index) {
                merge(&mut options.expiry, Expiry::At(term))?;
                index += 1;
            } else if args.is(index, "PERSIST") {
                merge(&mut options.expiry, Expiry::Persist)?;
            } else {
                return Err(ErrorReply::SYNTAX);
            }
            index += 1;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::args::OwnedArgs;

    fn instant(amount: &str, unit: Unit, is_absolute: bool) -> Option<i64> {
        let term = Term { amount: amount.as_bytes(), unit, is_absolute };
        term.instant(UnixMillis(1_000), "set").ok().map(|at| at.0)
    }

    #[test]
    fn terms_name_instants_in_range_or_none() {
        assert_eq!(instant("5", Unit::Seconds, false), Some(6_000));
        assert_eq!(instant("5", Unit::Millis, true), Some(5));
        assert_eq!(instant("9223372036854774807", Unit::Millis, false), Some(i64::MAX));
        for (amount, unit, is_absolute) in [
            ("0", Unit::Seconds, false),
            ("-1", Unit::Millis, true),
            ("9223372036854775", Unit::Seconds, false),
            ("9223372036854776", Unit::Seconds, true),
            ("9223372036854774808", Unit::Millis, false),
            ("-9223372036854775808", Unit::Seconds, false),
        ] {
            assert_eq!(instant(amount, unit, is_absolute), None, "{amount}");
        }
    }

    #[test]
    fn different_expiries_exclude_each_other() {
        let is_ok = |words: &str| {
            let args: OwnedArgs = format!("SET k v {words}").split_whitespace().map(str::to_owned).collect();
            SetOptions::parse(&args.as_args()).is_ok()
        };
        for ok in ["EX 1 EX 2", "nx NX get GET", "keepttl KEEPTTL xx", "pxat 5 GET XX", "EX EX"] {
            assert!(is_ok(ok), "{ok}");
        }
        for bad in ["EX 1 PX 1", "EX 1 KEEPTTL", "KEEPTTL EXAT 1", "NX XX", "EX", "PERSIST", "EX 1 EXAT 1"] {
            assert!(!is_ok(bad), "{bad}");
        }
    }
}
