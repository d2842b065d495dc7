//! The engine behind sockets: tokio, threads, files, signals and timers. Nothing below this layer knows of them.

pub mod allocator;
pub mod aof;
mod background;
mod check;
mod clock;
mod connection;
mod crash;
mod cron;
mod debugging;
mod desk;
mod doors;
mod environment;
mod figures;
mod hub;
mod jobs;
mod listener;
mod loader;
mod log;
mod master_link;
mod memory;
mod migrate;
mod oom_score;
mod payload;
mod reads;
mod ready_pages;
mod replica_feed;
mod saver;
mod socket;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::command;
use crate::config::{REDIS_VERSION, Startup};
use crate::replication::replica::MasterAddr;
use crate::storage;
use environment::PidFile;
use hub::Hub;
use loader::SnapshotFile;

pub use check::check_files;
pub use clock::SystemClock;

/// More threads than this gain nothing: commands run one at a time, only network and parsing are shared out.
const THREADS_MAX: usize = 4;

/// Runs a server until it is told to stop; answers the process' exit code.
///
/// 1. Log, background, directory, file descriptors, listening sockets;
/// 2. engine and threads;
/// 3. the snapshot is loaded, while clients are told to wait;
/// 4. clients are served, until signals or SHUTDOWN end it.
pub fn run(mut startup: Startup) -> anyhow::Result<i32> {
    startup.config_file = startup.config_file.map(|path| std::path::absolute(&path).unwrap_or(path));
    if startup.config.daemonize {
        environment::spawn_in_background()?;
        return Ok(0);
    }
    // A relative log file is relative to where the server was started, as the configuration file is.
    if !startup.config.logfile.is_empty()
        && let Ok(path) = std::path::absolute(&startup.config.logfile)
    {
        log::open(&path.to_string_lossy())
            .with_context(|| format!("Can't open the log file {}", path.display()))?;
    }
    log::set_level(startup.config.loglevel);
    crash::set_enabled(startup.config.crash_log_enabled);
    crash::install(log::file());
    abort_on_panic();
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = cores.min(THREADS_MAX);
    // One thread, too, must be able to hand its work to another when a script keeps it.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads);
    // Whose request came first is served first. Tokio would begin with the last one, for tasks that wait for each other.
    #[cfg(tokio_unstable)]
    builder.disable_lifo_slot();
    let threads_started = AtomicUsize::new(0);
    builder.on_thread_start(move || {
        // Those that serve connections start first; later ones do other work.
        if threads_started.fetch_add(1, Ordering::Relaxed) < threads {
            connection::prepare_thread();
        }
        memory::settle();
    });
    let runtime = builder.enable_all().build();
    let runtime = runtime.context("cannot start the network threads")?;
    let ended = runtime.block_on(serve(startup, threads));
    let code = ended.unwrap_or_else(|error| {
        log::warning(&format!("{error:#}"));
        1
    });
    // Connections are cut, not waited for: the end of the process closes all sockets at once, so that nobody is still let in
    // who was cut off.
    std::mem::forget(runtime);
    Ok(code)
}

/// A panic ends the process: nobody knows what was left half done. Only one of the script interpreter's own is survived.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if crate::scripting::panic_is_contained() {
            let reason = info.payload_as_str().unwrap_or("no reason given");
            log::write(crate::engine::LogLevel::Warning, &format!("A script asked for too much: {reason}"));
            return;
        }
        report(info);
        // The standard error of a server is often nowhere.
        log::warning(&format!("=== ASSERTION FAILED === {info}"));
        std::process::abort();
    }));
}

async fn serve(startup: Startup, threads: usize) -> anyhow::Result<i32> {
    let started = Instant::now();
    let Startup { mut config, config_file, warnings } = startup;
    let version = env!("CARGO_PKG_VERSION");
    log::notice(&format!(
        "Russet {version} is starting, compatible with Redis {REDIS_VERSION}, {} bit, port {}, PID: {}",
        usize::BITS,
        config.port,
        std::process::id(),
    ));
    for warning in warnings {
        log::warning(&warning);
    }
    command::rename_commands(config.renamed_commands.clone()).map_err(anyhow::Error::msg)?;
    environment::enter_dir(&mut config)?;
    environment::fit_maxclients(&mut config);
    ready_pages::start(!config.disable_thp)?;
    storage::count_copies(memory::allocated_here);
    let (doors, unix) = listener::bind(&config)?;
    let pid_file = PidFile::create(&config.pidfile);

    let (job_sender, jobs) = std::sync::mpsc::channel();
    let (exit_sender, exit) = unbounded_channel();
    storage::seed_hashing(fastrand::u64(..));
    let mut engine = command::new_engine(config, Box::new(SystemClock::new()), fastrand::u64(..));
    if let Some(master) = engine.config.replicaof.clone() {
        engine.follow_from_start(MasterAddr { host: master.host, port: master.port });
    }
    engine.process = figures::process_info(environment::absolute(config_file.as_deref()), threads > 1);
    engine.long_reads = reads::LIMITS;
    engine.memory_probe = figures::measure;
    engine.memory_meter = |_| memory::allocated();
    engine.measure_memory();
    // Where there is to be an append-only file, a snapshot does not count.
    let aof = aof::begin(&mut engine, aof::Files)?;
    let snapshot = if aof.is_some() { None } else { loader::begin(&mut engine)? };
    // It lives as long as the process: everybody who meets there may refer to it without counting references.
    let hub: &'static Hub = Box::leak(Box::new(Hub::new(engine, job_sender)));
    // The server serves whatever the kernel thinks of it.
    let _ = hub.enter(|engine| hub.oom_score.adjust(&engine.config, engine.role.is_master()));
    hub.enter(|engine| engine.scripting.attendant = Some(std::sync::Arc::new(hub::Attendance(hub))));
    let reads = reads::start(hub).context("cannot start a thread")?;
    let exit_of_jobs = exit_sender.clone();
    std::thread::Builder::new()
        .name("jobs".to_owned())
        .spawn(move || jobs::run(&jobs, &reads, hub, &exit_of_jobs))
        .context("cannot start a thread")?;
    aof::start(hub, aof.is_some())?;
    log::notice("Server initialized");

    hub.doors.open(hub, doors);
    if let Some(listener) = unix {
        tokio::spawn(listener.accept(hub));
    }
    tokio::spawn(cron::run(hub));
    tokio::spawn(cron::run_deadlines(hub));
    tokio::spawn(cron::run_eviction(hub));
    tokio::spawn(cron::run_clean_up(hub));
    spawn_signals(hub, exit_sender)?;
    let code = load_and_wait(hub, aof, snapshot, exit, started).await;
    // A script that nobody can stop may hold the engine; then nothing more can be written.
    if hub.try_enter(|_| ()).is_some() {
        tokio::task::block_in_place(|| hub.aof.stop());
    }
    // A script that nobody can stop may hold the engine; then there is nothing more to be done.
    hub.try_enter(|engine| saver::remove_temporary(&engine.config.dir));
    pid_file.remove();
    if matches!(code, Ok(0)) {
        log::warning("Redis is now ready to exit, bye bye...");
    }
    code
}

/// Loads the snapshot, then serves until the engine wants to exit, which it may while loading.
async fn load_and_wait(
    hub: &'static Hub,
    aof: Option<aof::load::Plan>,
    snapshot: Option<SnapshotFile>,
    mut exit: UnboundedReceiver<i32>,
    started: Instant,
) -> anyhow::Result<i32> {
    if aof.is_some() || snapshot.is_some() {
        let loading = tokio::task::spawn_blocking(move || match (aof, snapshot) {
            (Some(plan), _) => aof::load(hub, plan),
            (None, Some(snapshot)) => loader::load(hub, snapshot),
            (None, None) => Ok(()),
        });
        tokio::select! {
            loaded = loading => loaded.context("loading broke off")??,
            code = exit.recv() => return Ok(code.unwrap_or(1)),
        }
    }
    tokio::spawn(master_link::run(hub));
    log::notice(&format!(
        "Ready to accept connections tcp ({} ms after the start)",
        started.elapsed().as_millis()
    ));
    Ok(exit.recv().await.unwrap_or(1))
}

/// SIGTERM and SIGINT end the server in order; a second SIGINT at once. SIGHUP is ignored, as Redis does.
fn spawn_signals(hub: &'static Hub, exit: UnboundedSender<i32>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for signals")?;
    tokio::spawn(async move {
        loop {
            let is_interrupt = tokio::select! {
                _ = terminate.recv() => false,
                _ = interrupt.recv() => true,
                _ = hangup.recv() => continue,
            };
            let is_ending = hub.enter(|engine| engine.shutdown.is_some());
            if is_ending && is_interrupt {
                log::warning("You insist... exiting now.");
                // The receiver is the server itself.
                let _ = exit.send(1);
                continue;
            }
            let name = if is_interrupt { "SIGINT" } else { "SIGTERM" };
            log::notice(&format!("Received {name} scheduling shutdown..."));
            hub.enter(|engine| {
                let config = &engine.config;
                let options =
                    if is_interrupt { config.shutdown_on_sigint } else { config.shutdown_on_sigterm };
                engine.log(crate::engine::LogLevel::Warning, "User requested shutdown...");
                engine.begin_shutdown(options, None);
            });
        }
    });
    Ok(())
}
