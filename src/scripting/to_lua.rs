//! A reply's bytes as a Lua value, straight from the buffer.
//!
//! RESP2: an integer is a number, a bulk string a string, null `false`, an array a table, a status `{ok=}`, an error `{err=}`.
//! What RESP3 adds: `{map=}`, `{set=}`, `{double=}`, `{big_number=}`, `{verbatim_string=}`, booleans, and null as `nil`.

use mlua::{Lua, Table, Value};

use super::error;

/// Why bytes are no reply: a fault of this server.
const MALFORMED: &str = "malformed reply";

/// Reads replies one after the other.
pub struct ReplyReader<'a> {
    bytes: &'a [u8],
}

impl<'a> ReplyReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn value(&mut self, lua: &Lua) -> mlua::Result<Value> {
        let (kind, line) = self.line()?;
        match kind {
            b':' => Ok(Value::Number(integer(line)? as f64)),
            b'$' => match integer(line)? {
                ..0 => Ok(Value::Boolean(false)),
                len => Ok(Value::String(lua.create_string(self.blob(len)?)?)),
            },
            b'+' => Ok(Value::Table(field(lua, "ok", Value::String(lua.create_string(line)?))?)),
            b'-' => Ok(Value::Table(error::error_table(lua, line, true)?)),
            b'*' | b'>' => match integer(line)? {
                ..0 => Ok(Value::Boolean(false)),
                len => self.array(lua, len as usize),
            },
            b'_' => Ok(Value::Nil),
            b'#' => Ok(Value::Boolean(line == b"t")),
            b',' => Ok(Value::Table(field(lua, "double", Value::Number(double(line)?))?)),
            b'(' => Ok(Value::Table(field(lua, "big_number", Value::String(lua.create_string(line)?))?)),
            b'=' => {
                let text = self.blob(integer(line)?)?;
                let (format, text) = text.split_at_checked(4).ok_or_else(malformed)?;
                let inner = lua.create_table()?;
                inner.raw_set("format", lua.create_string(&format[..3])?)?;
                inner.raw_set("string", lua.create_string(text)?)?;
                Ok(Value::Table(field(lua, "verbatim_string", Value::Table(inner))?))
            }
            b'%' => {
                let pairs = lua.create_table()?;
                for _ in 0..integer(line)? {
                    let key = self.value(lua)?;
                    let value = self.value(lua)?;
                    if key != Value::Nil {
                        pairs.raw_set(key, value)?;
                    }
                }
                Ok(Value::Table(field(lua, "map", Value::Table(pairs))?))
            }
            b'~' => {
                let members = lua.create_table()?;
                for _ in 0..integer(line)? {
                    let member = self.value(lua)?;
                    if member != Value::Nil {
                        members.raw_set(member, true)?;
                    }
                }
                Ok(Value::Table(field(lua, "set", Value::Table(members))?))
            }
            // Attributes are for clients; the value follows.
            b'|' => {
                for _ in 0..2 * integer(line)? {
                    self.value(lua)?;
                }
                self.value(lua)
            }
            _ => Err(malformed()),
        }
    }

    fn array(&mut self, lua: &Lua, len: usize) -> mlua::Result<Value> {
        let table = lua.create_table_with_capacity(len, 0)?;
        for index in 1..=len {
            table.raw_set(index, self.value(lua)?)?;
        }
        Ok(Value::Table(table))
    }

    /// The kind of the next element and the rest of its line.
    fn line(&mut self) -> mlua::Result<(u8, &'a [u8])> {
        let end = memchr::memchr(b'\r', self.bytes).ok_or_else(malformed)?;
        let (line, rest) = self.bytes.split_at(end);
        self.bytes = rest.get(2..).ok_or_else(malformed)?;
        line.split_first().map(|(&kind, line)| (kind, line)).ok_or_else(malformed)
    }

    fn blob(&mut self, len: i64) -> mlua::Result<&'a [u8]> {
        let len = usize::try_from(len).map_err(|_| malformed())?;
        let (blob, rest) = self.bytes.split_at_checked(len).ok_or_else(malformed)?;
        self.bytes = rest.get(2..).ok_or_else(malformed)?;
        Ok(blob)
    }
}

fn field(lua: &Lua, name: &str, value: Value) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(name, value)?;
    Ok(table)
}

fn integer(line: &[u8]) -> mlua::Result<i64> {
    crate::base::number::parse_i64(line).ok_or_else(malformed)
}

fn double(line: &[u8]) -> mlua::Result<f64> {
    match line {
        b"nan" | b"-nan" => Ok(f64::NAN),
        _ => crate::base::number::parse_f64(line).ok_or_else(malformed),
    }
}

fn malformed() -> mlua::Error {
    mlua::Error::runtime(MALFORMED)
}
