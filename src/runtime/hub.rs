//! Where connections meet the engine: one mutex, entered once per batch of requests.
//!
//! Nothing awaits inside, so the mutex is one that blocks the thread; one whose waits can be given up, because a script may
//! turn out to take long after somebody has begun to wait for it. What the engine leaves behind (clients to wake, jobs, log
//! lines) is collected under the lock and carried out after it is released.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::task::{Context, Waker};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::desk::Desk;
use super::doors::Doors;
use super::oom_score::OomScore;
use super::payload::Payload;
use super::{aof, jobs, log, memory, migrate};
use crate::base::clock::UnixMillis;
use crate::engine::migration::Migration;
use crate::engine::scripting::Attendant;
use crate::engine::{ClientId, Engine, Job, LazyFree};
use crate::replication::log::ReplOffset;

pub struct Hub {
    state: parking_lot::Mutex<State>,
    tasks: Mutex<HashMap<ClientId, Arc<TaskSignal>>>,
    /// Snapshots that replicas' connections have yet to take.
    payloads: Mutex<HashMap<ClientId, Payload>>,
    desk: Desk,
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
    /// To the thread that writes the append-only file.
    pub aof: aof::Line,
    pub doors: Doors,
    pub oom_score: OomScore,
}

struct State {
    engine: Engine,
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
    pub fn raise(&self) {
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
        let state = State { engine, next_deadline: None, log_end: ReplOffset::default() };
        Self {
            state: parking_lot::Mutex::new(state),
            tasks: Mutex::default(),
            payloads: Mutex::default(),
            desk: Desk::default(),
            deadline_changed: Notify::new(),
            master_changed: Notify::new(),
            eviction_wanted: Notify::new(),
            jobs,
            lazyfree,
            sockets: migrate::Sockets::default(),
            runtime: Handle::current(),
            aof: aof::Line::default(),
            doors: Doors::new(tokio::runtime::Handle::current()),
            oom_score: OomScore::default(),
        }
    }

    /// Runs `f` on the engine, then carries out what it left behind.
    pub fn enter<R>(&self, f: impl FnOnce(&mut Engine) -> R) -> R {
        let state = self.try_lock().unwrap_or_else(|| tokio::task::block_in_place(|| self.lock()));
        self.inside(state, f)
    }

    /// `enter`, unless a script holds the engine and has done so for a while.
    pub fn try_enter<R>(&self, f: impl FnOnce(&mut Engine) -> R) -> Option<R> {
        let state = self.try_lock()?;
        Some(self.inside(state, f))
    }

    /// Has `f` run on the engine as soon as may be: now, or in between two steps of a slow script.
    pub fn leave_errand(&self, f: impl FnOnce(&mut Engine) + Send + 'static) {
        self.desk.leave(Box::new(f));
        // The script may have ended meanwhile, with nobody left who would look.
        self.run_errands();
    }

    /// Enters for what was left at the desk, unless somebody is inside, who then sees to it.
    fn run_errands(&self) {
        if self.desk.has_errands()
            && let Some(state) = self.state.try_lock()
        {
            self.inside(state, |_| ());
        }
    }

    /// `enter` for a task, which does not keep a thread while a script takes long.
    pub async fn visit<R: Send + 'static, F>(&self, f: F) -> R
    where
        F: FnOnce(&mut Engine) -> R + Send + 'static,
    {
        let f = match self.enter_unless_long(f) {
            Ok(result) => return result,
            Err(f) => f,
        };
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // Whoever waits is gone only when the process ends.
        self.leave_errand(|engine| drop(sender.send(f(engine))));
        receiver.await.expect("an errand is always run")
    }

    /// Runs `f` on the engine, or gives it back because a script holds the engine.
    fn enter_unless_long<R, F: FnOnce(&mut Engine) -> R>(&self, f: F) -> Result<R, F> {
        match self.try_lock() {
            Some(state) => Ok(self.inside(state, f)),
            None => Err(f),
        }
    }

    fn inside<R>(
        &self,
        mut state: parking_lot::MutexGuard<'_, State>,
        f: impl FnOnce(&mut Engine) -> R,
    ) -> R {
        state.engine.time.sample();
        let result = f(&mut state.engine);
        self.desk.set_open(false);
        self.desk.run(&mut state.engine);
        if !state.engine.jobs.is_empty() {
            jobs::run_inside(&mut state.engine, self);
        }
        let aftermath = state.collect(&self.tasks);
        drop(state);
        memory::settle();
        if let Some(aftermath) = aftermath {
            aftermath.carry_out(self);
        }
        // Left there after the last look, by somebody who has seen the engine taken.
        self.run_errands();
        result
    }

    /// Registers a connection's task.
    pub fn register(&self, id: ClientId) -> Arc<TaskSignal> {
        lock(&self.tasks).entry(id).or_default().clone()
    }

    pub fn unregister(&self, id: ClientId) {
        lock(&self.tasks).remove(&id);
        lock(&self.payloads).remove(&id);
    }

    /// Keeps a snapshot for a replica's connection; false if that is gone.
    pub fn deliver_payload(&self, id: ClientId, payload: Payload) -> bool {
        let mut payloads = lock(&self.payloads);
        // Looked at under the lock: who leaves after this takes it along.
        let is_there = lock(&self.tasks).contains_key(&id);
        if is_there {
            payloads.insert(id, payload);
        }
        is_there
    }

    pub fn take_payload(&self, id: ClientId) -> Option<Payload> {
        lock(&self.payloads).remove(&id)
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

    fn lock(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Waits for the engine, but not for a script that takes long.
    fn try_lock(&self) -> Option<parking_lot::MutexGuard<'_, State>> {
        loop {
            // Whoever began to wait before the script was known to be long must not wait for its end either.
            let state = self.state.try_lock_for(WAIT_SLICE);
            if state.is_some() || self.desk.is_open() {
                return state;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside a command aborts the process, so a poisoned lock cannot be seen.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long another thread may take to begin.
const HAND_OVER_MAX: Duration = Duration::from_secs(1);
/// After so long, a thread that waits for the engine looks whether a script holds it.
const WAIT_SLICE: Duration = Duration::from_millis(5);

/// What the engine has of the hub while a script runs.
pub struct Attendance(pub &'static Hub);

impl Attendant for Attendance {
    fn expect_long(&self) {
        self.0.desk.set_open(true);
    }

    fn begin(&self) {
        // Nobody may be left who looks at sockets: others may sleep, or wait for the lock since before the script was
        // long. While this thread says that it blocks, another one takes its part; it is there when it has run a task.
        tokio::task::block_in_place(|| {
            let (sender, receiver) = mpsc::channel();
            self.0.runtime.spawn(async move {
                // It may have come too late.
                let _ = sender.send(());
            });
            // Whether it was in time or not, the script goes on.
            let _ = receiver.recv_timeout(HAND_OVER_MAX);
        });
    }

    fn serve(&self, engine: &mut Engine) {
        if self.0.desk.has_errands() {
            // Tasks that are woken in here are left to other threads, not kept for this one.
            tokio::task::block_in_place(|| self.0.desk.run(engine));
        }
        for line in engine.log_lines.drain(..) {
            log::write(line.level, &line.text);
        }
        // All else waits for the end of the script, but this may be what ends it.
        for job in engine.jobs.extract_if(.., |job| matches!(job, Job::Exit { .. })) {
            // The receiver goes with the process.
            drop(self.0.jobs.send(job));
        }
    }
}

/// What is left to do once the lock is released.
struct Aftermath {
    signals: SmallVec<[Arc<TaskSignal>; 4]>,
    jobs: Vec<Job>,
    log_lines: Vec<crate::engine::LogLine>,
    deadline_changed: bool,
    has_eviction_left: bool,
    has_aof_work: bool,
}

impl State {
    /// What the engine has left behind; most batches leave nothing.
    fn collect(&mut self, tasks: &Mutex<HashMap<ClientId, Arc<TaskSignal>>>) -> Option<Aftermath> {
        let engine = &mut self.engine;
        let log_end = engine.role.stream().log.end_offset();
        let next_deadline = engine.next_deadline();
        let log_grew = log_end != self.log_end;
        let deadline_changed = next_deadline != self.next_deadline;
        let has_aof_work = engine.aof.has_orders() || (log_grew && engine.aof.is_enabled());
        if !log_grew && !deadline_changed && !has_aof_work && !engine.has_aftermath() {
            return None;
        }
        self.log_end = log_end;
        self.next_deadline = next_deadline;
        let written = engine.take_pending_writes();
        let mut signals: SmallVec<[Arc<TaskSignal>; 4]> = SmallVec::new();
        if !written.is_empty() || log_grew {
            let tasks = lock(tasks);
            signals.extend(written.iter().filter_map(|id| tasks.get(id).cloned()));
            if log_grew {
                let replicas = engine.role.stream().replicas.ids();
                signals.extend(replicas.into_iter().filter_map(|id| tasks.get(&ClientId(id.0)).cloned()));
            }
        }
        Some(Aftermath {
            signals,
            jobs: std::mem::take(&mut engine.jobs),
            log_lines: std::mem::take(&mut engine.log_lines),
            deadline_changed,
            has_eviction_left: engine.eviction.is_running,
            has_aof_work,
        })
    }
}

impl Aftermath {
    fn carry_out(self, hub: &Hub) {
        for line in self.log_lines {
            log::write(line.level, &line.text);
        }
        if self.has_aof_work {
            hub.aof.wake();
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
