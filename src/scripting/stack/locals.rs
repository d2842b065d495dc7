//! The local variables of the functions that run, for the debugger.

use std::ffi::CStr;

use mlua::ffi;
use mlua::{FromLua as _, Lua, Value};

/// The variables of the function at a level of the calls, the innermost one being 0; none if there are not so many.
pub fn locals(lua: &Lua, level: i32) -> Option<Vec<(String, Value)>> {
    lua.exec_raw_lua(|raw| {
        let state = raw.state();
        let mut found = Vec::new();
        // SAFETY: reading a level and its variables raises nothing. Each variable is pushed where room was asked for, taken
        // as a value, and removed; its name belongs to the function and is copied.
        unsafe {
            let mut record: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getstack(state, level, &raw mut record) == 0 || ffi::lua_checkstack(state, 2) == 0 {
                return None;
            }
            for index in 1.. {
                let name = ffi::lua_getlocal(state, &raw const record, index);
                if name.is_null() {
                    break;
                }
                let name = CStr::from_ptr(name).to_string_lossy().into_owned();
                let value = Value::from_stack(-1, raw).unwrap_or(Value::Nil);
                ffi::lua_settop(state, -2);
                found.push((name, value));
            }
        }
        Some(found)
    })
}
