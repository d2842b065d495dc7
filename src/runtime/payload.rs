//! The payloads of full resyncs: a frozen data set encoded once for all replicas that wait for it, or a file.
//!
//! Each replica's connection takes its pieces from a channel of its own. One that is slower than the others does not hold
//! them up: it goes on by itself, with an encoder of its own that leaves out what it has already, for a frozen data set is
//! written to the same bytes each time.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::background::{self, Unhurried, Urgency};
use super::hub::Hub;
use super::{log, ready_pages, saver};
use crate::engine::{ClientId, FullSync};
use crate::persistence::snapshot;
use crate::replication::replica_manager::ReplicaId;

/// The size and number of pieces in which a snapshot travels to a connection.
const PIECE_BYTES: usize = 256 * 1024;
const PIECES_MAX: usize = 8;
/// How many keys are written between two looks at the configuration.
const KEYS_PER_LOOK: u64 = 256;
/// How long the others wait for a replica that does not take its pieces.
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_STEP: Duration = Duration::from_millis(2);

/// A snapshot on its way to one replica's connection.
pub struct Payload {
    /// None when a delimiter tells the end.
    pub size: Option<u64>,
    pub pieces: mpsc::Receiver<Bytes>,
}

/// One connection that a snapshot goes to.
struct Taker {
    id: ClientId,
    sender: mpsc::Sender<Bytes>,
}

/// Encodes a frozen data set for its replicas. Where they need to know the size, a first pass counts it.
pub fn start(sync: FullSync, hub: &'static Hub) {
    let sync = Arc::new(sync);
    let replicas = sync.replicas.clone();
    spawn(hub, &replicas, move || {
        let size = (!sync.is_eof_framed).then(|| snapshot::size(&sync.keyspace, &sync.options));
        let takers = open(hub, &sync.replicas, size);
        let keys = sync.keyspace.keys_len();
        log::notice(&format!("Sending {keys} keys to {} replicas", takers.len()));
        encode(hub, sync, takers, 0);
    });
}

/// Sends a file, which may have another name by now, or none.
pub fn start_file(file: File, replicas: &[ClientId], hub: &'static Hub) {
    let file = Arc::new(file);
    for &id in replicas {
        let file = file.clone();
        spawn(hub, &[id], move || {
            let size = file.metadata().map_or(0, |metadata| metadata.len());
            for taker in open(hub, &[id], Some(size)) {
                if let Err(error) = send_file(&file, size, &taker) {
                    log::warning(&format!("cannot send the snapshot file to a replica: {error}"));
                }
            }
        });
    }
}

fn send_file(file: &File, size: u64, taker: &Taker) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        let mut piece = BytesMut::zeroed(PIECE_BYTES.min((size - at) as usize));
        file.read_exact_at(&mut piece, at)?;
        at += piece.len() as u64;
        if taker.sender.blocking_send(piece.freeze()).is_err() {
            // The connection is gone, which its task reports.
            break;
        }
    }
    Ok(())
}

/// Runs `work` on a thread of its own. Where that cannot be, the replicas are sent away; they ask again.
fn spawn(hub: &'static Hub, replicas: &[ClientId], work: impl FnOnce() + Send + 'static) {
    if let Err(error) = background::spawn("snapshot", Urgency::Unnoticed, work) {
        log::warning(&format!("cannot start a thread for a snapshot: {error}"));
        hub.enter(|engine| engine.close_replicas(replicas.iter().map(|id| ReplicaId(id.0)).collect()));
    }
}

/// Opens a channel to each of the replicas that are still there.
fn open(hub: &Hub, replicas: &[ClientId], size: Option<u64>) -> Vec<Taker> {
    let open_one = |&id: &ClientId| {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        hub.deliver_payload(id, Payload { size, pieces }).then_some(Taker { id, sender })
    };
    let takers: Vec<Taker> = replicas.iter().filter_map(open_one).collect();
    hub.enter(|engine| takers.iter().for_each(|taker| engine.clients.wake(taker.id)));
    takers
}

fn encode(hub: &'static Hub, sync: Arc<FullSync>, takers: Vec<Taker>, skipped_bytes: u64) {
    let _nothing_is_touched = ready_pages::Pause::begin();
    let (mut keys, mut delay_micros) = (0, sync.key_delay_micros);
    let each_key = || {
        keys += 1;
        saver::delay(delay_micros, keys);
        if keys.is_multiple_of(KEYS_PER_LOOK) {
            delay_micros = hub.enter(|engine| i64::from(engine.config.rdb_key_save_delay));
        }
        Ok(())
    };
    let piece = BytesMut::with_capacity(PIECE_BYTES);
    let writer = PieceWriter { hub, sync: sync.clone(), takers, piece, handed_bytes: 0, skipped_bytes };
    // An error means that the connections are gone, which their tasks report.
    let _ = snapshot::write(&sync.keyspace, &sync.options, Unhurried::new(writer), each_key)
        .and_then(|mut writer| writer.flush());
    hub.enter(|engine| engine.full_sync_encoded(&sync));
    if let Some(sync) = Arc::into_inner(sync) {
        background::free(sync.keyspace, Urgency::Unnoticed);
    }
}

/// Hands what is written to it to the connections, in pieces; waits while they are behind.
struct PieceWriter {
    hub: &'static Hub,
    sync: Arc<FullSync>,
    takers: Vec<Taker>,
    piece: BytesMut,
    /// Bytes of the snapshot that have become pieces.
    handed_bytes: u64,
    /// How many bytes at the beginning the takers have already.
    skipped_bytes: u64,
}

impl Write for PieceWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let skipped = self.skipped_bytes.min(data.len() as u64);
        self.skipped_bytes -= skipped;
        self.handed_bytes += skipped;
        self.piece.extend_from_slice(&data[skipped as usize..]);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE_BYTES)).freeze();
        let patient_until = Instant::now() + PATIENCE;
        for taker in std::mem::take(&mut self.takers) {
            self.hand(taker, &piece, patient_until);
        }
        self.handed_bytes += piece.len() as u64;
        if self.takers.is_empty() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

impl PieceWriter {
    /// Hands a piece to one connection, and keeps it as a taker if it is there and keeps up.
    fn hand(&mut self, taker: Taker, piece: &Bytes, patient_until: Instant) {
        let mut piece = piece.clone();
        loop {
            match taker.sender.try_send(piece) {
                Ok(()) => return self.takers.push(taker),
                Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(back)) => piece = back,
            }
            let is_alone = self.sync.replicas.len() == 1;
            if is_alone {
                if taker.sender.blocking_send(piece).is_ok() {
                    self.takers.push(taker);
                }
                return;
            }
            if Instant::now() >= patient_until {
                return self.part_with(taker);
            }
            std::thread::sleep(PATIENCE_STEP);
        }
    }

    /// Goes on for a slow connection on a thread of its own.
    fn part_with(&self, taker: Taker) {
        let (hub, skipped_bytes) = (self.hub, self.handed_bytes);
        let all = &self.sync;
        let alone = FullSync {
            number: all.number,
            replicas: vec![taker.id],
            keyspace: all.keyspace.clone(),
            options: all.options.clone(),
            is_eof_framed: all.is_eof_framed,
            key_delay_micros: all.key_delay_micros,
            copies: all.copies,
        };
        spawn(hub, &[taker.id], move || encode(hub, Arc::new(alone), vec![taker], skipped_bytes));
    }
}
