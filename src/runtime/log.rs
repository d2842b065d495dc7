//! The server's log: one line per event, in the format that Redis' tools expect.

use std::io::Write as _;

use crate::engine::LogLevel;

pub fn notice(text: &str) {
    write(LogLevel::Notice, text);
}

pub fn warning(text: &str) {
    write(LogLevel::Warning, text);
}

/// Writes one line: `<pid>:<role> <date> <mark> <text>`.
pub fn write(level: LogLevel, text: &str) {
    let mark = match level {
        LogLevel::Debug => '.',
        LogLevel::Verbose => '-',
        LogLevel::Notice => '*',
        LogLevel::Warning => '#',
    };
    let now = jiff::Zoned::now();
    let line = format!("{}:M {} {mark} {text}\n", std::process::id(), now.strftime("%d %b %Y %H:%M:%S%.3f"));
    // A log that cannot be written must not stop the server.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
