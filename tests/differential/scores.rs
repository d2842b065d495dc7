//! The text of a double as Redis writes it since 7.2, worked out anew from the number.

/// The shortest digits that read back as the number, with an exponent where it is far from one.
pub fn text(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    // Integers are written as such if half of the range of 64 bits holds them.
    let bound = (i64::MAX / 2) as f64;
    if number.abs() <= bound && number.fract() == 0.0 {
        return (number as i64).to_string();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("the form has an exponent");
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().expect("a number");
    let len = digits.len() as i32;
    // The number is the digits times ten to this power.
    let power = exponent - (len - 1);
    if power >= 0 && exponent.abs() < len + 7 {
        return format!("{sign}{digits}{}", "0".repeat(power as usize));
    }
    if power < 0 && (power > -7 || exponent.abs() < 4) {
        if exponent < 0 {
            return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
        }
        let (whole, fraction) = digits.split_at((exponent + 1) as usize);
        return format!("{sign}{whole}.{fraction}");
    }
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{first}{point}{rest}e{exponent_sign}{}", exponent.abs())
}

#[test]
fn doubles_are_written_in_their_shortest_form() {
    for (number, expected) in [
        (0.1, "0.1"),
        (-1.25, "-1.25"),
        (1e17, "100000000000000000"),
        (1e19, "1e+19"),
        (1e300, "1e+300"),
        (-1e-300, "-1e-300"),
        (12345.678, "12345.678"),
        (0.00001, "0.00001"),
    ] {
        assert_eq!(text(number), expected);
    }
}
