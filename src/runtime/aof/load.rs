//! The append-only file read: at the start, while clients are told to wait, and for DEBUG LOADAOF.
//!
//! Its parts are loaded one after the other into the data set at hand: an RDB file, if one stands at the front, then
//! commands, run by the engine as everywhere. Only the end of the last part may be missing.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use super::super::{log, saver};
use super::disk::{Disk, DiskFile as _, Files, Mode, World};
use super::incr::Incr;
use super::text::Text;
use super::{Folder, Opened, base};
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
pub struct Plan<D = Files> {
    folder: Folder<D>,
    manifest: Manifest,
    total_bytes: u64,
}

/// Looks at what there is; from here on clients are told to wait until it is loaded. None unless `appendonly` is on.
pub fn begin<D: Disk>(engine: &mut Engine, disk: D) -> anyhow::Result<Option<Plan<D>>> {
    if !engine.config.appendonly {
        return Ok(None);
    }
    let plan = Plan::of(engine, disk)?;
    engine.start_loading(plan.total_bytes);
    Ok(Some(plan))
}

impl<D: Disk> Plan<D> {
    fn of(engine: &Engine, disk: D) -> anyhow::Result<Self> {
        let folder = Folder::of(disk, &engine.config);
        let mut manifest = folder.read_manifest()?;
        folder.adopt_old_file(&mut manifest)?;
        let mut total_bytes = 0;
        for part in manifest.parts() {
            total_bytes += folder.len_of(&part.name)?;
        }
        Ok(Self { folder, manifest, total_bytes })
    }
}

/// Loads the file and ends the loading: it is ready to be written on.
pub fn load<W: World>(world: &W, plan: Plan<W::Disk>) -> anyhow::Result<Opened<W::Disk>> {
    load_parts(world, &plan)?;
    let mut opened = open(world, plan)?;
    world.enter(|engine| {
        engine.persistence.dirty = 0;
        engine.persistence.loading = None;
        let bytes = opened.other_bytes + opened.incr.len;
        opened.place = engine.aof_opened(bytes);
    });
    Ok(opened)
}

/// DEBUG LOADAOF: the data at hand makes room for what the file says. An error ends the server, as in Redis.
pub fn reload<W: World>(world: &W, client: ClientId) -> anyhow::Result<()> {
    let plan = world.enter(|engine| {
        let empty = engine.empty_keyspace();
        engine.replace_keyspace(empty);
        Plan::of(engine, world.disk())
    })?;
    world.enter(|engine| engine.start_loading(plan.total_bytes));
    load_parts(world, &plan)?;
    log::notice("Append Only File loaded by DEBUG LOADAOF");
    world.enter(|engine| {
        engine.persistence.dirty = 0;
        engine.persistence.loading = None;
        engine.finish_job(client, Ok(()));
    });
    Ok(())
}

fn load_parts<W: World>(world: &W, plan: &Plan<W::Disk>) -> anyhow::Result<()> {
    if plan.total_bytes == 0 {
        return Ok(());
    }
    let started = Instant::now();
    let replay = world.enter(Replay::begin);
    let mut loading = Loading { world, plan, replay, done_bytes: 0, last_line: Instant::now() };
    // Only the end of the last part may be missing. A new part is listed before it is known whether its name is on disk;
    // until it is, what follows is written to the one before.
    let (mut last, count) = (0, plan.manifest.parts().count());
    for (index, part) in plan.manifest.parts().enumerate() {
        if plan.folder.len_of(&part.name)? > 0 {
            last = index;
        }
    }
    for (index, part) in plan.manifest.parts().enumerate() {
        let part_started = Instant::now();
        let is_base = plan.manifest.base.as_ref() == Some(part);
        loading.part(part, index + 1 == count || (!is_base && index >= last))?;
        let kind = if is_base { "base" } else { "incr" };
        let seconds = part_started.elapsed().as_secs_f64();
        log::notice(&format!("DB loaded from {kind} file {}: {seconds:.3} seconds", part.name));
    }
    world.enter(|engine| loading.replay.end(engine));
    log::notice(&format!("DB loaded from append only file: {:.3} seconds", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Makes ready what is missing: a base if there is no file at all, and a file to write into.
fn open<W: World>(world: &W, plan: Plan<W::Disk>) -> anyhow::Result<Opened<W::Disk>> {
    let Plan { folder, mut manifest, .. } = plan;
    folder.create()?;
    folder.remove_leftovers();
    let before = manifest.clone();
    if manifest.is_empty() {
        let request = world.enter(Engine::base_request);
        let name = manifest.replace_base(&folder.file, request.form);
        log::notice(&format!("Creating AOF base file {name} on server start"));
        let temporary = folder.temporary_base(request.number);
        base::write(world.disk(), &request, &temporary)
            .and_then(|()| folder.disk.rename(&temporary, &folder.path(&name)))
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
    let mut incr = incr.with_context(|| format!("cannot open the AOF incr file {name}"))?;
    // What was loaded may be in the system's cache alone, left there by a server that was killed.
    incr.sync().and_then(|()| folder.sync()).context("cannot force the AOF to disk")?;
    if manifest != before {
        folder.write_manifest(&manifest)?;
    }
    if !world.enter(|engine| engine.config.aof_disable_auto_gc) {
        folder.remove_history(&mut manifest)?;
    }
    let others = manifest.parts().filter(|part| part.name != name);
    let other_bytes = others.map(|part| folder.len_of(&part.name)).sum::<anyhow::Result<u64>>()?;
    Ok(Opened { folder, manifest, incr, place: Place::default(), other_bytes })
}

struct Loading<'a, W: World> {
    world: &'a W,
    plan: &'a Plan<W::Disk>,
    replay: Replay,
    /// Bytes of the parts before the present one.
    done_bytes: u64,
    last_line: Instant,
}

impl<W: World> Loading<'_, W> {
    fn part(&mut self, part: &Part, is_last: bool) -> anyhow::Result<()> {
        let path = self.plan.folder.path(&part.name);
        let name = &part.name;
        let disk = &self.plan.folder.disk;
        let file = disk
            .open(&path, Mode::Read)
            .with_context(|| format!("Fatal error: can't open the append log file {name} for reading"))?;
        self.world.enter(|engine| self.replay.begin_part(engine));
        let mut text = Text::begin(file)?;
        if text.is_rdb() {
            let start = std::mem::take(&mut text.buffer);
            let (bytes, behind) = self.rdb(name, start, &mut text.file)?;
            (text.buffer, text.offset) = (behind, bytes);
        }
        let valid = self.commands(name, &mut text)?;
        let length = text.file.len()?;
        if valid < length {
            self.cut(name, path, valid, is_last)?;
        }
        self.done_bytes += length;
        Ok(())
    }

    /// Loads the RDB file at the front; its length, and what was read behind it.
    fn rdb(&mut self, name: &str, start: Vec<u8>, file: &mut impl Read) -> anyhow::Result<(u64, Vec<u8>)> {
        log::notice("Reading RDB base file on AOF loading...");
        let (mut options, keyspace, delay) = self.world.enter(|engine| {
            let delay = i64::from(engine.config.key_load_delay);
            (engine.load_options(Duplicates::Refuse), engine.keyspace.clone(), delay)
        });
        // What follows may still refer to keys whose time has passed.
        options.drops_expired = false;
        let position = Rc::new(Cell::new(0));
        let source = io::Cursor::new(start).chain(Counted { file, position: position.clone() });
        let mut keys = 0;
        let each_key = |used_memory| {
            keys += 1;
            saver::delay(delay, keys);
            if keys.is_multiple_of(KEYS_PER_REPORT) || delay > 0 {
                self.world.enter(|engine| {
                    if let Some(loading) = &mut engine.persistence.loading {
                        loading.rdb_used_memory = used_memory;
                    }
                });
                report(self.world, self.plan, self.done_bytes + position.get(), &mut self.last_line);
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
        self.world.enter(|engine| {
            engine.note_loaded(loaded.keys, loaded.expired);
            engine.replace_keyspace(loaded.keyspace);
        });
        Ok(behind)
    }

    /// Runs the commands of a part; up to where it is whole.
    fn commands(&mut self, name: &str, text: &mut Text<impl Read>) -> anyhow::Result<u64> {
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
            report(self.world, self.plan, self.done_bytes + text.offset, &mut self.last_line);
            if let Some((offset, expected)) = damage {
                if text.is_lost_from(text.used)? {
                    return Ok(valid);
                }
                bail!(
                    "Bad file format reading the append only file {name} (offset {offset}: expected {expected}). It is \
                     damaged, not cut short, so that nothing can repair it: take it from a replica or a backup, or \
                     keep a copy and cut the file off at offset {valid}, which gives up all that was written later."
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
        text: &Text<impl Read>,
        batch: &Batch,
        ranges: &[ArgRange],
        valid: &mut u64,
    ) -> anyhow::Result<()> {
        if batch.commands.is_empty() {
            return Ok(());
        }
        self.world.enter(|engine| {
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
        if !self.world.enter(|engine| engine.config.aof_load_truncated) {
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
        let disk = &self.plan.folder.disk;
        disk.open(&path, Mode::Cut)
            .and_then(|file| file.set_len(valid).and_then(|()| file.sync()))
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
fn report<W: World>(world: &W, plan: &Plan<W::Disk>, loaded: u64, last_line: &mut Instant) {
    world.enter(|engine| {
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
struct Counted<'a, F> {
    file: &'a mut F,
    position: Rc<Cell<u64>>,
}

impl<F: Read> Read for Counted<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.position.set(self.position.get() + n as u64);
        Ok(n)
    }
}
