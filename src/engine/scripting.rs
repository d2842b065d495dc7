//! What the server keeps of scripts and functions: those that were compiled, and the one that runs.
//!
//! The code of libraries is part of the data set (`Keyspace::libraries`); here is what was made of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::script_cache::ScriptCache;
use super::{ClientId, Engine, LogLevel};
use crate::resp::args::OwnedArgs;
use crate::resp::error::ErrorReply;
use crate::scripting::{
    Called, Console, Flavor, FunctionSpec, Host, Interpreter, Library, LibraryHeader, ReplicationTargets,
};
use crate::scripting::{ScriptLogLevel, is_name};
use crate::storage::keyspace::Libraries;

const BUSY_SCRIPT: ErrorReply = ErrorReply::fixed(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
);
const BUSY_FUNCTION: ErrorReply = ErrorReply::fixed(
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
);
const BROKEN: ErrorReply = ErrorReply::fixed("ERR the script engine cannot be started");

/// How long the code of a library may run while it is loaded.
const LOAD_NANOS_MAX: u64 = 500_000_000;

/// The functions of all libraries, compiled in one interpreter.
pub struct FunctionTable {
    interpreter: Arc<Interpreter>,
    libraries: BTreeMap<Vec<u8>, Library>,
    /// Library and place in it, by the function's name in lower case.
    by_name: HashMap<Vec<u8>, (Vec<u8>, usize)>,
    /// What this was compiled from.
    code: Libraries,
}

/// The script or function that runs.
#[derive(Debug)]
pub struct Running {
    pub caller: ClientId,
    pub is_function: bool,
    pub name: Vec<u8>,
    /// By the monotonic clock.
    pub started_nanos: u64,
    /// The request that runs it; known once it is slow.
    pub command: Option<OwnedArgs>,
    /// Past `busy-reply-threshold`: others are told.
    pub is_busy: bool,
    pub is_killed: bool,
    pub has_written: bool,
}

/// Serves others while a slow script runs.
pub trait Attendant: Send + Sync {
    /// A script is not over after its first moments.
    fn expect_long(&self);
    /// It is past `busy-reply-threshold`.
    fn begin(&self);
    /// Serves others for a moment.
    fn serve(&self, engine: &mut Engine);
}

#[derive(Default)]
pub struct Scripting {
    interpreter: Option<Arc<Interpreter>>,
    pub scripts: ScriptCache,
    functions: Option<FunctionTable>,
    pub running: Option<Running>,
    /// Injected by whoever has clients to serve.
    pub attendant: Option<Arc<dyn Attendant>>,
    /// What the gates found out about memory before the command that runs now.
    pub is_out_of_memory: bool,
    /// The client of the debugger for the script that comes next.
    pub console: Option<Box<dyn Console>>,
    /// DEBUG SET-DISABLE-DENY-SCRIPTS: scripts may run what they otherwise may not.
    pub allows_everything: bool,
}

impl Scripting {
    /// What others read while a slow script runs.
    pub fn busy_error(&self) -> Option<ErrorReply> {
        let running = self.running.as_ref().filter(|running| running.is_busy)?;
        Some(if running.is_function { BUSY_FUNCTION } else { BUSY_SCRIPT })
    }

    /// The interpreter for EVAL, begun when it is first needed.
    pub fn interpreter(&mut self, memory_bytes_max: usize) -> Result<Arc<Interpreter>, ErrorReply> {
        if let Some(interpreter) = &self.interpreter {
            return Ok(interpreter.clone());
        }
        let interpreter = Interpreter::new(Flavor::Eval, memory_bytes_max).map_err(|_| BROKEN)?;
        Ok(self.interpreter.insert(Arc::new(interpreter)).clone())
    }

    /// Forgets all scripts for EVAL, and all that they have made; answers what is to be freed.
    pub fn forget_scripts(&mut self) -> impl Send + use<> {
        (self.interpreter.take(), std::mem::take(&mut self.scripts))
    }

    pub fn function_table(&self) -> Option<&FunctionTable> {
        self.functions.as_ref()
    }

    /// Functions that are compiled.
    pub fn functions_len(&self) -> usize {
        self.functions.as_ref().map_or(0, FunctionTable::functions_len)
    }

    /// Bytes of the two Lua states.
    pub fn lua_bytes(&self) -> (usize, usize) {
        let eval = self.interpreter.as_ref().map_or(0, |interpreter| interpreter.used_memory());
        let functions = self.functions.as_ref().map_or(0, |functions| functions.interpreter.used_memory());
        (eval, functions)
    }
}

impl FunctionTable {
    fn new(memory_bytes_max: usize) -> Result<Self, ErrorReply> {
        Ok(Self {
            interpreter: Arc::new(Interpreter::new(Flavor::Functions, memory_bytes_max).map_err(|_| BROKEN)?),
            libraries: BTreeMap::new(),
            by_name: HashMap::new(),
            code: Libraries::default(),
        })
    }

    pub fn interpreter(&self) -> &Arc<Interpreter> {
        &self.interpreter
    }

    pub fn libraries(&self) -> impl Iterator<Item = &Library> {
        self.libraries.values()
    }

    pub fn function(&self, name: &[u8]) -> Option<&FunctionSpec> {
        let (library, index) = self.by_name.get(&name.to_ascii_lowercase()[..])?;
        self.libraries.get(library)?.functions.get(*index)
    }

    pub fn functions_len(&self) -> usize {
        self.by_name.len()
    }

    pub fn libraries_len(&self) -> usize {
        self.libraries.len()
    }

    fn insert(&mut self, library: Library) {
        for (index, function) in library.functions.iter().enumerate() {
            self.by_name.insert(function.name.to_ascii_lowercase(), (library.name.clone(), index));
        }
        self.libraries.insert(library.name.clone(), library);
    }

    fn remove(&mut self, name: &[u8]) -> Option<Library> {
        let library = self.libraries.remove(name)?;
        self.by_name.retain(|_, (owner, _)| owner != name);
        Some(library)
    }
}

impl Engine {
    /// The functions as the data set has them, compiled if they are not.
    pub fn function_table(&mut self) -> Result<&mut FunctionTable, ErrorReply> {
        let is_current = self
            .scripting
            .functions
            .as_ref()
            .is_some_and(|table| Arc::ptr_eq(&table.code, &self.keyspace.libraries));
        if !is_current {
            let code = self.keyspace.libraries.clone();
            self.scripting.functions = Some(FunctionTable::new(self.config_memory_max())?);
            for (name, code) in code.iter() {
                if let Err(error) = self.compile_library(code, false) {
                    let (name, error) = (
                        String::from_utf8_lossy(name),
                        String::from_utf8_lossy(error.as_bytes()).into_owned(),
                    );
                    self.log(LogLevel::Warning, format!("library {name} cannot be used: {error}"));
                }
            }
            let table = self.scripting.functions.as_mut().ok_or(BROKEN)?;
            // What cannot be used is kept all the same, so that it is not lost with the next save.
            table.code = code;
        }
        self.scripting.functions.as_mut().ok_or(BROKEN)
    }

    /// Bytes that one Lua state may hold.
    pub fn config_memory_max(&self) -> usize {
        usize::try_from(self.config.lua_memory_limit).unwrap_or(usize::MAX)
    }

    /// FUNCTION LOAD: compiles a library and puts it into the data set. Answers its name.
    pub fn load_library(&mut self, code: &[u8], replaces: bool) -> Result<Vec<u8>, ErrorReply> {
        self.function_table()?;
        let name = self.compile_library(code, replaces)?;
        self.change_libraries(|libraries| libraries.insert(name.clone(), code.into()));
        Ok(name)
    }

    /// FUNCTION DELETE. Whether there was such a library.
    pub fn delete_library(&mut self, name: &[u8]) -> Result<bool, ErrorReply> {
        let is_removed = self.function_table()?.remove(name).is_some();
        if is_removed {
            self.change_libraries(|libraries| libraries.remove(name));
        }
        Ok(is_removed)
    }

    /// Changes the code in the data set to what is compiled by now. Only if a snapshot has it, too, is it copied.
    fn change_libraries<R>(&mut self, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Arc<[u8]>>) -> R) {
        let Some(table) = &mut self.scripting.functions else { return };
        table.code = Libraries::default();
        change(Arc::make_mut(&mut self.keyspace.libraries));
        table.code = self.keyspace.libraries.clone();
    }

    /// FUNCTION FLUSH; answers what is to be freed.
    pub fn forget_libraries(&mut self) -> impl Send + use<> {
        self.keyspace.libraries = Libraries::default();
        self.scripting.functions.take()
    }

    /// All libraries as they are, to be put back if what follows fails.
    pub fn libraries(&self) -> Libraries {
        self.keyspace.libraries.clone()
    }

    /// Puts libraries into the place of those at hand.
    pub fn replace_libraries(&mut self, libraries: Libraries) {
        self.keyspace.libraries = libraries;
    }

    fn compile_library(&mut self, code: &[u8], replaces: bool) -> Result<Vec<u8>, ErrorReply> {
        let header = LibraryHeader::read(code)?;
        debug_assert!(is_name(&header.name));
        let table = self.scripting.functions.as_mut().ok_or(BROKEN)?;
        if !replaces && table.libraries.contains_key(&header.name) {
            let name = String::from_utf8_lossy(&header.name);
            return Err(ErrorReply::new(format!("ERR Library '{name}' already exists")));
        }
        let interpreter = table.interpreter.clone();
        let mut host = LoadingHost { engine: self, functions: Vec::new(), started_nanos: 0, is_late: false };
        host.started_nanos = host.engine.time.monotonic_nanos();
        let outcome = Library::run_code(&interpreter, &mut host, &header, code);
        let (functions, is_late) = (host.functions, host.is_late);
        if is_late {
            interpreter.recover();
        }
        outcome?;
        if functions.is_empty() {
            return Err(ErrorReply::fixed("ERR No functions registered"));
        }
        let table = self.scripting.functions.as_mut().ok_or(BROKEN)?;
        for function in &functions {
            let owner = table.by_name.get(&function.name.to_ascii_lowercase()[..]).map(|(owner, _)| owner);
            if owner.is_some_and(|owner| *owner != header.name) {
                let name = String::from_utf8_lossy(&function.name);
                return Err(ErrorReply::new(format!("ERR Function {name} already exists")));
            }
        }
        if table.remove(&header.name).is_some() {
            interpreter.clean();
        }
        table.insert(Library { name: header.name.clone(), code: code.into(), functions });
        Ok(header.name)
    }

    /// A line of a script for the server's log.
    pub fn log_of_script(&mut self, level: ScriptLogLevel, text: &[u8]) {
        let level = match level {
            ScriptLogLevel::Debug => LogLevel::Debug,
            ScriptLogLevel::Verbose => LogLevel::Verbose,
            ScriptLogLevel::Notice => LogLevel::Notice,
            ScriptLogLevel::Warning => LogLevel::Warning,
        };
        self.log(level, String::from_utf8_lossy(text));
    }
}

/// What a library may ask for while it is loaded: to be registered.
struct LoadingHost<'a> {
    engine: &'a mut Engine,
    functions: Vec<FunctionSpec>,
    started_nanos: u64,
    is_late: bool,
}

impl Host for LoadingHost<'_> {
    fn call(&mut self, _: &crate::resp::args::Args<'_>, reply: &mut Vec<u8>) -> Called {
        *reply = b"-ERR redis.call/pcall can only be called inside a script invocation\r\n".to_vec();
        Called::Refused
    }

    fn set_protocol(&mut self, _: crate::resp::reply::Protocol) {}

    fn set_replication(&mut self, _: ReplicationTargets) {}

    fn log(&mut self, level: ScriptLogLevel, text: &[u8]) {
        self.engine.log_of_script(level, text);
    }

    fn may_run(&mut self, _: &crate::resp::args::Args<'_>) -> Option<bool> {
        None
    }

    fn nanos(&self) -> u64 {
        self.engine.time.monotonic_nanos()
    }

    fn attend(&mut self) -> Result<(), &'static str> {
        let elapsed = self.engine.time.monotonic_nanos().saturating_sub(self.started_nanos);
        self.is_late |= elapsed > LOAD_NANOS_MAX;
        if self.is_late { Err("ERR FUNCTION LOAD timeout") } else { Ok(()) }
    }

    fn register(&mut self, function: FunctionSpec) -> Result<(), &'static str> {
        if self.functions.iter().any(|known| known.name.eq_ignore_ascii_case(&function.name)) {
            return Err("ERR Function already exists in the library");
        }
        self.functions.push(function);
        Ok(())
    }
}
