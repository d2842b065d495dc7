//! The data set as bytes: the RDB format, read and written, and whole data sets to and from it.
//!
//! Knows no file, socket or clock: bytes come from a `Read` and go to a `Write` that the caller provides.

pub mod aof;
pub mod rdb;
pub mod snapshot;
