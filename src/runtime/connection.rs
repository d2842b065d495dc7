//! One client's connection: reads, decodes, enters the engine once per batch, writes once per batch.
//!
//! The task is one hand-written poll function, because it waits for three things at once (bytes to read, room to
//! write, a signal from the engine) and must do so for a few nanoseconds per request. It goes on reading while output
//! is pending, as clients expect that send all their requests before they read a reply. What took a while is answered after
//! what other connections have to be done at that moment, as Redis does: then most clients are awake when their reply comes,
//! and to wake one is dear.
//!
//! Requests are decoded where they were read, in a buffer that all connections of a thread share; a connection keeps
//! bytes of its own only while a request is incomplete or may not run yet.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};

use super::aof::Passage;
use super::debugging::{self, Session};
use super::hub::{Hub, TaskSignal};
use super::socket::ClientSocket;
use super::{memory, replica_feed};
use crate::command::{Executed, Lookup, TABLE, dispatch};
use crate::engine::aof::{Until, Wait};
use crate::engine::client::{ClientKind, Closing, Traffic};
use crate::engine::{ClientId, Engine, LogLevel};
use crate::resp::args::OwnedArgs;
use crate::resp::error::ErrorReply;
use crate::resp::request::{Batch, Decoder, Limits};
use crate::storage::db::PREFETCH_KEYS_MAX;
use crate::storage::live::CopiedArg;

const SHARED_BUFFER_BYTES: usize = 64 * 1024;
/// What one stay inside the engine may take: others wait meanwhile.
const BATCH_REQUESTS_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// The reply to a batch that took longer is written after what other connections have to be done at that moment
/// (`docs/performance.md` has what that gains).
const WRITTEN_AT_ONCE_MAX_NANOS: u64 = 1_000;
/// An output buffer that grew beyond this is given back once it is written.
const OUT_BYTES_KEPT: usize = 64 * 1024;
/// One that is not much larger is kept for ever. A larger one is given back too, after so many writes in a row that have
/// filled less than an eighth of theirs.
const OUT_BYTES_SMALL: usize = 1024;
const SMALL_WRITES_MAX: u32 = 32;
/// One that grew beyond this is given back by another thread.
const OUT_BYTES_FREED_HERE_MAX: usize = 1 << 20;
/// Less unwritten output than this is nobody's concern.
const OUT_BYTES_FREE: usize = 16 * 1024;
/// An argument from this length on is copied before the engine is entered: it may become a value.
const ARG_BYTES_COPIED_MIN: usize = 1 << 20;
/// What a blocked client may send ahead before it has to wait.
const AHEAD_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static SHARED_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SHARED_BUFFER_BYTES]);
}

/// Takes the memory that a thread needs to serve connections, so that it is not a connection's turn to.
pub fn prepare_thread() {
    SHARED_BUFFER.with_borrow(|_| ());
}

/// What the engine says of a client that it lets in.
pub struct Admitted {
    pub id: ClientId,
    pub traffic: Arc<Traffic>,
    pub is_authenticated: bool,
    pub bulk_bytes_max: u64,
    pub query_bytes_max: u64,
}

/// What was done for a connection while a script held the engine.
struct Attended {
    output: Vec<Vec<u8>>,
    held: Option<Wait>,
    /// Bytes of requests that are done with.
    used: usize,
    is_blocked: bool,
    debug_request: Option<OwnedArgs>,
    is_authenticated: bool,
    queued_bytes: usize,
    is_replica: bool,
    closing: Closing,
}

/// Where it is put down.
type Slot = Arc<Mutex<Option<Attended>>>;

pub struct Connection<S> {
    stream: S,
    hub: &'static Hub,
    id: ClientId,
    signal: Arc<TaskSignal>,
    decoder: Decoder,
    batch: Batch,
    lookups: Vec<Lookup>,
    limits: Limits,
    /// Bytes that wait: of an incomplete request, or behind a blocking one.
    query: BytesMut,
    out: Vec<u8>,
    written: usize,
    /// The last batch took long: others go first before its replies are written.
    gives_way: bool,
    /// Writes that have filled little of a large buffer, since the last one that has filled more.
    small_writes: u32,
    /// Output behind `out`: what is long is queued, not copied.
    out_behind: VecDeque<Vec<u8>>,
    is_blocked: bool,
    /// The output is not to be sent before this place of the append-only file is written, or on disk.
    held: Option<Wait>,
    /// Set while a slow script holds the engine and what is to be done waits for it.
    errand: Option<Slot>,
    /// An EVAL that its client steps through: the connection becomes the console of that.
    debug_request: Option<OwnedArgs>,
    /// The client has said PSYNC: the connection goes on as a replica's feed.
    is_replica: bool,
    closing: Closing,
    traffic: Arc<Traffic>,
    /// How much of `traffic.sent_bytes` the server's statistics have, and what of reads and writes they do not have yet.
    sent_bytes_counted: u64,
    reads_uncounted: u64,
    writes_uncounted: u64,
    /// Most bytes that may wait here and in MULTI (`client-query-buffer-limit`), and how many wait in MULTI.
    query_bytes_max: usize,
    queued_bytes: usize,
    /// The other side sends nothing any more.
    is_at_end: bool,
}

impl<S: ClientSocket> Connection<S> {
    pub fn new(stream: S, hub: &'static Hub, admitted: Admitted) -> Self {
        let Admitted { id, traffic, is_authenticated, bulk_bytes_max, query_bytes_max } = admitted;
        let signal = hub.register(id);
        Self {
            stream,
            hub,
            id,
            signal,
            decoder: Decoder::new(),
            batch: Batch::new(),
            lookups: Vec::new(),
            limits: Limits { authenticated: is_authenticated, bulk_bytes_max, ..Limits::default() },
            query: BytesMut::new(),
            out: Vec::new(),
            written: 0,
            gives_way: false,
            small_writes: 0,
            out_behind: VecDeque::new(),
            is_blocked: false,
            held: None,
            errand: None,
            debug_request: None,
            is_replica: false,
            closing: Closing::No,
            traffic,
            sent_bytes_counted: 0,
            reads_uncounted: 0,
            writes_uncounted: 0,
            query_bytes_max: usize::try_from(query_bytes_max).unwrap_or(usize::MAX),
            queued_bytes: 0,
            is_at_end: false,
        }
    }

    /// Serves the client until either side closes.
    pub async fn serve(mut self) {
        let hub = self.hub;
        // Whatever the network reports, the connection is over.
        let _ = std::future::poll_fn(|cx| self.poll(cx)).await;
        let id = self.id;
        if let Some(request) = self.debug_request {
            let session = Session { request, received: self.query.to_vec() };
            match self.stream.into_blocking() {
                Ok(socket) => debugging::begin(socket, hub, id, session).await,
                Err(_) => hub.visit(move |engine| dispatch::disconnect(engine, id)).await,
            }
            return hub.unregister(id);
        }
        if self.is_replica && self.closing == Closing::No {
            if hub.visit(|engine| engine.config.repl_disable_tcp_nodelay).await {
                self.stream.send_in_larger_packets();
            }
            replica_feed::serve(self.stream, hub, id, self.signal, self.query).await;
        }
        hub.visit(move |engine| dispatch::disconnect(engine, id)).await;
        hub.unregister(id);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.signal.take(cx) {
                self.look_in();
            }
            if self.closing == Closing::Now || self.is_replica {
                return Poll::Ready(Ok(()));
            }
            if !self.is_blocked && !self.is_done_with() && !self.query.is_empty() {
                self.process_query();
            }
            if std::mem::take(&mut self.gives_way) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.held.is_some() && !self.may_speak(cx)? {
                return Poll::Pending;
            }
            let is_written = self.poll_write(cx)?.is_ready();
            if is_written && self.is_done_with() {
                return Poll::Ready(Ok(()));
            }
            if self.is_done_with() || (self.is_blocked && self.query.len() >= AHEAD_BYTES_MAX) {
                return Poll::Pending;
            }
            let received = ready!(self.poll_read(cx))?;
            if received == 0 {
                self.is_at_end = true;
                return Poll::Ready(Ok(()));
            }
            self.traffic.query_bytes.set(self.query.len() as u64);
            if self.query.len() + self.queued_bytes > self.query_bytes_max {
                self.refuse_query();
            }
        }
    }

    /// Whether nothing more of what the client sends is run here, once its replies are written.
    fn is_done_with(&self) -> bool {
        self.closing != Closing::No || self.debug_request.is_some()
    }

    /// Whether what the client is to be told is written as it has to be. Meanwhile nothing more of it is read.
    fn may_speak(&mut self, cx: &Context<'_>) -> io::Result<bool> {
        let Some(wait) = self.held else { return Ok(true) };
        match self.hub.aof.gate.pass(wait, cx.waker()) {
            Passage::Closed => return Ok(false),
            Passage::Failed if wait.until == Until::Forced => {
                return Err(io::Error::other("what was to be acknowledged is not on disk"));
            }
            Passage::Failed | Passage::Open => self.held = None,
        }
        Ok(true)
    }

    /// Reads once and runs what is complete. Answers how many bytes came.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.query.is_empty() {
            let wanted = self.decoder.bytes_wanted().max(16 * 1024);
            self.query.reserve(wanted);
            let received =
                ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.query))?;
            self.note_received(received);
            // It may be long until the rest comes and the engine is entered.
            memory::settle();
            return Poll::Ready(Ok(received));
        }
        SHARED_BUFFER.with_borrow_mut(|shared| {
            let received = ready!(self.stream.poll_recv(cx, shared))?;
            let bytes = &shared[..received];
            self.note_received(bytes.len());
            let used = if self.is_blocked { 0 } else { self.process(bytes) };
            self.query.extend_from_slice(&bytes[used..]);
            Poll::Ready(Ok(bytes.len()))
        })
    }

    fn note_received(&mut self, bytes: usize) {
        self.reads_uncounted += 1;
        self.traffic.received_bytes.add(bytes as u64);
    }

    fn process_query(&mut self) {
        let query = std::mem::take(&mut self.query);
        let used = self.process(&query);
        self.query = query;
        self.query.advance(used);
        if self.query.is_empty() {
            self.query = BytesMut::new();
        }
    }

    /// Runs the complete requests at the start of `bytes`; answers how many bytes are done with.
    fn process(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        self.traffic.query_bytes.set(bytes.len() as u64);
        while used < bytes.len() && !self.is_blocked && !self.is_replica && !self.is_done_with() {
            let buf = &bytes[used..];
            let mut batch = std::mem::take(&mut self.batch);
            let decoded =
                self.decoder.decode(buf, &self.limits, &mut batch, BATCH_REQUESTS_MAX, BATCH_BYTES_MAX);
            let consumed = match decoded {
                Ok(consumed) => {
                    let executed = self.run_batch(buf, &batch);
                    if executed < batch.len() {
                        // What was not run is decoded again once the client may go on.
                        self.decoder = Decoder::new();
                        batch.request(executed).start
                    } else {
                        consumed
                    }
                }
                Err(error) => {
                    self.fail(&error.reply_line());
                    buf.len()
                }
            };
            self.batch = batch;
            if self.errand.is_some() {
                // What was left at the desk is still at the front of the query when the answer comes.
                break;
            }
            if consumed == 0 {
                break;
            }
            used += consumed;
        }
        used
    }

    /// Enters the engine for one batch; answers how many requests were run.
    fn run_batch(&mut self, buf: &[u8], batch: &Batch) -> usize {
        if batch.is_empty() {
            return 0;
        }
        self.look_up(buf, batch);
        let hub = self.hub;
        // Copied here rather than while all others wait.
        let mut copied = Vec::new();
        if buf.len() >= ARG_BYTES_COPIED_MIN {
            let args = batch.iter(buf).flat_map(|args| args.iter());
            copied.extend(args.filter(|arg| arg.len() >= ARG_BYTES_COPIED_MIN).map(CopiedArg::new));
        }
        let executed = hub.try_enter(|engine| {
            engine.upkeep.copied = copied;
            let (now, begun) = (engine.now(), engine.time.mark());
            let mut executed = 0;
            let mut db_index = 0;
            if let Some(client) = engine.clients.get_mut(self.id) {
                client.last_interaction = now;
                db_index = client.db_index;
            }
            for (at, (args, &lookup)) in batch.iter(buf).zip(&self.lookups).enumerate() {
                if batch.len() > 1 && at.is_multiple_of(PREFETCH_KEYS_MAX) {
                    let ahead = batch.iter(buf).zip(&self.lookups).skip(at).take(PREFETCH_KEYS_MAX);
                    let keys = ahead.filter_map(|(args, &lookup)| TABLE.first_key(lookup, &args));
                    engine.keyspace.db(db_index).prefetch(keys);
                }
                match dispatch::execute(engine, self.id, lookup, &args) {
                    Executed::Done => executed += 1,
                    Executed::Blocked => {
                        executed += 1;
                        break;
                    }
                    Executed::Postponed => break,
                }
                if dispatch::must_stop(engine, self.id) {
                    break;
                }
            }
            engine.stats.net_input_bytes += buf.len() as u64;
            self.gives_way |= engine.time.mark().saturating_sub(begun) > WRITTEN_AT_ONCE_MAX_NANOS;
            self.after_batch(engine);
            (executed, std::mem::take(&mut engine.upkeep.copied))
        });
        match executed {
            Some((executed, _unused)) => executed,
            None => {
                self.leave_errand(buf.to_vec());
                0
            }
        }
    }

    /// Leaves requests to be run in between two steps of the script that holds the engine.
    fn leave_errand(&mut self, bytes: Vec<u8>) {
        let (id, limits, signal) = (self.id, self.limits.clone(), self.signal.clone());
        let slot = Slot::default();
        self.errand = Some(slot.clone());
        self.is_blocked = true;
        self.hub.leave_errand(move |engine| {
            let attended = attend(engine, id, &bytes, &limits);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(attended);
            signal.raise();
        });
    }

    /// The engine has something for this connection.
    fn look_in(&mut self) {
        let Some(slot) = &self.errand else {
            let hub = self.hub;
            if hub.try_enter(|engine| self.after_batch(engine)).is_none() {
                self.leave_errand(Vec::new());
            }
            return;
        };
        let Some(attended) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.errand = None;
        self.decoder = Decoder::new();
        self.query.advance(attended.used);
        self.out_behind.extend(attended.output);
        self.held = attended.held.or(self.held);
        self.traffic.unwritten_bytes.set(self.unwritten_bytes() as u64);
        self.is_blocked = attended.is_blocked;
        self.debug_request = attended.debug_request;
        self.limits.authenticated = attended.is_authenticated;
        self.queued_bytes = attended.queued_bytes;
        self.is_replica = attended.is_replica;
        self.closing = attended.closing;
    }

    /// Finds the rows of a batch. A pipeline mostly says the same command over and over.
    fn look_up(&mut self, buf: &[u8], batch: &Batch) {
        self.lookups.clear();
        let mut last: (&[u8], Lookup) = (&[], Lookup::Unknown);
        for args in batch.iter(buf) {
            let name = args.bytes(0);
            if name != last.0 || !TABLE.is_found_by_name(last.1) {
                last = (name, TABLE.lookup(&args));
            }
            self.lookups.push(last.1);
        }
    }

    /// Closes a client that has sent more than it may before anything of it can be run.
    fn refuse_query(&mut self) {
        let hub = self.hub;
        hub.enter(|engine| {
            let line = engine.clients.get(self.id).map(|client| engine.client_line(client));
            let line = line.unwrap_or_default();
            engine.log(
                LogLevel::Warning,
                format!("Closing client that reached max query buffer length: {line}"),
            );
            engine.stats.query_buffer_limit_disconnections += 1;
            engine.clients.close(self.id, Closing::Now);
        });
        self.closing = Closing::Now;
    }

    fn fail(&mut self, error: &ErrorReply) {
        let hub = self.hub;
        hub.enter(|engine| {
            if let Some(client) = engine.clients.get_mut(self.id) {
                client.reply().error(error);
                client.closing = Closing::AfterReplies;
            }
            self.after_batch(engine);
        });
    }

    /// Takes the output and what else has changed.
    fn after_batch(&mut self, engine: &mut Engine) {
        let wait = engine.aof_wait();
        let Some(client) = engine.clients.get_mut(self.id) else {
            self.closing = Closing::Now;
            return;
        };
        let is_written = self.written == self.out.len() && self.out_behind.is_empty();
        if is_written && client.long_replies.is_empty() {
            self.out.clear();
            self.written = 0;
            client.swap_output(&mut self.out);
        } else {
            let mut more = Vec::new();
            self.out_behind.extend(client.long_replies.drain(..));
            client.swap_output(&mut more);
            if self.out_behind.is_empty() && more.len() <= OUT_BYTES_KEPT {
                self.out.extend_from_slice(&more);
            } else {
                self.out_behind.push_back(more);
            }
        }
        let unwritten = self.unwritten_bytes();
        self.traffic.unwritten_bytes.set(unwritten as u64);
        if unwritten > 0 && wait.is_some() {
            self.held = wait;
        }
        self.is_blocked = client.blocked.is_some();
        self.debug_request = client.debug_request.take();
        self.is_replica = client.kind == ClientKind::Replica;
        self.limits.authenticated = client.is_authenticated;
        self.queued_bytes = client.transaction.as_ref().map_or(0, |transaction| transaction.bytes);
        if unwritten > OUT_BYTES_FREE {
            engine.enforce_output_limit(self.id);
        }
        self.closing = engine.clients.get(self.id).map_or(Closing::Now, |client| client.closing);
        self.limits.bulk_bytes_max = engine.config.proto_max_bulk_len;
        self.query_bytes_max = usize::try_from(engine.config.client_query_buffer_limit).unwrap_or(usize::MAX);
        let sent_bytes = self.traffic.sent_bytes.get();
        engine.stats.net_output_bytes += sent_bytes - self.sent_bytes_counted;
        self.sent_bytes_counted = sent_bytes;
        engine.stats.reads += std::mem::take(&mut self.reads_uncounted);
        engine.stats.writes += std::mem::take(&mut self.writes_uncounted);
    }

    fn unwritten_bytes(&self) -> usize {
        self.out.len() - self.written + self.out_behind.iter().map(Vec::len).sum::<usize>()
    }

    /// Begins with the next of the outputs behind the one that is written; false if there is none.
    fn go_to_next_output(&mut self) -> bool {
        while let Some(next) = self.out_behind.pop_front() {
            let written = std::mem::replace(&mut self.out, next);
            self.written = 0;
            if written.capacity() > OUT_BYTES_FREED_HERE_MAX {
                self.hub.free_output(written);
            }
            if !self.out.is_empty() {
                return true;
            }
        }
        false
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() || self.go_to_next_output() {
            let n = ready!(self.stream.poll_send(cx, &self.out[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.writes_uncounted += 1;
            self.traffic.sent_bytes.add(n as u64);
            self.traffic.unwritten_bytes.set(self.unwritten_bytes() as u64);
        }
        self.reuse_output();
        Poll::Ready(Ok(()))
    }

    /// Empties the buffer that was written; it is made smaller where it was too large for what it carried lately.
    fn reuse_output(&mut self) {
        let (carried, capacity) = (self.out.len(), self.out.capacity());
        if carried == 0 {
            return;
        }
        self.out.clear();
        self.written = 0;
        if capacity <= OUT_BYTES_SMALL {
            return;
        }
        if capacity > OUT_BYTES_FREED_HERE_MAX {
            return self.hub.free_output(std::mem::take(&mut self.out));
        }
        let is_small = carried < capacity / 8;
        self.small_writes = if is_small { self.small_writes.saturating_add(1) } else { 0 };
        let kept = if self.small_writes > SMALL_WRITES_MAX { OUT_BYTES_SMALL } else { OUT_BYTES_KEPT };
        self.out.shrink_to(kept);
    }
}

/// Runs what a client has sent while a script holds the engine, and takes what there is for it.
fn attend(engine: &mut Engine, id: ClientId, bytes: &[u8], limits: &Limits) -> Attended {
    let mut batch = Batch::new();
    let decoded = Decoder::new().decode(bytes, limits, &mut batch, BATCH_REQUESTS_MAX, BATCH_BYTES_MAX);
    let mut used = decoded.unwrap_or(0);
    for (at, args) in batch.iter(bytes).enumerate() {
        let executed = dispatch::execute(engine, id, TABLE.lookup(&args), &args);
        let done = at + usize::from(executed != Executed::Postponed);
        if (executed != Executed::Done || dispatch::must_stop(engine, id)) && done < batch.len() {
            used = batch.request(done).start;
            break;
        }
    }
    engine.stats.net_input_bytes += used as u64;
    let held = engine.aof_wait();
    let Some(client) = engine.clients.get_mut(id) else {
        return Attended {
            output: Vec::new(),
            held: None,
            used,
            is_blocked: false,
            debug_request: None,
            is_authenticated: false,
            queued_bytes: 0,
            is_replica: false,
            closing: Closing::Now,
        };
    };
    let mut out = Vec::new();
    let mut output: Vec<Vec<u8>> = client.long_replies.drain(..).collect();
    client.swap_output(&mut out);
    output.push(out);
    Attended {
        output,
        held,
        used,
        is_blocked: client.blocked.is_some(),
        debug_request: client.debug_request.take(),
        is_authenticated: client.is_authenticated,
        queued_bytes: client.transaction.as_ref().map_or(0, |transaction| transaction.bytes),
        is_replica: client.kind == ClientKind::Replica,
        closing: client.closing,
    }
}
