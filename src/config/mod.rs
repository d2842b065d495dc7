//! Placeholder.

#[derive(Debug, Clone)]
pub struct Config {
    pub port: u16,
    pub databases: u32,
    pub requirepass: String,
    pub hash_max_listpack_entries: u64,
    pub hash_max_listpack_value: u64,
    pub list_max_listpack_size: i64,
    pub set_max_intset_entries: u64,
    pub set_max_listpack_entries: u64,
    pub set_max_listpack_value: u64,
    pub zset_max_listpack_entries: u64,
    pub zset_max_listpack_value: u64,
    pub slowlog_log_slower_than: i64,
    pub slowlog_max_len: u64,
    pub maxclients: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 6379,
            databases: 16,
            requirepass: String::new(),
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            slowlog_log_slower_than: 10_000,
            slowlog_max_len: 128,
            maxclients: 10_000,
        }
    }
}
