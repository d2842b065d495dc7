//! The program behind real sockets, with real clients, and with a real redis-server as its peer.
//!
//! Each test starts its own servers on free ports with folders of their own. Nothing sleeps for a fixed time: what must
//! come about is asked for until it has, within `harness::PATIENCE`. Needs redis-server, redis-cli, redis-benchmark and
//! a Python with redis-py, which `test.sh` provides.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod harness;

mod abuse;
mod aof;
mod aof_crash;
mod aof_disk;
mod aof_sync;
mod chains;
mod clients;
mod command_table;
mod debugger;
mod failover;
mod files;
mod full_sync;
mod long_reads;
mod memory;
mod process;
mod protocol;
mod replication;
mod sandbox;
mod scripts;
mod sentinel;
mod wait_crash;
