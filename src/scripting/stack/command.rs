//! `redis.call`, `redis.pcall` and `redis.acl_check_cmd`: a command's words from the stack, its reply onto it.

use std::cell::Cell;
use std::ffi::c_int;

use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua};

use super::super::debugger;
use super::super::host::{self, Called};
use super::attention::call_hook_in;
use super::to_lua::ReplyReader;
use super::{push_bytes, string_bytes};
use crate::base::number::format_g17;
use crate::resp::args::{ArgRange, Args};

const NO_ARGUMENT: &str = "ERR Please specify at least one argument for this redis lib call";
const NOT_STRINGS: &str = "ERR Lua redis lib command arguments must be strings or integers";
/// There is no server behind a script that nobody runs.
const NO_HOST: &str = "ERR redis.call/pcall can only be called inside a script invocation";
const NO_COMMAND: &str = "ERR Invalid command passed to redis.acl_check_cmd()";

/// Buffers that commands use one after the other, and their size.
#[derive(Default)]
struct Scratch {
    words: Vec<u8>,
    ranges: Vec<ArgRange>,
    /// Read while nothing of Lua runs that could ask for another.
    reply: Vec<u8>,
}

const BYTES_KEPT: usize = 64 * 1024;
const RANGES_KEPT: usize = 4096;

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// `redis.call(...)`, which raises errors.
pub fn call(lua: &Lua) -> mlua::Result<Function> {
    // SAFETY: pushes one function.
    unsafe { lua.exec_raw((), |state| ffi::lua_pushcclosure(state, redis_call, 0)) }
}

/// `redis.pcall(...)`, which returns errors.
pub fn pcall(lua: &Lua) -> mlua::Result<Function> {
    // SAFETY: pushes one function.
    unsafe { lua.exec_raw((), |state| ffi::lua_pushcclosure(state, redis_pcall, 0)) }
}

/// `redis.acl_check_cmd(command, ...)`
pub fn acl_check_cmd(lua: &Lua) -> mlua::Result<Function> {
    // SAFETY: pushes one function.
    unsafe { lua.exec_raw((), |state| ffi::lua_pushcclosure(state, may_run_command, 0)) }
}

unsafe extern "C-unwind" fn redis_call(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this with its words on the stack.
    unsafe { run_command(state, true) }
}

unsafe extern "C-unwind" fn redis_pcall(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this with its words on the stack.
    unsafe { run_command(state, false) }
}

/// Owns nothing while it may raise: the reply's bytes stay in `SCRATCH`.
unsafe fn run_command(state: *mut lua_State, raises: bool) -> c_int {
    // SAFETY: `ask` ends without an error of Lua's. The reply's bytes stay where they are until the next command of this
    // thread, which no allocation of Lua's runs: scripts have no finalizers.
    unsafe {
        let outcome = with_words(state, |args, reply| {
            let debugger = debugger::watching();
            if let Some(debugger) = &debugger {
                debugger.show_command(args);
            }
            let called = host::with(|host| host.call(args, reply)).ok_or(NO_HOST)?;
            if let Some(debugger) = &debugger {
                debugger.show_reply(reply, called);
            }
            if called == Called::RunForLong {
                call_hook_in(state, 1);
            }
            Ok(&raw const **reply)
        });
        ffi::lua_settop(state, 0);
        let is_failure = match outcome {
            Ok(reply) => match (*reply).strip_prefix(b"-") {
                Some(line) if raises => {
                    push_error(state, line.trim_ascii_end(), true);
                    true
                }
                _ => {
                    let is_read = ReplyReader::new(&*reply).push(state).is_some();
                    debug_assert!(is_read, "replies are well-formed");
                    if !is_read {
                        ffi::lua_pushnil(state);
                    }
                    if reply.len() > BYTES_KEPT {
                        let mut scratch = SCRATCH.take();
                        scratch.reply = Vec::new();
                        SCRATCH.set(scratch);
                    }
                    false
                }
            },
            Err(line) => {
                push_error(state, line.as_bytes(), false);
                raises
            }
        };
        if is_failure {
            ffi::lua_error(state);
        }
    }
    1
}

unsafe extern "C-unwind" fn may_run_command(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this with its words on the stack. What it owns, `with_words` has put away.
    unsafe {
        let may_run =
            with_words(state, |args, _| host::with(|host| host.may_run(args)).flatten().ok_or(NO_COMMAND));
        match may_run {
            Ok(may_run) => ffi::lua_pushboolean(state, c_int::from(may_run)),
            Err(line) => raise(state, line),
        }
    }
    1
}

/// Hands the command on the stack to `ask`, with a buffer for its reply, or answers why it is none. The buffer's bytes stay
/// where they are until the next command of this thread. Raises nothing.
unsafe fn with_words<T>(
    state: *mut lua_State,
    ask: impl FnOnce(&Args<'_>, &mut Vec<u8>) -> Result<T, &'static str>,
) -> Result<T, &'static str> {
    let mut scratch = SCRATCH.take();
    // SAFETY: the words are on the stack.
    let outcome = match unsafe { take_words(state, &mut scratch) } {
        Ok(()) => {
            let Scratch { words, ranges, reply } = &mut scratch;
            ask(&Args::new(words, ranges), reply)
        }
        Err(line) => Err(line),
    };
    if scratch.words.capacity() > BYTES_KEPT {
        scratch.words = Vec::new();
    }
    if scratch.ranges.capacity() > RANGES_KEPT {
        scratch.ranges = Vec::new();
    }
    SCRATCH.set(scratch);
    outcome
}

/// Copies the words on the stack to where a command is read from. Raises nothing.
unsafe fn take_words(state: *mut lua_State, scratch: &mut Scratch) -> Result<(), &'static str> {
    let Scratch { words, ranges, .. } = scratch;
    words.clear();
    ranges.clear();
    // SAFETY: these look at what is on the stack and convert nothing: a number is not asked for its text.
    unsafe {
        let count = ffi::lua_gettop(state);
        if count == 0 {
            return Err(NO_ARGUMENT);
        }
        ranges.reserve(count as usize);
        for index in 1..=count {
            let start = words.len();
            match ffi::lua_type(state, index) {
                ffi::LUA_TSTRING => words.extend_from_slice(string_bytes(state, index)),
                ffi::LUA_TNUMBER => write_number(ffi::lua_tonumber(state, index), words),
                _ => return Err(NOT_STRINGS),
            }
            let (Ok(start), Ok(len)) = (u32::try_from(start), u32::try_from(words.len() - start)) else {
                return Err(NOT_STRINGS);
            };
            ranges.push(ArgRange { start, len });
        }
    }
    Ok(())
}

/// A number as an argument: with as many digits as it takes to read the same number.
fn write_number(n: f64, out: &mut Vec<u8>) {
    const EXACT_MAX: f64 = 1e15;
    /// From here on `%.17g` has no digit for each place.
    const PLAIN_MAX: f64 = 1e17;
    let integer = n as i64;
    if n.abs() < EXACT_MAX && integer as f64 == n && (integer != 0 || n.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    } else if n.is_nan() {
        out.extend_from_slice(if n.is_sign_negative() { b"-nan" } else { b"nan" });
    } else if n.is_finite() && n.abs() >= PLAIN_MAX {
        let text = format!("{n:.16e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        out.extend_from_slice(format!("{mantissa}e+{exponent}").as_bytes());
    } else {
        out.extend_from_slice(format_g17(n).as_bytes());
    }
}

/// Raises an error reply that has not been counted.
pub(super) unsafe fn raise(state: *mut lua_State, line: &str) -> ! {
    // SAFETY: the caller's.
    unsafe {
        push_error(state, line.as_bytes(), false);
        ffi::lua_error(state)
    }
}

/// Pushes the table that stands for an error reply. May raise.
pub(super) unsafe fn push_error(state: *mut lua_State, line: &[u8], is_counted: bool) {
    // SAFETY: the caller runs under `lua_pcall` and has room for three values.
    unsafe {
        ffi::lua_createtable(state, 0, 2);
        push_bytes(state, line);
        ffi::lua_setfield(state, -2, c"err".as_ptr());
        if is_counted {
            ffi::lua_pushboolean(state, 1);
            ffi::lua_setfield(state, -2, c"ignore_error_stats_update".as_ptr());
        }
    }
}
