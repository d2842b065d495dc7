//! What the engine wants done outside: it decides, the runtime does it and reports back.

use super::client::ClientId;
use super::full_sync::FullSync;
use super::long_read::LongRead;
use super::migration::Migration;
use super::persistence::SaveRequest;
use crate::config::RewriteScope;
use crate::storage::{Db, Value};

#[derive(Debug)]
pub enum Job {
    /// End the process with this code once replies are written.
    Exit { code: i32 },
    /// Die as this says: DEBUG SEGFAULT, PANIC and ASSERT.
    Crash(Crash),
    /// Free these values somewhere else, and count them in `LazyFree`. `bytes` is an estimate of what they take.
    Free { values: Vec<Value>, bytes: u64 },
    /// Free these databases somewhere else.
    FreeDatabases { dbs: Vec<Db>, bytes: u64 },
    /// Free output that nobody will read.
    FreeOutput(Vec<Vec<u8>>),
    /// Free this somewhere else.
    FreeElse { garbage: Box<dyn std::any::Any + Send>, objects: u64 },
    /// Run this on another thread, then call `Engine::finish_read`.
    Read(LongRead),
    /// There is another master to follow, or none.
    MasterChanged,
    /// A client's connection is to be closed.
    Close(ClientId),
    /// Deliver keys to another server, then call `command::finish_migration`.
    Migrate(Box<Migration>),
    /// Write a snapshot, then call `Engine::save_finished`.
    Save(Box<SaveRequest>),
    /// Load the append-only file into the data set at hand, then call `Engine::finish_job`.
    LoadAof(ClientId),
    /// Send a frozen data set to replicas.
    FullSync(Box<FullSync>),
    /// To be done before anybody else enters the engine.
    Inside(InsideJob),
}

#[derive(Debug, Clone, Copy)]
pub enum Crash {
    Fault,
    Panic(&'static str),
}

/// Work on files that is part of a command: the engine stands still meanwhile. `client` waits for
/// `Engine::finish_job`; none if nobody reads the outcome.
#[derive(Debug)]
pub enum InsideJob {
    /// DEBUG RELOAD: these bytes become the snapshot file.
    WriteSnapshot(Vec<u8>),
    /// DEBUG RELOAD NOSAVE: load the snapshot file, into the data set at hand if it is not flushed.
    LoadSnapshot { client: Option<ClientId>, flush: bool, merge: bool },
    /// CONFIG REWRITE.
    RewriteConfig { client: Option<ClientId>, scope: RewriteScope },
    /// CONFIG SET with parameters that the environment has a say in.
    SetConfig { client: Option<ClientId>, pairs: Vec<(Vec<u8>, Vec<u8>)> },
}
