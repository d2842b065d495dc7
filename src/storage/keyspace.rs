//! All databases of one server, and the frozen copy of them that a snapshot is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::db::Db;

/// The code of function libraries by their names: saved and replicated with the data, and opaque here. Cloning is cheap.
pub type Libraries = Arc<BTreeMap<Vec<u8>, Arc<[u8]>>>;

/// The databases, by index. Cloning it takes microseconds per thousand segments and freezes one instant of all data.
#[derive(Debug, Clone)]
pub struct Keyspace {
    dbs: Vec<Db>,
    pub libraries: Libraries,
    /// Held by every clone, so that it is known whether one is left. The last field: it goes when the data has gone.
    lease: Arc<()>,
}

/// Tells, while it lives, that somebody holds a snapshot of one database or of values.
#[derive(Debug)]
pub struct Lease {
    _held: Arc<()>,
}

impl Keyspace {
    pub fn new(databases: usize, seed: u64) -> Self {
        Self {
            dbs: (0..databases).map(|_| Db::new(seed)).collect(),
            libraries: Libraries::default(),
            lease: Arc::default(),
        }
    }

    /// As many empty databases, which hash as these do, and no library.
    pub fn emptied(&self) -> Self {
        let dbs = self.dbs.iter().map(Db::emptied).collect();
        Self { dbs, libraries: Libraries::default(), lease: Arc::default() }
    }

    /// The libraries without the keys.
    pub fn without_keys(&self) -> Self {
        Self { libraries: self.libraries.clone(), ..self.emptied() }
    }

    /// Whether a snapshot shares data with this.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.lease) > 1
    }

    /// Bytes of the table that snapshots alone hold by now, because writers have copied them.
    pub fn snapshot_bytes(&self) -> u64 {
        if self.is_shared() { self.dbs.iter().map(Db::copied_bytes).sum() } else { 0 }
    }

    /// To be held together with a clone of anything in here.
    pub fn lease(&self) -> Lease {
        Lease { _held: self.lease.clone() }
    }

    /// Begins to count anew what snapshots hold.
    pub fn forget_copied_bytes(&mut self) {
        self.dbs.iter_mut().for_each(Db::forget_copied_bytes);
    }

    /// How many databases there are.
    pub fn len(&self) -> usize {
        self.dbs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.dbs.iter().all(Db::is_empty)
    }

    /// Keys in all databases.
    pub fn keys_len(&self) -> usize {
        self.dbs.iter().map(Db::len).sum()
    }

    pub fn db(&self, index: usize) -> &Db {
        &self.dbs[index]
    }

    pub fn db_mut(&mut self, index: usize) -> &mut Db {
        &mut self.dbs[index]
    }

    pub fn dbs(&self) -> impl Iterator<Item = &Db> {
        self.dbs.iter()
    }

    pub fn into_dbs(self) -> Vec<Db> {
        self.dbs
    }

    /// Frees in steps; `note` is told how many keys each had.
    pub fn free(self, mut note: impl FnMut(usize)) {
        let Self { dbs, libraries: _, lease: _held_to_the_end } = self;
        dbs.into_iter().for_each(|db| db.free(&mut note));
    }

    pub fn swap(&mut self, a: usize, b: usize) {
        self.dbs.swap(a, b);
    }

    /// Empties one database; answers what was in it.
    pub fn take_db(&mut self, index: usize) -> Db {
        let empty = self.dbs[index].emptied();
        std::mem::replace(&mut self.dbs[index], empty)
    }
}
