//! The data set as bytes: the RDB format, read and written.
//!
//! Knows no file, socket or clock: bytes come from a `Read` and go to a `Write` that the caller provides.

pub mod rdb;
pub mod snapshot;
