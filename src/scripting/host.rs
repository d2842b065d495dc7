//! What a script may ask of the server, and how the server is lent to it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use scoped_tls_hkt::{ReborrowMut, scoped_thread_local};

use crate::resp::args::Args;
use crate::resp::reply::Protocol;

/// Whom a script's writes are told: the bits of `redis.set_repl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicationTargets {
    pub aof: bool,
    pub replicas: bool,
}

impl Default for ReplicationTargets {
    fn default() -> Self {
        Self::ALL
    }
}

impl ReplicationTargets {
    pub const ALL: Self = Self { aof: true, replicas: true };

    /// None if there are other bits than those of `REPL_AOF` and `REPL_REPLICA`.
    pub fn from_bits(bits: i64) -> Option<Self> {
        (bits & !3 == 0).then_some(Self { aof: bits & 1 != 0, replicas: bits & 2 != 0 })
    }
}

/// `redis.LOG_*`, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptLogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// What became of a script's command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// It may not be run, as the reply says.
    Refused,
    Run,
    /// It took so long that it is time to look after the script.
    RunForLong,
}

/// The server, for one run of a script.
pub trait Host {
    /// Runs a command and puts its reply into the place of what `reply` holds, in the protocol that the script has chosen.
    fn call(&mut self, args: &Args<'_>, reply: &mut Vec<u8>) -> Called;
    fn set_protocol(&mut self, protocol: Protocol);
    fn set_replication(&mut self, targets: ReplicationTargets);
    fn log(&mut self, level: ScriptLogLevel, text: &[u8]);
    /// Whether the user may run a command; none if there is no such command.
    fn may_run(&mut self, args: &Args<'_>) -> Option<bool>;
    /// A monotonic reading in nanoseconds.
    fn nanos(&self) -> u64;
    /// Called every now and then, and between commands that take long. An error line ends the script, whatever it does to go on.
    fn attend(&mut self) -> Result<(), &'static str>;
    /// Takes a function that the library being loaded registers.
    fn register(&mut self, function: super::FunctionSpec) -> Result<(), &'static str>;
}

/// The host while it is lent.
struct Lent<'h>(&'h mut (dyn Host + 'h));

impl<'a, 'h: 'a> ReborrowMut<'a> for Lent<'h> {
    type Result = Lent<'a>;

    fn reborrow_mut(&'a mut self) -> Lent<'a> {
        Lent(&mut *self.0)
    }
}

scoped_thread_local!(static mut HOST: for<'h> Lent<'h>);

thread_local! {
    /// Whether a panic is one of the interpreter's own.
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
    /// Why the script that runs was stopped, if it was.
    static STOPPED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Notes that the script that runs on this thread is to end, and why; or that there is another one now.
pub fn set_stopped(line: Option<&'static str>) {
    STOPPED.set(line);
}

pub fn stopped() -> Option<&'static str> {
    STOPPED.get()
}

/// The interpreter's library panics where it has no place for another value: a few thousand at once, which any script can
/// ask for. Such a panic ends the script, and nothing else.
pub fn panic_is_contained() -> bool {
    IS_CONTAINED.get()
}

/// Lends `host` to whatever `run` calls on this thread. An error if the interpreter could not go on.
pub fn lend<R>(host: &mut dyn Host, run: impl FnOnce() -> mlua::Result<R>) -> mlua::Result<R> {
    let before = IS_CONTAINED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| HOST.set(Lent(host), run)));
    IS_CONTAINED.set(before);
    outcome.unwrap_or_else(|_| Err(mlua::Error::runtime("too many values at once")))
}

/// The host that was lent, if a script runs.
pub fn with<R>(ask: impl FnOnce(&mut dyn Host) -> R) -> Option<R> {
    if !HOST.is_set() {
        return None;
    }
    // What panics in here is the server.
    let before = IS_CONTAINED.replace(false);
    let answer = HOST.with(|lent| ask(lent.0));
    IS_CONTAINED.set(before);
    Some(answer)
}
