//! A Lua value as a reply: what a script returns, as its client reads it.

use mlua::{Function, Table, Value};

use crate::resp::error::ErrorReply;
use crate::resp::reply::{Deferred, Protocol, Reply};

/// How deep tables may lie within each other. Each that is open takes two references to Lua's values, of which there are a
/// few thousand.
const DEPTH_MAX: usize = 1000;
const TOO_DEEP: ErrorReply = ErrorReply::fixed("ERR reached lua stack limit");

/// An aggregate of which some elements are written.
struct Open {
    table: Table,
    kind: Kind,
    /// The key of the element that was written last.
    key: Value,
    len: usize,
    header: Deferred,
}

impl Open {
    fn new(table: Table, kind: Kind, reply: &Reply<'_>) -> Self {
        Self { table, kind, key: Value::Nil, len: 0, header: reply.defer() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Array,
    Map,
    Set,
}

/// Writes `value` for a client. What booleans are depends on the protocol that the script has chosen. `next` is Lua's.
pub fn write_reply(
    next: &Function,
    reply: &mut Reply<'_>,
    value: Value,
    script_protocol: Protocol,
) -> mlua::Result<()> {
    // Not by recursion: a script may return tables as deep as it likes.
    let mut open: Vec<Open> = Vec::new();
    begin(reply, value, script_protocol, &mut open)?;
    while let Some(aggregate) = open.last_mut() {
        let (key, value): (Value, Value) = match aggregate.kind {
            Kind::Array => (Value::Nil, aggregate.table.raw_get(aggregate.len + 1)?),
            Kind::Map | Kind::Set => next.call((&aggregate.table, &aggregate.key))?,
        };
        let is_over = match aggregate.kind {
            Kind::Array => value.is_nil(),
            Kind::Map | Kind::Set => key.is_nil(),
        };
        if is_over {
            if let Some(Open { kind, len, header, .. }) = open.pop() {
                match kind {
                    Kind::Array => reply.end_array(header, len),
                    Kind::Map => reply.end_map(header, len),
                    Kind::Set => reply.end_set(header, len),
                }
            }
            continue;
        }
        aggregate.len += 1;
        aggregate.key = key.clone();
        match aggregate.kind {
            Kind::Array => begin(reply, value, script_protocol, &mut open)?,
            Kind::Map => {
                write_key(reply, key, script_protocol)?;
                begin(reply, value, script_protocol, &mut open)?;
            }
            Kind::Set => write_key(reply, key, script_protocol)?,
        }
    }
    Ok(())
}

/// Writes the key of a map or the member of a set. Tables in this place are written as if they were empty.
fn write_key(reply: &mut Reply<'_>, key: Value, script_protocol: Protocol) -> mlua::Result<()> {
    match key {
        Value::Table(_) => {
            reply.array(0);
            Ok(())
        }
        key => begin(reply, key, script_protocol, &mut Vec::new()),
    }
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
        open.push(Open::new(map, Kind::Map, reply));
        return Ok(());
    }
    if let Value::Table(set) = table.raw_get("set")? {
        open.push(Open::new(set, Kind::Set, reply));
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
    open.push(Open::new(table, Kind::Array, reply));
    Ok(())
}

/// A number without its fraction; what is out of range is the least integer, as a C cast makes it.
fn truncated(n: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&n) { n as i64 } else { i64::MIN }
}
