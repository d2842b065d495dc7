//! When the hook of a running script is called next.

use std::ffi::c_int;

use mlua::Lua;
use mlua::ffi::{self, lua_State};

/// Has the script that runs looked after when so many more instructions have run.
pub fn look_after(lua: &Lua, instructions: u32) {
    // SAFETY: the state is that of the script which runs, or the main one.
    lua.exec_raw_lua(|raw| unsafe { call_hook_in(raw.state(), instructions) });
}

/// Has what runs in this state looked after when so many more instructions have run, and then as often again.
pub(super) unsafe fn call_hook_in(state: *mut lua_State, instructions: u32) {
    // SAFETY: these read and write fields of the state, and allocate nothing. The hook stays the one that it has.
    unsafe {
        let (hook, mask) = (ffi::lua_gethook(state), ffi::lua_gethookmask(state));
        ffi::lua_sethook(state, hook, mask, instructions as c_int);
    }
}
