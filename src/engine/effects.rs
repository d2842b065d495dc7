//! What one atomic unit (a command, or the commands of one EXEC) has changed, until the dispatcher draws the
//! consequences.

use crate::resp::reply::write_request;
use crate::scripting::ReplicationTargets;
use crate::storage::live::ExpiredFields;

/// Collected while handlers run, emptied when the unit ends.
#[derive(Debug, Default)]
pub struct Effects {
    /// Somebody looks at modified keys (WATCH, blocked clients, notifications), so they are worth remembering.
    pub is_observed: bool,
    /// Effects have a reader: replicas, an append-only file, or a test. Otherwise they are not even encoded.
    pub is_propagating: bool,
    /// Database, key and event of each change; empty unless observed.
    pub modified: Vec<Modification>,
    /// Those keys of the command that runs which were not there before it; empty unless somebody listens to new keys.
    pub absent: Vec<Vec<u8>>,
    /// Changes made by the command that runs.
    pub dirty: u64,
    /// Keys that expired under the command that runs.
    pub expired: u64,
    /// Fields of hashes that expired under it.
    pub expired_fields: u64,
    /// What the running command said about its own propagation.
    pub propagation: Propagation,
    /// The unit's effects have nothing to do with each other, so that replicas need no transaction around them.
    pub are_separate: bool,
    /// Whom a script wants to be told what its commands change (`redis.set_repl`). What expires is everybody's affair.
    pub targets: ReplicationTargets,
    /// `lazyfree-lazy-expire`: replicas are told to free what has expired in the background.
    pub lazy_expire: bool,
    /// Effects of the unit so far, encoded as requests.
    encoded: Vec<u8>,
    /// Where each effect ends in `encoded`, the database it applies to, and for whom it is.
    ends: Vec<(usize, usize, ReplicationTargets)>,
}

/// The event of a change that keyspace notifications do not tell of.
pub const NO_EVENT: &str = "";

/// The event of a key whose time has passed.
pub const EXPIRED_EVENT: &str = "expired";
/// The event of a key that came into being.
pub const NEW_KEY_EVENT: &str = "new";
/// The event of a key that was asked for and is not there.
pub const KEY_MISS_EVENT: &str = "keymiss";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modification {
    pub db_index: usize,
    pub key: Vec<u8>,
    pub event: &'static str,
}

/// How the running command is propagated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// As it came, if it changed anything.
    #[default]
    Verbatim,
    /// Even if it changed nothing.
    Forced,
    /// Even if it changed nothing, and to replicas alone: it leaves nothing behind that a file could have.
    ForcedToReplicas,
    /// Not at all, or as other effects that the handler recorded.
    Replaced,
}

impl Effects {
    /// Notes that `key` has changed: one change for the dirty counter, and an event for those who look.
    pub fn modified(&mut self, db_index: usize, key: &[u8], event: &'static str) {
        self.dirty += 1;
        self.event(db_index, key, event);
    }

    /// An event that is not a change of its own, such as "del" after the last element was popped.
    pub fn event(&mut self, db_index: usize, key: &[u8], event: &'static str) {
        if self.is_observed {
            self.modified.push(Modification { db_index, key: key.to_vec(), event });
        }
    }

    /// A key was removed because its time had passed: replicas are told to remove it too.
    pub fn expired(&mut self, db_index: usize, key: &[u8]) {
        self.expired += 1;
        self.event(db_index, key, EXPIRED_EVENT);
        self.propagate_removal(db_index, key, self.lazy_expire);
    }

    /// A key was removed to make room: replicas are told to remove it too.
    pub fn evicted(&mut self, db_index: usize, key: &[u8], is_lazy: bool) {
        self.event(db_index, key, "evicted");
        self.propagate_removal(db_index, key, is_lazy);
    }

    fn propagate_removal(&mut self, db_index: usize, key: &[u8], is_lazy: bool) {
        let command = if is_lazy { "UNLINK" } else { "DEL" };
        self.propagate(db_index, [command.as_bytes(), key]);
    }

    /// Fields of a hash were removed because their time had passed, and perhaps the key with the last of them.
    pub fn fields_expired(&mut self, db_index: usize, expired: &ExpiredFields) {
        self.expired_fields += expired.fields.len() as u64;
        self.event(db_index, &expired.key, "hexpired");
        if expired.was_emptied {
            self.event(db_index, &expired.key, "del");
        }
        for field in &expired.fields {
            self.propagate(db_index, [b"HDEL", &expired.key[..], field]);
        }
    }

    /// Records what the running command wants replicas alone to be told.
    pub fn propagate_to_replicas<A: AsRef<[u8]>>(
        &mut self,
        db_index: usize,
        args: impl IntoIterator<Item = A, IntoIter: ExactSizeIterator>,
    ) {
        self.propagate_to(ReplicationTargets { aof: false, ..self.targets }, db_index, args);
    }

    /// Records what the running command changes.
    pub fn propagate_command<A: AsRef<[u8]>>(
        &mut self,
        db_index: usize,
        args: impl IntoIterator<Item = A, IntoIter: ExactSizeIterator>,
    ) {
        self.propagate_to(self.targets, db_index, args);
    }

    /// Records an effect of the unit, whatever the running command is.
    pub fn propagate<A: AsRef<[u8]>>(
        &mut self,
        db_index: usize,
        args: impl IntoIterator<Item = A, IntoIter: ExactSizeIterator>,
    ) {
        self.propagate_to(ReplicationTargets::ALL, db_index, args);
    }

    fn propagate_to<A: AsRef<[u8]>>(
        &mut self,
        targets: ReplicationTargets,
        db_index: usize,
        args: impl IntoIterator<Item = A, IntoIter: ExactSizeIterator>,
    ) {
        if self.is_propagating && (targets.aof || targets.replicas) {
            write_request(&mut self.encoded, args.into_iter());
            self.ends.push((self.encoded.len(), db_index, targets));
        }
    }

    /// Whether there are several effects for those that `are_told`.
    pub fn are_several(&self, are_told: impl Fn(ReplicationTargets) -> bool) -> bool {
        self.ends.iter().filter(|(.., targets)| are_told(*targets)).nth(1).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The unit's effects in order, as encoded requests with their databases and those for whom they are.
    pub fn iter(&self) -> impl Iterator<Item = (usize, ReplicationTargets, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|&(end, ..)| end));
        starts
            .zip(&self.ends)
            .map(|(start, &(end, db_index, targets))| (db_index, targets, &self.encoded[start..end]))
    }

    /// Ends the unit.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.ends.clear();
        self.are_separate = false;
        self.encoded.shrink_to(1 << 20);
    }
}
