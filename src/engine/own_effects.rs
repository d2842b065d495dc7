//! Effects that are for the append-only file and not in the replication log: what clients of a writable replica change
//! themselves (`replica-read-only no`) and what expires of it, since the log is the master's byte for byte; and what a script
//! keeps from the replicas (`redis.set_repl`).
//!
//! The file has them between what the log holds up to some offset and what it holds behind.

use std::collections::VecDeque;

use super::Engine;
use crate::replication::log::{Pieces, ReplOffset};
use crate::resp::reply::write_request;

/// Effects that the file has yet to take, each at an offset of the log.
#[derive(Debug, Default)]
pub struct OwnEffects {
    waiting: VecDeque<Own>,
    /// Bytes that were added, and of those the ones that were taken.
    pub added: u64,
    pub taken: u64,
}

#[derive(Debug)]
struct Own {
    at: ReplOffset,
    text: Vec<u8>,
}

impl OwnEffects {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The file begins anew: what waits is in its base.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.taken = self.added;
    }

    /// Adds effects that stand in the file behind what the log has before `at`.
    pub fn add(&mut self, at: ReplOffset, text: Vec<u8>) {
        self.added += text.len() as u64;
        self.waiting.push_back(Own { at, text });
    }

    /// Where the next ones stand in the log.
    pub fn next_place(&self) -> Option<ReplOffset> {
        self.waiting.front().map(|own| own.at)
    }

    /// What stands at `at`, as long as no more than `added_max` bytes were added before its end.
    pub fn take(&mut self, at: ReplOffset, added_max: u64) -> Pieces {
        let mut pieces = Pieces::new();
        while let Some(own) = self.waiting.front()
            && own.at <= at
            && self.taken + own.text.len() as u64 <= added_max
        {
            self.taken += own.text.len() as u64;
            pieces.extend(self.waiting.pop_front().map(|own| own.text.into()));
        }
        pieces
    }
}

impl Engine {
    /// Whether effects of this replica's clients are to be encoded.
    pub(super) fn keeps_own_effects(&self) -> bool {
        !self.role.is_master() && self.aof.is_enabled() && !self.config.replica_read_only
    }

    /// Hands the unit's effects to the append-only file. They select their databases, and then the master's again.
    pub(super) fn keep_own_effects(&mut self) {
        let are_some = self.effects.iter().any(|(_, targets, _)| targets.aof);
        if are_some && self.keeps_own_effects() {
            let mut text = Vec::new();
            let several = self.effects.are_several(|targets| targets.aof) && !self.effects.are_separate;
            let select = |text: &mut Vec<u8>, db_index: usize| {
                write_request(text, ["SELECT", itoa::Buffer::new().format(db_index)].iter());
            };
            if several {
                write_request(&mut text, ["MULTI"].iter());
            }
            let mut selected = None;
            for (db_index, _, effect) in self.effects.iter().filter(|(_, targets, _)| targets.aof) {
                if selected.replace(db_index) != Some(db_index) {
                    select(&mut text, db_index);
                }
                text.extend_from_slice(effect);
            }
            if several {
                write_request(&mut text, ["EXEC"].iter());
            }
            select(&mut text, self.stream_db_index());
            let at = self.role.stream().log.end_offset();
            self.aof.own.add(at, text);
        }
        self.effects.clear();
    }
}

#[cfg(test)]
mod tests {
    use crate::base::clock::{ManualClock, UnixMillis};
    use crate::config::Config;
    use crate::engine::Engine;
    use crate::engine::aof::{Taken, WriterReport};
    use crate::replication::replica::MasterAddr;

    fn take(engine: &mut Engine) -> String {
        match engine.aof_take(WriterReport::default()).0 {
            Taken::Nothing => String::new(),
            Taken::Bytes { prefix, pieces, .. } => {
                let text = String::from_utf8([prefix, pieces.concat()].concat()).unwrap();
                text.split("\r\n").filter(|line| !line.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
            }
            Taken::Order(_) => "order".to_owned(),
        }
    }

    #[test]
    fn own_effects_are_in_the_file_and_not_in_the_log() {
        let clock = ManualClock::new(UnixMillis(1_000_000));
        let config = Config { replica_read_only: false, ..Config::default() };
        let mut engine = Engine::new(config, Box::new(clock), 1);
        engine.follow(MasterAddr { host: "127.0.0.1".to_owned(), port: 1 });
        engine.aof_opened(0);
        assert!(engine.effects.is_propagating);
        let end = engine.role.stream().log.end_offset();
        let before = engine.aof_wait().unwrap().place;
        engine.effects.propagate(2, ["SET", "a", "1"]);
        engine.effects.propagate(3, ["DEL", "b"]);
        engine.append_effects();
        // A rewrite that begins now has them in its base, so they belong into the file before it.
        assert!(engine.start_rewrite());
        engine.effects.propagate(2, ["SET", "c", "1"]);
        engine.append_effects();
        assert_eq!(engine.role.stream().log.end_offset(), end);
        assert!(engine.aof_wait().unwrap().place.reach() > before.reach());
        assert_eq!(take(&mut engine), "SELECT 0 MULTI SELECT 2 SET a 1 SELECT 3 DEL b EXEC SELECT 0 ");
        assert_eq!(take(&mut engine), "order");
        assert_eq!(take(&mut engine), "SELECT 2 SET c 1 SELECT 0 ");
        assert_eq!(take(&mut engine), "");
        engine.config.replica_read_only = true;
        engine.config_changed();
        assert!(!engine.effects.is_propagating);
    }
}
