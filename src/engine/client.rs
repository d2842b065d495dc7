//! What the server knows of one connection, and the table of all of them.
//!
//! Every byte for a client, whoever causes it, is appended to its one ordered output buffer.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use hashbrown::HashMap;

use super::blocked::BlockedState;
use super::watch::Watch;
use crate::base::clock::UnixMillis;
use crate::base::gauge::Gauge;
use crate::resp::args::OwnedArgs;
use crate::resp::reply::{Protocol, Reply};

/// A connection's number, as CLIENT ID answers it. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Whether a command's replies are sent: CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The next command's reply is dropped.
    SkipNext,
    /// This command's reply is dropped.
    Skip,
}

/// When the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closing {
    #[default]
    No,
    /// Once the output buffer is written.
    AfterReplies,
    Now,
}

/// Whether the client's scripts are stepped through: SCRIPT DEBUG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScriptDebugging {
    #[default]
    No,
    /// Apart from the data set: nothing of what they do stays.
    Apart,
    /// In the data set, while everybody waits.
    Sync,
}

/// What is on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientKind {
    #[default]
    Normal,
    /// A replica of ours, after PSYNC.
    Replica,
    /// The link to our master: its commands are applied, not answered.
    Master,
}

/// Commands queued between MULTI and EXEC.
#[derive(Debug)]
pub struct Transaction {
    pub queued: Vec<QueuedCommand>,
    /// A command was refused while queueing: EXEC answers EXECABORT.
    pub is_aborted: bool,
    /// Flags that any of the queued commands has, and flags that all of them have.
    pub flags_any: u32,
    pub flags_all: u32,
    /// Memory that the queued commands take.
    pub bytes: usize,
}

impl Default for Transaction {
    fn default() -> Self {
        Self { queued: Vec::new(), is_aborted: false, flags_any: 0, flags_all: u32::MAX, bytes: 0 }
    }
}

#[derive(Debug)]
pub struct QueuedCommand {
    /// The command's index in the table.
    pub command: usize,
    pub args: OwnedArgs,
}

/// What a connection's task counts by itself, so that others can look without waking it.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes that were read and not executed yet.
    pub query_bytes: Gauge,
    /// Bytes that its task has taken from the output buffer and not written yet.
    pub unwritten_bytes: Gauge,
    /// All bytes read and written so far.
    pub received_bytes: Gauge,
    pub sent_bytes: Gauge,
}

impl Traffic {
    /// Bytes that its task has read and not run yet.
    pub fn query_len(&self) -> usize {
        self.query_bytes.get() as usize
    }

    /// Bytes that its task has taken and not written yet.
    pub fn unwritten_len(&self) -> usize {
        self.unwritten_bytes.get() as usize
    }
}

#[derive(Debug)]
pub struct Client {
    pub id: ClientId,
    pub kind: ClientKind,
    pub addr: String,
    pub local_addr: String,
    pub fd: i32,
    pub name: Vec<u8>,
    pub lib_name: Vec<u8>,
    pub lib_version: Vec<u8>,
    pub created_at: UnixMillis,
    pub last_interaction: UnixMillis,
    pub last_command: &'static str,
    pub commands_processed: u64,

    pub protocol: Protocol,
    /// What its connection speaks while a script has its commands answered in another protocol.
    pub protocol_of_connection: Option<Protocol>,
    pub db_index: usize,
    pub is_authenticated: bool,
    pub reply_mode: ReplyMode,
    pub closing: Closing,
    pub is_monitor: bool,
    pub is_no_evict: bool,
    pub is_no_touch: bool,
    /// SCRIPT DEBUG: its scripts are for the debugger.
    pub script_debugging: ScriptDebugging,
    /// An EVAL that its connection is to hand over to the debugger. Nothing more of it is run here.
    pub debug_request: Option<OwnedArgs>,
    /// Came in over a Unix socket.
    pub is_unix: bool,

    pub transaction: Option<Box<Transaction>>,
    /// EXEC is running the queued commands.
    pub is_executing_transaction: bool,
    pub watching: Vec<Watch>,
    /// A watched key has changed: EXEC answers null.
    pub is_dirty: bool,
    pub channels: BTreeSet<Vec<u8>>,
    pub patterns: BTreeSet<Vec<u8>>,
    pub shard_channels: BTreeSet<Vec<u8>>,
    pub blocked: Option<Box<BlockedState>>,
    /// End of the replication log after this client's last write: what WAIT waits for.
    pub last_write_offset: u64,

    /// Output that goes before `out`: long replies that were written elsewhere, taken over without a copy.
    pub long_replies: Vec<Vec<u8>>,
    /// Replies and messages that its task has not taken yet.
    pub out: Vec<u8>,
    /// Messages that came while its own command was running: they follow that command's reply.
    pub out_later: Vec<u8>,
    is_write_pending: bool,
    /// Since when the output is above the soft limit.
    pub above_soft_limit_since: Option<UnixMillis>,
    pub traffic: Arc<Traffic>,
}

impl Client {
    pub fn new(id: ClientId, now: UnixMillis) -> Self {
        Self {
            id,
            kind: ClientKind::Normal,
            addr: String::new(),
            local_addr: String::new(),
            fd: -1,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_version: Vec::new(),
            created_at: now,
            last_interaction: now,
            last_command: "",
            commands_processed: 0,
            protocol: Protocol::Resp2,
            db_index: 0,
            is_authenticated: false,
            reply_mode: ReplyMode::On,
            closing: Closing::No,
            is_monitor: false,
            is_no_evict: false,
            is_no_touch: false,
            script_debugging: ScriptDebugging::No,
            debug_request: None,
            is_unix: false,
            transaction: None,
            is_executing_transaction: false,
            watching: Vec::new(),
            is_dirty: false,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            shard_channels: BTreeSet::new(),
            blocked: None,
            last_write_offset: 0,
            long_replies: Vec::new(),
            out: Vec::new(),
            protocol_of_connection: None,
            out_later: Vec::new(),
            is_write_pending: false,
            above_soft_limit_since: None,
            traffic: Arc::default(),
        }
    }

    pub fn reply(&mut self) -> Reply<'_> {
        Reply::new(&mut self.out, self.protocol)
    }

    /// Whether it came in over the loopback or a Unix socket.
    pub fn is_local(&self) -> bool {
        self.is_unix || self.addr.starts_with("127.") || self.addr.starts_with("[::1]")
    }

    pub fn subscriptions_len(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shard_channels.len()
    }

    /// Output that the other side has not taken yet.
    pub fn output_bytes(&self) -> usize {
        let long: usize = self.long_replies.iter().map(Vec::len).sum();
        long + self.out.len() + self.out_later.len() + self.traffic.unwritten_len()
    }

    /// A RESP2 client with subscriptions may only change them, PING, QUIT or RESET.
    pub fn is_in_subscriber_mode(&self) -> bool {
        self.protocol == Protocol::Resp2 && self.subscriptions_len() > 0
    }

    /// Appends a reply that is too long to be copied while others wait.
    pub fn append_long_reply(&mut self, reply: Vec<u8>) {
        if !self.out.is_empty() {
            self.long_replies.push(std::mem::take(&mut self.out));
        }
        self.long_replies.push(reply);
    }

    /// Its task has looked: the next event wakes it again.
    pub fn note_taken(&mut self) {
        self.is_write_pending = false;
    }

    /// Gives the output buffer to the connection's task, which hands in an empty one to be filled next.
    pub fn swap_output(&mut self, buffer: &mut Vec<u8>) {
        debug_assert!(buffer.is_empty());
        std::mem::swap(&mut self.out, buffer);
        self.is_write_pending = false;
    }
}

/// All connections, and which of them have something for their task to do.
#[derive(Debug, Default)]
pub struct Clients {
    places: Vec<Option<Box<Client>>>,
    free_places: Vec<u32>,
    table: HashMap<ClientId, u32, BuildHasherDefault<IdHasher>>,
    /// Where the client is that was asked for last: a batch asks for the same one over and over.
    last_found: Cell<Option<(ClientId, u32)>>,
    last_id: u64,
    pub(super) pending_writes: Vec<ClientId>,
}

impl Clients {
    /// Adds a connection; its fields are filled in by the caller.
    pub fn connect(&mut self, now: UnixMillis) -> &mut Client {
        self.last_id += 1;
        let id = ClientId(self.last_id);
        let place = self.free_places.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        self.table.insert(id, place);
        self.places[place as usize].insert(Box::new(Client::new(id, now)))
    }

    /// Takes in a client of another engine.
    pub fn adopt(&mut self, client: Box<Client>) {
        self.last_id = self.last_id.max(client.id.0);
        self.table.insert(client.id, self.places.len() as u32);
        self.places.push(Some(client));
    }

    /// Takes a connection out; the engine's `disconnect` clears what else refers to it.
    pub fn remove(&mut self, id: ClientId) -> Option<Box<Client>> {
        let place = self.table.remove(&id)?;
        self.last_found.take();
        self.free_places.push(place);
        self.places[place as usize].take()
    }

    fn place(&self, id: ClientId) -> Option<usize> {
        if let Some((last_id, place)) = self.last_found.get()
            && last_id == id
        {
            return Some(place as usize);
        }
        let place = *self.table.get(&id)?;
        self.last_found.set(Some((id, place)));
        Some(place as usize)
    }

    pub fn get(&self, id: ClientId) -> Option<&Client> {
        self.places.get(self.place(id)?)?.as_deref()
    }

    pub fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        let place = self.place(id)?;
        self.places.get_mut(place)?.as_deref_mut()
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.places.iter().filter_map(|place| place.as_deref())
    }

    /// Every client's number, oldest first.
    pub fn ids(&self) -> Vec<ClientId> {
        let mut ids: Vec<ClientId> = self.table.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Notes that the client's task has something to do: output to write, a block that ended, or closing.
    pub fn wake(&mut self, id: ClientId) {
        let Some(client) = self.get_mut(id) else { return };
        if !client.is_write_pending {
            client.is_write_pending = true;
            self.pending_writes.push(id);
        }
    }

    /// Closes a connection from the server's side.
    pub fn close(&mut self, id: ClientId, closing: Closing) {
        if let Some(client) = self.get_mut(id) {
            client.closing = closing;
            self.wake(id);
        }
    }
}

/// Client numbers are unique and small: they are their own hash, spread by one multiplication.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only ClientId is hashed")
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
