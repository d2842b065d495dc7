//! WATCH: who wants to know of a change to which key before EXEC.

use hashbrown::HashMap;

use super::client::{ClientId, Clients};
use crate::storage::Presence;

/// One key that a client watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    pub db_index: usize,
    pub key: Vec<u8>,
    /// The key's time had passed already: that it is removed later changes nothing for this client.
    pub was_expired: bool,
}

#[derive(Debug, Default)]
pub struct WatchedKeys {
    watchers: HashMap<(usize, Vec<u8>), Vec<ClientId>>,
}

impl WatchedKeys {
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// Keys under WATCH.
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    pub fn watch(&mut self, clients: &mut Clients, id: ClientId, watch: Watch) {
        let Some(client) = clients.get_mut(id) else { return };
        let watchers = self.watchers.entry((watch.db_index, watch.key.clone())).or_default();
        if !watchers.contains(&id) {
            watchers.push(id);
            client.watching.push(watch);
        }
    }

    /// Forgets all that a client watches, and that something of it had changed.
    pub fn unwatch(&mut self, clients: &mut Clients, id: ClientId) {
        let Some(client) = clients.get_mut(id) else { return };
        client.is_dirty = false;
        for watch in std::mem::take(&mut client.watching) {
            let place = (watch.db_index, watch.key);
            if let Some(watchers) = self.watchers.get_mut(&place) {
                watchers.retain(|&watcher| watcher != id);
                if watchers.is_empty() {
                    self.watchers.remove(&place);
                }
            }
        }
    }

    /// Marks everybody who watches `key`, which `event` has happened to.
    pub fn touch(&self, clients: &mut Clients, db_index: usize, key: &[u8], event: &str) {
        if self.watchers.is_empty() {
            return;
        }
        let is_removal = event == "expired" || event == "del";
        for &id in self.watchers.get(&(db_index, key.to_vec())).into_iter().flatten() {
            let Some(client) = clients.get_mut(id) else { continue };
            if is_removal && client.forgive_removal(db_index, key) {
                continue;
            }
            client.is_dirty = true;
        }
    }

    /// Marks everybody who watches a key of `db_index`, whose contents are replaced as a whole; `before` and `after`
    /// tell what is at a key.
    pub fn touch_db(
        &self,
        clients: &mut Clients,
        db_index: usize,
        before: impl Fn(&[u8]) -> Presence,
        after: impl Fn(&[u8]) -> Presence,
    ) {
        for ((db, key), watchers) in &self.watchers {
            if *db != db_index {
                continue;
            }
            let (before, after) = (before(key), after(key));
            for &id in watchers {
                if let Some(client) = clients.get_mut(id) {
                    client.is_dirty |= client.sees_replacement(db_index, key, before, after);
                }
            }
        }
    }
}

impl super::client::Client {
    /// Whether a watched key is another one after its database was replaced. An expired key is as good as none, but
    /// which of the two it is must be known later.
    fn sees_replacement(&mut self, db_index: usize, key: &[u8], before: Presence, after: Presence) -> bool {
        let watch = self.watching.iter_mut().find(|watch| watch.db_index == db_index && watch.key == key);
        let Some(watch) = watch else { return false };
        if before == Presence::Missing && after == Presence::Missing {
            return false;
        }
        let was_nothing = watch.was_expired || before == Presence::Missing;
        if was_nothing && after != Presence::Live {
            watch.was_expired = after == Presence::Expired;
            return false;
        }
        true
    }

    /// Whether the removal of `key` is only that of a key which had expired before it was watched. Works once.
    fn forgive_removal(&mut self, db_index: usize, key: &[u8]) -> bool {
        let watch = self.watching.iter_mut().find(|watch| watch.db_index == db_index && watch.key == key);
        watch.is_some_and(|watch| std::mem::take(&mut watch.was_expired))
    }
}
