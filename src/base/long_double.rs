//! C's `long double` on x86-64: 80-bit floating point, as INCRBYFLOAT and HINCRBYFLOAT of Redis compute with it.
//!
//! Reads what `strtold` reads and prints what `%.17Lf` prints, to the last digit, on every platform.

use std::fmt;
use std::ops::Add;

use rustc_apfloat::Float;
use rustc_apfloat::ieee::X87DoubleExtended;

/// An 80-bit floating point number; sums may be infinite or NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LongDouble(X87DoubleExtended);

/// Longer texts are no number to Redis.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
/// With so few digits, a larger decimal or binary exponent means infinity or zero.
const EXPONENT_MAX: i64 = 100_000;

const FRACTION_DIGITS: usize = 17;
const FRACTION_SCALE: u128 = 10u128.pow(FRACTION_DIGITS as u32);

impl LongDouble {
    /// Reads all of `text` as a decimal or hexadecimal number or an infinity. NaN, spaces, numbers too large and
    /// numbers so small that nothing is left of them are refused.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX || !text.is_ascii() {
            return None;
        }
        let (is_negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let magnitude = if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
            X87DoubleExtended::INFINITY
        } else {
            parse_magnitude(text)?
        };
        Some(Self(if is_negative { -magnitude } else { magnitude }))
    }

    pub fn is_finite(self) -> bool {
        self.0.is_finite()
    }
}

impl From<i64> for LongDouble {
    fn from(n: i64) -> Self {
        Self(X87DoubleExtended::from_i128(i128::from(n)).value)
    }
}

impl Add for LongDouble {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self((self.0 + other.0).value)
    }
}

/// Reads a finite number without its sign.
fn parse_magnitude(text: &[u8]) -> Option<X87DoubleExtended> {
    let (is_hex, digits) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let is_exponent_sign = |&byte: &u8| byte.eq_ignore_ascii_case(if is_hex { &b'p' } else { &b'e' });
    let (mantissa, exponent) = match digits.iter().position(is_exponent_sign) {
        Some(at) => (&digits[..at], parse_exponent(&digits[at + 1..])?),
        None => (digits, 0),
    };
    if !is_mantissa(mantissa, is_hex) {
        return None;
    }
    if mantissa.iter().all(|byte| matches!(byte, b'0' | b'.')) {
        return Some(X87DoubleExtended::ZERO);
    }
    if exponent.abs() > EXPONENT_MAX {
        return None;
    }
    let mantissa = std::str::from_utf8(mantissa).ok()?;
    let text = if is_hex { format!("0x{mantissa}p{exponent}") } else { format!("{mantissa}e{exponent}") };
    let value = text.parse::<X87DoubleExtended>().ok()?;
    (value.is_finite() && !value.is_zero()).then_some(value)
}

/// Digits with at most one point among them.
fn is_mantissa(text: &[u8], is_hex: bool) -> bool {
    let (mut digits, mut points) = (0, 0);
    for byte in text {
        match byte {
            b'.' => points += 1,
            b'0'..=b'9' => digits += 1,
            _ if is_hex && byte.is_ascii_hexdigit() => digits += 1,
            _ => return false,
        }
    }
    digits > 0 && points <= 1
}

/// The digits behind `e` or `p`; saturates far beyond `EXPONENT_MAX`.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude =
        digits.iter().fold(0i64, |n, digit| n.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    Some(if is_negative { -magnitude } else { magnitude })
}

/// Prints 17 digits behind the point, rounded to even, and drops trailing zeros; zero has no sign.
impl fmt::Display for LongDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_nan() {
            return f.write_str("nan");
        }
        let sign = if self.0.is_negative() { "-" } else { "" };
        if self.0.is_infinite() {
            return write!(f, "{sign}inf");
        }
        let bits = self.0.to_bits();
        let significand = bits as u64;
        let biased_exponent = (bits >> 64) as i32 & 0x7fff;
        // The value is `significand * 2^exponent`.
        let exponent = biased_exponent.max(1) - 16383 - 63;
        if exponent >= 0 {
            return write!(f, "{sign}{}", decimal_of_shifted(significand, exponent as u32));
        }
        let (integer, fraction) = split_at_point(significand, exponent.unsigned_abs());
        if fraction != 0 {
            let digits = format!("{fraction:0FRACTION_DIGITS$}");
            write!(f, "{sign}{integer}.{}", digits.trim_end_matches('0'))
        } else if integer != 0 {
            write!(f, "{sign}{integer}")
        } else {
            f.write_str("0")
        }
    }
}

/// Of `significand / 2^shift` the integer, and the fraction in units of 10^-17.
fn split_at_point(significand: u64, shift: u32) -> (u64, u64) {
    // What is shifted so far is less than half a unit.
    if shift >= u128::BITS {
        return (0, 0);
    }
    let integer = significand.checked_shr(shift).unwrap_or(0);
    let fraction = if shift < u64::BITS { significand & ((1 << shift) - 1) } else { significand };
    let scaled = u128::from(fraction) * FRACTION_SCALE;
    let (units, rest, half) = (scaled >> shift, scaled & ((1 << shift) - 1), 1u128 << (shift - 1));
    let rounds_up = rest > half || (rest == half && units & 1 == 1);
    match units + u128::from(rounds_up) {
        FRACTION_SCALE => (integer + 1, 0),
        units => (integer, units as u64),
    }
}

/// The decimal digits of `significand * 2^shift`.
fn decimal_of_shifted(significand: u64, shift: u32) -> String {
    const LIMB: u64 = 1_000_000_000;
    let mut limbs = vec![significand % LIMB, significand / LIMB % LIMB, significand / LIMB / LIMB];
    let mut left = shift;
    while left > 0 {
        let step = left.min(32);
        let mut carry = 0;
        for limb in &mut limbs {
            let shifted = (*limb << step) + carry;
            *limb = shifted % LIMB;
            carry = shifted / LIMB;
        }
        while carry > 0 {
            limbs.push(carry % LIMB);
            carry /= LIMB;
        }
        left -= step;
    }
    let digits: String = limbs.iter().rev().map(|limb| format!("{limb:09}")).collect();
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> Option<String> {
        LongDouble::parse(text.as_bytes()).map(|value| value.to_string())
    }

    fn sum(a: &str, b: &str) -> String {
        (LongDouble::parse(a.as_bytes()).unwrap() + LongDouble::parse(b.as_bytes()).unwrap()).to_string()
    }

    #[test]
    fn numbers_print_with_seventeen_digits_behind_the_point() {
        for (text, expected) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("1", "1"),
            ("3.0e3", "3000"),
            ("10.50", "10.5"),
            ("0.1", "0.1"),
            ("-0.1", "-0.1"),
            ("1234567.89", "1234567.88999999999998636"),
            ("1e-17", "0.00000000000000001"),
            ("1e-18", "0"),
            ("-1e-18", "0"),
            ("0.99999999999999999999", "1"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "18446744073709551616"),
            ("1e30", "1000000000000000000024696061952"),
            (".5", "0.5"),
            ("5.", "5"),
            ("+5", "5"),
            ("0x10", "16"),
            ("0x.8p1", "1"),
            ("0X1P-2", "0.25"),
            ("inf", "inf"),
            ("-Infinity", "-inf"),
        ] {
            assert_eq!(printed(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(printed("1e4932").unwrap().len(), 4933);
    }

    #[test]
    fn what_strtold_does_not_read_whole_is_refused() {
        for text in [
            "",
            " 1",
            "1 ",
            "1e",
            "1e+",
            "e5",
            ".",
            "0x",
            "0xp1",
            "1.2.3",
            "nan",
            "--1",
            "+-1",
            "1f",
            "1e4933",
            "-1e4933",
            "1e-5000",
            "1e99999999999999999999",
            "0x1p99999",
            "infx",
        ] {
            assert_eq!(printed(text), None, "{text}");
        }
        assert_eq!(printed("0e99999999999999999999").as_deref(), Some("0"));
        assert_eq!(printed(&"1".repeat(TEXT_BYTES_MAX + 1)), None);
    }

    #[test]
    fn sums_have_eighty_bits() {
        assert_eq!(sum("0.1", "0.2"), "0.3");
        assert_eq!(sum("3", "1.1"), "4.1");
        assert_eq!(sum("9223372036854775807", "1"), "9223372036854775808");
        assert_eq!(sum("1e18", "0.1"), "1000000000000000000.125");
        assert!(!(LongDouble::parse(b"inf").unwrap() + LongDouble::parse(b"-inf").unwrap()).is_finite());
        assert_eq!(LongDouble::from(i64::MIN).to_string(), "-9223372036854775808");
    }
}
