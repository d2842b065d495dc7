//! SLOWLOG: the last commands that took longer than `slowlog-log-slower-than`.

use std::collections::VecDeque;

use super::monitor::REDACTED;
use super::{ClientId, Engine};
use crate::resp::args::Args;

/// More arguments, and longer ones, are cut, as Redis cuts them.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

#[derive(Debug, Default)]
pub struct SlowLog {
    /// The latest first.
    pub entries: VecDeque<SlowLogEntry>,
    next_id: u64,
}

#[derive(Debug)]
pub struct SlowLogEntry {
    pub id: u64,
    pub unix_seconds: i64,
    pub micros: u64,
    pub args: Vec<Vec<u8>>,
    pub addr: String,
    pub name: Vec<u8>,
}

impl Engine {
    /// Remembers a slow command.
    pub fn note_slow(&mut self, id: ClientId, nanos: u64, args: &Args<'_>) {
        let client = self.clients.get(id);
        let entry = SlowLogEntry {
            id: self.slowlog.next_id,
            unix_seconds: self.time.unix_micros() / 1_000_000,
            micros: nanos / 1000,
            args: shortened(args, &self.redacted_args),
            addr: client.map(|client| client.addr.clone()).unwrap_or_default(),
            name: client.map(|client| client.name.clone()).unwrap_or_default(),
        };
        self.slowlog.next_id += 1;
        self.slowlog.entries.push_front(entry);
        self.slowlog.entries.truncate(self.config.slowlog_max_len as usize);
    }
}

fn shortened(args: &Args<'_>, redacted: &[usize]) -> Vec<Vec<u8>> {
    let shown = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
    let mut out: Vec<Vec<u8>> = args
        .iter()
        .take(shown)
        .enumerate()
        .map(|(i, arg)| if redacted.contains(&i) { REDACTED.to_vec() } else { shortened_arg(arg) })
        .collect();
    if shown < args.len() {
        out.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
    }
    out
}

fn shortened_arg(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut out = arg[..ARG_BYTES_MAX].to_vec();
    out.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
    out
}
