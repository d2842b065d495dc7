//! A Lua value as a reply: what a script returns, as its client reads it.

use mlua::{Table, Value};

use crate::resp::error::ErrorReply;
use crate::resp::reply::{Deferred, Protocol, Reply};

/// How deep tables may lie within each other: as deep as Redis' Lua stack lets them.
const DEPTH_MAX: usize = 7995;
const TOO_DEEP: ErrorReply = ErrorReply::fixed("ERR reached lua stack limit");

/// An aggregate of which some elements are written.
enum Open {
    Array {
        table: Table,
        next: usize,
        header: Deferred,
    },
    /// Elements in reverse: keys and values, or members.
    Map {
        rest: Vec<Value>,
        pairs: usize,
        header: Deferred,
    },
    Set {
        rest: Vec<Value>,
        len: usize,
        header: Deferred,
    },
}

/// Writes `value` for a client. What booleans are depends on the protocol that the script has chosen. Answers the lines of
/// error replies at the top, so that they can be counted.
pub fn write_reply(reply: &mut Reply<'_>, value: Value, script_protocol: Protocol) -> mlua::Result<()> {
    // Not by recursion: a script may return tables as deep as it likes.
    let mut open: Vec<Open> = Vec::new();
    begin(reply, value, script_protocol, &mut open)?;
    while let Some(aggregate) = open.last_mut() {
        let next = match aggregate {
            Open::Array { table, next, .. } => {
                let value: Value = table.raw_get(*next + 1)?;
                let is_last = matches!(value, Value::Nil);
                *next += usize::from(!is_last);
                (!is_last).then_some(value)
            }
            Open::Map { rest, .. } | Open::Set { rest, .. } => rest.pop(),
        };
        match next {
            Some(value) => begin(reply, value, script_protocol, &mut open)?,
            None => match open.pop() {
                Some(Open::Array { next, header, .. }) => reply.end_array(header, next),
                Some(Open::Map { pairs, header, .. }) => reply.end_map(header, pairs),
                Some(Open::Set { len, header, .. }) => reply.end_set(header, len),
                None => {}
            },
        }
    }
    Ok(())
}

/// Writes a scalar, or opens an aggregate.
fn begin(
    reply: &mut Reply<'_>,
    value: Value,
    script_protocol: Protocol,
    open: &mut Vec<Open>,
) -> mlua::Result<()> {
    match value {
        Value::String(text) => reply.bulk(text.as_bytes()),
        Value::Integer(n) => reply.integer(n),
        Value::Number(n) => reply.integer(truncated(n)),
        Value::Boolean(truth) if script_protocol == Protocol::Resp3 => reply.boolean(truth),
        Value::Boolean(true) => reply.integer(1),
        Value::Table(table) if open.len() < DEPTH_MAX => return begin_table(reply, table, open),
        Value::Table(_) => reply.error(&TOO_DEEP),
        _ => reply.null(),
    }
    Ok(())
}

fn begin_table(reply: &mut Reply<'_>, table: Table, open: &mut Vec<Open>) -> mlua::Result<()> {
    if let Value::String(line) = table.raw_get("err")? {
        reply.error_line(&line.as_bytes());
        return Ok(());
    }
    if let Value::String(text) = table.raw_get("ok")? {
        reply.simple_line(&text.as_bytes());
        return Ok(());
    }
    match table.raw_get("double")? {
        Value::Number(n) => {
            reply.double(n);
            return Ok(());
        }
        Value::Integer(n) => {
            reply.double(n as f64);
            return Ok(());
        }
        _ => {}
    }
    if let Value::Table(map) = table.raw_get("map")? {
        let mut rest = Vec::new();
        for pair in map.pairs::<Value, Value>() {
            let (key, value) = pair?;
            rest.extend([key, value]);
        }
        let pairs = rest.len() / 2;
        rest.reverse();
        open.push(Open::Map { rest, pairs, header: reply.defer() });
        return Ok(());
    }
    if let Value::Table(set) = table.raw_get("set")? {
        let mut rest = set
            .pairs::<Value, Value>()
            .map(|pair| pair.map(|(member, _)| member))
            .collect::<mlua::Result<Vec<_>>>()?;
        rest.reverse();
        open.push(Open::Set { len: rest.len(), rest, header: reply.defer() });
        return Ok(());
    }
    if let Value::String(digits) = table.raw_get("big_number")? {
        reply.big_number(&digits.as_bytes());
        return Ok(());
    }
    if let Value::Table(verbatim) = table.raw_get("verbatim_string")?
        && let (Value::String(format), Value::String(text)) =
            (verbatim.raw_get("format")?, verbatim.raw_get("string")?)
    {
        let mut letters = [b' '; 3];
        let format = format.as_bytes();
        let len = format.len().min(letters.len());
        letters[..len].copy_from_slice(&format[..len]);
        reply.verbatim_bytes(letters, &text.as_bytes());
        return Ok(());
    }
    open.push(Open::Array { table, next: 0, header: reply.defer() });
    Ok(())
}

/// A number without its fraction; what is out of range is the least integer, as a C cast makes it.
fn truncated(n: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&n) { n as i64 } else { i64::MIN }
}
