//! The RDB file format, read (versions 1 to 12) and written (version 10, which Redis 7.0 loads; version 12 if fields of a
//! hash expire).
//!
//! A file is `REDIS` and four digits of version, then records that each begin with one byte: an opcode, or
//! the type of the key and value that follow; then an end opcode and a CRC-64. Expiry and usage of a key
//! come before it as records of their own. DUMP payloads are one type byte and value with a footer.
//!
//! Foreign bytes are checked before they are believed. What the data set does with an entry is the sink's
//! business: nothing here knows of time, so expired keys are handed over too.

mod check;
mod dump;
mod encode;
mod error;
mod field_expiry;
mod input;
mod intset;
mod listpack;
mod lzf;
mod object;
mod output;
mod packed;
mod reader;
mod stream;
#[cfg(test)]
mod tests;
mod values;
mod writer;
mod ziplist;
mod zipmap;

pub use check::check_reader;
pub use dump::{
    Trust, body_of_dump_payload, dump_functions, dump_value, read_functions, read_value, verify_dump_payload,
};
pub use error::{RdbError, Reason};
pub use output::CountingWriter;
pub use reader::{RdbEntry, RdbSink, RdbValue, Summary, read};
pub use writer::{RdbWriter, WriterOptions};

/// The newest version that is read.
pub const VERSION_MAX: u16 = 12;

/// The version that is written unless another is asked for.
pub const VERSION: u16 = 10;

/// The version that a file or a payload has which holds a hash with fields that expire. Redis knows them from 7.4 on; those
/// before would not know what to do with them under any version, and say so best when they see this one.
pub const VERSION_OF_FIELD_EXPIRY: u16 = 12;

/// The latest expiry of a field that Redis loads.
const FIELD_EXPIRY_MAX: i64 = (1 << 48) - 1;

/// How recently or often a key was used, as the eviction policy in force recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUsage {
    /// Seconds since the last use.
    Idle(u64),
    /// The logarithmic counter of uses.
    Frequency(u8),
}

/// The records that are not a key and its value.
mod opcode {
    pub(super) const SLOT_INFO: u8 = 244;
    pub(super) const FUNCTION2: u8 = 245;
    pub(super) const FUNCTION_PRE_GA: u8 = 246;
    pub(super) const MODULE_AUX: u8 = 247;
    pub(super) const IDLE: u8 = 248;
    pub(super) const FREQ: u8 = 249;
    pub(super) const AUX: u8 = 250;
    pub(super) const RESIZEDB: u8 = 251;
    pub(super) const EXPIRETIME_MS: u8 = 252;
    pub(super) const EXPIRETIME: u8 = 253;
    pub(super) const SELECTDB: u8 = 254;
    pub(super) const EOF: u8 = 255;
}

/// The types of values, by how they are laid out.
mod kind {
    pub(super) const STRING: u8 = 0;
    pub(super) const LIST: u8 = 1;
    pub(super) const SET: u8 = 2;
    pub(super) const ZSET: u8 = 3;
    pub(super) const HASH: u8 = 4;
    pub(super) const ZSET_2: u8 = 5;
    pub(super) const MODULE: u8 = 6;
    pub(super) const MODULE_2: u8 = 7;
    pub(super) const HASH_ZIPMAP: u8 = 9;
    pub(super) const LIST_ZIPLIST: u8 = 10;
    pub(super) const SET_INTSET: u8 = 11;
    pub(super) const ZSET_ZIPLIST: u8 = 12;
    pub(super) const HASH_ZIPLIST: u8 = 13;
    pub(super) const LIST_QUICKLIST: u8 = 14;
    pub(super) const STREAM_LISTPACKS: u8 = 15;
    pub(super) const HASH_LISTPACK: u8 = 16;
    pub(super) const ZSET_LISTPACK: u8 = 17;
    pub(super) const LIST_QUICKLIST_2: u8 = 18;
    pub(super) const STREAM_LISTPACKS_2: u8 = 19;
    pub(super) const SET_LISTPACK: u8 = 20;
    pub(super) const STREAM_LISTPACKS_3: u8 = 21;
    /// The two layouts of release candidates of Redis 7.4: those below without the earliest expiry in front.
    pub(super) const HASH_METADATA_PRE_GA: u8 = 22;
    pub(super) const HASH_LISTPACK_EX_PRE_GA: u8 = 23;
    pub(super) const HASH_METADATA: u8 = 24;
    pub(super) const HASH_LISTPACK_EX: u8 = 25;

    /// How a quicklist says that a node is one element, or a listpack of them.
    pub(super) const NODE_PLAIN: u64 = 1;
    pub(super) const NODE_PACKED: u64 = 2;
}
