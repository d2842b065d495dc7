//! What the allocator and the operating system say of this process.

use tikv_jemalloc_ctl::{epoch, stats};

use super::memory;
use crate::engine::process::{CpuFigures, MemoryFigures, ProcessInfo};

/// What stands from the start on.
pub fn process_info(config_file: String, is_multi_threaded: bool) -> ProcessInfo {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let system = rustix::system::sysinfo();
    ProcessInfo {
        id: std::process::id(),
        executable: std::env::current_exe().map_or_else(|_| String::new(), |path| path.display().to_string()),
        config_file,
        os: format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
        system_memory_bytes: system.totalram as u64 * u64::from(system.mem_unit),
        is_multi_threaded,
        page_bytes: rustix::param::page_size() as u64,
    }
}

/// Measures the memory anew; peak and startup go on from `before`.
pub fn measure(before: MemoryFigures) -> MemoryFigures {
    // The allocator keeps its statistics as of the last epoch.
    let _ = epoch::advance();
    let allocated = memory::allocated();
    let in_pages = super::allocator::bytes_in_pages().max(0) as u64;
    MemoryFigures {
        allocated,
        handed_out: stats::allocated::read().unwrap_or(0) as u64 + in_pages,
        active: stats::active::read().unwrap_or(0) as u64 + in_pages,
        resident: stats::resident::read().unwrap_or(0) as u64 + in_pages,
        rss: rss().unwrap_or(0),
        peak: before.peak.max(allocated),
        startup: if before.startup == 0 { allocated } else { before.startup },
    }
}

fn rss() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Processor time of the whole process so far.
pub fn cpu() -> Option<CpuFigures> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    Some(CpuFigures { system: system as f64 / ticks, user: user as f64 / ticks })
}
