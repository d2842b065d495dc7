//! A master and two replicas in a virtual network, from a seed: what it delays, breaks and partitions, and who crashes.
//!
//! The nodes are whole engines with the runtime's part played by `node.rs`; nothing here knows real time, and the same
//! seed always gives the same run. While the network is bad, clients write and WAIT; when WAIT answers n, n replicas must
//! have had the write. Links are slow, replicas crash in the middle of a full sync and come back from older files, and the
//! master hands over by FAILOVER; no node ever keeps more of the stream than its limits say. After it has healed, all data
//! sets must be equal, and no write that WAIT has confirmed on all replicas may be missing, even if one of them has become the
//! master meanwhile.
//!
//! In `durability.rs` one server alone writes its append-only file to a disk that fails.
//!
//! - `RUSSET_SEEDS=10000 cargo test --release --test simulation` runs more seeds than the usual 300.
//! - `RUSSET_SEED=17` runs that one alone, and prints what happens.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod cluster;
mod disk;
mod durability;
mod link;
mod network;
mod node;
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};

use cluster::Cluster;
use durability::Durability;

const SEEDS: u64 = 300;

#[test]
fn replicas_end_up_equal_and_what_wait_confirmed_is_kept() {
    let mut totals = cluster::Totals::default();
    if !run_seeds(|seed, prints| Cluster::new(seed, prints).run(), |of_run| totals.add(&of_run)) {
        return;
    }
    println!("{totals:?}");
    // A simulation in which nothing happens proves nothing.
    let each = [
        totals.full_syncs,
        totals.partial_syncs,
        totals.confirmed,
        totals.failovers,
        totals.handovers,
        totals.crashes,
        totals.crashes_in_sync,
        totals.restarts_from_file,
    ];
    assert!(each.iter().all(|&count| count > 0), "{totals:?}");
}

#[test]
fn what_was_acknowledged_survives_a_disk_that_fails() {
    let mut totals = durability::Totals::default();
    if run_seeds(|seed, prints| Durability::new(seed, prints).run(), |of_run| totals.add(&of_run)) {
        println!("{totals:?}");
        assert!(totals.all_positive(), "{totals:?}");
    }
}

/// Runs all seeds, or the one that is asked for, which prints what happens; whether it was all of them.
fn run_seeds<T>(run: impl Fn(u64, bool) -> T, mut add: impl FnMut(T)) -> bool {
    if let Some(seed) = number("RUSSET_SEED") {
        run(seed, true);
        return false;
    }
    for seed in 0..number("RUSSET_SEEDS").unwrap_or(SEEDS) {
        match catch_unwind(AssertUnwindSafe(|| run(seed, false))) {
            Ok(of_run) => add(of_run),
            Err(_) => panic!("seed {seed} failed, see above: RUSSET_SEED={seed} replays it"),
        }
    }
    true
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}
