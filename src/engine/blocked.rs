//! Clients that wait: for a key, for replicas, for a job, or for the end of a pause.
//!
//! Contract: a blocked client has a `BlockedState` and runs no further command. For every key it waits for, it stands
//! in that key's queue; queues are served first come, first served. Ending a block (`unblock`) removes it from
//! all queues and wakes its task, which goes on with the requests that were behind the blocking one.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::{Equivalent, HashMap};

use super::client::{ClientId, Clients};
use crate::base::clock::UnixMillis;
use crate::resp::args::OwnedArgs;

/// What a client waits for.
#[derive(Debug)]
pub enum BlockedOn {
    /// One of these keys of database `db_index`; the command is run again when one was modified.
    Keys {
        db_index: usize,
        keys: Vec<Vec<u8>>,
        command: usize,
        args: OwnedArgs,
        /// The command is run again even if the key is gone or of another type: it fails then, and its client
        /// must not wait on.
        wakes_without_value: bool,
    },
    /// WAIT: `needed` replicas that have acknowledged `offset`.
    Replicas { offset: u64, needed: usize },
    /// WAITAOF: `offset` on `local` disks here and on those of `replicas` replicas.
    Disks { offset: u64, local: u64, replicas: usize },
    /// The end of CLIENT PAUSE or of a failover: the command has not been run yet.
    Pause,
    /// A job of the runtime (a save, say), whose end writes the reply.
    Job,
}

/// What a client reads when its time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutReply {
    Null,
    NullArray,
    /// A null array after the wait, but a null where it may not wait: the moving commands, whose element is no array.
    NullArrayAfterWait,
    /// WAIT: how many replicas have acknowledged.
    AcknowledgedReplicas,
    /// WAITAOF: on how many disks it is.
    AcknowledgedDisks,
    /// Jobs and pauses have no time limit of their own.
    Nothing,
}

#[derive(Debug)]
pub struct BlockedState {
    pub on: BlockedOn,
    pub deadline: Option<UnixMillis>,
    pub on_timeout: TimeoutReply,
}

/// A key of a database.
type Place = (usize, Vec<u8>);

/// A `Place` to look one up by, without a copy of the key.
#[derive(Hash)]
struct PlaceRef<'a>(usize, &'a [u8]);

impl Equivalent<Place> for PlaceRef<'_> {
    fn equivalent(&self, place: &Place) -> bool {
        self.0 == place.0 && self.1 == place.1
    }
}

/// Those who wait for one key, longest first.
#[derive(Debug, Default)]
struct Queue {
    waiters: VecDeque<ClientId>,
    /// How many of them are woken without a value of their type.
    without_value: usize,
    /// The key is in `ready` since the queue came to be.
    is_ready: bool,
}

/// Who waits for which key and until when.
#[derive(Debug, Default)]
pub struct BlockedClients {
    queues: HashMap<Place, Queue>,
    deadlines: BTreeSet<(UnixMillis, ClientId)>,
    /// Keys that were modified and have waiters, in the order of modification.
    ready: VecDeque<Place>,
    /// How many clients are blocked, whatever for.
    pub len: usize,
}

impl BlockedClients {
    /// Whether anybody waits for a key.
    pub fn has_key_waiters(&self) -> bool {
        !self.queues.is_empty()
    }

    /// Whether anybody waits for this key.
    pub fn waits_for(&self, db_index: usize, key: &[u8]) -> bool {
        self.has_key_waiters() && self.queues.contains_key(&PlaceRef(db_index, key))
    }

    /// Remembers that a key was modified, if anybody waits for it.
    pub fn signal(&mut self, db_index: usize, key: &[u8]) {
        if self.has_key_waiters()
            && let Some(queue) = self.queues.get_mut(&PlaceRef(db_index, key))
            && !queue.is_ready
        {
            queue.is_ready = true;
            self.ready.push_back((db_index, key.to_vec()));
        }
    }

    /// Every key of a database that somebody waits for, as after SWAPDB.
    pub fn signal_db(&mut self, db_index: usize) {
        let keys: Vec<Vec<u8>> =
            self.queues.keys().filter(|(db, _)| *db == db_index).map(|(_, key)| key.clone()).collect();
        for key in keys {
            self.signal(db_index, &key);
        }
    }

    /// The next key to serve. From here on it is remembered again when it is modified.
    pub fn next_ready(&mut self) -> Option<(usize, Vec<u8>)> {
        let place = self.ready.pop_front()?;
        if let Some(queue) = self.queues.get_mut(&place) {
            queue.is_ready = false;
        }
        Some(place)
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The client at `position` among those that wait for a key, longest first.
    pub fn waiter(&self, db_index: usize, key: &[u8], position: usize) -> Option<ClientId> {
        self.queues.get(&PlaceRef(db_index, key))?.waiters.get(position).copied()
    }

    /// Whether somebody waits for this key who is woken without a value of the right type.
    pub fn wakes_without_value(&self, db_index: usize, key: &[u8]) -> bool {
        self.queues.get(&PlaceRef(db_index, key)).is_some_and(|queue| queue.without_value > 0)
    }

    /// Keys that somebody waits for.
    pub fn keys_len(&self) -> usize {
        self.queues.len()
    }

    /// Those of them for which somebody waits who is woken without a value, too.
    pub fn keys_without_value_len(&self) -> usize {
        self.queues.values().filter(|queue| queue.without_value > 0).count()
    }

    /// The next instant at which somebody's time is up.
    pub fn next_deadline(&self) -> Option<UnixMillis> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// A client whose time is up at `now`.
    pub fn due(&self, now: UnixMillis) -> Option<ClientId> {
        self.deadlines.first().filter(|&&(at, _)| at <= now).map(|&(_, id)| id)
    }

    /// Blocks a client.
    pub fn block(&mut self, clients: &mut Clients, id: ClientId, state: BlockedState) {
        let Some(client) = clients.get_mut(id) else { return };
        debug_assert!(client.blocked.is_none(), "a blocked client runs no command");
        if let BlockedOn::Keys { db_index, keys, wakes_without_value, .. } = &state.on {
            for key in keys {
                let queue = self.queues.entry((*db_index, key.clone())).or_default();
                // The same key may be named twice; then this client is the last already.
                if queue.waiters.back() != Some(&id) {
                    queue.waiters.push_back(id);
                    queue.without_value += usize::from(*wakes_without_value);
                }
            }
        }
        if let Some(at) = state.deadline {
            self.deadlines.insert((at, id));
        }
        self.len += 1;
        client.blocked = Some(Box::new(state));
    }

    /// Ends a client's block and wakes it; answers what it waited for.
    pub fn unblock(&mut self, clients: &mut Clients, id: ClientId) -> Option<Box<BlockedState>> {
        let state = clients.get_mut(id)?.blocked.take()?;
        if let BlockedOn::Keys { db_index, keys, wakes_without_value, .. } = &state.on {
            for key in keys {
                let place = PlaceRef(*db_index, key);
                let Some(queue) = self.queues.get_mut(&place) else { continue };
                let waiters = queue.waiters.len();
                // Who is served is first, as a rule.
                if queue.waiters.front() == Some(&id) {
                    queue.waiters.pop_front();
                } else {
                    queue.waiters.retain(|&waiter| waiter != id);
                }
                if *wakes_without_value {
                    queue.without_value -= waiters - queue.waiters.len();
                }
                if queue.waiters.is_empty() {
                    self.queues.remove(&place);
                }
            }
        }
        if let Some(at) = state.deadline {
            self.deadlines.remove(&(at, id));
        }
        self.len -= 1;
        clients.wake(id);
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(keys: &[&str], deadline: Option<i64>) -> BlockedState {
        let on = BlockedOn::Keys {
            db_index: 0,
            keys: keys.iter().map(|key| key.as_bytes().to_vec()).collect(),
            command: 0,
            args: [b"BLPOP"].into_iter().collect(),
            wakes_without_value: false,
        };
        BlockedState { on, deadline: deadline.map(UnixMillis), on_timeout: TimeoutReply::NullArray }
    }

    fn with_clients(count: usize) -> (BlockedClients, Clients, Vec<ClientId>) {
        let mut clients = Clients::default();
        let ids = (0..count).map(|_| clients.connect(UnixMillis(0)).id).collect();
        (BlockedClients::default(), clients, ids)
    }

    #[test]
    fn a_client_stands_once_in_the_queue_of_a_key_named_twice() {
        let (mut blocked, mut clients, ids) = with_clients(1);
        blocked.block(&mut clients, ids[0], wait(&["k", "other", "k"], None));
        assert_eq!(blocked.waiter(0, b"k", 0), Some(ids[0]));
        assert_eq!(blocked.waiter(0, b"k", 1), None);
        assert_eq!(blocked.keys_len(), 2);
        blocked.unblock(&mut clients, ids[0]);
        assert!(!blocked.has_key_waiters());
        assert_eq!(blocked.len, 0);
    }

    #[test]
    fn who_is_woken_without_a_value_is_known_by_key() {
        let (mut blocked, mut clients, ids) = with_clients(2);
        for &id in &ids {
            let mut state = wait(&["k", "k"], None);
            if let BlockedOn::Keys { wakes_without_value, .. } = &mut state.on {
                *wakes_without_value = true;
            }
            blocked.block(&mut clients, id, state);
        }
        blocked.unblock(&mut clients, ids[1]);
        assert!(blocked.wakes_without_value(0, b"k"));
        let other = wait(&["k"], None);
        blocked.block(&mut clients, ids[1], other);
        blocked.unblock(&mut clients, ids[0]);
        assert!(!blocked.wakes_without_value(0, b"k"));
    }

    #[test]
    fn a_key_is_remembered_once_until_it_is_taken_up() {
        let (mut blocked, mut clients, ids) = with_clients(1);
        blocked.signal(0, b"k");
        assert!(!blocked.has_ready(), "nobody waits for it");
        blocked.block(&mut clients, ids[0], wait(&["k"], None));
        blocked.signal(1, b"k");
        assert!(!blocked.has_ready(), "the key of another database");
        blocked.signal(0, b"k");
        blocked.signal(0, b"k");
        assert_eq!(blocked.next_ready(), Some((0, b"k".to_vec())));
        assert!(!blocked.has_ready());
        blocked.signal(0, b"k");
        assert!(blocked.has_ready());
    }

    #[test]
    fn who_leaves_keeps_the_order_of_the_others() {
        let (mut blocked, mut clients, ids) = with_clients(3);
        for &id in &ids {
            blocked.block(&mut clients, id, wait(&["k"], Some(1000)));
        }
        blocked.unblock(&mut clients, ids[1]);
        assert_eq!(blocked.waiter(0, b"k", 0), Some(ids[0]));
        assert_eq!(blocked.waiter(0, b"k", 1), Some(ids[2]));
        assert_eq!(blocked.due(UnixMillis(999)), None);
        assert_eq!(blocked.due(UnixMillis(1000)), Some(ids[0]));
    }
}
