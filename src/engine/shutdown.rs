//! An ordered end: replicas catch up, the data set is saved, then the process exits.
//!
//! 1. `begin_shutdown` pauses writes and waits for replicas that lag, `shutdown-timeout` seconds at most;
//! 2. then a save, if one is wanted;
//! 3. then `Job::Exit`. A save that failed ends the shutdown instead, unless it is forced.

use super::aof::Phase;
use super::blocked::BlockedOn;
use super::client::ClientId;
use super::gates::{Pause, PauseCause};
use super::persistence::SaveKind;
use super::{Engine, Job, LogLevel};
use crate::base::clock::UnixMillis;
use crate::config::ShutdownOptions;
use crate::replication::replica_manager::ReplicaId;
use crate::resp::error::ErrorReply;

/// A shutdown under way.
#[derive(Debug)]
pub struct Shutdown {
    pub options: ShutdownOptions,
    /// Who sent SHUTDOWN and reads what came of it, if it fails.
    pub waiters: Vec<ClientId>,
    /// Until when replicas may catch up.
    deadline: UnixMillis,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    WaitForReplicas,
    /// A save that began for another reason has to end first.
    WaitForSave,
    Save,
    Exit,
}

const FAILED: ErrorReply = ErrorReply::fixed("ERR Errors trying to SHUTDOWN. Check logs.");

impl Engine {
    /// Begins a shutdown, or joins one that is under way.
    pub fn begin_shutdown(&mut self, options: ShutdownOptions, waiter: Option<ClientId>) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.waiters.extend(waiter);
            return;
        }
        let mut options = options;
        // There is nothing to save that the file does not have.
        options.nosave |= self.persistence.loading.is_some();
        let now = self.now();
        let shutdown = Shutdown {
            options,
            waiters: waiter.into_iter().collect(),
            deadline: UnixMillis(now.0 + i64::from(self.config.shutdown_timeout) * 1000),
            stage: Stage::WaitForReplicas,
        };
        self.shutdown = Some(shutdown);
        let lagging = self.lagging_replicas().len();
        if !options.now && lagging > 0 && self.config.shutdown_timeout > 0 {
            let seconds = self.config.shutdown_timeout;
            self.log(
                LogLevel::Notice,
                format!("Waiting up to {seconds} seconds for {lagging} replicas that lag"),
            );
            let pause = Pause { until: UnixMillis(i64::MAX), writes_only: true };
            self.pauses.set(PauseCause::Shutdown, pause);
            return;
        }
        self.save_for_shutdown();
    }

    /// SHUTDOWN ABORT. Whether there was something to abort.
    pub fn abort_shutdown(&mut self) -> bool {
        let is_waiting = self.shutdown.as_ref().is_some_and(|shutdown| shutdown.stage != Stage::Exit);
        if is_waiting {
            self.log(LogLevel::Notice, "Shutdown manually aborted.");
            self.cancel_shutdown();
        }
        is_waiting
    }

    /// Goes on when the replicas have caught up or their time is over. Called by the clockwork.
    pub fn continue_shutdown(&mut self) {
        let Some(shutdown) = &self.shutdown else { return };
        if shutdown.stage != Stage::WaitForReplicas {
            return;
        }
        let is_late = shutdown.deadline <= self.now();
        if is_late || self.lagging_replicas().is_empty() {
            self.save_for_shutdown();
        }
    }

    /// A save has ended, for whatever reason it was begun.
    pub(super) fn shutdown_after_save(&mut self, is_saved: bool) {
        let Some(shutdown) = &mut self.shutdown else { return };
        match shutdown.stage {
            Stage::WaitForSave => self.save_for_shutdown(),
            Stage::Save if is_saved || shutdown.options.force => self.exit_now(),
            Stage::Save => {
                self.log(LogLevel::Warning, "Error trying to save the DB, can't exit.");
                self.fail_shutdown();
            }
            Stage::WaitForReplicas | Stage::Exit => {}
        }
    }

    fn save_for_shutdown(&mut self) {
        if self.shutdown.as_ref().is_some_and(|shutdown| shutdown.stage == Stage::WaitForReplicas) {
            self.report_replicas();
        }
        let Some(shutdown) = &mut self.shutdown else { return };
        let options = shutdown.options;
        if self.aof.rewrite.is_some() && self.aof.phase == Phase::Starting {
            if !options.force {
                self.log(LogLevel::Warning, "Writing initial AOF, can't exit.");
                self.fail_shutdown();
                return;
            }
            self.log(LogLevel::Warning, "Writing initial AOF. Exit anyway.");
        } else if self.aof.rewrite.is_some() {
            self.log(LogLevel::Warning, "There is a child rewriting the AOF. Killing it!");
        }
        self.cancel_rewrite();
        let Some(shutdown) = &mut self.shutdown else { return };
        let saves = options.save || (!options.nosave && !self.config.save.is_empty());
        // A save that runs would hold an older state than the one that is to be kept.
        let is_saving = self.persistence.save.is_some();
        if is_saving {
            self.persistence.cancel_save();
        }
        if !saves {
            // Not waited for: a script that takes long may keep it from reporting.
            self.exit_now();
            return;
        }
        if is_saving {
            shutdown.stage = Stage::WaitForSave;
            return;
        }
        shutdown.stage = Stage::Save;
        self.log(LogLevel::Notice, "Saving the final RDB snapshot before exiting.");
        self.start_save(SaveKind::Foreground, None);
    }

    /// Tells the log who has not read everything.
    fn report_replicas(&mut self) {
        let replicas = self.role.stream().replicas.count();
        if replicas == 0 || !self.role.is_master() {
            return;
        }
        let (now, end) = (self.now(), self.role.stream().log.end_offset());
        let lagging = self.lagging_replicas();
        for id in &lagging {
            let Some(replica) = self.role.stream().replicas.get(*id) else { continue };
            let line = format!(
                "Lagging replica {}:{} reported offset {} behind master, lag={}, state={}.",
                replica.ip(),
                replica.listening_port,
                end.0 - replica.acked().0,
                replica.lag_seconds(now),
                replica.state_name()
            );
            self.log(LogLevel::Notice, line);
        }
        let synced = replicas - lagging.len();
        let line = format!("{synced} of {replicas} replicas are in sync when shutting down.");
        self.log(LogLevel::Notice, line);
    }

    fn exit_now(&mut self) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.stage = Stage::Exit;
        }
        self.jobs.push(Job::Exit { code: 0 });
    }

    fn fail_shutdown(&mut self) {
        let text = "Errors trying to shut down the server. Check the logs for more information.";
        self.log(LogLevel::Warning, text);
        self.cancel_shutdown();
    }

    /// Life goes on: those who asked for the end read that it failed.
    fn cancel_shutdown(&mut self) {
        let Some(shutdown) = self.shutdown.take() else { return };
        self.end_pause(PauseCause::Shutdown);
        for id in shutdown.waiters {
            let waits = self.clients.get(id).and_then(|client| client.blocked.as_deref());
            if waits.is_some_and(|state| matches!(state.on, BlockedOn::Job)) {
                self.finish_job(id, Err(FAILED));
            }
        }
    }

    /// The replicas that have not acknowledged everything. A replica has no say in what its own read.
    fn lagging_replicas(&self) -> Vec<ReplicaId> {
        if !self.role.is_master() {
            return Vec::new();
        }
        let stream = self.role.stream();
        let end = stream.log.end_offset();
        stream.replicas.online().filter(|replica| replica.acked() < end).map(|replica| replica.id).collect()
    }

    /// Milliseconds that replicas still have to catch up before a shutdown; None unless one waits for them.
    pub fn shutdown_wait_ms(&self) -> Option<i64> {
        let shutdown = self.shutdown.as_ref()?;
        (shutdown.stage == Stage::WaitForReplicas).then_some((shutdown.deadline.0 - self.now().0).max(0))
    }
}
