//! Transcripts: conversations of several clients with an in-process engine and simulated time, held as snapshots.
//!
//! Every `*.redis` file beside this one is one; `script.rs` says what its lines mean. Its snapshot holds, under
//! each line, what every client then read and which effects were propagated. Beyond the snapshot each proves
//! replication and persistence: a twin engine that is fed the effects alone, and data sets that went through an RDB
//! file and through the base of an append-only file made of commands, must have the digest of the original.
//!
//! - `RUSSET_TRANSCRIPT=list,zset` runs only the transcripts whose names contain one of these words.
//! - `INSTA_UPDATE=always` writes the snapshots anew: read the difference before committing it.
//! - `RUSSET_ORACLE=6379` sends them to a real server on that port as well (which loses its data) and prints
//!   where it answers otherwise. They go there up to the first line that moves the clock.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod oracle;
mod play;
mod script;
mod shown;
mod twin;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use play::Play;
use script::Script;

#[test]
fn every_transcript_reads_as_its_snapshot() {
    let mut failed = Vec::new();
    for path in transcripts() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if catch_unwind(AssertUnwindSafe(|| check(&name, &path))).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "these transcripts failed, see above: {}", failed.join(", "));
}

#[test]
fn every_snapshot_has_its_transcript() {
    let known: Vec<String> =
        all_transcripts().iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    for entry in std::fs::read_dir(folder().join("snapshots")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".snap") else { continue };
        assert!(known.iter().any(|transcript| transcript == name), "snapshots/{file} has no transcript");
    }
}

fn check(name: &str, path: &Path) {
    let script = Script::read(path);
    let transcript = Play::of(&script);
    if let Ok(port) = std::env::var("RUSSET_ORACLE") {
        oracle::compare(&script, &transcript, port.parse().expect("RUSSET_ORACLE is a port"));
    }
    insta::with_settings!({
        snapshot_path => folder().join("snapshots"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, transcript.to_string());
    });
}

fn transcripts() -> Vec<PathBuf> {
    let wanted = std::env::var("RUSSET_TRANSCRIPT").unwrap_or_default();
    let is_wanted = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        wanted.split(',').any(|word| name.contains(word))
    };
    all_transcripts().into_iter().filter(is_wanted).collect()
}

fn all_transcripts() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "redis"));
    paths.sort();
    paths
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}
