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
    let number = std::str::from_utf8(&text[..length]).ok()?.parse().ok()?;
    Some((number, length))
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
