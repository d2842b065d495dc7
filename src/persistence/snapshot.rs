//! A whole data set written as an RDB file, and read back.
//!
//! The data set that is written is a frozen clone, so this runs on any thread for as long as it takes. What is read
//! goes into a data set of the caller's, which nobody else sees before it is whole.

mod partition;

use std::io::{self, Read, Write};
use std::sync::Arc;

use smallvec::SmallVec;

use super::rdb::{
    self, CountingWriter, KeyUsage, RdbEntry, RdbError, RdbSink, RdbValue, RdbWriter, Reason, Summary,
    WriterOptions,
};
use crate::base::clock::UnixMillis;
use crate::base::number;
use crate::storage::db::{PREFETCH_KEYS_MAX, RESERVED_PER_KEY_MAX};
use crate::storage::live::{AccessPolicy, ExpiryPolicy, Upkeep, View};
use crate::storage::{EncodingLimits, Item, Keyspace, LiveDb};
use partition::{Partition, Waiting};

/// What a file says of itself before its keys.
pub type Aux = Vec<(&'static str, String)>;

/// What a file says besides the data, and how it is laid out.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    pub writer: WriterOptions,
    pub aux: Aux,
    /// How access stamps are to be read; none writes no usage.
    pub usage: Option<AccessPolicy>,
}

/// Writes a data set. `each_key` is called after every key; its error ends the writing.
pub fn write<W: Write>(
    keyspace: &Keyspace,
    options: &SnapshotOptions,
    out: W,
    mut each_key: impl FnMut() -> io::Result<()>,
) -> io::Result<W> {
    let mut writer = RdbWriter::new(out, writer_options(keyspace, options));
    for (key, value) in &options.aux {
        writer.aux(key.as_bytes(), value.as_bytes())?;
    }
    for code in keyspace.libraries.values() {
        writer.function(code)?;
    }
    for (index, db) in keyspace.dbs().enumerate().filter(|(_, db)| !db.is_empty()) {
        writer.select_db(index as u64, db.len() as u64, db.expires_len() as u64)?;
        for item in db.iter() {
            let expires_at = item.expires_at.map(UnixMillis);
            writer.entry(item.key, item.value, expires_at, usage_of(&item, options.usage))?;
            each_key()?;
        }
    }
    writer.finish()
}

/// The options, with the version that the data set needs.
fn writer_options(keyspace: &Keyspace, options: &SnapshotOptions) -> WriterOptions {
    let needed = match keyspace.dbs().any(|db| db.volatile_hashes_len() > 0) {
        true => rdb::VERSION_OF_FIELD_EXPIRY,
        false => rdb::VERSION,
    };
    WriterOptions { version: options.writer.version.max(needed), ..options.writer }
}

/// How many bytes `write` would write.
pub fn size(keyspace: &Keyspace, options: &SnapshotOptions) -> u64 {
    let writer = WriterOptions { checksum: false, ..options.writer };
    let options = SnapshotOptions { writer, ..options.clone() };
    write(keyspace, &options, CountingWriter::default(), || Ok(())).map_or(0, |counted| counted.bytes)
}

fn usage_of(item: &Item<'_>, policy: Option<AccessPolicy>) -> Option<KeyUsage> {
    match policy? {
        AccessPolicy::Lru { seconds } => {
            Some(KeyUsage::Idle(u64::from(seconds.wrapping_sub(item.access) & 0xff_ffff)))
        }
        AccessPolicy::Lfu { minutes, decay_minutes, .. } => {
            let counter = crate::storage::live::decayed_counter(item.access, minutes, decay_minutes);
            Some(KeyUsage::Frequency(counter as u8))
        }
        AccessPolicy::Leave => None,
    }
}

/// How many entries of one partition are stored together: some for each of its segments.
const WAITING_KEYS_MAX: usize = 512;
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// What to do with a key that the data set has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    Refuse,
    Replace,
}

/// How a file is taken in.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    pub limits: EncodingLimits,
    pub now: UnixMillis,
    pub access: AccessPolicy,
    /// A master leaves out keys whose time has passed; a replica waits for its master's word.
    pub drops_expired: bool,
    pub duplicates: Duplicates,
}

/// What a file brought.
#[derive(Debug)]
pub struct Loaded {
    pub keyspace: Keyspace,
    pub summary: Summary,
    /// Keys that were taken in.
    pub keys: u64,
    pub expired: u64,
    /// Database and name of the keys that were left out because their time had passed.
    pub expired_keys: Vec<(usize, Vec<u8>)>,
}

/// Reads a file into `keyspace`, which is lost on an error. `each_key` is called at every key, with how many bytes the server
/// had allocated that wrote the file; 0 if it does not say.
pub fn read(
    source: impl Read,
    keyspace: Keyspace,
    options: &LoadOptions,
    each_key: impl FnMut(u64),
) -> Result<Loaded, RdbError> {
    let mut loader = Loader {
        keyspace,
        options,
        db_index: 0,
        keys: 0,
        expired_keys: Vec::new(),
        rng: fastrand::Rng::with_seed(0),
        upkeep: Upkeep::default(),
        promised_keys: 0,
        partition_bits: 0,
        partitions: vec![Partition::default()],
        used_memory: 0,
        each_key,
    };
    let summary = rdb::read(source, &options.limits, &mut loader)?;
    let end = summary.bytes;
    loader.store_all().map_err(|why| RdbError { offset: end, reason: Reason::Refused(why) })?;
    let Loader { keyspace, keys, expired_keys, .. } = loader;
    Ok(Loaded { keyspace, summary, keys, expired: expired_keys.len() as u64, expired_keys })
}

struct Loader<'a, F> {
    keyspace: Keyspace,
    options: &'a LoadOptions,
    db_index: usize,
    keys: u64,
    expired_keys: Vec<(usize, Vec<u8>)>,
    /// Loading draws nothing; lookups ask for a generator.
    rng: fastrand::Rng,
    upkeep: Upkeep,
    /// How many keys the file says that the present database has.
    promised_keys: usize,
    /// What is read waits in the partition of its key's hash, by so many of its leading bits, until many can be stored
    /// next to each other.
    partition_bits: u32,
    partitions: Vec<Partition>,
    /// What the file says of its writer, in bytes.
    used_memory: u64,
    each_key: F,
}

impl<F> Loader<'_, F> {
    /// Stores what waits in one partition.
    fn store(&mut self, partition: usize) -> Result<(), String> {
        let options = self.options;
        let view = View {
            now: options.now,
            expiry: ExpiryPolicy::Ignore,
            access: options.access,
            limits: &options.limits,
        };
        let db = self.keyspace.db_mut(self.db_index);
        let mut live = LiveDb::new(db, view, &mut self.rng, &mut self.upkeep);
        let mut entries = self.partitions[partition].drain();
        let mut batch: SmallVec<[Waiting<'_>; PREFETCH_KEYS_MAX]> = SmallVec::new();
        loop {
            batch.extend(entries.by_ref().take(PREFETCH_KEYS_MAX));
            if batch.is_empty() {
                break;
            }
            live.prefetch(batch.iter().map(|entry| entry.key));
            for Waiting { key, value, expires_at, stamp } in batch.drain(..) {
                let before = live.len();
                match value {
                    RdbValue::Short(string) => live.insert_string(key, string, expires_at),
                    RdbValue::Whole(value) => live.insert(key, value, expires_at),
                }
                if live.len() == before && options.duplicates == Duplicates::Refuse {
                    return Err(format!("key '{}' is there twice", key.escape_ascii()));
                }
                if let Some(stamp) = stamp {
                    live.set_access_stamp(key, stamp);
                }
                self.keys += 1;
            }
        }
        drop((batch, entries));
        self.partitions[partition].clear();
        self.upkeep.garbage.clear();
        if self.promised_keys > 0 && self.len() >= self.promised_keys.div_ceil(RESERVED_PER_KEY_MAX) {
            let promised_keys = std::mem::take(&mut self.promised_keys);
            self.store_all()?;
            self.reserve(promised_keys);
        }
        Ok(())
    }

    fn store_all(&mut self) -> Result<(), String> {
        (0..self.partitions.len()).try_for_each(|partition| self.store(partition))
    }

    fn len(&self) -> usize {
        self.keyspace.db(self.db_index).len()
    }

    /// Makes room for so many keys in the present database. Nothing waits.
    fn reserve(&mut self, keys: usize) {
        self.keyspace.db_mut(self.db_index).reserve(keys);
        self.partition_bits = self.keyspace.db(self.db_index).partition_bits();
        self.partitions.resize_with(1 << self.partition_bits, Partition::default);
    }
}

impl<F: FnMut(u64)> RdbSink for Loader<'_, F> {
    fn aux(&mut self, key: &[u8], value: &[u8]) {
        if key == b"used-mem" {
            self.used_memory = number::parse_i64(value).map_or(0, |bytes| bytes.max(0) as u64);
        }
    }

    fn select_db(&mut self, db: u64) -> Result<(), String> {
        self.store_all()?;
        let databases = self.keyspace.len();
        self.db_index = usize::try_from(db)
            .ok()
            .filter(|&index| index < databases)
            .ok_or_else(|| format!("database {db}, but this server has {databases} databases"))?;
        self.promised_keys = 0;
        self.reserve(0);
        Ok(())
    }

    fn resize(&mut self, keys: u64, expires: u64) -> Result<(), String> {
        self.store_all()?;
        let keys = usize::try_from(keys).unwrap_or(usize::MAX);
        // Those with an expiry may have expired.
        let lasting = keys.saturating_sub(usize::try_from(expires).unwrap_or(usize::MAX));
        self.promised_keys = keys;
        self.reserve(lasting);
        Ok(())
    }

    fn function(&mut self, code: Vec<u8>) -> Result<(), String> {
        let name = library_name(&code).ok_or("a function library without a name")?;
        let libraries = Arc::make_mut(&mut self.keyspace.libraries);
        let shown = name.escape_ascii().to_string();
        let before = libraries.insert(name.to_vec(), code.into());
        if before.is_some() && self.options.duplicates == Duplicates::Refuse {
            return Err(format!("library '{shown}' is there twice"));
        }
        Ok(())
    }

    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), String> {
        let RdbEntry { key, value, expires_at, usage } = entry;
        (self.each_key)(self.used_memory);
        let options = self.options;
        if options.drops_expired && expires_at.is_some_and(|at| at <= options.now) {
            self.expired_keys.push((self.db_index, key.to_vec()));
            return Ok(());
        }
        let stamp = stamp_of(usage, options.access);
        let index = self.keyspace.db(self.db_index).partition_of(key, self.partition_bits);
        let partition = &mut self.partitions[index];
        partition.push(Waiting { key, value, expires_at, stamp })?;
        let is_full = if self.partition_bits == 0 {
            partition.len() >= PREFETCH_KEYS_MAX
        } else {
            partition.len() >= WAITING_KEYS_MAX || partition.bytes_len() >= WAITING_BYTES_MAX
        };
        if is_full { self.store(index) } else { Ok(()) }
    }
}

/// What follows `name=` in the first line of a library.
fn library_name(code: &[u8]) -> Option<&[u8]> {
    let line = code.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace);
    let name = words.find_map(|word| {
        let (key, name) = word.split_at_checked(5)?;
        key.eq_ignore_ascii_case(b"name=").then_some(name)
    })?;
    Some(name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name))
}

/// The access stamp of a key that was last used as a file says; none when the policies differ.
pub fn stamp_of(usage: Option<KeyUsage>, policy: AccessPolicy) -> Option<u32> {
    match (usage?, policy) {
        (KeyUsage::Idle(idle), AccessPolicy::Lru { seconds }) => {
            Some(seconds.wrapping_sub(idle.min(0xff_ffff) as u32) & 0xff_ffff)
        }
        (KeyUsage::Frequency(counter), AccessPolicy::Lfu { minutes, .. }) => {
            Some((minutes & 0xffff) << 8 | u32::from(counter))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::NewExpiry;
    use crate::storage::digest;

    const NOW: UnixMillis = UnixMillis(1_000_000_000);
    const LRU: AccessPolicy = AccessPolicy::Lru { seconds: 1_000_000 };

    fn keyspace_with(fill: impl FnOnce(&mut LiveDb<'_>)) -> Keyspace {
        let mut keyspace = Keyspace::new(4, 7);
        let (limits, mut rng) = (EncodingLimits::default(), fastrand::Rng::with_seed(1));
        let mut upkeep = Upkeep::default();
        let view = View { now: NOW, expiry: ExpiryPolicy::Ignore, access: LRU, limits: &limits };
        fill(&mut LiveDb::new(keyspace.db_mut(2), view, &mut rng, &mut upkeep));
        keyspace
    }

    fn options() -> SnapshotOptions {
        SnapshotOptions { writer: WriterOptions::default(), aux: Vec::new(), usage: Some(LRU) }
    }

    fn load_options() -> LoadOptions {
        LoadOptions {
            limits: EncodingLimits::default(),
            now: NOW,
            access: LRU,
            drops_expired: true,
            duplicates: Duplicates::Refuse,
        }
    }

    fn file_of(keyspace: &Keyspace) -> Vec<u8> {
        write(keyspace, &options(), Vec::new(), || Ok(())).unwrap()
    }

    #[test]
    fn what_was_written_is_read_back_without_what_has_expired() {
        let keyspace = keyspace_with(|db| {
            db.set_string(b"a", b"1", NewExpiry::Clear);
            db.set_string(b"b", b"text", NewExpiry::At(UnixMillis(NOW.0 + 1)));
            db.set_access_stamp(b"a", 999_990);
        });
        let kept = digest::of_keyspace(&keyspace);
        let with_expired = {
            let mut more = keyspace.clone();
            let (limits, mut rng) = (EncodingLimits::default(), fastrand::Rng::with_seed(1));
            let mut upkeep = Upkeep::default();
            let view = View { now: NOW, expiry: ExpiryPolicy::Ignore, access: LRU, limits: &limits };
            let mut db = LiveDb::new(more.db_mut(2), view, &mut rng, &mut upkeep);
            db.set_string(b"gone", b"x", NewExpiry::At(NOW));
            more
        };
        let options = SnapshotOptions { aux: vec![("used-mem", "123456".to_owned())], ..options() };
        let file = write(&with_expired, &options, Vec::new(), || Ok(())).unwrap();
        let mut told = Vec::new();
        let loaded =
            read(&file[..], Keyspace::new(4, 1), &load_options(), |memory| told.push(memory)).unwrap();
        assert_eq!(told, [123_456; 3]);
        assert_eq!((loaded.keys, loaded.expired), (2, 1));
        assert_eq!(loaded.expired_keys, [(2, b"gone".to_vec())]);
        assert_eq!(digest::of_keyspace(&loaded.keyspace), kept);
        let access = loaded.keyspace.db(2).iter().find(|item| item.key == b"a").unwrap().access;
        assert_eq!(access, 999_990);
    }

    #[test]
    fn a_key_that_is_there_is_refused_or_replaced() {
        let keyspace = keyspace_with(|db| db.set_string(b"a", b"1", NewExpiry::Clear));
        let file = file_of(&keyspace);
        let refused = read(&file[..], keyspace.clone(), &load_options(), |_| ()).unwrap_err();
        assert!(refused.to_string().contains("key 'a' is there twice"), "{refused}");
        let replacing = LoadOptions { duplicates: Duplicates::Replace, ..load_options() };
        let loaded = read(&file[..], keyspace, &replacing, |_| ()).unwrap();
        assert_eq!((loaded.keys, loaded.keyspace.keys_len()), (1, 1));
    }

    #[test]
    fn a_promise_of_many_keys_takes_no_memory() {
        let keyspace = keyspace_with(|db| {
            for i in 0..1000 {
                db.set_string(format!("key:{i}").as_bytes(), b"value", NewExpiry::Clear);
            }
        });
        let honest = file_of(&keyspace);
        let hint = [251, 0x43, 0xe8, 0];
        let at = honest.windows(4).position(|bytes| bytes == hint).expect("1000 keys, none with an expiry");
        let mut file = honest[..at].to_vec();
        file.extend([251, 0x81, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0]);
        file.extend(&honest[at + hint.len()..honest.len() - 8]);
        file.extend([0; 8]);
        let loaded = read(&file[..], Keyspace::new(4, 1), &load_options(), |_| ()).unwrap();
        assert_eq!(loaded.keys, 1000);
        assert_eq!(digest::of_keyspace(&loaded.keyspace), digest::of_keyspace(&keyspace));
        assert!(loaded.keyspace.db(2).table_bytes() < 12 << 20);
    }

    #[test]
    fn a_database_that_is_not_there_is_refused() {
        let file = file_of(&keyspace_with(|db| db.set_string(b"a", b"1", NewExpiry::Clear)));
        assert!(read(&file[..], Keyspace::new(2, 1), &load_options(), |_| ()).is_err());
    }
}
