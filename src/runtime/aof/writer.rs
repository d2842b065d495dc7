//! The thread that writes the append-only file.
//!
//! Each turn it tells the engine how far it is and takes what comes next: bytes of the stream, or an order. Bytes go into
//! the incremental file in one system call per take. Then all go on who waited for any of them, under `appendfsync always`
//! after they are forced to disk. `everysec` forces to disk once a second; meanwhile nobody waits.
//!
//! An error leaves the file as it was before the batch, which is kept and tried again. After an fsync that has failed
//! nobody knows what is on disk: the file goes back to where the last one that worked has left it (`incr.rs`), and what came
//! after is written again. Where that was not kept, only a new base counts.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::super::log;
use super::disk::{Disk, Files, World};
use super::incr::{Batch, Incr, KEPT_BYTES_MAX};
use super::{Folder, reason};
use crate::config::AppendFsync;
use crate::engine::Engine;
use crate::engine::aof::{
    Order, Place, RewriteEnd, RewriteRequest, Rotation, Taken, WritePolicy, WriterReport,
};
use crate::persistence::aof::manifest::{BaseForm, Manifest};
use crate::replication::log::ReplOffset;

const SYNC_INTERVAL: Duration = Duration::from_secs(1);
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
const IDLE: Duration = Duration::from_secs(3600);

/// An append-only file that is ready to be written on.
#[derive(Debug)]
pub struct Opened<D: Disk = Files> {
    pub folder: Folder<D>,
    pub manifest: Manifest,
    pub incr: Incr<D::File>,
    pub place: Place,
    /// The other parts together.
    pub other_bytes: u64,
}

/// A rewrite whose base is being written.
struct Rewriting<D> {
    number: u64,
    rotation: Rotation,
    /// Where the file begins whose first base it is.
    first: Option<Place>,
    form: BaseForm,
    folder: Folder<D>,
    manifest: Manifest,
}

pub struct Writer<W: World> {
    world: W,
    folder: Folder<W::Disk>,
    manifest: Manifest,
    incr: Option<Incr<<W::Disk as Disk>::File>>,
    /// The file that the server starts with is still to come.
    is_awaited: bool,
    epoch: u64,
    written: ReplOffset,
    /// Bytes of own effects that are written besides.
    own: u64,
    fsynced: ReplOffset,
    other_bytes: u64,
    /// What was taken and has yet to be written: one batch, or after an fsync that has failed all since the one before.
    pending: VecDeque<Batch>,
    rewriting: Option<Rewriting<W::Disk>>,
    /// Times of the world's clock.
    last_sync: Duration,
    retry_at: Duration,
    last_timestamp: i64,
    error: Option<String>,
    /// The error is that of an fsync: only one that works takes it back.
    must_sync: bool,
    must_rewrite: bool,
    policy: WritePolicy,
}

/// When the next turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    AtOnce,
    /// Unless somebody wakes the thread before.
    Idle(Duration),
}

/// What a take has brought.
enum Next {
    Bytes,
    Order(Order),
    Nothing,
}

impl<W: World> Writer<W> {
    /// It has nothing to write into until a file is opened. Where the server starts with one, that `is_awaited`: the engine
    /// lets clients in a moment before, and what they write in it must not be taken while it could go nowhere.
    pub fn new(world: W, is_awaited: bool) -> Self {
        let disk = world.disk();
        let (folder, policy) =
            world.enter(|engine| (Folder::of(disk, &engine.config), engine.aof_write_policy()));
        let now = world.uptime();
        Self {
            world,
            folder,
            manifest: Manifest::default(),
            incr: None,
            is_awaited,
            epoch: 0,
            written: ReplOffset::default(),
            own: 0,
            fsynced: ReplOffset::default(),
            other_bytes: 0,
            pending: VecDeque::new(),
            rewriting: None,
            last_sync: now,
            retry_at: now,
            last_timestamp: 0,
            error: None,
            must_sync: false,
            must_rewrite: false,
            policy,
        }
    }

    /// The file is loaded, or new: it is written on from here.
    pub fn open(&mut self, opened: Opened<W::Disk>) {
        let Opened { folder, manifest, incr, place, other_bytes } = opened;
        (self.folder, self.manifest, self.other_bytes) = (folder, manifest, other_bytes);
        self.is_awaited = false;
        self.begin_epoch(place, incr);
    }

    fn begin_epoch(&mut self, place: Place, incr: Incr<<W::Disk as Disk>::File>) {
        self.begin_at(place);
        (self.error, self.must_sync, self.must_rewrite) = (None, false, false);
        self.pending.clear();
        self.incr = Some(incr);
        self.last_sync = self.world.uptime();
        self.world.gate().open(place);
    }

    fn begin_at(&mut self, place: Place) {
        self.epoch = place.epoch;
        (self.written, self.fsynced, self.own) = (place.offset, place.offset, place.own);
    }

    fn report(&self) -> WriterReport {
        WriterReport {
            epoch: self.epoch,
            fsynced: self.fsynced,
            current_bytes: self.other_bytes + self.incr.as_ref().map_or(0, |incr| incr.len),
            buffered_bytes: self.pending.iter().map(|batch| batch.len() as u64).sum(),
            error: self.error.clone(),
            must_rewrite: self.must_rewrite,
        }
    }

    /// How far the file is written.
    fn reached(&self) -> Place {
        Place { epoch: self.epoch, offset: self.written, own: self.own }
    }

    /// Does what is to be done next.
    pub fn turn(&mut self) -> Pace {
        if !self.pending.is_empty() {
            let wait = self.retry_at.saturating_sub(self.world.uptime());
            // A new base may be wanted meanwhile, or no file at all.
            let report = self.report();
            let order = self.world.enter(|engine| engine.aof_take_close(report));
            if let Some(order) = order {
                // The file is done with, and may be able to take what is left by now. An fsync that has failed is another
                // matter: what may be lost before it cannot be made good here.
                if !self.must_rewrite {
                    // If not, `fail` has said so.
                    let _ = self.write();
                }
                self.pending.clear();
                self.obey(order);
                return Pace::AtOnce;
            }
            if !wait.is_zero() {
                return Pace::Idle(wait);
            }
            // Whatever comes of it, the next turn is about that.
            self.write_and_sync();
            return Pace::AtOnce;
        }
        match self.take() {
            Next::Bytes => {
                self.write_and_sync();
                Pace::AtOnce
            }
            Next::Order(order) => {
                self.obey(order);
                Pace::AtOnce
            }
            Next::Nothing => self.idle(),
        }
    }

    /// Tells the engine how far it is, and takes what comes next.
    fn take(&mut self) -> Next {
        if self.is_awaited {
            return Next::Nothing;
        }
        let report = self.report();
        let (taken, policy) = self.world.enter(|engine| engine.aof_take(report));
        self.policy = policy;
        match taken {
            Taken::Bytes { prefix, pieces, end, own } => {
                // Pings and the like are left out: nothing has happened at their time.
                let prefix = if pieces.is_empty() { prefix } else { self.with_timestamp(prefix) };
                self.pending.push_back(Batch { prefix, pieces, end, own });
                Next::Bytes
            }
            Taken::Order(order) => Next::Order(order),
            Taken::Nothing => Next::Nothing,
        }
    }

    /// Nothing is left to be written.
    fn idle(&mut self) -> Pace {
        let Some(incr) = &self.incr else { return Pace::Idle(IDLE) };
        let is_unsynced = incr.is_unsynced();
        let is_wanted = match self.policy.fsync {
            AppendFsync::Always | AppendFsync::EverySec => is_unsynced && !self.policy.suspends_fsync,
            AppendFsync::No => false,
        };
        if !is_wanted && !self.must_sync {
            // What suspends it is asked for again.
            return Pace::Idle(if is_unsynced { SYNC_INTERVAL } else { IDLE });
        }
        let wait = SYNC_INTERVAL.saturating_sub(self.since_sync());
        if !wait.is_zero() && self.policy.fsync != AppendFsync::Always {
            return Pace::Idle(wait);
        }
        match self.sync() {
            Ok(()) => Pace::AtOnce,
            Err(_) => Pace::Idle(RETRY_INTERVAL),
        }
    }

    fn since_sync(&self) -> Duration {
        self.world.uptime().saturating_sub(self.last_sync)
    }

    /// `aof-timestamp-enabled`: the second in which a batch was written goes before it, once.
    fn with_timestamp(&mut self, prefix: Vec<u8>) -> Vec<u8> {
        let seconds = self.policy.now.0 / 1000;
        if !self.policy.has_timestamps || seconds <= self.last_timestamp {
            return prefix;
        }
        self.last_timestamp = seconds;
        [format!("#TS:{seconds}\r\n").as_bytes(), &prefix].concat()
    }

    /// Writes what is at hand, and does what the policy wants then.
    fn write_and_sync(&mut self) {
        if !self.policy.delay.is_zero() {
            self.world.pause(self.policy.delay);
        }
        if self.write().is_err() {
            return;
        }
        let Some(incr) = &self.incr else { return };
        let waits_for_disk = self.policy.fsync == AppendFsync::Always && !self.policy.suspends_fsync;
        let is_due = self.policy.fsync == AppendFsync::EverySec
            && !self.policy.suspends_fsync
            && (self.since_sync() >= SYNC_INTERVAL || incr.unsynced_bytes() >= KEPT_BYTES_MAX);
        if waits_for_disk || self.must_sync {
            if self.sync().is_err() || self.must_rewrite {
                return;
            }
        } else if !self.must_rewrite {
            self.error = None;
        }
        self.world.gate().open(self.reached());
        if is_due && !self.must_sync {
            // An error is kept, and seen to in the next turn.
            let _ = self.sync();
        }
    }

    /// Writes what is at hand.
    fn write(&mut self) -> io::Result<()> {
        while let Some(batch) = self.pending.pop_front() {
            let Some(incr) = &mut self.incr else { continue };
            if let Err(error) = incr.write(&batch) {
                self.fail("Error writing to the AOF file", &error);
                self.pending.push_front(batch);
                return Err(error);
            }
            (self.written, self.own) = (batch.end, batch.own);
            // Without any fsync there is none that could fail.
            incr.keep(batch, self.policy.fsync != AppendFsync::No);
        }
        Ok(())
    }

    /// Forces to disk what was written.
    fn sync(&mut self) -> io::Result<()> {
        let Some(incr) = &mut self.incr else { return Ok(()) };
        let is_awaited = self.policy.fsync == AppendFsync::Always;
        self.last_sync = self.world.uptime();
        if !is_awaited {
            let place = self.world.enter(Engine::aof_sync_begins);
            self.world.gate().release(place);
        }
        let synced = incr.sync();
        if !is_awaited {
            self.world.enter(Engine::aof_sync_ends);
        }
        match &synced {
            Ok(()) if self.must_rewrite => {}
            Ok(()) => {
                self.fsynced = self.written;
                (self.error, self.must_sync) = (None, false);
            }
            Err(error) => {
                match incr.go_back() {
                    Some(batches) => {
                        self.must_sync = true;
                        self.written = self.fsynced;
                        self.pending = batches.into();
                    }
                    None => self.must_rewrite = true,
                }
                self.fail("Error forcing the AOF file to disk", error);
            }
        }
        synced
    }

    /// Writes are refused from here on; who waits for what was not written is cut off.
    fn fail(&mut self, what: &str, error: &io::Error) {
        if self.error.is_none() {
            log::warning(&format!("{what}: {}", reason(error)));
        }
        self.error = Some(reason(error));
        self.retry_at = self.world.uptime() + RETRY_INTERVAL;
        let report = self.report();
        // Whoever comes later is not to wait for what is not written.
        let end = self.world.enter(|engine| {
            engine.aof_report(report);
            engine.aof_place()
        });
        self.world.gate().fail(Place { epoch: self.epoch, ..end });
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Rewrite(request) => self.begin_rewrite(request),
            Order::Close { epoch } => {
                if self.leave_incr().is_some_and(|mut incr| incr.is_unsynced() && incr.sync().is_err()) {
                    log::warning("Fail to fsync the AOF file");
                }
                self.rewriting = None;
                self.epoch = epoch;
                self.world.gate().open(Place { epoch, offset: ReplOffset(u64::MAX), own: 0 });
            }
            Order::RemoveHistory => {
                if let Err(error) = self.folder.remove_history(&mut self.manifest) {
                    log::warning(&error.to_string());
                }
            }
            Order::Flush(client) => {
                // What is loaded is what is there, whether it is on disk or not.
                let _ = self.incr.as_mut().map(Incr::sync);
                self.world.enter(|engine| engine.aof_flushed(client));
            }
        }
    }

    /// Writes on in no file; what was wrong with the one at hand is of no concern any more.
    fn leave_incr(&mut self) -> Option<Incr<<W::Disk as Disk>::File>> {
        (self.error, self.must_sync, self.must_rewrite) = (None, false, false);
        self.pending.clear();
        self.incr.take()
    }

    fn begin_rewrite(&mut self, request: Box<RewriteRequest>) {
        let (number, form, rotation) = (request.number, request.form, request.rotation);
        let first = (rotation == Rotation::Unlisted).then_some(request.place);
        let begun = self.rotate(&request).and_then(|()| match rotation {
            Rotation::Listed => Ok((self.folder.clone(), Manifest::default())),
            Rotation::None | Rotation::Unlisted => {
                let folder = self.folder.in_dir(&request.dir);
                folder.create()?;
                let manifest = folder.read_manifest()?;
                Ok((folder, manifest))
            }
        });
        let (folder, manifest) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                self.rewriting = None;
                return self.report_end(number, first, Err(format!("{error:#}")));
            }
        };
        let path = folder.temporary_base(number);
        self.rewriting = Some(Rewriting { number, rotation, first, form, folder, manifest });
        if let Err(error) = self.world.start_base(request, &path) {
            self.end_rewrite(number, Err(format!("cannot start a thread: {error}")));
        }
    }

    /// From here on what is written goes into a file of its own.
    fn rotate(&mut self, request: &RewriteRequest) -> anyhow::Result<()> {
        match request.rotation {
            Rotation::None => Ok(()),
            Rotation::Listed => {
                if self.incr.as_ref().is_some_and(Incr::is_unsynced)
                    && let Err(error) = self.sync()
                    && !self.must_rewrite
                {
                    // Nothing may follow what is missing. Where that is gone, only the new base counts.
                    return Err(error.into());
                }
                let mut manifest = self.manifest.clone();
                let name = manifest.add_incr(&self.folder.file);
                log::notice(&format!("Creating AOF incr file {name} on background rewrite"));
                let path = self.folder.path(&name);
                let incr = Incr::create(&self.folder, &path)?;
                if let Err(failure) = self.folder.write_manifest(&manifest) {
                    if !failure.may_count {
                        let _ = self.folder.disk.remove(&path);
                    }
                    return Err(failure.into());
                }
                self.manifest = manifest;
                let old = self.incr.replace(incr);
                self.other_bytes += old.map_or(0, |old| old.len);
                Ok(())
            }
            Rotation::Unlisted => {
                let folder = self.folder.in_dir(&request.dir);
                folder.create()?;
                let incr = Incr::create(&folder, &folder.temporary_incr())?;
                log::notice("Creating AOF incr file for the time until the first base is written");
                self.folder = folder;
                self.other_bytes = 0;
                self.begin_epoch(request.place, incr);
                Ok(())
            }
        }
    }

    /// The base of the rewrite of that number is written, or will not be.
    pub fn end_rewrite(&mut self, number: u64, outcome: Result<(), String>) {
        let Some(rewriting) = self.rewriting.take_if(|rewriting| rewriting.number == number) else {
            // Of a rewrite that nobody waits for any more.
            let _ = self.folder.disk.remove(&self.folder.temporary_base(number));
            return;
        };
        let temporary = rewriting.folder.temporary_base(number);
        let first = rewriting.first;
        let is_wanted = self.world.enter(|engine| engine.is_rewriting(number));
        let outcome = match outcome {
            Ok(()) if is_wanted => self.install(rewriting, &temporary),
            Ok(()) => Err("cancelled".to_owned()),
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // It may not have come into being.
            let _ = self.folder.disk.remove(&temporary);
        } else if self.must_rewrite {
            (self.must_rewrite, self.error) = (false, None);
            self.fsynced = self.written;
            self.world.gate().open(self.reached());
        }
        self.report_end(number, first, outcome);
    }

    /// Makes a base that is complete the one that counts, in steps of which each leaves a valid file.
    fn install(&mut self, rewriting: Rewriting<W::Disk>, temporary: &Path) -> Result<(), String> {
        let Rewriting { rotation, form, folder, manifest, .. } = rewriting;
        let mut manifest = if rotation == Rotation::Listed { self.manifest.clone() } else { manifest };
        let base = folder.path(&manifest.replace_base(&folder.file, form));
        let mut renamed = None;
        let prepared = (|| {
            let base_bytes = folder.disk.len_of(temporary)?;
            folder.disk.rename(temporary, &base)?;
            if let (Rotation::Unlisted, Some(incr)) = (rotation, &mut self.incr) {
                // What was written so far counts from the moment that it is listed.
                incr.sync()?;
                let path = folder.path(&manifest.add_incr(&folder.file));
                folder.disk.rename(&incr.path, &path)?;
                incr.path.clone_from(&path);
                renamed = Some(path);
            }
            manifest.retire_incrs(usize::from(rotation != Rotation::None));
            folder.sync()?;
            Ok(base_bytes)
        })();
        let base_bytes = prepared.map_err(|error: io::Error| {
            let _ = folder.disk.remove(&base);
            reason(&error)
        })?;
        if let Err(failure) = folder.write_manifest(&manifest) {
            if !failure.may_count {
                let _ = folder.disk.remove(&base);
            } else if rotation == Rotation::Unlisted {
                // It is given up; what is listed stays, until the next base takes its place.
                self.leave_incr();
            }
            return Err(failure.to_string());
        }
        if renamed.is_some() {
            self.fsynced = self.written;
        }
        self.other_bytes = if rotation == Rotation::None { 0 } else { base_bytes };
        if !self.policy.keeps_history
            && let Err(failure) = folder.remove_history(&mut manifest)
        {
            // What is still listed is removed the next time.
            log::warning(&failure.to_string());
        }
        if rotation != Rotation::None {
            self.manifest = manifest;
        }
        Ok(())
    }

    fn report_end(&mut self, number: u64, first: Option<Place>, outcome: Result<(), String>) {
        if outcome.is_err()
            && let Some(place) = first
        {
            self.give_up_first(place);
        }
        let report = self.report();
        let end = RewriteEnd { number, outcome, current_bytes: report.current_bytes };
        self.world.enter(|engine| {
            engine.aof_report(report);
            engine.rewrite_finished(end);
        });
    }

    /// There is no first base, so that nothing counts that was written beside it. Until the next try what comes goes into no
    /// file, and nobody waits for one.
    fn give_up_first(&mut self, place: Place) {
        if let Some(incr) = self.leave_incr() {
            let path = incr.path.display();
            log::notice(&format!("Removing the temp incr aof file {path} in the background"));
            let _ = self.folder.disk.remove(&incr.path);
        }
        self.begin_at(place);
        self.world.gate().open(Place { offset: ReplOffset(u64::MAX), own: 0, ..place });
    }

    /// The process ends: whatever there is goes to disk.
    pub fn finish(&mut self) {
        loop {
            if self.pending.is_empty() {
                match self.take() {
                    Next::Bytes => {}
                    Next::Order(Order::Rewrite(_) | Order::RemoveHistory | Order::Flush(_)) => continue,
                    Next::Order(close) => {
                        self.obey(close);
                        continue;
                    }
                    Next::Nothing => break,
                }
            }
            if self.write().is_err() {
                log::warning("What was written last is not in the AOF file");
                break;
            }
        }
        if let Some(rewriting) = self.rewriting.take() {
            let _ = rewriting.folder.disk.remove(&rewriting.folder.temporary_base(rewriting.number));
        }
        if self.incr.is_none() {
            return;
        }
        log::notice("Calling fsync() on the AOF file.");
        // One that has failed proves nothing when it works the next time, unless everything was written again.
        let is_synced = self.sync().is_ok() || (self.write().is_ok() && self.sync().is_ok());
        if is_synced && self.pending.is_empty() && !self.must_rewrite {
            self.world.gate().open(self.reached());
        } else {
            // What could not be forced to disk is better written than not.
            let _ = self.write();
            log::warning("Fail to fsync the AOF file");
        }
    }
}
