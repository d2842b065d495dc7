//! What the runtime tells the engine of the process and the machine around it, for INFO.

/// Facts that stand from the start on.
#[derive(Debug, Clone, Default)]
pub struct ProcessInfo {
    pub id: u32,
    pub executable: String,
    /// Empty without one.
    pub config_file: String,
    /// The operating system, as `uname` says it.
    pub os: String,
    pub system_memory_bytes: u64,
    pub is_multi_threaded: bool,
    /// What the allocator takes from the system at a time.
    pub page_bytes: u64,
}

/// Measures anew, going on from the figures before.
pub type MemoryProbe = fn(MemoryFigures) -> MemoryFigures;

/// Figures of the allocator and the operating system, as of the last measurement. All in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryFigures {
    /// What was asked of the allocator and not given back.
    pub allocated: u64,
    /// The same as the allocator sees it, with what its caches hold for reuse.
    pub handed_out: u64,
    /// Pages that hold it.
    pub active: u64,
    /// Pages that the allocator holds in memory.
    pub resident: u64,
    /// The resident set, as the operating system counts it.
    pub rss: u64,
    pub peak: u64,
    /// `allocated` when the server was ready.
    pub startup: u64,
}

/// Processor time in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuFigures {
    pub system: f64,
    pub user: f64,
}
