//! One server of the cluster: an engine, and around it what the runtime does for it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use russet::base::clock::ManualClock;
use russet::command::{self, Executed, TABLE, active_expire, dispatch};
use russet::config::{Config, HostPort};
use russet::engine::client::{ClientKind, Closing};
use russet::engine::{ClientId, Engine, FullSync, Job};
use russet::persistence::snapshot::{self, Duplicates};
use russet::replication::backoff::Backoff;
use russet::replication::feed::FeedStep;
use russet::replication::log::ReplOffset;
use russet::resp::args::OwnedArgs;
use russet::resp::request::{Batch, Decoder, Limits};

use crate::link::Link;
use crate::network::{Arrival, ConnId, End, Network, NodeId};

const STREAM_BYTES_MAX: usize = 4096;
const PAYLOAD_PIECE_BYTES: usize = 700;
const TICK_MS: i64 = 100;
/// What a connection takes before the other end has received it.
const WINDOW_BYTES: usize = 16 * 1024;
/// `client-output-buffer-limit replica`.
pub const REPLICA_LIMIT_BYTES: u64 = 64 * 1024;

pub struct Node {
    pub id: NodeId,
    pub engine: Engine,
    callers: BTreeMap<ConnId, Caller>,
    link: Option<Link>,
    /// It has had all data of a master once, so that it may take over.
    pub has_synced: bool,
    /// What it had reached before it went down and came back from an older file.
    reached: ReplOffset,
    backoff: Backoff,
    connect_at: i64,
    next_tick: i64,
    next_second: i64,
    rng: fastrand::Rng,
}

/// Who has connected: a replica, at any stage.
struct Caller {
    client: ClientId,
    query: Vec<u8>,
    decoder: Decoder,
    /// A frozen data set that will be encoded at this time.
    sync: Option<(i64, Rc<FullSync>)>,
    payload: VecDeque<Vec<u8>>,
}

impl Node {
    pub fn new(id: NodeId, clock: ManualClock, backlog_bytes: u64, mut rng: fastrand::Rng) -> Self {
        let mut config = Config {
            repl_timeout: 3,
            repl_ping_replica_period: 1,
            repl_backlog_size: backlog_bytes,
            repl_diskless_sync_delay: rng.u32(0..2),
            port: id as u16,
            ..Config::default()
        };
        config.client_output_buffer_limits.replica.hard_bytes = REPLICA_LIMIT_BYTES;
        config.client_output_buffer_limits.replica.soft_bytes = 0;
        let engine = command::new_engine(config, Box::new(clock), rng.u64(..));
        let backoff = Backoff::new(rng.fork());
        let now = engine.now().0;
        Self {
            id,
            engine,
            callers: BTreeMap::new(),
            link: None,
            has_synced: false,
            reached: ReplOffset::default(),
            backoff,
            connect_at: now,
            next_tick: now + TICK_MS,
            next_second: now + 1000,
            rng,
        }
    }

    /// The snapshot file as it would be written now.
    pub fn save(&self) -> Vec<u8> {
        let engine = &self.engine;
        snapshot::write(&engine.keyspace, &engine.snapshot_options(), Vec::new(), || Ok(()))
            .expect("a vector takes everything")
    }

    /// Starts from a file, as a replica that had reached `reached` when it went down.
    pub fn load(&mut self, file: &[u8], reached: ReplOffset) {
        let engine = &mut self.engine;
        let options = engine.load_options(Duplicates::Refuse);
        let loaded = snapshot::read(file, engine.empty_keyspace(), &options, |_| ())
            .unwrap_or_else(|error| panic!("the node's own file is refused: {error}"));
        if let Some((replid, offset)) = Engine::saved_history(&loaded.summary.aux) {
            let now = engine.now();
            engine.role.restore(replid, offset, now);
            engine.stream_db_index = engine.saved_stream_db_index(&loaded.summary.aux);
        }
        engine.finish_loading(loaded);
        self.reached = reached;
    }

    /// How far its stream reaches.
    pub fn offset(&self) -> ReplOffset {
        self.engine.role.stream().log.end_offset()
    }

    fn now(&self) -> i64 {
        self.engine.now().0
    }

    /// A client on the node itself.
    pub fn local_client(&mut self) -> ClientId {
        self.engine.time.sample();
        let now = self.engine.now();
        let client = self.engine.clients.connect(now);
        client.is_authenticated = true;
        client.id
    }

    /// Runs one request of a local client.
    pub fn run(&mut self, client: ClientId, words: &[impl AsRef<[u8]>], network: &mut Network) -> Executed {
        self.engine.time.sample();
        let args: OwnedArgs = words.iter().collect();
        let args = args.as_args();
        let executed = dispatch::execute(&mut self.engine, client, TABLE.lookup(&args), &args);
        self.settle(network);
        executed
    }

    /// What a local client has been answered; None when it is gone.
    pub fn take_reply(&mut self, client: ClientId) -> Option<Vec<u8>> {
        let client = self.engine.clients.get_mut(client)?;
        let mut out = Vec::new();
        client.swap_output(&mut out);
        (client.closing == Closing::No).then_some(out)
    }

    pub fn is_blocked(&self, client: ClientId) -> bool {
        self.engine.clients.get(client).is_some_and(|client| client.blocked.is_some())
    }

    /// What happens by itself, at the clock's time.
    pub fn tick(&mut self, network: &mut Network) {
        self.engine.time.sample();
        let now = self.now();
        dispatch::expire_timeouts(&mut self.engine);
        if now >= self.next_tick {
            self.next_tick = now + TICK_MS;
            while active_expire::expire_slice(&mut self.engine, 64) {}
            self.engine.continue_failover();
        }
        if now >= self.next_second {
            self.next_second = now + 1000;
            self.engine.replication_cron();
            let ack = self.engine.ack_line();
            if let Some(link) = self.link.as_ref().filter(|link| link.is_streaming()) {
                network.send(link.conn, End::Near, ack, now);
            }
        }
        let timeout_ms = i64::from(self.engine.config.repl_timeout) * 1000;
        if self.link.as_ref().is_some_and(|link| now - link.last_read > timeout_ms) {
            self.lose_link(network);
        }
        if self.link.is_none() && now >= self.connect_at {
            self.connect(network);
        }
        self.settle(network);
    }

    fn connect(&mut self, network: &mut Network) {
        let Some(replica) = self.engine.role.as_replica() else { return };
        let (now, to) = (self.now(), NodeId::from(replica.master.port));
        match network.connect(self.id, to, now) {
            Some(conn) => {
                let (link, hello) = Link::open(&mut self.engine, conn);
                network.send(conn, End::Near, hello, now);
                self.link = Some(link);
            }
            None => self.connect_at = now + self.backoff.next_delay_ms() as i64,
        }
    }

    fn lose_link(&mut self, network: &mut Network) {
        let Some(link) = self.link.take() else { return };
        let now = self.now();
        network.close(link.conn, End::Near, now);
        if link.epoch() == self.engine.link_epoch {
            self.engine.link_lost();
        }
        self.connect_at = now + self.backoff.next_delay_ms() as i64;
    }

    /// Something has arrived on a connection of this node.
    pub fn arrive(&mut self, conn: ConnId, end: End, arrival: Arrival, network: &mut Network) {
        self.engine.time.sample();
        match (end, arrival) {
            (End::Near, Arrival::Bytes(bytes)) => self.arrive_from_master(conn, &bytes, network),
            (End::Near, Arrival::Closed) => {
                if self.link.as_ref().is_some_and(|link| link.conn == conn) {
                    self.lose_link(network);
                }
            }
            (End::Far, Arrival::Bytes(bytes)) => {
                let caller = self.caller(conn);
                caller.query.extend_from_slice(&bytes);
                self.process(conn);
            }
            (End::Far, Arrival::Closed) => self.hang_up(conn, network),
        }
        self.settle(network);
    }

    fn arrive_from_master(&mut self, conn: ConnId, bytes: &[u8], network: &mut Network) {
        let Some(link) = self.link.as_mut().filter(|link| link.conn == conn) else { return };
        match link.receive(&mut self.engine, bytes) {
            Ok(out) => {
                if link.is_streaming() {
                    self.backoff.reset();
                    self.has_synced |= self.engine.role.stream().log.end_offset() >= self.reached;
                }
                let now = self.engine.now().0;
                network.send(conn, End::Near, out, now);
            }
            Err(_) => self.lose_link(network),
        }
    }

    fn caller(&mut self, conn: ConnId) -> &mut Caller {
        if !self.callers.contains_key(&conn) {
            let client = self.local_client();
            let client = self.engine.clients.get_mut(client).expect("it is new");
            client.addr = format!("10.0.0.1:{conn}");
            let caller = Caller {
                client: client.id,
                query: Vec::new(),
                decoder: Decoder::new(),
                sync: None,
                payload: VecDeque::new(),
            };
            self.callers.insert(conn, caller);
        }
        self.callers.get_mut(&conn).expect("it is there")
    }

    fn process(&mut self, conn: ConnId) {
        let Some(caller) = self.callers.get_mut(&conn) else { return };
        let mut batch = Batch::new();
        let limits = Limits { authenticated: true, ..Limits::default() };
        loop {
            let used = caller
                .decoder
                .decode(&caller.query, &limits, &mut batch, 1, usize::MAX)
                .unwrap_or_else(|error| panic!("a replica's request is malformed: {error}"));
            if used == 0 {
                return;
            }
            for args in batch.iter(&caller.query) {
                dispatch::execute(&mut self.engine, caller.client, TABLE.lookup(&args), &args);
            }
            caller.query.drain(..used);
        }
    }

    fn hang_up(&mut self, conn: ConnId, network: &mut Network) {
        if let Some(caller) = self.callers.remove(&conn) {
            dispatch::disconnect(&mut self.engine, caller.client);
            let now = self.now();
            network.close(conn, End::Far, now);
        }
    }

    /// Carries out what the engine has left, and sends what there is to send.
    fn settle(&mut self, network: &mut Network) {
        for job in std::mem::take(&mut self.engine.jobs) {
            match job {
                Job::MasterChanged => {
                    if let Some(link) = self.link.take() {
                        let now = self.now();
                        network.close(link.conn, End::Near, now);
                    }
                    self.backoff.reset();
                    self.connect_at = self.now();
                }
                Job::Close(id) => self.engine.clients.close(id, Closing::Now),
                Job::FullSync(sync) => {
                    let sync = Rc::new(*sync);
                    for caller in self.callers.values_mut().filter(|it| sync.replicas.contains(&it.client)) {
                        let ready_at = self.engine.now().0 + self.rng.i64(0..500);
                        caller.sync = Some((ready_at, sync.clone()));
                    }
                }
                _ => {}
            }
        }
        self.engine.log_lines.clear();
        self.engine.take_pending_writes();
        let conns: Vec<ConnId> = self.callers.keys().copied().collect();
        for conn in conns {
            self.serve(conn, network);
        }
    }

    fn serve(&mut self, conn: ConnId, network: &mut Network) {
        let now = self.now();
        let caller = self.callers.get_mut(&conn).expect("the caller has found it");
        let Some(client) = self.engine.clients.get_mut(caller.client) else {
            return self.hang_up(conn, network);
        };
        let mut out = Vec::new();
        client.swap_output(&mut out);
        if client.closing != Closing::No {
            return self.hang_up(conn, network);
        }
        if client.kind != ClientKind::Replica {
            return network.send(conn, End::Far, out, now);
        }
        let id = caller.client;
        if let Some((_, sync)) = caller.sync.take_if(|(ready_at, _)| *ready_at <= now) {
            let file = snapshot::write(&sync.keyspace, &sync.options, Vec::new(), || Ok(()))
                .expect("a vector takes everything");
            let size = (!sync.is_eof_framed).then_some(file.len() as u64);
            self.engine.begin_payload(id, size);
            self.engine.full_sync_encoded(&sync);
            caller.payload = file.chunks(PAYLOAD_PIECE_BYTES).map(<[u8]>::to_vec).collect();
        }
        loop {
            if network.under_way(conn, End::Far) > WINDOW_BYTES {
                return;
            }
            match self.engine.next_feed_step(id, STREAM_BYTES_MAX) {
                FeedStep::Write(pieces) => network.send(conn, End::Far, pieces.concat(), now),
                FeedStep::Snapshot => match caller.payload.pop_front() {
                    Some(piece) => {
                        let bytes = piece.len();
                        network.send(conn, End::Far, piece, now);
                        self.engine.note_payload_sent(id, bytes);
                        // The rest is sent later, while writes go on.
                        return;
                    }
                    None => self.engine.end_payload(id).expect("the size was counted"),
                },
                FeedStep::Idle => return,
                FeedStep::Lost => return self.hang_up(conn, network),
            }
        }
    }

    /// Whether the node has all that its master has sent, as far as it knows.
    pub fn is_linked(&self) -> bool {
        self.engine.role.as_replica().is_none_or(|replica| replica.is_up())
    }

    /// Whether a snapshot is on its way to it.
    pub fn is_syncing(&self) -> bool {
        self.engine.role.as_replica().is_some_and(|replica| replica.is_syncing())
    }

    pub fn master_of(&self) -> Option<HostPort> {
        self.engine.config.replicaof.clone()
    }
}
