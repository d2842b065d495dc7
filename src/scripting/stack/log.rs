//! `redis.log`: a line of a script for the server's log.

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua};

use super::super::host::{self, ScriptLogLevel};
use super::command::raise;
use super::string_bytes;

const TOO_FEW: &str = "ERR redis.log() requires two arguments or more.";
const NO_NUMBER: &str = "ERR First argument must be a number (log level).";
const NO_LEVEL: &str = "ERR Invalid debug level.";

/// `redis.log(level, text, ...)`
pub fn log(lua: &Lua) -> mlua::Result<Function> {
    // SAFETY: pushes one function.
    unsafe { lua.exec_raw((), |state| ffi::lua_pushcclosure(state, log_line, 0)) }
}

unsafe extern "C-unwind" fn log_line(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this with its arguments on the stack. Numbers become strings in their places, which may raise; this
    // frame owns nothing.
    unsafe {
        let count = ffi::lua_gettop(state);
        if count < 2 {
            raise(state, TOO_FEW);
        }
        if ffi::lua_isnumber(state, 1) == 0 {
            raise(state, NO_NUMBER);
        }
        let Some(level) = level_of(ffi::lua_tonumber(state, 1)) else { raise(state, NO_LEVEL) };
        for index in 2..=count {
            ffi::lua_tolstring(state, index, std::ptr::null_mut());
        }
        log_texts(state, level, count);
    }
    0
}

/// The level of a number, whose fraction does not count.
fn level_of(number: f64) -> Option<ScriptLogLevel> {
    const LEVELS: [ScriptLogLevel; 4] =
        [ScriptLogLevel::Debug, ScriptLogLevel::Verbose, ScriptLogLevel::Notice, ScriptLogLevel::Warning];
    (number > -1.0 && number < LEVELS.len() as f64).then(|| LEVELS[number as usize])
}

/// Logs the strings from the second place on, with blanks between them; what is none is left out. Raises nothing.
unsafe fn log_texts(state: *mut lua_State, level: ScriptLogLevel, count: c_int) {
    let mut line = Vec::new();
    for index in 2..=count {
        // SAFETY: a place of the stack, whose string stays there.
        unsafe {
            if ffi::lua_type(state, index) == ffi::LUA_TSTRING {
                if index > 2 {
                    line.push(b' ');
                }
                line.extend_from_slice(string_bytes(state, index));
            }
        }
    }
    host::with(|host| host.log(level, &line));
}
