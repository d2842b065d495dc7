//! A replica's end of the link to its master, from the handshake to the stream, as steps over the engine.
//!
//! Whoever drives it moves the bytes and loads the snapshot: the runtime with a socket and a thread, the simulation with a
//! virtual network. All that the link does to the engine happens here.

use std::fmt;

use crate::command::dispatch;
use crate::engine::master_stream::{MasterStream, asks_for_ack};
use crate::engine::{Engine, LogLevel};
use crate::persistence::snapshot::Loaded;
use crate::replication::link::{Auth, Event, FailureKind, LinkOptions, MasterLink};
use crate::replication::log::ReplOffset;
use crate::replication::replid::ReplId;
use crate::resp::request::{Batch, Decoder, Limits};

/// What one stay inside the engine may apply.
const APPLY_REQUESTS_MAX: usize = 256;
const APPLY_BYTES_MAX: usize = 64 * 1024;
/// A master is trusted with sizes that clients are not.
const BULK_BYTES_MAX: u64 = u32::MAX as u64;

/// What the driver does next.
#[derive(Debug)]
pub enum Step<'a> {
    /// All input is used: read more.
    Read,
    /// Nothing; there may be more in the input.
    Go,
    /// To be written to the master.
    Send(Vec<u8>),
    /// A snapshot begins: prepare to load it into a data set of its own.
    BeginSnapshot,
    /// The next bytes of the snapshot.
    Snapshot(&'a [u8]),
    /// The snapshot is complete: load it, and hand it in with [`Follower::adopt`].
    EndSnapshot,
    /// More of the stream waits in [`Follower::stream`].
    Stream,
}

/// Why a link is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkError {
    /// The engine follows another master by now, or none.
    Superseded,
    Failed(String),
}

impl std::error::Error for LinkError {}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded => f.write_str("another master was named meanwhile"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

/// One link, from the moment it is connected.
#[derive(Debug)]
pub struct Follower {
    epoch: u64,
    protocol: MasterLink,
    /// What the snapshot under way is a snapshot of.
    history: Option<(ReplId, ReplOffset)>,
    stream: Option<StreamApplier>,
}

impl Follower {
    /// The connection stands. Answers what is said first.
    pub fn open(engine: &mut Engine) -> (Self, Vec<u8>) {
        let mut protocol = MasterLink::new(link_options(engine));
        let now = engine.now();
        if let Some(replica) = engine.role.as_replica_mut() {
            replica.handshaking(now);
        }
        let hello = protocol.start();
        (Self { epoch: engine.link_epoch, protocol, history: None, stream: None }, hello)
    }

    /// Which of the engine's links this is.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What applies the stream, once there is one: from then on all input belongs there.
    pub fn stream(&mut self) -> Option<&mut StreamApplier> {
        self.stream.as_mut()
    }

    pub fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    /// Takes the next step from the front of `input`.
    pub fn receive<'e, 'i: 'e>(
        &'e mut self,
        engine: &mut Engine,
        input: &mut &'i [u8],
    ) -> Result<Step<'e>, LinkError> {
        let now = engine.now();
        if engine.link_epoch != self.epoch {
            return Err(LinkError::Superseded);
        }
        let replica = engine.role.as_replica_mut().ok_or(LinkError::Superseded)?;
        let Some(event) = self.protocol.receive(input) else { return Ok(Step::Read) };
        Ok(match event {
            Event::Send(line) => Step::Send(line),
            Event::FullSync { history } => {
                replica.syncing(now);
                engine.finish_failover();
                if let Some((replid, offset)) = &history {
                    engine.log(LogLevel::Notice, format!("Full resync from master: {replid}:{offset}"));
                }
                self.history = history;
                Step::Go
            }
            Event::SnapshotSize(size) => {
                replica.note_payload_size(size);
                engine.prepare_for_snapshot(size);
                let what = match size {
                    Some(bytes) => format!("receiving {bytes} bytes from master"),
                    None => "receiving streamed RDB from master with EOF".to_owned(),
                };
                engine.log(LogLevel::Notice, format!("MASTER <-> REPLICA sync: {what}"));
                engine.log(LogLevel::Notice, "MASTER <-> REPLICA sync: Loading DB in memory");
                Step::BeginSnapshot
            }
            Event::SnapshotChunk(chunk) => {
                replica.note_io(chunk.len(), now);
                engine.stats.net_repl_input_bytes += chunk.len() as u64;
                if let Some(loading) = &mut engine.persistence.loading {
                    loading.loaded_bytes += chunk.len() as u64;
                }
                Step::Snapshot(chunk)
            }
            Event::SnapshotEnd => Step::EndSnapshot,
            Event::Continue { replid } => {
                engine.log(LogLevel::Notice, "Successful partial resynchronization with master.");
                engine.link_continues(replid);
                engine.finish_failover();
                self.stream = Some(StreamApplier::new(engine, self.epoch));
                Step::Stream
            }
            Event::Stream(stream) => {
                if let Some(applier) = &mut self.stream {
                    applier.push(stream);
                }
                Step::Stream
            }
            Event::Failed(failure) => {
                if failure.kind == FailureKind::FailoverRefused {
                    engine.abort_failover("Failover target rejected psync request");
                }
                return Err(LinkError::Failed(failure.reason));
            }
        })
    }

    /// The snapshot is loaded: it takes the place of the old data, and the stream begins.
    pub fn adopt(&mut self, engine: &mut Engine, loaded: Loaded) -> Result<(), LinkError> {
        if engine.link_epoch != self.epoch {
            return Err(LinkError::Superseded);
        }
        let keys = loaded.keyspace.keys_len();
        engine.note_loaded(loaded.keys, loaded.expired);
        engine.adopt_snapshot(loaded.keyspace, self.history.take());
        engine.stream_db_index = engine.saved_stream_db_index(&loaded.summary.aux);
        engine.restart_aof();
        engine.log(
            LogLevel::Notice,
            format!("MASTER <-> REPLICA sync: Finished with success, {keys} keys loaded"),
        );
        self.stream = Some(StreamApplier::new(engine, self.epoch));
        Ok(())
    }
}

fn link_options(engine: &Engine) -> LinkOptions {
    let config = &engine.config;
    let announced = config.replica_announce_port;
    let auth = (!config.masterauth.is_empty()).then(|| Auth {
        user: (!config.masteruser.is_empty()).then(|| config.masteruser.clone()),
        password: config.masterauth.clone(),
    });
    LinkOptions {
        listening_port: if announced == 0 { config.port } else { announced },
        announce_ip: (!config.replica_announce_ip.is_empty()).then(|| config.replica_announce_ip.clone()),
        auth,
        psync_from: engine.role.as_replica().and_then(|replica| replica.psync_from()),
        is_failover: engine.is_failing_over(),
    }
}

/// What the buffer of a stream keeps once all of it is applied, however large a value has passed through it.
const PENDING_BYTES_KEPT: usize = 64 * 1024;

/// Decodes the stream, which needs no engine, and runs it there.
#[derive(Debug)]
pub struct StreamApplier {
    epoch: u64,
    decoder: Decoder,
    batch: Batch,
    limits: Limits,
    stream: MasterStream,
    /// Bytes that have not been applied.
    pending: Vec<u8>,
    /// How many bytes of `pending` are done with, and how many behind them are decoded.
    applied: usize,
    decoded: usize,
    /// CLIENT PAUSE: what is pending has to wait.
    is_held: bool,
}

impl StreamApplier {
    fn new(engine: &Engine, epoch: u64) -> Self {
        Self {
            epoch,
            decoder: Decoder::new(),
            batch: Batch::new(),
            limits: Limits { authenticated: true, bulk_bytes_max: BULK_BYTES_MAX, ..Limits::default() },
            stream: MasterStream::new(engine),
            pending: Vec::new(),
            applied: 0,
            decoded: 0,
            is_held: false,
        }
    }

    /// Takes what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.drain(..std::mem::take(&mut self.applied));
        self.pending.extend_from_slice(bytes);
    }

    /// Decodes the next requests for [`Self::apply`]; false when none is complete.
    pub fn decode(&mut self) -> Result<bool, LinkError> {
        let input = &self.pending[self.applied..];
        self.decoded = self
            .decoder
            .decode(input, &self.limits, &mut self.batch, APPLY_REQUESTS_MAX, APPLY_BYTES_MAX)
            .map_err(|error| LinkError::Failed(format!("the master's stream is malformed: {error}")))?;
        Ok(self.decoded > 0)
    }

    /// How much waits for the end of a pause; none while there is none.
    pub fn held_bytes(&self) -> Option<usize> {
        self.is_held.then(|| self.pending.len() - self.applied)
    }

    /// Runs what was decoded; answers the acknowledgements that were asked for, or none if a pause holds the stream: then
    /// the same is to be decoded again later.
    pub fn apply(&mut self, engine: &mut Engine) -> Result<Option<Vec<u8>>, LinkError> {
        if engine.link_epoch != self.epoch {
            return Err(LinkError::Superseded);
        }
        self.is_held = engine.is_paused();
        if self.is_held {
            let (waiting, now) = (self.pending.len() - self.applied, engine.now());
            if let Some(replica) = engine.role.as_replica_mut() {
                replica.note_read_ahead(waiting, now);
            }
            (self.decoder, self.decoded) = (Decoder::new(), 0);
            return Ok(None);
        }
        let now = engine.now();
        if let Some(replica) = engine.role.as_replica_mut() {
            replica.note_io(0, now);
        }
        let mut acks = Vec::new();
        let input = &self.pending[self.applied..];
        for (args, request) in self.batch.iter(input).zip(self.batch.requests()) {
            if asks_for_ack(&args) {
                acks.extend_from_slice(&engine.ack_line());
            } else {
                dispatch::apply(engine, &args);
            }
            self.stream.count(engine, &args, &input[request.start..][..request.bytes]);
        }
        engine.stats.net_repl_input_bytes += self.decoded as u64;
        engine.trim_backlog();
        self.applied += std::mem::take(&mut self.decoded);
        if self.applied == self.pending.len() {
            self.pending.clear();
            self.pending.shrink_to(PENDING_BYTES_KEPT);
            self.applied = 0;
        }
        if let Some(replica) = engine.role.as_replica_mut() {
            replica.note_read_ahead(self.pending.len() - self.applied, now);
        }
        Ok(Some(acks))
    }
}
