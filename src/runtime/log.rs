//! The server's log: one line per event, in the format that Redis' tools expect.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::config;
use crate::engine::LogLevel;

/// Where lines go; none is the standard output.
static FILE: OnceLock<String> = OnceLock::new();
/// Nothing is said until a server says what.
static LEVEL_MIN: AtomicU8 = AtomicU8::new(SILENT);
static IS_REPLICA: AtomicBool = AtomicBool::new(false);
const SILENT: u8 = u8::MAX;

/// From here on lines go to `file`, unless it is empty.
pub fn open(file: &str) -> std::io::Result<()> {
    if file.is_empty() {
        return Ok(());
    }
    append(file, b"")?;
    // The log is opened once, at the start.
    let _ = FILE.set(file.to_owned());
    Ok(())
}

/// Where lines go, unless that is the standard output.
pub fn file() -> Option<&'static str> {
    FILE.get().map(String::as_str)
}

/// Drops what is less important than `level`.
pub fn set_level(level: config::LogLevel) {
    let least = match level {
        config::LogLevel::Debug => LogLevel::Debug as u8,
        config::LogLevel::Verbose => LogLevel::Verbose as u8,
        config::LogLevel::Notice => LogLevel::Notice as u8,
        config::LogLevel::Warning => LogLevel::Warning as u8,
        config::LogLevel::Nothing => SILENT,
    };
    LEVEL_MIN.store(least, Ordering::Relaxed);
}

/// Lines are marked `M` or `S`.
pub fn set_role(is_master: bool) {
    IS_REPLICA.store(!is_master, Ordering::Relaxed);
}

pub fn notice(text: &str) {
    write(LogLevel::Notice, text);
}

pub fn warning(text: &str) {
    write(LogLevel::Warning, text);
}

/// Writes one line: `<pid>:<role> <date> <mark> <text>`.
pub fn write(level: LogLevel, text: &str) {
    if (level as u8) < LEVEL_MIN.load(Ordering::Relaxed) {
        return;
    }
    let mark = match level {
        LogLevel::Debug => '.',
        LogLevel::Verbose => '-',
        LogLevel::Notice => '*',
        LogLevel::Warning => '#',
    };
    let role = if IS_REPLICA.load(Ordering::Relaxed) { 'S' } else { 'M' };
    let now = jiff::Zoned::now().strftime("%d %b %Y %H:%M:%S%.3f").to_string();
    let line = format!("{}:{role} {now} {mark} {text}\n", std::process::id());
    // A log that cannot be written must not stop the server.
    let _ = match FILE.get() {
        Some(file) => append(file, line.as_bytes()),
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(line.as_bytes()).and_then(|()| out.flush())
        }
    };
}

/// Opens the file for each line, so that it may be moved away and begun anew.
fn append(file: &str, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::OpenOptions::new().create(true).append(true).open(file)?.write_all(bytes)
}
