//! One run: three nodes, a bad network for a while, then a good one; and what must hold all the time and at the end.

use std::collections::BTreeMap;

use russet::base::clock::{ManualClock, UnixMillis};
use russet::replication::log::ReplOffset;
use russet::storage::digest;

use crate::network::{Network, NodeId};
use crate::node::{Node, REPLICA_LIMIT_BYTES};
use crate::workload::{VERSIONED_KEYS, Write, Writer, disturb, version_in};

const NODES: usize = 3;
const STEP_MS_MAX: i64 = 20;
const TROUBLE_MS: i64 = 20_000;
/// Within this time after healing all must be well: links time out, reconnect and resync.
const RECOVERY_MS_MAX: i64 = 60_000;
const START: UnixMillis = UnixMillis(1_767_225_600_000);

/// What happened, over all runs.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    pub full_syncs: u64,
    pub partial_syncs: u64,
    pub writes: u64,
    /// Writes that WAIT confirmed on both replicas.
    pub confirmed: u64,
    pub crashes: u64,
    /// Crashes of a replica that was receiving a snapshot.
    pub crashes_in_sync: u64,
    /// Starts from a file that was older than the crash.
    pub restarts_from_file: u64,
    pub failovers: u64,
    /// Failovers that the old master has prepared: FAILOVER.
    pub handovers: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.full_syncs += other.full_syncs;
        self.partial_syncs += other.partial_syncs;
        self.writes += other.writes;
        self.confirmed += other.confirmed;
        self.crashes += other.crashes;
        self.crashes_in_sync += other.crashes_in_sync;
        self.restarts_from_file += other.restarts_from_file;
        self.failovers += other.failovers;
        self.handovers += other.handovers;
    }
}

pub struct Cluster {
    clock: ManualClock,
    now: i64,
    rng: fastrand::Rng,
    network: Network,
    backlog_bytes: u64,
    nodes: Vec<Option<Node>>,
    /// When a node that is down comes back.
    back_at: [i64; NODES],
    /// The snapshot that each node has on its disk, and how far the node had come when it went down.
    files: [Option<Vec<u8>>; NODES],
    reached: [ReplOffset; NODES],
    /// The master has been told to hand over, and until when it may try.
    hands_over_until: Option<i64>,
    master: NodeId,
    /// One replica follows the other.
    is_chain: bool,
    writers: Vec<Writer>,
    last_version: u64,
    /// The newest version of each key that a node has ever had.
    had: [[u64; VERSIONED_KEYS]; NODES],
    /// The newest version of each key that WAIT has confirmed on all replicas.
    confirmed: [u64; VERSIONED_KEYS],
    totals: Totals,
    is_verbose: bool,
}

impl Cluster {
    pub fn new(seed: u64, is_verbose: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let backlog_bytes = *rng.choice(&[500, 20_000, 1 << 20]).expect("some");
        let mut cluster = Self {
            clock: ManualClock::new(START),
            now: START.0,
            network: Network::new(rng.fork()),
            rng,
            backlog_bytes,
            nodes: Vec::new(),
            back_at: [0; NODES],
            files: Default::default(),
            reached: Default::default(),
            hands_over_until: None,
            master: 0,
            is_chain: false,
            writers: Vec::new(),
            last_version: 0,
            had: Default::default(),
            confirmed: Default::default(),
            totals: Totals::default(),
            is_verbose,
        };
        for id in 0..NODES {
            let node = cluster.new_node(id);
            cluster.nodes.push(Some(node));
        }
        cluster.is_chain = cluster.rng.u8(0..4) == 0;
        cluster.follow_all();
        cluster.begin_writing();
        cluster
    }

    fn new_node(&mut self, id: NodeId) -> Node {
        Node::new(id, self.clock.clone(), self.backlog_bytes, self.rng.fork())
    }

    /// Runs until the end of trouble and until all is well again.
    pub fn run(mut self) -> Totals {
        let trouble_ends = START.0 + TROUBLE_MS;
        let failover_at = START.0 + self.rng.i64(8000..15_000);
        let mut failover = self.rng.bool();
        while self.now < trouble_ends {
            self.step();
            self.trouble();
            self.work();
            if failover && self.now >= failover_at {
                failover = false;
                self.fail_over();
            }
        }
        self.network.heal();
        self.back_at = [0; NODES];
        let deadline = self.now + RECOVERY_MS_MAX;
        while !self.is_well() {
            assert!(self.now < deadline, "no recovery in {RECOVERY_MS_MAX} ms: {}", self.describe());
            self.step();
        }
        self.check_confirmed();
        for node in self.nodes.iter().flatten() {
            self.totals.full_syncs += node.engine.stats.sync_full;
            self.totals.partial_syncs += node.engine.stats.sync_partial_ok;
        }
        self.totals
    }

    /// Time passes, and what it brings.
    fn step(&mut self) {
        let ms = self.rng.i64(1..=STEP_MS_MAX);
        self.clock.advance_ms(ms);
        self.now += ms;
        self.network.tick(self.now);
        for id in 0..NODES {
            if self.nodes[id].is_none() && self.now >= self.back_at[id] {
                let node = self.new_node(id);
                self.nodes[id] = Some(node);
                self.follow(id, self.upstream_of(id));
                let (file, reached) = (self.files[id].as_ref(), self.reached[id]);
                self.say(&format!(
                    "node {id} is back, {}",
                    if file.is_some() { "from its file" } else { "empty" }
                ));
                if let (Some(file), Some(node)) = (file, &mut self.nodes[id]) {
                    node.load(file, reached);
                    self.totals.restarts_from_file += 1;
                }
            }
        }
        for node in self.nodes.iter_mut().flatten() {
            node.tick(&mut self.network);
        }
        while let Some((id, conn, end, arrival)) = self.network.deliver(self.now) {
            match &mut self.nodes[id] {
                Some(node) => node.arrive(conn, end, arrival, &mut self.network),
                None => self.network.break_all_of(id, self.now),
            }
        }
        self.hear_answers();
        self.check_memory();
        self.watch_handover();
    }

    /// Neither a slow replica nor one that is gone makes a node keep more of the stream than it may.
    fn check_memory(&self) {
        const SLACK_BYTES: u64 = 48 * 1024;
        for (id, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            let kept = node.engine.role.stream().log.memory_bytes() as u64;
            let bound = self.backlog_bytes.max(16 << 10).max(REPLICA_LIMIT_BYTES) + SLACK_BYTES;
            assert!(kept <= bound, "node {id} keeps {kept} bytes of the stream: {}", self.describe());
        }
    }

    fn begin_handover(&mut self) {
        let Some(node) = &mut self.nodes[self.master] else { return };
        let admin = node.local_client();
        let timeout_ms = self.rng.i64(200..3000).to_string();
        node.run(admin, &["FAILOVER", "TIMEOUT", &timeout_ms], &mut self.network);
        if node.engine.failover.is_some() {
            self.hands_over_until = Some(self.now + self.rng.i64(500..5000));
            self.say(&format!("node {} is told to hand over", self.master));
        }
    }

    /// A handover ends with a new master, or with the old one.
    fn watch_handover(&mut self) {
        let Some(until) = self.hands_over_until else { return self.call_back_strays() };
        let old = self.master;
        let node = self.nodes[old].as_mut().expect("nobody crashes meanwhile");
        let is_going_on = node.engine.failover.is_some();
        if is_going_on && self.now < until {
            return;
        }
        self.hands_over_until = None;
        if is_going_on {
            // Its target may have become a master already, and have taken no write: it is called back.
            let admin = node.local_client();
            node.run(admin, &["FAILOVER", "ABORT"], &mut self.network);
            self.say(&format!("node {old} gives up handing over"));
        } else if let Some(new) = node.master_of() {
            self.master = NodeId::from(new.port);
            self.say(&format!("node {old} has handed over to node {}", self.master));
            self.totals.handovers += 1;
        }
        (0..NODES).for_each(|id| self.remember(id));
        self.follow_all();
        self.begin_writing();
    }

    /// The request to take over may arrive after all when the old master has given up; as sentinel does, whoever takes
    /// itself for a second master is told otherwise.
    fn call_back_strays(&mut self) {
        let master = self.master;
        for id in (0..NODES).filter(|&id| id != master) {
            if self.nodes[id].as_ref().is_some_and(|node| node.engine.role.is_master()) {
                self.say(&format!("node {id} is called back"));
                self.remember(id);
                self.follow(id, self.upstream_of(id));
            }
        }
    }

    fn trouble(&mut self) {
        let is_calm = self.hands_over_until.is_none() && self.nodes.iter().all(Option::is_some);
        match self.rng.u32(0..600) {
            0..3 => self.network.break_one(self.now),
            3..5 => {
                let (a, b) = *self.rng.choice(&[(0, 1), (0, 2), (1, 2)]).expect("some");
                let until = self.now + self.rng.i64(100..6000);
                self.say(&format!("partition of {a} and {b} until {until}"));
                self.network.partition(a, b, until);
            }
            5 if self.rng.bool() => {
                let id = self.rng.usize(0..NODES);
                if id != self.master && is_calm {
                    self.crash(id);
                }
            }
            6 | 7 => {
                let (a, b) = *self.rng.choice(&[(0, 1), (0, 2), (1, 2)]).expect("some");
                let until = self.now + self.rng.i64(500..6000);
                self.say(&format!("the links between {a} and {b} are slow until {until}"));
                self.network.slow_down(a, b, until);
            }
            8..12 => {
                let id = self.rng.usize(0..NODES);
                self.files[id] = self.nodes[id].as_ref().map(Node::save);
            }
            12..40 if is_calm => {
                let syncing = (0..NODES).find(|&id| self.nodes[id].as_ref().is_some_and(Node::is_syncing));
                if let Some(id) = syncing.filter(|_| self.rng.u8(0..4) == 0) {
                    self.totals.crashes_in_sync += 1;
                    self.crash(id);
                }
            }
            40 if is_calm => self.begin_handover(),
            _ => {}
        }
    }

    /// A node is gone with all that it held.
    fn crash(&mut self, id: NodeId) {
        self.say(&format!("node {id} crashes"));
        self.remember(id);
        self.reached[id] = self.nodes[id].as_ref().map(Node::offset).unwrap_or_default();
        self.nodes[id] = None;
        self.back_at[id] = self.now + self.rng.i64(100..4000);
        self.network.break_all_of(id, self.now);
        self.totals.crashes += 1;
    }

    fn follow(&mut self, id: NodeId, master: NodeId) {
        let Some(node) = &mut self.nodes[id] else { return };
        let admin = node.local_client();
        node.run(admin, &["REPLICAOF", "node", &master.to_string()], &mut self.network);
        assert_eq!(node.master_of().map(|master| master.port), Some(master as u16));
    }

    fn follow_all(&mut self) {
        let master = self.master;
        for id in (0..NODES).filter(|&id| id != master) {
            self.follow(id, self.upstream_of(id));
        }
    }

    /// The master, or in a chain the replica before this one.
    fn upstream_of(&self, id: NodeId) -> NodeId {
        let first = (0..NODES).find(|&id| id != self.master).expect("there are replicas");
        if self.is_chain && id != first { first } else { self.master }
    }

    /// A replica that has data becomes the master, whatever state the old one is in.
    fn fail_over(&mut self) {
        if self.hands_over_until.is_some() {
            return;
        }
        let old = self.master;
        let is_fit = |id: &NodeId| *id != old && self.nodes[*id].as_ref().is_some_and(|node| node.has_synced);
        let fit: Vec<NodeId> = (0..NODES).filter(is_fit).collect();
        let Some(&new) = self.rng.choice(&fit) else { return };
        self.say(&format!("node {new} takes over from {old}"));
        if self.rng.bool() && self.nodes.iter().all(Option::is_some) {
            self.crash(old);
        }
        (0..NODES).for_each(|id| self.remember(id));
        self.hear_answers();
        let node = self.nodes[new].as_mut().expect("it is fit");
        let admin = node.local_client();
        node.run(admin, &["REPLICAOF", "NO", "ONE"], &mut self.network);
        self.master = new;
        self.follow_all();
        self.begin_writing();
        self.totals.failovers += 1;
    }

    fn begin_writing(&mut self) {
        let node = self.nodes[self.master].as_mut().expect("masters are up");
        self.writers = (0..3).map(|_| Writer::new(node)).collect();
    }

    fn work(&mut self) {
        if self.hands_over_until.is_some() {
            return;
        }
        let Some(node) = &mut self.nodes[self.master] else { return };
        for index in 0..self.writers.len() {
            let writer = &mut self.writers[index];
            if writer.waiting.is_some() || self.rng.u8(0..4) > 0 {
                continue;
            }
            if self.rng.u8(0..6) > 0 {
                disturb(writer.client, node, &mut self.network, &mut self.rng);
            } else {
                self.last_version += 1;
                let write = Write { key: self.rng.usize(0..VERSIONED_KEYS), version: self.last_version };
                writer.write_and_wait(write, node, &mut self.network, &mut self.rng);
                self.totals.writes += 1;
            }
        }
        self.hear_answers();
    }

    /// What WAIT answers must be true at that moment.
    fn hear_answers(&mut self) {
        let mut answers = Vec::new();
        if let Some(node) = &mut self.nodes[self.master] {
            answers.extend(self.writers.iter_mut().filter_map(|writer| writer.answer(node)));
        }
        if answers.is_empty() {
            return;
        }
        (0..NODES).for_each(|id| self.remember(id));
        for (write, count) in answers {
            let replicas = (0..NODES).filter(|&id| id != self.master);
            let having = replicas.filter(|&id| self.had[id][write.key] >= write.version).count() as u64;
            assert!(
                count <= having,
                "at {}: WAIT says that {count} replicas have {write:?}, and {having} do: {}",
                self.now - START.0,
                self.describe()
            );
            if count == NODES as u64 - 1 {
                self.totals.confirmed += 1;
                let confirmed = &mut self.confirmed[write.key];
                *confirmed = (*confirmed).max(write.version);
            }
        }
    }

    fn remember(&mut self, id: NodeId) {
        if let Some(node) = &mut self.nodes[id] {
            for (key, had) in self.had[id].iter_mut().enumerate() {
                *had = (*had).max(version_in(&mut node.engine, key));
            }
        }
    }

    fn is_well(&self) -> bool {
        let all_up = self.nodes.iter().all(|node| node.as_ref().is_some_and(Node::is_linked));
        if !all_up
            || self.hands_over_until.is_some()
            || self.writers.iter().any(|writer| writer.waiting.is_some())
        {
            return false;
        }
        let mut digests = self.nodes.iter().flatten().map(|node| digest::of_keyspace(&node.engine.keyspace));
        let first = digests.next().expect("there are nodes");
        digests.all(|digest| digest == first)
    }

    fn check_confirmed(&mut self) {
        for id in 0..NODES {
            for key in 0..VERSIONED_KEYS {
                let node = self.nodes[id].as_mut().expect("all are well");
                let (found, confirmed) = (version_in(&mut node.engine, key), self.confirmed[key]);
                assert!(
                    found >= confirmed,
                    "node {id} has version {found} of key {key}, and WAIT had confirmed {confirmed} on all"
                );
            }
        }
    }

    fn describe(&self) -> String {
        let mut text = format!("the master is node {}", self.master);
        for (id, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            let role = match node.engine.role.as_replica() {
                Some(replica) => format!("a replica of {} ({})", replica.master.port, replica.link().name()),
                None => "a master".to_owned(),
            };
            let stream = node.engine.role.stream();
            let keys = node.engine.keyspace.keys_len();
            text += &format!("\n  node {id} is {role}, offset {}, {keys} keys", stream.log.end_offset());
            for replica in stream.replicas.online() {
                let (port, acked) = (replica.listening_port, replica.acked());
                text += &format!("\n    node {port} has acknowledged {acked}");
            }
        }
        text + &self.differences()
    }

    /// The keys whose values are not the same everywhere.
    fn differences(&self) -> String {
        let mut values: BTreeMap<String, Vec<(NodeId, String)>> = BTreeMap::new();
        for (id, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            for (index, db) in node.engine.keyspace.dbs().enumerate() {
                for item in db.iter() {
                    let digest = &digest::of_value(item.value, item.expires_at.is_some())[..4];
                    let key = format!("db{index} {}", item.key.escape_ascii());
                    let value = format!("{digest:?}, expires at {:?}", item.expires_at);
                    values.entry(key).or_default().push((id, value));
                }
            }
        }
        values.retain(|_, found| found.len() < NODES || found.iter().any(|(_, value)| *value != found[0].1));
        values.iter().map(|(key, found)| format!("\n  {key}: {found:?}")).collect()
    }

    fn say(&self, what: &str) {
        if self.is_verbose {
            println!("{:>6} ms: {what}", self.now - START.0);
        }
    }
}
