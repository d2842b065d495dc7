//! Rewrites of the append-only file: a new base from a frozen clone, when one is due, and how often it is tried.

use super::{Aof, Order, Phase, RewriteEnd, RewriteRequest, Rotation, RunningRewrite};
use crate::base::clock::UnixMillis;
use crate::engine::persistence::SaveProgress;
use crate::engine::{Engine, LogLevel};
use crate::persistence::aof::manifest::BaseForm;
use crate::persistence::snapshot::SnapshotOptions;

/// When the file cannot be written, so much is kept until it can be; beyond that, only a new base will do.
const UNTAKEN_BYTES_MAX: u64 = 256 << 20;
/// Between two rewrites because the disk has failed.
const RETRY_MS: i64 = 1000;
/// After so many failures in a row, rewrites that nobody asked for wait longer and longer.
const FAILURES_MAX: u32 = 3;
const RETRY_MINUTES_MAX: u32 = 60;

impl Aof {
    pub(super) fn is_rewrite_limited(&mut self, now: UnixMillis) -> bool {
        self.failures_in_a_row >= FAILURES_MAX && now < self.next_automatic_try
    }
}

impl Engine {
    /// Freezes the data set and has a new base written. Whether it could start: not while another rewrite runs.
    pub fn start_rewrite(&mut self) -> bool {
        if self.aof.rewrite.is_some() || self.persistence.loading.is_some() {
            return false;
        }
        let request = self.base_request();
        self.aof.is_rewrite_scheduled = false;
        self.aof.last_try = self.now();
        self.aof.rewrite = Some(RunningRewrite {
            number: request.number,
            started_at: self.now(),
            keys_total: self.keyspace.keys_len() as u64,
            progress: request.progress.clone(),
        });
        self.push_aof_order(Order::Rewrite(Box::new(request)));
        let text = format!("Background append only file rewriting started by pid {}", self.process.id);
        self.log(LogLevel::Notice, text);
        true
    }

    /// A base of the data as it is at this moment.
    pub fn base_request(&mut self) -> RewriteRequest {
        self.aof.last_number += 1;
        let now = self.now();
        RewriteRequest {
            number: self.aof.last_number,
            snapshot: self.keyspace.clone(),
            form: if self.config.aof_use_rdb_preamble { BaseForm::Rdb } else { BaseForm::Commands },
            options: self.base_options(),
            rotation: match self.aof.phase {
                Phase::Off => Rotation::None,
                Phase::Starting => Rotation::Unlisted,
                Phase::On => Rotation::Listed,
            },
            place: self.aof_place(),
            db_index: self.stream_db_index(),
            dir: self.config.dir.clone(),
            timestamp: self.config.aof_timestamp_enabled.then_some(now.0 / 1000),
            key_delay_micros: i64::from(self.config.rdb_key_save_delay),
            progress: SaveProgress::begin(),
        }
    }

    /// What a base says of itself: a snapshot that is part of an append-only file, and of no history.
    fn base_options(&self) -> SnapshotOptions {
        let mut options = self.snapshot_options();
        options.aux.retain(|(name, _)| !name.starts_with("repl-"));
        for (name, value) in &mut options.aux {
            if *name == "aof-base" {
                *value = "1".to_owned();
            }
        }
        options
    }

    /// Tells the running rewrite, if there is one, to give up. The files stay as they are.
    pub fn cancel_rewrite(&mut self) {
        let Some(rewrite) = self.aof.rewrite.take() else { return };
        rewrite.progress.cancel();
        // One that has not begun need not.
        self.aof.orders.retain(|(.., order)| match order {
            Order::Rewrite(request) => request.number != rewrite.number,
            Order::Close { .. } | Order::RemoveHistory | Order::Flush(_) => true,
        });
    }

    /// A rewrite has ended, for better or worse.
    pub fn rewrite_finished(&mut self, end: RewriteEnd) {
        let Some(rewrite) = self.aof.rewrite.take_if(|rewrite| rewrite.number == end.number) else { return };
        let now = self.now();
        let aof = &mut self.aof;
        aof.last_rewrite_seconds = (now.0 - rewrite.started_at.0) / 1000;
        aof.last_copied_bytes = rewrite.progress.copied_bytes();
        match end.outcome {
            Ok(()) => {
                aof.last_rewrite_is_ok = true;
                aof.rewrites += 1;
                aof.failures_in_a_row = 0;
                aof.retry_minutes = 0;
                aof.must_rewrite = false;
                aof.current_bytes = end.current_bytes;
                aof.base_bytes = end.current_bytes;
                if aof.phase == Phase::Starting {
                    aof.phase = Phase::On;
                }
                self.log(LogLevel::Notice, "Background AOF rewrite terminated with success");
                self.log(LogLevel::Notice, "Background AOF rewrite finished successfully");
            }
            Err(reason) => {
                aof.last_rewrite_is_ok = false;
                aof.failures_in_a_row += 1;
                // Without a first base there is no file at all.
                aof.is_rewrite_scheduled |= aof.phase == Phase::Starting;
                let failures = aof.failures_in_a_row;
                self.log(LogLevel::Warning, format!("Background AOF rewrite failed: {reason}"));
                if failures >= FAILURES_MAX {
                    let aof = &mut self.aof;
                    aof.retry_minutes = (aof.retry_minutes * 2).clamp(1, RETRY_MINUTES_MAX);
                    let minutes = aof.retry_minutes;
                    aof.next_automatic_try = UnixMillis(now.0 + i64::from(minutes) * 60_000);
                    let text = format!(
                        "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in \
                         {minutes} minutes"
                    );
                    self.log(LogLevel::Warning, text);
                }
            }
        }
    }

    /// Starts a rewrite when one was scheduled, the file has grown, or only a new base can be trusted. Called by the
    /// clockwork.
    pub fn rewrite_if_due(&mut self) {
        if self.aof.is_start_scheduled && self.persistence.loading.is_none() {
            self.start_aof();
        }
        let end = self.role.stream().log.end_offset();
        if self.aof.write_error.is_some() && self.aof.untaken_bytes(end) > UNTAKEN_BYTES_MAX {
            self.log(LogLevel::Warning, "Too much waits to be written to the AOF, which begins anew");
            self.restart_aof();
        }
        if self.aof.rewrite.is_some() || self.persistence.loading.is_some() || self.shutdown.is_some() {
            return;
        }
        let now = self.now();
        if self.aof.must_rewrite {
            if now.0 - self.aof.last_try.0 >= RETRY_MS {
                self.start_rewrite();
            }
            return;
        }
        if self.aof.is_rewrite_limited(now) {
            return;
        }
        let (percentage, bytes_min) =
            (self.config.auto_aof_rewrite_percentage, self.config.auto_aof_rewrite_min_size);
        let (current, base) = (self.aof.current_bytes, self.aof.base_bytes.max(1));
        let growth = (u128::from(current) * 100 / u128::from(base)) as i64 - 100;
        if self.aof.is_rewrite_scheduled {
            self.start_rewrite();
        } else if self.aof.phase == Phase::On
            && percentage > 0
            && current > bytes_min
            && growth >= i64::from(percentage)
        {
            let text = format!("Starting automatic rewriting of AOF on {growth}% growth");
            self.log(LogLevel::Notice, text);
            self.start_rewrite();
        }
    }
}
