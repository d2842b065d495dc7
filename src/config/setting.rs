//! What a parameter's value can do: be assigned from words, be shown, be written as lines of redis.conf.
//!
//! Error reasons are Redis' bytes: CONFIG SET answers with them.

use std::borrow::Cow;

use super::words;
use crate::base::number;

/// Why a value was refused.
pub type Reason = Cow<'static, str>;

/// A value that knows its own spelling.
pub trait Setting {
    /// Takes the value that `args` spell. On error the old value may be lost: assign to a copy.
    fn assign(&mut self, args: &[&str], rule: &Rule) -> Result<(), Reason>;

    /// The value as CONFIG GET shows it.
    fn show(&self, rule: &Rule) -> String;

    /// The values after the name, one for each line that CONFIG REWRITE leaves in the file.
    fn lines(&self, rule: &Rule) -> Vec<String> {
        vec![self.show(rule)]
    }

    /// All spellings, where there are few.
    fn choices(&self) -> &'static [&'static str] {
        &[]
    }

    /// A word that stands for the value in the help.
    fn placeholder(&self, rule: &Rule) -> &'static str {
        match rule {
            Rule::Number(Number { unit: Unit::Memory | Unit::MemoryOrPercent, .. }) => "BYTES",
            Rule::Number(_) => "N",
            _ => "VALUE",
        }
    }
}

/// What a row of the table demands of its value, beyond its type.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    Any,
    Number(Number),
    /// The reason why the text is refused, if it is.
    Text(fn(&str) -> Option<&'static str>),
    /// A switch that cannot be switched on, and why.
    NeverYes(&'static str),
}

/// The range of a number, both ends inclusive.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    pub min: i128,
    pub max: i128,
    pub unit: Unit,
    /// Accepted numbers outside this narrower range become its nearest end.
    pub clamp: Option<(i128, i128)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Plain,
    Octal,
    Memory,
    MemoryOrPercent,
}

/// A plain integer.
pub const fn int(min: i128, max: i128) -> Rule {
    Rule::Number(Number { min, max, unit: Unit::Plain, clamp: None })
}

/// Bytes, with units.
pub const fn memory(min: i128, max: i128) -> Rule {
    Rule::Number(Number { min, max, unit: Unit::Memory, clamp: None })
}

/// Bytes with units, or a percentage.
pub const fn memory_or_percent() -> Rule {
    Rule::Number(Number { min: 0, max: i64::MAX as i128, unit: Unit::MemoryOrPercent, clamp: None })
}

/// File permissions.
pub const fn octal(max: i128) -> Rule {
    Rule::Number(Number { min: 0, max, unit: Unit::Octal, clamp: None })
}

/// A number that is silently moved into `low..=high`.
pub const fn clamped(rule: Rule, low: i128, high: i128) -> Rule {
    match rule {
        Rule::Number(number) => Rule::Number(Number { clamp: Some((low, high)), ..number }),
        other => other,
    }
}

/// The only argument; `assign` of a single-word value is never called with another count.
pub(super) fn only<'a>(args: &[&'a str]) -> Result<&'a str, Reason> {
    match args {
        [only] => Ok(only),
        _ => Err("wrong number of arguments".into()),
    }
}

impl Setting for bool {
    fn assign(&mut self, args: &[&str], rule: &Rule) -> Result<(), Reason> {
        let text = only(args)?;
        let value = match () {
            () if text.eq_ignore_ascii_case("yes") => true,
            () if text.eq_ignore_ascii_case("no") => false,
            () => return Err("argument must be 'yes' or 'no'".into()),
        };
        match rule {
            Rule::NeverYes(reason) if value => Err((*reason).into()),
            _ => {
                *self = value;
                Ok(())
            }
        }
    }

    fn show(&self, _: &Rule) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }

    fn placeholder(&self, _: &Rule) -> &'static str {
        "yes|no"
    }
}

impl Setting for String {
    fn assign(&mut self, args: &[&str], rule: &Rule) -> Result<(), Reason> {
        let text = only(args)?;
        if let Rule::Text(refusal) = rule
            && let Some(reason) = refusal(text)
        {
            return Err(reason.into());
        }
        *self = text.to_owned();
        Ok(())
    }

    fn show(&self, _: &Rule) -> String {
        self.clone()
    }

    fn lines(&self, _: &Rule) -> Vec<String> {
        vec![words::quote(self)]
    }

    fn placeholder(&self, _: &Rule) -> &'static str {
        "TEXT"
    }
}

macro_rules! number_settings {
    ($($type:ty),*) => { $(
        impl Setting for $type {
            fn assign(&mut self, args: &[&str], rule: &Rule) -> Result<(), Reason> {
                let number = parse_number(only(args)?, rule)?;
                *self = <$type>::try_from(number).map_err(|_| out_of_range(rule))?;
                Ok(())
            }

            fn show(&self, rule: &Rule) -> String {
                match rule {
                    Rule::Number(Number { unit: Unit::Octal, .. }) => format!("{self:o}"),
                    _ => self.to_string(),
                }
            }

            fn lines(&self, rule: &Rule) -> Vec<String> {
                match rule {
                    Rule::Number(Number { unit: Unit::Memory, .. }) => vec![show_memory(*self as u64)],
                    _ => vec![self.show(rule)],
                }
            }
        }
    )* };
}
number_settings!(u16, u32, u64, usize, i32, i64);

/// A share of the server's memory, or an amount of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryShare {
    Bytes(u64),
    /// 0 to 100, of `maxmemory`.
    Percent(u8),
}

impl MemoryShare {
    /// The amount in bytes; 0 says no limit.
    pub fn bytes(self, maxmemory: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => (u128::from(maxmemory) * u128::from(percent) / 100) as u64,
        }
    }
}

impl Setting for MemoryShare {
    fn assign(&mut self, args: &[&str], rule: &Rule) -> Result<(), Reason> {
        let text = only(args)?;
        if let Some(percent) = text.strip_suffix('%').and_then(|digits| number::parse_u64(digits.as_bytes()))
        {
            let percent = u8::try_from(percent).ok().filter(|&percent| percent <= 100);
            *self = Self::Percent(percent.ok_or("percentage argument must be less or equal to 100")?);
            return Ok(());
        }
        *self = Self::Bytes(parse_number(text, rule)? as u64);
        Ok(())
    }

    fn show(&self, _: &Rule) -> String {
        match self {
            Self::Bytes(bytes) => bytes.to_string(),
            Self::Percent(percent) => format!("{percent}%"),
        }
    }
}

/// A number in the unit that `rule` says, within its range.
fn parse_number(text: &str, rule: &Rule) -> Result<i128, Reason> {
    let Rule::Number(Number { min, max, unit, clamp }) = rule else {
        unreachable!("every row of a number has a range");
    };
    let (parsed, reason) = match unit {
        Unit::Plain => (parse_plain(text), "argument couldn't be parsed into an integer"),
        Unit::Octal => (i128::from_str_radix(text, 8).ok(), "argument couldn't be parsed as an octal number"),
        Unit::Memory => (parse_memory(text).map(i128::from), "argument must be a memory value"),
        Unit::MemoryOrPercent => {
            (parse_memory(text).map(i128::from), "argument must be a memory or percent value")
        }
    };
    let number = parsed.ok_or(reason)?;
    if number < *min || number > *max {
        return Err(out_of_range(rule));
    }
    Ok(clamp.map_or(number, |(low, high)| number.clamp(low, high)))
}

fn parse_plain(text: &str) -> Option<i128> {
    let text = text.as_bytes();
    number::parse_i64(text).map(i128::from).or_else(|| number::parse_u64(text).map(i128::from))
}

fn out_of_range(rule: &Rule) -> Reason {
    match rule {
        Rule::Number(Number { min, max, unit: Unit::Octal, .. }) => {
            format!("argument must be between {min:o} and {max:o} inclusive").into()
        }
        Rule::Number(Number { min, max, .. }) => {
            format!("argument must be between {min} and {max} inclusive").into()
        }
        _ => "argument is out of range".into(),
    }
}

/// Digits and a unit (b, k, kb, m, mb, g, gb in any case; k is 1000, kb 1024). No digits are 0, as Redis has
/// it; what is too large becomes the largest.
pub fn parse_memory(text: &str) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    let count = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u64::MAX) };
    Some(count.saturating_mul(factor))
}

/// In the largest binary unit that divides `bytes`.
pub fn show_memory(bytes: u64) -> String {
    for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_knows_decimal_and_binary_units() {
        for (text, bytes) in
            [("10", 10), ("1k", 1000), ("1KB", 1024), ("2m", 2_000_000), ("64mb", 64 << 20), ("1Gb", 1 << 30)]
        {
            assert_eq!(parse_memory(text), Some(bytes), "{text}");
        }
        assert_eq!(parse_memory(""), Some(0));
        assert_eq!(parse_memory("99999999999999999999"), Some(u64::MAX));
        for bad in ["-1", "1.5gb", "1tb", "abc", "1 k"] {
            assert_eq!(parse_memory(bad), None, "{bad}");
        }
        assert_eq!(show_memory(64 << 20), "64mb");
        assert_eq!(show_memory(1_025_000), "1025000");
        assert_eq!(show_memory(0), "0");
    }

    #[test]
    fn a_share_is_bytes_or_a_percentage() {
        let mut share = MemoryShare::Bytes(0);
        share.assign(&["5%"], &memory_or_percent()).unwrap();
        assert_eq!(share.bytes(1000), 50);
        assert_eq!(share.show(&memory_or_percent()), "5%");
        let error = share.assign(&["101%"], &memory_or_percent()).unwrap_err();
        assert_eq!(error, "percentage argument must be less or equal to 100");
        let error = share.assign(&["-5"], &memory_or_percent()).unwrap_err();
        assert_eq!(error, "argument must be a memory or percent value");
    }
}
