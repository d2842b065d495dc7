//! The append-only file as the engine sees it: one more reader of the replication log, and rewrites of it.
//!
//! The engine knows positions and decisions; a writer outside takes bytes and orders with `aof_take`, in their order, and
//! reports how far it has come. Contract:
//! - Bytes are handed out once, in order, from `taken` on; the log keeps what has not been handed out.
//! - An order (another file, an end) stands at a position of the log: the writer gets it when it has all bytes before.
//! - `epoch` counts the times that the file began anew at another position: who waits for a position of an old epoch
//!   waits for nothing.

mod rewrite;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::blocked::BlockedOn;
use super::client::ClientId;
use super::own_effects::OwnEffects;
use super::persistence::SaveProgress;
use super::{Engine, Job, LogLevel};
use crate::base::clock::UnixMillis;
use crate::config::AppendFsync;
use crate::persistence::aof::manifest::BaseForm;
use crate::persistence::snapshot::SnapshotOptions;
use crate::replication::log::{Pieces, ReplOffset};
use crate::resp::error::ErrorReply;
use crate::storage::Keyspace;

/// What the writer is handed at once at most.
const TAKE_BYTES_MAX: usize = 8 << 20;
/// A client that has written waits while more than this is still to be taken by the writer.
const AHEAD_BYTES_MAX: u64 = 32 << 20;
/// So long an fsync may take before those wait for it who write meanwhile.
const SYNC_PATIENCE_MS: i64 = 2000;

/// Whether effects go into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    #[default]
    Off,
    /// The first base is being written. What is written meanwhile goes into a file that only counts once it is there.
    Starting,
    On,
}

/// A place in the file that a client's replies wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    pub epoch: u64,
    pub offset: ReplOffset,
    /// Bytes before it that are not in the log: a replica's own effects.
    pub own: u64,
}

impl Place {
    /// Places of one epoch come one after the other in its order.
    pub fn reach(self) -> u64 {
        self.offset.0.saturating_add(self.own)
    }
}

/// What stands between a client and its replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub place: Place,
    pub until: Until,
}

/// What has to become of a place of the stream before a client is told anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// It is on disk; if it cannot be, the replies are not to be sent at all.
    Forced,
    /// It is written, so that the end of the process alone does not lose it.
    Written,
    /// It is written, because too much waits for that already.
    Room,
}

#[derive(Debug, Default)]
pub struct Aof {
    pub phase: Phase,
    pub epoch: u64,
    /// Up to here the log was handed out.
    taken: ReplOffset,
    /// Up to here the file is on disk.
    fsynced: Option<ReplOffset>,
    /// Each at a position of the log, and behind so many bytes of own effects.
    orders: VecDeque<(ReplOffset, u64, Order)>,
    /// What a replica's clients change, which is not in the log.
    pub own: OwnEffects,
    /// The file has yet to select the database of the next bytes.
    selects: Option<usize>,
    /// Parts of the log that are the link's own affair (pings, requests for acknowledgement), or
    /// which a script has for replicas alone: position and length.
    asides: VecDeque<(ReplOffset, usize)>,
    pub rewrite: Option<RunningRewrite>,
    pub is_rewrite_scheduled: bool,
    /// `appendonly` was switched on inside a transaction.
    pub is_start_scheduled: bool,
    pub last_rewrite_is_ok: bool,
    /// Whole seconds; -1 before the first.
    pub last_rewrite_seconds: i64,
    /// Bytes that writers have copied while it was under way.
    pub last_copied_bytes: u64,
    pub rewrites: u64,
    pub failures_in_a_row: u32,
    next_automatic_try: UnixMillis,
    /// Minutes that automatic rewrites wait at present.
    retry_minutes: u32,
    /// An fsync that nobody waits for is under way, since then.
    sync_since: Option<UnixMillis>,
    /// Times that an fsync took so long that who wrote had to wait for it.
    pub delayed_syncs: u64,
    /// Why the last write or fsync failed, until one has worked.
    pub write_error: Option<String>,
    /// What was handed to the disk may be lost: only a new base is sure to have it.
    pub must_rewrite: bool,
    /// All parts together, and as they were after the last rewrite.
    pub current_bytes: u64,
    pub base_bytes: u64,
    /// Bytes that the writer holds and has not written.
    pub buffered_bytes: u64,
    /// DEBUG AOF-FLUSH-SLEEP
    pub flush_delay: Duration,
    /// Clients in WAITAOF.
    waiters: Vec<ClientId>,
    last_number: u64,
    last_try: UnixMillis,
}

/// A rewrite under way.
#[derive(Debug)]
pub struct RunningRewrite {
    pub number: u64,
    pub started_at: UnixMillis,
    pub keys_total: u64,
    pub progress: Arc<SaveProgress>,
}

/// What the writer does when it has written everything before.
#[derive(Debug)]
pub enum Order {
    /// Go on in a file of its own, and have a new base written.
    Rewrite(Box<RewriteRequest>),
    /// Everything to disk, and no more after that: what comes next is another epoch's.
    Close { epoch: u64 },
    /// `aof-disable-auto-gc` was switched off: what was kept goes.
    RemoveHistory,
    /// Everything to disk, then `Engine::aof_flushed`.
    Flush(ClientId),
}

/// What becomes of the incremental file when a rewrite begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// There is none, and there will be none.
    None,
    /// The next one is listed at once: the old base with all of them is valid until the new base is there.
    Listed,
    /// One is opened that will be listed together with the base: what is there now belongs to another data set.
    Unlisted,
}

/// A base that is to be written.
#[derive(Debug)]
pub struct RewriteRequest {
    pub number: u64,
    pub snapshot: Keyspace,
    pub form: BaseForm,
    pub options: SnapshotOptions,
    pub rotation: Rotation,
    /// Where the stream stands, and which database is selected there.
    pub place: Place,
    pub db_index: usize,
    pub dir: String,
    /// `aof-timestamp-enabled`: what a base made of commands begins with, in Unix seconds.
    pub timestamp: Option<i64>,
    /// `rdb-key-save-delay`
    pub key_delay_micros: i64,
    pub progress: Arc<SaveProgress>,
}

/// How the writer has to write, as it is configured at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WritePolicy {
    pub fsync: AppendFsync,
    /// `no-appendfsync-on-rewrite`, while something is being saved.
    pub suspends_fsync: bool,
    pub has_timestamps: bool,
    pub keeps_history: bool,
    pub now: UnixMillis,
    pub delay: Duration,
}

/// What the writer does next.
#[derive(Debug)]
pub enum Taken {
    Nothing,
    /// `prefix` goes before the bytes, and is no part of the stream, which reaches to `end` with them.
    Bytes {
        prefix: Vec<u8>,
        pieces: Pieces,
        end: ReplOffset,
        /// Bytes of own effects up to there.
        own: u64,
    },
    Order(Order),
}

/// How far the writer is.
#[derive(Debug, Clone, Default)]
pub struct WriterReport {
    pub epoch: u64,
    pub fsynced: ReplOffset,
    pub current_bytes: u64,
    pub buffered_bytes: u64,
    pub error: Option<String>,
    /// An fsync has failed since the last base.
    pub must_rewrite: bool,
}

/// How a rewrite has ended.
#[derive(Debug)]
pub struct RewriteEnd {
    pub number: u64,
    pub outcome: Result<(), String>,
    /// All parts together, afterwards.
    pub current_bytes: u64,
}

impl Aof {
    pub fn new() -> Self {
        Self { last_rewrite_is_ok: true, last_rewrite_seconds: -1, ..Self::default() }
    }

    /// What the log has to keep from.
    pub fn reader(&self) -> Option<ReplOffset> {
        (self.phase != Phase::Off || !self.orders.is_empty()).then_some(self.taken)
    }

    pub fn is_enabled(&self) -> bool {
        self.phase != Phase::Off
    }

    /// Whether the writer has something to do besides bytes of the log.
    pub fn has_orders(&self) -> bool {
        !self.orders.is_empty() || (self.is_enabled() && !self.own.is_empty())
    }

    /// Whether an fsync is under way that nobody waits for.
    pub fn is_syncing(&self) -> bool {
        self.sync_since.is_some()
    }

    /// How far the file is on disk; none without one.
    pub fn fsynced(&self) -> Option<ReplOffset> {
        self.fsynced.filter(|_| self.phase == Phase::On)
    }

    /// Bytes of the log that nobody has taken for the file.
    pub fn untaken_bytes(&self, end: ReplOffset) -> u64 {
        if self.phase == Phase::Off { 0 } else { end.0.saturating_sub(self.taken.0) }
    }

    /// `len` bytes that begin at `at` of the log are not for the file.
    pub fn note_aside(&mut self, at: ReplOffset, len: usize) {
        if self.phase != Phase::Off {
            self.asides.push_back((at, len));
        }
    }
}

impl Engine {
    /// The file stands as it was loaded, or is new and empty like the data set: effects go into it from here on.
    pub fn aof_opened(&mut self, current_bytes: u64) -> Place {
        self.begin_aof_stream();
        let aof = &mut self.aof;
        aof.phase = Phase::On;
        aof.current_bytes = current_bytes;
        aof.base_bytes = current_bytes;
        self.refresh_propagation();
        self.aof_place()
    }

    /// The end of the stream, as a place in the file.
    pub fn aof_place(&self) -> Place {
        Place { epoch: self.aof.epoch, offset: self.role.stream().log.end_offset(), own: self.aof.own.added }
    }

    /// From here on the log is kept for the file, which begins with no database selected.
    fn begin_aof_stream(&mut self) {
        if self.role.is_master() {
            self.role.stream_mut().begin_backlog(&mut self.rng);
        }
        self.refresh_propagation();
        let end = self.role.stream().log.end_offset();
        let db_index = self.stream_db_index();
        let aof = &mut self.aof;
        aof.epoch += 1;
        aof.taken = end;
        aof.fsynced = Some(end);
        aof.asides.clear();
        aof.own.clear();
        aof.selects = Some(db_index);
        aof.write_error = None;
        aof.must_rewrite = false;
    }

    /// To be done when everything up to here is written.
    fn push_aof_order(&mut self, order: Order) {
        let end = self.role.stream().log.end_offset();
        if self.aof.reader().is_none() {
            // Nothing of what came before is for a file.
            self.aof.taken = end;
        }
        self.aof.orders.push_back((end, self.aof.own.added, order));
    }

    /// CONFIG SET appendonly yes inside a transaction: the clockwork starts it behind that.
    pub fn schedule_aof(&mut self) {
        self.aof.is_start_scheduled = self.aof.phase == Phase::Off;
        self.log(
            LogLevel::Notice,
            "AOF was enabled inside a transaction. An AOF background was scheduled to start behind it.",
        );
    }

    /// CONFIG SET appendonly yes: a base is written, and what happens meanwhile kept beside it.
    pub fn start_aof(&mut self) {
        self.aof.is_start_scheduled = false;
        if self.aof.phase != Phase::Off {
            return;
        }
        if self.aof.rewrite.is_some() {
            self.log(
                LogLevel::Warning,
                "AOF was enabled but there is already an AOF rewriting in background. Stopping background AOF and \
                 starting a rewrite now.",
            );
            self.cancel_rewrite();
        }
        self.begin_aof_stream();
        self.aof.phase = Phase::Starting;
        self.refresh_propagation();
        self.aof.fsynced = None;
        self.aof.failures_in_a_row = 0;
        self.start_rewrite();
    }

    /// CONFIG SET appendonly no: what was written so far is completed, and stays.
    pub fn stop_aof(&mut self) {
        self.aof.is_start_scheduled = false;
        if self.aof.phase == Phase::Off {
            return;
        }
        if self.aof.rewrite.is_some() {
            self.log(LogLevel::Notice, "Killing AOF child: the rewrite under way is given up");
        }
        self.cancel_rewrite();
        let epoch = self.aof.epoch + 1;
        self.push_aof_order(Order::Close { epoch });
        let aof = &mut self.aof;
        aof.epoch = epoch;
        aof.phase = Phase::Off;
        aof.fsynced = None;
        aof.is_rewrite_scheduled = false;
        aof.write_error = None;
        aof.must_rewrite = false;
        self.refresh_propagation();
        self.end_local_waits();
    }

    /// The data set is another one by now, and so is the stream: the file begins anew.
    pub fn restart_aof(&mut self) {
        if self.aof.phase == Phase::Off {
            return;
        }
        self.cancel_rewrite();
        // What was not taken belonged to the data that is gone.
        self.aof.epoch += 1;
        self.aof.orders.push_back((ReplOffset::default(), 0, Order::Close { epoch: self.aof.epoch }));
        for (at, own, _) in &mut self.aof.orders {
            (*at, *own) = (ReplOffset::default(), 0);
        }
        self.aof.phase = Phase::Off;
        self.start_aof();
    }

    /// What the writer has to do next, after it has said how far it is.
    pub fn aof_take(&mut self, report: WriterReport) -> (Taken, WritePolicy) {
        self.aof_report(report);
        let policy = self.aof_write_policy();
        let limit = self.aof.orders.front().map(|&(at, own, _)| (at, own));
        if limit.is_some_and(|(at, own)| at <= self.aof.taken && own <= self.aof.own.taken) {
            let order = self.aof.orders.pop_front().map(|(.., order)| order);
            if let Some(Order::Rewrite(request)) = &order
                && request.rotation != Rotation::None
            {
                // A file says by itself which database it begins in.
                self.aof.selects = Some(request.db_index);
            }
            return (order.map_or(Taken::Nothing, Taken::Order), policy);
        }
        if self.aof.phase == Phase::Off && limit.is_none() {
            return (Taken::Nothing, policy);
        }
        let from = self.aof.taken;
        let pieces = self.aof.own.take(from, limit.map_or(u64::MAX, |(_, own)| own));
        if !pieces.is_empty() {
            let prefix = self.prefix_of(&pieces);
            return (Taken::Bytes { prefix, pieces, end: from, own: self.aof.own.taken }, policy);
        }
        let mut bytes_max = TAKE_BYTES_MAX;
        for at in limit.map(|(at, _)| at).into_iter().chain(self.aof.own.next_place()) {
            bytes_max = bytes_max.min(at.0.saturating_sub(from.0) as usize);
        }
        let log = &mut self.role.stream_mut().log;
        // The log keeps what was not taken, so it has this.
        let pieces = log.read_from(from, bytes_max).unwrap_or_default();
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        if bytes == 0 {
            return (Taken::Nothing, policy);
        }
        let end = from.advanced(bytes);
        self.aof.taken = end;
        self.trim_backlog();
        let pieces = self.without_asides(from, pieces);
        let prefix = self.prefix_of(&pieces);
        (Taken::Bytes { prefix, pieces, end, own: self.aof.own.taken }, policy)
    }

    /// What goes before these bytes: a file that they begin has to say which database it begins in.
    fn prefix_of(&mut self, pieces: &Pieces) -> Vec<u8> {
        let mut prefix = Vec::new();
        if !pieces.is_empty()
            && let Some(db_index) = self.aof.selects.take()
            && !begins_with_select(pieces)
        {
            let mut digits = itoa::Buffer::new();
            crate::resp::reply::write_request(&mut prefix, ["SELECT", digits.format(db_index)].iter());
        }
        prefix
    }

    /// Leaves out what is no effect.
    fn without_asides(&mut self, from: ReplOffset, pieces: Pieces) -> Pieces {
        if self.aof.asides.is_empty() {
            return pieces;
        }
        let mut kept = Pieces::new();
        let mut at = from;
        for mut piece in pieces {
            while !piece.is_empty() {
                let Some(&(aside, len)) = self.aof.asides.front() else { break };
                let aside_end = aside.advanced(len);
                if aside_end <= at {
                    self.aof.asides.pop_front();
                    continue;
                }
                if aside > at {
                    let room = (aside.0 - at.0) as usize;
                    if room >= piece.len() {
                        break;
                    }
                    at = aside;
                    kept.push(piece.split_to(room));
                    continue;
                }
                let dropped = piece.len().min((aside_end.0 - at.0) as usize);
                at = at.advanced(dropped);
                drop(piece.split_to(dropped));
            }
            at = at.advanced(piece.len());
            if !piece.is_empty() {
                kept.push(piece);
            }
        }
        kept
    }

    pub fn aof_write_policy(&self) -> WritePolicy {
        let config = &self.config;
        let is_saving = self.aof.rewrite.is_some() || self.persistence.save.is_some();
        WritePolicy {
            fsync: config.appendfsync,
            suspends_fsync: config.no_appendfsync_on_rewrite && is_saving,
            has_timestamps: config.aof_timestamp_enabled,
            keeps_history: config.aof_disable_auto_gc,
            now: self.now(),
            delay: self.aof.flush_delay,
        }
    }

    /// The writer says how far it is.
    pub fn aof_report(&mut self, report: WriterReport) {
        if report.epoch != self.aof.epoch {
            return;
        }
        let aof = &mut self.aof;
        aof.fsynced = aof.fsynced.map(|fsynced| fsynced.max(report.fsynced)).or(Some(report.fsynced));
        aof.current_bytes = report.current_bytes;
        aof.buffered_bytes = report.buffered_bytes;
        aof.must_rewrite |= report.must_rewrite;
        let is_healed = aof.write_error.is_some() && report.error.is_none();
        aof.write_error = report.error;
        if is_healed {
            self.log(LogLevel::Warning, "AOF write error looks solved. The server can write again.");
        }
        self.serve_aof_waiters();
    }

    /// What a client that is told something at this moment has to wait for first.
    #[inline]
    pub fn aof_wait(&self) -> Option<Wait> {
        let aof = &self.aof;
        if aof.phase == Phase::Off || aof.write_error.is_some() {
            return None;
        }
        let has_too_much_ahead = aof.untaken_bytes(self.role.stream().log.end_offset()) > AHEAD_BYTES_MAX;
        let until = match self.config.appendfsync {
            // What is written beside a first base counts when that is there, however soon.
            _ if aof.phase == Phase::Starting && !has_too_much_ahead => return None,
            AppendFsync::Always if aof.phase == Phase::On => Until::Forced,
            _ if has_too_much_ahead => Until::Room,
            // While the disk is busy with an fsync, nothing is written, and nobody waits for that unless it takes long.
            _ if aof.sync_since.is_some_and(|since| self.now().0 - since.0 < SYNC_PATIENCE_MS) => {
                return None;
            }
            _ => Until::Written,
        };
        Some(Wait { place: self.aof_place(), until })
    }

    /// An fsync begins that nobody waits for; the place that the stream has reached.
    pub fn aof_sync_begins(&mut self) -> Place {
        self.aof.sync_since = Some(self.now());
        self.aof_place()
    }

    /// It has ended, well or not.
    pub fn aof_sync_ends(&mut self) {
        let end = self.role.stream().log.end_offset();
        let took_ms = self.aof.sync_since.take().map_or(0, |since| self.now().0 - since.0);
        self.aof.delayed_syncs += u64::from(took_ms >= SYNC_PATIENCE_MS && self.aof.untaken_bytes(end) > 0);
    }

    /// What rewrites have replaced is removed.
    pub fn remove_aof_history(&mut self) {
        if self.aof.is_enabled() {
            self.push_aof_order(Order::RemoveHistory);
        }
    }

    /// DEBUG LOADAOF: what was written so far goes to disk, then all of it is loaded.
    pub fn reload_aof(&mut self, client: ClientId) {
        self.push_aof_order(Order::Flush(client));
    }

    /// Everything is on disk for DEBUG LOADAOF, unless somebody has written more meanwhile.
    pub fn aof_flushed(&mut self, client: ClientId) {
        let end = self.role.stream().log.end_offset();
        if self.aof.is_enabled() && end > self.aof.taken {
            return self.reload_aof(client);
        }
        self.start_loading(0);
        self.jobs.push(Job::LoadAof(client));
    }

    pub fn is_rewriting(&self, number: u64) -> bool {
        self.aof.rewrite.as_ref().is_some_and(|rewrite| rewrite.number == number)
    }

    /// For a writer that cannot write: whether there is to be no file any more, or another one. What was taken for it is
    /// lost then.
    pub fn aof_take_close(&mut self, report: WriterReport) -> Option<Order> {
        self.aof_report(report);
        let at = self.aof.orders.iter().position(|(.., order)| matches!(order, Order::Close { .. }))?;
        // Rewrites before it were cancelled with the file.
        self.aof.orders.remove(at).map(|(.., order)| order)
    }

    /// WAITAOF: 1 if `offset` is on disk here, and how many replicas have it on disk.
    pub fn aof_acknowledged(&self, offset: u64) -> (u64, usize) {
        let local = self.aof.fsynced().is_some_and(|fsynced| fsynced.0 >= offset);
        (u64::from(local), self.role.stream().replicas.count_fsynced(ReplOffset(offset)))
    }

    pub fn park_for_aof(&mut self, id: ClientId) {
        self.aof.waiters.push(id);
    }

    /// Those in WAITAOF go on whose writes are on enough disks.
    pub fn serve_aof_waiters(&mut self) {
        if self.aof.waiters.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.aof.waiters) {
            let client = self.clients.get(id).and_then(|client| client.blocked.as_deref());
            let Some(BlockedOn::Disks { offset, local, replicas }) = client.map(|state| &state.on) else {
                continue;
            };
            let found = self.aof_acknowledged(*offset);
            if found.0 < *local || found.1 < *replicas {
                self.aof.waiters.push(id);
                continue;
            }
            self.blocked.unblock(&mut self.clients, id);
            self.reply_disks(id, found);
        }
    }

    pub fn reply_disks(&mut self, id: ClientId, (local, replicas): (u64, usize)) {
        if let Some(client) = self.clients.get_mut(id) {
            let mut reply = client.reply();
            reply.array(2);
            reply.integer(local as i64);
            reply.integer(replicas as i64);
        }
    }

    /// There is no file any more: whoever waits for it reads so.
    fn end_local_waits(&mut self) {
        for id in std::mem::take(&mut self.aof.waiters) {
            let state = self.clients.get(id).and_then(|client| client.blocked.as_deref());
            let Some(BlockedOn::Disks { local, .. }) = state.map(|state| &state.on) else { continue };
            if *local == 0 {
                self.aof.waiters.push(id);
                continue;
            }
            self.blocked.unblock(&mut self.clients, id);
            self.stats.count_error(ErrorReply::WAITAOF_WITHOUT_AOF.code());
            if let Some(client) = self.clients.get_mut(id) {
                client.reply().error(&ErrorReply::WAITAOF_WITHOUT_AOF);
            }
        }
    }
}

fn begins_with_select(pieces: &Pieces) -> bool {
    const SELECT: &[u8] = b"*2\r\n$6\r\nSELECT\r\n";
    let first = pieces.iter().flat_map(|piece| piece.iter());
    first.take(SELECT.len()).map(u8::to_ascii_uppercase).eq(SELECT.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::config::Config;

    fn engine() -> Engine {
        let mut engine = Engine::new(Config::default(), Box::new(ManualClock::new(UnixMillis(1_000_000))), 1);
        engine.aof_opened(0);
        engine
    }

    fn write(engine: &mut Engine, db_index: usize, key: &str) {
        engine.effects.propagate(db_index, ["SET", key, "x"]);
        engine.append_effects();
    }

    /// What the writer is handed next, as text or as the name of an order.
    fn take(engine: &mut Engine) -> String {
        match engine.aof_take(WriterReport::default()).0 {
            Taken::Nothing => String::new(),
            Taken::Bytes { prefix, pieces, .. } => {
                let text = [prefix, pieces.concat()].concat();
                let text = String::from_utf8(text).unwrap();
                text.split("\r\n").filter(|line| !line.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
            }
            Taken::Order(Order::Rewrite(_)) => "rewrite".to_owned(),
            Taken::Order(Order::Close { .. }) => "close".to_owned(),
            Taken::Order(Order::Flush(_)) => "flush".to_owned(),
            Taken::Order(Order::RemoveHistory) => "remove".to_owned(),
        }
    }

    #[test]
    fn orders_come_behind_what_was_written_before_them_and_a_new_file_selects_its_database() {
        let mut engine = engine();
        write(&mut engine, 0, "a");
        write(&mut engine, 3, "b");
        assert!(engine.start_rewrite() && !engine.start_rewrite());
        write(&mut engine, 3, "c");
        engine.stop_aof();
        write(&mut engine, 3, "d");
        // The rewrite was given up with the file.
        assert_eq!(take(&mut engine), "SELECT 0 SET a x SELECT 3 SET b x SET c x ");
        assert_eq!(take(&mut engine), "close");
        assert_eq!(take(&mut engine), "");
        engine.start_aof();
        assert_eq!(take(&mut engine), "rewrite");
        write(&mut engine, 3, "e");
        engine.start_rewrite();
        assert_eq!(take(&mut engine), "SELECT 3 SET e x ");
    }

    #[test]
    fn what_concerns_the_link_alone_is_left_out() {
        let mut engine = engine();
        engine.request_acks();
        write(&mut engine, 0, "a");
        engine.request_acks();
        engine.request_acks();
        write(&mut engine, 0, "b");
        assert_eq!(take(&mut engine), "SELECT 0 SET a x SET b x ");
        engine.request_acks();
        assert_eq!(take(&mut engine), "");
        assert_eq!(engine.aof.untaken_bytes(engine.role.stream().log.end_offset()), 0);
    }

    #[test]
    fn a_rewrite_without_a_file_is_not_held_up_by_what_replicas_read() {
        let mut engine = engine();
        engine.stop_aof();
        assert_eq!(take(&mut engine), "close");
        write(&mut engine, 0, "a");
        engine.start_rewrite();
        assert_eq!(take(&mut engine), "rewrite");
    }

    #[test]
    fn another_data_set_begins_another_epoch() {
        let mut engine = engine();
        write(&mut engine, 0, "a");
        let old = engine.aof.epoch;
        engine.restart_aof();
        assert_eq!((take(&mut engine), take(&mut engine)), ("close".to_owned(), "rewrite".to_owned()));
        assert!(engine.aof.epoch > old && engine.aof.phase == Phase::Starting);
        let number = engine.aof.rewrite.as_ref().unwrap().number;
        let late = WriterReport { epoch: old, fsynced: ReplOffset(1 << 40), ..WriterReport::default() };
        engine.aof_report(late);
        engine.rewrite_finished(RewriteEnd { number, outcome: Ok(()), current_bytes: 10 });
        assert_eq!(engine.aof.phase, Phase::On);
        assert!(engine.aof.fsynced().is_none_or(|fsynced| fsynced.0 < 1 << 40));
    }

    #[test]
    fn rewrites_that_fail_are_tried_less_and_less_often() {
        let mut engine = engine();
        for failure in 1..=4 {
            assert!(engine.start_rewrite());
            let number = engine.aof.rewrite.as_ref().unwrap().number;
            let end = RewriteEnd { number, outcome: Err("no".to_owned()), current_bytes: 0 };
            engine.rewrite_finished(end);
            engine.aof.is_rewrite_scheduled = true;
            let now = engine.now();
            assert_eq!(engine.aof.is_rewrite_limited(now), failure >= 3);
        }
        engine.rewrite_if_due();
        assert!(engine.aof.rewrite.is_none());
        assert_eq!(engine.aof.retry_minutes, 2);
    }
}
