//! All state of one server, as plain data: keyspace, clients, wait queues, statistics, replication.
//!
//! The engine knows no command and does no I/O. What it wants done outside (a snapshot saved, a connection closed, a
//! value freed) it leaves in `jobs`, `pending_writes` and `log_lines` for whoever drives it: the runtime behind sockets,
//! a test, or a simulation.

pub mod aof;
pub mod blocked;
pub mod client;
mod client_limits;
mod client_line;
pub mod effects;
pub mod eviction;
pub mod failover;
pub mod full_sync;
pub mod gates;
pub mod histogram;
pub mod job;
pub mod latency;
pub mod lazyfree;
pub mod long_read;
pub mod master_stream;
pub mod migration;
pub mod monitor;
mod notify;
mod own_effects;
pub mod persistence;
pub mod process;
pub mod pubsub;
pub mod replication;
pub mod script_cache;
pub mod scripting;
pub mod shutdown;
pub mod slowlog;
pub mod stats;
pub mod watch;

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;

use crate::base::clock::{Clock, UnixMillis};
use crate::config::{Config, MaxmemoryPolicy};
use crate::replication::replica_manager::ReplicaId;
use crate::replication::replid::ReplId;
use crate::replication::role::Role;
use crate::storage::live::{AccessPolicy, ExpiryPolicy, LiveDb, Upkeep, View};
use crate::storage::{EncodingLimits, Keyspace};

pub use aof::Aof;
pub use blocked::{BlockedClients, BlockedOn, TimeoutReply};
pub use client::{Client, ClientId, Clients};
pub use effects::Effects;
pub use eviction::{Eviction, MemoryMeter};
pub use failover::Failover;
pub use full_sync::{DiskSync, FullSync, RunningSync};
pub use gates::{Pause, PauseCause, Pauses};
pub use job::{InsideJob, Job};
pub use latency::LatencyMonitor;
pub use lazyfree::LazyFree;
pub use long_read::{LateReply, LongReadLimits};
pub use persistence::Persistence;
pub use process::{MemoryProbe, ProcessInfo};
pub use pubsub::PubSub;
pub use scripting::Scripting;
pub use shutdown::Shutdown;
pub use slowlog::SlowLog;
pub use stats::Stats;
pub use watch::WatchedKeys;

/// One server.
pub struct Engine {
    pub config: Config,
    pub limits: EncodingLimits,
    pub time: EngineTime,
    pub rng: fastrand::Rng,
    /// Chance for access counters alone, so that reading a key does not disturb what commands draw.
    pub access_rng: fastrand::Rng,

    pub keyspace: Keyspace,
    /// Whether keys that nobody looks at are removed when their time has passed: DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire_enabled: bool,
    /// Database and segment at which the active expire cycle goes on.
    pub expire_cursor: (usize, usize),
    /// The same for fields of hashes.
    pub field_expire_cursor: (usize, usize),
    pub upkeep: Upkeep,
    /// On a replica that its own clients may write to: the keys, by database, that they gave an expiry. Nobody else will
    /// remove them.
    pub own_expiries: BTreeSet<(usize, Vec<u8>)>,
    /// Where looking for those that are due goes on.
    pub own_expiries_seen: Option<(usize, Vec<u8>)>,
    pub effects: Effects,

    pub clients: Clients,
    pub blocked: BlockedClients,
    pub watched: WatchedKeys,
    pub role: Role,
    /// The database that the replication log has selected; none when the next effect must say.
    pub log_db_index: Option<usize>,
    /// The database that the master's stream has selected where it was left. A partial resync goes on in it.
    pub stream_db_index: usize,
    /// The save under way whose file is for replicas.
    pub disk_sync: Option<DiskSync>,
    pub running_sync: Option<RunningSync>,
    last_sync_number: u64,
    /// Clients in WAIT.
    pub waiting_for_acks: Vec<ClientId>,
    /// The client in whose name the master's commands run, while there is a link.
    pub master_client: Option<ClientId>,
    /// Counts the changes of master, so that a link knows when it is out of date.
    pub link_epoch: u64,
    /// How often `replication_cron` has run.
    pub replication_turns: u64,

    pub monitors: Vec<ClientId>,
    pub pubsub: PubSub,
    pub scripting: Scripting,
    /// The client whose request is being run.
    pub running: Option<ClientId>,
    /// How many commands (EXEC, a script) run the one that runs now.
    pub nesting: u32,
    /// Arguments of the running command that neither MONITOR nor SLOWLOG may show.
    pub redacted_args: Vec<usize>,
    pub pauses: Pauses,
    pub failover: Option<Failover>,
    pub stats: Stats,
    /// Measures the memory of this process: injected, as the clock is.
    pub memory_probe: MemoryProbe,
    /// Tells how much is allocated at this moment: injected as well.
    pub memory_meter: MemoryMeter,
    pub eviction: Eviction,
    pub lazyfree: Arc<LazyFree>,
    pub long_reads: LongReadLimits,
    /// What the running command has left of its reply.
    pub late_reply: Option<LateReply>,
    /// Databases and keys of values that something is left to be cleaned up in.
    pub to_sweep: VecDeque<(usize, Vec<u8>)>,
    pub slowlog: SlowLog,
    /// Commands that take at least this long go into the slow log.
    pub slowlog_threshold_nanos: u64,
    pub latency: LatencyMonitor,

    pub persistence: Persistence,
    pub aof: Aof,
    pub shutdown: Option<Shutdown>,
    /// DEBUG PAUSE-CRON: nothing happens by itself.
    pub is_cron_paused: bool,
    /// DEBUG SET-SKIP-CHECKSUM-VALIDATION.
    pub dump_trust: crate::persistence::rdb::Trust,
    pub process: ProcessInfo,
    /// 40 hexadecimal digits, new with every start.
    pub run_id: ReplId,

    /// Connections that MIGRATE keeps for the next time.
    pub migrate_cached_sockets: usize,

    pub jobs: Vec<Job>,
    pub log_lines: Vec<LogLine>,
}

/// A line for the server's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub level: LogLevel,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// How long a change of the wall clock by somebody else may go unnoticed.
const WALL_CLOCK_PERIOD_NANOS: u64 = 10_000_000;

/// The instant at which commands run, taken from the injected clock.
///
/// Cheap monotonic readings, one per batch and one per command, move the time on from the last reading of the wall clock,
/// which is repeated every [`WALL_CLOCK_PERIOD_NANOS`].
pub struct EngineTime {
    clock: Box<dyn Clock>,
    base_micros: i64,
    base_nanos: u64,
    nanos: u64,
    /// When the unit that runs has begun, in microseconds.
    now_micros: i64,
}

impl EngineTime {
    pub fn new(clock: Box<dyn Clock>) -> Self {
        let (base_micros, base_nanos) = (clock.unix_micros(), clock.monotonic_nanos());
        Self { clock, base_micros, base_nanos, nanos: base_nanos, now_micros: base_micros }
    }

    /// Moves the time on, at the start of a batch.
    pub fn sample(&mut self) {
        self.nanos = self.clock.monotonic_nanos();
        if self.nanos.saturating_sub(self.base_nanos) >= WALL_CLOCK_PERIOD_NANOS {
            self.base_micros = self.clock.unix_micros();
            self.base_nanos = self.nanos;
        }
        self.now_micros = self.unix_micros();
    }

    /// Ends a command: answers how long it took, in nanoseconds, and moves the time on.
    pub fn lap(&mut self) -> u64 {
        let nanos = self.clock.monotonic_nanos();
        let elapsed = nanos.saturating_sub(self.nanos);
        self.nanos = nanos;
        self.now_micros = self.unix_micros();
        elapsed
    }

    /// The last reading of the monotonic clock, from which `lap_from` measures.
    pub fn mark(&self) -> u64 {
        self.nanos
    }

    /// Ends a command that began at `mark`. Inside a larger unit the time stands still.
    pub fn lap_from(&mut self, mark: u64, is_nested: bool) -> u64 {
        if is_nested {
            self.nanos = self.clock.monotonic_nanos();
        } else {
            self.lap();
        }
        self.nanos.saturating_sub(mark)
    }

    /// When the wall clock was read last: the instant at which the present stay in the engine has begun, in nanoseconds
    /// of the monotonic clock.
    pub fn stay(&self) -> u64 {
        self.base_nanos
    }

    /// Reads the monotonic clock, in nanoseconds; the time of commands stays where it is.
    pub fn monotonic_nanos(&self) -> u64 {
        self.clock.monotonic_nanos()
    }

    /// Stops for `duration`: what follows runs later.
    pub fn wait(&mut self, duration: std::time::Duration) {
        self.clock.wait(duration);
    }

    pub fn now(&self) -> UnixMillis {
        UnixMillis(self.now_micros.div_euclid(1000))
    }

    /// The same in microseconds.
    pub fn now_micros(&self) -> i64 {
        self.now_micros
    }

    /// The time of the last lap, in microseconds. It moves on within EXEC and scripts.
    pub fn unix_micros(&self) -> i64 {
        self.base_micros + (self.nanos.saturating_sub(self.base_nanos) / 1000) as i64
    }
}

impl Engine {
    /// A master with no data. `seed` drives every random choice.
    pub fn new(config: Config, clock: Box<dyn Clock>, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let keyspace = Keyspace::new(config.databases as usize, rng.u64(..));
        let access_rng = rng.fork();
        let time = EngineTime::new(clock);
        let started_at = time.now();
        let role = Role::new_master(started_at, &mut rng);
        // Of its own seed, so that it does not disturb what commands draw.
        let run_id = ReplId::random(&mut fastrand::Rng::with_seed(!seed));
        let mut engine = Self {
            limits: EncodingLimits::default(),
            stats: Stats::new(started_at),
            memory_probe: |figures| figures,
            memory_meter: |engine| engine.stats.memory.allocated,
            eviction: Eviction::default(),
            lazyfree: Arc::default(),
            long_reads: LongReadLimits::default(),
            late_reply: None,
            to_sweep: VecDeque::new(),
            persistence: Persistence::new(started_at),
            time,
            rng,
            access_rng,
            keyspace,
            active_expire_enabled: true,
            expire_cursor: (0, 0),
            field_expire_cursor: (0, 0),
            upkeep: Upkeep::default(),
            own_expiries: BTreeSet::new(),
            own_expiries_seen: None,
            effects: Effects::default(),
            clients: Clients::default(),
            blocked: BlockedClients::default(),
            watched: WatchedKeys::default(),
            role,
            log_db_index: None,
            stream_db_index: 0,
            disk_sync: None,
            running_sync: None,
            last_sync_number: 0,
            waiting_for_acks: Vec::new(),
            master_client: None,
            link_epoch: 0,
            replication_turns: 0,
            monitors: Vec::new(),
            pubsub: PubSub::default(),
            scripting: Scripting::default(),
            running: None,
            nesting: 0,
            redacted_args: Vec::new(),
            pauses: Pauses::default(),
            failover: None,
            slowlog: SlowLog::default(),
            slowlog_threshold_nanos: u64::MAX,
            latency: LatencyMonitor::default(),
            aof: Aof::new(),
            shutdown: None,
            is_cron_paused: false,
            dump_trust: crate::persistence::rdb::Trust::Nothing,
            process: ProcessInfo::default(),
            run_id,
            migrate_cached_sockets: 0,
            jobs: Vec::new(),
            log_lines: Vec::new(),
            config,
        };
        engine.config_changed();
        engine
    }

    /// Another server, with the configuration and the data of this moment and without clients, files or replicas: for what
    /// nobody else is to see. `clock` is to be like this one's.
    pub fn beside(&mut self, clock: Box<dyn Clock>) -> Self {
        let mut other = Self::new(self.config.clone(), clock, self.rng.u64(..));
        other.keyspace = self.keyspace.clone();
        other.process = self.process.clone();
        other.stats.commands = vec![stats::CommandStats::default(); self.stats.commands.len()];
        (other.memory_probe, other.memory_meter) = (self.memory_probe, self.memory_meter);
        other
    }

    /// Takes over what the configuration says into the places where it is read on the hot path.
    pub fn config_changed(&mut self) {
        let config = &self.config;
        self.limits = EncodingLimits {
            hash_max_listpack_entries: config.hash_max_listpack_entries,
            hash_max_listpack_value: config.hash_max_listpack_value,
            list_max_listpack_size: config.list_max_listpack_size,
            set_max_intset_entries: config.set_max_intset_entries,
            set_max_listpack_entries: config.set_max_listpack_entries,
            set_max_listpack_value: config.set_max_listpack_value,
            zset_max_listpack_entries: config.zset_max_listpack_entries,
            zset_max_listpack_value: config.zset_max_listpack_value,
        };
        self.slowlog_threshold_nanos =
            u64::try_from(config.slowlog_log_slower_than).map_or(u64::MAX, |micros| micros * 1000);
        self.effects.lazy_expire = config.lazyfree_lazy_expire;
        self.eviction_configured();
        self.refresh_propagation();
    }

    pub fn now(&self) -> UnixMillis {
        self.time.now()
    }

    /// How lookups of an ordinary client treat keys that are due. Nothing is removed while writes are paused.
    pub fn expiry_policy(&self) -> ExpiryPolicy {
        if self.role.is_master() && !self.is_paused() { ExpiryPolicy::Remove } else { ExpiryPolicy::Hide }
    }

    /// How an access changes a key's stamp.
    pub fn access_policy(&self) -> AccessPolicy {
        let seconds = self.now().0 / 1000;
        match self.config.maxmemory_policy {
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => AccessPolicy::Lfu {
                minutes: (seconds / 60) as u32,
                log_factor: self.config.lfu_log_factor,
                decay_minutes: self.config.lfu_decay_time,
            },
            _ => AccessPolicy::Lru { seconds: seconds as u32 },
        }
    }

    /// Whether anybody wants to know which keys change: WATCH, blocked clients, subscribers of keyspace events.
    pub fn has_observers(&self) -> bool {
        !self.watched.is_empty()
            || self.blocked.has_key_waiters()
            || !self.config.notify_keyspace_events.is_empty()
    }

    /// A database as this server sees it by itself, whoever asks.
    pub fn live_db(&mut self, db_index: usize) -> LiveDb<'_> {
        let view = View {
            now: self.now(),
            expiry: self.expiry_policy(),
            access: self.access_policy(),
            limits: &self.limits,
        };
        LiveDb::new(self.keyspace.db_mut(db_index), view, &mut self.access_rng, &mut self.upkeep)
    }

    /// Brings the figures of memory up to date.
    pub fn measure_memory(&mut self) {
        self.stats.memory = (self.memory_probe)(self.stats.memory);
    }

    /// As `measure_memory`, but only what costs nothing to know; the rest is as old as the cron's last turn.
    pub fn glance_at_memory(&mut self) {
        let allocated = (self.memory_meter)(self);
        let memory = &mut self.stats.memory;
        memory.allocated = allocated;
        memory.peak = memory.peak.max(allocated);
    }

    /// Counts changes of the data set since the last save.
    pub fn count_changes(&mut self, changes: u64) {
        self.persistence.dirty += changes;
    }

    /// Removes what refers to a client that has gone.
    pub fn forget_client(&mut self, id: ClientId) {
        self.stop_monitoring(id);
        self.unsubscribe_all(id);
        self.waiting_for_acks.retain(|&waiter| waiter != id);
        self.detach_replica(id);
    }

    /// Keeps nothing for a replica any more. No effect on other clients.
    pub fn detach_replica(&mut self, id: ClientId) {
        let now = self.now();
        if self.role.stream_mut().replicas.unregister(ReplicaId(id.0), now) {
            // The stream may have been kept for this one alone.
            self.trim_backlog();
        }
    }

    /// What HELLO tells of the server's part in replication.
    pub fn role_name(&self) -> &'static str {
        if matches!(self.role, Role::Replica(_)) { "replica" } else { "master" }
    }

    /// The next instant at which something ends by itself: a block, a pause, or the time for replicas to gather.
    pub fn next_deadline(&self) -> Option<UnixMillis> {
        [self.blocked.next_deadline(), self.pauses.next_end(), self.next_full_sync()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Drops what a client has queued and watches.
    pub fn discard_transaction(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.transaction = None;
            self.watched.unwatch(&mut self.clients, id);
        }
    }

    pub fn log(&mut self, level: LogLevel, text: impl Into<String>) {
        self.log_lines.push(LogLine { level, text: text.into() });
    }

    /// Whether a batch has left something behind for whoever drives the engine.
    pub fn has_aftermath(&self) -> bool {
        !self.clients.pending_writes.is_empty()
            || !self.jobs.is_empty()
            || !self.log_lines.is_empty()
            || self.eviction.is_running
    }

    /// The clients whose tasks have something to do: output to write, or a block that has ended.
    pub fn take_pending_writes(&mut self) -> Vec<ClientId> {
        mem::take(&mut self.clients.pending_writes)
    }
}
