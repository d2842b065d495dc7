//! The master's stream applied: its commands run in the name of the master's client, its bytes go on to sub-replicas.
//!
//! The commands between MULTI and EXEC count when EXEC has been applied, and their bytes go on then, as one piece: a
//! link that breaks inside a transaction resumes before its MULTI.

use super::Engine;
use crate::replication::ack::{Applied, Applying};
use crate::resp::args::Args;

/// Bytes of a transaction that is not complete yet.
#[derive(Debug)]
pub struct MasterStream {
    applied: Applied,
    open: Vec<u8>,
    /// Where the commands begin in `open`, and how long they are, that are not for the append-only file.
    open_asides: Vec<(usize, usize)>,
}

impl MasterStream {
    /// Continues at the offset that the engine's replica role has reached.
    pub fn new(engine: &Engine) -> Self {
        let offset = engine.role.as_replica().map(|replica| replica.offset()).unwrap_or_default();
        Self { applied: Applied::new(offset), open: Vec::new(), open_asides: Vec::new() }
    }

    /// A command was run or queued; `raw` are its bytes in the stream.
    pub fn count(&mut self, engine: &mut Engine, args: &Args<'_>, raw: &[u8]) {
        let applying = if args.is(0, "multi") {
            Applying::Multi
        } else if args.is(0, "exec") {
            Applying::Exec
        } else {
            Applying::Command
        };
        if is_aside(args) {
            self.open_asides.push((self.open.len(), raw.len()));
        }
        let is_final = self.applied.count(applying, raw.len()) > 0;
        if is_final {
            let from = engine.role.stream().log.end_offset();
            for (at, len) in self.open_asides.drain(..) {
                engine.aof.note_aside(from.advanced(at), len);
            }
        }
        let Some(replica) = engine.role.as_replica_mut() else { return };
        match (is_final, self.open.is_empty()) {
            (true, true) => replica.applied(raw),
            (true, false) => {
                self.open.extend_from_slice(raw);
                replica.applied(&self.open);
                self.open = Vec::new();
            }
            (false, _) => self.open.extend_from_slice(raw),
        }
    }
}

/// Whether a command of the stream leaves nothing behind that a file could have: it concerns the link, or subscribers.
fn is_aside(args: &Args<'_>) -> bool {
    ["ping", "replconf", "publish", "spublish"].iter().any(|name| args.is(0, name))
}

/// Whether a command of the stream asks how far this replica is.
pub fn asks_for_ack(args: &Args<'_>) -> bool {
    args.is(0, "replconf") && args.is(1, "getack")
}
