//! Functions of Lua's libraries with a look at their arguments before them. The function itself then runs in the same frame,
//! so that its errors name the caller's place and the name that the caller has used.

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, Table};

use super::super::{host, pace};
use super::attention::call_hook_in;
use super::command::raise;

/// Matching recurses for the items of a pattern, on a stack that is not Lua's.
const PATTERN_BYTES_MAX: usize = 4096;
/// No string of a script is longer than the longest value of a key.
const STRING_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// A string that takes so long to make that the script is looked after behind it.
const LONG_STRING_BYTES: u64 = 1024 * 1024;
/// How far before a table's begin something may be put into it: what lies between is moved, one by one.
const DISTANCE_MAX: i64 = 100_000;
/// Slots of one function's part of the stack.
const SLOTS_MAX: i64 = 8000;

/// `function`, which takes a pattern as its second argument, for patterns of a bounded length; unless the argument at
/// `plain_at` says that it is none.
pub fn bounded(lua: &Lua, function: Function, plain_at: Option<i64>) -> mlua::Result<Function> {
    // SAFETY: the two values are on the stack, and become what lies beside the new one.
    unsafe { lua.exec_raw((function, plain_at), |state| ffi::lua_pushcclosure(state, with_pattern, 2)) }
}

/// `function`, whose first argument it changes, for tables that stand for no other. `fronts` are those that do.
pub fn writing(lua: &Lua, function: Function, fronts: Table) -> mlua::Result<Function> {
    // SAFETY: as in `bounded`.
    unsafe { lua.exec_raw((function, fronts), |state| ffi::lua_pushcclosure(state, with_table, 2)) }
}

/// `unpack` for ranges whose length an integer holds.
pub fn unpacking(lua: &Lua, function: Function) -> mlua::Result<Function> {
    // SAFETY: as in `bounded`.
    unsafe { lua.exec_raw(function, |state| ffi::lua_pushcclosure(state, unpack, 1)) }
}

/// `string.rep` for strings that a script may have, which takes no time for empty ones.
pub fn repeating(lua: &Lua, function: Function) -> mlua::Result<Function> {
    // SAFETY: as in `bounded`.
    unsafe { lua.exec_raw(function, |state| ffi::lua_pushcclosure(state, repeat, 1)) }
}

/// `table.insert` for positions that are near the table.
pub fn inserting(lua: &Lua, function: Function, fronts: Table) -> mlua::Result<Function> {
    // SAFETY: as in `bounded`.
    unsafe { lua.exec_raw((function, fronts), |state| ffi::lua_pushcclosure(state, insert, 2)) }
}

/// `pcall`, whose failures scripts see as `seen` makes them. No function of Lua stands between it and its caller, which
/// `error` could name as the place of an error.
pub fn protected(lua: &Lua, pcall: Function, seen: Function) -> mlua::Result<Function> {
    // SAFETY: as in `bounded`.
    unsafe { lua.exec_raw((pcall, seen), |state| ffi::lua_pushcclosure(state, protected_call, 2)) }
}

/// `function`, which runs or makes a coroutine, for scripts that were not stopped.
pub fn unless_stopped(lua: &Lua, function: Function) -> mlua::Result<Function> {
    // SAFETY: as in `bounded`.
    unsafe { lua.exec_raw(function, |state| ffi::lua_pushcclosure(state, go_on_unless_stopped, 1)) }
}

unsafe extern "C-unwind" fn go_on_unless_stopped(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this with its arguments on the stack. No frame here owns anything.
    unsafe {
        if let Some(line) = host::stopped() {
            raise(state, line);
        }
        if pace::resume_coroutine() {
            call_hook_in(state, 1);
        }
        go_on(state)
    }
}

unsafe extern "C-unwind" fn protected_call(state: *mut lua_State) -> c_int {
    // SAFETY: as above. What failed has left `false` and the failure and nothing else, so there is room for a function more.
    unsafe {
        let count = go_on(state);
        if ffi::lua_toboolean(state, -count) == 0 {
            ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
            ffi::lua_insert(state, -2);
            ffi::lua_call(state, 1, 1);
        }
        count
    }
}

unsafe extern "C-unwind" fn with_pattern(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this with its arguments on the stack. No frame here owns anything.
    unsafe {
        if ffi::lua_type(state, 2) == ffi::LUA_TSTRING
            && ffi::lua_objlen(state, 2) > PATTERN_BYTES_MAX
            && !is_plain(state)
        {
            ffi::luaL_error(state, c"pattern too complex".as_ptr());
        }
        go_on(state)
    }
}

unsafe fn is_plain(state: *mut lua_State) -> bool {
    // SAFETY: a place of the stack, or none.
    unsafe {
        match ffi::lua_tonumber(state, ffi::lua_upvalueindex(2)) as c_int {
            0 => false,
            at => ffi::lua_toboolean(state, at) != 0,
        }
    }
}

unsafe extern "C-unwind" fn with_table(state: *mut lua_State) -> c_int {
    // SAFETY: as above; the slots that Lua guarantees are enough for one value more.
    unsafe {
        if ffi::lua_type(state, 1) == ffi::LUA_TTABLE {
            ffi::lua_pushvalue(state, 1);
            ffi::lua_rawget_(state, ffi::lua_upvalueindex(2));
            if ffi::lua_type(state, -1) != ffi::LUA_TNIL {
                ffi::lua_pushstring_(state, c"Attempt to modify a readonly table".as_ptr());
                ffi::lua_error(state);
            }
            ffi::lua_settop(state, -2);
        }
        go_on(state)
    }
}

unsafe extern "C-unwind" fn insert(state: *mut lua_State) -> c_int {
    // SAFETY: as above. What is no number is for the function itself to refuse.
    unsafe {
        if ffi::lua_gettop(state) == 3 && (ffi::lua_tonumber(state, 2) as i64) < -DISTANCE_MAX {
            ffi::luaL_error(state, c"bad argument #2 to 'insert' (position out of bounds)".as_ptr());
        }
        with_table(state)
    }
}

unsafe extern "C-unwind" fn repeat(state: *mut lua_State) -> c_int {
    // SAFETY: as above. The arguments are read as the function itself will read them.
    unsafe {
        let mut len = 0;
        ffi::luaL_checklstring(state, 1, &mut len);
        let count = ffi::luaL_checkinteger(state, 2) as c_int;
        if len == 0 {
            ffi::lua_settop(state, 1);
            return 1;
        }
        let bytes = (len as u64).saturating_mul(count.max(0) as u64);
        if bytes > STRING_BYTES_MAX {
            ffi::luaL_error(state, c"resulting string too large".as_ptr());
        }
        if bytes > LONG_STRING_BYTES {
            call_hook_in(state, 1);
        }
        go_on(state)
    }
}

unsafe extern "C-unwind" fn unpack(state: *mut lua_State) -> c_int {
    // SAFETY: as above. The arguments are read as the function itself will read them.
    unsafe {
        ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE);
        let first = ffi::luaL_optinteger(state, 2, 1) as c_int;
        let last = match ffi::lua_isnoneornil(state, 3) {
            0 => ffi::luaL_checkinteger(state, 3) as c_int,
            _ => ffi::lua_objlen(state, 1) as c_int,
        };
        if i64::from(last) - i64::from(first) >= SLOTS_MAX {
            ffi::luaL_error(state, c"too many results to unpack".as_ptr());
        }
        go_on(state)
    }
}

/// Runs the function that lies beside the one that runs.
unsafe fn go_on(state: *mut lua_State) -> c_int {
    // SAFETY: those that are guarded are C functions which use nothing that lies beside them.
    unsafe {
        match ffi::lua_tocfunction(state, ffi::lua_upvalueindex(1)) {
            Some(function) => function(state),
            None => 0,
        }
    }
}
