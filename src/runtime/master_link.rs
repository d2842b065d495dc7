//! The link of a replica to its master: connects, follows `replication::link` through the handshake, loads the snapshot
//! while it arrives, applies the stream, acknowledges. When the link breaks it tries again, with growing delays.
//!
//! The snapshot is read into a data set of its own, on another thread, while the old one goes on answering; it takes the
//! old one's place when it is complete.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::hub::{Hub, TaskSignal};
use super::log;
use crate::command::dispatch;
use crate::engine::client::Closing;
use crate::engine::master_stream::{MasterStream, asks_for_ack};
use crate::engine::{ClientId, Engine};
use crate::persistence::snapshot::{self, Duplicates, Loaded};
use crate::replication::backoff::Backoff;
use crate::replication::link::{Auth, Event, LinkOptions, MasterLink};
use crate::replication::log::ReplOffset;
use crate::replication::replica::MasterAddr;
use crate::replication::replid::ReplId;
use crate::resp::request::{Batch, Decoder, Limits};

const READ_BYTES: usize = 64 * 1024;
/// What one stay inside the engine may apply.
const APPLY_REQUESTS_MAX: usize = 256;
const APPLY_BYTES_MAX: usize = 64 * 1024;
/// Pieces of the snapshot that may wait for the thread that loads them.
const LOAD_PIECES_MAX: usize = 16;
/// How soon a stream that CLIENT PAUSE holds goes on after the pause.
const HELD_PERIOD: Duration = Duration::from_millis(10);
/// What is read ahead of a stream that is held.
const HELD_BYTES_MAX: usize = 1 << 20;
const ACK_PERIOD: Duration = Duration::from_secs(1);

/// Follows whatever master the engine names, as long as the server runs.
pub async fn run(hub: Arc<Hub>) {
    let mut backoff = Backoff::new(fastrand::Rng::new());
    loop {
        let target = hub.enter(|engine| {
            let master = engine.role.as_replica().map(|replica| replica.master.clone())?;
            Some((master, engine.link_epoch))
        });
        let Some((master, epoch)) = target else {
            hub.master_changed.notified().await;
            continue;
        };
        let ended = tokio::select! {
            ended = follow(&hub, &master, epoch, &mut backoff) => Some(ended),
            () = wait_for_other_master(&hub, epoch) => None,
        };
        hub.enter(|engine| {
            if engine.link_epoch == epoch {
                engine.link_lost();
            }
        });
        match ended {
            None => backoff.reset(),
            Some(ended) => {
                let reason =
                    ended.err().map_or_else(|| "closed by the master".to_owned(), |e| format!("{e:#}"));
                log::warning(&format!("Link to MASTER {}:{} is down: {reason}", master.host, master.port));
                let delay = Duration::from_millis(backoff.next_delay_ms());
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = wait_for_other_master(&hub, epoch) => backoff.reset(),
                }
            }
        }
    }
}

async fn wait_for_other_master(hub: &Hub, epoch: u64) {
    loop {
        hub.master_changed.notified().await;
        if hub.enter(|engine| engine.link_epoch) != epoch {
            return;
        }
    }
}

/// Connects to the master, from the address `source` (`bind-source-addr`) unless it is empty.
async fn connect(master: &MasterAddr, source: &str) -> anyhow::Result<TcpStream> {
    let target = (master.host.as_str(), master.port);
    if source.is_empty() {
        return Ok(TcpStream::connect(target).await?);
    }
    let source: IpAddr = source.parse().context("bind-source-addr is not an address")?;
    let mut found = tokio::net::lookup_host(target).await?;
    let Some(target) = found.find(|addr| addr.is_ipv4() == source.is_ipv4()) else {
        anyhow::bail!("no address of {} is of the kind of bind-source-addr", master.host);
    };
    let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(source, 0))?;
    Ok(socket.connect(target).await?)
}

/// One link, from connecting to its end.
async fn follow(
    hub: &Arc<Hub>,
    master: &MasterAddr,
    epoch: u64,
    backoff: &mut Backoff,
) -> anyhow::Result<()> {
    log::notice(&format!("Connecting to MASTER {}:{}", master.host, master.port));
    let (timeout, source) = hub.enter(|engine| {
        engine.link_connecting();
        let config = &engine.config;
        (Duration::from_secs(u64::from(config.repl_timeout)), config.bind_source_addr.clone())
    });
    let connecting = connect(master, &source);
    let stream = tokio::time::timeout(timeout, connecting).await??;
    let _ = stream.set_nodelay(true);
    log::notice("MASTER <-> REPLICA sync started");
    let options = hub.enter(|engine| {
        let now = engine.now();
        let options = link_options(engine);
        if let Some(replica) = engine.role.as_replica_mut() {
            replica.handshaking(now);
        }
        options
    });
    let mut link = Link {
        hub: hub.clone(),
        epoch,
        stream,
        protocol: MasterLink::new(options),
        history: None,
        loading: None,
        applier: None,
        client: None,
    };
    link.run(backoff).await
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
    }
}

type History = Option<(ReplId, ReplOffset)>;

struct Link {
    hub: Arc<Hub>,
    epoch: u64,
    stream: TcpStream,
    protocol: MasterLink,
    history: History,
    loading: Option<Loading>,
    /// Applies the stream, once there is one.
    applier: Option<Applier>,
    /// The master as a client, once there is a stream.
    client: Option<(ClientId, Arc<TaskSignal>)>,
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some((id, _)) = self.client {
            self.hub.unregister(id);
        }
    }
}

/// A snapshot on its way into a data set.
struct Loading {
    pieces: mpsc::Sender<Bytes>,
    result: JoinHandle<anyhow::Result<Loaded>>,
}

impl Link {
    async fn run(&mut self, backoff: &mut Backoff) -> anyhow::Result<()> {
        let hello = self.protocol.start();
        self.stream.write_all(&hello).await?;
        let mut buf = BytesMut::with_capacity(READ_BYTES);
        let mut acks = tokio::time::interval(ACK_PERIOD);
        let mut last_read = Instant::now();
        loop {
            buf.reserve(READ_BYTES);
            let held_bytes = self.applier.as_ref().and_then(Applier::held_bytes);
            let read = tokio::select! {
                read = self.stream.read_buf(&mut buf), if held_bytes.is_none_or(|held| held < HELD_BYTES_MAX) => read?,
                () = tokio::time::sleep(HELD_PERIOD), if held_bytes.is_some() => {
                    // It is this side that keeps the other waiting.
                    last_read = Instant::now();
                    self.apply(&mut buf).await?;
                    continue;
                }
                _ = acks.tick() => {
                    self.check_silence(last_read.elapsed())?;
                    self.acknowledge().await?;
                    continue;
                }
                () = raised(self.client.as_ref()) => {
                    self.check_killed()?;
                    continue;
                }
            };
            last_read = Instant::now();
            if read == 0 {
                return Ok(());
            }
            if self.applier.is_none() {
                let bytes = buf.split().freeze();
                self.take_events(&bytes).await?;
                if self.applier.is_some() {
                    backoff.reset();
                    self.become_client()?;
                }
                last_read = Instant::now();
            } else {
                self.apply(&mut buf).await?;
            }
        }
    }

    /// Fails when the master has been silent for `repl-timeout`.
    fn check_silence(&self, silence: Duration) -> anyhow::Result<()> {
        let timeout_seconds = self.hub.enter(|engine| engine.config.repl_timeout);
        anyhow::ensure!(
            silence <= Duration::from_secs(u64::from(timeout_seconds)),
            "{}",
            match (&self.loading, &self.applier) {
                (_, Some(_)) => "MASTER timeout: no data nor PING received...",
                (Some(_), None) => "Timeout receiving bulk data from MASTER...",
                (None, None) => "Timeout connecting to the MASTER...",
            }
        );
        Ok(())
    }

    /// Shows the master among the clients. Another client may close it there, which ends this link.
    fn become_client(&mut self) -> anyhow::Result<()> {
        let [addr, local_addr] =
            [self.stream.peer_addr()?, self.stream.local_addr()?].map(|addr| addr.to_string());
        let id = self.hub.enter(|engine| engine.connect_master_client(&addr, &local_addr));
        self.client = Some((id, self.hub.register(id)));
        self.check_killed()
    }

    fn check_killed(&self) -> anyhow::Result<()> {
        let Some((id, _)) = &self.client else { return Ok(()) };
        let is_open = self
            .hub
            .enter(|engine| engine.clients.get(*id).is_some_and(|client| client.closing == Closing::No));
        anyhow::ensure!(is_open, "Connection with master lost.");
        Ok(())
    }

    async fn acknowledge(&mut self) -> io::Result<()> {
        if self.applier.is_some() {
            let line = self.hub.enter(|engine| engine.ack_line());
            self.stream.write_all(&line).await?;
        }
        Ok(())
    }

    async fn take_events(&mut self, bytes: &Bytes) -> anyhow::Result<()> {
        let mut input: &[u8] = bytes;
        loop {
            let Some(event) = self.protocol.receive(&mut input) else { return Ok(()) };
            match event {
                Event::Send(line) => self.stream.write_all(&line).await?,
                Event::FullSync { history } => {
                    self.history = history;
                    self.begin_full_sync();
                }
                Event::SnapshotSize(size) => {
                    match size {
                        Some(bytes) => log::notice(&format!("receiving {bytes} bytes from master")),
                        None => log::notice("receiving streamed RDB from master with EOF"),
                    }
                    log::notice("MASTER <-> REPLICA sync: Loading DB in memory");
                    self.hub.enter(|engine| {
                        if let Some(replica) = engine.role.as_replica_mut() {
                            replica.note_payload_size(size);
                        }
                    });
                    self.begin_loading();
                }
                Event::SnapshotChunk(chunk) => {
                    let (piece, count) = (bytes.slice_ref_or_copy(chunk), chunk.len());
                    self.take_chunk(piece, count).await?;
                }
                Event::SnapshotEnd => {
                    self.finish_loading().await?;
                    self.applier = Some(self.hub.enter(|engine| Applier::new(engine)));
                    self.acknowledge().await?;
                }
                Event::Continue { replid } => {
                    log::notice("Successful partial resynchronization with master.");
                    self.applier = Some(self.hub.enter(|engine| {
                        engine.link_continues(replid);
                        Applier::new(engine)
                    }));
                }
                Event::Stream(stream) => {
                    let mut rest = BytesMut::from(stream);
                    self.apply(&mut rest).await?;
                }
                Event::Failed(failure) => anyhow::bail!("{}", failure.reason),
            }
        }
    }

    fn begin_full_sync(&mut self) {
        if let Some((replid, offset)) = &self.history {
            let replid = String::from_utf8_lossy(replid.as_bytes());
            log::notice(&format!("Full resync from master: {replid}:{offset}"));
        }
        self.hub.enter(|engine| {
            let now = engine.now();
            if let Some(replica) = engine.role.as_replica_mut() {
                replica.syncing(now);
            }
        });
    }

    fn begin_loading(&mut self) {
        let (keyspace, options) =
            self.hub.enter(|engine| (engine.keyspace.emptied(), engine.load_options(Duplicates::Refuse)));
        let (pieces, received) = mpsc::channel(LOAD_PIECES_MAX);
        let result = tokio::task::spawn_blocking(move || {
            let source = PieceReader { pieces: received, piece: Bytes::new() };
            snapshot::read(source, keyspace, &options, || ())
                .map_err(|error| anyhow::anyhow!("the master's snapshot cannot be loaded: {error}"))
        });
        self.loading = Some(Loading { pieces, result });
    }

    async fn take_chunk(&mut self, piece: Bytes, count: usize) -> anyhow::Result<()> {
        self.hub.enter(|engine| {
            let now = engine.now();
            if let Some(replica) = engine.role.as_replica_mut() {
                replica.note_io(count, now);
            }
        });
        let Some(loading) = &self.loading else { return Ok(()) };
        if loading.pieces.send(piece).await.is_err() {
            // The loader has stopped early: it tells why.
            self.finish_loading().await?;
        }
        Ok(())
    }

    async fn finish_loading(&mut self) -> anyhow::Result<()> {
        let Some(loading) = self.loading.take() else { return Ok(()) };
        drop(loading.pieces);
        let Loaded { keyspace, summary, .. } = loading.result.await??;
        let keys = keyspace.keys_len();
        let (history, epoch) = (self.history.take(), self.epoch);
        let old = self.hub.enter(|engine| {
            (engine.link_epoch == epoch).then(|| {
                let old = engine.adopt_snapshot(keyspace, history);
                engine.stream_db_index = engine.saved_stream_db_index(&summary.aux);
                old
            })
        });
        anyhow::ensure!(old.is_some(), "another master was named meanwhile");
        tokio::task::spawn_blocking(move || drop(old));
        log::notice(&format!("MASTER <-> REPLICA sync: Finished with success, {keys} keys loaded"));
        Ok(())
    }

    /// Applies the complete requests in `buf` and answers GETACK.
    async fn apply(&mut self, buf: &mut BytesMut) -> anyhow::Result<()> {
        let Some(applier) = &mut self.applier else { return Ok(()) };
        applier.append(buf);
        let acks = applier.run(&self.hub, self.epoch)?;
        if !acks.is_empty() {
            self.stream.write_all(&acks).await?;
        }
        Ok(())
    }
}

/// Waits until the engine has something for the master's client; for ever where there is none.
async fn raised(client: Option<&(ClientId, Arc<TaskSignal>)>) {
    let Some((_, signal)) = client else { return std::future::pending().await };
    std::future::poll_fn(|cx| if signal.take(cx) { Poll::Ready(()) } else { Poll::Pending }).await
}

/// Decodes the stream and runs it in the engine.
struct Applier {
    decoder: Decoder,
    batch: Batch,
    limits: Limits,
    stream: MasterStream,
    pending: BytesMut,
    /// CLIENT PAUSE: what is pending has to wait.
    is_held: bool,
}

impl Applier {
    fn new(engine: &Engine) -> Self {
        // A master is trusted with sizes that clients are not.
        let limits = Limits { bulk_bytes_max: u64::from(u32::MAX), ..Limits::default() };
        Self {
            decoder: Decoder::new(),
            batch: Batch::new(),
            limits: Limits { authenticated: true, ..limits },
            stream: MasterStream::new(engine),
            pending: BytesMut::new(),
            is_held: false,
        }
    }

    fn append(&mut self, buf: &mut BytesMut) {
        if self.pending.is_empty() {
            self.pending = buf.split();
        } else {
            self.pending.extend_from_slice(buf);
            buf.clear();
        }
    }

    /// How much waits for the end of a pause; none while there is none.
    fn held_bytes(&self) -> Option<usize> {
        self.is_held.then_some(self.pending.len())
    }

    /// Runs what is complete, unless a pause holds it; answers the acknowledgements that were asked for.
    fn run(&mut self, hub: &Hub, epoch: u64) -> anyhow::Result<Vec<u8>> {
        let mut acks = Vec::new();
        self.is_held = false;
        loop {
            let used = self
                .decoder
                .decode(&self.pending, &self.limits, &mut self.batch, APPLY_REQUESTS_MAX, APPLY_BYTES_MAX)
                .map_err(|error| anyhow::anyhow!("the master's stream is malformed: {error}"))?;
            if used == 0 {
                return Ok(acks);
            }
            hub.enter(|engine| {
                if engine.link_epoch != epoch {
                    return Err(anyhow::anyhow!("another master was named meanwhile"));
                }
                self.is_held = engine.is_paused();
                if !self.is_held {
                    self.run_batch(engine, used, &mut acks);
                }
                Ok(())
            })?;
            if self.is_held {
                // What was not run is decoded again.
                self.decoder = Decoder::new();
                return Ok(acks);
            }
            self.pending.advance(used);
        }
    }

    fn run_batch(&mut self, engine: &mut Engine, used: usize, acks: &mut Vec<u8>) {
        let now = engine.now();
        if let Some(replica) = engine.role.as_replica_mut() {
            replica.note_io(0, now);
        }
        engine.stats.net_input_bytes += used as u64;
        for (args, request) in self.batch.iter(&self.pending).zip(self.batch.requests()) {
            if asks_for_ack(&args) {
                acks.extend_from_slice(&engine.ack_line());
            } else {
                dispatch::apply(engine, &args);
            }
            self.stream.count(engine, &args, &self.pending[request.start..][..request.bytes]);
        }
        engine.trim_backlog();
    }
}

/// Reads the pieces that an async task sends.
struct PieceReader {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for PieceReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(into.len());
        self.piece.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

/// A part of a buffer as a shared slice.
trait SliceRefOrCopy {
    fn slice_ref_or_copy(&self, part: &[u8]) -> Bytes;
}

impl SliceRefOrCopy for Bytes {
    /// Shares the buffer where `part` lies in it; held-back bytes of a delimiter do not.
    fn slice_ref_or_copy(&self, part: &[u8]) -> Bytes {
        if self.as_ptr_range().contains(&part.as_ptr()) && part.len() <= self.len() {
            self.slice_ref(part)
        } else {
            Bytes::copy_from_slice(part)
        }
    }
}
