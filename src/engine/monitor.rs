//! MONITOR: clients that read every command as it is run.

use super::{ClientId, Engine};
use crate::resp::args::Args;

impl Engine {
    pub fn has_monitors(&self) -> bool {
        !self.monitors.is_empty()
    }

    /// Shows a command to everybody who monitors.
    pub fn feed_monitors(&mut self, id: ClientId, db_index: usize, args: &Args<'_>) {
        let from = self.clients.get(id).map(|client| client.addr.clone()).unwrap_or_default();
        let micros = self.time.unix_micros();
        let mut line = format!(
            "+{}.{:06} [{db_index} {from}]",
            micros.div_euclid(1_000_000),
            micros.rem_euclid(1_000_000)
        )
        .into_bytes();
        for arg in args.iter() {
            line.push(b' ');
            quote(arg, &mut line);
        }
        line.extend_from_slice(b"\r\n");
        for &monitor in &self.monitors {
            if let Some(client) = self.clients.get_mut(monitor) {
                client.out.extend_from_slice(&line);
            }
            self.clients.wake(monitor);
        }
    }
}

/// Appends `bytes` in double quotes, with escapes for what does not print, as Redis' `sdscatrepr` does.
pub fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            0x20..=0x7e => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}
