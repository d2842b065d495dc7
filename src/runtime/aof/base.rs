//! A base on its way to disk: a frozen data set, written by a thread of its own.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::background::{self, Steady, Unhurried, Urgency};
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

/// Begins to write what is asked for to `path`; the writing thread is told of the end.
pub fn start(hub: &'static Hub, request: Box<RewriteRequest>, path: &Path) -> io::Result<()> {
    let path = path.to_owned();
    background::spawn("rewrite", Urgency::Unnoticed, move || {
        let _nothing_is_touched = ready_pages::Pause::begin();
        let number = request.number;
        let outcome = write(Files, &request, &path).map_err(|error| reason(&error));
        background::free(request.snapshot, Urgency::Unnoticed);
        hub.aof.send(Message::BaseWritten { number, outcome });
    })
}

/// Writes a base and forces it to disk.
pub fn write<D: Disk>(disk: D, request: &RewriteRequest, path: &Path) -> io::Result<()> {
    let total = request.snapshot.keys_len();
    let (mut keys, mut last_line) = (0, Instant::now());
    let each_key = || {
        keys += 1;
        request.progress.note_keys(keys);
        if request.progress.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        saver::delay(request.key_delay_micros, keys);
        if keys % KEYS_PER_LOOK == 0 && last_line.elapsed() >= PROGRESS_INTERVAL {
            last_line = Instant::now();
            log::notice(&format!("Rewriting the AOF: {keys} of {total} keys written"));
        }
        Ok(())
    };
    let mut file = disk.open(path, Mode::Create)?;
    let mut out = Unhurried::new(BufWriter::with_capacity(BUFFER_BYTES, Steady::new(&mut file)));
    if request.form == BaseForm::Commands
        && let Some(seconds) = request.timestamp
    {
        write!(out, "#TS:{seconds}\r\n")?;
    }
    let mut out = match request.form {
        BaseForm::Rdb => snapshot::write(&request.snapshot, &request.options, out, each_key)?,
        BaseForm::Commands => commands::write(&request.snapshot, out, each_key)?,
    };
    out.flush()?;
    drop(out);
    file.sync()
}
