//! Delivers MIGRATE's keys: connects to the target, or goes on with a connection that is left from last time, sends what
//! `command::migrate` has prepared, and reports which keys have arrived.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::hub::Hub;
use crate::command;
use crate::engine::migration::Migration;
use crate::resp::error::ErrorReply;
use crate::resp::reply::write_request;

/// Written at once, in the time that the client allows for a step.
const PIECE_BYTES: usize = 64 * 1024;
/// A target's reply is one line; a longer one is none.
const LINE_BYTES_MAX: usize = 64 * 1024;
const SOCKETS_MAX: usize = 64;
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Connections to other servers, kept for a while.
#[derive(Default)]
pub struct Sockets(Mutex<HashMap<(String, i64), Socket>>);

struct Socket {
    stream: BufReader<TcpStream>,
    /// The database that is selected there; none if that is not known.
    db: Option<i64>,
    last_used: Instant,
}

impl Sockets {
    fn take(&self, target: &(String, i64)) -> Option<Socket> {
        self.lock().remove(target)
    }

    fn keep(&self, target: (String, i64), socket: Socket) {
        let mut sockets = self.lock();
        if sockets.len() < SOCKETS_MAX || sockets.contains_key(&target) {
            sockets.insert(target, Socket { last_used: Instant::now(), ..socket });
        }
    }

    /// Closes what was not used for a while; how many are left.
    pub fn close_idle(&self) -> usize {
        let mut sockets = self.lock();
        sockets.retain(|_, socket| socket.last_used.elapsed() < IDLE_MAX);
        sockets.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, i64), Socket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why keys could not be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Connecting,
    Writing { is_timeout: bool },
    Reading { is_timeout: bool },
}

impl Failure {
    /// A connection that was kept may have been closed by the target: that is tried again.
    fn may_be_stale(self) -> bool {
        matches!(self, Self::Writing { is_timeout: false } | Self::Reading { is_timeout: false })
    }

    fn reply(self) -> ErrorReply {
        ErrorReply::fixed(match self {
            Self::Connecting => "IOERR error or timeout connecting to the client",
            Self::Writing { .. } => "IOERR error or timeout writing to target instance",
            Self::Reading { .. } => "IOERR error or timeout reading from target instance",
        })
    }
}

/// Delivers keys, those again that are changed on the way, and lets the client go on.
pub async fn run(hub: &'static Hub, mut migration: Migration) {
    loop {
        let mut is_delivered = vec![false; migration.keys.len()];
        let outcome = deliver(hub, &migration, &mut is_delivered).await;
        let cached = hub.sockets.close_idle();
        let rest = hub.enter(|engine| {
            engine.migrate_cached_sockets = cached;
            command::finish_migration(engine, migration, &is_delivered, outcome)
        });
        match rest {
            Some(rest) => migration = rest,
            None => return,
        }
    }
}

async fn deliver(hub: &Hub, migration: &Migration, is_delivered: &mut [bool]) -> Result<(), ErrorReply> {
    let target = (migration.host.clone(), migration.port);
    let mut kept = hub.sockets.take(&target);
    loop {
        let was_kept = kept.is_some();
        let mut socket = match kept.take() {
            Some(socket) => socket,
            None => connect(migration).await.map_err(Failure::reply)?,
        };
        match exchange(hub, migration, &mut socket, is_delivered).await {
            Ok(outcome) => {
                socket.db = outcome.is_ok().then_some(migration.target_db);
                hub.sockets.keep(target, socket);
                return outcome;
            }
            Err(failure) if was_kept && failure.may_be_stale() && !is_delivered.contains(&true) => {}
            Err(failure) => return Err(failure.reply()),
        }
    }
}

async fn connect(migration: &Migration) -> Result<Socket, Failure> {
    let port = u64::try_from(migration.port).map_err(|_| Failure::Connecting)? as u16;
    let connecting = TcpStream::connect((migration.host.as_str(), port));
    let stream = match timeout(Duration::from_millis(migration.timeout_ms), connecting).await {
        Ok(Ok(stream)) => stream,
        // Redis learns of a refusal when it writes.
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(Failure::Writing { is_timeout: false });
        }
        _ => return Err(Failure::Connecting),
    };
    // Not a reason to give up.
    let _ = stream.set_nodelay(true);
    Ok(Socket { stream: BufReader::new(stream), db: None, last_used: Instant::now() })
}

/// Sends everything and reads the replies. An inner error is the target's.
async fn exchange(
    hub: &Hub,
    migration: &Migration,
    socket: &mut Socket,
    is_delivered: &mut [bool],
) -> Result<Result<(), ErrorReply>, Failure> {
    let step = Duration::from_millis(migration.timeout_ms);
    let mut head = Vec::new();
    let authenticates = !migration.auth.is_empty();
    if authenticates {
        let words: Vec<&[u8]> =
            [&b"AUTH"[..]].into_iter().chain(migration.auth.iter().map(Vec::as_slice)).collect();
        write_request(&mut head, words.iter());
    }
    let selects = socket.db != Some(migration.target_db);
    if selects {
        write_request(&mut head, ["SELECT", &migration.target_db.to_string()].iter());
    }
    let now = hub.enter(|engine| engine.now());
    let keys = migration.keys.clone();
    let replaces = migration.replaces;
    let encoding = tokio::task::spawn_blocking(move || {
        keys.iter().map(|key| command::restore_request(key, now, replaces)).collect::<Vec<_>>()
    });
    let requests = encoding.await.map_err(|_| Failure::Writing { is_timeout: true })?;
    write(socket, &head, step).await?;
    for request in requests.iter().flatten() {
        write(socket, request, step).await?;
    }
    let mut refusal = None;
    for _ in 0..usize::from(authenticates) + usize::from(selects) {
        let line = read_line(socket, step).await?;
        refusal = refusal.or(target_error(&line));
    }
    let is_refused = refusal.is_some();
    for (request, is_delivered) in requests.iter().zip(is_delivered) {
        if request.is_none() {
            continue;
        }
        let line = match read_line(socket, step).await {
            Ok(line) => line,
            // What the target has said goes before what the network says.
            Err(failure) => match refusal {
                Some(refusal) => return Ok(Err(refusal)),
                None => return Err(failure),
            },
        };
        match target_error(&line) {
            Some(error) => refusal = refusal.or(Some(error)),
            None => *is_delivered = !is_refused,
        }
    }
    Ok(refusal.map_or(Ok(()), Err))
}

fn target_error(line: &[u8]) -> Option<ErrorReply> {
    let error = line.strip_prefix(b"-")?;
    Some(ErrorReply::new(format!(
        "ERR Target instance replied with error: {}",
        String::from_utf8_lossy(error)
    )))
}

async fn write(socket: &mut Socket, bytes: &[u8], step: Duration) -> Result<(), Failure> {
    for piece in bytes.chunks(PIECE_BYTES) {
        match timeout(step, socket.stream.get_mut().write_all(piece)).await {
            Ok(written) => written.map_err(|_| Failure::Writing { is_timeout: false })?,
            Err(_) => return Err(Failure::Writing { is_timeout: true }),
        }
    }
    Ok(())
}

async fn read_line(socket: &mut Socket, step: Duration) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    let reading = async {
        while !line.ends_with(b"\n") && line.len() < LINE_BYTES_MAX {
            line.push(socket.stream.read_u8().await?);
        }
        io::Result::Ok(())
    };
    match timeout(step, reading).await {
        Ok(Ok(())) => Ok(line.trim_ascii_end().to_vec()),
        Ok(Err(_)) => Err(Failure::Reading { is_timeout: false }),
        Err(_) => Err(Failure::Reading { is_timeout: true }),
    }
}
