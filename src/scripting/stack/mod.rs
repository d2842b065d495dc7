//! The way of a call, on Lua's own stack: a script is run, its commands take their words and hand over their replies, and
//! what it returns is written, without a reference, a closure or a guard of mlua for each value.
//!
//! This is where the time of a short script goes, and it is what lets a command have as many words as Lua's stack holds.
//! Everything that is rare goes through mlua.
//!
//! # Why this is sound
//!
//! - *One state, one thread.* The only pointer to Lua's state is the one that `Lua::exec_raw_lua` lends while it holds the
//!   state's lock, or that Lua hands to a function that it calls. None is kept.
//! - *An error of Lua jumps over frames.* So whatever may raise one (all that allocates: strings, tables, room on the stack)
//!   is called only under `lua_pcall`, and by frames that own nothing: references, numbers, and places on the stack. What
//!   they need that must be freed lies with the caller of `lua_pcall`, or in a thread-local, never in a guard of theirs.
//! - *The stack is balanced.* A run leaves one value, which [`Returned`] stands for and takes away. Room for it and for the
//!   few slots below it is what Lua guarantees each native function; whatever needs more asks for it.
//! - *Depth is asked for.* What nests takes its slots by `lua_checkstack` at each level ([`to_lua`], [`from_lua`]); a guard or a
//!   command needs at most three beside its arguments, of the twenty that Lua keeps for each native function.
//! - *What the collector may free is on the stack or beside a function.* A table that is being filled lies below what is put
//!   into it; names of fields are values beside the function that uses them; scripts lie in the registry until they are
//!   forgotten, which no script can cause that runs. No finalizer of a script exists that could run in between.
//! - *Guards call in their own frame.* The function behind a guard is native and finds its arguments where Lua left them; none
//!   of those that are guarded uses what lies beside it, where the guard has its own.
//! - *Bytes of strings are read only while the string is on the stack*, where the collector sees it.
//! - *Tables of keys and arguments are used again* ([`run_body`]), but only those that a script has left as it has found them:
//!   what else has seen them is gone, since scripts have no place where they could keep a value.
//! - *A panic does not cross Lua.* The server's own ends the process; the functions here have none of theirs.

#![allow(unsafe_code)]

mod attention;
mod command;
mod from_lua;
mod guards;
mod locals;
mod log;
mod to_lua;

use std::ffi::{c_int, c_void};

use mlua::ffi::{self, lua_State};
use mlua::{FromLua, Function, Lua, RegistryKey, Table, Value};

use self::attention::call_hook_in;
pub use self::attention::look_after;
pub use self::command::{acl_check_cmd, call, pcall};
pub use self::from_lua::Written;
pub use self::guards::{bounded, inserting, protected, repeating, unless_stopped, unpacking, writing};
pub use self::locals::locals;
pub use self::log::log;
use super::error::Failure;
use super::host::{self, Host};
use super::pace;
use crate::resp::args::Args;
use crate::resp::reply::{Protocol, Reply};

/// What is run, which lies in Lua's registry; they differ in how they get their keys and arguments.
#[derive(Clone, Copy)]
pub enum Runnable<'a> {
    /// As the globals `KEYS` and `ARGV`.
    Script(&'a RegistryKey),
    /// As its two parameters.
    Function(&'a RegistryKey),
}

/// Runs scripts in the state that it was made for.
pub struct Runner {
    /// [`run_body`], which knows the globals.
    body: RegistryKey,
    /// [`from_lua::convert`], which knows the names of fields.
    convert: RegistryKey,
    /// What makes a table of any error.
    handler: RegistryKey,
}

/// One run, as [`run_body`] sees it.
struct Request<'a> {
    runnable: Runnable<'a>,
    keys: Args<'a>,
    args: Args<'a>,
}

impl Runner {
    /// `globals` is the table that scripts read their globals from.
    pub fn new(lua: &Lua, globals: Table, handler: Function) -> mlua::Result<Self> {
        // SAFETY: the values are on the stack in this order, and become what the function finds beside itself.
        let body: Function = unsafe {
            lua.exec_raw((globals, "KEYS", "ARGV", Value::Nil, Value::Nil), |state| {
                ffi::lua_pushcclosure(state, run_body, 5);
            })
        }?;
        Ok(Self {
            body: lua.create_registry_value(body)?,
            convert: lua.create_registry_value(from_lua::converter(lua)?)?,
            handler: lua.create_registry_value(handler)?,
        })
    }

    /// Runs a script or function of this state; what it returns waits in Lua. Answers beside it how many bytes Lua holds then.
    pub fn run<'l>(
        &'l self,
        lua: &'l Lua,
        host: &mut dyn Host,
        runnable: Runnable<'_>,
        (keys, args): (Args<'_>, Args<'_>),
    ) -> (Result<Returned<'l>, Failure>, usize) {
        let mut used_memory = 0;
        let request = Request { runnable, keys, args };
        let failed = host::lend(host, || {
            lua.exec_raw_lua(|raw| {
                let state = raw.state();
                // SAFETY: nothing runs in this state but what is called here, so the stack has its guaranteed room. The keys
                // are of this state's registry, as `new` and the compiler put them there. `request` outlives the call.
                unsafe {
                    if let Some(now) = host::with(|host| host.nanos()) {
                        call_hook_in(state, pace::begin(now));
                    }
                    registered(state, &self.handler);
                    registered(state, &self.body);
                    ffi::lua_pushlightuserdata(state, (&raw const request).cast_mut().cast::<c_void>());
                    let status = ffi::lua_pcall(state, 1, 1, -3);
                    ffi::lua_remove(state, -2);
                    used_memory = ffi::lua_gc(state, ffi::LUA_GCCOUNT, 0) as usize * 1024;
                    if status == ffi::LUA_OK {
                        return Ok(None);
                    }
                    let failure = Value::from_stack(-1, raw);
                    ffi::lua_settop(state, -2);
                    failure.map(Some)
                }
            })
        });
        let outcome = match failed {
            Ok(None) => Ok(Returned { lua, runner: self }),
            Ok(Some(failure)) => Err(Failure::read(&failure)),
            Err(error) => Err(Failure::of_error(&error)),
        };
        (outcome, used_memory)
    }
}

/// Pushes a value of the registry. It must be of this state.
unsafe fn registered(state: *mut lua_State, key: &RegistryKey) {
    // SAFETY: the caller's.
    unsafe { ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, key.id()) }
}

/// Builds the tables of keys and arguments and calls the script or function. Beside it lie the globals, two names, and the
/// tables of the last script.
unsafe extern "C-unwind" fn run_body(state: *mut lua_State) -> c_int {
    // SAFETY: the one argument is the request of `Runner::run`, which waits for this to end. This frame owns nothing.
    unsafe {
        let request = &*ffi::lua_touserdata(state, 1).cast::<Request<'_>>();
        match request.runnable {
            Runnable::Script(function) => {
                set_global_list(state, (2, 4), request.keys);
                set_global_list(state, (3, 5), request.args);
                registered(state, function);
                ffi::lua_call(state, 0, 1);
            }
            Runnable::Function(function) => {
                registered(state, function);
                push_list(state, request.keys);
                push_list(state, request.args);
                ffi::lua_call(state, 2, 1);
            }
        }
    }
    1
}

/// Lists that are longer than this, or whose strings are longer together, are not kept for the next script.
const LIST_LEN_KEPT: usize = 16;
const LIST_BYTES_KEPT: usize = 1024;

/// Sets the global whose name lies at the first place beside the running function to a table of strings: to that at the
/// second place, if it fits. May raise.
unsafe fn set_global_list(state: *mut lua_State, (name, table): (c_int, c_int), items: Args<'_>) {
    let table = ffi::lua_upvalueindex(table);
    let is_kept =
        items.len() <= LIST_LEN_KEPT && items.iter().map(<[u8]>::len).sum::<usize>() <= LIST_BYTES_KEPT;
    // SAFETY: the caller runs under `lua_pcall`, and is `run_body`, beside which the values lie.
    unsafe {
        if is_kept && list_len(state, table) == Some(items.len()) {
            for (index, item) in items.iter().enumerate() {
                push_bytes(state, item);
                ffi::lua_rawseti_(state, table, index as c_int + 1);
            }
            return;
        }
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(name));
        push_list(state, items);
        if is_kept {
            ffi::lua_pushvalue(state, -1);
        } else {
            ffi::lua_pushnil(state);
        }
        ffi::lua_replace(state, table);
        ffi::lua_rawset(state, ffi::lua_upvalueindex(1));
    }
}

/// How many items a table has that is a list and nothing else, or none if it is not. Raises nothing.
unsafe fn list_len(state: *mut lua_State, table: c_int) -> Option<usize> {
    // SAFETY: there is room for two values, and `lua_next` is given the keys that it has answered.
    unsafe {
        if ffi::lua_type(state, table) != ffi::LUA_TTABLE {
            return None;
        }
        if ffi::lua_getmetatable(state, table) != 0 {
            ffi::lua_settop(state, -2);
            return None;
        }
        let mut len = 0;
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, table) != 0 {
            ffi::lua_settop(state, -2);
            len += 1;
            if ffi::lua_type(state, -1) != ffi::LUA_TNUMBER || ffi::lua_tonumber(state, -1) != len as f64 {
                ffi::lua_settop(state, -2);
                return None;
            }
        }
        Some(len)
    }
}

/// Pushes a table of strings. May raise.
unsafe fn push_list(state: *mut lua_State, items: Args<'_>) {
    // SAFETY: the caller runs under `lua_pcall`. A request has fewer arguments than an integer counts.
    unsafe {
        ffi::lua_createtable(state, items.len() as c_int, 0);
        for (index, item) in items.iter().enumerate() {
            push_bytes(state, item);
            ffi::lua_rawseti_(state, -2, index as c_int + 1);
        }
    }
}

/// Pushes a string. May raise.
unsafe fn push_bytes(state: *mut lua_State, bytes: &[u8]) {
    // SAFETY: the caller runs under `lua_pcall`; Lua copies the bytes.
    unsafe { ffi::lua_pushlstring_(state, bytes.as_ptr().cast(), bytes.len()) }
}

/// The bytes of the string at a place of the stack; nothing else may be there. Valid while it is there.
unsafe fn string_bytes<'s>(state: *mut lua_State, index: c_int) -> &'s [u8] {
    let mut len = 0;
    // SAFETY: for a string this neither converts nor raises, and the bytes live as long as the string.
    unsafe {
        let bytes = ffi::lua_tolstring(state, index, &mut len);
        std::slice::from_raw_parts(bytes.cast(), len)
    }
}

/// What a script has returned: the value on top of the stack.
pub struct Returned<'l> {
    lua: &'l Lua,
    runner: &'l Runner,
}

impl Returned<'_> {
    /// Writes it for a client. What booleans are depends on the protocol that the script has chosen.
    pub fn write(self, reply: &mut Reply<'_>, script_protocol: Protocol) -> mlua::Result<Written> {
        self.lua.exec_raw_lua(|raw| {
            // SAFETY: the value is on top, since runs end in the reverse of the order in which they began.
            unsafe { from_lua::write_top(raw.state(), &self.runner.convert, reply, script_protocol) }
        })
    }
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        // SAFETY: as in `write`. It only moves the stack's top.
        self.lua.exec_raw_lua(|raw| unsafe { ffi::lua_settop(raw.state(), -2) });
    }
}
