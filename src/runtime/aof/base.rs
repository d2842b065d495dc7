//! A base on its way to disk: a frozen data set, written by a thread of its own.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::background::{self, Turns, Urgency};
use super::super::hub::Hub;
use super::super::{log, ready_pages, saver};
use super::disk::{Disk, DiskFile, Files, Mode};
use super::{Message, reason};
use crate::engine::aof::RewriteRequest;
use crate::persistence::aof::commands;
use crate::persistence::aof::manifest::BaseForm;
use crate::persistence::snapshot;

const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);
const KEYS_PER_LOOK: u64 = 1024;
const BUFFER_BYTES: usize = 256 * 1024;
/// `aof-rewrite-incremental-fsync`: the disk works along instead of all at once at the end.
const BYTES_PER_SYNC: u64 = 32 << 20;

/// Begins to write what is asked for to `path`; the writing thread is told of the end.
pub fn start(hub: &'static Hub, request: Box<RewriteRequest>, path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    background::spawn("rewrite", Urgency::Unnoticed, move || {
        let _nothing_is_touched = ready_pages::Pause::begin();
        let number = request.number;
        let outcome = write(Files, &request, &path).map_err(|error| reason(&error));
        // The frozen data set may be the last holder of many segments: they are freed here.
        drop(request);
        hub.aof.send(Message::BaseWritten { number, outcome });
    })
}

/// Writes a base and forces it to disk.
pub fn write<D: Disk>(disk: D, request: &RewriteRequest, path: &Path) -> io::Result<()> {
    let total = request.snapshot.keys_len();
    let (mut keys, mut last_line, mut turns) = (0, Instant::now(), Turns::default());
    let each_key = || {
        keys += 1;
        request.progress.note_keys(keys);
        if request.progress.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        turns.after_key();
        saver::delay(request.key_delay_micros, keys);
        if keys % KEYS_PER_LOOK == 0 && last_line.elapsed() >= PROGRESS_INTERVAL {
            last_line = Instant::now();
            log::notice(&format!("Rewriting the AOF: {keys} of {total} keys written"));
        }
        Ok(())
    };
    let file = Steady { file: disk.open(path, Mode::Create)?, unsynced: 0 };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    if request.form == BaseForm::Commands
        && let Some(seconds) = request.timestamp
    {
        write!(out, "#TS:{seconds}\r\n")?;
    }
    let out = match request.form {
        BaseForm::Rdb => snapshot::write(&request.snapshot, &request.options, out, each_key)?,
        BaseForm::Commands => commands::write(&request.snapshot, out, each_key)?,
    };
    out.into_inner().map_err(io::IntoInnerError::into_error)?.file.sync()
}

/// A file that is forced to disk as it grows.
struct Steady<F> {
    file: F,
    unsynced: u64,
}

impl<F: DiskFile> io::Write for Steady<F> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = self.file.write(data)?;
        self.unsynced += n as u64;
        if self.unsynced >= BYTES_PER_SYNC {
            self.file.sync()?;
            self.unsynced = 0;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
