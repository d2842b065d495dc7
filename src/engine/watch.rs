//! WATCH: who wants to know of a change to which key before EXEC.

use hashbrown::HashMap;

use super::client::{ClientId, Clients};

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

    pub fn watch(&mut self, clients: &mut Clients, id: ClientId, db_index: usize, key: &[u8]) {
        let Some(client) = clients.get_mut(id) else { return };
        let place = (db_index, key.to_vec());
        if !client.watching.contains(&place) {
            client.watching.push(place.clone());
            self.watchers.entry(place).or_default().push(id);
        }
    }

    /// Forgets all that a client watches, and that something of it had changed.
    pub fn unwatch(&mut self, clients: &mut Clients, id: ClientId) {
        let Some(client) = clients.get_mut(id) else { return };
        client.is_dirty = false;
        for place in std::mem::take(&mut client.watching) {
            if let Some(watchers) = self.watchers.get_mut(&place) {
                watchers.retain(|&watcher| watcher != id);
                if watchers.is_empty() {
                    self.watchers.remove(&place);
                }
            }
        }
    }

    /// Marks everybody who watches `key`.
    pub fn touch(&self, clients: &mut Clients, db_index: usize, key: &[u8]) {
        if self.watchers.is_empty() {
            return;
        }
        for &id in self.watchers.get(&(db_index, key.to_vec())).into_iter().flatten() {
            if let Some(client) = clients.get_mut(id) {
                client.is_dirty = true;
            }
        }
    }

    /// Marks everybody who watches a key of `db_index` for which `is_changed` answers true.
    pub fn touch_db(
        &self,
        clients: &mut Clients,
        db_index: usize,
        mut is_changed: impl FnMut(&[u8]) -> bool,
    ) {
        for ((db, key), watchers) in &self.watchers {
            if *db == db_index && is_changed(key) {
                for &id in watchers {
                    if let Some(client) = clients.get_mut(id) {
                        client.is_dirty = true;
                    }
                }
            }
        }
    }
}
