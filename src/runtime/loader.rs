//! Reads the snapshot file: at the start, while clients are told to wait, and for DEBUG RELOAD.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};

use super::hub::Hub;
use super::{log, saver};
use crate::engine::Engine;
use crate::persistence::snapshot::{self, Duplicates, Loaded};

const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);
/// How many keys are read between two reports to the engine.
const KEYS_PER_REPORT: u64 = 1024;
/// With `key-load-delay`, so many would take too long.
const REPORT_INTERVAL: Duration = Duration::from_millis(50);

/// A snapshot file that is to be loaded.
pub struct SnapshotFile {
    path: PathBuf,
    file: File,
    total_bytes: u64,
}

/// Opens `dir/dbfilename`, and from here on clients are told to wait until it is loaded. None if there is no file.
pub fn begin(engine: &mut Engine) -> anyhow::Result<Option<SnapshotFile>> {
    let path = snapshot_path(engine);
    let Some(file) = open(&path)? else { return Ok(None) };
    let total_bytes = file.metadata().map_or(0, |metadata| metadata.len());
    engine.start_loading(total_bytes);
    Ok(Some(SnapshotFile { path, file, total_bytes }))
}

/// Loads a snapshot into an engine that others can see but not use.
pub fn load(hub: &Hub, snapshot: SnapshotFile) -> anyhow::Result<()> {
    let SnapshotFile { path, file, total_bytes: total } = snapshot;
    let started = Instant::now();
    let (options, keyspace) =
        hub.enter(|engine| (engine.load_options(Duplicates::Refuse), engine.empty_keyspace()));
    let position = Rc::new(Cell::new(0));
    let source = Counted { file, position: position.clone() };
    let (mut keys, mut delay) = (0, hub.enter(|engine| i64::from(engine.config.key_load_delay)));
    let (mut last_report, mut last_line) = (Instant::now(), Instant::now());
    let each_key = |used_memory| {
        keys += 1;
        saver::delay(delay, keys);
        if keys % KEYS_PER_REPORT != 0 && (delay == 0 || last_report.elapsed() < REPORT_INTERVAL) {
            return;
        }
        last_report = Instant::now();
        delay = hub.enter(|engine| {
            if let Some(loading) = &mut engine.persistence.loading {
                loading.loaded_bytes = position.get();
                loading.rdb_used_memory = used_memory;
            }
            i64::from(engine.config.key_load_delay)
        });
        if last_line.elapsed() >= PROGRESS_INTERVAL {
            last_line = Instant::now();
            log::notice(&format!("Loading: {} of {total} bytes, {keys} keys", position.get()));
        }
    };
    let loaded =
        snapshot::read(source, keyspace, &options, each_key).map_err(|error| refusal(&path, &error))?;
    report(&loaded);
    let mut loaded = loaded;
    hub.enter(|engine| {
        let expired_keys = std::mem::take(&mut loaded.expired_keys);
        if let Some((replid, offset)) = Engine::saved_history(&loaded.summary.aux) {
            let now = engine.now();
            engine.role.restore(replid, offset, now);
            engine.stream_db_index = engine.saved_stream_db_index(&loaded.summary.aux);
            engine.refresh_propagation();
            engine.propagate_expired(&expired_keys);
        }
        engine.finish_loading(loaded);
    });
    log::notice(&format!("DB loaded from disk: {:.3} seconds", started.elapsed().as_secs_f64()));
    Ok(())
}

/// DEBUG RELOAD NOSAVE: the engine stands still meanwhile. On an error its data is as it was.
pub fn reload(engine: &mut Engine, flush: bool, merge: bool) -> anyhow::Result<()> {
    let path = snapshot_path(engine);
    let keyspace = if flush { engine.empty_keyspace() } else { engine.keyspace.clone() };
    let options = engine.load_options(if merge { Duplicates::Replace } else { Duplicates::Refuse });
    let loaded = match open(&path)? {
        Some(file) => {
            snapshot::read(file, keyspace, &options, |_| ()).map_err(|error| refusal(&path, &error))?
        }
        None => return Err(anyhow!("{}: no such file", path.display())),
    };
    report(&loaded);
    engine.finish_loading(loaded);
    log::notice("DB reloaded by DEBUG RELOAD");
    Ok(())
}

fn report(loaded: &Loaded) {
    let Loaded { keys, expired, summary, .. } = loaded;
    log::notice(&format!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}."));
    if summary.empty_keys_skipped > 0 {
        log::notice(&format!("{} empty keys were left out", summary.empty_keys_skipped));
    }
    if summary.functions > 0 {
        log::warning(&format!("{} function libraries were left out", summary.functions));
    }
}

fn snapshot_path(engine: &Engine) -> PathBuf {
    Path::new(&engine.config.dir).join(&engine.config.dbfilename)
}

fn open(path: &Path) -> anyhow::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot open the snapshot {}", path.display())),
    }
}

fn refusal(path: &Path, error: &crate::persistence::rdb::RdbError) -> anyhow::Error {
    anyhow!("cannot load the snapshot {}: {error}", path.display())
}

/// A file that tells how much of it was read.
struct Counted {
    file: File,
    position: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.position.set(self.position.get() + n as u64);
        Ok(n)
    }
}
