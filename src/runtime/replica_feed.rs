//! The connection of a replica of ours: sends the snapshot and the stream, reads its acknowledgements.
//!
//! What to send next is decided by `replication::feed`; here it is written. The snapshot is encoded on another thread,
//! from a frozen copy of the data, so that neither clients nor other replicas wait for it.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::background::{self, Urgency};
use super::hub::{Hub, TaskSignal};
use super::{log, saver};
use crate::command::{Lookup, TABLE, dispatch};
use crate::engine::client::Closing;
use crate::engine::{ClientId, Engine, FullSync, LogLevel};
use crate::persistence::rdb::WriterOptions;
use crate::persistence::snapshot::{self, Aux, SnapshotOptions};
use crate::replication::feed::{FeedStep, KEEPALIVE};
use crate::resp::args::Args;
use crate::resp::request::{Batch, Decoder, Limits};

/// How much of the stream is taken from the log at once.
const STREAM_BYTES_MAX: usize = 1 << 20;
/// The size and number of pieces in which a snapshot travels from its thread to the socket.
const SNAPSHOT_PIECE_BYTES: usize = 256 * 1024;
const SNAPSHOT_PIECES_MAX: usize = 8;
/// How long a replica that does not read may live on after it was closed.
const CLOSED_LOOK_PERIOD: Duration = Duration::from_millis(250);
/// A replica that says more than this in one request says nothing that a replica says.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Serves a replica until either side closes. `query` is what it has sent behind PSYNC.
pub async fn serve<S>(stream: S, hub: &'static Hub, id: ClientId, signal: Arc<TaskSignal>, query: BytesMut)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, writer) = tokio::io::split(stream);
    let ended = tokio::select! {
        ended = read_acks(reader, hub, id, query) => ended,
        ended = send(writer, hub, id, &signal) => ended,
        () = closed(hub, id) => Ok(()),
    };
    let name = hub.enter(|engine| engine.replica_name(id));
    match ended {
        Ok(()) => log::notice(&format!("Connection with replica {name} lost")),
        Err(error) => log::warning(&format!("Connection with replica {name} lost: {error}")),
    }
}

/// Ends when the replica is to be closed. A replica that has stopped reading keeps `send` from seeing it.
async fn closed(hub: &Hub, id: ClientId) {
    loop {
        tokio::time::sleep(CLOSED_LOOK_PERIOD).await;
        let is_open =
            hub.enter(|engine| engine.clients.get(id).is_some_and(|client| client.closing == Closing::No));
        if !is_open {
            return;
        }
    }
}

/// Runs what the replica says: acknowledgements, mostly.
async fn read_acks(
    mut reader: impl AsyncRead + Unpin,
    hub: &Hub,
    id: ClientId,
    mut query: BytesMut,
) -> io::Result<()> {
    let (mut decoder, mut batch, limits) = (Decoder::new(), Batch::new(), Limits::default());
    loop {
        loop {
            let used = decoder
                .decode(&query, &limits, &mut batch, 64, REQUEST_BYTES_MAX)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            if used == 0 {
                break;
            }
            hub.enter(|engine| batch.iter(&query).try_for_each(|args| run_request(engine, id, &args)))?;
            query.advance(used);
        }
        if query.len() > REQUEST_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a replica's request is too long"));
        }
        query.reserve(4096);
        if reader.read_buf(&mut query).await? == 0 {
            return Ok(());
        }
    }
}

/// Runs one request of a replica. It reads the stream alone, so one that would be answered ends the link.
fn run_request(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> io::Result<()> {
    let lookup = TABLE.lookup(args);
    dispatch::execute(engine, id, lookup, args);
    let Some(client) = engine.clients.get_mut(id) else { return Ok(()) };
    if client.out.is_empty() {
        return Ok(());
    }
    let reply = std::mem::take(&mut client.out);
    let name = match lookup {
        Lookup::Found(index) => TABLE.row(index).name,
        _ => "<unknown>",
    };
    if let Some(error) = reply.strip_prefix(b"-") {
        let error = String::from_utf8_lossy(error.trim_ascii_end()).into_owned();
        engine.log(
            LogLevel::Warning,
            format!(
                "== CRITICAL == This master is sending an error to its replica: '-{error}' after processing the \
                 command '{name}'"
            ),
        );
    }
    let line = engine.clients.get(id).map(|client| engine.client_line(client)).unwrap_or_default();
    engine.log(
        LogLevel::Warning,
        format!("Replica generated a reply to command '{name}', disconnecting it: {line}"),
    );
    Err(io::Error::other("it asked for what is not the stream"))
}

/// Writes what the feed says.
async fn send(
    mut writer: impl AsyncWrite + Unpin,
    hub: &'static Hub,
    id: ClientId,
    signal: &TaskSignal,
) -> io::Result<()> {
    let mut payload: Option<Payload> = None;
    let mut ready: Option<mpsc::Receiver<Payload>> = None;
    let traffic = hub.enter(|engine| engine.clients.get(id).map(|client| client.traffic.clone()));
    if let Some(sync) = hub.enter(|engine| engine.take_full_sync(id)) {
        ready = Some(prepare_payload(hub, id, sync));
    }
    loop {
        let step = hub.enter(|engine| {
            if let Some(client) = engine.clients.get_mut(id) {
                client.note_taken();
            }
            engine.next_feed_step(id, STREAM_BYTES_MAX)
        });
        match step {
            FeedStep::Write(pieces) => {
                // The log may let go of them meanwhile.
                if let Some(traffic) = &traffic {
                    let bytes: usize = pieces.iter().map(|piece| piece.len() + size_of::<Bytes>()).sum();
                    traffic.unwritten_bytes.set(bytes as u64);
                }
                for mut piece in pieces {
                    writer.write_all_buf(&mut piece).await?;
                }
                if let Some(traffic) = &traffic {
                    traffic.unwritten_bytes.set(0);
                }
                // Whatever more is written meanwhile goes out in one piece.
                tokio::task::yield_now().await;
            }
            FeedStep::Snapshot => {
                if let Some(payload) = payload.take() {
                    send_payload(&mut writer, hub, id, payload).await?;
                }
            }
            FeedStep::Lost => {
                return Err(io::Error::other("the replica lags beyond the backlog, or is closed"));
            }
            FeedStep::Idle => match &mut ready {
                Some(prepared) => tokio::select! {
                    prepared = prepared.recv() => {
                        let prepared = prepared.ok_or_else(|| io::Error::other("the snapshot could not be taken"))?;
                        hub.enter(|engine| engine.begin_payload(id, prepared.size));
                        payload = Some(prepared);
                        ready = None;
                    }
                    () = tokio::time::sleep(Duration::from_secs(1)) => writer.write_all(KEEPALIVE).await?,
                },
                None => {
                    std::future::poll_fn(|cx| match signal.take(cx) {
                        true => std::task::Poll::Ready(()),
                        false => std::task::Poll::Pending,
                    })
                    .await
                }
            },
        }
    }
}

/// A snapshot that is being encoded.
struct Payload {
    /// None when a delimiter tells the end.
    size: Option<u64>,
    pieces: mpsc::Receiver<Bytes>,
}

/// Begins to encode a snapshot on another thread. Where the replica needs to know the size, a first pass counts it.
fn prepare_payload(hub: &'static Hub, id: ClientId, sync: FullSync) -> mpsc::Receiver<Payload> {
    let (ready, prepared) = mpsc::channel(1);
    let started = background::spawn("snapshot", Urgency::Unnoticed, move || {
        let options = SnapshotOptions { writer: WriterOptions::default(), aux: aux_of(&sync), usage: None };
        let size = (!sync.is_eof_capable).then(|| snapshot::size(&sync.keyspace, &options));
        let (sender, pieces) = mpsc::channel(SNAPSHOT_PIECES_MAX);
        let keys = sync.keyspace.keys_len();
        log::notice(&format!(
            "Sending {keys} keys to replica {}",
            hub.enter(|engine| engine.replica_name(id))
        ));
        if ready.blocking_send(Payload { size, pieces }).is_err() {
            return;
        }
        let (connection, mut keys) = (sender.downgrade(), 0);
        let each_key = || {
            keys += 1;
            background::give_way(keys);
            saver::delay(sync.key_delay_micros, keys);
            let is_open = connection.upgrade().is_some_and(|sender| !sender.is_closed());
            if is_open { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        };
        let writer = PieceWriter { sender, piece: BytesMut::with_capacity(SNAPSHOT_PIECE_BYTES) };
        // An error means that the connection is gone, which its task reports.
        let _ =
            snapshot::write(&sync.keyspace, &options, writer, each_key).and_then(|mut writer| writer.flush());
    });
    if let Err(error) = started {
        // The feed finds nothing prepared and closes the link; the replica asks again.
        log::warning(&format!("cannot start a thread for a snapshot: {error}"));
    }
    prepared
}

fn aux_of(sync: &FullSync) -> Aux {
    vec![
        ("redis-ver", crate::config::REDIS_VERSION.to_owned()),
        ("redis-bits", "64".to_owned()),
        ("repl-stream-db", sync.stream_db_index.to_string()),
        ("repl-id", String::from_utf8_lossy(sync.replid.as_bytes()).into_owned()),
        ("repl-offset", sync.offset.0.to_string()),
        ("aof-base", "0".to_owned()),
    ]
}

async fn send_payload(
    writer: &mut (impl AsyncWrite + Unpin),
    hub: &Hub,
    id: ClientId,
    mut payload: Payload,
) -> io::Result<()> {
    while let Some(mut piece) = payload.pieces.recv().await {
        let bytes = piece.len();
        writer.write_all_buf(&mut piece).await?;
        hub.enter(|engine| engine.note_payload_sent(id, bytes));
    }
    hub.enter(|engine| engine.end_payload(id)).map_err(io::Error::other)
}

/// Hands what is written to it to an async task, in pieces; waits while that is behind.
struct PieceWriter {
    sender: mpsc::Sender<Bytes>,
    piece: BytesMut,
}

impl Write for PieceWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(data);
        if self.piece.len() >= SNAPSHOT_PIECE_BYTES {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece =
            std::mem::replace(&mut self.piece, BytesMut::with_capacity(SNAPSHOT_PIECE_BYTES)).freeze();
        self.sender.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
