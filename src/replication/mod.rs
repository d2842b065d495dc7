//! Replication without sockets: the effects' log, the roles, and both ends of PSYNC as step functions over
//! bytes.
//!
//! Everything here is driven from outside: bytes, instants and random numbers come in as arguments, bytes and
//! events go out. So the same code runs behind tokio and inside a seeded simulation. Stream bytes are handed
//! on as they came; what the commands in them mean is known further up.

pub mod ack;
pub mod backoff;
pub mod feed;
pub mod link;
pub mod log;
mod payload;
pub mod psync;
pub mod replica;
pub mod replica_manager;
pub mod replid;
pub mod role;
