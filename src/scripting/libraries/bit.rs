//! `bit`: operations on 32-bit integers (the library BitOp 1.0.2).
//!
//! A number becomes an integer modulo 2^32, rounded to the nearest (half to even), by the addition that brings its units to the
//! low end of the double's mantissa. Beyond 2^51 the result has no meaning, but is always the same.

use mlua::{Lua, Table};

use super::arguments::{Call, add_function};

type Operation = fn(u32, u32) -> u32;

/// The table `bit`.
pub fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table_with_capacity(0, 12)?;
    add_function(lua, &module, "tobit", |call| Ok(result(bits(call, 1)?)))?;
    add_function(lua, &module, "bnot", |call| Ok(result(!bits(call, 1)?)))?;
    add_function(lua, &module, "bswap", |call| Ok(result(bits(call, 1)?.swap_bytes())))?;
    add_function(lua, &module, "tohex", to_hex)?;
    let folds: [(&str, Operation); 3] =
        [("band", |a, b| a & b), ("bor", |a, b| a | b), ("bxor", |a, b| a ^ b)];
    for (name, fold) in folds {
        add_function(lua, &module, name, move |call| {
            // The last argument is looked at right after the first, so it is the one an error tells of.
            (2..=call.len())
                .rev()
                .try_fold(bits(call, 1)?, |all, index| Ok(fold(all, bits(call, index)?)))
                .map(result)
        })?;
    }
    let shifts: [(&str, Operation); 5] = [
        ("lshift", |bits, by| bits << by),
        ("rshift", |bits, by| bits >> by),
        ("arshift", |bits, by| ((bits as i32) >> by) as u32),
        ("rol", u32::rotate_left),
        ("ror", u32::rotate_right),
    ];
    for (name, shift) in shifts {
        add_function(lua, &module, name, move |call| Ok(result(shift(bits(call, 1)?, bits(call, 2)? & 31))))?;
    }
    Ok(module)
}

/// `bit.tohex(x [, n])`: the lower `n` hexadecimal digits, in capitals if `n` is negative.
fn to_hex(call: &Call) -> mlua::Result<String> {
    let number = bits(call, 1)?;
    let digits = if call.len() < 2 { 8 } else { bits(call, 2)? as i32 };
    let count = digits.unsigned_abs().min(8) as usize;
    let text = if digits < 0 { format!("{number:08X}") } else { format!("{number:08x}") };
    Ok(text[8 - count..].to_owned())
}

fn bits(call: &Call, index: usize) -> mlua::Result<u32> {
    const UNITS_LOW: f64 = 6_755_399_441_055_744.0; // 2^52 + 2^51
    Ok((call.check_number(index)? + UNITS_LOW).to_bits() as u32)
}

/// Results are signed.
fn result(bits: u32) -> i32 {
    bits as i32
}
