//! Where connections meet the engine: one mutex, entered once per batch of requests.
//!
//! A std mutex is right here because nothing awaits inside. What the engine leaves behind (clients to wake, jobs, log
//! lines) is collected under the lock and carried out after it is released.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::task::{Context, Waker};

use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::doors::Doors;
use super::{jobs, log, memory, migrate};
use crate::base::clock::UnixMillis;
use crate::engine::migration::Migration;
use crate::engine::{ClientId, Engine, Job, LazyFree};
use crate::replication::log::ReplOffset;

pub struct Hub {
    state: Mutex<State>,
    /// Signalled when the earliest deadline has changed.
    pub deadline_changed: Notify,
    /// Signalled when there is another master to follow, or none.
    pub master_changed: Notify,
    /// Signalled when a batch has left some eviction undone.
    pub eviction_wanted: Notify,
    /// What the engine wants done outside, on its way to the thread that does it.
    jobs: mpsc::Sender<Job>,
    pub lazyfree: Arc<LazyFree>,
    /// Connections that MIGRATE keeps.
    pub sockets: migrate::Sockets,
    runtime: Handle,
    pub doors: Doors,
}

struct State {
    engine: Engine,
    tasks: HashMap<ClientId, Arc<TaskSignal>>,
    next_deadline: Option<UnixMillis>,
    /// How far the replicas' tasks have been told that the log reaches.
    log_end: ReplOffset,
}

/// How the hub tells a connection's task that the engine has something for it.
///
/// It belongs to one task, whose waker stays the same while it lives, so a look at it is one load.
#[derive(Debug, Default)]
pub struct TaskSignal {
    waker: OnceLock<Waker>,
    is_raised: AtomicBool,
}

impl TaskSignal {
    fn raise(&self) {
        self.is_raised.store(true, Ordering::Release);
        // Either the task is seen here, or it sees the signal when it comes.
        fence(Ordering::SeqCst);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Whether it was raised since the last call. The task in `cx`, always the same one, is woken when it is raised next.
    pub fn take(&self, cx: &Context<'_>) -> bool {
        match self.waker.get() {
            Some(waker) => debug_assert!(waker.will_wake(cx.waker()), "a signal belongs to one task"),
            None => {
                self.waker.get_or_init(|| cx.waker().clone());
                fence(Ordering::SeqCst);
            }
        }
        self.is_raised.load(Ordering::Acquire) && self.is_raised.swap(false, Ordering::Acquire)
    }
}

impl Hub {
    /// `jobs` takes what the engine wants done outside. To be called inside the runtime.
    pub fn new(engine: Engine, jobs: mpsc::Sender<Job>) -> Self {
        let lazyfree = engine.lazyfree.clone();
        let state =
            State { engine, tasks: HashMap::new(), next_deadline: None, log_end: ReplOffset::default() };
        Self {
            state: Mutex::new(state),
            deadline_changed: Notify::new(),
            master_changed: Notify::new(),
            eviction_wanted: Notify::new(),
            jobs,
            lazyfree,
            sockets: migrate::Sockets::default(),
            runtime: Handle::current(),
            doors: Doors::new(tokio::runtime::Handle::current()),
        }
    }

    /// Runs `f` on the engine, then carries out what it left behind.
    pub fn enter<R>(&self, f: impl FnOnce(&mut Engine) -> R) -> R {
        let mut state = self.lock();
        state.engine.time.sample();
        let result = f(&mut state.engine);
        if !state.engine.jobs.is_empty() {
            jobs::run_inside(&mut state.engine, &self.doors);
        }
        let aftermath = state.collect();
        drop(state);
        memory::settle();
        if let Some(aftermath) = aftermath {
            aftermath.carry_out(self);
        }
        result
    }

    /// Registers a connection's task.
    pub fn register(&self, id: ClientId) -> Arc<TaskSignal> {
        self.lock().tasks.entry(id).or_default().clone()
    }

    pub fn unregister(&self, id: ClientId) {
        self.lock().tasks.remove(&id);
    }

    /// Frees output that was written: long replies take too long for a thread that serves others.
    pub fn free_output(&self, output: Vec<u8>) {
        // The receiver goes with the process.
        drop(self.jobs.send(Job::FreeOutput(vec![output])));
    }

    /// Begins to deliver what MIGRATE hands out.
    pub fn start_migration(&'static self, migration: Migration) {
        self.runtime.spawn(migrate::run(self, migration));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic inside a command aborts the process, so a poisoned lock cannot be seen.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left to do once the lock is released.
struct Aftermath {
    signals: SmallVec<[Arc<TaskSignal>; 4]>,
    jobs: Vec<Job>,
    log_lines: Vec<crate::engine::LogLine>,
    deadline_changed: bool,
    has_eviction_left: bool,
}

impl State {
    /// What the engine has left behind; most batches leave nothing.
    fn collect(&mut self) -> Option<Aftermath> {
        let engine = &mut self.engine;
        let log_end = engine.role.stream().log.end_offset();
        let next_deadline = engine.next_deadline();
        let log_grew = log_end != self.log_end;
        let deadline_changed = next_deadline != self.next_deadline;
        if !log_grew && !deadline_changed && !engine.has_aftermath() {
            return None;
        }
        self.log_end = log_end;
        self.next_deadline = next_deadline;
        let written = engine.take_pending_writes();
        let mut signals: SmallVec<[Arc<TaskSignal>; 4]> =
            written.iter().filter_map(|id| self.tasks.get(id).cloned()).collect();
        if log_grew {
            let replicas = engine.role.stream().replicas.ids();
            signals.extend(replicas.into_iter().filter_map(|id| self.tasks.get(&ClientId(id.0)).cloned()));
        }
        Some(Aftermath {
            signals,
            jobs: std::mem::take(&mut engine.jobs),
            log_lines: std::mem::take(&mut engine.log_lines),
            deadline_changed,
            has_eviction_left: engine.eviction.is_running,
        })
    }
}

impl Aftermath {
    fn carry_out(self, hub: &Hub) {
        for line in self.log_lines {
            log::write(line.level, &line.text);
        }
        for signal in self.signals {
            signal.raise();
        }
        if self.deadline_changed {
            hub.deadline_changed.notify_one();
        }
        if self.has_eviction_left {
            hub.eviction_wanted.notify_one();
        }
        for job in self.jobs {
            match job {
                Job::MasterChanged => hub.master_changed.notify_one(),
                // The receiver goes with the process.
                job => drop(hub.jobs.send(job)),
            }
        }
    }
}
