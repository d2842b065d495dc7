//! How much memory counts against `maxmemory`, and how far eviction is. Which keys leave is decided in
//! `command/eviction`.

use super::client::ClientKind;
use super::{Engine, LogLevel};
use crate::config::MaxmemoryPolicy;
use crate::replication::log::BLOCK_BYTES;
use crate::storage::db::Sampled;
use crate::storage::eviction::{EvictionPool, Ranking};

/// Tells how many bytes are allocated at this moment: injected, as the clock is. The runtime asks the allocator, tests
/// count keys.
pub type MemoryMeter = fn(&Engine) -> u64;

#[derive(Debug, Default)]
pub struct Eviction {
    pub pool: EvictionPool,
    /// What the pool was collected for.
    pub pool_policy: Option<MaxmemoryPolicy>,
    /// Where the random policies go on.
    pub next_db: usize,
    /// There is more to evict than there was time for: to be continued between batches.
    pub is_running: bool,
    /// The stay in the engine (by the instant at which it began) in which eviction has used up its time.
    pub used_up_stay: Option<u64>,
    /// `maxmemory` as it was last seen.
    limit: u64,
}

/// How a policy chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Nothing,
    Random(Sampled),
    Ranked(Sampled, Ranking),
}

impl Engine {
    /// How the policy in force chooses at this moment.
    pub fn eviction_choice(&self) -> Choice {
        let seconds = (self.now().0 / 1000) as u32;
        let idle = Ranking::Idle { seconds: seconds & 0xff_ffff };
        let rare =
            Ranking::Rare { minutes: (seconds / 60) & 0xffff, decay_minutes: self.config.lfu_decay_time };
        match self.config.maxmemory_policy {
            MaxmemoryPolicy::NoEviction => Choice::Nothing,
            MaxmemoryPolicy::AllkeysRandom => Choice::Random(Sampled::AllKeys),
            MaxmemoryPolicy::VolatileRandom => Choice::Random(Sampled::Volatile),
            MaxmemoryPolicy::AllkeysLru => Choice::Ranked(Sampled::AllKeys, idle),
            MaxmemoryPolicy::VolatileLru => Choice::Ranked(Sampled::Volatile, idle),
            MaxmemoryPolicy::AllkeysLfu => Choice::Ranked(Sampled::AllKeys, rare),
            MaxmemoryPolicy::VolatileLfu => Choice::Ranked(Sampled::Volatile, rare),
            MaxmemoryPolicy::VolatileTtl => Choice::Ranked(Sampled::Volatile, Ranking::ExpiresSoon),
        }
    }

    /// Bytes above `maxmemory` at this moment.
    pub fn excess_bytes(&self) -> u64 {
        let used = (self.memory_meter)(self);
        if used <= self.config.maxmemory {
            return 0;
        }
        used.saturating_sub(self.uncounted_bytes()).saturating_sub(self.config.maxmemory)
    }

    /// Bytes that no eviction of keys can free and that go by themselves: what replicas have yet to read beyond the
    /// backlog, values that another thread is about to free, and what snapshots alone hold.
    pub fn uncounted_bytes(&self) -> u64 {
        let snapshots = if self.keyspace.is_shared() { self.upkeep.held_bytes } else { 0 };
        self.log_bytes_beyond_backlog()
            + self.lazyfree.pending_bytes()
            + self.upkeep.garbage_bytes
            + self.keyspace.snapshot_bytes()
            + snapshots
    }

    /// Begins to count anew what snapshots hold, once there is none left.
    pub fn forget_released_snapshots(&mut self) {
        if !self.keyspace.is_shared() {
            self.keyspace.forget_copied_bytes();
            self.upkeep.held_bytes = 0;
        }
    }

    /// Bytes of the replication log that are kept for slow replicas alone.
    pub fn unread_log_bytes(&self) -> u64 {
        let stream = self.role.stream();
        let is_beyond = stream.log.histlen() > self.config.repl_backlog_size;
        if is_beyond && !stream.replicas.ids().is_empty() { self.log_bytes_beyond_backlog() } else { 0 }
    }

    /// What the replication log takes besides the bytes of the backlog: those that replicas have yet to read, with what
    /// is on its way to them, and what whole blocks have too much.
    fn log_bytes_beyond_backlog(&self) -> u64 {
        let log = &self.role.stream().log;
        // Those too that are being closed.
        let replicas = self.clients.iter().filter(|client| client.kind == ClientKind::Replica);
        let sending = replicas.map(|client| client.traffic.unwritten_len()).filter(|&bytes| bytes > 0);
        // A piece keeps the whole block alive that it is of; the first and the last one may be parts of theirs.
        let sending: usize = sending.map(|bytes| bytes + 2 * BLOCK_BYTES).sum();
        (log.memory_bytes() + sending) as u64 - log.histlen().min(self.config.repl_backlog_size)
    }

    /// An estimate of what `keys` of all keys take, with their values; 0 while nobody asks for it.
    pub fn share_of_memory(&self, keys: usize) -> u64 {
        if self.config.maxmemory == 0 || keys == 0 {
            return 0;
        }
        let used = (self.memory_meter)(self).saturating_sub(self.stats.memory.startup);
        let used = used.saturating_sub(self.uncounted_bytes());
        let all = self.keyspace.keys_len().max(keys);
        (u128::from(used) * keys as u128 / all as u128) as u64
    }

    /// Takes note of a new configuration.
    pub(super) fn eviction_configured(&mut self) {
        let limit = self.config.maxmemory;
        self.upkeep.measures_garbage = limit > 0;
        let policy = Some(self.config.maxmemory_policy);
        if self.eviction.pool_policy != policy {
            self.eviction.pool.clear();
            self.eviction.pool_policy = policy;
        }
        if limit == self.eviction.limit {
            return;
        }
        self.eviction.limit = limit;
        self.eviction.is_running = limit > 0;
        let used = (self.memory_meter)(self);
        if limit > 0 && limit < used {
            self.log(
                LogLevel::Warning,
                format!(
                    "WARNING: the new maxmemory value set via CONFIG SET ({limit}) is smaller than the current memory \
                     usage ({used}). This will result in key eviction and/or the inability to accept new write \
                     commands depending on the maxmemory-policy."
                ),
            );
        }
    }

    /// Counts for how long memory has been above the limit.
    pub fn note_memory_exceeded(&mut self, is_exceeded: bool) {
        let nanos = self.time.mark();
        let stats = &mut self.stats;
        match stats.eviction_exceeded_since {
            None if is_exceeded => stats.eviction_exceeded_since = Some(nanos),
            Some(since) if !is_exceeded => {
                stats.eviction_exceeded_nanos += nanos.saturating_sub(since);
                stats.eviction_exceeded_since = None;
            }
            _ => {}
        }
    }

    /// For how long memory has been above the limit, now and in total, in milliseconds.
    pub fn eviction_exceeded_ms(&self) -> (u64, u64) {
        let current =
            self.stats.eviction_exceeded_since.map_or(0, |since| self.time.mark().saturating_sub(since));
        (current / 1_000_000, (self.stats.eviction_exceeded_nanos + current) / 1_000_000)
    }
}
