//! Any bytes as an RDB file and as a DUMP payload: loaded or refused, never a panic or a wild allocation.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| russet::persistence::rdb::check_reader(data));
