//! The connection of a replica of ours: sends the snapshot and the stream, reads its acknowledgements.
//!
//! What to send next is decided by `replication::feed`; here it is written. The snapshot comes from another thread
//! (`payload`), so that neither clients nor other replicas wait for it. A script that takes long keeps no thread here: what the
//! engine is asked for waits at its desk, and a replica that leaves meanwhile is seen to leave.

use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::hub::{Hub, TaskSignal};
use super::log;
use super::payload::Payload;
use crate::command::{Lookup, TABLE, dispatch};
use crate::engine::client::Closing;
use crate::engine::{ClientId, Engine, LogLevel};
use crate::replication::feed::{FeedStep, KEEPALIVE};
use crate::resp::args::Args;
use crate::resp::request::{Batch, Decoder, Limits};

/// How much of the stream is taken from the log at once.
const STREAM_BYTES_MAX: usize = 1 << 20;
/// How often a replica that waits for its snapshot is told that this side is alive.
const KEEPALIVE_PERIOD: Duration = Duration::from_secs(1);
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
    let name = hub.visit(move |engine| engine.replica_name(id)).await;
    match ended {
        Ok(()) => log::notice(&format!("Connection with replica {name} lost")),
        Err(error) => log::warning(&format!("Connection with replica {name} lost: {error}")),
    }
}

/// Whether this server wants the replica's connection; if not, the log has told why.
fn is_open(engine: &mut Engine, id: ClientId) -> bool {
    engine.clients.get(id).is_some_and(|client| client.closing == Closing::No)
}

/// Ends when the replica is to be closed. A replica that has stopped reading keeps `send` from seeing it.
async fn closed(hub: &Hub, id: ClientId) {
    loop {
        tokio::time::sleep(CLOSED_LOOK_PERIOD).await;
        if !hub.visit(move |engine| is_open(engine, id)).await {
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
            let (requests, said) = (std::mem::take(&mut batch), query.split_to(used));
            let run = move |engine: &mut Engine| {
                let outcome = requests.iter(&said).try_for_each(|args| run_request(engine, id, &args));
                (outcome, requests)
            };
            let (outcome, requests) = hub.visit(run).await;
            outcome?;
            batch = requests;
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
    let mut keepalive = tokio::time::interval(KEEPALIVE_PERIOD);
    keepalive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let traffic = hub.visit(move |engine| engine.clients.get(id).map(|client| client.traffic.clone())).await;
    loop {
        let next_step = move |engine: &mut Engine| {
            if let Some(client) = engine.clients.get_mut(id) {
                client.note_taken();
            }
            engine.next_feed_step(id, STREAM_BYTES_MAX)
        };
        match hub.visit(next_step).await {
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
            FeedStep::Lost if !hub.visit(move |engine| is_open(engine, id)).await => return Ok(()),
            FeedStep::Lost => return Err(io::Error::other("it lags beyond the backlog")),
            FeedStep::Idle => {
                if let Some(prepared) = hub.take_payload(id) {
                    let size = prepared.size;
                    hub.visit(move |engine| engine.begin_payload(id, size)).await;
                    payload = Some(prepared);
                    continue;
                }
                let waits = hub.visit(move |engine| engine.waits_for_snapshot(id)).await;
                tokio::select! {
                    () = raised(signal) => {}
                    _ = keepalive.tick(), if waits => writer.write_all(KEEPALIVE).await?,
                }
            }
        }
    }
}

/// Waits until the engine has something for this connection.
async fn raised(signal: &TaskSignal) {
    std::future::poll_fn(|cx| match signal.take(cx) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await
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
        hub.visit(move |engine| engine.note_payload_sent(id, bytes)).await;
    }
    hub.visit(move |engine| engine.end_payload(id)).await.map_err(io::Error::other)
}
