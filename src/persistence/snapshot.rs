//! A frozen data set written as an RDB file or payload, and read back into a data set.

use std::io::{self, Read, Write};

use super::rdb::{self, CountingWriter, KeyUsage, RdbError, RdbSink, RdbWriter, Summary, WriterOptions};
use crate::base::clock::UnixMillis;
use crate::storage::{EncodingLimits, Keyspace, Value};

/// What a file says of itself before its keys.
pub type Aux = Vec<(&'static str, String)>;

/// Writes every key of `keyspace`. The same snapshot always gives the same bytes.
pub fn write<W: Write>(keyspace: &Keyspace, aux: &Aux, options: WriterOptions, to: W) -> io::Result<W> {
    let mut writer = RdbWriter::new(to, options);
    for (key, value) in aux {
        writer.aux(key.as_bytes(), value.as_bytes())?;
    }
    for (index, db) in keyspace.dbs().enumerate().filter(|(_, db)| !db.is_empty()) {
        writer.select_db(index as u64, db.len() as u64, db.expires_len() as u64)?;
        for item in db.iter() {
            writer.entry(item.key, item.value, item.expires_at.map(UnixMillis), None)?;
        }
    }
    writer.finish()
}

/// How many bytes `write` would write.
pub fn size(keyspace: &Keyspace, aux: &Aux, options: WriterOptions) -> u64 {
    let options = WriterOptions { checksum: false, ..options };
    write(keyspace, aux, options, CountingWriter::default()).map_or(0, |counted| counted.bytes)
}

/// Reads a whole file or payload into `keyspace`, which is empty. Keys that are due at `now` are left out by a master,
/// and kept by a replica (`now` is none), which waits to be told.
pub fn read(
    source: impl Read,
    limits: &EncodingLimits,
    keyspace: &mut Keyspace,
    now: Option<UnixMillis>,
) -> Result<Summary, RdbError> {
    let mut sink = Loader { keyspace, db_index: 0, now };
    rdb::read(source, limits, &mut sink)
}

struct Loader<'a> {
    keyspace: &'a mut Keyspace,
    db_index: usize,
    now: Option<UnixMillis>,
}

impl RdbSink for Loader<'_> {
    fn select_db(&mut self, db: u64) -> Result<(), String> {
        match usize::try_from(db) {
            Ok(index) if index < self.keyspace.len() => {
                self.db_index = index;
                Ok(())
            }
            _ => Err(format!("database {db} is beyond the {} configured", self.keyspace.len())),
        }
    }

    fn entry(
        &mut self,
        key: Vec<u8>,
        value: Value,
        expires_at: Option<UnixMillis>,
        _usage: Option<KeyUsage>,
    ) -> Result<(), String> {
        if let (Some(at), Some(now)) = (expires_at, self.now)
            && at <= now
        {
            return Ok(());
        }
        if self.keyspace.db_mut(self.db_index).load(&key, value, expires_at.map(|at| at.0)) {
            Ok(())
        } else {
            Err(format!("key '{}' is there twice", String::from_utf8_lossy(&key)))
        }
    }
}
