//! A whole RDB file, read record by record into a sink.

use std::io::Read;
use std::mem;

use super::error::{RdbError, Reason};
use super::input::{self, Input};
use super::object::{check_kind, read_object};
use super::values::Value;
use super::{KeyUsage, VERSION_MAX, kind, opcode};
use crate::base::clock::UnixMillis;
use crate::storage::limits::EncodingLimits;

const BUFFER_BYTES: usize = 64 * 1024;

/// Longer strings are handed over as values of their own.
const SHORT_BYTES_MAX: usize = 1024;

/// Where the contents of a file go. A refusal is a sentence and ends the loading.
pub trait RdbSink {
    /// A fact about the file, such as `redis-ver` or `repl-id`.
    fn aux(&mut self, _key: &[u8], _value: &[u8]) {}

    /// The entries that follow belong to database `db`. Not called before those of a file without databases.
    fn select_db(&mut self, db: u64) -> Result<(), String>;

    /// How many keys, and keys with an expiry, the writer counted in this database: a hint, not to be
    /// believed.
    fn resize(&mut self, _keys: u64, _expires: u64) -> Result<(), String> {
        Ok(())
    }

    /// One key; it may have expired already.
    fn entry(&mut self, entry: RdbEntry<'_>) -> Result<(), String>;

    /// The source code of a function library.
    fn function(&mut self, _code: Vec<u8>) -> Result<(), String> {
        Ok(())
    }
}

/// One key as it was read.
#[derive(Debug)]
pub struct RdbEntry<'a> {
    pub key: &'a [u8],
    pub value: RdbValue<'a>,
    pub expires_at: Option<UnixMillis>,
    pub usage: Option<KeyUsage>,
}

#[derive(Debug)]
pub enum RdbValue<'a> {
    /// A string of at most `SHORT_BYTES_MAX`. Most files have many, so they cost no allocation.
    Short(&'a [u8]),
    Whole(Value),
}

impl RdbValue<'_> {
    pub fn into_value(self) -> Value {
        match self {
            Self::Short(bytes) => Value::string(bytes),
            Self::Whole(value) => value,
        }
    }
}

/// What a file held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub version: u16,
    pub keys: u64,
    /// Of these, those with an expiry.
    pub expires: u64,
    /// Keys that held empty collections and were not handed to the sink; Redis skips them as well.
    pub empty_keys_skipped: u64,
    /// Keys by database, in the order of the file.
    pub db_keys: Vec<(u64, u64)>,
    pub aux: Vec<(Vec<u8>, Vec<u8>)>,
    pub functions: u64,
    /// The size of the file: how many bytes were consumed, with the checksum.
    pub bytes: u64,
    /// Bytes after the file that were read from the source together with its end. They are the caller's.
    pub read_ahead: Vec<u8>,
}

impl Summary {
    /// Whether the file says that an append-only file begins with it, so that commands may follow.
    pub fn is_aof_base(&self) -> bool {
        let names: [&[u8]; 2] = [b"aof-base", b"aof-preamble"];
        self.aux.iter().any(|(name, value)| names.contains(&&name[..]) && value == b"1")
    }
}

/// Reads a file up to its end and its checksum.
pub fn read(
    source: impl Read,
    limits: &EncodingLimits,
    sink: &mut impl RdbSink,
) -> Result<Summary, RdbError> {
    let input = Input::new(source, BUFFER_BYTES);
    let mut reader = Reader {
        input,
        limits,
        sink,
        summary: Summary::default(),
        db: 0,
        db_keys: 0,
        expires_at: None,
        usage: None,
        key: Vec::new(),
        string: Vec::new(),
    };
    reader.header()?;
    while let Record::More = reader.record()? {}
    reader.close_db();
    reader.verify_checksum()?;
    let Reader { input, mut summary, .. } = reader;
    summary.bytes = input.offset();
    summary.read_ahead = input.into_read_ahead();
    Ok(summary)
}

enum Record {
    More,
    End,
}

struct Reader<'a, R, S> {
    input: Input<R>,
    limits: &'a EncodingLimits,
    sink: &'a mut S,
    summary: Summary,
    db: u64,
    db_keys: u64,
    /// Of the next key.
    expires_at: Option<UnixMillis>,
    usage: Option<KeyUsage>,
    /// The bytes of the entry that is handed to the sink.
    key: Vec<u8>,
    string: Vec<u8>,
}

impl<R: Read, S: RdbSink> Reader<'_, R, S> {
    fn header(&mut self) -> Result<(), RdbError> {
        let header: [u8; 9] = self.input.array()?;
        let found = || format!("`{}`", header.escape_ascii());
        let digits = header.strip_prefix(b"REDIS").filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let Some(digits) = digits else {
            return Err(Reason::malformed("`REDIS` and a version", found()).at(0));
        };
        let version = digits.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
        if !(1..=VERSION_MAX).contains(&version) {
            return Err(Reason::malformed(format!("a version from 1 to {VERSION_MAX}"), found()).at(0));
        }
        self.summary.version = version;
        Ok(())
    }

    #[inline]
    fn record(&mut self) -> Result<Record, RdbError> {
        match self.input.byte()? {
            opcode::EXPIRETIME => {
                let seconds = i32::from_le_bytes(self.input.array()?);
                self.expires_at = Some(UnixMillis(i64::from(seconds) * 1000));
            }
            opcode::EXPIRETIME_MS => {
                self.expires_at = Some(UnixMillis(i64::from_le_bytes(self.input.array()?)));
            }
            opcode::FREQ => self.usage = Some(KeyUsage::Frequency(self.input.byte()?)),
            opcode::IDLE => self.usage = Some(KeyUsage::Idle(self.input.length()?)),
            opcode::EOF => return Ok(Record::End),
            opcode::SELECTDB => self.select_db()?,
            opcode::RESIZEDB => {
                let start = self.input.offset();
                let (keys, expires) = (self.input.length()?, self.input.length()?);
                self.sink.resize(keys, expires).map_err(|why| Reason::Refused(why).at(start))?;
            }
            opcode::AUX => {
                let (key, value) = (self.input.string()?, self.input.string()?);
                self.sink.aux(&key, &value);
                self.summary.aux.push((key, value));
            }
            opcode::FUNCTION2 => {
                let code = self.input.string()?;
                self.summary.functions += 1;
                self.sink.function(code).map_err(|why| Reason::Refused(why).at(self.input.offset()))?;
            }
            opcode::FUNCTION_PRE_GA => {
                let reason = Reason::UnsupportedType("function of a Redis 7 release candidate");
                return Err(reason.at(self.input.offset() - 1));
            }
            opcode::MODULE_AUX => self.skip_module_aux()?,
            opcode::SLOT_INFO => {
                for _ in 0..3 {
                    self.input.length()?;
                }
            }
            kind => self.entry(kind)?,
        }
        Ok(Record::More)
    }

    fn entry(&mut self, kind: u8) -> Result<(), RdbError> {
        let start = self.input.offset() - 1;
        // An unknown byte is better reported as such than as a key that makes no sense.
        check_kind(kind).map_err(|reason| reason.at(start))?;
        let (expires_at, usage) = (self.expires_at.take(), self.usage.take());
        self.input.string_into(&mut self.key)?;
        let value = match kind {
            kind::STRING => {
                self.input.string_into(&mut self.string)?;
                match self.string.len() {
                    0..=SHORT_BYTES_MAX => RdbValue::Short(&self.string),
                    _ => RdbValue::Whole(Value::string(input::keep(&mut self.string))),
                }
            }
            _ => match read_object(&mut self.input, kind, self.limits)? {
                Some(value) => RdbValue::Whole(value),
                None => {
                    self.summary.empty_keys_skipped += 1;
                    return Ok(());
                }
            },
        };
        self.summary.keys += 1;
        self.summary.expires += u64::from(expires_at.is_some());
        self.db_keys += 1;
        let entry = RdbEntry { key: &self.key, value, expires_at, usage };
        self.sink.entry(entry).map_err(|why| Reason::Refused(why).at(start))
    }

    fn select_db(&mut self) -> Result<(), RdbError> {
        let start = self.input.offset();
        let db = self.input.length()?;
        self.close_db();
        self.db = db;
        self.sink.select_db(db).map_err(|why| Reason::Refused(why).at(start))
    }

    fn close_db(&mut self) {
        let keys = mem::take(&mut self.db_keys);
        if keys > 0 {
            self.summary.db_keys.push((self.db, keys));
        }
    }

    /// A module's private data: its id, when it was saved, then values that each tell their kind, until a
    /// zero.
    fn skip_module_aux(&mut self) -> Result<(), RdbError> {
        let input = &mut self.input;
        let _module_id = input.length()?;
        let mut skipped = Vec::new();
        loop {
            match input.length()? {
                0 => return Ok(()),
                1 | 2 => {
                    input.length()?;
                }
                3 => {
                    input.array::<4>()?;
                }
                4 => {
                    input.array::<8>()?;
                }
                5 => input.string_into(&mut skipped)?,
                other => return Err(input.malformed_before("a module value", format!("kind {other}"))),
            }
        }
    }

    /// Files before version 5 end without a checksum, and zero says that none was computed.
    fn verify_checksum(&mut self) -> Result<(), RdbError> {
        if self.summary.version < 5 {
            return Ok(());
        }
        let found = self.input.checksum();
        let offset = self.input.offset();
        let expected = u64::from_le_bytes(self.input.array()?);
        if expected != 0 && expected != found {
            return Err(Reason::Checksum { expected, found }.at(offset));
        }
        Ok(())
    }
}
