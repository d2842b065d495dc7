//! What the engine wants done outside: it decides, the runtime does it and reports back.

use std::time::Duration;

use super::client::ClientId;
use crate::storage::{Db, Value};

#[derive(Debug)]
pub enum Job {
    /// Stop everything for this long: DEBUG SLEEP.
    Stall(Duration),
    /// End the process with this code once replies are written.
    Exit { code: i32 },
    /// Free these values somewhere else.
    Free(Vec<Value>),
    /// Free these databases somewhere else.
    FreeDatabases(Vec<Db>),
    /// There is another master to follow, or none.
    MasterChanged,
    /// A client's connection is to be closed.
    Close(ClientId),
}
