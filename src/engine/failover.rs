//! FAILOVER: this master hands its part to one of its replicas, without losing a write.
//!
//! 1. Clients' writes pause, so that the stream stands still.
//! 2. When a replica has acknowledged all of it (the named one, or the first one), this server becomes its replica.
//! 3. The link asks it to take over: `PSYNC replid offset FAILOVER`. When it agrees, the pause ends, and who waits in it
//!    learns that this is a replica. When it refuses, this server is a master again.
//!
//! `REPLICAOF` and syncs of others are refused from the second step on: there must never be two masters.

use super::gates::{Pause, PauseCause};
use super::{Engine, LogLevel};
use crate::base::clock::UnixMillis;
use crate::replication::log::ReplOffset;
use crate::replication::replica::MasterAddr;
use crate::replication::replica_manager::AttachedReplica;
use crate::resp::error::ErrorReply;

/// What FAILOVER asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailoverRequest {
    pub target: Option<MasterAddr>,
    /// After the timeout the target takes over all the same.
    pub force: bool,
    pub timeout_ms: Option<i64>,
}

/// A failover under way.
#[derive(Debug)]
pub struct Failover {
    target: Option<MasterAddr>,
    force: bool,
    deadline: Option<UnixMillis>,
    /// What the new master must have: the end of the last effect.
    needed: ReplOffset,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    WaitForSync,
    InProgress,
}

impl Engine {
    pub fn begin_failover(&mut self, request: FailoverRequest) -> Result<(), ErrorReply> {
        if self.failover.is_some() {
            return Err(ErrorReply::fixed("ERR FAILOVER already in progress."));
        }
        if !self.role.is_master() {
            return Err(ErrorReply::fixed("ERR FAILOVER is not valid when server is a replica."));
        }
        let replicas = &self.role.stream().replicas;
        if replicas.count() == 0 {
            return Err(ErrorReply::fixed("ERR FAILOVER requires connected replicas."));
        }
        let FailoverRequest { target, force, timeout_ms } = request;
        if force && (timeout_ms.is_none() || target.is_none()) {
            return Err(ErrorReply::fixed(
                "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
            ));
        }
        if let Some(target) = &target {
            match replicas.iter().find(|replica| is_at(replica, target)) {
                None => {
                    return Err(ErrorReply::fixed("ERR FAILOVER target HOST and PORT is not a replica."));
                }
                Some(replica) if !replica.is_online() => {
                    return Err(ErrorReply::fixed("ERR FAILOVER target replica is not online."));
                }
                Some(_) => {}
            }
        }
        self.log(LogLevel::Notice, format!("FAILOVER requested to {}.", name(target.as_ref())));
        let deadline = timeout_ms.map(|ms| UnixMillis(self.now().0.saturating_add(ms)));
        let needed = self.role.stream().log.end_offset();
        self.failover = Some(Failover { target, force, deadline, needed, stage: Stage::WaitForSync });
        self.pauses.set(PauseCause::Failover, Pause { until: UnixMillis(i64::MAX), writes_only: true });
        if self.synced_target().is_none() {
            self.append_aside(crate::replication::ack::GETACK);
        }
        Ok(())
    }

    /// FAILOVER ABORT, and whatever else ends it without a new master. Whether there was one.
    pub fn abort_failover(&mut self, reason: &str) -> bool {
        let Some(failover) = self.failover.take() else { return false };
        let target = name(failover.target.as_ref());
        self.log(LogLevel::Notice, format!("FAILOVER to {target} aborted: {reason}"));
        if failover.stage == Stage::InProgress {
            self.stop_following();
        }
        self.end_pause(PauseCause::Failover);
        true
    }

    /// The new master has taken over.
    pub fn finish_failover(&mut self) {
        if self.is_failing_over() {
            self.failover = None;
            self.end_pause(PauseCause::Failover);
        }
    }

    /// Goes on when a replica has all that there is, or the time is over. Called whenever a replica acknowledges, and by
    /// the clockwork.
    pub fn continue_failover(&mut self) {
        let Some(failover) = self.failover.as_ref().filter(|it| it.stage == Stage::WaitForSync) else {
            return;
        };
        if failover.deadline.is_some_and(|deadline| deadline <= self.now()) {
            match (failover.force, failover.target.clone()) {
                (true, Some(target)) => {
                    let line =
                        format!("FAILOVER to {} time out exceeded, failing over.", name(Some(&target)));
                    self.hand_over(target, line);
                }
                _ => {
                    self.abort_failover("Replica never caught up before timeout");
                }
            }
        } else if let Some(target) = self.synced_target() {
            let line = format!("Failover target {} is synced, failing over.", name(Some(&target)));
            self.hand_over(target, line);
        }
    }

    fn hand_over(&mut self, target: MasterAddr, line: String) {
        self.log(LogLevel::Notice, line);
        if let Some(failover) = &mut self.failover {
            failover.target = Some(target.clone());
            failover.stage = Stage::InProgress;
        }
        self.follow(target);
    }

    /// The replica that may take over now.
    fn synced_target(&self) -> Option<MasterAddr> {
        let failover = self.failover.as_ref()?;
        let mut synced =
            self.role.stream().replicas.online().filter(|replica| replica.acked() >= failover.needed);
        let replica = synced.find(|replica| failover.target.as_ref().is_none_or(|it| is_at(replica, it)))?;
        Some(MasterAddr { host: replica.ip().to_owned(), port: replica.listening_port })
    }

    /// Something was written after all: it must not be lost either.
    pub(super) fn failover_needs(&mut self, end: ReplOffset) {
        if let Some(failover) = self.failover.as_mut().filter(|it| it.stage == Stage::WaitForSync) {
            failover.needed = end;
            self.append_aside(crate::replication::ack::GETACK);
        }
    }

    /// Whether the link to the master is to ask it to take over.
    pub fn is_failing_over(&self) -> bool {
        self.failover.as_ref().is_some_and(|failover| failover.stage == Stage::InProgress)
    }

    /// INFO's `master_failover_state`.
    pub fn failover_state(&self) -> &'static str {
        match self.failover.as_ref().map(|failover| failover.stage) {
            None => "no-failover",
            Some(Stage::WaitForSync) => "waiting-for-sync",
            Some(Stage::InProgress) => "failover-in-progress",
        }
    }
}

fn is_at(replica: &AttachedReplica, addr: &MasterAddr) -> bool {
    replica.ip().eq_ignore_ascii_case(&addr.host) && replica.listening_port == addr.port
}

fn name(target: Option<&MasterAddr>) -> String {
    target.map_or_else(|| "any replica".to_owned(), |target| format!("{}:{}", target.host, target.port))
}
