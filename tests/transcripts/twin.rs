//! Proof that nothing of the data set is lost on its way to a replica or into a file.

use russet::base::clock::ManualClock;
use russet::command::replay::Replay;
use russet::command::{self, dispatch};
use russet::config::Config;
use russet::engine::Engine;
use russet::persistence::aof::commands;
use russet::persistence::aof::reader::{self, Step};
use russet::persistence::snapshot::{self, Duplicates, LoadOptions};
use russet::replication::log::ReplOffset;
use russet::replication::replica::MasterAddr;
use russet::resp::args::Args;
use russet::resp::request::{Batch, Decoder, Limits};
use russet::storage::stream::StreamId;
use russet::storage::{Keyspace, ValueRef, digest};

use crate::shown::{Effect, escape};

/// Chance differs from the original's, so that an effect that leaves something to chance is found out.
const SEED: u64 = 2;

/// A replica that hears of the original's data by its effects alone.
pub struct Twin {
    pub engine: Engine,
    /// Where the next effect begins in the original's log.
    offset: ReplOffset,
    db_index: usize,
}

impl Twin {
    /// Attaches a replica to `original`, which has no data yet, and makes it propagate.
    pub fn new(original: &mut Engine, config: Config, clock: ManualClock) -> Self {
        let stream = original.role.stream_mut();
        stream.begin_backlog(&mut original.rng);
        let (replid, offset) = (stream.ids.replid(), stream.log.end_offset());
        original.refresh_propagation();

        let mut engine = command::new_engine(config, Box::new(clock), SEED);
        engine.follow(MasterAddr { host: "original".into(), port: 6379 });
        let empty = Keyspace::new(engine.keyspace.len(), SEED);
        engine.adopt_snapshot(empty, Some((replid, offset)));
        Self { engine, offset, db_index: 0 }
    }

    /// Applies what the original has propagated since the last call, and answers it.
    pub fn follow(&mut self, original: &mut Engine, at: &str) -> Vec<Effect> {
        let log = &mut original.role.stream_mut().log;
        let bytes = log.read_from(self.offset, usize::MAX).expect("nobody trims the log").concat();
        self.offset = self.offset.advanced(bytes.len());
        let effects = self.apply(&bytes);
        let complaint = self.engine.log_lines.iter().find(|line| line.text.contains("CRITICAL"));
        assert!(complaint.is_none(), "{at}\n  {}", complaint.expect("there is one").text);
        effects.into_iter().filter(|effect| !effect.args[0].eq_ignore_ascii_case(b"SELECT")).collect()
    }

    fn apply(&mut self, bytes: &[u8]) -> Vec<Effect> {
        let limits = Limits { authenticated: true, ..Limits::default() };
        let mut batch = Batch::new();
        let decoded = Decoder::new().decode(bytes, &limits, &mut batch, usize::MAX, usize::MAX);
        assert_eq!(decoded.ok(), Some(bytes.len()), "the log is a sequence of requests: {}", escape(bytes));
        let mut effects = Vec::new();
        self.engine.time.sample();
        for args in batch.iter(bytes) {
            if args.is(0, "select") {
                self.db_index = std::str::from_utf8(args.bytes(1)).unwrap().parse().unwrap();
            }
            dispatch::apply(&mut self.engine, &args);
            effects.push(Effect { db_index: self.db_index, args: args.iter().map(<[u8]>::to_vec).collect() });
        }
        self.engine.jobs.clear();
        effects
    }
}

/// Which pending entries are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    All,
    /// Commands cannot make an entry pending that is not there.
    WithTheirEntries,
}

/// What the digest leaves out: groups, consumers, and whose the pending entries are. How often and when these were
/// delivered is not compared, for reading them again is not propagated.
pub fn groups_of(keyspace: &Keyspace, shown: Shown) -> Vec<String> {
    let mut groups = Vec::new();
    for (index, item) in
        keyspace.dbs().enumerate().flat_map(|(index, db)| db.iter().map(move |item| (index, item)))
    {
        let ValueRef::Stream(stream) = item.value else { continue };
        let key = escape(item.key);
        let (last, deleted, added) = (stream.last_id(), stream.max_deleted_id(), stream.entries_added());
        groups.push(format!("db{index} {key} {last} {deleted} {added}"));
        for (name, group) in stream.groups() {
            let name = escape(name);
            let consumers: Vec<String> = group.consumers().map(|(name, _)| escape(name)).collect();
            let pending: Vec<String> = group
                .pending_from(StreamId::MIN)
                .filter(|(id, _)| shown == Shown::All || stream.contains(*id))
                .map(|(id, pending)| format!("{id} {}", escape(&pending.consumer)))
                .collect();
            let (last, read) = (group.last_id, group.entries_read);
            groups.push(format!("db{index} {key} {name} {last} {read:?} {consumers:?} {pending:?}"));
        }
    }
    groups.sort();
    groups
}

/// Writes the data set as an RDB file, reads it back, and compares.
pub fn check_rdb_round_trip(engine: &Engine, name: &str) {
    let file = snapshot::write(&engine.keyspace, &engine.snapshot_options(), Vec::new(), || Ok(())).unwrap();
    let empty = Keyspace::new(engine.keyspace.len(), SEED);
    // Keys that are due were saved like all others.
    let options = LoadOptions { drops_expired: false, ..engine.load_options(Duplicates::Refuse) };
    let loaded = snapshot::read(&file[..], empty, &options, |_| ())
        .unwrap_or_else(|error| panic!("{name}: the saved data set is refused: {error}"));
    let is_equal = digest::of_keyspace(&engine.keyspace) == digest::of_keyspace(&loaded.keyspace);
    assert!(is_equal, "{name}: the data set that was saved and loaded is another one");
    assert_eq!(
        groups_of(&engine.keyspace, Shown::All),
        groups_of(&loaded.keyspace, Shown::All),
        "{name}: groups were saved and loaded"
    );
}

/// Writes the data set as commands, as the base of an append-only file has it, runs them in an empty engine, and compares.
pub fn check_commands_round_trip(engine: &Engine, config: Config, clock: ManualClock, name: &str) {
    let file = commands::write(&engine.keyspace, Vec::new(), || Ok(())).unwrap();
    let mut other = command::new_engine(config, Box::new(clock), SEED);
    let replay = Replay::begin(&mut other);
    let (mut ranges, mut at) = (Vec::new(), 0);
    while at < file.len() {
        let Step::Command { bytes } = reader::step(&file[at..], &mut ranges) else {
            panic!("{name}: a base is a sequence of commands: {}", escape(&file[at..]));
        };
        other.time.sample();
        replay
            .run(&mut other, &Args::new(&file[at..], &ranges))
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        at += bytes;
    }
    replay.end(&mut other);
    let complaint = other.log_lines.iter().find(|line| line.text.contains("failed"));
    assert!(complaint.is_none(), "{name}: {}", complaint.unwrap().text);
    assert!(
        digest::of_keyspace(&engine.keyspace) == digest::of_keyspace(&other.keyspace),
        "{name}: the data set that was written as commands and built anew is another one"
    );
    assert_eq!(
        groups_of(&engine.keyspace, Shown::WithTheirEntries),
        groups_of(&other.keyspace, Shown::WithTheirEntries),
        "{name}: groups were written as commands and built anew"
    );
}
