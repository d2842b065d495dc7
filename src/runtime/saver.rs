//! Writes snapshots to disk: into a temporary file, forced to disk, then renamed, so that the old file stays whole
//! until the new one is.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::background::{Steady, Unhurried};
use super::{log, ready_pages};
use crate::engine::persistence::{SaveKind, SaveRequest};
use crate::persistence::snapshot;

const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);
const BUFFER_BYTES: usize = 64 * 1024;
/// How many keys are written between two looks at the clock.
const KEYS_PER_LOOK: u64 = 1024;

/// Writes what is asked for. On an error the previous file is untouched.
pub fn save(request: &SaveRequest) -> anyhow::Result<()> {
    let total = request.snapshot.keys_len();
    let mut keys = 0;
    let mut last_line = Instant::now();
    let mut each_key = || {
        keys += 1;
        request.progress.note_keys(keys);
        if request.progress.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
        }
        delay(request.key_delay_micros, keys);
        if keys % KEYS_PER_LOOK == 0 && last_line.elapsed() >= PROGRESS_INTERVAL {
            last_line = Instant::now();
            log::notice(&format!("Saving: {keys} of {total} keys written"));
        }
        Ok(())
    };
    let _nothing_is_touched = ready_pages::Pause::begin();
    let temporary = temporary_name();
    replace_file(&request.dir, &request.filename, &temporary, |file| {
        let (snapshot, options) = (&request.snapshot, &request.options);
        if request.kind == SaveKind::Background {
            let out = Unhurried::new(BufWriter::with_capacity(BUFFER_BYTES, Steady::new(file)));
            snapshot::write(snapshot, options, out, &mut each_key)?.flush()
        } else {
            let out = BufWriter::with_capacity(BUFFER_BYTES, file);
            snapshot::write(snapshot, options, out, &mut each_key)?.flush()
        }
    })
}

/// Opens the file that was just saved, to be sent to replicas. If it is `for_replicas_alone` it loses its name.
pub fn open(request: &SaveRequest, for_replicas_alone: bool) -> Option<File> {
    let path = Path::new(&request.dir).join(&request.filename);
    let opened = File::open(&path);
    if for_replicas_alone {
        log::notice("Removing the RDB file used to feed replicas in a persistence-less instance");
        let _ = fs::remove_file(&path);
    }
    opened.inspect_err(|error| log::warning(&format!("cannot open the snapshot for replicas: {error}"))).ok()
}

/// Replaces a snapshot by bytes that are one already.
pub fn write_file(dir: &str, filename: &str, bytes: &[u8]) -> anyhow::Result<()> {
    replace_file(dir, filename, &temporary_name(), |file| file.write_all(bytes))
}

/// What is written into before it gets its name.
fn temporary_name() -> String {
    format!("temp-{}.rdb", std::process::id())
}

/// Removes what a save that will not end leaves behind.
pub fn remove_temporary(dir: &str) {
    // Usually there is none.
    let _ = fs::remove_file(Path::new(dir).join(temporary_name()));
}

/// Writes `dir/temporary`, forces it to disk and gives it the name `filename`.
pub fn replace_file(
    dir: &str,
    filename: &str,
    temporary: &str,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> anyhow::Result<()> {
    let (dir, temporary) = (Path::new(dir), Path::new(dir).join(temporary));
    let target = dir.join(filename);
    let replaced = (|| {
        let mut file =
            File::create(&temporary).with_context(|| format!("cannot create {}", temporary.display()))?;
        write(&mut file).with_context(|| format!("cannot write {}", temporary.display()))?;
        file.sync_all().with_context(|| format!("cannot force {} to disk", temporary.display()))?;
        fs::rename(&temporary, &target)
            .with_context(|| format!("cannot rename {} to {}", temporary.display(), target.display()))?;
        // The new name is in the directory, which is a file of its own.
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .with_context(|| format!("cannot force {} to disk", dir.display()))
    })();
    if replaced.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

/// `rdb-key-save-delay` and `key-load-delay`: microseconds after each key; negative: one after that many keys.
pub fn delay(micros: i64, keys: u64) {
    if micros > 0 {
        std::thread::sleep(Duration::from_micros(micros as u64));
    } else if micros < 0 && keys.is_multiple_of(micros.unsigned_abs()) {
        std::thread::sleep(Duration::from_micros(1));
    }
}
