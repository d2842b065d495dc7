//! The engine's part in replication: the unit's effects into the log, what attached replicas read next, and what the
//! master's stream does to the data.
//!
//! Decisions and framing are `crate::replication`'s; here they meet clients, the keyspace and the configuration.

use super::blocked::BlockedOn;
use super::client::{Client, ClientKind, Closing};
use super::{ClientId, Engine, Job, LogLevel};
use crate::config::ReplDisklessLoad;
use crate::replication::ack;
use crate::replication::feed::FeedStep;
use crate::replication::log::ReplOffset;
use crate::replication::replica::MasterAddr;
use crate::replication::replica_manager::ReplicaId;
use crate::replication::replid::ReplId;
use crate::storage::Keyspace;

/// How much more than `repl-backlog-size` is kept before it is looked whether somebody still needs it.
const TRIM_SLACK_BYTES: u64 = 64 * 1024;

impl Engine {
    /// Whether effects have a reader; asked again when the role, the backlog or the append-only file changes.
    pub fn refresh_propagation(&mut self) {
        self.effects.is_propagating =
            (self.role.is_master() && self.role.stream().log.is_active()) || self.keeps_own_effects();
    }

    /// Appends the unit's effects to the replication log; the offset behind them.
    ///
    /// Several effects are wrapped in MULTI and EXEC unless they are separate. SELECT goes before an effect only if its database is another than
    /// that of the effect before.
    ///
    /// A replica's own effects are not in the log, which is the master's.
    pub fn append_effects(&mut self) -> u64 {
        if !self.role.is_master() {
            self.keep_own_effects();
            return self.role.stream().log.end_offset().0;
        }
        let several = self.effects.are_several(|targets| targets.replicas) && !self.effects.are_separate;
        let log = &mut self.role.stream_mut().log;
        // SELECT comes behind it, as since Redis 7.2.
        if several {
            log.append(b"*1\r\n$5\r\nMULTI\r\n");
        }
        for (db_index, targets, effect) in self.effects.iter() {
            if self.log_db_index != Some(db_index) {
                log.append_request(["SELECT", itoa::Buffer::new().format(db_index)].iter());
                self.log_db_index = Some(db_index);
            }
            let at = log.end_offset();
            if !targets.replicas {
                if self.aof.is_enabled() {
                    self.aof.own.add(at, effect.to_vec());
                }
                continue;
            }
            log.append(effect);
            if !targets.aof {
                self.aof.note_aside(at, effect.len());
            }
        }
        if several {
            log.append(b"*1\r\n$4\r\nEXEC\r\n");
        }
        self.effects.clear();
        let end = log.end_offset();
        self.failover_needs(end);
        self.enforce_replica_limits();
        if self.role.stream().log.histlen() > self.config.repl_backlog_size + TRIM_SLACK_BYTES {
            self.trim_log();
        }
        end.0
    }

    /// Keys were left out of a file that continues a history, because their time had passed. Replicas of that history
    /// have them still, and wait for the word.
    pub fn propagate_expired(&mut self, keys: &[(usize, Vec<u8>)]) {
        for (db_index, key) in keys {
            self.effects.propagate(*db_index, [&b"DEL"[..], key]);
            self.append_effects();
        }
        self.trim_backlog();
    }

    /// The client's connection is a replica's from here on.
    pub fn become_replica(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.kind = ClientKind::Replica;
        }
        self.clients.wake(id);
    }

    /// What the connection of replica `id` writes next; `Lost` when it is to be closed.
    pub fn next_feed_step(&mut self, id: ClientId, bytes_max: usize) -> FeedStep {
        if self.clients.get(id).is_none_or(|client| client.closing != Closing::No) {
            return FeedStep::Lost;
        }
        let stream = self.role.stream_mut();
        match stream.replicas.get_mut(ReplicaId(id.0)).and_then(|replica| replica.feed_mut()) {
            Some(feed) => {
                let step = feed.next(&mut stream.log, bytes_max);
                if let FeedStep::Write(pieces) = &step {
                    self.stats.net_repl_output_bytes +=
                        pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
                }
                step
            }
            None => FeedStep::Lost,
        }
    }

    /// `address:port` of a replica, for the log.
    pub fn replica_name(&self, id: ClientId) -> String {
        match self.role.stream().replicas.get(ReplicaId(id.0)) {
            Some(replica) => format!("{}:{}", replica.ip(), replica.listening_port),
            None => format!("client {}", id.0),
        }
    }

    /// How many replicas have acknowledged `offset`.
    pub fn acknowledged_replicas(&self, offset: u64) -> usize {
        self.role.stream().replicas.count_acked(ReplOffset(offset))
    }

    /// `REPLCONF ACK offset` from replica `id`: those in WAIT that have enough replicas by now go on.
    /// `fsynced` is how far the replica's own append-only file is, if it has one.
    pub fn note_ack(&mut self, id: ClientId, offset: u64, fsynced: Option<u64>) {
        let now = self.now();
        let replicas = &mut self.role.stream_mut().replicas;
        replicas.note_ack(ReplicaId(id.0), ReplOffset(offset), now);
        if let Some(fsynced) = fsynced {
            replicas.note_fsynced(ReplicaId(id.0), ReplOffset(fsynced));
            self.serve_aof_waiters();
        }
        self.clients.wake(id);
        for waiter in self.waiting_for_acks.clone() {
            let Some(client) = self.clients.get(waiter) else { continue };
            let Some(BlockedOn::Replicas { offset, needed }) =
                client.blocked.as_deref().map(|state| &state.on)
            else {
                continue;
            };
            let acknowledged = self.acknowledged_replicas(*offset);
            if acknowledged >= *needed {
                self.blocked.unblock(&mut self.clients, waiter);
                if let Some(client) = self.clients.get_mut(waiter) {
                    client.reply().integer(acknowledged as i64);
                }
            }
        }
        let clients = &self.clients;
        self.waiting_for_acks.retain(|&id| clients.get(id).is_some_and(|client| client.blocked.is_some()));
        self.continue_failover();
    }

    /// Appends what concerns the link alone: replicas read it, the append-only file leaves it out.
    pub(super) fn append_aside(&mut self, request: &[u8]) {
        let log = &mut self.role.stream_mut().log;
        let at = log.end_offset();
        log.append(request);
        self.aof.note_aside(at, request.len());
    }

    /// Asks every replica how far it is; the answers come as `REPLCONF ACK`.
    pub fn request_acks(&mut self) {
        // A failover has asked already, and from then on the stream stands still.
        if self.failover.is_none() {
            self.append_aside(ack::GETACK);
        }
    }

    /// Follows another master, from now on and in the configuration.
    pub fn follow(&mut self, master: MasterAddr) {
        let now = self.now();
        // Whoever is blocked would wait for writes that can no longer come from clients here.
        self.unblock_all_with_role_change();
        self.config.replicaof =
            Some(crate::config::HostPort { host: master.host.clone(), port: master.port });
        if self.role.is_master() {
            self.stream_db_index = self.stream_db_index();
        }
        self.role.replicate_from(master, now);
        self.drop_master_client();
        self.refresh_propagation();
        self.link_epoch += 1;
        self.jobs.push(Job::MasterChanged);
    }

    /// Follows a master as a server that has just started: until a file says otherwise, it has no history to go on from.
    pub fn follow_from_start(&mut self, master: MasterAddr) {
        self.follow(master);
        if let Some(replica) = self.role.as_replica_mut() {
            replica.lose_history();
        }
    }

    /// Becomes a master that goes on from where it is.
    pub fn stop_following(&mut self) {
        let now = self.now();
        self.persistence.loading = None;
        let leaving = self.role.promote(now, &mut self.rng);
        self.config.replicaof = None;
        self.log_db_index = None;
        self.close_replicas(leaving);
        self.drop_master_client();
        self.refresh_propagation();
        self.link_epoch += 1;
        self.jobs.push(Job::MasterChanged);
    }

    /// Closes the links of replicas whose history is no longer this server's; they ask again.
    pub fn close_replicas(&mut self, replicas: Vec<ReplicaId>) {
        let now = self.now();
        for id in replicas {
            self.clients.close(ClientId(id.0), Closing::Now);
            self.role.stream_mut().replicas.release(id, now);
        }
    }

    fn unblock_all_with_role_change(&mut self) {
        for id in self.clients.ids() {
            let waits = self.clients.get(id).and_then(|client| client.blocked.as_deref());
            if waits.is_some_and(|state| {
                matches!(
                    state.on,
                    BlockedOn::Keys { .. } | BlockedOn::Replicas { .. } | BlockedOn::Disks { .. }
                )
            }) {
                self.blocked.unblock(&mut self.clients, id);
                self.clients.close(id, Closing::AfterReplies);
                if let Some(client) = self.clients.get_mut(id) {
                    client.out.extend_from_slice(
                        b"-UNBLOCKED force unblock from blocking operation, instance state changed \
                          (master -> replica?)\r\n",
                    );
                }
            }
        }
    }

    /// The client in whose name the master's commands run.
    pub fn master_client(&mut self) -> ClientId {
        if let Some(id) = self.master_client {
            return id;
        }
        let (now, db_index) = (self.now(), self.stream_db_index);
        let client: &mut Client = self.clients.connect(now);
        client.kind = ClientKind::Master;
        client.db_index = db_index;
        client.is_authenticated = true;
        let id = client.id;
        self.master_client = Some(id);
        id
    }

    /// The stream begins: the master is a client from now on, which CLIENT LIST shows and CLIENT KILL closes.
    pub fn connect_master_client(&mut self, addr: &str, local_addr: &str) -> ClientId {
        let id = self.master_client();
        if let Some(client) = self.clients.get_mut(id) {
            client.addr = addr.to_owned();
            client.local_addr = local_addr.to_owned();
        }
        id
    }

    fn drop_master_client(&mut self) {
        if let Some(id) = self.master_client.take() {
            self.blocked.unblock(&mut self.clients, id);
            if let Some(client) = self.clients.remove(id) {
                self.stream_db_index = client.db_index;
            }
        }
    }

    /// The database that is selected at the end of the stream. A master that has not written yet says where the stream of
    /// its own master was left: it may go on in that as a replica.
    pub fn stream_db_index(&self) -> usize {
        if self.role.is_master() {
            return self.log_db_index.unwrap_or(self.stream_db_index);
        }
        let client = self.master_client.and_then(|id| self.clients.get(id));
        client.map_or(self.stream_db_index, |client| client.db_index)
    }

    /// A link to the master is being opened.
    pub fn link_connecting(&mut self) {
        let now = self.now();
        if let Some(replica) = self.role.as_replica_mut() {
            replica.connecting(now);
        }
    }

    /// The link to the master broke, at whatever stage.
    pub fn link_lost(&mut self) {
        let now = self.now();
        self.persistence.loading = None;
        self.drop_master_client();
        if let Some(replica) = self.role.as_replica_mut() {
            replica.disconnected(now);
        }
    }

    /// The link to the master continues the stream.
    pub fn link_continues(&mut self, replid: Option<ReplId>) {
        let now = self.now();
        self.drop_master_client();
        let leaving =
            self.role.as_replica_mut().map(|replica| replica.continued(replid, now)).unwrap_or_default();
        self.close_replicas(leaving);
    }

    /// A snapshot of the master begins to arrive. With `flush-before-load` the data at hand make room for it now, so that
    /// the two never take memory at the same time; otherwise they stay and answer until it is complete.
    pub fn prepare_for_snapshot(&mut self, size: Option<u64>) {
        if self.config.repl_diskless_load != ReplDisklessLoad::FlushBeforeLoad {
            return;
        }
        self.log(LogLevel::Notice, "MASTER <-> REPLICA sync: Flushing old data");
        if let Some(replica) = self.role.as_replica_mut() {
            replica.lose_history();
            // What this server has from here on is no place in the stream that others could go on from.
            let leaving = replica.stream.replicas.ids();
            self.close_replicas(leaving);
        }
        let empty = self.keyspace.emptied();
        self.replace_keyspace(empty);
        self.start_loading(size.unwrap_or(0));
    }

    /// The master's snapshot has been loaded: it takes the place of the data at hand. The stream goes on in database 0 unless
    /// `stream_db_index` is set to another.
    pub fn adopt_snapshot(&mut self, keyspace: Keyspace, history: Option<(ReplId, ReplOffset)>) {
        let now = self.now();
        self.persistence.loading = None;
        self.drop_master_client();
        self.stream_db_index = 0;
        // At no other moment of a resync is there so much: the old data and the new.
        self.glance_at_memory();
        self.replace_keyspace(keyspace);
        // Whatever has an expiry now has it from the master.
        self.own_expiries.clear();
        if let Some(replica) = self.role.as_replica_mut() {
            replica.lose_history();
            let leaving = replica.full_synced(history, now, &mut self.rng);
            self.close_replicas(leaving);
        }
    }

    /// Once a second: pings, time limits, and the size of the backlog.
    pub fn replication_cron(&mut self) {
        let now = self.now();
        let timeout_seconds = i64::from(self.config.repl_timeout);
        let is_master = self.role.is_master();
        // The period runs on without replicas: one that has just come is not pinged at once. It counts turns, not time: one that
        // comes a millisecond early is not to leave a ping out.
        self.replication_turns += 1;
        let is_due = self.replication_turns.is_multiple_of(u64::from(self.config.repl_ping_replica_period));
        if is_due && is_master && self.failover.is_none() && self.role.stream().replicas.count() > 0 {
            self.append_aside(ack::PING);
        }
        self.start_full_syncs();
        for id in self.role.stream().replicas.timed_out(timeout_seconds, now) {
            let name = self.replica_name(ClientId(id.0));
            let is_online = self.role.stream().replicas.get(id).is_some_and(|replica| replica.is_online());
            let kind = if is_online { "streaming" } else { "full" };
            self.log(LogLevel::Warning, format!("Disconnecting timedout replica {name} ({kind} sync)"));
            self.close_replicas(vec![id]);
        }
        self.trim_backlog();
        // The append-only file reads it too.
        if is_master && self.aof.reader().is_none() {
            let ttl = self.config.repl_backlog_ttl as i64;
            if self.role.stream_mut().drop_idle_backlog(ttl, now, &mut self.rng) {
                self.log(LogLevel::Notice, "Replication backlog freed after no replica came back in time");
                self.refresh_propagation();
            }
        }
    }

    /// Forgets the part of the stream that nobody keeps, after a look at the replicas that keep too much.
    pub fn trim_backlog(&mut self) {
        self.enforce_replica_limits();
        self.trim_log();
    }

    /// Forgets the part of the stream that neither `repl-backlog-size` nor a replica nor the append-only file keeps.
    fn trim_log(&mut self) {
        let backlog_bytes = self.config.repl_backlog_size;
        let aof = self.aof.reader();
        self.role.stream_mut().trim(backlog_bytes, aof);
    }

    /// `REPLCONF ACK` with the offset applied so far.
    pub fn ack_line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        if let Some(replica) = self.role.as_replica() {
            ack::write_ack(&mut line, replica.offset(), self.aof.fsynced());
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, UnixMillis};
    use crate::config::Config;
    use crate::replication::feed::ReplicaFeed;

    #[test]
    fn each_period_has_its_ping_even_if_turns_come_a_little_early() {
        for (period, pings) in [(1, 12), (3, 4)] {
            let config = Config { repl_ping_replica_period: period, ..Config::default() };
            let clock = ManualClock::new(UnixMillis(1_000_000));
            let mut engine = Engine::new(config, Box::new(clock.clone()), 1);
            engine.role.stream_mut().begin_backlog(&mut engine.rng);
            let (id, now) = (ReplicaId(7), engine.now());
            engine.role.stream_mut().replicas.register(id, "127.0.0.1");
            engine.role.stream_mut().replicas.attach(id, ReplicaFeed::full_resync(now, true), now);
            let start = engine.role.stream().log.end_offset();
            for turn in 0..12 {
                clock.advance_ms(if turn % 2 == 0 { 999 } else { 1001 });
                engine.time.sample();
                engine.replication_cron();
            }
            let written = engine.role.stream().log.end_offset().0 - start.0;
            assert_eq!(written, pings * ack::PING.len() as u64);
        }
    }
}
