//! The engine behind sockets: tokio, threads, files, signals and timers. Nothing below this layer knows of them.

mod clock;
mod connection;
mod cron;
mod hub;
mod listener;
mod log;
mod master_link;
mod replica_feed;

use std::sync::Arc;

use anyhow::Context as _;

use crate::command;
use crate::config::Config;
use hub::Hub;

pub use clock::SystemClock;

/// More threads than this gain nothing: commands run one at a time, only network and parsing are shared out.
const THREADS_MAX: usize = 4;

/// Runs a server until it is told to stop; answers the process' exit code.
pub fn run(config: Config) -> anyhow::Result<i32> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = cores.min(THREADS_MAX);
    let runtime = if threads == 1 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
    };
    runtime.context("cannot start the network threads")?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<i32> {
    let listeners = listener::bind(&config)?;
    let seed = fastrand::u64(..);
    let hub = Arc::new(Hub::new(command::new_engine(config, Box::new(SystemClock::new()), seed)));
    log::notice("Server initialized");
    for listener in listeners {
        tokio::spawn(listener.accept(hub.clone()));
    }
    log::notice("Ready to accept connections tcp");
    tokio::spawn(master_link::run(hub.clone()));
    tokio::spawn(cron::run(hub.clone()));
    tokio::spawn(cron::run_deadlines(hub.clone()));
    tokio::signal::ctrl_c().await.context("cannot wait for signals")?;
    Ok(0)
}
