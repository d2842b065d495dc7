//! The data set: databases, value types and their compact, copy-on-write encodings, expiry.
//!
//! Knows nothing of RESP, clients, commands or clocks: instants come in as arguments.

mod arena;
mod cow;
pub mod db;
#[cfg(test)]
mod db_tests;
pub mod digest;
pub mod embedded;
pub mod eviction;
pub mod growth;
pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub mod keyspace;
pub mod limits;
pub mod list;
pub mod listpack;
pub mod live;
pub mod packed;
pub mod prefetch;
mod segment;
pub mod set;
pub mod sorted_set;
pub mod stream;
pub mod table;
pub mod value;

pub use cow::{CopyMeter, count_copies};
pub use db::{Db, Item, Presence};
pub use keyspace::Keyspace;
pub use limits::EncodingLimits;
pub use live::{LiveDb, NewExpiry, StringRef};
pub use value::{Value, ValueRef, WrongType};

/// Makes the hash functions of large collections unpredictable for those who choose their members. To be called before
/// the first collection is made; without it they hash in one known way, as tests want it.
pub fn seed_hashing(seed: u64) {
    table::set_seed(seed);
    sorted_set::seed_member_hash(seed.rotate_left(32));
}
