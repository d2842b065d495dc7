//! The replies of `... HELP`: a list of lines, in the shape that Redis' clients know.

use crate::engine::{ClientId, Engine};
use crate::resp::reply::Reply;

/// Writes the help of `command`. Each row is a sub-command with its arguments, and what it does.
pub fn write(reply: &mut Reply<'_>, command: &str, rows: &[(&str, &[&str])]) {
    const LAST: (&str, &[&str]) = ("HELP", &["Print this text."]);
    let lines = 1 + rows.iter().chain([&LAST]).map(|(_, text)| 1 + text.len()).sum::<usize>();
    reply.array(lines);
    reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, text) in rows.iter().chain([&LAST]) {
        reply.simple(usage);
        for line in *text {
            reply.simple(&format!("    {line}"));
        }
    }
}

/// `write`, to a client.
pub fn answer(engine: &mut Engine, id: ClientId, command: &str, rows: &[(&str, &[&str])]) {
    if let Some(client) = engine.clients.get_mut(id) {
        write(&mut client.reply(), command, rows);
    }
}
