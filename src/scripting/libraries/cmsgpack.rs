//! `cmsgpack`: MessagePack (the library lua-cmsgpack 0.4.0).
//!
//! What is to be unpacked is first walked over without making anything: that finds every fault and where each value ends.
//! Then the values are made, one after the other.

use std::ops::Range;
use std::rc::Rc;

use mlua::{FromLua, IntoLua, Lua, Table, Value, Variadic};

use super::arguments::{Call, Text, add_function, error};
use super::table_stack::TableStack;
use super::{OUTPUT_BYTES_MAX, STACK_SLOTS_MAX, out_of_memory};

/// Tables further inside are packed as nil.
const NESTING_MAX: usize = 16;

/// What mlua needs of Lua's stack to return values, so the very last of them do not fit.
const MLUA_SLOTS: usize = 3;

/// The table `cmsgpack`.
pub fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.raw_set("pack", lua.create_function(pack)?)?;
    add_function(lua, &module, "unpack", unpack)?;
    add_function(lua, &module, "unpack_one", unpack_one)?;
    add_function(lua, &module, "unpack_limit", unpack_limit)?;
    module.raw_set("_NAME", "cmsgpack")?;
    module.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    module.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    module.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(module)
}

/// An argument of `pack`, packed as soon as it is read, so that no reference to it is kept.
struct Packed(Vec<u8>);

impl FromLua for Packed {
    fn from_lua(value: Value, _lua: &Lua) -> mlua::Result<Self> {
        let mut out = Vec::new();
        put_value(&mut out, value, 0)?;
        Ok(Packed(out))
    }
}

/// `cmsgpack.pack(value, ...)`: the values one after the other.
fn pack(lua: &Lua, arguments: Variadic<Packed>) -> mlua::Result<mlua::String> {
    match &arguments[..] {
        [] => Err(Call::without_arguments(lua).argument_error(0, "MessagePack pack needs input.")),
        [Packed(only)] => lua.create_string(only),
        all if 2 * all.len() > STACK_SLOTS_MAX => {
            let sentence = "Too many arguments for MessagePack pack.";
            Err(Call::without_arguments(lua).argument_error(0, sentence))
        }
        all if all.iter().map(|one| one.0.len()).sum::<usize>() > OUTPUT_BYTES_MAX => Err(out_of_memory()),
        all => lua.create_string(all.iter().flat_map(|one| one.0.iter().copied()).collect::<Vec<u8>>()),
    }
}

fn put_value(out: &mut Vec<u8>, value: Value, level: usize) -> mlua::Result<()> {
    if out.len() > OUTPUT_BYTES_MAX {
        return Err(out_of_memory());
    }
    match value {
        Value::Boolean(false) => out.push(0xc2),
        Value::Boolean(true) => out.push(0xc3),
        Value::Integer(integer) => put_integer(out, integer),
        Value::Number(number) => put_number(out, number),
        Value::String(text) => put_bytes(out, &text.as_bytes()),
        Value::Table(table) if level < NESTING_MAX => return put_table(out, &table, level),
        _ => out.push(0xc0),
    }
    Ok(())
}

fn put_table(out: &mut Vec<u8>, table: &Table, level: usize) -> mlua::Result<()> {
    let (count, is_array) = shape(table)?;
    if is_array {
        put_header(out, count, 0x90, 0xdc);
        for index in 1..=count {
            put_value(out, table.raw_get(index)?, level + 1)?;
        }
        return Ok(());
    }
    put_header(out, count, 0x80, 0xde);
    table.for_each(|key: Value, value: Value| {
        put_value(out, key, level + 1)?;
        put_value(out, value, level + 1)
    })
}

/// How many values a table has, and whether their keys are the integers from 1 to that number.
fn shape(table: &Table) -> mlua::Result<(usize, bool)> {
    let (mut count, mut max, mut is_array) = (0, 0, true);
    table.for_each(|key: Value, _: mlua::Value| {
        count += 1;
        match key {
            Value::Integer(key) if key > 0 && key <= i64::from(i32::MAX) => max = max.max(key as usize),
            _ => is_array = false,
        }
        Ok(())
    })?;
    Ok((count, is_array && max == count))
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend([0xd9, length as u8]),
        length @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend((length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

/// The count of an array or map: in the first byte, or as 16 or 32 bits after it.
fn put_header(out: &mut Vec<u8>, count: usize, short: u8, long: u8) {
    match count {
        0..=15 => out.push(short | count as u8),
        16..=0xffff => {
            out.push(long);
            out.extend((count as u16).to_be_bytes());
        }
        _ => {
            out.push(long + 1);
            out.extend((count as u32).to_be_bytes());
        }
    }
}

/// A number without fraction that an `i64` holds is an integer, any other the shortest float that is exact.
fn put_number(out: &mut Vec<u8>, number: f64) {
    let integer = number as i64;
    if integer as f64 == number && integer != i64::MAX {
        put_integer(out, integer);
    } else if f64::from(number as f32) == number {
        out.push(0xca);
        out.extend((number as f32).to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend(number.to_be_bytes());
    }
}

fn put_integer(out: &mut Vec<u8>, integer: i64) {
    let wide = integer.to_be_bytes();
    let (code, bytes) = match integer {
        -32..=127 => return out.push(integer as u8),
        128..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -128..=-33 => (0xd0, 1),
        -32768..=-129 => (0xd1, 2),
        -2_147_483_648..=-32769 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    out.push(code);
    out.extend_from_slice(&wide[8 - bytes..]);
}

/// `cmsgpack.unpack(data)`: all values.
fn unpack(call: &Call) -> mlua::Result<Variadic<Unpacked>> {
    unpack_some(call, call.len(), 0, 0)
}

/// `cmsgpack.unpack_one(data [, offset])`: the next offset, -1 at the end, and one value.
fn unpack_one(call: &Call) -> mlua::Result<Variadic<Unpacked>> {
    let offset = call.optional_integer(2, 0)?;
    unpack_some(call, 1, 1, offset)
}

/// `cmsgpack.unpack_limit(data, limit [, offset])`: the next offset, -1 at the end, and at most that many values.
fn unpack_limit(call: &Call) -> mlua::Result<Variadic<Unpacked>> {
    let limit = call.check_integer(2)?;
    let offset = call.optional_integer(3, 0)?;
    unpack_some(call, 1, limit, offset)
}

/// Numbers in these sentences are C's `int`.
fn unpack_some(call: &Call, arguments: usize, limit: i64, offset: i64) -> mlua::Result<Variadic<Unpacked>> {
    let data = call.check_text(1)?;
    let length = data.bytes().len();
    let all = limit == 0 && offset == 0;
    if offset < 0 || limit < 0 {
        return Err(call.error(format!(
            "Invalid request to unpack with offset of {} and limit of {}.",
            offset as i32, length as i32
        )));
    }
    if offset as usize > length {
        return Err(call
            .error(format!("Start offset {} greater than input length {}.", offset as i32, length as i32)));
    }
    let limit = if all { i64::from(i32::MAX) } else { limit };
    let data = Rc::new(data);
    let mut values = Vec::new();
    let mut position = offset as usize;
    {
        let bytes = data.bytes();
        while position < bytes.len() && (values.len() as i64) < limit {
            let slots = arguments + values.len();
            let mut walk = Walk { bytes: &bytes, position, levels: Vec::new(), slots };
            walk.value().map_err(|fault| fault.error(call.lua))?;
            if slots + MLUA_SLOTS > STACK_SLOTS_MAX {
                let is_array = matches!(bytes[position], 0x90..=0x9f | 0xdc | 0xdd);
                let fault = if is_array { Fault::TooDeep } else { Fault::TooMany };
                return Err(fault.error(call.lua));
            }
            values.push(Unpacked::Value(Rc::clone(&data), position..walk.position));
            position = walk.position;
        }
        if !all {
            let next = if position == bytes.len() { -1 } else { position as i64 };
            values.insert(0, Unpacked::Offset(next));
        }
    }
    Ok(values.into())
}

/// What is wrong with the data.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Missing,
    Format,
    TooDeep,
    TooMany,
    NilKey,
    NanKey,
}

impl Fault {
    fn error(self, lua: &Lua) -> mlua::Error {
        let sentence = match self {
            Fault::Missing => "Missing bytes in input.",
            Fault::Format => "Bad data format in input.",
            Fault::TooDeep => "stack overflow (in function mp_decode_to_lua_array)",
            Fault::TooMany => {
                "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)"
            }
            // Lua itself raises these, without a position.
            Fault::NilKey => return mlua::Error::external(super::Raised(b"table index is nil".to_vec())),
            Fault::NanKey => return mlua::Error::external(super::Raised(b"table index is NaN".to_vec())),
        };
        error(lua, sentence.as_bytes())
    }
}

/// One value's head: a whole scalar, or how many values are inside.
enum Head {
    Nil,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Bytes(Range<usize>),
    Array(u32),
    Map(u32),
}

/// Reads the head at `position`: it and the position after it.
fn head(bytes: &[u8], position: usize) -> Result<(Head, usize), Fault> {
    let first = *bytes.get(position).ok_or(Fault::Missing)?;
    let after = position + 1;
    let unsigned = |size: usize| -> Result<(u64, usize), Fault> {
        let bytes = bytes.get(after..after + size).ok_or(Fault::Missing)?;
        Ok((bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), after + size))
    };
    let text = |(length, start): (u64, usize)| -> Result<(Head, usize), Fault> {
        let end = start + length as usize;
        if end > bytes.len() { Err(Fault::Missing) } else { Ok((Head::Bytes(start..end), end)) }
    };
    let (head, after) = match first {
        0x00..=0x7f => (Head::Integer(i64::from(first)), after),
        0x80..=0x8f => (Head::Map(u32::from(first & 15)), after),
        0x90..=0x9f => (Head::Array(u32::from(first & 15)), after),
        0xa0..=0xbf => return text((u64::from(first & 31), after)),
        0xc0 => (Head::Nil, after),
        0xc2 => (Head::Boolean(false), after),
        0xc3 => (Head::Boolean(true), after),
        0xca => unsigned(4).map(|(bits, end)| (Head::Float(f64::from(f32::from_bits(bits as u32))), end))?,
        0xcb => unsigned(8).map(|(bits, end)| (Head::Float(f64::from_bits(bits)), end))?,
        // The widest unsigned integers come out as signed ones.
        0xcc..=0xcf => {
            unsigned(1 << (first - 0xcc)).map(|(number, end)| (Head::Integer(number as i64), end))?
        }
        0xd0..=0xd3 => {
            let size = 1 << (first - 0xd0);
            let (number, end) = unsigned(size)?;
            let shift = 64 - 8 * size;
            (Head::Integer(((number << shift) as i64) >> shift), end)
        }
        0xd9..=0xdb => return text(unsigned(1 << (first - 0xd9))?),
        0xdc | 0xdd => unsigned(2 << (first - 0xdc)).map(|(count, end)| (Head::Array(count as u32), end))?,
        0xde | 0xdf => unsigned(2 << (first - 0xde)).map(|(count, end)| (Head::Map(count as u32), end))?,
        0xe0..=0xff => (Head::Integer(i64::from(first as i8)), after),
        0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8 => return Err(Fault::Format),
    };
    Ok((head, after))
}

/// An array or map whose values are being read.
struct Level {
    is_map: bool,
    /// Values still to come; in a map, keys count as well.
    left: u64,
    /// What is wrong with a map's key, told of only after its value was read.
    bad_key: Option<Fault>,
}

impl Level {
    fn is_key_next(&self) -> bool {
        self.is_map && self.left.is_multiple_of(2)
    }

    /// Slots of Lua's stack in the reference implementation while the next value is read.
    fn slots(&self) -> usize {
        if self.is_key_next() { 1 } else { 2 }
    }
}

/// Passes over one value, and finds every fault in it.
struct Walk<'a> {
    bytes: &'a [u8],
    position: usize,
    levels: Vec<Level>,
    /// Slots of Lua's stack that the reference implementation has in use.
    slots: usize,
}

impl Walk<'_> {
    fn value(&mut self) -> Result<(), Fault> {
        loop {
            if self.position >= self.bytes.len() {
                return Err(Fault::Missing);
            }
            if self.slots + 1 > STACK_SLOTS_MAX {
                return Err(Fault::TooMany);
            }
            let (head, after) = head(self.bytes, self.position)?;
            self.position = after;
            let mut bad_key = None;
            match head {
                Head::Array(count) => {
                    if self.slots + 2 > STACK_SLOTS_MAX {
                        return Err(Fault::TooDeep);
                    }
                    if self.open(false, u64::from(count)) {
                        continue;
                    }
                }
                Head::Map(count) if self.open(true, 2 * u64::from(count)) => continue,
                Head::Nil => bad_key = Some(Fault::NilKey),
                Head::Float(number) if number.is_nan() => bad_key = Some(Fault::NanKey),
                _ => {}
            }
            if self.close(bad_key)? {
                return Ok(());
            }
        }
    }

    /// False if there is nothing inside.
    fn open(&mut self, is_map: bool, left: u64) -> bool {
        if left == 0 {
            return false;
        }
        let level = Level { is_map, left, bad_key: None };
        self.slots += level.slots();
        self.levels.push(level);
        true
    }

    /// A value has ended, and with it those that it was the last of. True if that was all.
    fn close(&mut self, mut bad_key: Option<Fault>) -> Result<bool, Fault> {
        while let Some(level) = self.levels.last_mut() {
            self.slots -= level.slots();
            if level.is_key_next() {
                level.bad_key = bad_key.take();
            } else if let Some(fault) = level.bad_key.take() {
                return Err(fault);
            }
            level.left -= 1;
            if level.left > 0 {
                self.slots += level.slots();
                return Ok(false);
            }
            self.levels.pop();
            bad_key = None;
        }
        Ok(true)
    }
}

/// What `unpack` returns, made when Lua takes it.
enum Unpacked {
    Offset(i64),
    Value(Rc<Text>, Range<usize>),
}

impl IntoLua for Unpacked {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        match self {
            Unpacked::Offset(offset) => Ok(Value::Integer(offset)),
            Unpacked::Value(data, range) => build(lua, &data.bytes()[..range.end], range.start),
        }
    }
}

/// The array or map that is being filled.
struct Open {
    is_map: bool,
    left: u64,
    /// The next index of an array.
    index: i64,
}

/// Makes the value at `position`, in which no fault was found.
fn build(lua: &Lua, bytes: &[u8], mut position: usize) -> mlua::Result<Value> {
    let mut tables = TableStack::new(lua);
    let mut opens: Vec<Open> = Vec::new();
    let mut current: Option<(Table, Open)> = None;
    let mut key = Value::Nil;
    loop {
        let (head, after) = head(bytes, position).map_err(|fault| fault.error(lua))?;
        position = after;
        let (mut value, inside) = match head {
            Head::Nil => (Value::Nil, None),
            Head::Boolean(boolean) => (Value::Boolean(boolean), None),
            Head::Integer(integer) => (Value::Integer(integer), None),
            Head::Float(number) => (Value::Number(number), None),
            Head::Bytes(range) => (Value::String(lua.create_string(&bytes[range])?), None),
            Head::Array(count) => (Value::Table(lua.create_table()?), Some((false, u64::from(count)))),
            Head::Map(count) => (Value::Table(lua.create_table()?), Some((true, 2 * u64::from(count)))),
        };
        if let (Value::Table(table), Some((is_map, left @ 1..))) = (&value, inside) {
            let table = table.clone();
            // A table is put into its place before it is filled, unless it is a key.
            if let Some((outer, mut open)) = current.take() {
                if !(open.is_map && open.left.is_multiple_of(2)) {
                    set(&outer, &mut open, &mut key, value)?;
                }
                tables.push(outer)?;
                opens.push(open);
            }
            current = Some((table, Open { is_map, left, index: 1 }));
            continue;
        }
        // A value has ended, and with it those that it was the last of.
        let mut is_placed = false;
        loop {
            let Some((table, open)) = &mut current else {
                return Ok(value);
            };
            if open.is_map && open.left.is_multiple_of(2) {
                key = value;
            } else if !is_placed {
                set(table, open, &mut key, value)?;
            }
            open.left -= 1;
            if open.left > 0 {
                break;
            }
            value = Value::Table(table.clone());
            is_placed = true;
            current = match tables.pop()? {
                Some(outer) => opens.pop().map(|open| (outer, open)),
                None => None,
            };
        }
    }
}

fn set(table: &Table, open: &mut Open, key: &mut Value, value: Value) -> mlua::Result<()> {
    if open.is_map {
        return table.raw_set(std::mem::replace(key, Value::Nil), value);
    }
    open.index += 1;
    table.raw_set(open.index - 1, value)
}
