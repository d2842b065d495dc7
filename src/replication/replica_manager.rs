//! The replicas attached to this server: who they are, how far they are fed and what they have acknowledged.
//!
//! A connection appears here with its first REPLCONF and counts as a replica from its PSYNC (or SYNC) on.

use smallvec::SmallVec;

use super::feed::ReplicaFeed;
use super::log::ReplOffset;
use crate::base::clock::UnixMillis;

/// The id of the connection that a replica came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u64);

/// What a snapshot is to have in it, as said with `REPLCONF rdb-filter-only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SnapshotFilter {
    #[default]
    Everything,
    Functions,
    Nothing,
}

/// What a replica says with REPLCONF that it understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// A payload may end with a delimiter.
    pub eof: bool,
    /// `+CONTINUE` may name another replid.
    pub psync2: bool,
    pub filter: SnapshotFilter,
}

impl Capabilities {
    /// `REPLCONF capa <name>`; unknown names are ignored.
    pub fn add(&mut self, name: &[u8]) {
        self.eof |= name.eq_ignore_ascii_case(b"eof");
        self.psync2 |= name.eq_ignore_ascii_case(b"psync2");
    }
}

/// One connection of a replica, or of one that is introducing itself.
#[derive(Debug)]
pub struct AttachedReplica {
    pub id: ReplicaId,
    /// Where its connection comes from; shown unless it announced another.
    pub peer_ip: String,
    pub announced_ip: Option<String>,
    /// 0 until it says one.
    pub listening_port: u16,
    pub capabilities: Capabilities,
    /// None before PSYNC.
    feed: Option<ReplicaFeed>,
    /// None until its first acknowledgement: before that it may not even have loaded the snapshot.
    acked: Option<ReplOffset>,
    /// How far its own append-only file is, if it has one.
    fsynced: Option<ReplOffset>,
    last_ack: UnixMillis,
}

impl AttachedReplica {
    pub fn ip(&self) -> &str {
        self.announced_ip.as_deref().unwrap_or(&self.peer_ip)
    }

    pub fn feed(&self) -> Option<&ReplicaFeed> {
        self.feed.as_ref()
    }

    pub fn feed_mut(&mut self) -> Option<&mut ReplicaFeed> {
        self.feed.as_mut()
    }

    /// Something of its snapshot has been sent.
    pub fn note_progress(&mut self, now: UnixMillis) {
        self.last_ack = now;
    }

    pub fn acked(&self) -> ReplOffset {
        self.acked.unwrap_or_default()
    }

    pub fn last_ack(&self) -> UnixMillis {
        self.last_ack
    }

    pub fn is_online(&self) -> bool {
        self.feed.as_ref().is_some_and(ReplicaFeed::is_online)
    }

    /// `handshake` before PSYNC, then INFO's words.
    pub fn state_name(&self) -> &'static str {
        self.feed.as_ref().map_or("handshake", ReplicaFeed::state_name)
    }

    /// Whole seconds since the last acknowledgement, by the second hand as Redis counts them; 0 until online.
    pub fn lag_seconds(&self, now: UnixMillis) -> i64 {
        if self.is_online() { now.0.div_euclid(1000) - self.last_ack.0.div_euclid(1000) } else { 0 }
    }

    /// The value of INFO's `slave<n>`.
    pub fn info(&self, now: UnixMillis) -> String {
        let (ip, port, state) = (self.ip(), self.listening_port, self.state_name());
        let (offset, lag) = (self.acked(), self.lag_seconds(now));
        format!("ip={ip},port={port},state={state},offset={offset},lag={lag}")
    }
}

/// All attached replicas, in the order in which they came.
#[derive(Debug, Default)]
pub struct ReplicaManager {
    attached: Vec<AttachedReplica>,
    /// Since when there is none; what `repl-backlog-ttl` counts from.
    alone_since: UnixMillis,
}

impl ReplicaManager {
    pub fn new(now: UnixMillis) -> Self {
        Self { attached: Vec::new(), alone_since: now }
    }

    /// The connection `id` introduces itself as a replica; one that did so before stays as it is.
    pub fn register(&mut self, id: ReplicaId, peer_ip: &str) -> &mut AttachedReplica {
        let index = self.attached.iter().position(|replica| replica.id == id).unwrap_or_else(|| {
            self.attached.push(AttachedReplica {
                id,
                peer_ip: peer_ip.to_owned(),
                announced_ip: None,
                listening_port: 0,
                capabilities: Capabilities::default(),
                feed: None,
                acked: None,
                fsynced: None,
                last_ack: UnixMillis::default(),
            });
            self.attached.len() - 1
        });
        &mut self.attached[index]
    }

    /// The registered connection has said PSYNC and is served by `feed` from here on. Whether it is
    /// registered.
    pub fn attach(&mut self, id: ReplicaId, feed: ReplicaFeed, now: UnixMillis) -> bool {
        let replica = self.get_mut(id);
        let is_registered = replica.is_some();
        if let Some(replica) = replica {
            replica.feed = Some(feed);
            replica.last_ack = now;
        }
        is_registered
    }

    /// The connection is to be closed: nothing is kept for it from here on.
    pub fn release(&mut self, id: ReplicaId, now: UnixMillis) {
        let was_alone = self.count() == 0;
        if let Some(replica) = self.get_mut(id) {
            replica.feed = None;
        }
        if !was_alone && self.count() == 0 {
            self.alone_since = now;
        }
    }

    /// The connection is gone. Whether it was known.
    pub fn unregister(&mut self, id: ReplicaId, now: UnixMillis) -> bool {
        let known = self.attached.len();
        let was_alone = self.count() == 0;
        self.attached.retain(|replica| replica.id != id);
        if !was_alone && self.count() == 0 {
            self.alone_since = now;
        }
        self.attached.len() < known
    }

    pub fn get(&self, id: ReplicaId) -> Option<&AttachedReplica> {
        self.attached.iter().find(|replica| replica.id == id)
    }

    pub fn get_mut(&mut self, id: ReplicaId) -> Option<&mut AttachedReplica> {
        self.attached.iter_mut().find(|replica| replica.id == id)
    }

    /// Those that said PSYNC, in INFO's order.
    pub fn iter(&self) -> impl Iterator<Item = &AttachedReplica> {
        self.attached.iter().filter(|replica| replica.feed.is_some())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut AttachedReplica> {
        self.attached.iter_mut().filter(|replica| replica.feed.is_some())
    }

    /// Those that ROLE lists.
    pub fn online(&self) -> impl Iterator<Item = &AttachedReplica> {
        self.attached.iter().filter(|replica| replica.is_online())
    }

    /// INFO's `connected_slaves`.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    pub fn ids(&self) -> Vec<ReplicaId> {
        self.iter().map(|replica| replica.id).collect()
    }

    /// The snapshot of `id` was sent whole: it has not been silent while it was receiving.
    pub fn note_online(&mut self, id: ReplicaId, now: UnixMillis) {
        if let Some(replica) = self.get_mut(id) {
            replica.last_ack = now;
        }
    }

    /// `REPLCONF ACK offset` of `id`. The offset never goes back.
    pub fn note_ack(&mut self, id: ReplicaId, offset: ReplOffset, now: UnixMillis) {
        let Some(replica) = self.get_mut(id) else { return };
        if let Some(feed) = &mut replica.feed {
            feed.note_ack();
            replica.acked = replica.acked.max(Some(offset));
            replica.last_ack = now;
        }
    }

    /// How many online replicas have acknowledged `offset`.
    pub fn count_acked(&self, offset: ReplOffset) -> usize {
        count_addresses(self.online().filter(|replica| replica.acked >= Some(offset)))
    }

    /// `REPLCONF ACK .. FACK offset` of `id`.
    pub fn note_fsynced(&mut self, id: ReplicaId, offset: ReplOffset) {
        if let Some(replica) = self.get_mut(id) {
            replica.fsynced = replica.fsynced.max(Some(offset));
        }
    }

    /// How many online replicas have `offset` on disk.
    pub fn count_fsynced(&self, offset: ReplOffset) -> usize {
        count_addresses(self.online().filter(|replica| replica.fsynced >= Some(offset)))
    }

    /// How many online replicas are at most `lag_max_seconds` behind: what `min-replicas-to-write` counts.
    pub fn good_replicas(&self, lag_max_seconds: i64, now: UnixMillis) -> usize {
        count_addresses(self.online().filter(|replica| replica.lag_seconds(now) <= lag_max_seconds))
    }

    /// Online replicas that have been silent for longer than `repl-timeout`, and those that have taken nothing of their
    /// snapshot for as long.
    pub fn timed_out(&self, timeout_seconds: i64, now: UnixMillis) -> Vec<ReplicaId> {
        let is_stuck = |replica: &AttachedReplica| {
            let is_sending = replica.feed.as_ref().is_some_and(ReplicaFeed::is_under_way);
            is_sending && now.0 - replica.last_ack.0 > timeout_seconds * 1000
        };
        self.iter()
            .filter(|replica| replica.lag_seconds(now) > timeout_seconds || is_stuck(replica))
            .map(|replica| replica.id)
            .collect()
    }

    /// From where on the log is still needed; None when nobody needs it.
    pub fn lowest_position(&self) -> Option<ReplOffset> {
        self.iter().filter_map(|replica| replica.feed.as_ref()?.position()).min()
    }

    /// Whether there has been no replica for longer than `repl-backlog-ttl`; 0 keeps the backlog for ever.
    pub fn is_backlog_expired(&self, ttl_seconds: i64, now: UnixMillis) -> bool {
        ttl_seconds > 0 && self.count() == 0 && now.0 - self.alone_since.0 > ttl_seconds * 1000
    }

    /// Starts the time to live anew: a promoted server keeps its backlog for replicas yet to come.
    pub fn restart_backlog_ttl(&mut self, now: UnixMillis) {
        self.alone_since = now;
    }
}

/// How many replicas these connections are of. One that has reconnected has two until its old connection is found
/// broken, and must not be taken for two.
fn count_addresses<'a>(connections: impl Iterator<Item = &'a AttachedReplica>) -> usize {
    let mut addresses: SmallVec<[(&str, u16); 8]> = SmallVec::new();
    for replica in connections {
        let address = (replica.ip(), replica.listening_port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::feed::Framing;
    use crate::replication::log::ReplicationLog;
    use crate::replication::replid::ReplId;

    const A: ReplicaId = ReplicaId(1);
    const B: ReplicaId = ReplicaId(2);

    fn online(from: u64) -> ReplicaFeed {
        ReplicaFeed::partial_resync(ReplId::NONE, ReplOffset(from), true)
    }

    fn two_online() -> ReplicaManager {
        let mut replicas = ReplicaManager::new(UnixMillis(0));
        for (id, ip) in [(A, "127.0.0.1"), (B, "::1")] {
            replicas.register(id, ip).listening_port = 7000;
            assert!(replicas.attach(id, online(10 * id.0), UnixMillis(1500)));
        }
        replicas
    }

    #[test]
    fn info_shows_who_has_said_psync() {
        let mut replicas = ReplicaManager::new(UnixMillis(0));
        let replica = replicas.register(A, "127.0.0.1");
        replica.listening_port = 7777;
        replica.announced_ip = Some("1.2.3.4".to_owned());
        replica.capabilities.add(b"EOF");
        assert_eq!((replica.state_name(), replicas.count()), ("handshake", 0));
        assert!(!replicas.attach(B, online(0), UnixMillis(0)));
        replicas.attach(A, ReplicaFeed::full_resync(UnixMillis(0), true), UnixMillis(0));
        let info = replicas.iter().next().unwrap().info(UnixMillis(3000));
        assert_eq!(info, "ip=1.2.3.4,port=7777,state=wait_bgsave,offset=0,lag=0");
        replicas.attach(A, online(0), UnixMillis(0));
        replicas.note_ack(A, ReplOffset(42), UnixMillis(1999));
        let info = replicas.iter().next().unwrap().info(UnixMillis(3000));
        assert_eq!(info, "ip=1.2.3.4,port=7777,state=online,offset=42,lag=2");
    }

    #[test]
    fn only_online_replicas_acknowledge() {
        let mut replicas = two_online();
        replicas.register(ReplicaId(3), "x");
        replicas.attach(ReplicaId(3), ReplicaFeed::full_resync(UnixMillis(0), true), UnixMillis(0));
        assert_eq!(replicas.count_acked(ReplOffset(0)), 0);
        for id in [A, B, ReplicaId(3)] {
            replicas.note_ack(id, ReplOffset(100 * id.0), UnixMillis(2000));
        }
        replicas.note_ack(B, ReplOffset(50), UnixMillis(2000));
        assert_eq!([100, 101, 201].map(|at| replicas.count_acked(ReplOffset(at))), [2, 1, 0]);
        assert_eq!((replicas.count(), replicas.online().count()), (3, 2));
    }

    #[test]
    fn a_replica_that_reconnects_counts_once() {
        let mut replicas = two_online();
        let again = ReplicaId(3);
        replicas.register(again, "::1").listening_port = 7000;
        replicas.attach(again, online(20), UnixMillis(1500));
        for id in [B, again] {
            replicas.note_ack(id, ReplOffset(100), UnixMillis(2000));
        }
        assert_eq!((replicas.count_acked(ReplOffset(100)), replicas.online().count()), (1, 3));
        assert_eq!(replicas.good_replicas(10, UnixMillis(2000)), 2);
    }

    #[test]
    fn a_silent_replica_is_not_good_and_times_out() {
        let mut replicas = two_online();
        replicas.note_ack(B, ReplOffset(20), UnixMillis(60_000));
        assert_eq!(replicas.good_replicas(10, UnixMillis(61_000)), 1);
        assert_eq!(replicas.timed_out(60, UnixMillis(61_000)), []);
        assert_eq!(replicas.timed_out(60, UnixMillis(62_000)), [A]);
    }

    #[test]
    fn the_lowest_position_holds_the_log() {
        let mut replicas = two_online();
        assert_eq!(replicas.lowest_position(), Some(ReplOffset(10)));
        replicas.unregister(A, UnixMillis(0));
        assert_eq!(replicas.lowest_position(), Some(ReplOffset(20)));
        replicas.attach(B, ReplicaFeed::full_resync(UnixMillis(0), true), UnixMillis(0));
        assert_eq!(replicas.lowest_position(), None);
        let feed = replicas.get_mut(B).unwrap().feed_mut().unwrap();
        feed.announce(ReplId::NONE, ReplOffset(5));
        feed.begin_snapshot(Framing::Length(0));
        feed.next(&mut ReplicationLog::default(), 1);
        assert_eq!(replicas.lowest_position(), Some(ReplOffset(5)));
    }

    #[test]
    fn the_backlog_expires_after_the_last_replica_left() {
        let mut replicas = two_online();
        assert!(!replicas.is_backlog_expired(1, UnixMillis(90_000)));
        replicas.unregister(A, UnixMillis(90_000));
        assert!(replicas.unregister(B, UnixMillis(100_000)) && !replicas.unregister(B, UnixMillis(0)));
        assert!(!replicas.is_backlog_expired(10, UnixMillis(110_000)));
        assert!(replicas.is_backlog_expired(10, UnixMillis(110_001)));
        assert!(!replicas.is_backlog_expired(0, UnixMillis(900_000)));
    }
}
