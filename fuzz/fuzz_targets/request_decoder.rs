//! `cargo fuzz run request_decoder`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| russet_fuzz::request_decoder::check(data));
