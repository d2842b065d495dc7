//! The command table and the handlers, one file per command group, in Redis' own group names.
//!
//! A command is one row and one function, adjacent in one file; `TABLE` collects the rows. Everything that is asked
//! about a command (arity, keys, gates, propagation, COMMAND DOCS) follows from its row.

pub mod active_expire;
pub mod context;
pub mod dispatch;
pub mod eviction;
pub mod follower;
pub mod options;
pub mod replay;
pub mod scan_options;
pub mod spec;
pub mod sweep;
pub mod table;

mod bitmap;
mod client;
mod client_filter;
mod config;
mod connection;
mod databases;
mod debug;
mod dump;
mod expire;
mod generic;
mod geo;
mod hash;
mod hash_expiry;
mod hash_getset;
mod help;
mod hyperloglog;
mod info;
mod introspection;
mod keys;
mod latency;
mod list;
mod long_read;
mod memory;
mod migrate;
mod module;
mod object;
mod persistence;
mod pubsub;
mod relocate;
mod replication;
mod scripting;
mod server;
mod set;
mod set_algebra;
mod slowlog;
mod sort;
mod sorted_set;
mod stream;
mod string;
mod transactions;
mod usage;

pub use config::set_config;
pub use context::Ctx;
pub use dispatch::Executed;
pub use migrate::{finish_migration, restore_request};
pub use scripting::debugging;
pub use spec::{CommandResult, CommandSpec, Flow};
pub use table::{Lookup, TABLE, rename_commands};

/// The rows of every group.
const GROUPS: &[&[CommandSpec]] = &[
    bitmap::COMMANDS,
    bitmap::field::COMMANDS,
    bitmap::operation::COMMANDS,
    client::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    databases::COMMANDS,
    debug::COMMANDS,
    dump::COMMANDS,
    expire::COMMANDS,
    generic::COMMANDS,
    geo::COMMANDS,
    geo::search::COMMANDS,
    hash::COMMANDS,
    hash_expiry::COMMANDS,
    hash_getset::COMMANDS,
    hyperloglog::COMMANDS,
    info::COMMANDS,
    introspection::COMMANDS,
    latency::COMMANDS,
    list::COMMANDS,
    memory::COMMANDS,
    migrate::COMMANDS,
    module::COMMANDS,
    object::COMMANDS,
    list::MOVE_COMMANDS,
    list::POP_COMMANDS,
    persistence::COMMANDS,
    pubsub::COMMANDS,
    relocate::COMMANDS,
    replication::COMMANDS,
    scripting::COMMANDS,
    scripting::cache::COMMANDS,
    scripting::functions::COMMANDS,
    server::COMMANDS,
    set::COMMANDS,
    slowlog::COMMANDS,
    sort::COMMANDS,
    set_algebra::COMMANDS,
    sorted_set::add::COMMANDS,
    sorted_set::combine::COMMANDS,
    sorted_set::lookup::COMMANDS,
    sorted_set::pop::COMMANDS,
    sorted_set::range::COMMANDS,
    stream::add::COMMANDS,
    stream::claim::COMMANDS,
    stream::group::COMMANDS,
    stream::info::COMMANDS,
    stream::pending::COMMANDS,
    stream::range::COMMANDS,
    stream::read::COMMANDS,
    stream::trim::COMMANDS,
    string::COMMANDS,
    string::counter::COMMANDS,
    string::lcs::COMMANDS,
    string::range::COMMANDS,
    transactions::COMMANDS,
];

use crate::base::clock::Clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::stats::CommandStats;

/// An engine that knows how many commands there are to count.
pub fn new_engine(config: Config, clock: Box<dyn Clock>, seed: u64) -> Engine {
    let mut engine = Engine::new(config, clock, seed);
    engine.stats.commands = vec![CommandStats::default(); TABLE.rows().len()];
    engine
}
