//! The state that only a replica has: its master, and how the link to it stands.
//!
//! The offset is not here: what a replica has applied is the end of its log, one number for PSYNC, ACK and
//! its own sub-replicas.

use super::log::ReplOffset;
use super::role::Downstream;
use crate::base::clock::UnixMillis;

/// Where the master is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterAddr {
    pub host: String,
    pub port: u16,
}

/// How the link to the master stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// To be tried.
    Connect,
    /// A socket is being opened.
    Connecting {
        since: UnixMillis,
    },
    Handshake {
        last_io: UnixMillis,
    },
    /// The payload of a full resync is arriving; its size may be unknown.
    Sync {
        total_bytes: Option<u64>,
        read_bytes: u64,
        last_io: UnixMillis,
    },
    Connected {
        last_io: UnixMillis,
    },
}

impl LinkState {
    /// ROLE's word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Connecting { .. } => "connecting",
            Self::Handshake { .. } => "handshake",
            Self::Sync { .. } => "sync",
            Self::Connected { .. } => "connected",
        }
    }
}

/// A server that follows a master.
#[derive(Debug)]
pub struct Replica {
    pub stream: Downstream,
    pub master: MasterAddr,
    link: LinkState,
    /// Since when the link has been down, once it had been up.
    down_since: Option<UnixMillis>,
    /// Whether the data and the stream's end belong together, so that a partial resync may be asked for.
    has_history: bool,
    /// Bytes of the stream that have come and wait to be applied.
    read_ahead_bytes: usize,
}

impl Replica {
    /// `has_history` as far as the stream goes: true for a former master, false for a server that starts
    /// empty.
    pub fn new(stream: Downstream, master: MasterAddr, has_history: bool) -> Self {
        Self { stream, master, link: LinkState::Connect, down_since: None, has_history, read_ahead_bytes: 0 }
    }

    pub fn link(&self) -> LinkState {
        self.link
    }

    /// What has been applied.
    pub fn offset(&self) -> ReplOffset {
        self.stream.log.end_offset()
    }

    /// What has come: INFO's `slave_read_repl_offset`.
    pub fn read_offset(&self) -> ReplOffset {
        self.offset().advanced(self.read_ahead_bytes)
    }

    pub fn has_history(&self) -> bool {
        self.has_history
    }

    /// INFO's `master_link_status:up`.
    pub fn is_up(&self) -> bool {
        matches!(self.link, LinkState::Connected { .. })
    }

    /// INFO's `master_sync_in_progress`.
    pub fn is_syncing(&self) -> bool {
        matches!(self.link, LinkState::Sync { .. })
    }

    /// INFO's `master_last_io_seconds_ago`: -1 unless the link is up.
    pub fn last_io_seconds_ago(&self, now: UnixMillis) -> i64 {
        match self.link {
            LinkState::Connected { last_io } => (now.0 - last_io.0) / 1000,
            _ => -1,
        }
    }

    /// INFO's `master_link_down_since_seconds`: -1 when it has never been up.
    pub fn down_since_seconds(&self, now: UnixMillis) -> i64 {
        self.down_since.map_or(-1, |since| (now.0 - since.0) / 1000)
    }

    /// ROLE's offset: -1 unless the link is up.
    pub fn role_offset(&self) -> i64 {
        if self.is_up() { self.offset().0 as i64 } else { -1 }
    }

    /// Whether nothing has come from the master for longer than `repl-timeout`.
    pub fn is_timed_out(&self, timeout_ms: i64, now: UnixMillis) -> bool {
        match self.link {
            LinkState::Connect => false,
            LinkState::Connecting { since: last_io }
            | LinkState::Handshake { last_io }
            | LinkState::Sync { last_io, .. }
            | LinkState::Connected { last_io } => now.0 - last_io.0 > timeout_ms,
        }
    }

    pub fn connecting(&mut self, now: UnixMillis) {
        self.link = LinkState::Connecting { since: now };
    }

    pub fn handshaking(&mut self, now: UnixMillis) {
        self.link = LinkState::Handshake { last_io: now };
    }

    /// `+FULLRESYNC`: the payload will come. The data at hand still is what it was.
    pub fn syncing(&mut self, now: UnixMillis) {
        self.link = LinkState::Sync { total_bytes: None, read_bytes: 0, last_io: now };
    }

    /// Bytes have come from the master; `payload_bytes` of them belong to the snapshot.
    pub fn note_io(&mut self, payload_bytes: usize, now: UnixMillis) {
        match &mut self.link {
            LinkState::Connect | LinkState::Connecting { .. } => {}
            LinkState::Handshake { last_io } | LinkState::Connected { last_io } => *last_io = now,
            LinkState::Sync { read_bytes, last_io, .. } => {
                *read_bytes += payload_bytes as u64;
                *last_io = now;
            }
        }
    }

    /// So much of the stream waits to be applied. If that is more than before, the master is alive.
    pub fn note_read_ahead(&mut self, bytes: usize, now: UnixMillis) {
        if bytes > self.read_ahead_bytes {
            self.note_io(0, now);
        }
        self.read_ahead_bytes = bytes;
    }

    /// The payload's header has told its size.
    pub fn note_payload_size(&mut self, size: Option<u64>) {
        if let LinkState::Sync { total_bytes, .. } = &mut self.link {
            *total_bytes = size;
        }
    }

    /// The old data is being replaced by the payload: until that is whole nothing can be continued.
    pub fn lose_history(&mut self) {
        self.has_history = false;
    }

    /// The data came from a file that says where in the stream it was saved.
    pub(super) fn regain_history(&mut self) {
        self.has_history = true;
    }

    /// The link is up, and the data is what the stream's end says.
    pub(super) fn connected(&mut self, now: UnixMillis) {
        self.link = LinkState::Connected { last_io: now };
        self.down_since = None;
        self.has_history = true;
    }

    /// The link broke, at whatever stage.
    pub fn disconnected(&mut self, now: UnixMillis) {
        if self.is_up() {
            self.down_since = Some(now);
        }
        self.read_ahead_bytes = 0;
        self.link = LinkState::Connect;
    }
}
