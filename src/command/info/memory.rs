//! The section memory.

use super::super::memory::{ratio, shares};
use super::{Lines, human_bytes};
use crate::engine::Engine;

pub(super) fn memory(engine: &Engine, lines: &mut Lines) {
    let (memory, shares, config) = (engine.stats.memory, shares(engine), &engine.config);
    let net = memory.allocated.saturating_sub(memory.startup);
    let percent = |part, whole| format!("{:.2}%", 100.0 * ratio(part, whole));
    lines.title("Memory");
    lines.bytes("used_memory", memory.allocated);
    lines.bytes("used_memory_rss", memory.rss);
    lines.bytes("used_memory_peak", memory.peak);
    lines.field("used_memory_peak_perc", percent(memory.allocated, memory.peak));
    lines.field("used_memory_overhead", shares.overhead);
    lines.field("used_memory_startup", memory.startup);
    lines.field("used_memory_dataset", shares.dataset);
    lines.field("used_memory_dataset_perc", percent(shares.dataset, net));
    lines.field("allocator_allocated", memory.handed_out);
    lines.field("allocator_active", memory.active);
    lines.field("allocator_resident", memory.resident);
    lines.bytes("total_system_memory", engine.process.system_memory_bytes);
    scripts(engine, lines);
    lines.bytes("maxmemory", config.maxmemory);
    lines.field("maxmemory_policy", config.maxmemory_policy.as_str());
    let compare = |lines: &mut Lines, name: &str, more: u64, less: u64| {
        lines.field(&format!("{name}_ratio"), format!("{:.2}", ratio(more, less)));
        lines.field(&format!("{name}_bytes"), more as i64 - less as i64);
    };
    compare(lines, "allocator_frag", memory.active, memory.handed_out);
    compare(lines, "allocator_rss", memory.resident, memory.active);
    compare(lines, "rss_overhead", memory.rss, memory.resident);
    compare(lines, "mem_fragmentation", memory.rss, memory.allocated);
    lines.field("mem_not_counted_for_evict", engine.uncounted_bytes());
    lines.field("mem_replication_backlog", shares.replication_backlog);
    lines.field("mem_total_replication_buffers", engine.role.stream().log.histlen());
    lines.field("mem_clients_slaves", shares.clients_replicas);
    lines.field("mem_clients_normal", shares.clients_normal);
    lines.field("mem_cluster_links", 0);
    lines.field("mem_aof_buffer", 0);
    lines.field("mem_allocator", "jemalloc-5.3.0");
    lines.field("active_defrag_running", 0);
    lines.field("lazyfree_pending_objects", engine.lazyfree.pending_objects());
    let freed = engine.lazyfree.freed_objects();
    lines.field("lazyfreed_objects", freed.saturating_sub(engine.stats.lazyfreed_objects_before));
}

fn scripts(engine: &Engine, lines: &mut Lines) {
    let scripting = &engine.scripting;
    let (eval, functions) = scripting.lua_bytes();
    let code: usize = engine.keyspace.libraries.values().map(|code| code.len()).sum();
    let (eval, functions, code) = (eval as u64, functions as u64, code as u64);
    let scripts_bytes = scripting.scripts.bytes() as u64;
    lines.field("used_memory_lua", eval);
    lines.field("used_memory_vm_eval", eval);
    lines.field("used_memory_lua_human", human_bytes(eval));
    lines.field("used_memory_scripts_eval", scripts_bytes);
    lines.field("number_of_cached_scripts", scripting.scripts.len());
    lines.field("number_of_functions", scripting.functions_len());
    lines.field("number_of_libraries", engine.keyspace.libraries.len());
    lines.field("used_memory_vm_functions", functions);
    lines.bytes("used_memory_vm_total", eval + functions);
    lines.field("used_memory_functions", code);
    lines.bytes("used_memory_scripts", scripts_bytes + code);
}
