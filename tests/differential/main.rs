//! Differential test: random commands of all types, sent to Russet and to a real redis-server, get the same replies.
//!
//! A round is a few thousand commands that follow from a seed, sent in pipelines over raw sockets, in RESP2 and RESP3
//! by turns. Replies must be equal to the byte, except where `exceptions.rs` says why not; at a round's end `DEBUG
//! DIGEST` must be equal too. A round that fails is shrunk to the few commands that still show the difference.
//!
//! - `RUSSET_DIFF_COMMANDS=5000000` sends so many commands, 200,000 otherwise.
//! - `RUSSET_DIFF_SCRIPTS=200000` sends so many commands of the rounds that are made of scripts, 20,000 otherwise.
//! - `RUSSET_SEED=123` runs the one round that follows from this seed, as a failure prints it; with a number of commands, the
//!   rounds from this seed on.
//!
//! `commands.txt` says which commands are sent, in a notation that `template.rs` reads, and `scripts.txt` which scripts.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

#[path = "../wire/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the wire tests need more of it")]
mod harness;

mod compare;
mod exceptions;
mod generate;
mod grammar;
mod round;
mod scene;
mod scores;
mod scripts;
mod streams;
mod template;

use std::ops::Range;

use harness::Server;

const COMMANDS: usize = 200_000;
const SCRIPTS: usize = 20_000;
const FIRST_SEED: u64 = 0x5eed;
/// After so many rounds that differ the test ends.
const REPORTS_MAX: usize = 5;

#[test]
fn random_commands_are_answered_as_redis_answers_them() {
    let generator = generate::Generator::new();
    play(rounds("RUSSET_DIFF_COMMANDS", COMMANDS), |seed| generator.round(seed));
}

#[test]
fn random_scripts_are_answered_as_redis_answers_them() {
    let generator = scripts::Generator::new();
    play(rounds("RUSSET_DIFF_SCRIPTS", SCRIPTS), |seed| generator.round(seed));
}

/// The seeds of about so many commands as the environment says.
fn rounds(variable: &str, default: usize) -> Range<u64> {
    let (first, commands) = (number("RUSSET_SEED"), number(variable));
    if let (Some(seed), None) = (first, commands) {
        return seed..seed + 1;
    }
    let first = first.unwrap_or(FIRST_SEED);
    let commands = commands.map_or(default, |count| count as usize);
    first..first + commands.div_ceil(round::COMMANDS) as u64
}

fn play(seeds: Range<u64>, round_of: impl Fn(u64) -> round::Round) {
    let args = ["--databases", "4"];
    // Redis looks at its timeouts when its timer ticks, and some of the commands block for a millisecond.
    let pair = round::Pair {
        ours: Server::russet(&args),
        theirs: Server::redis(&["--databases", "4", "--hz", "500"]),
    };
    let mut reports = Vec::new();
    for seed in seeds {
        let round = round_of(seed);
        match std::panic::catch_unwind(|| pair.play(&round)) {
            Ok(Ok(())) => {}
            Ok(Err(difference)) => reports.push(pair.explain(&round, &difference)),
            Err(_) => panic!("with RUSSET_SEED={seed}"),
        }
        if reports.len() == REPORTS_MAX {
            break;
        }
    }
    assert!(reports.is_empty(), "\n{}", reports.join("\n"));
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}
