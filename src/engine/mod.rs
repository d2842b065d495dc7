//! All state of one server, as plain data: keyspace, clients, wait queues, statistics, replication.
//!
//! The engine knows no command and does no I/O. What it wants done outside (a snapshot saved, a connection closed, a
//! value freed) it leaves in `jobs`, `pending_writes` and `log_lines` for whoever drives it: the runtime behind sockets,
//! a test, or a simulation.

pub mod blocked;
pub mod client;
pub mod effects;
pub mod gates;
pub mod histogram;
pub mod job;
pub mod latency;
pub mod monitor;
pub mod persistence;
pub mod process;
pub mod shutdown;
pub mod slowlog;
pub mod stats;
pub mod watch;

use std::mem;

use crate::base::clock::{Clock, UnixMillis};
use crate::config::Config;
use crate::replication::replid::ReplId;
use crate::replication::role::Role;
use crate::storage::live::{AccessPolicy, ExpiryPolicy, Upkeep};
use crate::storage::{EncodingLimits, Keyspace};

pub use blocked::{BlockedClients, BlockedOn, TimeoutReply};
pub use client::{Client, ClientId, Clients};
pub use effects::Effects;
pub use gates::Pause;
pub use job::{InsideJob, Job};
pub use latency::LatencyMonitor;
pub use persistence::Persistence;
pub use process::ProcessInfo;
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
    pub upkeep: Upkeep,
    pub effects: Effects,

    pub clients: Clients,
    pub blocked: BlockedClients,
    pub watched: WatchedKeys,
    pub monitors: Vec<ClientId>,
    pub pause: Option<Pause>,
    pub stats: Stats,
    pub slowlog: SlowLog,
    /// Commands that take at least this long go into the slow log.
    pub slowlog_threshold_nanos: u64,
    pub latency: LatencyMonitor,

    pub role: Role,
    pub persistence: Persistence,
    pub shutdown: Option<Shutdown>,
    /// DEBUG SET-ACTIVE-EXPIRE: whether expired keys are looked for in the background.
    pub active_expire_enabled: bool,
    /// DEBUG PAUSE-CRON: nothing happens by itself.
    pub is_cron_paused: bool,
    pub process: ProcessInfo,
    /// 40 hexadecimal digits, new with every start.
    pub run_id: ReplId,

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

/// The instant at which commands run, taken from the injected clock.
///
/// The wall clock is read once per batch; within it one cheap monotonic reading per command moves the time on.
pub struct EngineTime {
    clock: Box<dyn Clock>,
    base_micros: i64,
    base_nanos: u64,
    nanos: u64,
    now: UnixMillis,
}

impl EngineTime {
    pub fn new(clock: Box<dyn Clock>) -> Self {
        let (base_micros, base_nanos, now) = (clock.unix_micros(), clock.monotonic_nanos(), clock.now());
        Self { clock, base_micros, base_nanos, nanos: base_nanos, now }
    }

    /// Reads the wall clock.
    pub fn sample(&mut self) {
        self.base_micros = self.clock.unix_micros();
        self.base_nanos = self.clock.monotonic_nanos();
        self.nanos = self.base_nanos;
        self.now = UnixMillis(self.base_micros.div_euclid(1000));
    }

    /// Ends a command: answers how long it took, in nanoseconds, and moves the time on.
    pub fn lap(&mut self) -> u64 {
        let nanos = self.clock.monotonic_nanos();
        let elapsed = nanos.saturating_sub(self.nanos);
        self.nanos = nanos;
        self.now = UnixMillis(self.unix_micros() / 1000);
        elapsed
    }

    /// Stops for `duration`: what follows runs later.
    pub fn sleep(&mut self, duration: std::time::Duration) {
        self.clock.sleep(duration);
    }

    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// The time of the last lap, in microseconds.
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
        let role = Role::new_master(time.now(), &mut rng);
        let run_id = ReplId::random(&mut rng);
        let mut engine = Self {
            limits: EncodingLimits::default(),
            stats: Stats::new(time.now()),
            persistence: Persistence::new(time.now()),
            time,
            rng,
            access_rng,
            keyspace,
            upkeep: Upkeep::default(),
            effects: Effects::default(),
            clients: Clients::default(),
            blocked: BlockedClients::default(),
            watched: WatchedKeys::default(),
            monitors: Vec::new(),
            pause: None,
            slowlog: SlowLog::default(),
            slowlog_threshold_nanos: u64::MAX,
            latency: LatencyMonitor::default(),
            role,
            shutdown: None,
            active_expire_enabled: true,
            is_cron_paused: false,
            process: ProcessInfo::default(),
            run_id,
            jobs: Vec::new(),
            log_lines: Vec::new(),
            config,
        };
        engine.config_changed();
        engine
    }

    /// Takes over what the configuration says into the places where it is read on the hot path.
    pub fn config_changed(&mut self) {
        let config = &self.config;
        self.limits = EncodingLimits {
            hash_max_listpack_entries: config.hash_max_listpack_entries as usize,
            hash_max_listpack_value: config.hash_max_listpack_value as usize,
            list_max_listpack_size: config.list_max_listpack_size as i64,
            set_max_intset_entries: config.set_max_intset_entries as usize,
            set_max_listpack_entries: config.set_max_listpack_entries as usize,
            set_max_listpack_value: config.set_max_listpack_value as usize,
            zset_max_listpack_entries: config.zset_max_listpack_entries as usize,
            zset_max_listpack_value: config.zset_max_listpack_value as usize,
        };
        self.slowlog_threshold_nanos =
            u64::try_from(config.slowlog_log_slower_than).map_or(u64::MAX, |micros| micros * 1000);
    }

    pub fn now(&self) -> UnixMillis {
        self.time.now()
    }

    /// How lookups of an ordinary client treat keys that are due.
    pub fn expiry_policy(&self) -> ExpiryPolicy {
        ExpiryPolicy::Remove
    }

    /// How an access changes a key's stamp.
    pub fn access_policy(&self) -> AccessPolicy {
        AccessPolicy::Lru { seconds: (self.now().0 / 1000) as u32 }
    }

    /// Counts changes of the data set since the last save.
    pub fn count_changes(&mut self, changes: u64) {
        self.persistence.dirty += changes;
    }

    /// Tells subscribers of keyspace events about a change.
    pub fn notify(&mut self, _change: &effects::Modification) {}

    /// Appends the unit's effects to the replication log; the offset behind them.
    pub fn append_effects(&mut self) -> u64 {
        self.effects.clear();
        0
    }

    /// How many replicas have acknowledged `offset`.
    pub fn acknowledged_replicas(&self, _offset: u64) -> usize {
        0
    }

    /// Removes what refers to a client that has gone.
    pub fn forget_client(&mut self, id: ClientId) {
        self.monitors.retain(|&monitor| monitor != id);
    }

    pub fn log(&mut self, level: LogLevel, text: impl Into<String>) {
        self.log_lines.push(LogLine { level, text: text.into() });
    }

    /// The clients whose tasks have something to do: output to write, or a block that has ended.
    pub fn take_pending_writes(&mut self) -> Vec<ClientId> {
        mem::take(&mut self.clients.pending_writes)
    }
}
