//! A Lua value as a reply: what a script returns, as its client reads it.
//!
//! Tables within tables are not walked by recursion, since a script may return them as deep as Lua's stack is high. At each
//! level they take the slots that Redis takes, so that the two give up at the same depth.

use std::ffi::{c_int, c_void};

use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, RegistryKey};

use super::super::libraries::c_string;
use super::{registered, string_bytes};
use crate::resp::error::ErrorReply;
use crate::resp::reply::{Deferred, Protocol, Reply};

const TOO_DEEP: ErrorReply = ErrorReply::fixed("ERR reached lua stack limit");
/// Slots that each value asks for, beside its own.
const SLOTS: c_int = 4;

/// Fields that say what a table is. They lie beside [`convert`], in this order, from the first place on.
const FIELDS: [&str; 10] = [
    "err",
    "ok",
    "double",
    "map",
    "set",
    "big_number",
    "verbatim_string",
    "format",
    "string",
    "ignore_error_stats_update",
];
const ERR: c_int = 1;
const OK: c_int = 2;
const DOUBLE: c_int = 3;
const MAP: c_int = 4;
const SET: c_int = 5;
const BIG_NUMBER: c_int = 6;
const VERBATIM: c_int = 7;
const FORMAT: c_int = 8;
const STRING: c_int = 9;
const IS_COUNTED: c_int = 10;

/// What was found out on the way.
#[derive(Debug, Default)]
pub struct Written {
    /// Lines of errors that the server has not counted yet.
    pub uncounted_errors: Vec<Vec<u8>>,
    pub has_errors: bool,
}

/// The writing of one value, as [`convert`] sees it.
struct Conversion<'a, 'r> {
    reply: &'a mut Reply<'r>,
    script_protocol: Protocol,
    /// Aggregates of which some elements are written, the innermost last.
    open: Vec<Open>,
    written: Written,
}

/// An aggregate that is open.
struct Open {
    kind: Kind,
    /// Of its table on the stack.
    at: c_int,
    /// Of the slot under everything that it takes.
    below: c_int,
    len: usize,
    /// A map's key is written, and its value lies on top.
    has_key: bool,
    header: Deferred,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Array,
    Map,
    Set,
}

/// The function that writes tables.
pub fn converter(lua: &Lua) -> mlua::Result<Function> {
    // SAFETY: the names are on the stack, and become what lies beside the function.
    unsafe {
        lua.exec_raw(mlua::Variadic::from_iter(FIELDS), |state| {
            ffi::lua_pushcclosure(state, convert, FIELDS.len() as c_int);
        })
    }
}

/// Writes the value on top of the stack and leaves it there. `convert` is the [`converter`] of this state.
///
/// # Safety
///
/// Nothing runs in this state, and there is a value.
pub unsafe fn write_top(
    state: *mut lua_State,
    convert: &RegistryKey,
    reply: &mut Reply<'_>,
    script_protocol: Protocol,
) -> mlua::Result<Written> {
    // SAFETY: what is no table is written without anything that raises. The conversion outlives the call.
    unsafe {
        if ffi::lua_type(state, -1) != ffi::LUA_TTABLE {
            write_scalar(state, reply, script_protocol);
            return Ok(Written::default());
        }
        let mut conversion =
            Conversion { reply, script_protocol, open: Vec::new(), written: Written::default() };
        registered(state, convert);
        ffi::lua_pushlightuserdata(state, (&raw mut conversion).cast::<c_void>());
        ffi::lua_pushvalue(state, -3);
        if ffi::lua_pcall(state, 2, 0, 0) != ffi::LUA_OK {
            ffi::lua_settop(state, -2);
            return Err(mlua::Error::runtime("not enough memory"));
        }
        Ok(conversion.written)
    }
}

/// Writes a table. Called with a conversion and the table.
unsafe extern "C-unwind" fn convert(state: *mut lua_State) -> c_int {
    // SAFETY: the first argument is the conversion of `write_top`, which waits for this to end. This frame owns nothing.
    unsafe {
        let conversion = &mut *ffi::lua_touserdata(state, 1).cast::<Conversion<'_, '_>>();
        conversion.begin(state);
        while let Some(open) = conversion.open.last_mut() {
            if open.step(state) {
                conversion.begin(state);
            } else {
                ffi::lua_settop(state, open.below);
                conversion.close();
            }
        }
    }
    0
}

impl Open {
    /// Leaves the next value to be written on top of the stack. False if there is none.
    unsafe fn step(&mut self, state: *mut lua_State) -> bool {
        // SAFETY: there is a table at `at`; for a map and a set the key that was written last lies on top, or nil. The room
        // was asked for when the aggregate began.
        unsafe {
            match self.kind {
                Kind::Array => {
                    ffi::lua_rawgeti_(state, self.at, self.len as c_int + 1);
                    if ffi::lua_type(state, -1) == ffi::LUA_TNIL {
                        return false;
                    }
                }
                Kind::Map if self.has_key => {
                    self.has_key = false;
                    return true;
                }
                Kind::Map | Kind::Set => {
                    if ffi::lua_next(state, self.at) == 0 {
                        return false;
                    }
                    if self.kind == Kind::Set {
                        ffi::lua_settop(state, -2);
                        ffi::lua_pushvalue(state, -1);
                    } else {
                        ffi::lua_pushvalue(state, -2);
                        self.has_key = true;
                    }
                }
            }
        }
        self.len += 1;
        true
    }
}

impl Conversion<'_, '_> {
    /// Writes the value on top of the stack and takes it away, or opens it and leaves it. May raise.
    unsafe fn begin(&mut self, state: *mut lua_State) {
        // SAFETY: `convert` runs under `lua_pcall`; what is freed lies in the conversion, not here.
        unsafe {
            if ffi::lua_checkstack(state, SLOTS) == 0 {
                self.reply.error(&TOO_DEEP);
                self.written.has_errors = true;
                self.written.uncounted_errors.push(TOO_DEEP.as_bytes().to_vec());
            } else if ffi::lua_type(state, -1) != ffi::LUA_TTABLE {
                write_scalar(state, self.reply, self.script_protocol);
            } else if self.begin_table(state) {
                return;
            }
            ffi::lua_settop(state, -2);
        }
    }

    /// Whether the table on top is left open; otherwise it is written.
    unsafe fn begin_table(&mut self, state: *mut lua_State) -> bool {
        // SAFETY: as for `begin`; a field is pushed and taken away before the next one, two at most are there at once.
        unsafe {
            let table = ffi::lua_gettop(state);
            if field(state, table, ERR) == ffi::LUA_TSTRING {
                let is_counted = field(state, table, IS_COUNTED) == ffi::LUA_TBOOLEAN
                    && ffi::lua_toboolean(state, -1) != 0;
                let line = c_string(string_bytes(state, table + 1));
                // What ends it already is no part of it; blanks stand for other ends of lines.
                let len =
                    line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
                let line = &line[..len];
                self.reply.error_line(line);
                self.written.has_errors = true;
                if !is_counted {
                    self.written.uncounted_errors.push(line.to_vec());
                }
                ffi::lua_settop(state, table);
                return false;
            }
            ffi::lua_settop(state, table);
            if field(state, table, OK) == ffi::LUA_TSTRING {
                self.reply.simple_line(c_string(string_bytes(state, -1)));
                ffi::lua_settop(state, table);
                return false;
            }
            ffi::lua_settop(state, table);
            if field(state, table, DOUBLE) == ffi::LUA_TNUMBER {
                self.reply.double(ffi::lua_tonumber(state, -1));
                ffi::lua_settop(state, table);
                return false;
            }
            ffi::lua_settop(state, table);
            for (name, kind) in [(MAP, Kind::Map), (SET, Kind::Set)] {
                if field(state, table, name) == ffi::LUA_TTABLE {
                    self.open(kind, table + 1, table - 1);
                    ffi::lua_pushnil(state);
                    return true;
                }
                ffi::lua_settop(state, table);
            }
            if field(state, table, BIG_NUMBER) == ffi::LUA_TSTRING {
                self.reply.big_number(string_bytes(state, -1));
                ffi::lua_settop(state, table);
                return false;
            }
            ffi::lua_settop(state, table);
            if field(state, table, VERBATIM) == ffi::LUA_TTABLE
                && field(state, table + 1, FORMAT) == ffi::LUA_TSTRING
                && field(state, table + 1, STRING) == ffi::LUA_TSTRING
            {
                let mut letters = [b' '; 3];
                let format = c_string(string_bytes(state, table + 2));
                let len = format.len().min(letters.len());
                letters[..len].copy_from_slice(&format[..len]);
                self.reply.verbatim_bytes(letters, string_bytes(state, table + 3));
                ffi::lua_settop(state, table);
                return false;
            }
            ffi::lua_settop(state, table);
            self.open(Kind::Array, table, table - 1);
        }
        true
    }

    fn open(&mut self, kind: Kind, at: c_int, below: c_int) {
        let header = self.reply.defer();
        self.open.push(Open { kind, at, below, len: 0, has_key: false, header });
    }

    fn close(&mut self) {
        let Some(Open { kind, len, header, .. }) = self.open.pop() else { return };
        match kind {
            Kind::Array => self.reply.end_array(header, len),
            Kind::Map => self.reply.end_map(header, len),
            Kind::Set => self.reply.end_set(header, len),
        }
    }
}

/// Pushes a field of a table; answers its type.
unsafe fn field(state: *mut lua_State, table: c_int, name: c_int) -> c_int {
    // SAFETY: the names lie beside the function that runs. Nothing is allocated.
    unsafe {
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(name));
        ffi::lua_rawget_(state, table);
        ffi::lua_type(state, -1)
    }
}

/// Writes the value on top, which is no table. Raises nothing.
unsafe fn write_scalar(state: *mut lua_State, reply: &mut Reply<'_>, script_protocol: Protocol) {
    // SAFETY: these look at a value and convert none.
    unsafe {
        match ffi::lua_type(state, -1) {
            ffi::LUA_TSTRING => reply.bulk(string_bytes(state, -1)),
            ffi::LUA_TNUMBER => reply.integer(truncated(ffi::lua_tonumber(state, -1))),
            ffi::LUA_TBOOLEAN => {
                let truth = ffi::lua_toboolean(state, -1) != 0;
                match script_protocol {
                    Protocol::Resp3 => reply.boolean(truth),
                    Protocol::Resp2 if truth => reply.integer(1),
                    Protocol::Resp2 => reply.null(),
                }
            }
            _ => reply.null(),
        }
    }
}

/// A number without its fraction; what is out of range is the least integer, as a C cast makes it.
fn truncated(n: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&n) { n as i64 } else { i64::MIN }
}
