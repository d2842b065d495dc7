//! A replica's end of its link: handshake, payload and stream, as `runtime::master_link` drives them.

use russet::command::dispatch;
use russet::engine::Engine;
use russet::engine::master_stream::{MasterStream, asks_for_ack};
use russet::persistence::snapshot::{self, Duplicates};
use russet::replication::link::{Event, LinkOptions, MasterLink};
use russet::replication::log::ReplOffset;
use russet::replication::replid::ReplId;
use russet::resp::request::{Batch, Decoder, Limits};

use crate::network::ConnId;

/// The link is of no use any more.
#[derive(Debug)]
pub struct Broken;

pub struct Link {
    pub conn: ConnId,
    pub epoch: u64,
    pub last_read: i64,
    protocol: MasterLink,
    history: Option<(ReplId, ReplOffset)>,
    payload: Vec<u8>,
    applier: Option<Applier>,
}

struct Applier {
    decoder: Decoder,
    stream: MasterStream,
    pending: Vec<u8>,
}

impl Link {
    /// The connection stands. Answers what is said first.
    pub fn open(engine: &mut Engine, conn: ConnId, port: u16) -> (Self, Vec<u8>) {
        let now = engine.now();
        engine.link_connecting();
        let replica = engine.role.as_replica_mut().expect("only replicas open links");
        let psync_from = replica.psync_from();
        replica.handshaking(now);
        let options = LinkOptions { listening_port: port, announce_ip: None, auth: None, psync_from };
        let mut protocol = MasterLink::new(options);
        let hello = protocol.start();
        let (history, payload, applier) = (None, Vec::new(), None);
        (
            Self { conn, epoch: engine.link_epoch, last_read: now.0, protocol, history, payload, applier },
            hello,
        )
    }

    pub fn is_streaming(&self) -> bool {
        self.applier.is_some()
    }

    /// Takes what has come from the master; answers what is to be sent.
    pub fn receive(&mut self, engine: &mut Engine, bytes: &[u8]) -> Result<Vec<u8>, Broken> {
        let now = engine.now();
        self.last_read = now.0;
        let mut out = Vec::new();
        if let Some(applier) = &mut self.applier {
            applier.apply(engine, bytes, &mut out)?;
            return Ok(out);
        }
        let mut input = bytes;
        loop {
            let Some(event) = self.protocol.receive(&mut input) else { return Ok(out) };
            match event {
                Event::Send(line) => out.extend_from_slice(&line),
                Event::FullSync { history } => {
                    self.history = history;
                    engine.role.as_replica_mut().ok_or(Broken)?.syncing(now);
                }
                Event::SnapshotSize(size) => {
                    engine.role.as_replica_mut().ok_or(Broken)?.note_payload_size(size);
                }
                Event::SnapshotChunk(chunk) => {
                    engine.role.as_replica_mut().ok_or(Broken)?.note_io(chunk.len(), now);
                    self.payload.extend_from_slice(chunk);
                }
                Event::SnapshotEnd => {
                    let options = engine.load_options(Duplicates::Refuse);
                    let loaded = snapshot::read(&self.payload[..], engine.empty_keyspace(), &options, || ())
                        .unwrap_or_else(|error| panic!("the master's payload is refused: {error}"));
                    engine.adopt_snapshot(loaded.keyspace, self.history.take());
                    engine.stream_db_index = engine.saved_stream_db_index(&loaded.summary.aux);
                    self.applier = Some(Applier::new(engine));
                    out.extend_from_slice(&engine.ack_line());
                }
                Event::Continue { replid } => {
                    engine.link_continues(replid);
                    self.applier = Some(Applier::new(engine));
                }
                Event::Stream(stream) => {
                    self.applier.as_mut().expect("a stream begins first").apply(engine, stream, &mut out)?;
                }
                Event::Failed(_) => return Err(Broken),
            }
        }
    }
}

impl Applier {
    fn new(engine: &Engine) -> Self {
        Self { decoder: Decoder::new(), stream: MasterStream::new(engine), pending: Vec::new() }
    }

    fn apply(&mut self, engine: &mut Engine, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        self.pending.extend_from_slice(bytes);
        let limits = Limits { authenticated: true, ..Limits::default() };
        let mut batch = Batch::new();
        let decoded = self.decoder.decode(&self.pending, &limits, &mut batch, usize::MAX, usize::MAX);
        let used = decoded.unwrap_or_else(|error| panic!("the master's stream is malformed: {error}"));
        let epoch = engine.link_epoch;
        let now = engine.now();
        engine.role.as_replica_mut().ok_or(Broken)?.note_io(0, now);
        for (args, request) in batch.iter(&self.pending).zip(batch.requests()) {
            if asks_for_ack(&args) {
                out.extend_from_slice(&engine.ack_line());
            } else {
                dispatch::apply(engine, &args);
            }
            self.stream.count(engine, &args, &self.pending[request.start..][..request.bytes]);
        }
        assert_eq!(epoch, engine.link_epoch, "the stream does not change the role");
        let complaint = engine.log_lines.iter().find(|line| line.text.contains("failed here"));
        assert!(complaint.is_none(), "{complaint:?}");
        engine.trim_backlog();
        self.pending.drain(..used);
        Ok(())
    }
}
