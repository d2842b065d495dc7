//! Values and replies as the debugger shows them.

use mlua::Value;

use crate::base::number::{format_g, parse_i64};
use crate::base::quote::quote;

/// Levels of nested tables that are shown.
const DEPTH_MAX: usize = 10;
/// Significant digits of numbers, as C's `%g` has them.
const DIGITS: i32 = 6;

/// Appends a Lua value.
pub fn value(shown: &Value, out: &mut Vec<u8>) {
    nested_value(shown, 0, out);
}

fn nested_value(shown: &Value, depth: usize, out: &mut Vec<u8>) {
    if depth == DEPTH_MAX {
        return out.extend_from_slice(b"<max recursion level reached! Nested table?>");
    }
    match shown {
        Value::String(text) => quote(&text.as_bytes(), out),
        Value::Boolean(is_true) => out.extend_from_slice(if *is_true { b"true" } else { b"false" }),
        Value::Integer(n) => out.extend_from_slice(format_g(*n as f64, DIGITS).as_bytes()),
        Value::Number(n) => out.extend_from_slice(format_g(*n, DIGITS).as_bytes()),
        Value::Nil => out.extend_from_slice(b"nil"),
        Value::Table(table) => {
            let pairs: Vec<(Value, Value)> = table.pairs().map_while(Result::ok).collect();
            let is_array = pairs.iter().zip(1..).all(|((key, _), index)| is_index(key, index));
            out.push(b'{');
            for (at, (key, element)) in pairs.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b"; ");
                }
                if !is_array {
                    out.push(b'[');
                    nested_value(key, depth + 1, out);
                    out.extend_from_slice(b"]=");
                }
                nested_value(element, depth + 1, out);
            }
            out.push(b'}');
        }
        other => {
            let kind = match other {
                Value::Function(_) => "function",
                Value::Thread(_) => "thread",
                Value::LightUserData(_) => "light-userdata",
                _ => "userdata",
            };
            out.extend_from_slice(format!("\"{kind}@{:p}\"", other.to_pointer()).as_bytes());
        }
    }
}

fn is_index(key: &Value, index: i64) -> bool {
    matches!(key, Value::Integer(n) if *n == index) || matches!(key, Value::Number(n) if *n == index as f64)
}

/// Appends a reply, given as the bytes that a client would read.
pub fn reply(bytes: &[u8], out: &mut Vec<u8>) {
    // Replies are well-formed; of one that is not, the beginning is shown.
    let _ = next_reply(bytes, out);
}

/// Appends the reply at the start of `bytes`; answers what is behind it.
fn next_reply<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let end = memchr::memchr(b'\r', bytes)?;
    let (line, rest) = (&bytes[..end], bytes.get(end + 2..)?);
    let (&kind, text) = line.split_first()?;
    match kind {
        b':' => out.extend_from_slice(text),
        b'+' | b'-' => quote(line, out),
        b'$' => {
            let Ok(len) = usize::try_from(parse_i64(text)?) else {
                out.extend_from_slice(b"NULL");
                return Some(rest);
            };
            quote(rest.get(..len)?, out);
            return rest.get(len + 2..);
        }
        b'*' => return elements(text, rest, ("[", "]"), out),
        b'~' => return elements(text, rest, ("~(", ")"), out),
        b'%' => {
            let mut rest = rest;
            out.push(b'{');
            for at in 0..parse_i64(text)? {
                if at > 0 {
                    out.push(b',');
                }
                rest = next_reply(rest, out)?;
                out.extend_from_slice(b" => ");
                rest = next_reply(rest, out)?;
            }
            out.push(b'}');
            return Some(rest);
        }
        b'_' => out.extend_from_slice(b"(null)"),
        b'#' => out.extend_from_slice(if text == b"t" { b"#true" } else { b"#false" }),
        b',' => {
            out.extend_from_slice(b"(double) ");
            out.extend_from_slice(text);
        }
        _ => return None,
    }
    Some(rest)
}

fn elements<'a>(
    len: &[u8],
    mut rest: &'a [u8],
    (before, behind): (&str, &str),
    out: &mut Vec<u8>,
) -> Option<&'a [u8]> {
    let len = parse_i64(len)?;
    if len < 0 {
        out.extend_from_slice(b"NULL");
        return Some(rest);
    }
    out.extend_from_slice(before.as_bytes());
    for at in 0..len {
        if at > 0 {
            out.push(b',');
        }
        rest = next_reply(rest, out)?;
    }
    out.extend_from_slice(behind.as_bytes());
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_shown_on_one_line() {
        for (bytes, expected) in [
            (":12\r\n", "12"),
            ("+OK\r\n", "\"+OK\""),
            ("-ERR no\r\n", "\"-ERR no\""),
            ("$-1\r\n", "NULL"),
            ("*-1\r\n", "NULL"),
            ("*2\r\n$3\r\na\nb\r\n:1\r\n", "[\"a\\nb\",1]"),
            ("%1\r\n$1\r\na\r\n_\r\n", "{\"a\" => (null)}"),
            ("~2\r\n#t\r\n,1.5\r\n", "~(#true,(double) 1.5)"),
        ] {
            let mut out = Vec::new();
            reply(bytes.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
