//! Snapshots: when one is taken, what is known of the last one, and what a server may do meanwhile.
//!
//! The engine freezes its data set (a clone) and hands it out as `Job::Save`; whoever writes it reports to
//! `save_finished` under the save's number. At most one save runs at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::blocked::{BlockedOn, BlockedState, TimeoutReply};
use super::client::{ClientId, ClientKind};
use super::gates::Demands;
use super::{Engine, Job, LogLevel};
use crate::base::clock::UnixMillis;
use crate::config::{MaxmemoryPolicy, REDIS_VERSION};
use crate::persistence::rdb::WriterOptions;
use crate::persistence::snapshot::{Duplicates, LoadOptions, Loaded, SnapshotOptions};
use crate::replication::log::ReplOffset;
use crate::replication::replid::ReplId;
use crate::resp::error::ErrorReply;
use crate::storage::live::AccessPolicy;
use crate::storage::{CopyMeter, Db, Keyspace};

/// A save that failed is not tried again by itself before this has passed.
const RETRY_MS: i64 = 5_000;

#[derive(Debug)]
pub struct Persistence {
    /// Changes since the last save.
    pub dirty: u64,
    pub last_save: UnixMillis,
    pub last_save_is_ok: bool,
    /// Whole seconds; -1 before the first.
    pub last_save_seconds: i64,
    pub saves: u64,
    pub save: Option<RunningSave>,
    /// BGSAVE SCHEDULE: to be started when nothing else is under way.
    pub is_save_scheduled: bool,
    /// Bytes that writers have copied while the last snapshot was written.
    pub last_copied_bytes: u64,
    pub loading: Option<Loading>,
    /// Of the last load.
    pub keys_loaded: u64,
    pub keys_expired: u64,
    last_try: UnixMillis,
    last_number: u64,
}

/// Who asked for a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveKind {
    /// SAVE and SHUTDOWN: somebody waits for it.
    Foreground,
    /// FLUSHALL: somebody waits for it, and is answered whatever comes of it.
    Flush,
    /// BGSAVE and save points.
    Background,
}

/// A save under way.
#[derive(Debug)]
pub struct RunningSave {
    pub number: u64,
    pub kind: SaveKind,
    pub started_at: UnixMillis,
    pub keys_total: u64,
    pub progress: Arc<SaveProgress>,
    /// Who reads its outcome.
    pub waiters: Vec<ClientId>,
    dirty_before: u64,
}

/// What the writing thread and the engine tell each other.
#[derive(Debug)]
pub struct SaveProgress {
    keys: AtomicU64,
    is_cancelled: AtomicBool,
    copies: CopyMeter,
}

impl SaveProgress {
    /// That of a data set which is frozen at this moment.
    pub fn begin() -> Arc<Self> {
        Arc::new(Self {
            keys: AtomicU64::new(0),
            is_cancelled: AtomicBool::new(false),
            copies: CopyMeter::begin(),
        })
    }

    /// Bytes that writers have copied so far because of it.
    pub fn copied_bytes(&self) -> u64 {
        self.copies.bytes()
    }

    /// How many keys are written.
    pub fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    pub fn note_keys(&self, keys: u64) {
        self.keys.store(keys, Ordering::Relaxed);
    }

    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

/// What is to be written, and where.
#[derive(Debug)]
pub struct SaveRequest {
    pub number: u64,
    pub kind: SaveKind,
    pub snapshot: Keyspace,
    pub options: SnapshotOptions,
    pub dir: String,
    pub filename: String,
    /// For tests: microseconds to sleep after each key; negative: that many keys for one microsecond.
    pub key_delay_micros: i64,
    pub progress: Arc<SaveProgress>,
}

/// A file is being loaded: most commands are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loading {
    pub started_at: UnixMillis,
    pub total_bytes: u64,
    pub loaded_bytes: u64,
    /// What the server had allocated that wrote the file, as far as that is known.
    pub rdb_used_memory: u64,
}

impl Persistence {
    pub fn new(now: UnixMillis) -> Self {
        Self {
            dirty: 0,
            last_save: now,
            last_save_is_ok: true,
            last_save_seconds: -1,
            saves: 0,
            save: None,
            is_save_scheduled: false,
            last_copied_bytes: 0,
            loading: None,
            keys_loaded: 0,
            keys_expired: 0,
            last_try: UnixMillis(0),
            last_number: 0,
        }
    }

    /// Whether a BGSAVE is under way.
    pub fn is_saving_in_background(&self) -> bool {
        self.save.as_ref().is_some_and(|save| save.kind == SaveKind::Background)
    }

    /// Tells the running save, if there is one, to give up. It still reports.
    pub fn cancel_save(&mut self) {
        if let Some(save) = &self.save {
            save.progress.cancel();
        }
    }
}

impl Engine {
    /// Freezes the data set and has it written. Whether it could start: not while another save runs.
    pub fn start_save(&mut self, kind: SaveKind, waiter: Option<ClientId>) -> bool {
        if self.persistence.save.is_some() {
            return false;
        }
        let now = self.now();
        let options = self.snapshot_options();
        let persistence = &mut self.persistence;
        persistence.last_try = now;
        persistence.last_number += 1;
        persistence.is_save_scheduled = false;
        let progress = SaveProgress::begin();
        let request = SaveRequest {
            number: persistence.last_number,
            kind,
            snapshot: self.keyspace.clone(),
            options,
            dir: self.config.dir.clone(),
            filename: self.config.dbfilename.clone(),
            key_delay_micros: i64::from(self.config.rdb_key_save_delay),
            progress: progress.clone(),
        };
        persistence.save = Some(RunningSave {
            number: request.number,
            kind,
            started_at: now,
            keys_total: self.keyspace.keys_len() as u64,
            progress,
            waiters: waiter.into_iter().collect(),
            dirty_before: persistence.dirty,
        });
        self.jobs.push(Job::Save(Box::new(request)));
        if kind == SaveKind::Background {
            self.log(LogLevel::Notice, format!("Background saving started by pid {}", self.process.id));
        }
        true
    }

    /// The save of that number has ended. Answers those who wait for it.
    pub fn save_finished(&mut self, number: u64, outcome: Result<(), String>) {
        let Some(save) = self.persistence.save.take_if(|save| save.number == number) else { return };
        let now = self.now();
        let is_cancelled = save.progress.is_cancelled();
        let persistence = &mut self.persistence;
        if save.kind == SaveKind::Background {
            persistence.last_save_seconds = (now.0 - save.started_at.0) / 1000;
            persistence.last_copied_bytes = save.progress.copied_bytes();
        }
        match &outcome {
            Ok(()) => {
                persistence.dirty = persistence.dirty.saturating_sub(save.dirty_before);
                persistence.last_save = now;
                persistence.last_save_is_ok = true;
                persistence.saves += 1;
                self.log(LogLevel::Notice, "DB saved on disk");
                if save.kind == SaveKind::Background {
                    self.log(LogLevel::Notice, "Background saving terminated with success");
                }
            }
            Err(_) if is_cancelled => {
                self.log(LogLevel::Warning, "Background saving terminated by signal 10");
            }
            Err(reason) => {
                let text = match save.kind {
                    SaveKind::Background => {
                        persistence.last_save_is_ok = false;
                        format!("Background saving error: {reason}")
                    }
                    SaveKind::Foreground | SaveKind::Flush => format!("Error saving DB on disk: {reason}"),
                };
                self.log(LogLevel::Warning, text);
            }
        }
        for id in save.waiters {
            let reply = if outcome.is_ok() || save.kind == SaveKind::Flush {
                Ok(())
            } else {
                Err(ErrorReply::fixed("ERR"))
            };
            self.finish_job(id, reply);
        }
        self.end_disk_sync(number);
        self.start_full_syncs();
        self.shutdown_after_save(outcome.is_ok());
    }

    /// Parks a client until `finish_job`: what it asked for is done outside.
    pub fn wait_for_job(&mut self, id: ClientId) {
        let state = BlockedState { on: BlockedOn::Job, deadline: None, on_timeout: TimeoutReply::Nothing };
        self.blocked.block(&mut self.clients, id, state);
    }

    /// Answers a client that waits for a job, and lets it go on.
    pub fn finish_job(&mut self, id: ClientId, outcome: Result<(), ErrorReply>) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if !client.blocked.as_deref().is_some_and(|state| matches!(state.on, BlockedOn::Job)) {
            return;
        }
        match outcome {
            Ok(()) => client.reply().ok(),
            Err(error) => {
                client.reply().error(&error);
                self.stats.count_error(error.code());
            }
        }
        self.blocked.unblock(&mut self.clients, id);
    }

    /// Starts a background save when a save point says so, or one was scheduled. Called by the clockwork.
    pub fn save_if_due(&mut self) {
        let (now, persistence) = (self.now(), &self.persistence);
        if persistence.save.is_some() || persistence.loading.is_some() || self.shutdown.is_some() {
            return;
        }
        let may_try = persistence.last_save_is_ok || now.0 - persistence.last_try.0 > RETRY_MS;
        if !may_try {
            return;
        }
        let since_ms = now.0 - persistence.last_save.0;
        let dirty = persistence.dirty;
        let due = self
            .config
            .save
            .iter()
            .find(|point| dirty >= point.changes && since_ms / 1000 > point.seconds as i64);
        if let Some(point) = due {
            let text = format!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
            self.log(LogLevel::Notice, text);
            self.start_save(SaveKind::Background, None);
        } else if persistence.is_save_scheduled {
            self.start_save(SaveKind::Background, None);
        }
    }

    /// All data was flushed: what a running save writes is gone, and what is gone must be gone on disk too. Whether `id`
    /// waits for that; in the midst of a unit, and while another save comes to its end, it is done behind it.
    pub fn save_after_flush(&mut self, id: ClientId) -> bool {
        if self.persistence.is_saving_in_background() {
            self.persistence.cancel_save();
        }
        if self.config.save.is_empty() {
            return false;
        }
        let may_wait = self.nesting == 0
            && self.persistence.loading.is_none()
            && self.clients.get(id).is_some_and(|client| client.kind == ClientKind::Normal);
        // What was removed is counted before the save, which makes up for it.
        let dirty = std::mem::take(&mut self.effects.dirty);
        self.count_changes(dirty);
        if may_wait && self.start_save(SaveKind::Flush, Some(id)) {
            self.wait_for_job(id);
            return true;
        }
        self.persistence.is_save_scheduled = true;
        false
    }

    /// What a file says besides the data, and how it is laid out.
    pub fn snapshot_options(&self) -> SnapshotOptions {
        let stream = self.role.stream();
        let aux = |key: &'static str, value: String| (key, value);
        let mut facts = vec![
            aux("redis-ver", REDIS_VERSION.to_owned()),
            aux("redis-bits", usize::BITS.to_string()),
            aux("ctime", (self.now().0 / 1000).to_string()),
            aux("used-mem", self.stats.memory.allocated.to_string()),
        ];
        if stream.log.is_active() {
            facts.push(aux("repl-stream-db", self.stream_db_index().to_string()));
            facts.push(aux("repl-id", stream.ids.replid().to_string()));
            facts.push(aux("repl-offset", stream.log.end_offset().to_string()));
        }
        facts.push(aux("aof-base", "0".to_owned()));
        let usage = match self.config.maxmemory_policy {
            MaxmemoryPolicy::AllkeysLru
            | MaxmemoryPolicy::VolatileLru
            | MaxmemoryPolicy::AllkeysLfu
            | MaxmemoryPolicy::VolatileLfu => Some(self.access_policy()),
            _ => None,
        };
        let writer = WriterOptions {
            checksum: self.config.rdbchecksum,
            compress: self.config.rdbcompression,
            ..WriterOptions::default()
        };
        SnapshotOptions { writer, aux: facts, usage }
    }

    /// How a file is to be taken in by this server.
    pub fn load_options(&self, duplicates: Duplicates) -> LoadOptions {
        LoadOptions {
            limits: self.limits.clone(),
            now: self.now(),
            access: match self.access_policy() {
                AccessPolicy::Leave => AccessPolicy::Lru { seconds: 0 },
                policy => policy,
            },
            drops_expired: self.role.is_master(),
            duplicates,
        }
    }

    /// A data set without a key that hashes as the present one does.
    pub fn empty_keyspace(&self) -> Keyspace {
        self.keyspace.emptied()
    }

    /// A file begins to be loaded: commands that need data are refused until `loaded`.
    pub fn start_loading(&mut self, total_bytes: u64) {
        self.persistence.loading =
            Some(Loading { started_at: self.now(), total_bytes, loaded_bytes: 0, rdb_used_memory: 0 });
    }

    /// The data set that was loaded takes the place of the present one.
    pub fn finish_loading(&mut self, loaded: Loaded) {
        let persistence = &mut self.persistence;
        persistence.loading = None;
        self.note_loaded(loaded.keys, loaded.expired);
        self.stats.expired_keys += loaded.expired;
        self.replace_keyspace(loaded.keyspace);
        self.persistence.dirty = 0;
    }

    /// What an RDB file had: keys that were taken in, and such as were left out because their time had passed.
    pub fn note_loaded(&mut self, keys: u64, expired: u64) {
        (self.persistence.keys_loaded, self.persistence.keys_expired) = (keys, expired);
    }

    /// Puts another data set into the place of the present one, whose memory is freed elsewhere.
    pub fn replace_keyspace(&mut self, keyspace: Keyspace) {
        let bytes = self.share_of_memory(self.keyspace.keys_len());
        let old = std::mem::replace(&mut self.keyspace, keyspace);
        if !self.watched.is_empty() {
            let now = self.now().0;
            for (index, db) in old.dbs().enumerate() {
                let new = self.keyspace.db(index);
                let before = |key: &[u8]| db.presence(key, now);
                self.watched.touch_db(&mut self.clients, index, before, |key| new.presence(key, now));
            }
        }
        self.free_databases(old.into_dbs(), bytes);
    }

    /// Has databases freed elsewhere that are no longer in the data set. `bytes` is an estimate of what they take.
    pub fn free_databases(&mut self, dbs: Vec<Db>, bytes: u64) {
        self.lazyfree.hand_out(dbs.iter().map(|db| db.len() as u64).sum(), bytes);
        self.jobs.push(Job::FreeDatabases { dbs, bytes });
    }

    /// What a file says of the history that it was saved from: id and offset.
    pub fn saved_history(aux: &[(Vec<u8>, Vec<u8>)]) -> Option<(ReplId, ReplOffset)> {
        let find = |name: &[u8]| aux.iter().find(|(key, _)| key == name).map(|(_, value)| &value[..]);
        let replid = ReplId::parse(find(b"repl-id")?)?;
        let offset = crate::base::number::parse_i64(find(b"repl-offset")?)?;
        Some((replid, ReplOffset(u64::try_from(offset).ok()?)))
    }

    /// The database that the stream has selected where a snapshot was taken.
    pub fn saved_stream_db_index(&self, aux: &[(Vec<u8>, Vec<u8>)]) -> usize {
        let value = aux.iter().find(|(key, _)| key == b"repl-stream-db").map(|(_, value)| &value[..]);
        let index = value.and_then(crate::base::number::parse_i64).and_then(|n| usize::try_from(n).ok());
        index.filter(|&index| index < self.keyspace.len()).unwrap_or(0)
    }

    /// MISCONF: after a failed save nothing more may be lost.
    pub(super) fn disk_refusal(&self, demands: Demands) -> Option<ErrorReply> {
        if !demands.is_write && !demands.asks_for_health {
            return None;
        }
        self.disk_error()
    }

    /// Why what is written now might not be kept on disk, if so.
    pub fn disk_error(&self) -> Option<ErrorReply> {
        if self.has_failed_to_save() {
            return Some(ErrorReply::MISCONF);
        }
        let reason = self.aof.write_error.as_deref()?;
        Some(ErrorReply::new(format!("MISCONF Errors writing to the AOF file: {reason}")))
    }

    /// Whether snapshots are wanted, and the last one failed.
    pub fn has_failed_to_save(&self) -> bool {
        !self.persistence.last_save_is_ok
            && self.config.stop_writes_on_bgsave_error
            && !self.config.save.is_empty()
    }

    /// LOADING: the data set is not there yet.
    pub(super) fn loading_refusal(&self, demands: Demands) -> Option<ErrorReply> {
        (self.persistence.loading.is_some() && !demands.allowed_while_loading).then_some(ErrorReply::LOADING)
    }
}
