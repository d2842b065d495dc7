//! One Lua state with the sandbox in it: compiles scripts once, runs them, and stops them.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{
    ChunkMode, Debug, Function, HookTriggers, Lua, LuaOptions, RegistryKey, StdLib, Table, Value, VmState,
};

use super::debugger::{self, Debugger};
use super::error::{Failure, Raised, message_of};
use super::host::{self, Host};
use super::shebang::{ScriptFlags, ScriptHeader};
use super::stack::{self, Returned, Runnable, Runner};
use super::{api, libraries, pace, random};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

const PRELUDE: &str = include_str!("prelude.lua");
pub const PRELUDE_NAME: &str = "=prelude";
/// How many instructions run before a hook that is set outside of a run; each run sets its own pace.
const ATTENDED_EVERY: u32 = 10_000;

/// Compilations for each step of the garbage collector that is not Lua's own, and how far it goes.
const COMPILED_PER_STEP: u32 = 50;
const STEP_KBYTES: i32 = 150;

/// Which commands an interpreter serves. Scripts and functions do not see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    Eval,
    Functions,
}

/// A sandbox with everything that scripts may name.
pub struct Interpreter {
    lua: Lua,
    runner: Runner,
    load_library: Function,
    memory_bytes_max: usize,
}

/// Scripts and libraries that were compiled, kept beside the state.
struct Compiled(Cell<u32>);

/// A script for EVAL, compiled. Its function lies in Lua's registry: of direct references there are a few thousand at most.
pub struct Script {
    function: RegistryKey,
    /// None if it declares nothing: it is held to the rules from before there were flags.
    pub flags: Option<ScriptFlags>,
}

impl Script {
    pub fn runnable(&self) -> Runnable<'_> {
        Runnable::Script(&self.function)
    }
}

impl Interpreter {
    /// `memory_bytes_max` bounds all that scripts hold at any time; 0 for no bound. The error is a fault of this server.
    pub fn new(flavor: Flavor, memory_bytes_max: usize) -> Result<Self, String> {
        Self::build(flavor, memory_bytes_max).map_err(|error| error.to_string())
    }

    fn build(flavor: Flavor, memory_bytes_max: usize) -> mlua::Result<Self> {
        let lua =
            Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS, LuaOptions::default())?;
        libraries::install(&lua)?;
        let native = api::natives(&lua, flavor)?;
        let prelude = lua.load(PRELUDE).set_name(PRELUDE_NAME);
        let (front, visible, handler, load_library): (Table, Table, Function, Function) =
            prelude.call((native, flavor == Flavor::Functions))?;
        lua.set_globals(front)?;
        let runner = Runner::new(&lua, visible, handler)?;
        lua.gc_collect()?;
        lua.set_memory_limit(memory_bytes_max)?;
        lua.set_app_data(Compiled(Cell::new(0)));
        let interpreter = Self { lua, runner, load_library, memory_bytes_max };
        interpreter.attend_now_and_then()?;
        Ok(interpreter)
    }

    fn attend_now_and_then(&self) -> mlua::Result<()> {
        let triggers = HookTriggers::new().every_nth_instruction(ATTENDED_EVERY);
        self.lua.set_global_hook(triggers, |lua, _| match host::with(attend) {
            Some(Ok(interval)) => {
                stack::look_after(lua, interval);
                Ok(VmState::Continue)
            }
            Some(Err(line)) => {
                stop_for_good(lua, line)?;
                Err(Raised::reply(line))
            }
            None => Ok(VmState::Continue),
        })
    }

    /// After a script was stopped: the next one starts afresh.
    pub fn recover(&self) {
        host::set_stopped(None);
        // It was possible before, with the same state.
        let _ = self.attend_now_and_then();
    }

    /// Compiles a script; `name` as Lua's chunk names are written. The error is the compiler's message.
    fn compile(&self, code: &[u8], name: &str) -> Result<Function, String> {
        let chunk = self.lua.load(code).set_name(name).set_mode(ChunkMode::Text);
        let function = chunk.into_function().map_err(|error| message_of(&error));
        self.collect_what_compiling_left();
        function
    }

    /// Compiling leaves garbage, and a step of the collector each time would take longer than it: so one now and then.
    fn collect_what_compiling_left(&self) {
        let compiled = self.lua.app_data_ref::<Compiled>().map_or(0, |count| {
            count.0.set(count.0.get().wrapping_add(1));
            count.0.get()
        });
        if compiled.is_multiple_of(COMPILED_PER_STEP) {
            // It fails only if a finalizer does, which scripts have none of.
            let _ = self.lua.gc_step_kbytes(STEP_KBYTES);
        }
    }

    /// Compiles the body of a script for EVAL.
    pub fn compile_script(&self, body: &[u8]) -> Result<Script, ErrorReply> {
        let header = ScriptHeader::read(body)?;
        let function = self.compile(&body[header.code_at..], "@user_script").map_err(|message| {
            ErrorReply::new(format!("ERR Error compiling script (new function): {message}"))
        })?;
        let function = self.lua.create_registry_value(function).map_err(|error| {
            ErrorReply::new(format!("ERR Error compiling script (new function): {}", message_of(&error)))
        })?;
        Ok(Script { function, flags: header.flags })
    }

    /// Compiles the code of a library, its first line left out.
    pub(super) fn compile_library(&self, code: &[u8]) -> Result<Function, String> {
        self.compile(code, "@user_function")
    }

    /// Runs a library's code, which registers its functions with the host.
    pub(super) fn run_library(&self, host: &mut dyn Host, code: &Function) -> Result<(), Failure> {
        let outcome = host::lend(host, || {
            if let Some(now) = host::with(|host| host.nanos()) {
                stack::look_after(&self.lua, pace::begin(now));
            }
            self.load_library.call::<(bool, Value)>(code)
        });
        match outcome {
            Ok((true, _)) => Ok(()),
            Ok((false, failure)) => Err(Failure::read(&failure)),
            Err(error) => Err(Failure::of_error(&error)),
        }
    }

    /// Begins the numbers of `math.random` anew.
    pub fn seed(&self, seed: u32) {
        random::seed(seed as i32);
    }

    /// Runs a script, or a function that was registered, with its keys and arguments; answers what it returns.
    pub fn run(
        &self,
        host: &mut dyn Host,
        runnable: Runnable<'_>,
        keys: Args<'_>,
        args: Args<'_>,
    ) -> Result<Returned<'_>, Failure> {
        let (outcome, used_memory) = self.runner.run(&self.lua, host, runnable, (keys, args));
        if self.memory_bytes_max > 0 && used_memory > self.memory_bytes_max / 2 {
            self.collect_garbage();
        }
        outcome
    }

    /// Runs a script as `run` does, step by step as the debugger's client asks.
    pub fn debug(
        &self,
        debugger: &Rc<Debugger>,
        host: &mut dyn Host,
        script: &Script,
        keys: Args<'_>,
        args: Args<'_>,
    ) -> Result<Returned<'_>, Failure> {
        let triggers = HookTriggers::EVERY_LINE.every_nth_instruction(ATTENDED_EVERY);
        let hook = |lua: &Lua, debug: &Debug<'_>| {
            debugger::current().map_or(Ok(()), |debugger| debugger.hook(lua, debug))?;
            Ok(VmState::Continue)
        };
        self.lua.set_global_hook(triggers, hook).map_err(|error| Failure::of_error(&error))?;
        debugger::set_current(Some(debugger.clone()));
        let outcome = self.run(host, script.runnable(), keys, args);
        debugger::set_current(None);
        self.recover();
        outcome
    }

    /// What one script leaves behind is not to be missing for the next.
    fn collect_garbage(&self) {
        // These fail only for a state that was not created here, and if a finalizer does, which scripts have none of.
        let _ = self.lua.set_memory_limit(0);
        let _ = self.lua.gc_collect();
        let _ = self.lua.set_memory_limit(self.memory_bytes_max);
    }

    /// Bytes that Lua has allocated.
    pub fn used_memory(&self) -> usize {
        self.lua.used_memory()
    }

    /// Gives up the functions of scripts and libraries that are gone.
    pub fn clean(&self) {
        self.lua.expire_registry_values();
    }
}

/// Looks after the script. Answers how many instructions may run before the next time.
fn attend(host: &mut dyn Host) -> Result<u32, &'static str> {
    let due = host.nanos();
    host.attend()?;
    Ok(pace::next(due, host.nanos()))
}

/// From here on every line of the script fails, so that no `pcall` in it can go on for long. Nor can it run another coroutine,
/// which counts instructions of its own, or a handler of this very error, for which nothing is counted.
fn stop_for_good(lua: &Lua, line: &'static str) -> mlua::Result<()> {
    host::set_stopped(Some(line));
    let triggers = HookTriggers::EVERY_LINE.every_nth_instruction(ATTENDED_EVERY);
    lua.set_global_hook(triggers, move |_, _| Err(Raised::reply(line)))
}
