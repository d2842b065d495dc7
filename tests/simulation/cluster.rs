//! One run: three nodes, a bad network for a while, then a good one; and what must hold all the time and at the end.

use std::collections::BTreeMap;

use russet::base::clock::{ManualClock, UnixMillis};
use russet::storage::digest;

use crate::network::{Network, NodeId};
use crate::node::Node;
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
    pub failovers: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.full_syncs += other.full_syncs;
        self.partial_syncs += other.partial_syncs;
        self.writes += other.writes;
        self.confirmed += other.confirmed;
        self.crashes += other.crashes;
        self.failovers += other.failovers;
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
                self.say(&format!("node {id} is back, empty"));
                self.follow(id, self.upstream_of(id));
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
    }

    fn trouble(&mut self) {
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
                if id != self.master && self.nodes.iter().all(Option::is_some) {
                    self.crash(id);
                }
            }
            _ => {}
        }
    }

    /// A node is gone with all that it held.
    fn crash(&mut self, id: NodeId) {
        self.say(&format!("node {id} crashes"));
        self.remember(id);
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
        if !all_up || self.writers.iter().any(|writer| writer.waiting.is_some()) {
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
