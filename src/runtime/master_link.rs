//! The link of a replica to its master: connects, moves the bytes that `command::follower` says, loads the snapshot while
//! it arrives, acknowledges. When the link breaks it tries again, with growing delays.
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
use super::{log, memory};
use crate::command::follower::{Follower, LinkError, Step};
use crate::engine::ClientId;
use crate::engine::client::Closing;
use crate::persistence::snapshot::{self, Duplicates, Loaded};
use crate::replication::backoff::Backoff;
use crate::replication::replica::MasterAddr;

const READ_BYTES: usize = 64 * 1024;
/// Pieces of the snapshot that may wait for the thread that loads them.
const LOAD_PIECES_MAX: usize = 16;
/// How soon a stream that CLIENT PAUSE holds goes on after the pause.
const HELD_PERIOD: Duration = Duration::from_millis(10);
/// What is read ahead of a stream that is held.
const HELD_BYTES_MAX: usize = 1 << 20;
const ACK_PERIOD: Duration = Duration::from_secs(1);

/// Follows whatever master the engine names, as long as the server runs.
pub async fn run(hub: &'static Hub) {
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
            ended = follow(hub, &master, epoch, &mut backoff) => Some(ended),
            () = wait_for_other_master(hub, epoch) => None,
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
                    () = wait_for_other_master(hub, epoch) => backoff.reset(),
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
    hub: &'static Hub,
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
    let _ = stream.set_nodelay(!hub.enter(|engine| engine.config.repl_disable_tcp_nodelay));
    log::notice("MASTER <-> REPLICA sync started");
    let (follower, hello) = hub.enter(Follower::open);
    let mut link = Link { hub, stream, follower, loading: None, client: None };
    anyhow::ensure!(link.follower.epoch() == epoch, LinkError::Superseded);
    let ended = link.run(&hello, backoff).await;
    if link.loading.is_some() {
        log::warning("Internal error in RDB: the master's snapshot has broken off, and is not used");
    }
    ended
}

struct Link {
    hub: &'static Hub,
    stream: TcpStream,
    follower: Follower,
    loading: Option<Loading>,
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
    async fn run(&mut self, hello: &[u8], backoff: &mut Backoff) -> anyhow::Result<()> {
        self.stream.write_all(hello).await?;
        let mut buf = BytesMut::with_capacity(READ_BYTES);
        let mut acks = tokio::time::interval(ACK_PERIOD);
        let mut last_read = Instant::now();
        loop {
            buf.reserve(READ_BYTES);
            let held_bytes = self.follower.stream().and_then(|stream| stream.held_bytes());
            let read = tokio::select! {
                read = self.stream.read_buf(&mut buf), if held_bytes.is_none_or(|held| held < HELD_BYTES_MAX) => read?,
                () = tokio::time::sleep(HELD_PERIOD), if held_bytes.is_some() => {
                    // It is this side that keeps the other waiting.
                    last_read = Instant::now();
                    self.apply().await?;
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
            if read == 0 {
                return Ok(());
            }
            let was_streaming = self.follower.is_streaming();
            self.take(buf.split().freeze()).await?;
            if !was_streaming && self.follower.is_streaming() {
                backoff.reset();
                self.become_client()?;
            }
            last_read = Instant::now();
        }
    }

    /// Fails when the master has been silent for `repl-timeout`.
    fn check_silence(&self, silence: Duration) -> anyhow::Result<()> {
        let timeout_seconds = self.hub.enter(|engine| engine.config.repl_timeout);
        anyhow::ensure!(
            silence <= Duration::from_secs(u64::from(timeout_seconds)),
            "{}",
            match (&self.loading, self.follower.is_streaming()) {
                (_, true) => "MASTER timeout: no data nor PING received...",
                (Some(_), false) => "Timeout receiving bulk data from MASTER...",
                (None, false) => "Timeout connecting to the MASTER...",
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
        if self.follower.is_streaming() {
            let line = self.hub.enter(|engine| engine.ack_line());
            self.stream.write_all(&line).await?;
        }
        Ok(())
    }

    /// Takes what has come, to the last byte.
    async fn take(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        if let Some(stream) = self.follower.stream() {
            stream.push(&bytes);
            return self.apply().await;
        }
        let mut input: &[u8] = &bytes;
        loop {
            let (follower, input) = (&mut self.follower, &mut input);
            match self.hub.enter(move |engine| follower.receive(engine, input))? {
                Step::Read => return Ok(()),
                Step::Go => {}
                Step::Send(line) => self.stream.write_all(&line).await?,
                Step::BeginSnapshot => self.begin_loading(),
                Step::Snapshot(chunk) => {
                    let piece = bytes.slice_ref_or_copy(chunk);
                    self.load(piece).await?;
                }
                Step::EndSnapshot => {
                    self.finish_loading().await?;
                    self.acknowledge().await?;
                }
                Step::Stream => self.apply().await?,
            }
        }
    }

    fn begin_loading(&mut self) {
        let (keyspace, options) =
            self.hub.enter(|engine| (engine.keyspace.emptied(), engine.load_options(Duplicates::Refuse)));
        let (pieces, received) = mpsc::channel(LOAD_PIECES_MAX);
        let result = tokio::task::spawn_blocking(move || {
            let source = PieceReader { pieces: received, piece: Bytes::new() };
            let loaded = snapshot::read(source, keyspace, &options, |_| ());
            memory::settle();
            loaded.map_err(|error| anyhow::anyhow!("the master's snapshot cannot be loaded: {error}"))
        });
        self.loading = Some(Loading { pieces, result });
    }

    async fn load(&mut self, piece: Bytes) -> anyhow::Result<()> {
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
        let loaded = loading.result.await??;
        self.hub.enter(|engine| self.follower.adopt(engine, loaded))?;
        Ok(())
    }

    /// Applies the complete requests of the stream and answers GETACK.
    async fn apply(&mut self) -> anyhow::Result<()> {
        let Some(stream) = self.follower.stream() else { return Ok(()) };
        let mut acks = Vec::new();
        while stream.decode()? {
            match self.hub.enter(|engine| stream.apply(engine))? {
                Some(asked) => acks.extend(asked),
                None => break,
            }
        }
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
