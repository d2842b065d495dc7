//! How a transcript is written down.

use std::fmt;

/// More than this of what one client reads at once is cut, and told by length and checksum.
const SHOWN_BYTES_MAX: usize = 1500;

/// The lines of a script, each with what followed from it.
#[derive(Default)]
pub struct Transcript {
    pub steps: Vec<ShownStep>,
}

/// One line of a script, and what followed from it.
pub struct ShownStep {
    pub text: String,
    /// Which client got which bytes, by name.
    pub received: Vec<(String, Vec<u8>)>,
    /// What happened besides: a connection closed, the server asked to end.
    pub notes: Vec<String>,
    pub effects: Vec<Effect>,
}

/// A propagated command and the database it applies to.
pub struct Effect {
    pub db_index: usize,
    pub args: Vec<Vec<u8>>,
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| step.fmt(f))
    }
}

impl fmt::Display for ShownStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for (client, bytes) in &self.received {
            writeln!(f, "    {client} {}", cut(bytes))?;
        }
        for note in &self.notes {
            writeln!(f, "    {note}")?;
        }
        self.effects.iter().try_for_each(|effect| effect.fmt(f))
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "db{}", self.db_index)?;
        for arg in &self.args {
            write!(f, " {}", word(arg))?;
        }
        writeln!(f)
    }
}

/// Bytes as one line: printable ASCII as it is, everything else escaped.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'"' | b'\'' => text.push(byte as char),
            _ => text.extend(std::ascii::escape_default(byte).map(char::from)),
        }
    }
    text
}

/// An argument as it could be typed into a script.
fn word(arg: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\".contains(byte);
    if !arg.is_empty() && arg.len() <= SHOWN_BYTES_MAX && arg.iter().all(is_plain) {
        return String::from_utf8_lossy(arg).into_owned();
    }
    format!("\"{}\"", cut(arg).replace('"', "\\\""))
}

fn cut(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN_BYTES_MAX {
        return escape(bytes);
    }
    // FNV-1a tells two long replies apart.
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{} ... ({} bytes, checksum {hash:016x})", escape(&bytes[..200]), bytes.len())
}
