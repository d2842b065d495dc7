//! The data set: databases, value types and their compact, copy-on-write encodings, expiry.
//!
//! Knows nothing of RESP, clients, commands or clocks: instants come in as arguments.

pub mod hash;
pub mod limits;
pub mod list;
pub mod set;
pub mod sorted_set;
pub mod value;
