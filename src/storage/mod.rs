//! The data set: databases, value types and their compact, copy-on-write encodings, expiry.
//!
//! Knows nothing of RESP, clients, commands or clocks: instants come in as arguments.

pub mod db;
#[cfg(test)]
mod db_tests;
pub mod digest;
pub mod hash;
pub mod intset;
pub mod keyspace;
pub mod limits;
pub mod list;
pub mod live;
pub mod packed;
mod prefetch;
mod segment;
pub mod set;
pub mod sorted_set;
pub mod table;
pub mod value;

pub use db::{Db, Item};
pub use keyspace::Keyspace;
pub use limits::EncodingLimits;
pub use live::{LiveDb, NewExpiry, StringRef};
pub use value::{Value, ValueRef, WrongType};
