//! `struct`: numbers and strings as the bytes of C structures, by a format string.
//!
//! | letter | value |
//! |---|---|
//! | `b` `h` `l`, `iN` | signed integers of 1, 2, 8 and `N` bytes (4 without `N`, at most 32) |
//! | `B` `H` `L` `T`, `IN` | the same unsigned |
//! | `f` `d` | floats of 4 and 8 bytes |
//! | `cN` | `N` bytes of a string; `c0` packs all of it, and unpacks as many as the number before says |
//! | `s` | a string that ends with a zero byte |
//! | `x`, space | a zero byte, nothing |
//! | `>` `<`, `!N` | big and little endian, alignment to at most `N` |

use mlua::{IntoLua, Lua, Table, Value, Variadic};

use super::arguments::{Call, add_function, c_string, number, to_i64, to_u64};
use super::{OUTPUT_BYTES_MAX, STACK_SLOTS_MAX, out_of_memory};

const INTEGER_BYTES_MAX: usize = 32;
const ALIGNMENT_DEFAULT: usize = 8;

/// The table `struct`.
pub fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = lua.create_table_with_capacity(0, 3)?;
    add_function(lua, &module, "pack", pack)?;
    add_function(lua, &module, "unpack", unpack)?;
    add_function(lua, &module, "size", size)?;
    Ok(module)
}

/// A walk over a format string. Byte order and alignment are what the options so far have set.
struct Format<'a> {
    call: &'a Call<'a>,
    text: &'a [u8],
    is_little: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(call: &'a Call<'a>, text: &'a [u8]) -> Self {
        Format { call, text: c_string(text), is_little: true, align: 1 }
    }

    /// The next option's letter and the bytes that its value takes, 0 if that is not fixed.
    fn next(&mut self) -> mlua::Result<Option<(u8, usize)>> {
        let Some((&option, rest)) = self.text.split_first() else {
            return Ok(None);
        };
        self.text = rest;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'f' => 4,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > INTEGER_BYTES_MAX {
                    let sentence =
                        format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}");
                    return Err(self.call.error(sentence));
                }
                size
            }
            _ => 0,
        };
        Ok(Some((option, size)))
    }

    /// The decimal number that stands next, at most what C's `int` holds.
    fn number(&mut self, default: usize) -> mlua::Result<usize> {
        let digits = self.text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let number = self.text[..digits]
            .iter()
            .try_fold(0i32, |number, digit| number.checked_mul(10)?.checked_add(i32::from(digit - b'0')));
        self.text = &self.text[digits..];
        number.map(|number| number as usize).ok_or_else(|| self.call.error("integral size overflow"))
    }

    /// Bytes to skip before a value of `size` at `position`. Sizes that are no power of two are masked all the same.
    fn padding(&self, position: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        (size - (position & (size - 1))) & (size - 1)
    }

    /// An option that stands for no value.
    fn control(&mut self, option: u8) -> mlua::Result<()> {
        match option {
            b' ' => {}
            b'>' => self.is_little = false,
            b'<' => self.is_little = true,
            b'!' => {
                let align = self.number(ALIGNMENT_DEFAULT)?;
                if !align.is_power_of_two() {
                    return Err(self.call.error(format!("alignment {align} is not a power of 2")));
                }
                self.align = align;
            }
            _ => {
                let sentence = [b"invalid format option '", [option].as_slice(), b"'"].concat();
                return Err(self.call.argument_error(1, sentence));
            }
        }
        Ok(())
    }
}

fn is_integer(option: u8) -> bool {
    matches!(option, b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I')
}

/// `struct.pack(format, value, ...)`
fn pack(call: &Call) -> mlua::Result<mlua::String> {
    let text = call.check_text(1)?;
    let text = text.bytes();
    let mut format = Format::new(call, &text);
    let mut packed = Vec::new();
    let mut index = 2;
    while let Some((option, size)) = format.next()? {
        let padding = format.padding(packed.len(), option, size);
        packed.resize(packed.len() + padding, 0);
        if is_integer(option) {
            put_integer(&mut packed, packing_number(call, index)?, size, format.is_little);
            index += 1;
            continue;
        }
        match option {
            b'x' => packed.push(0),
            b'f' => {
                let float = packing_number(call, index)? as f32;
                packed.extend(if format.is_little { float.to_le_bytes() } else { float.to_be_bytes() });
                index += 1;
            }
            b'd' => {
                let float = packing_number(call, index)?;
                packed.extend(if format.is_little { float.to_le_bytes() } else { float.to_be_bytes() });
                index += 1;
            }
            b'c' | b's' => {
                if index > call.len() {
                    return Err(missing(call, index, "string"));
                }
                let value = call.check_text(index)?;
                let value = value.bytes();
                index += 1;
                let taken = if size == 0 { value.len() } else { size };
                let Some(bytes) = value.get(..taken) else {
                    // The number is that of the argument after.
                    return Err(call.argument_error(index, "string too short"));
                };
                if packed.len() + taken >= OUTPUT_BYTES_MAX {
                    return Err(out_of_memory());
                }
                packed.extend_from_slice(bytes);
                if option == b's' {
                    packed.push(0);
                }
            }
            _ => format.control(option)?,
        }
    }
    call.lua.create_string(&packed)
}

fn packing_number(call: &Call, index: usize) -> mlua::Result<f64> {
    if index > call.len() {
        return Err(missing(call, index, "number"));
    }
    call.check_number(index)
}

/// An argument that is not there is nil to `pack`.
fn missing(call: &Call, index: usize, expected: &str) -> mlua::Error {
    call.argument_error(index, format!("{expected} expected, got nil"))
}

/// Bytes beyond the eighth are zero, also those of negative numbers.
fn put_integer(packed: &mut Vec<u8>, number: f64, size: usize, is_little: bool) {
    let value = if number < 0.0 { to_i64(number) as u64 } else { to_u64(number) };
    let mut bytes = [0; INTEGER_BYTES_MAX];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    let bytes = &mut bytes[..size];
    if !is_little {
        bytes.reverse();
    }
    packed.extend_from_slice(bytes);
}

/// What `unpack` returns; strings become Lua's one after the other, so that they are not referred to all at once.
enum Unpacked {
    Number(f64),
    Bytes(Vec<u8>),
}

impl IntoLua for Unpacked {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        match self {
            Unpacked::Number(number) => Ok(Value::Number(number)),
            Unpacked::Bytes(bytes) => lua.create_string(bytes).map(Value::String),
        }
    }
}

/// `struct.unpack(format, data [, position])`: the values, and the position after them.
fn unpack(call: &Call) -> mlua::Result<Variadic<Unpacked>> {
    let text = call.check_text(1)?;
    let text = text.bytes();
    let data = call.check_text(2)?;
    let data = data.bytes();
    let position = call.optional_integer(3, 1)? as usize;
    if position == 0 {
        return Err(call.argument_error(3, "offset must be 1 or greater"));
    }
    let mut position = position - 1;
    let mut format = Format::new(call, &text);
    let mut values: Vec<Unpacked> = Vec::new();
    let too_short = || call.argument_error(2, "data string too short");
    while let Some((option, size)) = format.next()? {
        position = position.wrapping_add(format.padding(position, option, size));
        let bytes = slice(&data, position, size).ok_or_else(too_short)?;
        // Two more slots than values: one for this and one for the position; and mlua needs two of its own.
        if call.len() + values.len() + 4 > STACK_SLOTS_MAX {
            return Err(call.error("stack overflow (too many results)"));
        }
        let mut taken = size;
        if is_integer(option) {
            let is_signed = option.is_ascii_lowercase();
            values.push(Unpacked::Number(integer(bytes, is_signed, format.is_little)));
        } else {
            match option {
                b'x' => {}
                b'f' | b'd' => values.push(Unpacked::Number(float(bytes, format.is_little))),
                b'c' => {
                    if size == 0 {
                        taken = previous_size(call.lua, values.pop())
                            .ok_or_else(|| call.error("format 'c0' needs a previous size"))?;
                    }
                    let bytes = slice(&data, position, taken).ok_or_else(too_short)?;
                    values.push(Unpacked::Bytes(bytes.to_vec()));
                }
                b's' => {
                    let rest = &data[position..];
                    let end =
                        memchr::memchr(0, rest).ok_or_else(|| call.error("unfinished string in data"))?;
                    values.push(Unpacked::Bytes(rest[..end].to_vec()));
                    taken = end + 1;
                }
                _ => format.control(option)?,
            }
        }
        position += taken;
    }
    values.push(Unpacked::Number(position as i64 as f64 + 1.0));
    Ok(values.into())
}

fn slice(data: &[u8], position: usize, size: usize) -> Option<&[u8]> {
    data.get(position..position.checked_add(size)?)
}

/// The length that the value before a `c0` says; a string of digits will do.
fn previous_size(lua: &Lua, value: Option<Unpacked>) -> Option<usize> {
    let number = match value? {
        Unpacked::Number(number) => Some(number),
        Unpacked::Bytes(bytes) => number(lua, &Value::String(lua.create_string(bytes).ok()?)),
    };
    Some(to_u64(number?) as usize)
}

/// Of more than eight bytes the low eight count, but the sign is looked for in the bit that the processor's shift, which goes by
/// the count modulo 64, finds.
fn integer(bytes: &[u8], is_signed: bool, is_little: bool) -> f64 {
    let shift_in = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    let value = if is_little { bytes.iter().rev().fold(0, shift_in) } else { bytes.iter().fold(0, shift_in) };
    if !is_signed {
        return value as f64;
    }
    let mask = u64::MAX.wrapping_shl((bytes.len() as u32 * 8).wrapping_sub(1));
    (if value & mask == 0 { value } else { value | mask }) as i64 as f64
}

fn float(bytes: &[u8], is_little: bool) -> f64 {
    let mut all = [0; 8];
    let all = &mut all[..bytes.len()];
    all.copy_from_slice(bytes);
    if !is_little {
        all.reverse();
    }
    match *all {
        [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => unreachable!("floats have four or eight bytes"),
    }
}

/// `struct.size(format)`: the bytes that `pack` makes.
fn size(call: &Call) -> mlua::Result<f64> {
    let text = call.check_text(1)?;
    let text = text.bytes();
    let mut format = Format::new(call, &text);
    let mut position: usize = 0;
    while let Some((option, size)) = format.next()? {
        position = position.wrapping_add(format.padding(position, option, size));
        match option {
            b's' => return Err(call.argument_error(1, "option 's' has no fixed size")),
            b'c' if size == 0 => return Err(call.argument_error(1, "option 'c0' has no fixed size")),
            // Letters that mean nothing are passed over here.
            option if option.is_ascii_alphanumeric() => {}
            option => format.control(option)?,
        }
        position = position.wrapping_add(size);
    }
    Ok(position as i64 as f64)
}
