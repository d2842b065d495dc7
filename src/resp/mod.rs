//! The wire: bytes to requests, replies to bytes, in RESP2 and RESP3, and every error sentence.
//!
//! Knows nothing of commands, keys or clients; works on byte slices and buffers, never on sockets.

pub mod args;
pub mod codec;
pub mod error;
pub mod grammar;
pub mod inline;
pub mod protocol;
pub mod reply;
pub mod request;
pub mod value;
