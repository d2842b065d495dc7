//! `cjson`: JSON (the library lua-cjson 2.1.0), its settings and its table. `cjson.new` makes one with settings of its own.

mod decode;
mod encode;

use std::sync::Arc;

use mlua::{Function, Lua, Table, Value};

use super::arguments::{Call, add_function};
use crate::base::gauge::Gauge;
use decode::Decoder;
use encode::Encoder;

/// What the functions of one table share.
struct Shared {
    settings: SettingsCell,
    /// Lua's own `next`, as it was before any script ran. All tables refer to one: references are few.
    next: Arc<Function>,
}

/// Settings that change while others may look at them.
struct SettingsCell([Gauge; 9]);

impl Default for SettingsCell {
    fn default() -> Self {
        let cell = Self(Default::default());
        cell.set(Settings::default());
        cell
    }
}

impl SettingsCell {
    fn get(&self) -> Settings {
        let [
            convert,
            ratio,
            safe,
            encode_depth,
            decode_depth,
            encode_invalid,
            decode_invalid,
            keep,
            precision,
        ] = self.0.each_ref().map(Gauge::get);
        Settings {
            encode_sparse_convert: convert != 0,
            encode_sparse_ratio: ratio as i32,
            encode_sparse_safe: safe as i32,
            encode_max_depth: encode_depth as i32,
            decode_max_depth: decode_depth as i32,
            encode_invalid_numbers: match encode_invalid {
                0 => InvalidNumbers::Refused,
                1 => InvalidNumbers::Written,
                _ => InvalidNumbers::Null,
            },
            decode_invalid_numbers: decode_invalid != 0,
            encode_keep_buffer: keep != 0,
            encode_number_precision: precision as i32,
        }
    }

    fn set(&self, settings: Settings) {
        let values = [
            u64::from(settings.encode_sparse_convert),
            settings.encode_sparse_ratio as u64,
            settings.encode_sparse_safe as u64,
            settings.encode_max_depth as u64,
            settings.decode_max_depth as u64,
            settings.encode_invalid_numbers as u64,
            u64::from(settings.decode_invalid_numbers),
            u64::from(settings.encode_keep_buffer),
            settings.encode_number_precision as u64,
        ];
        for (gauge, value) in self.0.iter().zip(values) {
            gauge.set(value);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    /// Makes an object of an array that is too sparse, instead of an error.
    encode_sparse_convert: bool,
    /// An array is too sparse when its last index exceeds this multiple of its values; 0 means never.
    encode_sparse_ratio: i32,
    /// An array up to this index is never too sparse.
    encode_sparse_safe: i32,
    encode_max_depth: i32,
    decode_max_depth: i32,
    encode_invalid_numbers: InvalidNumbers,
    decode_invalid_numbers: bool,
    /// Remembered alone: the buffer is Lua's affair.
    encode_keep_buffer: bool,
    encode_number_precision: i32,
}

/// What becomes of NaN and the infinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InvalidNumbers {
    Refused,
    Written,
    Null,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            encode_sparse_convert: false,
            encode_sparse_ratio: 2,
            encode_sparse_safe: 10,
            encode_max_depth: 1000,
            decode_max_depth: 1000,
            encode_invalid_numbers: InvalidNumbers::Refused,
            decode_invalid_numbers: true,
            encode_keep_buffer: true,
            encode_number_precision: 14,
        }
    }
}

/// The table `cjson`, with settings of its own.
pub fn module(lua: &Lua) -> mlua::Result<Table> {
    let next = lua.globals().raw_get("next")?;
    module_with(lua, Arc::new(next))
}

fn module_with(lua: &Lua, next: Arc<Function>) -> mlua::Result<Table> {
    let shared = Arc::new(Shared { settings: SettingsCell::default(), next });
    let module = lua.create_table()?;
    let add = |name: &str, function: fn(&Call, &Shared) -> mlua::Result<Value>| {
        let shared = Arc::clone(&shared);
        add_function(lua, &module, name, move |call| function(call, &shared))
    };
    add("encode", encode)?;
    add("decode", decode)?;
    let of_sparse = Arc::clone(&shared);
    add_function(lua, &module, "encode_sparse_array", move |call| encode_sparse_array(call, &of_sparse))?;
    add("encode_max_depth", |call, shared| {
        integer_setting(call, shared, 1..=i32::MAX, |settings| &mut settings.encode_max_depth)
    })?;
    add("decode_max_depth", |call, shared| {
        integer_setting(call, shared, 1..=i32::MAX, |settings| &mut settings.decode_max_depth)
    })?;
    add("encode_number_precision", |call, shared| {
        integer_setting(call, shared, 1..=14, |settings| &mut settings.encode_number_precision)
    })?;
    add("encode_keep_buffer", |call, shared| {
        boolean_setting(call, shared, |settings| &mut settings.encode_keep_buffer)
    })?;
    add("encode_invalid_numbers", encode_invalid_numbers)?;
    add("decode_invalid_numbers", |call, shared| {
        boolean_setting(call, shared, |settings| &mut settings.decode_invalid_numbers)
    })?;
    add("new", |call, shared| module_with(call.lua, shared.next.clone()).map(Value::Table))?;
    module.raw_set("null", Value::NULL)?;
    module.raw_set("_NAME", "cjson")?;
    module.raw_set("_VERSION", "2.1.0")?;
    Ok(module)
}

/// `cjson.encode(value)`
fn encode(call: &Call, shared: &Shared) -> mlua::Result<Value> {
    match call.value(1) {
        Some(value) if call.len() == 1 => {
            let text = Encoder::new(call.lua, shared).encode(value)?;
            call.lua.create_string(&text).map(Value::String)
        }
        _ => Err(call.argument_error(1, "expected 1 argument")),
    }
}

/// `cjson.decode(text)`
fn decode(call: &Call, shared: &Shared) -> mlua::Result<Value> {
    if call.len() != 1 {
        return Err(call.argument_error(1, "expected 1 argument"));
    }
    let text = call.check_text(1)?;
    Decoder::new(call.lua, shared.settings.get(), &text.bytes()).decode()
}

/// `cjson.encode_sparse_array([convert [, ratio [, safe]]])`
fn encode_sparse_array(call: &Call, shared: &Shared) -> mlua::Result<(Value, Value, Value)> {
    check_count(call, 3)?;
    let all = 0..=i32::MAX;
    // Each is set before the next is looked at, so an error leaves those before it set.
    let convert = set_boolean(call, shared, |settings| &mut settings.encode_sparse_convert)?;
    let ratio = set_integer(call, shared, 2, all.clone(), |settings| &mut settings.encode_sparse_ratio)?;
    let safe = set_integer(call, shared, 3, all, |settings| &mut settings.encode_sparse_safe)?;
    Ok((convert, ratio, safe))
}

/// `cjson.encode_invalid_numbers([false | true | "off" | "on" | "null"])`
fn encode_invalid_numbers(call: &Call, shared: &Shared) -> mlua::Result<Value> {
    use InvalidNumbers::{Null, Refused, Written};
    check_count(call, 1)?;
    let mut settings = shared.settings.get();
    if !call.is_nil_or_none(1) {
        settings.encode_invalid_numbers = match call.value(1) {
            Some(Value::Boolean(is_on)) => [Refused, Written][usize::from(*is_on)],
            _ => [Refused, Written, Null][call.check_option(1, &["off", "on", "null"])?],
        };
        shared.settings.set(settings);
    }
    match settings.encode_invalid_numbers {
        Refused => Ok(Value::Boolean(false)),
        Written => Ok(Value::Boolean(true)),
        Null => call.lua.create_string("null").map(Value::String),
    }
}

fn check_count(call: &Call, max: usize) -> mlua::Result<()> {
    if call.len() > max {
        return Err(call.argument_error(max + 1, "found too many arguments"));
    }
    Ok(())
}

fn integer_setting(
    call: &Call,
    shared: &Shared,
    range: std::ops::RangeInclusive<i32>,
    setting: fn(&mut Settings) -> &mut i32,
) -> mlua::Result<Value> {
    check_count(call, 1)?;
    set_integer(call, shared, 1, range, setting)
}

fn boolean_setting(
    call: &Call,
    shared: &Shared,
    setting: fn(&mut Settings) -> &mut bool,
) -> mlua::Result<Value> {
    check_count(call, 1)?;
    set_boolean(call, shared, setting)
}

/// Sets to the argument, unless there is none, and answers what is set. The number is taken as C's `int`.
fn set_integer(
    call: &Call,
    shared: &Shared,
    index: usize,
    range: std::ops::RangeInclusive<i32>,
    setting: fn(&mut Settings) -> &mut i32,
) -> mlua::Result<Value> {
    let mut settings = shared.settings.get();
    if !call.is_nil_or_none(index) {
        let value = call.check_integer(index)? as i32;
        if !range.contains(&value) {
            let sentence = format!("expected integer between {} and {}", range.start(), range.end());
            return Err(call.argument_error(1, sentence));
        }
        *setting(&mut settings) = value;
        shared.settings.set(settings);
    }
    Ok(Value::Integer(i64::from(*setting(&mut settings))))
}

fn set_boolean(call: &Call, shared: &Shared, setting: fn(&mut Settings) -> &mut bool) -> mlua::Result<Value> {
    let mut settings = shared.settings.get();
    if !call.is_nil_or_none(1) {
        *setting(&mut settings) = match call.value(1) {
            Some(Value::Boolean(is_on)) => *is_on,
            _ => call.check_option(1, &["off", "on"])? == 1,
        };
        shared.settings.set(settings);
    }
    Ok(Value::Boolean(*setting(&mut settings)))
}
