//! What stands in the way of a command: facts about the server's state, asked by the dispatcher.

use super::blocked::BlockedOn;
use super::client::{Client, ClientKind};
use super::{ClientId, Engine};
use crate::base::clock::UnixMillis;
use crate::resp::error::ErrorReply;
use crate::storage::live::ExpiryPolicy;

/// CLIENT PAUSE: which commands wait, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    pub until: UnixMillis,
    pub writes_only: bool,
}

/// What the dispatcher tells of a command to the gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demands {
    pub is_write: bool,
    /// The client wants to know whether the server is well, and that includes writes.
    pub asks_for_health: bool,
    pub may_replicate: bool,
    pub allowed_while_loading: bool,
    pub allowed_when_stale: bool,
    /// The command takes memory, and there is none to be had.
    pub is_out_of_memory: bool,
}

/// Who holds commands back. Each has its own pause and ends no other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseCause {
    /// CLIENT PAUSE.
    Client,
    Shutdown,
    Failover,
}

/// The pauses at this moment, by their causes.
#[derive(Debug, Default)]
pub struct Pauses([Option<Pause>; 3]);

impl Pauses {
    pub fn set(&mut self, cause: PauseCause, pause: Pause) {
        self.0[cause as usize] = Some(pause);
    }

    pub fn get(&self, cause: PauseCause) -> Option<Pause> {
        self.0[cause as usize]
    }

    /// What all of them together hold back.
    pub fn in_force(&self, now: UnixMillis) -> Option<Pause> {
        self.0
            .iter()
            .flatten()
            .filter(|pause| pause.until > now)
            .copied()
            .reduce(|a, b| Pause { until: a.until.max(b.until), writes_only: a.writes_only && b.writes_only })
    }

    /// When the next one ends.
    pub fn next_end(&self) -> Option<UnixMillis> {
        self.0.iter().flatten().map(|pause| pause.until).min()
    }
}

impl Engine {
    /// Whether a protected command (DEBUG, MODULE) is enabled for this client.
    pub fn allows_protected(&self, command: &str, client: &Client) -> bool {
        let permission = match command {
            "debug" => self.config.enable_debug_command,
            _ => self.config.enable_module_command,
        };
        permission.allows(client.is_local())
    }

    /// Why the server's state forbids a command, if it does; the order of the answers is Redis'.
    pub fn refusal(&self, id: ClientId, demands: Demands) -> Option<ErrorReply> {
        let is_master_link = self.clients.get(id).is_some_and(|client| client.kind == ClientKind::Master);
        if is_master_link {
            return None;
        }
        if demands.is_out_of_memory {
            return Some(ErrorReply::OOM);
        }
        if let Some(error) = self.disk_refusal(demands) {
            return Some(error);
        }
        match self.role.as_replica() {
            None if demands.is_write && self.lacks_good_replicas() => return Some(ErrorReply::NO_REPLICAS),
            Some(_) if demands.is_write && self.config.replica_read_only => {
                return Some(ErrorReply::READ_ONLY);
            }
            Some(replica)
                if !demands.allowed_when_stale
                    && !replica.is_up()
                    && !self.config.replica_serve_stale_data =>
            {
                return Some(ErrorReply::MASTER_DOWN);
            }
            _ => {}
        }
        self.loading_refusal(demands)
    }

    /// Whether the data are those of a master that is out of reach, and not to be shown.
    pub fn is_stale(&self, id: ClientId) -> bool {
        let is_up = self.role.as_replica().is_none_or(|replica| replica.is_up());
        !is_up && !self.config.replica_serve_stale_data && !self.must_obey(id)
    }

    /// Whether a client's commands are run whatever the limits here are: those of the master.
    pub fn must_obey(&self, id: ClientId) -> bool {
        self.clients.get(id).is_some_and(|client| client.kind == ClientKind::Master)
    }

    /// Why this server does not take writes at all, if it does not.
    pub fn refusal_of_write(&self, id: ClientId) -> Option<ErrorReply> {
        self.refusal(
            id,
            Demands {
                is_write: true,
                asks_for_health: false,
                may_replicate: false,
                allowed_while_loading: true,
                allowed_when_stale: true,
                is_out_of_memory: false,
            },
        )
    }

    /// Whether fewer replicas than `min-replicas-to-write` are close behind.
    fn lacks_good_replicas(&self) -> bool {
        let config = &self.config;
        if config.min_replicas_to_write == 0 || config.min_replicas_max_lag == 0 {
            return false;
        }
        let lag_max = i64::from(config.min_replicas_max_lag);
        let good = self.role.stream().replicas.good_replicas(lag_max, self.now());
        good < config.min_replicas_to_write as usize
    }

    /// Whether CLIENT PAUSE holds writes at this moment, those of a master included.
    pub fn is_paused(&self) -> bool {
        self.pauses.in_force(self.now()).is_some()
    }

    /// Whether a client's command has to wait for the end of CLIENT PAUSE.
    pub fn must_wait_for_pause(&self, id: ClientId, is_write: bool) -> bool {
        let Some(pause) = self.pauses.in_force(self.now()) else { return false };
        if pause.writes_only && !is_write {
            return false;
        }
        self.clients.get(id).is_some_and(|client| client.kind == ClientKind::Normal)
    }

    /// Ends the pauses whose time is up.
    pub fn end_due_pauses(&mut self) {
        let now = self.now();
        for cause in [PauseCause::Client, PauseCause::Shutdown, PauseCause::Failover] {
            if self.pauses.get(cause).is_some_and(|pause| pause.until <= now) {
                self.end_pause(cause);
            }
        }
    }

    /// Ends a pause: everybody who waits goes on, unless another pause is in the way.
    pub fn end_pause(&mut self, cause: PauseCause) {
        if self.pauses.0[cause as usize].take().is_none() {
            return;
        }
        for id in self.clients.ids() {
            let waits = self.clients.get(id).and_then(|client| client.blocked.as_deref());
            if waits.is_some_and(|state| matches!(state.on, BlockedOn::Pause)) {
                self.blocked.unblock(&mut self.clients, id);
            }
        }
    }

    /// How lookups of this client's commands treat keys that are due.
    pub fn expiry_policy_for(&self, id: ClientId) -> ExpiryPolicy {
        match self.clients.get(id).map(|client| client.kind) {
            Some(ClientKind::Master) => ExpiryPolicy::Ignore,
            _ => self.expiry_policy(),
        }
    }
}
