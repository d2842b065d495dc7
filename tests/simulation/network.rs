//! Connections between nodes: bytes arrive in order, late, or not at all when the connection breaks.

use std::collections::{BTreeMap, VecDeque};

pub type NodeId = usize;
pub type ConnId = u64;

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Who has opened it: the replica.
    Near,
    /// Who was called: the master.
    Far,
}

/// What arrives at one end.
#[derive(Debug)]
pub enum Arrival {
    Bytes(Vec<u8>),
    Closed,
}

#[derive(Debug)]
struct Conn {
    nodes: [NodeId; 2],
    /// To the near and to the far end, with the time of arrival.
    queues: [VecDeque<(i64, Arrival)>; 2],
}

/// What a slow link carries.
const SLOW_BYTES_PER_MS: usize = 2;

pub struct Network {
    conns: BTreeMap<ConnId, Conn>,
    last_conn: ConnId,
    /// Pairs that do not hear of each other, until a time.
    partitions: Vec<(NodeId, NodeId, i64)>,
    /// Pairs whose links carry few bytes in a millisecond, until a time.
    slow: Vec<(NodeId, NodeId, i64)>,
    latency_ms_max: i64,
    rng: fastrand::Rng,
}

impl Network {
    pub fn new(mut rng: fastrand::Rng) -> Self {
        let latency_ms_max = *rng.choice(&[1, 20, 300]).expect("there are some");
        Self {
            conns: BTreeMap::new(),
            last_conn: 0,
            partitions: Vec::new(),
            slow: Vec::new(),
            latency_ms_max,
            rng,
        }
    }

    /// Opens a connection, unless the two are partitioned.
    pub fn connect(&mut self, from: NodeId, to: NodeId, now: i64) -> Option<ConnId> {
        if self.is_partitioned(from, to, now) {
            return None;
        }
        self.last_conn += 1;
        self.conns.insert(self.last_conn, Conn { nodes: [from, to], queues: Default::default() });
        Some(self.last_conn)
    }

    /// Sends from one end to the other. What is sent into a broken connection is lost.
    pub fn send(&mut self, conn: ConnId, from: End, bytes: Vec<u8>, now: i64) {
        let latency_ms = self.rng.i64(0..=self.latency_ms_max);
        let Some(conn) = self.conns.get_mut(&conn) else { return };
        if bytes.is_empty() {
            return;
        }
        let is_slow = self.slow.iter().any(|&(a, b, _)| conn.nodes == [a, b] || conn.nodes == [b, a]);
        let mut at = now + latency_ms;
        if is_slow {
            // What was sent before goes first.
            at = at.max(conn.last_arrival(from)) + (bytes.len() / SLOW_BYTES_PER_MS) as i64;
        }
        conn.push(from, at, Arrival::Bytes(bytes));
    }

    /// Bytes that one end has sent and the other has not received.
    pub fn under_way(&self, conn: ConnId, from: End) -> usize {
        let Some(conn) = self.conns.get(&conn) else { return 0 };
        let sizes = conn.queues[from.other() as usize].iter().map(|(_, arrival)| match arrival {
            Arrival::Bytes(bytes) => bytes.len(),
            Arrival::Closed => 0,
        });
        sizes.sum()
    }

    /// One end closes: the other reads what is under way, then the end.
    pub fn close(&mut self, id: ConnId, from: End, now: i64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.queues[from as usize].clear();
        conn.push(from, now, Arrival::Closed);
    }

    /// What arrives next at any end, if it is due: where, and on which connection.
    pub fn deliver(&mut self, now: i64) -> Option<(NodeId, ConnId, End, Arrival)> {
        let partitions = std::mem::take(&mut self.partitions);
        let is_cut =
            |nodes: [NodeId; 2]| partitions.iter().any(|&(a, b, _)| nodes == [a, b] || nodes == [b, a]);
        let due = self.conns.iter().filter(|(_, conn)| !is_cut(conn.nodes)).find_map(|(&id, conn)| {
            let is_due = |end: &End| conn.queues[*end as usize].front().is_some_and(|&(at, _)| at <= now);
            [End::Near, End::Far].into_iter().find(is_due).map(|end| (id, end))
        });
        self.partitions = partitions;
        let (id, end) = due?;
        let conn = self.conns.get_mut(&id).expect("it was just found");
        let (_, mut arrival) = conn.queues[end as usize].pop_front().expect("it is due");
        let node = conn.nodes[end as usize];
        match &mut arrival {
            Arrival::Closed => drop(self.conns.remove(&id)),
            // A read may find any part of what was written.
            Arrival::Bytes(bytes) => {
                let count = self.rng.usize(1..=bytes.len());
                if self.rng.u8(..) < 30 && count < bytes.len() {
                    let rest = bytes.split_off(count);
                    conn.queues[end as usize].push_front((now, Arrival::Bytes(rest)));
                }
            }
        }
        Some((node, id, end, arrival))
    }

    /// Breaks one connection, somewhere in the middle of what is under way. Both ends hear of it.
    pub fn break_one(&mut self, now: i64) {
        let ids: Vec<ConnId> = self.conns.keys().copied().collect();
        if let Some(&id) = self.rng.choice(&ids) {
            self.break_conn(id, now);
        }
    }

    /// A node is gone, and with it its connections.
    pub fn break_all_of(&mut self, node: NodeId, now: i64) {
        let ids: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.nodes.contains(&node)).map(|(&id, _)| id).collect();
        for id in ids {
            self.break_conn(id, now);
        }
    }

    fn break_conn(&mut self, id: ConnId, now: i64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        for queue in &mut conn.queues {
            let kept = self.rng.usize(0..=queue.len());
            queue.truncate(kept);
            queue.push_back((now, Arrival::Closed));
        }
    }

    pub fn partition(&mut self, a: NodeId, b: NodeId, until: i64) {
        self.partitions.push((a, b, until));
    }

    pub fn slow_down(&mut self, a: NodeId, b: NodeId, until: i64) {
        self.slow.push((a, b, until));
    }

    /// Ends the partitions whose time is over.
    pub fn tick(&mut self, now: i64) {
        self.slow.retain(|&(_, _, until)| until > now);
        self.partitions.retain(|&(_, _, until)| until > now);
    }

    pub fn heal(&mut self) {
        self.partitions.clear();
        self.slow.clear();
        self.latency_ms_max = 1;
    }

    fn is_partitioned(&self, a: NodeId, b: NodeId, now: i64) -> bool {
        self.partitions.iter().any(|&(x, y, until)| until > now && ((x, y) == (a, b) || (y, x) == (a, b)))
    }
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

impl Conn {
    /// When the last of what was sent so far arrives.
    fn last_arrival(&self, from: End) -> i64 {
        self.queues[from.other() as usize].back().map_or(0, |&(at, _)| at)
    }

    fn push(&mut self, from: End, at: i64, arrival: Arrival) {
        let queue = &mut self.queues[from.other() as usize];
        let at = queue.back().map_or(at, |&(before, _)| at.max(before));
        queue.push_back((at, arrival));
    }
}
