//! What the standard library could have had: time and chance as arguments, Redis' number syntax, glob, CRC-64.
//!
//! Knows nothing of Redis commands, clients or the data set.

pub mod bits;
pub mod clock;
pub mod crc64;
pub mod gauge;
pub mod geo;
pub mod glob;
pub mod hex;
pub mod long_double;
pub mod number;
pub mod quote;
