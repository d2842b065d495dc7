//! Lua values to JSON.
//!
//! Tables near the root are gone through by recursion, which is fast; further inside without any, however deep they are.

use mlua::{Lua, Table, Value};

use super::{InvalidNumbers, Settings, Shared};
use crate::base::number::format_g;
use crate::scripting::libraries::arguments::{error, type_name};
use crate::scripting::libraries::table_stack::TableStack;
use crate::scripting::libraries::{OUTPUT_BYTES_MAX, STACK_SLOTS_MAX, out_of_memory};

const RECURSION_MAX: i32 = 64;

pub struct Encoder<'a> {
    lua: &'a Lua,
    shared: &'a Shared,
    settings: Settings,
    out: Vec<u8>,
}

/// Where a table stands.
#[derive(Clone, Copy)]
struct Place {
    depth: i32,
    /// Slots of Lua's stack that the reference implementation has in use.
    slots: usize,
}

/// A table that is being written, as far as it is.
enum Open {
    Array { index: i64, length: i64 },
    Object { is_first: bool },
}

impl Open {
    /// Slots that it takes while a value inside is written.
    fn slots(&self) -> usize {
        match self {
            Open::Array { .. } => 1,
            Open::Object { .. } => 2,
        }
    }
}

impl<'a> Encoder<'a> {
    pub fn new(lua: &'a Lua, shared: &'a Shared) -> Self {
        Encoder { lua, shared, settings: shared.settings.get(), out: Vec::new() }
    }

    pub fn encode(mut self, value: &Value) -> mlua::Result<Vec<u8>> {
        match value {
            Value::Table(table) => self.table(table, Place { depth: 1, slots: 1 })?,
            value => self.scalar(value)?,
        }
        Ok(self.out)
    }

    fn table(&mut self, table: &Table, place: Place) -> mlua::Result<()> {
        if place.depth > RECURSION_MAX {
            return self.deep_table(table.clone(), place);
        }
        match self.open(table, place)? {
            open @ Open::Array { length, .. } => {
                let inside = place.inside(&open);
                self.out.push(b'[');
                for index in 1..=length {
                    if index > 1 {
                        self.out.push(b',');
                    }
                    self.value(&table.raw_get(index)?, inside)?;
                }
                self.out.push(b']');
            }
            open @ Open::Object { .. } => {
                let inside = place.inside(&open);
                self.out.push(b'{');
                let mut is_first = true;
                table.for_each(|key: Value, value: Value| {
                    self.key(&key, is_first)?;
                    is_first = false;
                    self.value(&value, inside)
                })?;
                self.out.push(b'}');
            }
        }
        Ok(())
    }

    fn value(&mut self, value: &Value, place: Place) -> mlua::Result<()> {
        match value {
            Value::Table(table) => self.table(table, place),
            value => self.scalar(value),
        }
    }

    /// A table and all inside it without recursion. Tables and keys that wait are on `waiting`.
    fn deep_table(&mut self, root: Table, mut place: Place) -> mlua::Result<()> {
        let mut waiting = TableStack::new(self.lua);
        let mut opens: Vec<Open> = Vec::new();
        let mut open = self.start(&root, place)?;
        let mut table = root;
        let mut key = Value::Nil;
        loop {
            let value = match &mut open {
                Open::Array { index, length } => {
                    *index += 1;
                    if *index > *length {
                        None
                    } else {
                        if *index > 1 {
                            self.out.push(b',');
                        }
                        Some(table.raw_get(*index)?)
                    }
                }
                Open::Object { is_first } => {
                    let (next, value): (Value, Value) = self.shared.next.call((&table, &key))?;
                    key = next;
                    if key.is_nil() {
                        None
                    } else {
                        self.key(&key, std::mem::take(is_first))?;
                        Some(value)
                    }
                }
            };
            match value {
                Some(Value::Table(inner)) => {
                    place = place.inside(&open);
                    // A key waits in a table of its own, since any value can be one.
                    if matches!(open, Open::Object { .. }) {
                        let holder = self.lua.create_table()?;
                        holder.raw_set(1, std::mem::replace(&mut key, Value::Nil))?;
                        waiting.push(holder)?;
                    }
                    waiting.push(table)?;
                    opens.push(open);
                    open = self.start(&inner, place)?;
                    table = inner;
                }
                Some(value) => self.scalar(&value)?,
                None => {
                    self.out.push(if matches!(open, Open::Array { .. }) { b']' } else { b'}' });
                    let (Some(outer), Some(outer_open)) = (waiting.pop()?, opens.pop()) else {
                        return Ok(());
                    };
                    table = outer;
                    open = outer_open;
                    place = place.outside(&open);
                    if matches!(open, Open::Object { .. })
                        && let Some(holder) = waiting.pop()?
                    {
                        key = holder.raw_get(1)?;
                    }
                }
            }
        }
    }

    fn start(&mut self, table: &Table, place: Place) -> mlua::Result<Open> {
        let open = self.open(table, place)?;
        self.out.push(if matches!(open, Open::Array { .. }) { b'[' } else { b'{' });
        Ok(open)
    }

    fn open(&mut self, table: &Table, place: Place) -> mlua::Result<Open> {
        if place.depth > self.settings.encode_max_depth || place.slots + 3 > STACK_SLOTS_MAX {
            let sentence = format!("Cannot serialise, excessive nesting ({})", place.depth);
            return Err(error(self.lua, sentence.as_bytes()));
        }
        self.check_output()?;
        Ok(match self.array_length(table)? {
            Some(length) => Open::Array { index: 0, length },
            None => Open::Object { is_first: true },
        })
    }

    /// The last index of a table whose keys are integers from 1, unless too few of them have a value. The arithmetic is that of
    /// C's `int`, whatever the keys are.
    fn array_length(&self, table: &Table) -> mlua::Result<Option<i64>> {
        /// Ends the walk.
        #[derive(Debug)]
        struct NoArray;
        impl std::fmt::Display for NoArray {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                Ok(())
            }
        }
        impl std::error::Error for NoArray {}

        let (mut max, mut items) = (0i32, 0i32);
        let walked = table.for_each(|key: Value, _: mlua::Value| {
            let key = match key {
                Value::Integer(key) => key as f64,
                Value::Number(key) => key,
                _ => 0.0,
            };
            if !(key >= 1.0 && key.floor() == key) {
                return Err(mlua::Error::external(NoArray));
            }
            if key > f64::from(max) {
                max = if key <= f64::from(i32::MAX) { key as i32 } else { i32::MIN };
            }
            items = items.wrapping_add(1);
            Ok(())
        });
        match walked {
            Err(error) if error.downcast_ref::<NoArray>().is_some() => return Ok(None),
            walked => walked?,
        }
        let Settings { encode_sparse_ratio: ratio, encode_sparse_safe: safe, .. } = self.settings;
        if ratio > 0 && max > items.wrapping_mul(ratio) && max > safe {
            if !self.settings.encode_sparse_convert {
                return Err(self.refused("table", "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok((max > 0).then_some(i64::from(max)))
    }

    fn key(&mut self, key: &Value, is_first: bool) -> mlua::Result<()> {
        if !is_first {
            self.out.push(b',');
        }
        match key {
            Value::Integer(_) | Value::Number(_) => {
                self.out.push(b'"');
                self.scalar(key)?;
                self.out.push(b'"');
            }
            Value::String(text) => self.text(&text.as_bytes())?,
            key => return Err(self.refused(type_name(key), "table key must be a number or string")),
        }
        self.out.push(b':');
        Ok(())
    }

    fn scalar(&mut self, value: &Value) -> mlua::Result<()> {
        match value {
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Integer(integer) => self.number(*integer as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::String(text) => self.text(&text.as_bytes())?,
            Value::LightUserData(data) if data.0.is_null() => self.out.extend_from_slice(b"null"),
            value => return Err(self.refused(type_name(value), "type not supported")),
        }
        self.check_output()
    }

    fn number(&mut self, number: f64) -> mlua::Result<()> {
        let precision = self.settings.encode_number_precision;
        if !number.is_finite() {
            match self.settings.encode_invalid_numbers {
                InvalidNumbers::Refused => return Err(self.refused("number", "must not be NaN or Inf")),
                InvalidNumbers::Null => self.out.extend_from_slice(b"null"),
                InvalidNumbers::Written => self.out.extend_from_slice(format_g(number, 14).as_bytes()),
            }
        } else if number.abs() < 10f64.powi(precision) && (number as i64 as f64).to_bits() == number.to_bits()
        {
            self.out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
        } else {
            self.out.extend_from_slice(format_g(number, precision).as_bytes());
        }
        Ok(())
    }

    fn text(&mut self, bytes: &[u8]) -> mlua::Result<()> {
        if self.out.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(out_of_memory());
        }
        self.out.push(b'"');
        let mut rest = bytes;
        while let Some(plain) = rest.iter().position(|byte| needs_escape(*byte)) {
            self.out.extend_from_slice(&rest[..plain]);
            match rest[plain] {
                b'\x08' => self.out.extend_from_slice(b"\\b"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b'\x0c' => self.out.extend_from_slice(b"\\f"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                byte @ (b'"' | b'/' | b'\\') => self.out.extend([b'\\', byte]),
                byte => {
                    const DIGITS: &[u8; 16] = b"0123456789abcdef";
                    let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                    self.out.extend([b'\\', b'u', b'0', b'0', DIGITS[high], DIGITS[low]]);
                }
            }
            rest = &rest[plain + 1..];
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
        Ok(())
    }

    fn refused(&self, type_name: &str, reason: &str) -> mlua::Error {
        error(self.lua, format!("Cannot serialise {type_name}: {reason}").as_bytes())
    }

    fn check_output(&self) -> mlua::Result<()> {
        if self.out.len() > OUTPUT_BYTES_MAX { Err(out_of_memory()) } else { Ok(()) }
    }
}

impl Place {
    fn inside(self, open: &Open) -> Self {
        Place { depth: self.depth + 1, slots: self.slots + open.slots() }
    }

    fn outside(self, open: &Open) -> Self {
        Place { depth: self.depth - 1, slots: self.slots - open.slots() }
    }
}

fn needs_escape(byte: u8) -> bool {
    byte < b' ' || matches!(byte, b'"' | b'/' | b'\\' | 0x7f)
}
