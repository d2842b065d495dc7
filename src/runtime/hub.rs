//! Where connections meet the engine: one mutex, entered once per batch of requests.
//!
//! A std mutex is right here because nothing awaits inside. What the engine leaves behind (clients to wake, jobs, log
//! lines) is collected under the lock and carried out after it is released.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use atomic_waker::AtomicWaker;
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
#[derive(Debug, Default)]
pub struct TaskSignal {
    waker: AtomicWaker,
    is_raised: std::sync::atomic::AtomicBool,
}

impl TaskSignal {
    fn raise(&self) {
        self.is_raised.store(true, std::sync::atomic::Ordering::Release);
        self.waker.wake();
    }

    /// Whether it was raised since the last call. The task in `cx` is woken when it is raised next.
    pub fn take(&self, cx: &std::task::Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.is_raised.load(std::sync::atomic::Ordering::Acquire)
            && self.is_raised.swap(false, std::sync::atomic::Ordering::Acquire)
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
        jobs::run_inside(&mut state.engine, &self.doors);
        let aftermath = state.collect();
        drop(state);
        memory::settle();
        aftermath.carry_out(self);
        result
    }

    /// Registers a connection's task.
    pub fn register(&self, id: ClientId) -> Arc<TaskSignal> {
        self.lock().tasks.entry(id).or_default().clone()
    }

    pub fn unregister(&self, id: ClientId) {
        self.lock().tasks.remove(&id);
    }

    /// Begins to deliver what MIGRATE hands out.
    pub fn start_migration(self: &Arc<Self>, migration: Migration) {
        self.runtime.spawn(migrate::run(self.clone(), migration));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic inside a command aborts the process, so a poisoned lock cannot be seen.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left to do once the lock is released.
#[derive(Default)]
struct Aftermath {
    signals: SmallVec<[Arc<TaskSignal>; 4]>,
    jobs: Vec<Job>,
    log_lines: Vec<crate::engine::LogLine>,
    deadline_changed: bool,
    has_eviction_left: bool,
}

impl State {
    fn collect(&mut self) -> Aftermath {
        let mut aftermath = Aftermath::default();
        let engine = &mut self.engine;
        for id in engine.take_pending_writes() {
            aftermath.signals.extend(self.tasks.get(&id).cloned());
        }
        let log_end = engine.role.stream().log.end_offset();
        if log_end != self.log_end {
            self.log_end = log_end;
            for id in engine.role.stream().replicas.ids() {
                aftermath.signals.extend(self.tasks.get(&ClientId(id.0)).cloned());
            }
        }
        if !engine.jobs.is_empty() {
            aftermath.jobs = std::mem::take(&mut engine.jobs);
        }
        if !engine.log_lines.is_empty() {
            aftermath.log_lines = std::mem::take(&mut engine.log_lines);
        }
        let next_deadline = engine.next_deadline();
        aftermath.deadline_changed = next_deadline != self.next_deadline;
        self.next_deadline = next_deadline;
        aftermath.has_eviction_left = engine.eviction.is_running;
        aftermath
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
