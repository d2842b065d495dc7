//! One engine with its clients, driven as the runtime drives it, but by a script and by hand-moved time.

use std::collections::BTreeMap;
use std::ffi::OsString;

use russet::base::clock::{ManualClock, UnixMillis};
use russet::command::{self, Executed, Lookup, TABLE, active_expire, dispatch, eviction};
use russet::config::{Config, Invocation};
use russet::engine::client::Closing;
use russet::engine::migration::Migration;
use russet::engine::{ClientId, Engine, InsideJob, Job};
use russet::persistence::snapshot::{self, Duplicates};
use russet::resp::error::ErrorReply;
use russet::resp::reply::write_request;
use russet::resp::request::{Batch, Decoder, Limits};
use russet::storage::digest;

use crate::script::{Script, Step};
use crate::shown::{ShownStep, Transcript};
use crate::twin::{self, Shown, Twin};

/// When every transcript begins: 2026-01-01 00:00:00 UTC.
const START: UnixMillis = UnixMillis(1_767_225_600_000);
const SEED: u64 = 1;
const BATCH_REQUESTS_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// As the runtime's.
const TICK_MS: i64 = 100;
const EXPIRE_KEYS_MAX: usize = 64;

/// An engine and the connections to it.
struct Server {
    engine: Engine,
    clock: ManualClock,
    /// Oldest first, as client numbers grow.
    connections: BTreeMap<ClientId, Connection>,
    notes: Vec<String>,
    /// The snapshot file.
    file: Option<Vec<u8>>,
}

/// What the runtime's connection task holds of a client.
struct Connection {
    name: String,
    decoder: Decoder,
    limits: Limits,
    /// Sent, but not run yet.
    query: Vec<u8>,
    received: Vec<u8>,
    is_blocked: bool,
    closing: Closing,
}

/// A server that plays a script, and the twin that gets its effects.
pub struct Play {
    server: Server,
    twin: Twin,
}

impl Play {
    /// Plays a script and proves that its effects and an RDB file carry the whole data set.
    pub fn of(script: &Script) -> Transcript {
        let config = config_of(script);
        let clock = ManualClock::new(START);
        let mut server = Server::new(config.clone(), clock.clone(), SEED);
        let twin = Twin::new(&mut server.engine, config.clone(), clock.clone());
        let mut play = Self { server, twin };
        let mut transcript = Transcript::default();
        for line in &script.lines {
            let at = format!("{}:{}: {}", script.name, line.number, line.text);
            transcript.steps.push(play.step(&line.step, &line.text, &at));
        }
        twin::check_rdb_round_trip(&play.server.engine, &script.name);
        twin::check_commands_round_trip(&play.server.engine, config, clock, &script.name);
        transcript
    }

    fn step(&mut self, step: &Step, text: &str, at: &str) -> ShownStep {
        self.server.take(step);
        let effects = self.twin.follow(&mut self.server.engine, at);
        let (original, copy) = (&self.server.engine.keyspace, &self.twin.engine.keyspace);
        assert!(
            effects.is_empty() || digest::of_keyspace(original) == digest::of_keyspace(copy),
            "{at}\n  the effects do not reproduce the data: {effects}",
            effects = effects.iter().map(ToString::to_string).collect::<String>()
        );
        if !effects.is_empty() {
            let (ours, theirs) = (twin::groups_of(original, Shown::All), twin::groups_of(copy, Shown::All));
            assert_eq!(ours, theirs, "{at}\n  the effects do not reproduce the groups");
        }
        let (received, notes) = self.server.take_received();
        ShownStep { text: text.to_owned(), received, notes, effects }
    }
}

impl Server {
    fn new(config: Config, clock: ManualClock, seed: u64) -> Self {
        let mut engine = command::new_engine(config, Box::new(clock.clone()), seed);
        // A key takes 100 bytes, whatever it holds, and what does not count is there too.
        engine.memory_meter = |engine| 100 * engine.keyspace.keys_len() as u64 + engine.uncounted_bytes();
        Self { engine, clock, connections: BTreeMap::new(), notes: Vec::new(), file: None }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Nothing | Step::Config { .. } => {}
            Step::Request { client, args } => {
                let mut bytes = Vec::new();
                write_request(&mut bytes, args.iter());
                let id = self.connection(client);
                self.send(id, &bytes);
            }
            Step::Raw { client, bytes } => {
                let id = self.connection(client);
                self.send(id, bytes);
            }
            Step::Advance { ms } => self.advance(*ms),
            Step::Disconnect { client } => {
                let id = self.connection(client);
                self.connections.remove(&id);
                self.enter(|engine| dispatch::disconnect(engine, id));
            }
        }
    }

    /// The open connection of this name, opened when there is none.
    fn connection(&mut self, name: &str) -> ClientId {
        match self.connections.iter().find(|(_, connection)| connection.name == name) {
            Some((&id, _)) => id,
            None => self.connect(name),
        }
    }

    fn connect(&mut self, name: &str) -> ClientId {
        self.engine.time.sample();
        let now = self.engine.now();
        let needs_password = !self.engine.config.requirepass.is_empty();
        self.engine.stats.connections_received += 1;
        let client = self.engine.clients.connect(now);
        client.addr = format!("127.0.0.1:{}", 50_000 + client.id.0);
        client.is_authenticated = !needs_password;
        let id = client.id;
        let connection = Connection {
            name: name.to_owned(),
            decoder: Decoder::new(),
            limits: Limits::default(),
            query: Vec::new(),
            received: Vec::new(),
            is_blocked: false,
            closing: Closing::No,
        };
        self.connections.insert(id, connection);
        self.after_batch(id);
        id
    }

    /// Hands a client's bytes in, and lets everybody go on who can.
    fn send(&mut self, id: ClientId, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.query.extend_from_slice(bytes);
        }
        self.process(id);
        self.settle();
    }

    /// Moves the clock from one event to the next: the end of a block, and ticks near the end of the time.
    fn advance(&mut self, ms: i64) {
        let end = self.engine.now().0 + ms;
        while self.engine.now().0 < end {
            let now = self.engine.now().0;
            let deadline = self.engine.next_deadline().map(|at| at.0).filter(|&at| at > now);
            // Nothing happens in an hour that does not happen in its last second too.
            let tick = if end - now > 10 * TICK_MS { end - 10 * TICK_MS } else { now + TICK_MS };
            let next = deadline.into_iter().chain([tick, end]).min().expect("the end is there");
            self.clock.advance_ms(next - now);
            self.enter(|engine| {
                dispatch::expire_timeouts(engine);
                // Between ticks only what a command looks at expires.
                if next.div_euclid(TICK_MS) != now.div_euclid(TICK_MS) {
                    cron(engine);
                }
            });
            self.settle();
        }
    }

    fn enter<R>(&mut self, f: impl FnOnce(&mut Engine) -> R) -> R {
        self.engine.time.sample();
        f(&mut self.engine)
    }

    /// Runs the complete requests that a client has sent, until it has to wait.
    fn process(&mut self, id: ClientId) {
        let mut batch = Batch::new();
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            if connection.is_blocked || connection.closing != Closing::No || connection.query.is_empty() {
                return;
            }
            let query = std::mem::take(&mut connection.query);
            let decoded = connection.decoder.decode(
                &query,
                &connection.limits,
                &mut batch,
                BATCH_REQUESTS_MAX,
                BATCH_BYTES_MAX,
            );
            let consumed = match decoded {
                Ok(consumed) => {
                    let executed = self.run_batch(id, &query, &batch);
                    if executed < batch.len() {
                        self.connections.get_mut(&id).expect("it sends").decoder = Decoder::new();
                        batch.request(executed).start
                    } else {
                        consumed
                    }
                }
                Err(error) => {
                    if let Some(client) = self.engine.clients.get_mut(id) {
                        client.reply().error(&error.reply_line());
                        client.closing = Closing::AfterReplies;
                    }
                    query.len()
                }
            };
            self.after_batch(id);
            let connection = self.connections.get_mut(&id).expect("it sends");
            connection.query = query[consumed..].to_vec();
            if consumed == 0 {
                return;
            }
        }
    }

    fn run_batch(&mut self, id: ClientId, buf: &[u8], batch: &Batch) -> usize {
        let lookups: Vec<Lookup> = batch.iter(buf).map(|args| TABLE.lookup(&args)).collect();
        self.enter(|engine| {
            let mut executed = 0;
            let now = engine.now();
            if let Some(client) = engine.clients.get_mut(id) {
                client.last_interaction = now;
            }
            for (args, lookup) in batch.iter(buf).zip(lookups) {
                match dispatch::execute(engine, id, lookup, &args) {
                    Executed::Done => executed += 1,
                    Executed::Blocked => {
                        executed += 1;
                        break;
                    }
                    Executed::Postponed => break,
                }
                if dispatch::must_stop(engine, id) {
                    break;
                }
            }
            executed
        })
    }

    /// Takes a client's output and what else has changed for its connection.
    fn after_batch(&mut self, id: ClientId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(client) = self.engine.clients.get_mut(id) else {
            connection.closing = Closing::Now;
            return;
        };
        let mut out = Vec::new();
        client.swap_output(&mut out);
        connection.received.extend_from_slice(&out);
        connection.is_blocked = client.blocked.is_some();
        connection.closing = client.closing;
        connection.limits.authenticated = client.is_authenticated;
    }

    /// Carries out what the engine has left, until nothing is left.
    fn settle(&mut self) {
        loop {
            self.engine.log_lines.clear();
            for job in std::mem::take(&mut self.engine.jobs) {
                self.carry_out(job);
            }
            let woken = self.engine.take_pending_writes();
            for &id in &woken {
                self.after_batch(id);
                self.process(id);
            }
            self.close_connections();
            if woken.is_empty() && self.engine.jobs.is_empty() {
                return;
            }
        }
    }

    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Exit { code } => self.notes.push(format!("the server ends with exit code {code}")),
            Job::Crash(crash) => self.notes.push(format!("the server dies: {crash:?}")),
            Job::Close(id) => self.engine.clients.close(id, Closing::Now),
            Job::Save(request) => {
                let keys = request.snapshot.keys_len();
                let file = snapshot::write(&request.snapshot, &request.options, Vec::new(), || Ok(()));
                self.file = Some(file.expect("a vector takes all bytes"));
                self.notes.push(format!("a snapshot of {keys} keys is written to {}", request.filename));
                self.enter(|engine| engine.save_finished(request.number, Ok(())));
            }
            Job::Inside(job) => self.carry_out_inside(job),
            Job::Free { values, bytes } => self.engine.lazyfree.note_freed(values.len() as u64, bytes),
            Job::FreeDatabases { dbs, bytes } => {
                let keys = dbs.iter().map(|db| db.len() as u64).sum();
                self.engine.lazyfree.note_freed(keys, bytes);
            }
            Job::Migrate(migration) => self.migrate(*migration),
            Job::Read(read) => {
                let outcome = (read.run)();
                self.enter(|engine| drop(engine.finish_read(read.client, read.command, 0, outcome)));
            }
            // There is no writer that could ask for it.
            Job::LoadAof(_) => panic!("an append-only file without a disk"),
            Job::FreeOutput(_) | Job::FreeElse { .. } | Job::MasterChanged | Job::FullSync(_) => {}
        }
    }

    /// The target takes everything, unless it is named after what it does else.
    fn migrate(&mut self, migration: Migration) {
        let keys: Vec<String> =
            migration.keys.iter().map(|it| String::from_utf8_lossy(&it.key).into_owned()).collect();
        self.notes.push(format!(
            "{}:{} db {} is sent {}",
            migration.host,
            migration.port,
            migration.target_db,
            keys.join(" ")
        ));
        let refused = ErrorReply::fixed("ERR Target instance replied with error: BUSYKEY");
        let (first_arrives, outcome) = match migration.host.as_str() {
            "busy" => (true, Err(refused)),
            "silent" => {
                (false, Err(ErrorReply::fixed("IOERR error or timeout reading from target instance")))
            }
            _ => (true, Ok(())),
        };
        let is_delivered: Vec<bool> =
            (0..keys.len()).map(|index| outcome.is_ok() || (first_arrives && index == 0)).collect();
        // Another client changes what is on its way.
        if migration.host == "slow" {
            let client = self.connection("other");
            self.send_only(client, "APPEND", &keys[0], "more");
        }
        let rest = self.enter(|engine| command::finish_migration(engine, migration, &is_delivered, outcome));
        if let Some(rest) = rest {
            self.migrate(Migration { host: "target".to_owned(), ..rest });
        }
    }

    fn send_only(&mut self, id: ClientId, command: &str, key: &str, value: &str) {
        let mut bytes = Vec::new();
        write_request(&mut bytes, [command, key, value].iter());
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.query.extend_from_slice(&bytes);
        }
        self.process(id);
    }

    /// There is one file, in memory, and no configuration file.
    fn carry_out_inside(&mut self, job: InsideJob) {
        let (client, outcome) = match job {
            InsideJob::WriteSnapshot(bytes) => {
                self.file = Some(bytes);
                return;
            }
            InsideJob::LoadSnapshot { client, flush, merge } => {
                let file = self.file.clone().unwrap_or_default();
                let keyspace =
                    if flush { self.engine.empty_keyspace() } else { self.engine.keyspace.clone() };
                let duplicates = if merge { Duplicates::Replace } else { Duplicates::Refuse };
                let options = self.engine.load_options(duplicates);
                let loaded = snapshot::read(&file[..], keyspace, &options, |_| ());
                let error = ErrorReply::fixed("ERR Error trying to load the RDB dump, check server logs.");
                (client, loaded.map(|loaded| self.engine.finish_loading(loaded)).map_err(|_| error))
            }
            InsideJob::RewriteConfig { client, .. } => (client, Ok(())),
            InsideJob::SetConfig { client, pairs } => {
                (client, command::set_config(&mut self.engine, true, &pairs, |_, _| Ok(())))
            }
        };
        if let Some(id) = client {
            self.enter(|engine| engine.finish_job(id, outcome));
        }
    }

    fn close_connections(&mut self) {
        let is_closing = |connection: &Connection| connection.closing != Closing::No;
        let closing: Vec<ClientId> =
            self.connections.iter().filter(|(_, it)| is_closing(it)).map(|(&id, _)| id).collect();
        for id in closing {
            let connection = self.connections.remove(&id).expect("it was just found");
            if !connection.received.is_empty() {
                let bytes = crate::shown::escape(&connection.received);
                self.notes.push(format!("{} {bytes}", connection.name));
            }
            self.notes.push(format!("{} is disconnected", connection.name));
            self.enter(|engine| dispatch::disconnect(engine, id));
        }
    }

    fn take_received(&mut self) -> (Vec<(String, Vec<u8>)>, Vec<String>) {
        let received = self.connections.values_mut().filter(|connection| !connection.received.is_empty());
        let received = received.map(|it| (it.name.clone(), std::mem::take(&mut it.received))).collect();
        (received, std::mem::take(&mut self.notes))
    }
}

/// What the runtime does at every tick.
fn cron(engine: &mut Engine) {
    engine.close_idle(engine.now());
    while active_expire::expire_slice(engine, EXPIRE_KEYS_MAX) {}
    while engine.eviction.is_running && eviction::evict_slice(engine) {}
    engine.save_if_due();
    engine.continue_shutdown();
}

fn config_of(script: &Script) -> Config {
    let mut argv = vec![OsString::from("russet")];
    for line in &script.lines {
        if let Step::Config { name, value } = &line.step {
            argv.push(format!("--{name} {value}").into());
        }
    }
    let no_files = |_: &std::path::Path| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    match russet::config::parse(argv, &no_files).unwrap_or_else(|error| panic!("{}: {error:#}", script.name))
    {
        Invocation::Run(startup) => startup.config,
        Invocation::Check(options) => panic!("{}: {options:?}", script.name),
        Invocation::Print(text) => panic!("{}: {text}", script.name),
    }
}
