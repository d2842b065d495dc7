//! A reply's bytes as a Lua value, straight from the buffer.
//!
//! RESP2: an integer is a number, a bulk string a string, null `false`, an array a table, a status `{ok=}`, an error `{err=}`.
//! What RESP3 adds: `{map=}`, `{set=}`, `{double=}`, `{big_number=}`, `{verbatim_string=}`, booleans, and null as `nil`.

use std::ffi::{CStr, c_int};

use mlua::ffi::{self, lua_State};

use super::command::push_error;
use super::push_bytes;
use crate::base::number::{parse_f64, parse_i64};

/// Slots of the stack that one level of a reply needs.
const SLOTS: c_int = 4;

/// Reads replies one after the other. Owns nothing, so that an error of Lua may jump over it.
pub struct ReplyReader<'a> {
    bytes: &'a [u8],
}

impl<'a> ReplyReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Pushes the next reply. None if the bytes are no reply, which is a fault of this server: the stack is undefined then.
    /// May raise.
    ///
    /// # Safety
    ///
    /// To be called under `lua_pcall` by frames that own nothing.
    pub unsafe fn push(&mut self, state: *mut lua_State) -> Option<()> {
        let (kind, line) = self.line()?;
        // SAFETY: each branch pushes one value and needs no more room than was asked for.
        unsafe {
            if ffi::lua_checkstack(state, SLOTS) == 0 {
                return None;
            }
            match kind {
                b':' => ffi::lua_pushnumber(state, parse_i64(line)? as f64),
                b'$' => match parse_i64(line)? {
                    ..0 => ffi::lua_pushboolean(state, 0),
                    len => push_bytes(state, self.blob(len)?),
                },
                b'+' => {
                    ffi::lua_createtable(state, 0, 1);
                    push_bytes(state, line);
                    set(state, c"ok");
                }
                b'-' => push_error(state, line, true),
                b'*' | b'>' => match parse_i64(line)? {
                    ..0 => ffi::lua_pushboolean(state, 0),
                    len => {
                        let len = c_int::try_from(len).ok()?;
                        ffi::lua_createtable(state, len, 0);
                        for index in 1..=len {
                            self.push(state)?;
                            ffi::lua_rawseti_(state, -2, index);
                        }
                    }
                },
                b'_' => ffi::lua_pushnil(state),
                b'#' => ffi::lua_pushboolean(state, c_int::from(line == b"t")),
                b',' => {
                    let number = match line {
                        b"nan" | b"-nan" => f64::NAN,
                        _ => parse_f64(line)?,
                    };
                    ffi::lua_createtable(state, 0, 1);
                    ffi::lua_pushnumber(state, number);
                    set(state, c"double");
                }
                b'(' => {
                    ffi::lua_createtable(state, 0, 1);
                    push_bytes(state, line);
                    set(state, c"big_number");
                }
                b'=' => {
                    let (format, text) = self.blob(parse_i64(line)?)?.split_at_checked(4)?;
                    ffi::lua_createtable(state, 0, 1);
                    ffi::lua_createtable(state, 0, 2);
                    push_bytes(state, &format[..3]);
                    set(state, c"format");
                    push_bytes(state, text);
                    set(state, c"string");
                    set(state, c"verbatim_string");
                }
                b'%' => self.push_table(state, c"map", parse_i64(line)?)?,
                b'~' => self.push_table(state, c"set", parse_i64(line)?)?,
                // Attributes are for clients; the value follows.
                b'|' => {
                    for _ in 0..2 * parse_i64(line)? {
                        self.push(state)?;
                        ffi::lua_settop(state, -2);
                    }
                    self.push(state)?;
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// Pushes a map, or a set, whose members are keys of `true`.
    unsafe fn push_table(&mut self, state: *mut lua_State, name: &CStr, len: i64) -> Option<()> {
        // SAFETY: the caller's; four slots are the outer and the inner table, a key and its value.
        unsafe {
            ffi::lua_createtable(state, 0, 1);
            // It grows as it is filled, as in Redis: in which order a script finds what is in it depends on that.
            ffi::lua_createtable(state, 0, 0);
            for _ in 0..len {
                self.push(state)?;
                match name == c"map" {
                    true => self.push(state)?,
                    false => ffi::lua_pushboolean(state, 1),
                }
                match ffi::lua_type(state, -2) {
                    // No table has such a key.
                    ffi::LUA_TNIL => ffi::lua_settop(state, -3),
                    _ => ffi::lua_rawset(state, -3),
                }
            }
            set(state, name);
        }
        Some(())
    }

    /// The kind of the next element and the rest of its line.
    fn line(&mut self) -> Option<(u8, &'a [u8])> {
        let end = memchr::memchr(b'\r', self.bytes)?;
        let (line, rest) = self.bytes.split_at(end);
        self.bytes = rest.get(2..)?;
        line.split_first().map(|(&kind, line)| (kind, line))
    }

    fn blob(&mut self, len: i64) -> Option<&'a [u8]> {
        let (blob, rest) = self.bytes.split_at_checked(usize::try_from(len).ok()?)?;
        self.bytes = rest.get(2..)?;
        Some(blob)
    }
}

/// Takes the value on top into the table below it.
unsafe fn set(state: *mut lua_State, name: &CStr) {
    // SAFETY: the tables here are new and have no metatable.
    unsafe { ffi::lua_setfield(state, -2, name.as_ptr()) }
}
