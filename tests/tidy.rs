//! What the compiler does not hold: layers, where the outside world may be named, and how files are written.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Modules by rank: a module names those of a lower rank, and itself. Of its own rank it names no other.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["resp", "config"],
    &["storage"],
    &["replication", "persistence", "acl", "scripting"],
    &["engine"],
    &["command"],
    &["http"],
    &["runtime"],
];

/// What only `runtime` may name: async, threads, locks, sockets, files and the operating system's clock.
const OUTSIDE_WORLD: &[&str] = &[
    "tokio::",
    "async fn",
    ".await",
    "Mutex",
    "RwLock",
    "Condvar",
    "thread::spawn",
    "std::thread",
    "std::net",
    "std::fs",
    "std::os",
    "std::process",
    "std::env::",
    "std::sync::mpsc",
    "Instant::now",
    "SystemTime",
    "std::time::Instant",
    "socket2",
    "rustix",
    "println!",
    "process::exit",
];

/// Files outside `runtime` that share a counter or a clock between threads, and nothing else.
const ATOMICS_ALLOWED: &[&str] = &[
    "src/base/clock.rs",
    "src/base/gauge.rs",
    "src/engine/persistence.rs",
    "src/storage/cow.rs",
    "src/storage/table.rs",
];

const LINES_MAX: usize = 900;

struct Source {
    /// Relative to the package.
    path: String,
    text: String,
}

impl Source {
    /// `storage` of `src/storage/db.rs`; `lib` and `main` are modules of their own.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").expect("only sources have a module");
        inside.split(['/', '.']).next().expect("a path has a first part")
    }

    /// Lines with their numbers, comments left out.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }

    /// The code before the file's unit tests.
    fn without_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
    }
}

#[test]
fn lower_layers_never_name_higher_ones() {
    let mut complaints = Complaints::default();
    for source in sources("src") {
        let module = source.module();
        let Some(rank) = rank_of(module) else {
            if !matches!(module, "lib" | "main") {
                complaints.add(&source, 1, &format!("module {module} has no rank"));
            }
            continue;
        };
        for (number, line) in source.code_lines() {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + "crate::".len()..];
                let named =
                    rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default();
                let is_lower = rank_of(named).is_some_and(|of_named| of_named < rank);
                if named != module && !is_lower {
                    complaints.add(&source, number, &format!("{module} names {named}"));
                }
            }
        }
    }
    complaints.end();
}

#[test]
fn the_outside_world_is_named_by_the_runtime_alone() {
    let mut complaints = Complaints::default();
    let inner = sources("src").into_iter().filter(|source| !matches!(source.module(), "runtime" | "main"));
    for source in inner {
        for (number, line) in source.without_tests() {
            for word in OUTSIDE_WORLD.iter().filter(|word| line.contains(**word)) {
                complaints.add(&source, number, &format!("`{word}` belongs into runtime"));
            }
            if line.contains("sync::atomic") && !ATOMICS_ALLOWED.contains(&source.path.as_str()) {
                complaints.add(&source, number, "atomics belong into runtime");
            }
        }
    }
    complaints.end();
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut complaints = Complaints::default();
    for source in all_sources() {
        let first = source.text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") {
            complaints.add(&source, 1, "the first line is `//!` and the file's purpose");
        }
    }
    complaints.end();
}

#[test]
fn files_stay_small_enough_to_read() {
    let mut complaints = Complaints::default();
    for source in all_sources() {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            complaints.add(&source, lines, &format!("more than {LINES_MAX} lines"));
        }
    }
    complaints.end();
}

#[test]
fn nothing_is_left_for_later() {
    // Put together, so that this file does not contain them.
    let words = ["TO DO", "FIX ME", "X XX", "unim plemented!", "to do!(", "db g!(", "#[ign ore"]
        .map(|word| word.replace(' ', ""));
    let mut complaints = Complaints::default();
    for source in all_sources() {
        for (index, line) in source.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(*word)) {
                complaints.add(&source, index + 1, &format!("`{word}`"));
            }
        }
    }
    complaints.end();
}

/// A reference that the repository does not hold cannot be followed by its reader.
#[test]
fn comments_refer_to_no_tracker() {
    let mut complaints = Complaints::default();
    for source in all_sources() {
        for (index, line) in source.text.lines().enumerate() {
            let lower = line.to_ascii_lowercase();
            let refers = ["issue ", "issue #", "ticket "].iter().any(|word| {
                lower
                    .match_indices(word)
                    .any(|(at, _)| lower[at + word.len()..].starts_with(|c: char| c.is_ascii_digit()))
            });
            if refers {
                complaints.add(&source, index + 1, "names a tracker's number");
            }
        }
    }
    complaints.end();
}

#[test]
fn every_command_is_documented() {
    let rows = russet::command::TABLE.rows();
    let silent: Vec<&str> =
        rows.iter().filter(|row| row.docs.summary.is_empty()).map(|row| row.name).collect();
    assert!(silent.is_empty(), "rows without docs: {}", silent.join(", "));
    for row in rows {
        let docs = &row.docs;
        assert!(docs.summary.ends_with('.'), "{}: a summary is a sentence", row.name);
        assert!(docs.since.split('.').count() == 3, "{}: `since` is a version of Redis", row.name);
        assert!(
            docs.complexity.starts_with('O')
                || docs.complexity.starts_with("Depends")
                || docs.complexity.contains("O("),
            "{}: complexity",
            row.name
        );
    }
}

#[test]
fn no_test_waits_for_real_time_outside_the_wire_tests() {
    let mut complaints = Complaints::default();
    let inner = all_sources().into_iter().filter(|source| {
        let path = source.path.as_str();
        ![
            "src/runtime/",
            "src/main.rs",
            "tests/wire/",
            "tests/differential/",
            "tests/tidy.rs",
            "tests/transcripts/oracle.rs",
            "benches/",
        ]
        .iter()
        .any(|allowed| path.starts_with(allowed))
    });
    for source in inner {
        for (number, line) in source.code_lines() {
            if ["sleep(", "Instant::now", "SystemTime::now"].iter().any(|word| line.contains(word)) {
                complaints.add(&source, number, "real time");
            }
        }
    }
    complaints.end();
}

fn rank_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[derive(Default)]
struct Complaints(String);

impl Complaints {
    fn add(&mut self, source: &Source, line: usize, what: &str) {
        writeln!(self.0, "{}:{line}: {what}", source.path).expect("a string takes everything");
    }

    fn end(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

fn all_sources() -> Vec<Source> {
    ["src", "tests", "benches", "fuzz/src", "fuzz/fuzz_targets"].into_iter().flat_map(sources).collect()
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source is UTF-8");
                let path = path.strip_prefix(root).expect("it is below").to_str().expect("UTF-8").to_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "{folder} holds no sources");
    found
}
