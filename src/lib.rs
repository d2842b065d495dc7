//! Russet: a Redis-compatible in-memory data server.
//!
//! The modules are layers; a lower one never names a higher one (`tests/tidy.rs` holds this):
//! `base` < `resp`, `config` < `storage` < `replication`, `persistence`, `scripting` < `engine` < `command` < `runtime`.
//! Only `runtime` knows of async, locks, threads, sockets, files and the operating system's clock.

pub mod base;
pub mod command;
pub mod config;
pub mod engine;
pub mod persistence;
pub mod replication;
pub mod resp;
pub mod runtime;
pub mod scripting;
pub mod storage;
