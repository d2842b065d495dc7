//! Lua as Redis runs it: a sandbox, its values, and their way to replies and back.
//!
//! An [`Interpreter`] knows Lua and RESP. Whatever a script asks of the server goes through a [`Host`], which is lent to it
//! for one run. Nothing here knows of keys, clients or time.
//!
//! Vendored Lua 5.1 and not LuaJIT: a count hook interrupts every loop, its allocator obeys a limit, and numbers and error
//! messages are those that Redis' scripts have seen since 2.6.

mod api;
mod argument;
mod debugger;
mod error;
mod host;
mod interpreter;
mod libraries;
mod library;
mod pace;
mod random;
mod shebang;
mod stack;

pub use debugger::{Console, Debugger};
pub use error::Failure;
pub use host::{Called, Host, ReplicationTargets, ScriptLogLevel, panic_is_contained};
pub use interpreter::{Flavor, Interpreter, Script};
pub use library::{FunctionSpec, Library, is_name};
pub use shebang::{FLAG_NAMES, LibraryHeader, ScriptFlags, ScriptHeader};
pub use stack::{Returned, Runnable};
