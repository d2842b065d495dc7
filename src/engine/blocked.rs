//! Clients that wait: for a key, for replicas, for a job, or for the end of a pause.
//!
//! Contract: a blocked client has a `BlockedState` and runs no further command. For every key it waits for, it stands
//! in that key's queue; queues are served first come, first served. Ending a block (`Engine::unblock`) removes it from
//! all queues and wakes its task, which goes on with the requests that were behind the blocking one.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;

use super::client::{ClientId, Clients};
use crate::base::clock::UnixMillis;
use crate::resp::args::OwnedArgs;

/// What a client waits for.
#[derive(Debug)]
pub enum BlockedOn {
    /// One of these keys of database `db_index`; the command is run again when one was modified.
    Keys { db_index: usize, keys: Vec<Vec<u8>>, command: usize, args: OwnedArgs },
    /// WAIT: `needed` replicas that have acknowledged `offset`.
    Replicas { offset: u64, needed: usize },
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
    /// WAIT: how many replicas have acknowledged.
    AcknowledgedReplicas,
    /// Jobs and pauses have no time limit of their own.
    Nothing,
}

#[derive(Debug)]
pub struct BlockedState {
    pub on: BlockedOn,
    pub deadline: Option<UnixMillis>,
    pub on_timeout: TimeoutReply,
}

/// Who waits for which key and until when.
#[derive(Debug, Default)]
pub struct BlockedClients {
    queues: HashMap<(usize, Vec<u8>), VecDeque<ClientId>>,
    deadlines: BTreeSet<(UnixMillis, ClientId)>,
    /// Keys that were modified and have waiters, in the order of modification.
    ready: VecDeque<(usize, Vec<u8>)>,
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
        // A tuple key has no borrowed form: the queue is looked for only while somebody waits for some key.
        self.has_key_waiters() && self.queues.contains_key(&(db_index, key.to_vec()))
    }

    /// Remembers that a key was modified, if anybody waits for it.
    pub fn signal(&mut self, db_index: usize, key: &[u8]) {
        if self.waits_for(db_index, key) && !self.ready.iter().any(|(db, k)| *db == db_index && k == key) {
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

    pub fn next_ready(&mut self) -> Option<(usize, Vec<u8>)> {
        self.ready.pop_front()
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The clients that wait for a key, longest first.
    pub fn waiters(&self, db_index: usize, key: &[u8]) -> Vec<ClientId> {
        self.queues
            .get(&(db_index, key.to_vec()))
            .map(|queue| queue.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Keys that somebody waits for.
    pub fn keys_len(&self) -> usize {
        self.queues.len()
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
        if let BlockedOn::Keys { db_index, keys, .. } = &state.on {
            for key in keys {
                let queue = self.queues.entry((*db_index, key.clone())).or_default();
                // The same key may be named twice.
                if queue.back() != Some(&id) && !queue.contains(&id) {
                    queue.push_back(id);
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
        if let BlockedOn::Keys { db_index, keys, .. } = &state.on {
            for key in keys {
                let place = (*db_index, key.clone());
                if let Some(queue) = self.queues.get_mut(&place) {
                    queue.retain(|&waiter| waiter != id);
                    if queue.is_empty() {
                        self.queues.remove(&place);
                    }
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
