//! The append-only file read: at the start, while clients are told to wait, and for DEBUG LOADAOF.
//!
//! Its parts are loaded one after the other into the data set at hand: an RDB file, if one stands at the front, then
//! commands, run by the engine as everywhere. Only the end of the last part may be missing.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use super::super::hub::Hub;
use super::super::{log, saver};
use super::incr::Incr;
use super::text::Text;
use super::{Folder, Message, Opened, base};
use crate::command::replay::Replay;
use crate::engine::aof::Place;
use crate::engine::{ClientId, Engine};
use crate::persistence::aof::manifest::{Manifest, Part};
use crate::persistence::aof::reader::{self, Step};
use crate::persistence::snapshot::{self, Duplicates};
use crate::resp::args::{ArgRange, Args};

const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);
/// What one stay inside the engine may run.
const RUN_COMMANDS_MAX: usize = 256;
const RUN_BYTES_MAX: usize = 64 * 1024;
const KEYS_PER_REPORT: u64 = 1024;

/// An append-only file that is to be loaded, unless it is empty, and then written on.
pub struct Plan {
    folder: Folder,
    manifest: Manifest,
    total_bytes: u64,
}

/// Looks at what there is; from here on clients are told to wait until it is loaded. None unless `appendonly` is on.
pub fn begin(engine: &mut Engine) -> anyhow::Result<Option<Plan>> {
    if !engine.config.appendonly {
        return Ok(None);
    }
    let plan = Plan::of(engine)?;
    engine.start_loading(plan.total_bytes);
    Ok(Some(plan))
}

impl Plan {
    fn of(engine: &Engine) -> anyhow::Result<Self> {
        let folder = Folder::of(&engine.config);
        let mut manifest = folder.read_manifest()?;
        folder.adopt_old_file(&mut manifest)?;
        let mut total_bytes = 0;
        for part in manifest.parts() {
            total_bytes += folder.len_of(&part.name)?;
        }
        Ok(Self { folder, manifest, total_bytes })
    }
}

/// Loads the file, then has it written on and ends the loading.
pub fn load(hub: &'static Hub, plan: Plan) -> anyhow::Result<()> {
    load_parts(hub, &plan)?;
    let mut opened = open(hub, plan)?;
    hub.enter(|engine| {
        engine.persistence.dirty = 0;
        engine.persistence.loading = None;
        let bytes = opened.other_bytes + opened.incr.len;
        opened.place = engine.aof_opened(bytes);
    });
    hub.aof.send(Message::Open(Box::new(opened)));
    Ok(())
}

/// DEBUG LOADAOF: the data at hand makes room for what the file says. An error ends the server, as in Redis.
pub fn reload(hub: &'static Hub, client: ClientId) -> anyhow::Result<()> {
    let plan = hub.enter(|engine| {
        let empty = engine.empty_keyspace();
        engine.replace_keyspace(empty);
        Plan::of(engine)
    })?;
    hub.enter(|engine| engine.start_loading(plan.total_bytes));
    load_parts(hub, &plan)?;
    log::notice("Append Only File loaded by DEBUG LOADAOF");
    hub.enter(|engine| {
        engine.persistence.dirty = 0;
        engine.persistence.loading = None;
        engine.finish_job(client, Ok(()));
    });
    Ok(())
}

fn load_parts(hub: &Hub, plan: &Plan) -> anyhow::Result<()> {
    if plan.total_bytes == 0 {
        return Ok(());
    }
    let started = Instant::now();
    let replay = hub.enter(Replay::begin);
    let mut loading = Loading { hub, plan, replay, done_bytes: 0, last_line: Instant::now() };
    let count = plan.manifest.parts().count();
    for (index, part) in plan.manifest.parts().enumerate() {
        let part_started = Instant::now();
        let is_base = plan.manifest.base.as_ref() == Some(part);
        loading.part(part, index + 1 == count)?;
        let kind = if is_base { "base" } else { "incr" };
        let seconds = part_started.elapsed().as_secs_f64();
        log::notice(&format!("DB loaded from {kind} file {}: {seconds:.3} seconds", part.name));
    }
    hub.enter(|engine| loading.replay.end(engine));
    log::notice(&format!("DB loaded from append only file: {:.3} seconds", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Makes ready what is missing: a base if there is no file at all, and a file to write into.
fn open(hub: &Hub, plan: Plan) -> anyhow::Result<Opened> {
    let Plan { folder, mut manifest, .. } = plan;
    folder.create()?;
    folder.remove_leftovers();
    let before = manifest.clone();
    if manifest.is_empty() {
        let request = hub.enter(Engine::base_request);
        let name = manifest.replace_base(&folder.file, request.form);
        log::notice(&format!("Creating AOF base file {name} on server start"));
        let temporary = folder.temporary_base(request.number);
        base::write(&request, &temporary)
            .and_then(|()| std::fs::rename(&temporary, folder.path(&name)))
            .with_context(|| format!("cannot write the AOF base file {name}"))?;
    }
    let (name, incr) = match manifest.incrs.last() {
        Some(part) => {
            log::notice(&format!("Opening AOF incr file {} on server start", part.name));
            (part.name.clone(), Incr::open(&folder, &folder.path(&part.name)))
        }
        None => {
            let name = manifest.add_incr(&folder.file);
            log::notice(&format!("Creating AOF incr file {name} on server start"));
            // A crash may have left one of that name which was never listed.
            let incr = Incr::create(&folder, &folder.path(&name));
            (name, incr)
        }
    };
    let incr = incr.with_context(|| format!("cannot open the AOF incr file {name}"))?;
    if manifest != before {
        folder.write_manifest(&manifest).context("cannot write the AOF manifest")?;
    }
    if !hub.enter(|engine| engine.config.aof_disable_auto_gc) {
        folder.remove_history(&mut manifest).context("cannot write the AOF manifest")?;
    }
    let others = manifest.parts().filter(|part| part.name != name);
    let other_bytes = others.map(|part| folder.len_of(&part.name)).sum::<anyhow::Result<u64>>()?;
    Ok(Opened { folder, manifest, incr, place: Place::default(), other_bytes })
}

struct Loading<'a> {
    hub: &'a Hub,
    plan: &'a Plan,
    replay: Replay,
    /// Bytes of the parts before the present one.
    done_bytes: u64,
    last_line: Instant,
}

impl Loading<'_> {
    fn part(&mut self, part: &Part, is_last: bool) -> anyhow::Result<()> {
        let path = self.plan.folder.path(&part.name);
        let name = &part.name;
        let file = File::open(&path)
            .with_context(|| format!("Fatal error: can't open the append log file {name} for reading"))?;
        self.hub.enter(|engine| self.replay.begin_part(engine));
        let mut text = Text::begin(file)?;
        if text.is_rdb() {
            let start = std::mem::take(&mut text.buffer);
            let (bytes, behind) = self.rdb(name, start, &text.file)?;
            (text.buffer, text.offset) = (behind, bytes);
        }
        let valid = self.commands(name, &mut text)?;
        let length = text.file.seek(SeekFrom::End(0))?;
        if valid < length {
            self.cut(name, path, valid, is_last)?;
        }
        self.done_bytes += length;
        Ok(())
    }

    /// Loads the RDB file at the front; its length, and what was read behind it.
    fn rdb(&mut self, name: &str, start: Vec<u8>, file: &File) -> anyhow::Result<(u64, Vec<u8>)> {
        log::notice("Reading RDB base file on AOF loading...");
        let (mut options, keyspace, delay) = self.hub.enter(|engine| {
            let delay = i64::from(engine.config.key_load_delay);
            (engine.load_options(Duplicates::Refuse), engine.keyspace.clone(), delay)
        });
        // What follows may still refer to keys whose time has passed.
        options.drops_expired = false;
        let position = Rc::new(Cell::new(0));
        let source = io::Cursor::new(start).chain(Counted { file, position: position.clone() });
        let mut keys = 0;
        let each_key = || {
            keys += 1;
            saver::delay(delay, keys);
            if keys.is_multiple_of(KEYS_PER_REPORT) || delay > 0 {
                report(self.hub, self.plan, self.done_bytes + position.get(), &mut self.last_line);
            }
        };
        let loaded = snapshot::read(source, keyspace, &options, each_key).map_err(|error| {
            anyhow!("Error reading the RDB preamble of the AOF file {name}, AOF loading aborted: {error}")
        })?;
        log::notice(&format!(
            "Done loading RDB, keys loaded: {}, keys expired: {}.",
            loaded.keys, loaded.expired
        ));
        let behind = (loaded.summary.bytes, loaded.summary.read_ahead.clone());
        self.hub.enter(|engine| engine.replace_keyspace(loaded.keyspace));
        Ok(behind)
    }

    /// Runs the commands of a part; up to where it is whole.
    fn commands(&mut self, name: &str, text: &mut Text) -> anyhow::Result<u64> {
        let mut valid = text.offset;
        let (mut ranges, mut found) = (Vec::new(), Vec::new());
        loop {
            let mut batch = Batch::default();
            let mut wanted = 0;
            let mut damage = None;
            while text.used + batch.bytes < text.buffer.len()
                && batch.commands.len() < RUN_COMMANDS_MAX
                && batch.bytes < RUN_BYTES_MAX
            {
                let at = text.used + batch.bytes;
                match reader::step(&text.buffer[at..], &mut found) {
                    Step::Command { bytes } => {
                        let first = ranges.len();
                        ranges.append(&mut found);
                        batch.push(bytes, Some((first, ranges.len())));
                    }
                    Step::Annotation { bytes, .. } => batch.push(bytes, None),
                    Step::Incomplete { wanted: bytes } => {
                        wanted = bytes;
                        break;
                    }
                    Step::Corrupt { at: within, expected } => {
                        damage = Some((text.offset + (batch.bytes + within) as u64, expected));
                        break;
                    }
                }
            }
            self.run(name, text, &batch, &ranges, &mut valid)?;
            ranges.clear();
            text.used += batch.bytes;
            text.offset += batch.bytes as u64;
            report(self.hub, self.plan, self.done_bytes + text.offset, &mut self.last_line);
            if let Some((offset, expected)) = damage {
                bail!(
                    "Bad file format reading the append only file {name}: make a backup of your AOF file, then use \
                     'russet check --fix <filename.manifest>' (offset {offset}: expected {expected})"
                );
            }
            if wanted > 0 || text.used == text.buffer.len() {
                if text.is_at_end {
                    return Ok(valid);
                }
                text.read_more(wanted)?;
            }
        }
    }

    fn run(
        &self,
        name: &str,
        text: &Text,
        batch: &Batch,
        ranges: &[ArgRange],
        valid: &mut u64,
    ) -> anyhow::Result<()> {
        if batch.commands.is_empty() {
            return Ok(());
        }
        self.hub.enter(|engine| {
            let delay = i64::from(engine.config.key_load_delay);
            let (mut at, mut is_open) = (text.used, self.replay.is_in_transaction(engine));
            for (bytes, command) in &batch.commands {
                if let Some((first, end)) = *command {
                    let args = Args::new(&text.buffer[at..at + bytes], &ranges[first..end]);
                    let offset = text.offset + (at - text.used) as u64;
                    self.replay.run(engine, &args).map_err(|reason| {
                        anyhow!("{reason} reading the append only file {name} (offset {offset})")
                    })?;
                    is_open = self.replay.is_in_transaction(engine);
                    saver::delay(delay, 1);
                }
                at += bytes;
                if !is_open {
                    *valid = text.offset + (at - text.used) as u64;
                }
            }
            Ok(())
        })
    }

    /// The end of a part is missing: it is cut off where the part is whole, if that is wanted.
    fn cut(&self, name: &str, path: PathBuf, valid: u64, is_last: bool) -> anyhow::Result<()> {
        if !is_last {
            bail!(
                "Fatal error: the truncated file {name} is not the last file (it is whole up to offset {valid})"
            );
        }
        if !self.hub.enter(|engine| engine.config.aof_load_truncated) {
            bail!(
                "Unexpected end of file reading the append only file {name} (it is whole up to offset {valid}). You \
                 can: 1) Make a backup of your AOF file, then use 'russet check --fix <filename.manifest>'. 2) \
                 Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the \
                 server."
            );
        }
        log::warning(&format!("!!! Warning: short read while loading the AOF file {name}!!!"));
        log::warning(&format!("AOF {name} loaded anyway because aof-load-truncated is enabled"));
        log::warning(&format!("Truncating the AOF {name} at offset {valid}"));
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(valid).and_then(|()| file.sync_all()))
            .with_context(|| format!("Error truncating the AOF file {name}"))
    }
}

/// Commands and annotations that were found, one behind the other.
#[derive(Default)]
struct Batch {
    /// Length, and for a command where its arguments are among the ranges.
    commands: Vec<(usize, Option<(usize, usize)>)>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, bytes: usize, ranges: Option<(usize, usize)>) {
        self.commands.push((bytes, ranges));
        self.bytes += bytes;
    }
}

/// Tells clients and the log how far the loading is.
fn report(hub: &Hub, plan: &Plan, loaded: u64, last_line: &mut Instant) {
    hub.enter(|engine| {
        if let Some(loading) = &mut engine.persistence.loading {
            loading.loaded_bytes = loaded;
        }
    });
    if last_line.elapsed() >= PROGRESS_INTERVAL {
        *last_line = Instant::now();
        log::notice(&format!("Loading the AOF: {loaded} of {} bytes", plan.total_bytes));
    }
}

/// A file that tells how much of it was read.
struct Counted<'a> {
    file: &'a File,
    position: Rc<Cell<u64>>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.position.set(self.position.get() + n as u64);
        Ok(n)
    }
}
