//! A scene: some clients wait for keys, and another one does what may wake them. What each reads is compared, and when.
//!
//! Nothing depends on who is faster: a client's command is answered, or the server says that the client is blocked,
//! before the next one is sent; and after each command of the driver it is asked who is blocked no more.

use std::time::Duration;

use crate::round::{Peer, Reply};

/// How many clients may wait at a time.
pub const WAITERS: usize = 3;

/// How long a reply is waited for before the server is asked whether the client is blocked, and how often.
const PROBE: Duration = Duration::from_micros(200);
const PROBES_MAX: usize = 50_000;

/// One command of a scene.
#[derive(Debug, Clone)]
pub struct Line {
    /// Which of the waiting clients sends it; the driver if none.
    pub waiter: Option<usize>,
    pub words: Vec<Vec<u8>>,
}

/// Who reads a reply, what it had asked, and the reply.
pub struct Heard {
    pub waiter: Option<usize>,
    pub words: Vec<Vec<u8>>,
    pub reply: Reply,
}

/// The clients that wait, and the one that asks how they are.
pub struct Waiters {
    control: Peer,
    waiters: Vec<Waiter>,
}

struct Waiter {
    peer: Peer,
    id: String,
    /// What it is blocked with.
    pending: Option<Vec<Vec<u8>>>,
}

impl Waiters {
    pub fn connect(port: u16, protocol: u8) -> Self {
        let waiter = |_| {
            let mut peer = Peer::connect(port, protocol);
            let id = peer.call(&["CLIENT", "ID"]).value.as_integer().unwrap_or_default().to_string();
            Waiter { peer, id, pending: None }
        };
        Self { control: Peer::connect(port, 2), waiters: (0..WAITERS).map(waiter).collect() }
    }

    /// Plays a scene; all that was heard, in the order in which it had to be.
    pub fn play(&mut self, driver: &mut Peer, lines: &[Line]) -> Result<Vec<Heard>, String> {
        let mut heard = Vec::new();
        for line in lines {
            match line.waiter {
                None => {
                    driver.send(&[&line.words]);
                    let reply = driver.read()?;
                    heard.push(Heard { waiter: None, words: line.words.clone(), reply });
                    self.collect(&mut heard)?;
                }
                Some(waiter) => {
                    if self.waiters[waiter].pending.is_none() {
                        self.wait(waiter, &line.words, &mut heard)?;
                        // What it did may have woken another: BLMOVE pushes.
                        self.collect(&mut heard)?;
                    }
                }
            }
        }
        for at in 0..WAITERS {
            if self.waiters[at].pending.is_some() {
                let how = if at == 1 { "ERROR" } else { "TIMEOUT" };
                self.control.call(&["CLIENT", "UNBLOCK", &self.waiters[at].id, how]);
                self.collect(&mut heard)?;
            }
        }
        Ok(heard)
    }

    /// Sends a command that may block, and waits for the reply or the block.
    fn wait(&mut self, at: usize, words: &[Vec<u8>], heard: &mut Vec<Heard>) -> Result<(), String> {
        let waiter = &mut self.waiters[at];
        waiter.peer.send(&[words]);
        for _ in 0..PROBES_MAX {
            if let Some(reply) = waiter.peer.read_within(PROBE)? {
                heard.push(Heard { waiter: Some(at), words: words.to_vec(), reply });
                return Ok(());
            }
            if is_blocked(&mut self.control, &waiter.id) {
                waiter.pending = Some(words.to_vec());
                return Ok(());
            }
        }
        Err("neither a reply nor a block".to_owned())
    }

    /// Reads the replies of those that are blocked no more.
    fn collect(&mut self, heard: &mut Vec<Heard>) -> Result<(), String> {
        for (at, waiter) in self.waiters.iter_mut().enumerate() {
            if waiter.pending.is_some() && !is_blocked(&mut self.control, &waiter.id) {
                let words = waiter.pending.take().unwrap_or_default();
                heard.push(Heard { waiter: Some(at), words, reply: waiter.peer.read()? });
            }
        }
        Ok(())
    }
}

fn is_blocked(control: &mut Peer, id: &str) -> bool {
    let list = control.call(&["CLIENT", "LIST", "ID", id]).value;
    let text = String::from_utf8_lossy(list.as_bytes().unwrap_or_default()).into_owned();
    let flags = text.split(' ').find_map(|field| field.strip_prefix("flags="));
    flags.is_some_and(|flags| flags.contains('b'))
}
