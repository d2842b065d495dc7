//! The scripts for EVAL that were compiled, found by their bodies and by their digests.
//!
//! Those that SCRIPT LOAD was asked to keep are kept. Of the others, which came with EVAL, the ones that were used last: who
//! writes values into the text of his scripts would otherwise fill the memory with them.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::scripting::Script;

/// A script's name: the SHA-1 of its body.
pub type ScriptDigest = [u8; 20];

/// Scripts that nobody asked to keep, as since Redis 7.4.
const PASSING_MAX: usize = 500;

/// A script for EVAL.
pub struct CachedScript {
    pub digest: ScriptDigest,
    pub body: Arc<[u8]>,
    pub script: Script,
}

/// Whether a script may be forgotten when others come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    Kept,
    Passing,
}

struct Entry {
    script: Arc<CachedScript>,
    stay: Stay,
    /// When it was last used, by the cache's own count.
    used: u64,
}

#[derive(Default)]
pub struct ScriptCache {
    by_digest: HashMap<ScriptDigest, Entry>,
    /// So that EVAL need not compute a digest.
    by_body: HashMap<Arc<[u8]>, Arc<CachedScript>>,
    passing: usize,
    uses: u64,
    /// The one that was used last: most often it is used again.
    last: Option<ScriptDigest>,
}

impl ScriptCache {
    pub fn get(&self, digest: &ScriptDigest) -> Option<&Arc<CachedScript>> {
        self.by_digest.get(digest).map(|entry| &entry.script)
    }

    pub fn with_body(&self, body: &[u8]) -> Option<&Arc<CachedScript>> {
        self.by_body.get(body)
    }

    /// Notes that a script is run.
    pub fn touch(&mut self, digest: &ScriptDigest) {
        if self.last.as_ref() == Some(digest) {
            return;
        }
        self.last = Some(*digest);
        self.uses += 1;
        if let Some(entry) = self.by_digest.get_mut(digest) {
            entry.used = self.uses;
        }
    }

    /// Keeps a script from now on.
    pub fn keep(&mut self, digest: &ScriptDigest) {
        if let Some(entry) = self.by_digest.get_mut(digest)
            && entry.stay == Stay::Passing
        {
            entry.stay = Stay::Kept;
            self.passing -= 1;
        }
    }

    /// Takes a new script; answers how many others had to go.
    pub fn insert(&mut self, script: Arc<CachedScript>, stay: Stay) -> usize {
        let mut evicted = 0;
        if stay == Stay::Passing {
            while self.passing >= PASSING_MAX && self.forget_oldest() {
                evicted += 1;
            }
            self.passing += 1;
        }
        self.uses += 1;
        self.by_body.insert(script.body.clone(), script.clone());
        self.by_digest.insert(script.digest, Entry { script, stay, used: self.uses });
        evicted
    }

    fn forget_oldest(&mut self) -> bool {
        let passing = self.by_digest.iter().filter(|(_, entry)| entry.stay == Stay::Passing);
        let Some(oldest) = passing.min_by_key(|(_, entry)| entry.used).map(|(digest, _)| *digest) else {
            return false;
        };
        if let Some(entry) = self.by_digest.remove(&oldest) {
            self.by_body.remove(&entry.script.body);
            self.passing -= 1;
        }
        true
    }

    pub fn len(&self) -> usize {
        self.by_digest.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// Bytes that the texts of the scripts and their places in the table take.
    pub fn bytes(&self) -> usize {
        let texts: usize = self.by_digest.values().map(|entry| entry.script.body.len()).sum();
        texts + self.len() * (size_of::<CachedScript>() + size_of::<(ScriptDigest, Entry)>())
    }
}
