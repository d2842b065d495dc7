//! INFO: what the server says of itself, in sections of `name:value` lines.
//!
//! Names and order are Redis' own. A field whose subject does not exist here is printed all the same, as zero:
//! monitoring tools look for it.

mod figures;
mod memory;
mod replication;
mod statistics;

use std::fmt::Display;

use super::spec::*;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;

pub(super) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::engine("info", -1, LOADING | STALE, "server", info)
        .docs(
            "1.0.0",
            "O(1)",
            "Shows facts and counters of the server, by section.",
            "[section [section ...]]",
        )
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])];

/// A section: its name, when it is shown, and what writes it.
struct Section {
    name: &'static str,
    shown: Shown,
    write: fn(&Engine, &mut Lines),
}

/// Without arguments, or by these words, besides by its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    Default,
    All,
}

const fn section(name: &'static str, shown: Shown, write: fn(&Engine, &mut Lines)) -> Section {
    Section { name, shown, write }
}

const SECTIONS: &[Section] = &[
    section("server", Shown::Default, figures::server),
    section("clients", Shown::Default, figures::clients),
    section("memory", Shown::Default, memory::memory),
    section("persistence", Shown::Default, statistics::persistence),
    section("stats", Shown::Default, statistics::stats),
    section("replication", Shown::Default, replication::replication_section),
    section("cpu", Shown::Default, figures::cpu),
    section("modules", Shown::Default, |_, lines| lines.title("Modules")),
    section("commandstats", Shown::All, statistics::commands),
    section("errorstats", Shown::Default, statistics::errors),
    section("latencystats", Shown::All, statistics::latencies),
    section("cluster", Shown::Default, |_, lines| {
        lines.title("Cluster");
        lines.field("cluster_enabled", 0);
    }),
    section("keyspace", Shown::Default, figures::keyspace),
];

/// `INFO [section [section ...]]`
fn info(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    // A script may ask in a loop.
    engine.glance_at_memory();
    let asked = args.from(1);
    let is_asked = |word: &str| asked.iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let least = match () {
        () if is_asked("all") || is_asked("everything") => Some(Shown::All),
        () if asked.is_empty() || is_asked("default") => Some(Shown::Default),
        () => None,
    };
    let mut lines = Lines::default();
    for section in SECTIONS {
        if least.is_some_and(|least| section.shown <= least) || is_asked(section.name) {
            (section.write)(engine, &mut lines);
        }
    }
    if let Some(client) = engine.clients.get_mut(id) {
        client.reply().verbatim("txt", lines.text);
    }
    Ok(Flow::Done)
}

/// The text under construction.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn title(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push_str("\r\n");
        }
        self.text.push_str(&format!("# {title}\r\n"));
    }

    fn field(&mut self, name: &str, value: impl Display) {
        self.text.push_str(&format!("{name}:{value}\r\n"));
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.field(name, u8::from(value));
    }

    /// Fields of subjects that do not exist here.
    fn zeros(&mut self, names: &[&str]) {
        for name in names {
            self.field(name, 0);
        }
    }

    /// A number of bytes, also as people read it.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(&format!("{name}_human"), human_bytes(bytes));
    }
}

fn human_bytes(bytes: u64) -> String {
    const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut quantity = bytes as f64 / 1024.0;
    let mut unit = 0;
    while quantity >= 1024.0 && unit + 1 < UNITS.len() {
        quantity /= 1024.0;
        unit += 1;
    }
    format!("{quantity:.2}{}", UNITS[unit])
}

/// `ok` or `err`, as INFO says of what may fail.
fn status(is_ok: bool) -> &'static str {
    if is_ok { "ok" } else { "err" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_largest_unit_that_fits() {
        for (bytes, expected) in [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_572_864, "1.50M")] {
            assert_eq!(human_bytes(bytes), expected);
        }
    }
}
