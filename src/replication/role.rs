//! Master or replica: what each has, and how one becomes the other.
//!
//! Both have a `Downstream`, which moves along: a replica feeds sub-replicas with its master's own bytes, so
//! after a promotion its log and its replicas are the ones it had.
//!
//! Transitions return the replicas whose links the caller closes: their history has changed, and they learn
//! the new id by asking again. After a promotion the caller also makes the next effect begin with SELECT.

use super::log::{ReplOffset, ReplicationLog};
use super::psync::{Psync, PsyncRequest};
use super::replica::{MasterAddr, Replica};
use super::replica_manager::{ReplicaId, ReplicaManager};
use super::replid::{ReplId, ReplIds};
use crate::base::clock::UnixMillis;

/// The stream that this server hands on: its names, its bytes, its readers.
#[derive(Debug)]
pub struct Downstream {
    pub ids: ReplIds,
    pub log: ReplicationLog,
    pub replicas: ReplicaManager,
}

impl Downstream {
    pub fn new(replid: ReplId, now: UnixMillis) -> Self {
        Self { ids: ReplIds::new(replid), log: ReplicationLog::default(), replicas: ReplicaManager::new(now) }
    }

    /// Whether what nobody would hear need not be said: nobody is attached, and the stream still is where the old history
    /// ended, so that this server can go on with that one as somebody's replica.
    pub fn may_stay_silent(&self) -> bool {
        self.replicas.count() == 0 && self.ids.is_second_at(self.log.end_offset())
    }

    /// What PSYNC of a replica gets.
    pub fn psync(&self, request: PsyncRequest<'_>) -> Psync {
        request.decide(&self.ids, &self.log)
    }

    /// A full resync is coming. Without a backlog no bytes were kept and the old id names nothing that a
    /// replica could hold, so the backlog begins under a new id.
    pub fn begin_backlog(&mut self, rng: &mut fastrand::Rng) {
        if !self.log.is_active() {
            self.ids = ReplIds::new(ReplId::random(rng));
            self.log.activate();
        }
    }

    /// Drops the backlog when nobody has been attached for `repl-backlog-ttl`. What is written from here on
    /// is not in the stream, so the ids end with it. Only a master does this. Whether it did.
    pub fn drop_idle_backlog(&mut self, ttl_seconds: i64, now: UnixMillis, rng: &mut fastrand::Rng) -> bool {
        let is_due = self.log.is_active() && self.replicas.is_backlog_expired(ttl_seconds, now);
        if is_due {
            self.ids = ReplIds::new(ReplId::random(rng));
            self.log.deactivate();
        }
        is_due
    }

    /// Trims the log to `repl-backlog-size`, for its replicas and one more reader.
    pub fn trim(&mut self, backlog_bytes: u64, other_reader: Option<ReplOffset>) {
        let lowest = self.replicas.lowest_position().into_iter().chain(other_reader).min();
        self.log.trim(backlog_bytes, lowest);
    }

    /// Goes on as history `replid`, whose bytes before `at` this server does not have.
    fn adopt(&mut self, replid: ReplId, at: ReplOffset) {
        self.ids = ReplIds::new(replid);
        self.log.reset(at);
        self.log.activate();
    }
}

/// A server that takes writes.
#[derive(Debug)]
pub struct Master {
    pub stream: Downstream,
}

#[derive(Debug)]
pub enum Role {
    Master(Master),
    Replica(Replica),
}

impl Role {
    pub fn new_master(now: UnixMillis, rng: &mut fastrand::Rng) -> Self {
        Self::Master(Master { stream: Downstream::new(ReplId::random(rng), now) })
    }

    pub fn is_master(&self) -> bool {
        matches!(self, Self::Master(_))
    }

    pub fn as_replica(&self) -> Option<&Replica> {
        match self {
            Self::Master(_) => None,
            Self::Replica(replica) => Some(replica),
        }
    }

    pub fn as_replica_mut(&mut self) -> Option<&mut Replica> {
        match self {
            Self::Master(_) => None,
            Self::Replica(replica) => Some(replica),
        }
    }

    pub fn stream(&self) -> &Downstream {
        match self {
            Self::Master(master) => &master.stream,
            Self::Replica(replica) => &replica.stream,
        }
    }

    pub fn stream_mut(&mut self) -> &mut Downstream {
        match self {
            Self::Master(master) => &mut master.stream,
            Self::Replica(replica) => &mut replica.stream,
        }
    }

    /// A file was loaded that was saved at `offset` of history `replid`. A replica continues that history; a
    /// master grows a new one out of it, so that its old replicas find their way back.
    pub fn restore(&mut self, replid: ReplId, offset: ReplOffset, now: UnixMillis) {
        match self {
            Self::Master(Master { stream }) => {
                stream.ids.set_second(replid, offset);
                stream.log.reset(offset);
                stream.log.activate();
                stream.replicas.restart_backlog_ttl(now);
            }
            Self::Replica(replica) => {
                replica.stream.adopt(replid, offset);
                replica.regain_history();
            }
        }
    }

    /// `REPLICAOF host port`. What was written so far stays offered for a partial resync: the new master may
    /// have been this server's replica. Sub-replicas stay until the history really changes.
    pub fn replicate_from(&mut self, master: MasterAddr, now: UnixMillis) {
        match self {
            Self::Replica(replica) => {
                replica.disconnected(now);
                replica.master = master;
            }
            Self::Master(old) => {
                let mut stream = old.take_stream(now);
                stream.log.activate();
                // A master that has come back from its file, and that another one has replaced meanwhile, is still where
                // the old history ended: the new master knows that one.
                stream.ids.resume_second(stream.log.end_offset());
                *self = Self::Replica(Replica::new(stream, master, true));
            }
        }
    }

    /// `REPLICAOF NO ONE`: the old history becomes the second one, valid up to here. No effect on a master.
    #[must_use = "these replicas hold another history: close their links before they read on"]
    pub fn promote(&mut self, now: UnixMillis, rng: &mut fastrand::Rng) -> Vec<ReplicaId> {
        let Self::Replica(replica) = self else { return Vec::new() };
        let mut stream = std::mem::replace(&mut replica.stream, Downstream::new(ReplId::NONE, now));
        stream.ids.shift(ReplId::random(rng), stream.log.end_offset());
        stream.replicas.restart_backlog_ttl(now);
        let leaving = stream.replicas.ids();
        *self = Self::Master(Master { stream });
        leaving
    }
}

impl Master {
    fn take_stream(&mut self, now: UnixMillis) -> Downstream {
        std::mem::replace(&mut self.stream, Downstream::new(ReplId::NONE, now))
    }
}

impl Replica {
    /// What to ask the master for: the history held and its end, or None for everything.
    pub fn psync_from(&self) -> Option<(ReplId, ReplOffset)> {
        self.has_history().then(|| (self.stream.ids.replid(), self.offset()))
    }

    /// The payload has been loaded: this server is at `offset` of its master's history. `history` is None for
    /// a master that only knows SYNC, whose stream has no name.
    #[must_use = "these replicas hold another history: close their links before they read on"]
    pub fn full_synced(
        &mut self,
        history: Option<(ReplId, ReplOffset)>,
        now: UnixMillis,
        rng: &mut fastrand::Rng,
    ) -> Vec<ReplicaId> {
        let (replid, offset) = history.unwrap_or_else(|| (ReplId::random(rng), ReplOffset::default()));
        self.stream.adopt(replid, offset);
        self.connected(now);
        self.stream.replicas.ids()
    }

    /// `+CONTINUE`: the stream goes on where it was. Another `replid` means that the master's history has
    /// moved on under a new name.
    #[must_use = "these replicas hold another history: close their links before they read on"]
    pub fn continued(&mut self, replid: Option<ReplId>, now: UnixMillis) -> Vec<ReplicaId> {
        self.connected(now);
        self.stream.log.activate();
        match replid {
            Some(replid) if replid != self.stream.ids.replid() => {
                self.stream.ids.shift(replid, self.offset());
                self.stream.replicas.ids()
            }
            _ => Vec::new(),
        }
    }

    /// Commands of the master have been applied: their bytes go on verbatim.
    pub fn applied(&mut self, raw: &[u8]) {
        self.stream.log.append(raw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::feed::ReplicaFeed;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn addr() -> MasterAddr {
        MasterAddr { host: "10.0.0.1".to_owned(), port: 6379 }
    }

    fn id(c: u8) -> ReplId {
        ReplId::parse(&[c; 40]).unwrap()
    }

    fn rng() -> fastrand::Rng {
        fastrand::Rng::with_seed(1)
    }

    fn synced_replica() -> Role {
        let mut role = Role::new_master(NOW, &mut rng());
        role.replicate_from(addr(), NOW);
        let replica = role.as_replica_mut().unwrap();
        assert_eq!(replica.full_synced(Some((id(b'a'), ReplOffset(100))), NOW, &mut rng()), []);
        role
    }

    fn attach(role: &mut Role, id: u64) {
        let replicas = &mut role.stream_mut().replicas;
        replicas.register(ReplicaId(id), "127.0.0.1");
        replicas.attach(ReplicaId(id), ReplicaFeed::full_resync(UnixMillis(0), true), NOW);
    }

    #[test]
    fn the_first_replica_begins_the_backlog_under_a_new_id() {
        let mut rng = rng();
        let mut role = Role::new_master(NOW, &mut rng);
        let before = role.stream().ids.replid();
        role.stream_mut().log.append(b"not kept");
        role.stream_mut().begin_backlog(&mut rng);
        let during = role.stream().ids.replid();
        assert_ne!(before, during);
        role.stream_mut().begin_backlog(&mut rng);
        assert_eq!((role.stream().ids.replid(), role.stream().log.end_offset()), (during, ReplOffset(0)));
    }

    #[test]
    fn an_idle_backlog_goes_and_its_id_with_it() {
        let mut rng = rng();
        let mut role = Role::new_master(NOW, &mut rng);
        role.stream_mut().begin_backlog(&mut rng);
        role.stream_mut().log.append(b"abc");
        let before = role.stream().ids.replid();
        assert!(!role.stream_mut().drop_idle_backlog(10, UnixMillis(NOW.0 + 10_000), &mut rng));
        assert!(role.stream_mut().drop_idle_backlog(10, UnixMillis(NOW.0 + 10_001), &mut rng));
        assert_ne!(role.stream().ids.replid(), before);
        assert_eq!(role.stream().log.end_offset(), ReplOffset(3));
    }

    #[test]
    fn a_master_that_becomes_a_replica_offers_its_own_history() {
        let mut role = Role::new_master(NOW, &mut rng());
        role.stream_mut().log.activate();
        role.stream_mut().log.append(b"abc");
        attach(&mut role, 1);
        let replid = role.stream().ids.replid();
        role.replicate_from(addr(), NOW);
        let replica = role.as_replica().unwrap();
        assert_eq!(replica.psync_from(), Some((replid, ReplOffset(3))));
        assert_eq!((replica.link().name(), replica.role_offset()), ("connect", -1));
        assert_eq!(role.stream().replicas.count(), 1);
    }

    #[test]
    fn a_promoted_replica_keeps_the_old_history_as_its_second() {
        let mut role = synced_replica();
        attach(&mut role, 5);
        role.as_replica_mut().unwrap().applied(b"0123456789");
        assert_eq!(role.promote(NOW, &mut rng()), [ReplicaId(5)]);
        let stream = role.stream();
        assert!(role.is_master());
        assert_eq!((stream.ids.replid2(), stream.ids.second_repl_offset()), (id(b'a'), 111));
        assert!(stream.ids.replid() != id(b'a') && stream.replicas.count() == 1);
        let sibling = PsyncRequest { replid: &[b'a'; 40], offset: 105 };
        assert_eq!(stream.psync(sibling), Psync::Continue { from: ReplOffset(104) });
    }

    #[test]
    fn continuing_under_another_id_shifts_and_sends_sub_replicas_away() {
        let mut role = synced_replica();
        attach(&mut role, 5);
        let replica = role.as_replica_mut().unwrap();
        assert_eq!(replica.continued(Some(id(b'a')), NOW), []);
        assert_eq!(replica.continued(None, NOW), []);
        assert_eq!(replica.continued(Some(id(b'b')), NOW), [ReplicaId(5)]);
        let ids = replica.stream.ids;
        assert_eq!((ids.replid(), ids.replid2(), ids.second_repl_offset()), (id(b'b'), id(b'a'), 101));
    }

    #[test]
    fn a_full_resync_that_breaks_leaves_nothing_to_continue() {
        let mut role = synced_replica();
        let replica = role.as_replica_mut().unwrap();
        replica.disconnected(NOW);
        assert!(replica.psync_from().is_some());
        replica.connecting(NOW);
        replica.handshaking(NOW);
        replica.syncing(NOW);
        replica.note_payload_size(Some(10));
        replica.note_io(4, UnixMillis(NOW.0 + 500));
        assert!(replica.is_syncing() && !replica.is_timed_out(1000, UnixMillis(NOW.0 + 1500)));
        replica.lose_history();
        replica.disconnected(UnixMillis(NOW.0 + 2000));
        assert_eq!(replica.psync_from(), None);
        assert_eq!(replica.down_since_seconds(UnixMillis(NOW.0 + 5000)), 5);
        assert_eq!(replica.full_synced(Some((id(b'c'), ReplOffset(7))), NOW, &mut rng()), []);
        assert_eq!((replica.psync_from(), replica.is_up()), (Some((id(b'c'), ReplOffset(7))), true));
        assert_eq!((replica.role_offset(), replica.down_since_seconds(NOW)), (7, -1));
    }

    #[test]
    fn a_restarted_master_that_was_replaced_goes_on_with_the_saved_history() {
        let mut role = Role::new_master(NOW, &mut rng());
        role.restore(id(b'a'), ReplOffset(50), NOW);
        role.replicate_from(addr(), NOW);
        assert_eq!(role.as_replica().unwrap().psync_from(), Some((id(b'a'), ReplOffset(50))));
        let mut role = Role::new_master(NOW, &mut rng());
        role.restore(id(b'a'), ReplOffset(50), NOW);
        role.stream_mut().log.append(b"a write of its own");
        role.replicate_from(addr(), NOW);
        assert_ne!(role.as_replica().unwrap().psync_from(), Some((id(b'a'), ReplOffset(68))));
    }

    #[test]
    fn a_restarted_master_offers_the_saved_history_as_its_second() {
        let mut role = Role::new_master(NOW, &mut rng());
        role.restore(id(b'a'), ReplOffset(50), NOW);
        let request = |offset| PsyncRequest { replid: &[b'a'; 40], offset };
        assert_eq!(role.stream().psync(request(51)), Psync::Continue { from: ReplOffset(50) });
        assert!(matches!(role.stream().psync(request(52)), Psync::FullResync(_)));
    }
}
