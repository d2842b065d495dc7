//! Full resyncs: replicas gather, then one frozen data set goes to all of them.
//!
//! A replica that needs everything is `Queued`. With `repl-diskless-sync` the others have `repl-diskless-sync-delay` seconds
//! to join the first one; then the data set is frozen once, encoded once, and sent to all who wait. Without it a BGSAVE
//! writes the file, which is sent to all who came before it was written; the frozen data set goes with the BGSAVE then,
//! however slow the replicas are.

use super::persistence::SaveKind;
use super::{ClientId, Engine, Job, LogLevel};
use crate::base::clock::UnixMillis;
use crate::persistence::snapshot::SnapshotOptions;
use crate::replication::feed::{Framing, ReplicaFeed};
use crate::replication::log::ReplOffset;
use crate::replication::replica_manager::{AttachedReplica, ReplicaId, SnapshotFilter};
use crate::replication::replid::ReplId;
use crate::storage::{CopyMeter, Keyspace};

/// A frozen data set on its way to replicas, and the place in the stream at which it was frozen.
#[derive(Debug)]
pub struct FullSync {
    pub number: u64,
    pub replicas: Vec<ClientId>,
    pub keyspace: Keyspace,
    /// They tell this place in the stream too.
    pub options: SnapshotOptions,
    /// The replicas find the end by a delimiter, so that the size need not be known.
    pub is_eof_framed: bool,
    /// `rdb-key-save-delay`
    pub key_delay_micros: i64,
    /// What writers have copied since it was frozen.
    pub copies: CopyMeter,
}

/// A BGSAVE whose file is for replicas.
#[derive(Debug)]
pub struct DiskSync {
    save_number: u64,
    replid: ReplId,
    offset: ReplOffset,
    replicas: Vec<ClientId>,
}

/// How long replicas that come while a snapshot goes to others wait for its end, so that those who come together share the
/// next one.
const SHARING_WAIT_MS: i64 = 1000;

/// The snapshot that was last frozen for replicas, while it is encoded.
#[derive(Debug)]
pub struct RunningSync {
    number: u64,
    since: UnixMillis,
    copies: CopyMeter,
}

impl RunningSync {
    /// Bytes that writers have copied so far because of it.
    pub fn copied_bytes(&self) -> u64 {
        self.copies.bytes()
    }
}

/// Those who can be served by the same payload.
struct Waiting {
    replicas: Vec<ReplicaId>,
    filter: SnapshotFilter,
    all_know_eof: bool,
    since: UnixMillis,
}

impl Engine {
    /// Begins a full resync for a client that has said PSYNC (`is_named`) or SYNC.
    pub fn begin_full_sync(&mut self, id: ClientId, is_named: bool) {
        if self.role.is_master() {
            self.role.stream_mut().begin_backlog(&mut self.rng);
            self.refresh_propagation();
        }
        let now = self.now();
        let stream = self.role.stream_mut();
        stream.replicas.attach(ReplicaId(id.0), ReplicaFeed::full_resync(now, is_named), now);
        self.stats.sync_full += 1;
        self.become_replica(id);
        if self.join_disk_sync(id) {
            return;
        }
        self.start_full_syncs();
        let is_queued = self.waiting_groups().iter().any(|group| group.replicas.contains(&ReplicaId(id.0)));
        if is_queued && self.running_sync.is_some() {
            self.log(LogLevel::Notice, "Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC");
        } else if is_queued && self.config.repl_diskless_sync {
            self.log(LogLevel::Notice, "Delay next BGSAVE for diskless SYNC");
        } else if is_queued {
            self.log(LogLevel::Notice, "Another save is active. BGSAVE for replication delayed");
        }
    }

    /// Freezes the data set for those who have waited long enough. Called when one comes, when a save has ended, and by the
    /// clockwork.
    pub fn start_full_syncs(&mut self) {
        for group in self.waiting_groups() {
            if !self.is_due(&group) {
                continue;
            }
            if self.config.repl_diskless_sync || group.filter != SnapshotFilter::Everything {
                self.start_diskless_sync(group);
            } else if self.persistence.save.is_none() {
                self.start_disk_sync(group);
            }
        }
    }

    fn waiting_groups(&self) -> Vec<Waiting> {
        let mut groups: Vec<Waiting> = Vec::new();
        for replica in self.role.stream().replicas.iter() {
            let Some(since) = replica.feed().and_then(ReplicaFeed::queued_since) else { continue };
            let filter = replica.capabilities.filter;
            let knows_eof = knows_eof(replica);
            match groups.iter_mut().find(|group| group.filter == filter) {
                Some(group) => {
                    group.replicas.push(replica.id);
                    group.all_know_eof &= knows_eof;
                    group.since = group.since.min(since);
                }
                None => {
                    let replicas = vec![replica.id];
                    groups.push(Waiting { replicas, filter, all_know_eof: knows_eof, since });
                }
            }
        }
        groups
    }

    fn is_due(&self, group: &Waiting) -> bool {
        let config = &self.config;
        let enough = config.repl_diskless_sync_max_replicas as usize;
        if !config.repl_diskless_sync {
            return true;
        }
        if self.sharing_until().is_some_and(|until| self.now() < until) {
            return false;
        }
        // Only who can be told of the end by a delimiter is made to wait.
        !group.all_know_eof
            || (enough > 0 && group.replicas.len() >= enough)
            || self.now() >= self.due_at(group)
    }

    fn due_at(&self, group: &Waiting) -> UnixMillis {
        let due = UnixMillis(group.since.0 + i64::from(self.config.repl_diskless_sync_delay) * 1000);
        self.sharing_until().map_or(due, |until| due.max(until))
    }

    /// While a snapshot is encoded, the next one is not frozen before this.
    fn sharing_until(&self) -> Option<UnixMillis> {
        self.running_sync.as_ref().map(|running| UnixMillis(running.since.0 + SHARING_WAIT_MS))
    }

    /// A snapshot has been encoded for everybody, or as far as anybody has read it.
    pub fn full_sync_encoded(&mut self, sync: &FullSync) {
        self.persistence.last_copied_bytes = sync.copies.bytes();
        if self.running_sync.take_if(|running| running.number == sync.number).is_some() {
            self.start_full_syncs();
        }
    }

    /// When the next full resync begins by itself.
    pub(super) fn next_full_sync(&self) -> Option<UnixMillis> {
        if !self.config.repl_diskless_sync || self.role.stream().replicas.count() == 0 {
            return None;
        }
        self.waiting_groups().iter().map(|group| self.due_at(group)).min()
    }

    fn start_diskless_sync(&mut self, group: Waiting) {
        self.announce(&group.replicas, None);
        let keyspace = match group.filter {
            SnapshotFilter::Everything => self.keyspace.clone(),
            SnapshotFilter::Functions => self.keyspace.without_keys(),
            SnapshotFilter::Nothing => self.keyspace.emptied(),
        };
        let count = group.replicas.len();
        self.log(LogLevel::Notice, format!("Starting BGSAVE for SYNC with target: {count} replicas sockets"));
        self.last_sync_number += 1;
        let sync = FullSync {
            number: self.last_sync_number,
            replicas: group.replicas.iter().map(|id| ClientId(id.0)).collect(),
            keyspace,
            options: self.snapshot_options(),
            is_eof_framed: group.all_know_eof,
            key_delay_micros: i64::from(self.config.rdb_key_save_delay),
            copies: CopyMeter::begin(),
        };
        self.running_sync = Some(RunningSync { number: sync.number, since: self.now(), copies: sync.copies });
        self.jobs.push(Job::FullSync(Box::new(sync)));
    }

    fn start_disk_sync(&mut self, group: Waiting) {
        let offset = self.announce(&group.replicas, None);
        self.log(LogLevel::Notice, "Starting BGSAVE for SYNC with target: disk");
        self.start_save(SaveKind::Background, None);
        self.disk_sync = self.persistence.save.as_ref().map(|save| DiskSync {
            save_number: save.number,
            replid: self.role.stream().ids.replid(),
            offset,
            replicas: group.replicas.iter().map(|id| ClientId(id.0)).collect(),
        });
    }

    /// Gives a replica that has just come a part in the file that is being written for others. Whether it could.
    fn join_disk_sync(&mut self, id: ClientId) -> bool {
        let stream = self.role.stream();
        let replica = stream.replicas.get(ReplicaId(id.0));
        let is_filtered =
            replica.is_some_and(|replica| replica.capabilities.filter != SnapshotFilter::Everything);
        let Some(sync) = &mut self.disk_sync else { return false };
        let is_same_history = sync.replid == stream.ids.replid() && stream.log.holds(sync.offset);
        if is_filtered || !is_same_history {
            return false;
        }
        sync.replicas.push(id);
        let offset = sync.offset;
        self.announce(&[ReplicaId(id.0)], Some(offset));
        self.log(LogLevel::Notice, "Waiting for end of BGSAVE for SYNC");
        true
    }

    /// Tells replicas which place in the stream their payload is of: the end, or an earlier one.
    fn announce(&mut self, replicas: &[ReplicaId], at: Option<ReplOffset>) -> ReplOffset {
        if at.is_none() {
            // They know no database yet.
            self.stream_db_index = self.stream_db_index();
            self.log_db_index = None;
        }
        let stream = self.role.stream_mut();
        let (replid, offset) = (stream.ids.replid(), at.unwrap_or(stream.log.end_offset()));
        for id in replicas {
            if let Some(feed) = stream.replicas.get_mut(*id).and_then(AttachedReplica::feed_mut) {
                feed.announce(replid, offset);
            }
            self.clients.wake(ClientId(id.0));
        }
        offset
    }

    /// The replicas that the file of that save is for: it is there, and the caller sends it to them.
    pub fn take_disk_sync(&mut self, save_number: u64) -> Vec<ClientId> {
        let sync = self.disk_sync.take_if(|sync| sync.save_number == save_number);
        sync.map(|sync| sync.replicas).unwrap_or_default()
    }

    /// The save of that number has ended. Replicas that have not been given its file get none, and ask again.
    pub(super) fn end_disk_sync(&mut self, save_number: u64) {
        let Some(sync) = self.disk_sync.take_if(|sync| sync.save_number == save_number) else { return };
        self.log(LogLevel::Warning, "SYNC failed. BGSAVE for replicas failed");
        self.close_replicas(sync.replicas.iter().map(|id| ReplicaId(id.0)).collect());
    }

    /// Whether files are not kept for this server itself: `rdb-del-sync-files` without any persistence.
    pub fn snapshots_are_for_replicas_alone(&self) -> bool {
        self.config.rdb_del_sync_files && self.config.save.is_empty() && !self.config.appendonly
    }

    /// Whether a save's file is waited for by replicas, so that it has to be kept open under whatever name.
    pub fn is_for_replicas(&self, save_number: u64) -> bool {
        self.disk_sync.as_ref().is_some_and(|sync| sync.save_number == save_number)
    }

    /// Whether replica `id` waits for a snapshot that has not begun: line feeds keep its link alive.
    pub fn waits_for_snapshot(&self, id: ClientId) -> bool {
        let replica = self.role.stream().replicas.get(ReplicaId(id.0));
        replica.and_then(|replica| replica.feed()).is_some_and(|feed| feed.keepalive().is_some())
    }

    /// The payload for replica `id` is ready to be framed and sent.
    pub fn begin_payload(&mut self, id: ClientId, size: Option<u64>) {
        let now = self.now();
        let framing = size.map_or_else(|| Framing::random_eof(&mut self.rng), Framing::Length);
        if let Some(replica) = self.role.stream_mut().replicas.get_mut(ReplicaId(id.0)) {
            replica.note_progress(now);
            if let Some(feed) = replica.feed_mut() {
                feed.begin_snapshot(framing);
            }
        }
    }

    pub fn note_payload_sent(&mut self, id: ClientId, bytes: usize) {
        let now = self.now();
        self.stats.net_repl_output_bytes += bytes as u64;
        if let Some(replica) = self.role.stream_mut().replicas.get_mut(ReplicaId(id.0)) {
            replica.note_progress(now);
            if let Some(feed) = replica.feed_mut() {
                feed.snapshot_sent(bytes);
            }
        }
    }

    /// The payload was sent whole; an error if its size was another than announced.
    pub fn end_payload(&mut self, id: ClientId) -> Result<(), String> {
        let now = self.now();
        let replicas = &mut self.role.stream_mut().replicas;
        if let Some(feed) = replicas.get_mut(ReplicaId(id.0)).and_then(AttachedReplica::feed_mut) {
            feed.snapshot_done().map_err(|wrong| {
                format!("a snapshot of {} bytes was announced with {}", wrong.sent, wrong.promised)
            })?;
        }
        replicas.note_online(ReplicaId(id.0), now);
        self.log(
            LogLevel::Notice,
            format!("Synchronization with replica {} succeeded", self.replica_name(id)),
        );
        Ok(())
    }
}

/// Whether a replica finds the end of a payload by a delimiter; one that said SYNC does not.
fn knows_eof(replica: &AttachedReplica) -> bool {
    replica.capabilities.eof && replica.feed().is_some_and(ReplicaFeed::is_named)
}
