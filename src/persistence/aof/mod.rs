//! The append-only file as bytes: the manifest that names its parts, the commands in them, and a data set as commands.
//!
//! An append-only file of several parts is a folder with a manifest, at most one base (a data set, as an RDB file or as
//! commands) and incremental files that hold what was written since, in the order of their numbers. Parts are commands as
//! clients send them, with annotations (`#TS:<unix seconds>`) between them; an RDB file may stand before the commands.
//!
//! Knows no files: the runtime reads, writes, names and removes them.

pub mod commands;
pub mod manifest;
pub mod reader;
