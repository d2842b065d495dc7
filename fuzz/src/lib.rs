//! The bodies of the fuzz targets: plain functions, which `tests/fuzz_corpus.rs` runs as well.

pub mod request_decoder;
