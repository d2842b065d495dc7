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
    pub may_replicate: bool,
    pub allowed_while_loading: bool,
    pub allowed_when_stale: bool,
    pub denied_when_out_of_memory: bool,
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
    pub fn refusal(&mut self, id: ClientId, demands: Demands) -> Option<ErrorReply> {
        let is_master_link = self.clients.get(id).is_some_and(|client| client.kind == ClientKind::Master);
        if is_master_link {
            return None;
        }
        if demands.denied_when_out_of_memory && self.is_out_of_memory() {
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

    /// Whether more than `maxmemory` is allocated. No key is evicted: whatever the policy, writes are refused.
    fn is_out_of_memory(&mut self) -> bool {
        let is_exempt = self.config.replica_ignore_maxmemory && !self.role.is_master();
        let is_above = |engine: &Self| engine.stats.memory.allocated > engine.config.maxmemory;
        if self.config.maxmemory == 0 || is_exempt || !is_above(self) {
            return false;
        }
        // The figures at hand may be older than what has freed enough.
        self.measure_memory();
        is_above(self)
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

    /// Whether a client's command has to wait for the end of CLIENT PAUSE.
    pub fn must_wait_for_pause(&self, id: ClientId, is_write: bool) -> bool {
        let Some(pause) = self.pause else { return false };
        if pause.until <= self.now() || (pause.writes_only && !is_write) {
            return false;
        }
        self.clients.get(id).is_some_and(|client| client.kind == ClientKind::Normal)
    }

    /// Ends a pause: everybody who waits for it goes on.
    pub fn end_pause(&mut self) {
        self.pause = None;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::config::Config;
    use crate::engine::process::MemoryFigures;

    const SET: Demands = Demands {
        is_write: true,
        may_replicate: false,
        allowed_while_loading: false,
        allowed_when_stale: false,
        denied_when_out_of_memory: true,
    };

    #[test]
    fn writes_are_refused_while_more_than_maxmemory_is_allocated() {
        let mut engine = Engine::new(Config::default(), Box::new(ManualClock::new(UnixMillis(0))), 1);
        let now = engine.now();
        let id = engine.clients.connect(now).id;
        engine.stats.memory.allocated = 100;
        assert_eq!(engine.refusal(id, SET), None, "0 is no limit");
        engine.config.maxmemory = 99;
        assert_eq!(engine.refusal(id, SET), Some(ErrorReply::OOM));
        assert_eq!(engine.refusal(id, Demands { denied_when_out_of_memory: false, ..SET }), None);
    }

    #[test]
    fn old_figures_refuse_nothing() {
        let mut engine = Engine::new(Config::default(), Box::new(ManualClock::new(UnixMillis(0))), 1);
        let now = engine.now();
        let id = engine.clients.connect(now).id;
        engine.config.maxmemory = 99;
        engine.stats.memory.allocated = 100;
        engine.memory_probe = |before| MemoryFigures { allocated: 50, ..before };
        assert_eq!(engine.refusal(id, SET), None);
    }
}
