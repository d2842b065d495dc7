//! Carries out what the engine wants done outside: most of it on a thread of its own, some before anybody else enters.

use std::sync::mpsc::{Receiver, Sender};

use anyhow::Context as _;
use tokio::sync::mpsc::UnboundedSender;

use super::background::{self, Urgency};
use super::hub::Hub;
use super::{aof, crash, environment, loader, log, memory, payload, saver};
use crate::command;
use crate::config::{Config, RewriteScope, SetError};
use crate::engine::client::Closing;
use crate::engine::job::Crash;
use crate::engine::long_read::LongRead;
use crate::engine::persistence::{SaveKind, SaveRequest};
use crate::engine::{ClientId, Engine, InsideJob, Job};
use crate::resp::error::ErrorReply;
use crate::storage::Db;

/// Works until the hub is gone. `exit` is told the process' exit code.
pub fn run(jobs: &Receiver<Job>, reads: &Sender<LongRead>, hub: &'static Hub, exit: &UnboundedSender<i32>) {
    for job in jobs {
        match job {
            Job::Exit { code } => {
                // Whoever would read it is gone only when the process ends already.
                let _ = exit.send(code);
            }
            Job::Crash(Crash::Fault) => crash::fault(),
            Job::Crash(Crash::Panic(reason)) => panic!("{reason}"),
            Job::Free { values, bytes } => {
                let objects = values.len() as u64;
                drop(values);
                memory::settle();
                hub.lazyfree.note_freed(objects, bytes);
            }
            Job::FreeDatabases { dbs, bytes } => free_databases(dbs, bytes, hub),
            Job::Close(id) => hub.enter(|engine| engine.clients.close(id, Closing::Now)),
            Job::Read(read) => {
                // They live as long as the process.
                let _ = reads.send(read);
            }
            Job::FreeOutput(output) => {
                drop(output);
                memory::settle();
            }
            Job::FreeElse { garbage, objects } => {
                drop(garbage);
                hub.lazyfree.note_freed(objects, 0);
                memory::settle();
            }
            Job::Migrate(migration) => hub.start_migration(*migration),
            Job::Save(request) => start_save(request, hub),
            Job::LoadAof(client) => load_aof(client, hub, exit),
            Job::FullSync(sync) => payload::start(*sync, hub),
            Job::MasterChanged | Job::Inside(_) => unreachable!("the hub keeps these to itself"),
        }
    }
}

/// Frees in steps, so that what is still to be freed can be told at any moment.
fn free_databases(dbs: Vec<Db>, bytes: u64, hub: &Hub) {
    let keys: usize = dbs.iter().map(Db::len).sum();
    let mut bytes_left = bytes;
    for db in dbs {
        db.free(|freed| {
            let share = (u128::from(bytes) * freed as u128 / keys.max(1) as u128) as u64;
            let share = share.min(bytes_left);
            bytes_left -= share;
            memory::settle();
            hub.lazyfree.note_freed(freed as u64, share);
        });
    }
    hub.lazyfree.note_freed(0, bytes_left);
}

fn start_save(request: Box<SaveRequest>, hub: &'static Hub) {
    let number = request.number;
    let urgency = match request.kind {
        SaveKind::Foreground | SaveKind::Flush => Urgency::Awaited,
        SaveKind::Background => Urgency::Unnoticed,
    };
    let started = background::spawn("save", urgency, move || {
        let outcome = saver::save(&request);
        // Opened before another save can take its name.
        let (is_for_replicas, is_for_them_alone) =
            hub.enter(|engine| (engine.is_for_replicas(number), engine.snapshots_are_for_replicas_alone()));
        let file =
            if outcome.is_ok() && is_for_replicas { saver::open(&request, is_for_them_alone) } else { None };
        background::free(request.snapshot, urgency);
        let outcome = outcome.map_err(|error| format!("{error:#}"));
        let replicas = hub.enter(|engine| {
            let replicas = if file.is_some() { engine.take_disk_sync(number) } else { Vec::new() };
            engine.save_finished(number, outcome);
            replicas
        });
        if let Some(file) = file {
            payload::start_file(file, &replicas, hub);
        }
    });
    if let Err(error) = started {
        let reason = format!("cannot start a thread: {error}");
        hub.enter(|engine| engine.save_finished(number, Err(reason)));
    }
}

/// DEBUG LOADAOF. What cannot be loaded ends the server: there is no data any more.
fn load_aof(client: ClientId, hub: &'static Hub, exit: &UnboundedSender<i32>) {
    let exit = exit.clone();
    let started = background::spawn("load", Urgency::Awaited, move || {
        if let Err(error) = aof::reload(hub, client) {
            log::warning(&format!("{error:#}"));
            // Whoever would read it is gone only when the process ends already.
            let _ = exit.send(1);
        }
    });
    if let Err(error) = started {
        log::warning(&format!("cannot start a thread: {error}"));
    }
}

/// Does what has to be done before anybody else enters the engine.
pub fn run_inside(engine: &mut Engine, hub: &Hub) {
    if engine.jobs.iter().any(|job| matches!(job, Job::MasterChanged)) {
        // The change of role stands, whatever the kernel thinks of the new score.
        let _ = hub.oom_score.adjust(&engine.config, engine.role.is_master());
    }
    if !engine.jobs.iter().any(|job| matches!(job, Job::Inside(_))) {
        return;
    }
    for job in std::mem::take(&mut engine.jobs) {
        match job {
            Job::Inside(job) => inside(engine, hub, job),
            other => engine.jobs.push(other),
        }
    }
}

fn inside(engine: &mut Engine, hub: &Hub, job: InsideJob) {
    match job {
        InsideJob::WriteSnapshot(bytes) => {
            let (dir, filename) = (&engine.config.dir, &engine.config.dbfilename);
            match saver::write_file(dir, filename, &bytes) {
                Ok(()) => log::notice("DB saved on disk"),
                Err(error) => log::warning(&format!("Error saving DB on disk: {error:#}")),
            }
        }
        InsideJob::LoadSnapshot { client, flush, merge } => {
            let loaded = loader::reload(engine, flush, merge);
            if let Err(error) = &loaded {
                log::warning(&format!("{error:#}"));
            }
            let error = ErrorReply::fixed("ERR Error trying to load the RDB dump, check server logs.");
            answer(engine, client, loaded.map_err(|_| error));
        }
        InsideJob::RewriteConfig { client, scope } => {
            let outcome = rewrite_config(engine, scope);
            if let Err(error) = &outcome {
                log::warning(&format!("CONFIG REWRITE failed: {error:#}"));
            } else {
                log::notice("CONFIG REWRITE executed with success.");
            }
            let reply =
                outcome.map_err(|error| ErrorReply::new(format!("ERR Rewriting config file: {error:#}")));
            answer(engine, client, reply);
        }
        InsideJob::SetConfig { client, pairs } => {
            let is_local =
                client.and_then(|id| engine.clients.get(id)).is_some_and(|client| client.is_local());
            let is_master = engine.role.is_master();
            let outcome = command::set_config(engine, is_local, &pairs, |config, changed| {
                hub.oom_score.apply(config, is_master, changed)?;
                hub.doors.apply(config, changed)?;
                environment::apply(config, changed)?;
                prepare_aof(config, changed)
            });
            if outcome.is_err() {
                // All or nothing: back to what is in force.
                let _ = hub.oom_score.adjust(&engine.config, is_master);
            }
            answer(engine, client, outcome);
        }
    }
}

/// `CONFIG SET appendonly yes` is refused where there can be no file.
fn prepare_aof(config: &Config, changed: &[&str]) -> Result<(), SetError> {
    if !config.appendonly || !changed.contains(&"appendonly") {
        return Ok(());
    }
    aof::prepare(config).map_err(|error| {
        log::warning(&format!("{error:#}"));
        SetError::failed("appendonly", "Unable to turn on AOF. Check server logs.")
    })
}

fn answer(engine: &mut Engine, client: Option<ClientId>, outcome: Result<(), ErrorReply>) {
    if let Some(id) = client {
        engine.finish_job(id, outcome);
    }
}

/// The file is replaced as a whole, so that a crash leaves the old one or the new one.
fn rewrite_config(engine: &Engine, scope: RewriteScope) -> anyhow::Result<()> {
    let path = std::path::Path::new(&engine.process.config_file);
    let old = match std::fs::read_to_string(path) {
        Ok(old) => old,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context("cannot read it"),
    };
    let new = engine.config.rewritten(&old, scope);
    let dir = path.parent().and_then(|dir| dir.to_str()).context("it has no directory")?;
    let name = path.file_name().and_then(|name| name.to_str()).context("it has no name")?;
    saver::replace_file(dir, name, &format!("{name}.{}.tmp", std::process::id()), |file| {
        std::io::Write::write_all(file, new.as_bytes())
    })
}
