//! The beginning of a text as a floating-point number, as C's `strtod` reads it.

use rustc_apfloat::ieee::Double;
use rustc_apfloat::{Float, Round};

/// The number that `text` begins with and the bytes it takes: decimal or hexadecimal, with an exponent or without,
/// infinity or NaN. Numbers too great are infinite, those too small zero.
pub fn parse(text: &[u8]) -> Option<(f64, usize)> {
    let (is_negative, sign) = match text.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let (magnitude, length) = unsigned(&text[sign..])?;
    Some((if is_negative { -magnitude } else { magnitude }, sign + length))
}

fn unsigned(text: &[u8]) -> Option<(f64, usize)> {
    let starts_with =
        |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if starts_with(b"infinity") {
        return Some((f64::INFINITY, 8));
    }
    if starts_with(b"inf") {
        return Some((f64::INFINITY, 3));
    }
    if starts_with(b"nan") {
        return Some((f64::NAN, 3 + nan_payload(&text[3..])));
    }
    if starts_with(b"0x")
        && let Some(found) = hexadecimal(text)
    {
        return Some(found);
    }
    let length = extent(text, 0, u8::is_ascii_digit, *b"eE")?;
    let number = std::str::from_utf8(&text[..length]).ok()?;
    let number = if length < LONG { number.parse().ok()? } else { shortened(number).parse().ok()? };
    Some((number, length))
}

/// A decimal of this length may have an exponent that its digits make up for, which Rust's parser does not see to the end.
const LONG: usize = 1000;

/// The same number with its point before the first digit that counts, and with no more digits than can matter: 767 of
/// them decide how a double is rounded, and whether any further one is not zero.
fn shortened(number: &str) -> String {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    let zeros = digits.bytes().take_while(|digit| *digit == b'0').count();
    let is_negative = exponent.starts_with('-');
    let magnitude = exponent
        .trim_start_matches(['+', '-'])
        .bytes()
        .fold(0i64, |exponent, digit| exponent.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    let exponent = if is_negative { -magnitude } else { magnitude };
    let exponent = exponent.saturating_add(whole.len() as i64 - zeros as i64).clamp(-9999, 9999);
    digits.drain(..zeros);
    if digits.len() > LONG {
        let is_exact = digits[LONG..].bytes().all(|digit| digit == b'0');
        digits.truncate(LONG);
        digits.push(if is_exact { '0' } else { '1' });
    }
    format!("0.{digits}e{exponent}")
}

/// `(letters)` after `nan`, if it is whole.
fn nan_payload(text: &[u8]) -> usize {
    let Some(inside) = text.strip_prefix(b"(") else {
        return 0;
    };
    let letters = inside.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if inside.get(letters) == Some(&b')') { letters + 2 } else { 0 }
}

fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let length = extent(text, 2, u8::is_ascii_hexdigit, *b"pP")?;
    let number = std::str::from_utf8(&text[..length]).ok()?;
    let with_exponent = if number.contains(['p', 'P']) { number.to_owned() } else { format!("{number}p0") };
    let parsed = Double::from_str_r(&with_exponent, Round::NearestTiesToEven).ok()?.value;
    Some((f64::from_bits(parsed.to_bits() as u64), length))
}

/// The bytes of digits with at most one point among them, and of an exponent if one is whole.
fn extent(text: &[u8], from: usize, is_digit: fn(&u8) -> bool, exponent: [u8; 2]) -> Option<usize> {
    let digits = |from: usize, is_digit: fn(&u8) -> bool| {
        text[from..].iter().take_while(|byte| is_digit(byte)).count()
    };
    let whole = digits(from, is_digit);
    let mut end = from + whole;
    let mut count = whole;
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1, is_digit);
        count += fraction;
        if count > 0 {
            end += 1 + fraction;
        }
    }
    if count == 0 {
        return None;
    }
    if text.get(end).is_some_and(|byte| exponent.contains(byte)) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = text.get(end + 1 + sign..).map_or(0, |_| digits(end + 1 + sign, u8::is_ascii_digit));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_longest_beginning_that_is_a_number_counts() {
        for (text, number, length) in [
            ("12", 12.0, 2),
            ("-1.5e3,", -1500.0, 6),
            ("+.5x", 0.5, 3),
            ("1.e", 1.0, 2),
            ("1e+", 1.0, 1),
            ("0x1F", 31.0, 4),
            ("0x.8p1z", 1.0, 6),
            ("0xg", 0.0, 1),
            ("0x1p-1074", 5e-324, 9),
            ("0x1p-1075", 0.0, 9),
            ("0x1.fffffffffffff8p0", 2.0, 20),
            ("infinit", f64::INFINITY, 3),
            ("-Infinity]", f64::NEG_INFINITY, 9),
            ("1e999", f64::INFINITY, 5),
            ("1e-999", 0.0, 6),
        ] {
            assert_eq!(parse(text.as_bytes()), Some((number, length)), "{text}");
        }
        for text in ["", "-", ".", "x", "+-1", "e5", "-.e1"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        for (text, length) in [("nan", 3), ("NaN(12_a)]", 9), ("nan(1 2)", 3), ("nan(", 3)] {
            let (number, taken) = parse(text.as_bytes()).unwrap();
            assert!(number.is_nan() && taken == length, "{text}");
        }
    }

    #[test]
    fn digits_make_up_for_exponents_of_any_size() {
        let zeros = "0".repeat(1_000_000);
        for (text, number) in [
            (format!("0.{zeros}1e1000001"), 1.0),
            (format!("-123{zeros}e-1000002"), -1.23),
            (format!("1{zeros}"), f64::INFINITY),
            (format!("1{zeros}e-{zeros}2000000"), 0.0),
            (format!("{zeros}.{zeros}e999999999999999999999"), 0.0),
            // Half way between two doubles, and just above.
            (format!("9007199254740993.{zeros}"), 9_007_199_254_740_992.0),
            (format!("9007199254740993.{zeros}1"), 9_007_199_254_740_994.0),
        ] {
            assert_eq!(parse(text.as_bytes()), Some((number, text.len())));
        }
    }
}
