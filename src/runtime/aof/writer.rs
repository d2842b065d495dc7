//! The thread that writes the append-only file.
//!
//! Each turn it tells the engine how far it is and takes what comes next: bytes of the stream, or an order. Bytes go into
//! the incremental file in one system call per take, then:
//! - `appendfsync always`: they are forced to disk, and all who waited for any of them go on at once;
//! - `everysec`: the thread rests for a moment, so that the next take is larger, and forces to disk once a second.
//!
//! An error leaves the file as it was before the batch, which is kept and tried again. After an fsync that has failed
//! nobody knows what is on disk, so only a new base counts.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::super::hub::Hub;
use super::super::{log, memory};
use super::incr::{Batch, Incr};
use super::{Folder, Message, base, reason};
use crate::config::AppendFsync;
use crate::engine::aof::{
    Order, Place, RewriteEnd, RewriteRequest, Rotation, Taken, WritePolicy, WriterReport,
};
use crate::persistence::aof::manifest::{BaseForm, Manifest};
use crate::replication::log::ReplOffset;

/// Between two takes while clients keep writing: the more is written at once, the less it costs.
const REST: Duration = Duration::from_millis(1);
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
const IDLE: Duration = Duration::from_secs(3600);

/// An append-only file that is ready to be written on.
pub struct Opened {
    pub folder: Folder,
    pub manifest: Manifest,
    pub incr: Incr,
    pub place: Place,
    /// The other parts together.
    pub other_bytes: u64,
}

/// A rewrite whose base is being written.
struct Rewriting {
    number: u64,
    rotation: Rotation,
    form: BaseForm,
    folder: Folder,
    manifest: Manifest,
}

struct Writer {
    hub: &'static Hub,
    folder: Folder,
    manifest: Manifest,
    incr: Option<Incr>,
    epoch: u64,
    written: ReplOffset,
    fsynced: ReplOffset,
    other_bytes: u64,
    batch: Option<Batch>,
    rewriting: Option<Rewriting>,
    last_sync: Instant,
    retry_at: Instant,
    last_timestamp: i64,
    error: Option<String>,
    must_rewrite: bool,
    policy: WritePolicy,
}

/// When the next turn is.
enum Pace {
    AtOnce,
    After(Duration),
    /// Unless somebody wakes the thread before.
    Idle(Duration),
}

pub fn run(hub: &'static Hub) {
    memory::settle();
    let (folder, policy) = hub.enter(|engine| (Folder::of(&engine.config), engine.aof_take(None).1));
    let mut writer = Writer {
        hub,
        folder,
        manifest: Manifest::default(),
        incr: None,
        epoch: 0,
        written: ReplOffset::default(),
        fsynced: ReplOffset::default(),
        other_bytes: 0,
        batch: None,
        rewriting: None,
        last_sync: Instant::now(),
        retry_at: Instant::now(),
        last_timestamp: 0,
        error: None,
        must_rewrite: false,
        policy,
    };
    loop {
        hub.aof.is_woken.swap(false, std::sync::atomic::Ordering::SeqCst);
        for message in hub.aof.take_messages() {
            match message {
                Message::Open(opened) => writer.open(*opened),
                Message::BaseWritten { number, outcome } => writer.end_rewrite(number, outcome),
                Message::Stop => {
                    writer.finish();
                    hub.aof.note_stopped();
                    return;
                }
            }
        }
        let pace = writer.turn();
        memory::settle();
        match pace {
            Pace::AtOnce => {}
            Pace::After(rest) => std::thread::sleep(rest),
            Pace::Idle(longest) => std::thread::park_timeout(longest),
        }
    }
}

impl Writer {
    fn open(&mut self, opened: Opened) {
        let Opened { folder, manifest, incr, place, other_bytes } = opened;
        (self.folder, self.manifest, self.other_bytes) = (folder, manifest, other_bytes);
        self.begin_epoch(place, incr);
    }

    fn begin_epoch(&mut self, place: Place, incr: Incr) {
        self.epoch = place.epoch;
        (self.written, self.fsynced) = (place.offset, place.offset);
        (self.batch, self.error, self.must_rewrite) = (None, None, false);
        self.incr = Some(incr);
        self.last_sync = Instant::now();
        self.hub.aof.gate.open(place);
    }

    fn report(&self) -> WriterReport {
        WriterReport {
            epoch: self.epoch,
            fsynced: self.fsynced,
            current_bytes: self.other_bytes + self.incr.as_ref().map_or(0, |incr| incr.len),
            buffered_bytes: self.batch.as_ref().map_or(0, |batch| batch.len() as u64),
            error: self.error.clone(),
            must_rewrite: self.must_rewrite,
        }
    }

    fn turn(&mut self) -> Pace {
        if self.batch.is_some() {
            let wait = self.retry_at.saturating_duration_since(Instant::now());
            // A new base may be wanted meanwhile, or no file at all.
            let report = self.report();
            let order = self.hub.enter(|engine| engine.aof_take_close(report));
            if let Some(order) = order {
                self.batch = None;
                self.obey(order);
                return Pace::AtOnce;
            }
            if !wait.is_zero() {
                return Pace::Idle(wait);
            }
            return self.write();
        }
        let report = self.report();
        let (taken, policy) = self.hub.enter(|engine| engine.aof_take(Some(report)));
        self.policy = policy;
        match taken {
            Taken::Bytes { prefix, pieces, end } => {
                let prefix = self.with_timestamp(prefix);
                self.batch = Some(Batch { prefix, pieces, end, written: 0 });
                self.write()
            }
            Taken::Order(order) => {
                self.obey(order);
                Pace::AtOnce
            }
            Taken::Nothing => self.idle(),
        }
    }

    /// Nothing is left to be written.
    fn idle(&mut self) -> Pace {
        let is_unsynced = self.incr.as_ref().is_some_and(|incr| incr.is_unsynced);
        let is_wanted = match self.policy.fsync {
            AppendFsync::Always | AppendFsync::EverySec => is_unsynced && !self.policy.suspends_fsync,
            AppendFsync::No => false,
        };
        if !is_wanted {
            // What suspends it is asked for again.
            return Pace::Idle(if is_unsynced { SYNC_INTERVAL } else { IDLE });
        }
        let wait = SYNC_INTERVAL.saturating_sub(self.last_sync.elapsed());
        if !wait.is_zero() && self.policy.fsync != AppendFsync::Always {
            return Pace::Idle(wait);
        }
        match self.sync() {
            Ok(()) => Pace::AtOnce,
            Err(_) => Pace::Idle(SYNC_INTERVAL),
        }
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

    /// Writes the batch at hand, and does what the policy wants then.
    fn write(&mut self) -> Pace {
        let (Some(batch), Some(incr)) = (&mut self.batch, &mut self.incr) else {
            self.batch = None;
            return Pace::AtOnce;
        };
        if !self.policy.delay.is_zero() {
            std::thread::sleep(self.policy.delay);
        }
        if let Err(error) = incr.write(batch) {
            let end = batch.end;
            self.fail("Error writing to the AOF file", &error, end);
            return Pace::AtOnce;
        }
        self.written = batch.end;
        self.batch = None;
        if self.error.is_some() && !self.must_rewrite {
            self.error = None;
        }
        let waits_for_disk = self.policy.fsync == AppendFsync::Always && !self.policy.suspends_fsync;
        let is_due = self.policy.fsync == AppendFsync::EverySec
            && !self.policy.suspends_fsync
            && self.last_sync.elapsed() >= SYNC_INTERVAL;
        if (waits_for_disk || is_due) && self.sync().is_err() {
            return Pace::AtOnce;
        }
        self.hub.aof.gate.open(Place { epoch: self.epoch, offset: self.written });
        if waits_for_disk { Pace::AtOnce } else { Pace::After(REST) }
    }

    /// Forces to disk what was written.
    fn sync(&mut self) -> io::Result<()> {
        let Some(incr) = &mut self.incr else { return Ok(()) };
        self.last_sync = Instant::now();
        let synced = incr.sync();
        match &synced {
            Ok(()) if !self.must_rewrite => self.fsynced = self.written,
            Ok(()) => {}
            Err(error) => {
                self.must_rewrite = true;
                self.fail("Error forcing the AOF file to disk", error, self.written);
            }
        }
        synced
    }

    /// Writes are refused from here on; who waits for what was not written is cut off.
    fn fail(&mut self, what: &str, error: &io::Error, end: ReplOffset) {
        if self.error.is_none() {
            log::warning(&format!("{what}: {}", reason(error)));
        }
        self.error = Some(reason(error));
        self.retry_at = Instant::now() + RETRY_INTERVAL;
        let report = self.report();
        // Whoever comes later is not to wait for what is not written.
        let log_end = self.hub.enter(|engine| {
            engine.aof_report(report);
            engine.role.stream().log.end_offset()
        });
        self.hub.aof.gate.fail(Place { epoch: self.epoch, offset: log_end.max(end) });
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Rewrite(request) => self.begin_rewrite(request),
            Order::Close { epoch } => {
                if self.incr.as_ref().is_some_and(|incr| incr.is_unsynced) && self.sync().is_err() {
                    log::warning("Fail to fsync the AOF file");
                }
                self.incr = None;
                self.rewriting = None;
                self.error = None;
                self.epoch = epoch;
                self.hub.aof.gate.open(Place { epoch, offset: ReplOffset(u64::MAX) });
            }
            Order::RemoveHistory => {
                if let Err(error) = self.folder.remove_history(&mut self.manifest) {
                    log::warning(&format!("cannot write the AOF manifest: {}", reason(&error)));
                }
            }
            Order::Flush(client) => {
                // An error is told where it came up; what is loaded then is what is there.
                let _ = self.sync();
                self.hub.enter(|engine| engine.aof_flushed(client));
            }
            Order::Effects(_) => unreachable!("the engine hands these out as bytes"),
        }
    }

    fn begin_rewrite(&mut self, request: Box<RewriteRequest>) {
        let (number, form, rotation) = (request.number, request.form, request.rotation);
        if let Err(error) = self.rotate(&request) {
            self.rewriting = None;
            self.report_end(number, Err(format!("{error:#}")));
            return;
        }
        let (folder, manifest) = match rotation {
            Rotation::Listed => (self.folder.clone(), Manifest::default()),
            Rotation::None | Rotation::Unlisted => {
                let folder = self.folder.in_dir(&request.dir);
                match folder.create().and_then(|()| folder.read_manifest()) {
                    Ok(manifest) => (folder, manifest),
                    Err(error) => return self.report_end(number, Err(format!("{error:#}"))),
                }
            }
        };
        let path = folder.temporary_base(number);
        self.rewriting = Some(Rewriting { number, rotation, form, folder, manifest });
        if let Err(error) = base::start(self.hub, request, &path) {
            self.end_rewrite(number, Err(format!("cannot start a thread: {error}")));
        }
    }

    /// From here on what is written goes into a file of its own.
    fn rotate(&mut self, request: &RewriteRequest) -> anyhow::Result<()> {
        match request.rotation {
            Rotation::None => Ok(()),
            Rotation::Listed => {
                if self.incr.as_ref().is_some_and(|incr| incr.is_unsynced) {
                    // If it fails, only the new base counts, which this is about.
                    let _ = self.sync();
                }
                let mut manifest = self.manifest.clone();
                let name = manifest.add_incr(&self.folder.file);
                log::notice(&format!("Creating AOF incr file {name} on background rewrite"));
                let path = self.folder.path(&name);
                let incr = Incr::create(&self.folder, &path)?;
                if let Err(error) = self.folder.write_manifest(&manifest) {
                    let _ = fs::remove_file(&path);
                    return Err(error.into());
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

    /// The base is written, or will not be.
    fn end_rewrite(&mut self, number: u64, outcome: Result<(), String>) {
        let Some(rewriting) = self.rewriting.take_if(|rewriting| rewriting.number == number) else {
            // Of a rewrite that nobody waits for any more.
            let _ = fs::remove_file(self.folder.temporary_base(number));
            return;
        };
        let temporary = rewriting.folder.temporary_base(number);
        let is_first = rewriting.rotation == Rotation::Unlisted;
        let is_wanted = self.hub.enter(|engine| engine.is_rewriting(number));
        let outcome = match outcome {
            Ok(()) if is_wanted => self.install(rewriting, &temporary).map_err(|error| reason(&error)),
            Ok(()) => Err("cancelled".to_owned()),
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // It may not have come into being.
            let _ = fs::remove_file(&temporary);
            if let Some(incr) = self.incr.take_if(|_| is_first) {
                log::notice(&format!(
                    "Removing the temp incr aof file {} in the background",
                    incr.path.display()
                ));
                let _ = fs::remove_file(&incr.path);
            }
        } else if self.must_rewrite {
            (self.must_rewrite, self.error) = (false, None);
            self.fsynced = self.written;
        }
        self.report_end(number, outcome);
    }

    /// Makes a base that is complete the one that counts, in steps of which each leaves a valid file.
    fn install(&mut self, rewriting: Rewriting, temporary: &std::path::Path) -> io::Result<()> {
        let Rewriting { rotation, form, folder, manifest, .. } = rewriting;
        let mut manifest = if rotation == Rotation::Listed { self.manifest.clone() } else { manifest };
        let base_bytes = fs::metadata(temporary)?.len();
        let base = folder.path(&manifest.replace_base(&folder.file, form));
        fs::rename(temporary, &base)?;
        let mut renamed = None;
        let installed = (|| {
            if let (Rotation::Unlisted, Some(incr)) = (rotation, &mut self.incr) {
                // What was written so far counts from the moment that it is listed.
                incr.sync()?;
                let path = folder.path(&manifest.add_incr(&folder.file));
                fs::rename(&incr.path, &path)?;
                renamed = Some(path);
            }
            manifest.retire_incrs(usize::from(rotation != Rotation::None));
            folder.sync()?;
            folder.write_manifest(&manifest)
        })();
        if let Err(error) = installed {
            let _ = fs::remove_file(&base);
            if let Some(path) = renamed {
                let _ = fs::remove_file(path);
            }
            return Err(error);
        }
        if let (Some(path), Some(incr)) = (renamed, &mut self.incr) {
            incr.path = path;
            self.fsynced = self.written;
        }
        if !self.policy.keeps_history {
            // What could not be removed is still listed, and removed the next time.
            folder.remove_history(&mut manifest)?;
        }
        self.other_bytes = if rotation == Rotation::None { 0 } else { base_bytes };
        if rotation != Rotation::None {
            self.manifest = manifest;
        }
        Ok(())
    }

    fn report_end(&mut self, number: u64, outcome: Result<(), String>) {
        let report = self.report();
        let end = RewriteEnd { number, outcome, current_bytes: report.current_bytes };
        self.hub.enter(|engine| {
            engine.aof_report(report);
            engine.rewrite_finished(end);
        });
    }

    /// The process ends: whatever there is goes to disk.
    fn finish(&mut self) {
        loop {
            if self.batch.is_none() {
                let report = self.report();
                let (taken, policy) = self.hub.enter(|engine| engine.aof_take(Some(report)));
                self.policy = policy;
                match taken {
                    Taken::Bytes { prefix, pieces, end } => {
                        let prefix = self.with_timestamp(prefix);
                        self.batch = Some(Batch { prefix, pieces, end, written: 0 });
                    }
                    Taken::Order(Order::Rewrite(_) | Order::RemoveHistory | Order::Flush(_)) => continue,
                    Taken::Order(close) => {
                        self.obey(close);
                        continue;
                    }
                    Taken::Nothing => break,
                }
            }
            self.write();
            if self.batch.is_some() {
                log::warning("What was written last is not in the AOF file");
                break;
            }
        }
        if let Some(rewriting) = self.rewriting.take() {
            let _ = fs::remove_file(rewriting.folder.temporary_base(rewriting.number));
        }
        if self.incr.is_some() {
            log::notice("Calling fsync() on the AOF file.");
            if self.sync().is_err() {
                log::warning("Fail to fsync the AOF file");
            } else {
                self.hub.aof.gate.open(Place { epoch: self.epoch, offset: self.written });
            }
        }
    }
}
