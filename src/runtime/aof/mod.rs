//! The append-only file on disk: one thread that writes it, the folder it lies in, its bases, and how it is loaded.
//!
//! The thread takes bytes of the replication log and orders from the engine (`engine::aof`), and is the only one that
//! changes the folder while the server runs. The hub wakes it after a batch that has left something for it. What it and the
//! loader have around them are two traits (`disk.rs`), so that a simulation can run them on a disk that fails.

pub mod base;
mod disk;
mod folder;
mod gate;
mod incr;
pub mod load;
pub mod text;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::hub::Hub;
use super::memory;
use crate::config::Config;
use crate::engine::aof::RewriteRequest;
use crate::engine::{ClientId, Engine};
pub use disk::{Disk, DiskFile, Files, Mode, World};
pub use folder::Folder;
pub use gate::{Gate, Passage};
use incr::Incr;
pub use load::begin;
pub use writer::{Opened, Pace, Writer};

/// What others tell the writing thread.
enum Message {
    /// The file is loaded, or new: write on from here.
    Open(Box<Opened>),
    /// The base of the rewrite of that number is written, or was not.
    BaseWritten { number: u64, outcome: Result<(), String> },
    /// Everything to disk, then no more.
    Stop,
}

/// The line between the engine's threads and the one that writes.
#[derive(Default)]
pub struct Line {
    thread: OnceLock<Thread>,
    is_woken: AtomicBool,
    mailbox: Mutex<Vec<Message>>,
    /// Where connections wait until what they say is on disk.
    pub gate: Gate,
    has_stopped: Mutex<bool>,
    stopped: Condvar,
}

impl Line {
    /// There is something to do.
    pub fn wake(&self) {
        if !self.is_woken.load(Ordering::SeqCst)
            && !self.is_woken.swap(true, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn send(&self, message: Message) {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        self.wake();
    }

    fn take_messages(&self) -> Vec<Message> {
        std::mem::take(&mut *self.mailbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has everything written and forced to disk, for the end of the process; waits for it.
    pub fn stop(&self) {
        if self.thread.get().is_none() {
            return;
        }
        self.send(Message::Stop);
        let stopped = self.has_stopped.lock().unwrap_or_else(PoisonError::into_inner);
        // A panic elsewhere has ended the process already.
        drop(self.stopped.wait_while(stopped, |stopped| !*stopped));
    }

    fn note_stopped(&self) {
        *self.has_stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.notify_all();
    }
}

/// Starts the thread, which has nothing to do until a file is opened: by `load`, if that `is_awaited`.
pub fn start(hub: &'static Hub, is_awaited: bool) -> anyhow::Result<()> {
    let handle = std::thread::Builder::new()
        .name("aof".to_owned())
        .spawn(move || run(hub, is_awaited))
        .context("cannot start a thread")?;
    hub.aof.thread.get_or_init(|| handle.thread().clone());
    hub.aof.wake();
    Ok(())
}

fn run(hub: &'static Hub, is_awaited: bool) {
    memory::settle();
    let mut writer = Writer::new(Server::new(hub), is_awaited);
    loop {
        hub.aof.is_woken.swap(false, Ordering::SeqCst);
        for message in hub.aof.take_messages() {
            match message {
                Message::Open(opened) => writer.open(*opened),
                Message::BaseWritten { number, outcome } => writer.end_rewrite(number, outcome),
                Message::Stop => {
                    writer.finish();
                    hub.aof.note_stopped();
                    return;
                }
            }
        }
        let pace = writer.turn();
        memory::settle();
        match pace {
            Pace::AtOnce => {}
            Pace::Idle(longest) => {
                std::thread::park_timeout(longest);
                // Where others are about to write, too, one write is for all of them.
                std::thread::yield_now();
            }
        }
    }
}

/// Makes sure that an append-only file can be begun: its folder is there, and a file to write into until the first base is.
pub fn prepare(config: &Config) -> anyhow::Result<()> {
    let folder = Folder::of(Files, config);
    folder.create()?;
    let path = folder.temporary_incr();
    Incr::create(&folder, &path).map(drop).with_context(|| format!("cannot create {}", path.display()))
}

/// Loads the file at the start, and has it written on.
pub fn load(hub: &'static Hub, plan: load::Plan) -> anyhow::Result<()> {
    let opened = load::load(&Server::new(hub), plan)?;
    hub.aof.send(Message::Open(Box::new(opened)));
    Ok(())
}

/// DEBUG LOADAOF
pub fn reload(hub: &'static Hub, client: ClientId) -> anyhow::Result<()> {
    load::reload(&Server::new(hub), client)
}

/// The server around the writer and the loader.
struct Server {
    hub: &'static Hub,
    started: Instant,
}

impl Server {
    fn new(hub: &'static Hub) -> Self {
        Self { hub, started: Instant::now() }
    }
}

impl World for Server {
    type Disk = Files;

    fn disk(&self) -> Files {
        Files
    }

    fn enter<R>(&self, f: impl FnOnce(&mut Engine) -> R) -> R {
        self.hub.enter(f)
    }

    fn gate(&self) -> &Gate {
        &self.hub.aof.gate
    }

    fn start_base(&self, request: Box<RewriteRequest>, path: &Path) -> std::io::Result<()> {
        base::start(self.hub, request, path)
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// The operating system's own sentence, without the number that Rust adds.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
