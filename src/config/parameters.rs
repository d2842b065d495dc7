//! The table: one row is a parameter's field, name, older name, default, range, flags and help.
//!
//! Names, defaults and ranges are those of Redis 7.0, with the parameters that 7.2 and 7.4 added.

use super::choices::{
    AclPubsubDefault, AppendFsync, ClusterEndpointType, LogLevel, MaxmemoryPolicy, OomScoreAdj, Permission,
    PropagationErrorBehavior, ReplDisklessLoad, SanitizeDumpPayload, ShutdownOptions, Supervised,
    SyslogFacility, TlsAuthClients,
};
use super::lists::{HostPort, NotifyFlags, OutputBufferLimits, SavePoint};
use super::parameter::{
    ADDS_UP, COMMON, DENY_LOADING, HIDDEN, IMMUTABLE, MULTI_ARG, NO_EFFECT, PROTECTED, Parameter, SENSITIVE,
    parameters,
};
use super::setting::{MemoryShare, Rule, clamped, int, memory, memory_or_percent, octal};

const INT: i128 = i32::MAX as i128;
const INT_MIN: i128 = i32::MIN as i128;
const UINT: i128 = u32::MAX as i128;
const LONG: i128 = i64::MAX as i128;
const ULONG: i128 = u64::MAX as i128;
const PORT: Rule = int(0, 65535);

parameters! {
    ["Network"]
    /// Port to listen on; 0 listens on no TCP port
    "port" => port: u16 = 6379, PORT, COMMON;
    /// Addresses to listen on; `*` is all of IPv4, `-` before one forgives its absence
    "bind" => bind: Vec<String> = vec!["*".to_owned(), "-::*".to_owned()], Rule::Any, MULTI_ARG COMMON;
    /// Path of a Unix socket to listen on too
    "unixsocket" => unixsocket: String = String::new(), Rule::Any, IMMUTABLE COMMON;
    /// Permissions of the Unix socket, octal
    "unixsocketperm" => unixsocketperm: u32 = 0, octal(0o777), IMMUTABLE;
    /// Refuse clients of other machines while no password is set
    "protected-mode" => protected_mode: bool = true, Rule::Any, COMMON;
    /// Most clients at a time
    "maxclients" => maxclients: u32 = 10_000, int(1, UINT), COMMON;
    /// Close a client that was idle this many seconds; 0 never does
    "timeout" => timeout: u32 = 0, int(0, INT), COMMON;
    /// Seconds between TCP keep-alive probes; 0 sends none
    "tcp-keepalive" => tcp_keepalive: u32 = 300, int(0, INT);
    /// Connections that may wait to be accepted
    "tcp-backlog" => tcp_backlog: u32 = 511, int(0, INT), IMMUTABLE;
    /// Connections accepted in one turn of the event loop
    "max-new-connections-per-cycle" => max_new_connections_per_cycle: u32 = 10, int(1, 1000), NO_EFFECT;
    /// TLS connections accepted in one turn of the event loop
    "max-new-tls-connections-per-cycle" => max_new_tls_connections_per_cycle: u32
        = 1, int(1, 1000), NO_EFFECT;
    /// Source address of connections to a master
    "bind-source-addr" => bind_source_addr: String = String::new(), Rule::Any;
    /// Mark of the listening sockets for the operating system's filters
    "socket-mark-id" => socket_mark_id: u32 = 0, int(0, UINT), IMMUTABLE NO_EFFECT;
    /// Threads that serve the network
    "io-threads" => io_threads: u32 = 1, int(1, 128), IMMUTABLE COMMON;
    /// Read with the network threads as well as write
    "io-threads-do-reads" => io_threads_do_reads: bool = false, Rule::Any, IMMUTABLE NO_EFFECT;
    /// Unread input that one client may pile up
    "client-query-buffer-limit" => client_query_buffer_limit: u64 = 1 << 30, memory(1 << 20, LONG);
    /// Close clients of a class (normal, replica, pubsub) that leave too much output unread
    "client-output-buffer-limit" => client_output_buffer_limits: OutputBufferLimits
        = OutputBufferLimits::default(), Rule::Any, MULTI_ARG;
    /// Memory of all clients together, in bytes or in percent of maxmemory; 0 is no limit
    "maxmemory-clients" => maxmemory_clients: MemoryShare = MemoryShare::Bytes(0), memory_or_percent();
    /// Largest argument of a request
    "proto-max-bulk-len" => proto_max_bulk_len: u64 = 512 << 20, memory(1 << 20, LONG);

    ["General"]
    /// Number of databases
    "databases" => databases: u32 = 16, int(1, INT), IMMUTABLE COMMON;
    /// Directory of the snapshot and of the append-only files
    "dir" => dir: String = ".".to_owned(), Rule::Any, PROTECTED DENY_LOADING COMMON;
    /// Log file; without one the log goes to the standard output
    "logfile" => logfile: String = String::new(), Rule::Any, IMMUTABLE COMMON;
    /// Least important message that is logged
    "loglevel" => loglevel: LogLevel = LogLevel::Notice, Rule::Any, COMMON;
    /// File to write the process id into
    "pidfile" => pidfile: String = String::new(), Rule::Any, IMMUTABLE COMMON;
    /// Run in the background
    "daemonize" => daemonize: bool = false, Rule::Any, IMMUTABLE NO_EFFECT;
    /// The service manager to report to
    "supervised" => supervised: Supervised = Supervised::No, Rule::Any, IMMUTABLE NO_EFFECT;
    /// Turns of the background work in a second
    "hz" => hz: u32 = 10, clamped(int(0, INT), 1, 500);
    /// Let `hz` follow the number of clients
    "dynamic-hz" => dynamic_hz: bool = true, Rule::Any, NO_EFFECT;
    /// Milliseconds after which a script may be answered with BUSY
    "busy-reply-threshold" | "lua-time-limit" => busy_reply_threshold: u64 = 5000, int(0, LONG);
    /// Memory that scripts, and functions, may each hold at any time; 0 is no limit
    "lua-memory-limit" => lua_memory_limit: u64 = 1 << 30, memory(0, LONG);
    /// setfenv, getfenv and newproxy for scripts: not here
    "lua-enable-deprecated-api" => lua_enable_deprecated_api: bool = false, Rule::Any, IMMUTABLE HIDDEN NO_EFFECT;
    /// Seconds to wait for replicas at shutdown
    "shutdown-timeout" => shutdown_timeout: u32 = 10, int(0, INT);
    /// What SIGINT does
    "shutdown-on-sigint" => shutdown_on_sigint: ShutdownOptions
        = ShutdownOptions::default(), Rule::Any, MULTI_ARG;
    /// What SIGTERM does
    "shutdown-on-sigterm" => shutdown_on_sigterm: ShutdownOptions
        = ShutdownOptions::default(), Rule::Any, MULTI_ARG;
    /// Class names of keyspace events to publish, such as KEA
    "notify-keyspace-events" => notify_keyspace_events: NotifyFlags
        = NotifyFlags::default(), Rule::Any, COMMON;
    /// Keep the users' keys and values out of the log
    "hide-user-data-from-log" => hide_user_data_from_log: bool = false, Rule::Any;
    /// Show the logo at start
    "always-show-logo" => always_show_logo: bool = false, Rule::Any, IMMUTABLE NO_EFFECT;
    /// Warnings that do not stop the start
    "ignore-warnings" => ignore_warnings: String = String::new(), Rule::Any, NO_EFFECT;
    /// Show the state of the server as the process title
    "set-proc-title" => set_proc_title: bool = true, Rule::Any, IMMUTABLE NO_EFFECT;
    /// The process title
    "proc-title-template" => proc_title_template: String
        = "{title} {listen-addr} {server-mode}".to_owned(), Rule::Text(refuse_title), NO_EFFECT;
    /// Log to the system log
    "syslog-enabled" => syslog_enabled: bool = false, Rule::Any, IMMUTABLE NO_EFFECT;
    /// Name in the system log
    "syslog-ident" => syslog_ident: String = "redis".to_owned(), Rule::Any, IMMUTABLE NO_EFFECT;
    /// Facility of the system log
    "syslog-facility" => syslog_facility: SyslogFacility
        = SyslogFacility::Local0, Rule::Any, IMMUTABLE NO_EFFECT;
    /// Log a report on a crash
    "crash-log-enabled" => crash_log_enabled: bool = true, Rule::Any;
    /// Test the memory on a crash
    "crash-memcheck-enabled" => crash_memcheck_enabled: bool = true, Rule::Any, NO_EFFECT;
    /// Exit instead of aborting on a failed assertion
    "use-exit-on-panic" => use_exit_on_panic: bool = false, Rule::Any, HIDDEN NO_EFFECT;
    /// Bytes that are loaded between two looks at the clients
    "loading-process-events-interval-bytes" => loading_process_events_interval_bytes: u32
        = 2 * 1024 * 1024, int(1024, INT), HIDDEN NO_EFFECT;
    /// Milliseconds after which a stuck server logs where it is
    "watchdog-period" => watchdog_period: u32 = 0, int(0, INT), HIDDEN NO_EFFECT;
    /// Locale of the order of SORT ALPHA
    "locale-collate" => locale_collate: String = String::new(), Rule::Any, NO_EFFECT;
    /// Keep the data in small pages; huge ones take less time, but now and then a longer moment
    "disable-thp" => disable_thp: bool = false, Rule::Any, IMMUTABLE;
    /// Change the score by which the kernel chooses a victim when memory runs out
    "oom-score-adj" => oom_score_adj: OomScoreAdj = OomScoreAdj::No, Rule::Any;
    /// The scores of a master and of a replica; there is no saving child that would have the third
    "oom-score-adj-values" => oom_score_adj_values: [i32; 3] = [0, 200, 800], Rule::Any, MULTI_ARG;
    /// CPUs of the main thread
    "server_cpulist" | "server-cpulist" => server_cpulist: String
        = String::new(), Rule::Any, IMMUTABLE NO_EFFECT;
    /// CPUs of the background threads
    "bio_cpulist" | "bio-cpulist" => bio_cpulist: String = String::new(), Rule::Any, IMMUTABLE NO_EFFECT;
    /// CPUs of the child that rewrites the append-only file
    "aof_rewrite_cpulist" | "aof-rewrite-cpulist" => aof_rewrite_cpulist: String
        = String::new(), Rule::Any, IMMUTABLE NO_EFFECT;
    /// CPUs of the child that saves a snapshot
    "bgsave_cpulist" | "bgsave-cpulist" => bgsave_cpulist: String
        = String::new(), Rule::Any, IMMUTABLE NO_EFFECT;

    ["Security"]
    /// Password of the default user
    "requirepass" => requirepass: String = String::new(), Rule::Any, SENSITIVE COMMON;
    /// File of users and their rules
    "aclfile" => aclfile: String = String::new(), Rule::Any, IMMUTABLE COMMON;
    /// Entries kept by ACL LOG
    "acllog-max-len" => acllog_max_len: u64 = 128, int(0, LONG);
    /// Channels that a new user may use
    "acl-pubsub-default" => acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::ResetChannels, Rule::Any;
    /// Who may use the DEBUG command
    "enable-debug-command" => enable_debug_command: Permission = Permission::No, Rule::Any, IMMUTABLE COMMON;
    /// Who may use the MODULE command
    "enable-module-command" => enable_module_command: Permission = Permission::No, Rule::Any, IMMUTABLE;
    /// Who may change `dir` and `dbfilename` with CONFIG SET
    "enable-protected-configs" => enable_protected_configs: Permission
        = Permission::No, Rule::Any, IMMUTABLE COMMON;
    /// How deeply payloads of RESTORE and snapshots are checked
    "sanitize-dump-payload" => sanitize_dump_payload: SanitizeDumpPayload
        = SanitizeDumpPayload::No, Rule::Any;

    ["Memory"]
    /// Memory at which eviction or refusal of writes begins; 0 is no limit
    "maxmemory" => maxmemory: u64 = 0, memory(0, ULONG), COMMON;
    /// Which keys leave when maxmemory is reached
    "maxmemory-policy" => maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::NoEviction, Rule::Any, COMMON;
    /// Keys among which the best one to evict is chosen
    "maxmemory-samples" => maxmemory_samples: u32 = 5, int(1, INT);
    /// How hard eviction works, 0 to 100
    "maxmemory-eviction-tenacity" => maxmemory_eviction_tenacity: u32 = 10, int(0, 100);
    /// How slowly the frequency counters of LFU grow
    "lfu-log-factor" => lfu_log_factor: u32 = 10, int(0, INT);
    /// Minutes after which an LFU counter decays
    "lfu-decay-time" => lfu_decay_time: u32 = 1, int(0, INT);
    /// How much time goes into finding expired keys, 1 to 10
    "active-expire-effort" => active_expire_effort: u32 = 1, int(1, 10);
    /// Keys that client-side caching remembers; 0 is no limit
    "tracking-table-max-keys" => tracking_table_max_keys: u64 = 1_000_000, int(0, LONG);
    /// Tell replicas to free evicted values in the background; here that is always so
    "lazyfree-lazy-eviction" => lazyfree_lazy_eviction: bool = false, Rule::Any;
    /// Tell replicas to free expired values in the background; here that is always so
    "lazyfree-lazy-expire" => lazyfree_lazy_expire: bool = false, Rule::Any;
    /// Free overwritten values in the background
    "lazyfree-lazy-server-del" => lazyfree_lazy_server_del: bool = false, Rule::Any;
    /// Let DEL free in the background
    "lazyfree-lazy-user-del" => lazyfree_lazy_user_del: bool = false, Rule::Any, NO_EFFECT;
    /// Let FLUSHALL free in the background
    "lazyfree-lazy-user-flush" => lazyfree_lazy_user_flush: bool = false, Rule::Any, NO_EFFECT;
    /// Rehash the main table in idle time
    "activerehashing" => activerehashing: bool = true, Rule::Any, NO_EFFECT;
    /// Let the allocator purge in the background
    "jemalloc-bg-thread" => jemalloc_bg_thread: bool = true, Rule::Any, NO_EFFECT;
    /// Move values to reduce fragmentation
    "activedefrag" => activedefrag: bool = false, Rule::NeverYes(NO_DEFRAGMENTATION), NO_EFFECT;
    /// Least CPU percentage of the defragmentation
    "active-defrag-cycle-min" => active_defrag_cycle_min: u32 = 1, int(1, 99), NO_EFFECT;
    /// Most CPU percentage of the defragmentation
    "active-defrag-cycle-max" => active_defrag_cycle_max: u32 = 25, int(1, 99), NO_EFFECT;
    /// Fragmentation percentage at which defragmentation starts
    "active-defrag-threshold-lower" => active_defrag_threshold_lower: u32 = 10, int(0, 1000), NO_EFFECT;
    /// Fragmentation percentage at which defragmentation works hardest
    "active-defrag-threshold-upper" => active_defrag_threshold_upper: u32 = 100, int(0, 1000), NO_EFFECT;
    /// Wasted bytes at which defragmentation starts
    "active-defrag-ignore-bytes" => active_defrag_ignore_bytes: u64 = 100 << 20, memory(1, LONG), NO_EFFECT;
    /// Fields of one value that are moved in one step
    "active-defrag-max-scan-fields" => active_defrag_max_scan_fields: u64 = 1000, int(1, LONG), NO_EFFECT;

    ["Snapshots"]
    /// Save after SECONDS if there were CHANGES changes; several pairs, "" for none
    "save" => save: Vec<SavePoint> = DEFAULT_SAVE_POINTS.to_vec(), Rule::Any, MULTI_ARG ADDS_UP COMMON;
    /// File name of the snapshot
    "dbfilename" => dbfilename: String
        = "dump.rdb".to_owned(), Rule::Text(refuse_dbfilename), PROTECTED COMMON;
    /// Compress strings in the snapshot
    "rdbcompression" => rdbcompression: bool = true, Rule::Any;
    /// End the snapshot with a checksum
    "rdbchecksum" => rdbchecksum: bool = true, Rule::Any, IMMUTABLE;
    /// Refuse writes after a failed snapshot
    "stop-writes-on-bgsave-error" => stop_writes_on_bgsave_error: bool = true, Rule::Any;
    /// Remove snapshots that were made for replicas alone
    "rdb-del-sync-files" => rdb_del_sync_files: bool = false, Rule::Any;
    /// Force the snapshot to disk little by little
    "rdb-save-incremental-fsync" => rdb_save_incremental_fsync: bool = true, Rule::Any, NO_EFFECT;
    /// Microseconds to sleep after each saved key, for tests
    "rdb-key-save-delay" => rdb_key_save_delay: i32 = 0, int(INT_MIN, INT), HIDDEN;
    /// Microseconds to sleep after each loaded key, for tests
    "key-load-delay" => key_load_delay: i32 = 0, int(INT_MIN, INT), HIDDEN;

    ["Append-only file"]
    /// Log every write to the append-only file
    "appendonly" => appendonly: bool = false, Rule::Any, DENY_LOADING COMMON;
    /// When the append-only file is forced to disk
    "appendfsync" => appendfsync: AppendFsync = AppendFsync::EverySec, Rule::Any, COMMON;
    /// Base name of the append-only files
    "appendfilename" => appendfilename: String
        = "appendonly.aof".to_owned(), Rule::Text(refuse_appendfilename), IMMUTABLE;
    /// Directory of the append-only files, within `dir`
    "appenddirname" => appenddirname: String
        = "appendonlydir".to_owned(), Rule::Text(refuse_appenddirname), IMMUTABLE;
    /// Do not force the file to disk while a snapshot is written
    "no-appendfsync-on-rewrite" => no_appendfsync_on_rewrite: bool = false, Rule::Any;
    /// Growth in percent at which the file is rewritten; 0 never
    "auto-aof-rewrite-percentage" => auto_aof_rewrite_percentage: u32 = 100, int(0, INT);
    /// Size below which the file is not rewritten by itself
    "auto-aof-rewrite-min-size" => auto_aof_rewrite_min_size: u64 = 64 << 20, memory(0, LONG);
    /// Load a file whose end is cut off
    "aof-load-truncated" => aof_load_truncated: bool = true, Rule::Any;
    /// Begin a rewritten file with a snapshot
    "aof-use-rdb-preamble" => aof_use_rdb_preamble: bool = true, Rule::Any;
    /// Note times in the append-only file
    "aof-timestamp-enabled" => aof_timestamp_enabled: bool = false, Rule::Any;
    /// Force a rewritten file to disk little by little
    "aof-rewrite-incremental-fsync" => aof_rewrite_incremental_fsync: bool = true, Rule::Any, NO_EFFECT;
    /// Keep files that a rewrite has replaced
    "aof-disable-auto-gc" => aof_disable_auto_gc: bool = false, Rule::Any;

    ["Replication"]
    /// Be a replica of the master at HOST PORT
    "replicaof" | "slaveof" => replicaof: Option<HostPort> = None, Rule::Any, IMMUTABLE MULTI_ARG COMMON;
    /// Password to give to the master
    "masterauth" => masterauth: String = String::new(), Rule::Any, SENSITIVE COMMON;
    /// User to give to the master
    "masteruser" => masteruser: String = String::new(), Rule::Any, SENSITIVE;
    /// Refuse writes of clients on a replica
    "replica-read-only" | "slave-read-only" => replica_read_only: bool = true, Rule::Any, COMMON;
    /// Answer reads while the link to the master is down
    "replica-serve-stale-data" | "slave-serve-stale-data" => replica_serve_stale_data: bool = true, Rule::Any;
    /// Rank in the choice of a new master, lowest first; 0 is never chosen
    "replica-priority" | "slave-priority" => replica_priority: u32 = 100, int(0, INT);
    /// Address that a replica tells its master
    "replica-announce-ip" | "slave-announce-ip" => replica_announce_ip: String = String::new(), Rule::Any;
    /// Port that a replica tells its master
    "replica-announce-port" | "slave-announce-port" => replica_announce_port: u16 = 0, PORT;
    /// Let Sentinel list this replica
    "replica-announced" => replica_announced: bool = true, Rule::Any;
    /// Free the old data set in the background before a full synchronisation
    "replica-lazy-flush" | "slave-lazy-flush" => replica_lazy_flush: bool = false, Rule::Any, NO_EFFECT;
    /// Leave eviction to the master
    "replica-ignore-maxmemory" | "slave-ignore-maxmemory" => replica_ignore_maxmemory: bool = true, Rule::Any;
    /// Go on when a replica cannot write to its disk
    "replica-ignore-disk-write-errors" => replica_ignore_disk_write_errors: bool = false, Rule::Any;
    /// What a replica does with a command that fails
    "propagation-error-behavior" => propagation_error_behavior: PropagationErrorBehavior
        = PropagationErrorBehavior::Ignore, Rule::Any;
    /// Send snapshots to replicas without a file
    "repl-diskless-sync" => repl_diskless_sync: bool = true, Rule::Any;
    /// Seconds to wait for more replicas before a snapshot is sent
    "repl-diskless-sync-delay" => repl_diskless_sync_delay: u32 = 5, int(0, INT);
    /// Replicas for which the snapshot waits no longer; 0 waits all the delay
    "repl-diskless-sync-max-replicas" => repl_diskless_sync_max_replicas: u32 = 0, int(0, INT);
    /// What a replica does with its data while a snapshot arrives
    "repl-diskless-load" => repl_diskless_load: ReplDisklessLoad
        = ReplDisklessLoad::Disabled, Rule::Any, DENY_LOADING;
    /// Seconds between the pings of a master
    "repl-ping-replica-period" | "repl-ping-slave-period" => repl_ping_replica_period: u32 = 10, int(1, INT);
    /// Seconds of silence after which the link is given up
    "repl-timeout" => repl_timeout: u32 = 60, int(1, INT);
    /// Send to replicas in larger and later packets
    "repl-disable-tcp-nodelay" => repl_disable_tcp_nodelay: bool = false, Rule::Any;
    /// Bytes of the stream kept for replicas that come back
    "repl-backlog-size" => repl_backlog_size: u64 = 1 << 20, clamped(memory(1, LONG), 16 << 10, LONG);
    /// Seconds without replicas after which the backlog is freed; 0 never
    "repl-backlog-ttl" => repl_backlog_ttl: u64 = 3600, int(0, LONG);
    /// Refuse writes with fewer replicas than this
    "min-replicas-to-write" | "min-slaves-to-write" => min_replicas_to_write: u32 = 0, int(0, INT);
    /// Seconds of lag up to which a replica counts
    "min-replicas-max-lag" | "min-slaves-max-lag" => min_replicas_max_lag: u32 = 10, int(0, INT);

    ["Statistics"]
    /// Microseconds from which a command is logged as slow; -1 logs none
    "slowlog-log-slower-than" => slowlog_log_slower_than: i64 = 10_000, int(-1, LONG), COMMON;
    /// Entries of the slow log
    "slowlog-max-len" => slowlog_max_len: u64 = 128, int(0, LONG);
    /// Milliseconds from which an event counts as a latency spike; 0 watches none
    "latency-monitor-threshold" => latency_monitor_threshold: u64 = 0, int(0, LONG);
    /// Keep the latencies of every command
    "latency-tracking" => latency_tracking: bool = true, Rule::Any;
    /// Percentiles that INFO latencystats shows
    "latency-tracking-info-percentiles" => latency_tracking_info_percentiles: Vec<f64>
        = vec![50.0, 99.0, 99.9], Rule::Any, MULTI_ARG;

    ["Encodings"]
    /// Fields up to which a hash is a listpack
    "hash-max-listpack-entries" | "hash-max-ziplist-entries" => hash_max_listpack_entries: usize
        = 512, int(0, LONG);
    /// Bytes of a field or value up to which a hash is a listpack
    "hash-max-listpack-value" | "hash-max-ziplist-value" => hash_max_listpack_value: usize
        = 64, memory(0, LONG);
    /// Elements (positive) or size class (-1 to -5, 4 KB to 64 KB) of one node of a list
    "list-max-listpack-size" | "list-max-ziplist-size" => list_max_listpack_size: i64 = -2, int(INT_MIN, INT);
    /// Nodes at each end of a list that are not compressed; 0 compresses none
    "list-compress-depth" => list_compress_depth: u32 = 0, int(0, INT), NO_EFFECT;
    /// Members up to which a set of integers is an intset
    "set-max-intset-entries" => set_max_intset_entries: usize = 512, int(0, LONG);
    /// Members up to which a set is a listpack
    "set-max-listpack-entries" => set_max_listpack_entries: usize = 128, int(0, LONG);
    /// Bytes of a member up to which a set is a listpack
    "set-max-listpack-value" => set_max_listpack_value: usize = 64, memory(0, LONG);
    /// Members up to which a sorted set is a listpack
    "zset-max-listpack-entries" | "zset-max-ziplist-entries" => zset_max_listpack_entries: usize
        = 128, int(0, LONG);
    /// Bytes of a member up to which a sorted set is a listpack
    "zset-max-listpack-value" | "zset-max-ziplist-value" => zset_max_listpack_value: usize
        = 64, memory(0, LONG);
    /// Bytes up to which a HyperLogLog is sparse
    "hll-sparse-max-bytes" => hll_sparse_max_bytes: usize = 3000, memory(0, LONG);
    /// Bytes of one node of a stream; 0 is no limit
    "stream-node-max-bytes" => stream_node_max_bytes: usize = 4096, memory(0, LONG);
    /// Entries of one node of a stream; 0 is no limit
    "stream-node-max-entries" => stream_node_max_entries: u64 = 100, int(0, LONG);

    ["Cluster"]
    /// Be a node of a cluster
    "cluster-enabled" => cluster_enabled: bool = false, Rule::Any, IMMUTABLE NO_EFFECT;
    /// File of the cluster's state
    "cluster-config-file" => cluster_config_file: String
        = "nodes.conf".to_owned(), Rule::Any, IMMUTABLE NO_EFFECT;
    /// Milliseconds after which a silent node counts as failed
    "cluster-node-timeout" => cluster_node_timeout: u64 = 15_000, int(0, LONG), NO_EFFECT;
    /// Port of the cluster bus
    "cluster-port" => cluster_port: u16 = 0, PORT, IMMUTABLE NO_EFFECT;
    /// Address that is told to other nodes
    "cluster-announce-ip" => cluster_announce_ip: String = String::new(), Rule::Any, NO_EFFECT;
    /// Port that is told to other nodes
    "cluster-announce-port" => cluster_announce_port: u16 = 0, PORT, NO_EFFECT;
    /// TLS port that is told to other nodes
    "cluster-announce-tls-port" => cluster_announce_tls_port: u16 = 0, PORT, NO_EFFECT;
    /// Bus port that is told to other nodes
    "cluster-announce-bus-port" => cluster_announce_bus_port: u16 = 0, PORT, NO_EFFECT;
    /// Host name that is told to other nodes
    "cluster-announce-hostname" => cluster_announce_hostname: String
        = String::new(), Rule::Text(refuse_hostname), NO_EFFECT;
    /// Node name that is told to people
    "cluster-announce-human-nodename" => cluster_announce_human_nodename: String
        = String::new(), Rule::Text(refuse_hostname), NO_EFFECT;
    /// How clients are told where a node is
    "cluster-preferred-endpoint-type" => cluster_preferred_endpoint_type: ClusterEndpointType
        = ClusterEndpointType::Ip, Rule::Any, NO_EFFECT;
    /// Refuse all keys when some slot has no node
    "cluster-require-full-coverage" => cluster_require_full_coverage: bool = true, Rule::Any, NO_EFFECT;
    /// Do not let a replica take over
    "cluster-replica-no-failover" | "cluster-slave-no-failover" => cluster_replica_no_failover: bool
        = false, Rule::Any, NO_EFFECT;
    /// How old a replica's data may be for it to take over
    "cluster-replica-validity-factor" | "cluster-slave-validity-factor" => cluster_replica_validity_factor: u32
        = 10, int(0, INT), NO_EFFECT;
    /// Replicas that a master keeps when others move
    "cluster-migration-barrier" => cluster_migration_barrier: u32 = 1, int(0, INT), NO_EFFECT;
    /// Let replicas move to masters without one
    "cluster-allow-replica-migration" => cluster_allow_replica_migration: bool = true, Rule::Any, NO_EFFECT;
    /// Answer reads while the cluster is down
    "cluster-allow-reads-when-down" => cluster_allow_reads_when_down: bool = false, Rule::Any, NO_EFFECT;
    /// Answer sharded pub/sub while the cluster is down
    "cluster-allow-pubsubshard-when-down" => cluster_allow_pubsubshard_when_down: bool
        = true, Rule::Any, NO_EFFECT;
    /// Unsent bytes of one link of the bus
    "cluster-link-sendbuf-limit" => cluster_link_sendbuf_limit: u64 = 0, memory(0, LONG), NO_EFFECT;

    ["TLS"]
    /// Port for TLS connections
    "tls-port" => tls_port: u16 = 0, PORT, NO_EFFECT;
    /// Use TLS on the cluster bus
    "tls-cluster" => tls_cluster: bool = false, Rule::Any, NO_EFFECT;
    /// Use TLS to the master
    "tls-replication" => tls_replication: bool = false, Rule::Any, NO_EFFECT;
    /// Whether clients need a certificate
    "tls-auth-clients" => tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, Rule::Any, NO_EFFECT;
    /// Prefer the server's order of ciphers
    "tls-prefer-server-ciphers" => tls_prefer_server_ciphers: bool = false, Rule::Any, NO_EFFECT;
    /// Cache TLS sessions
    "tls-session-caching" => tls_session_caching: bool = true, Rule::Any, NO_EFFECT;
    /// TLS sessions in the cache
    "tls-session-cache-size" => tls_session_cache_size: u32 = 20_480, int(0, INT), NO_EFFECT;
    /// Seconds that a TLS session is cached
    "tls-session-cache-timeout" => tls_session_cache_timeout: u32 = 300, int(0, INT), NO_EFFECT;
    /// Certificate
    "tls-cert-file" => tls_cert_file: String = String::new(), Rule::Any, NO_EFFECT;
    /// Key of the certificate
    "tls-key-file" => tls_key_file: String = String::new(), Rule::Any, NO_EFFECT;
    /// Pass phrase of the key
    "tls-key-file-pass" => tls_key_file_pass: String = String::new(), Rule::Any, SENSITIVE NO_EFFECT;
    /// Certificate for outgoing connections
    "tls-client-cert-file" => tls_client_cert_file: String = String::new(), Rule::Any, NO_EFFECT;
    /// Key of the certificate for outgoing connections
    "tls-client-key-file" => tls_client_key_file: String = String::new(), Rule::Any, NO_EFFECT;
    /// Pass phrase of the key for outgoing connections
    "tls-client-key-file-pass" => tls_client_key_file_pass: String
        = String::new(), Rule::Any, SENSITIVE NO_EFFECT;
    /// Diffie-Hellman parameters
    "tls-dh-params-file" => tls_dh_params_file: String = String::new(), Rule::Any, NO_EFFECT;
    /// Certificates of trusted authorities, one file
    "tls-ca-cert-file" => tls_ca_cert_file: String = String::new(), Rule::Any, NO_EFFECT;
    /// Certificates of trusted authorities, a directory
    "tls-ca-cert-dir" => tls_ca_cert_dir: String = String::new(), Rule::Any, NO_EFFECT;
    /// TLS versions
    "tls-protocols" => tls_protocols: String = String::new(), Rule::Any, NO_EFFECT;
    /// Ciphers up to TLS 1.2
    "tls-ciphers" => tls_ciphers: String = String::new(), Rule::Any, NO_EFFECT;
    /// Ciphers of TLS 1.3
    "tls-ciphersuites" => tls_ciphersuites: String = String::new(), Rule::Any, NO_EFFECT;
}

const DEFAULT_SAVE_POINTS: [SavePoint; 3] = [
    SavePoint { seconds: 3600, changes: 1 },
    SavePoint { seconds: 300, changes: 100 },
    SavePoint { seconds: 60, changes: 10_000 },
];

const NO_DEFRAGMENTATION: &str = "Active defragmentation cannot be enabled: it requires a Redis server compiled with \
     a modified Jemalloc like the one shipped by default with the Redis source distribution";

fn refuse_dbfilename(text: &str) -> Option<&'static str> {
    text.contains('/').then_some("dbfilename can't be a path, just a filename")
}

fn refuse_appendfilename(text: &str) -> Option<&'static str> {
    match text {
        "" => Some("appendfilename can't be empty"),
        path if path.contains('/') => Some("appendfilename can't be a path, just a filename"),
        _ => None,
    }
}

fn refuse_appenddirname(text: &str) -> Option<&'static str> {
    match text {
        "" => Some("appenddirname can't be empty"),
        path if path.contains('/') => Some("appenddirname can't be a path, just a dirname"),
        _ => None,
    }
}

fn refuse_hostname(text: &str) -> Option<&'static str> {
    const HOSTNAME_BYTES_MAX: usize = 255;
    if text.len() > HOSTNAME_BYTES_MAX {
        return Some("Hostnames must be less than 256 characters");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    (!text.chars().all(allowed))
        .then_some("Hostnames may only contain alphanumeric characters, hyphens or dots")
}

/// Every `{...}` must be a variable that Redis knows.
fn refuse_title(text: &str) -> Option<&'static str> {
    const VARIABLES: [&str; 7] =
        ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    let known = text
        .split('{')
        .skip(1)
        .all(|rest| rest.split_once('}').is_some_and(|(variable, _)| VARIABLES.contains(&variable)));
    (!known).then_some("template format is invalid or contains unknown variables")
}
