//! One client as a line of CLIENT LIST, in the fields and the order of Redis 7.4.

use std::fmt::Write as _;

use super::Engine;
use super::client::{Client, ClientKind, Closing};
use crate::replication::log::BLOCK_BYTES;
use crate::resp::reply::Protocol;

/// What a client takes when it holds no buffers.
const CLIENT_BYTES: usize = std::mem::size_of::<Client>() + 512;

impl Engine {
    pub fn client_line(&self, client: &Client) -> String {
        let traffic = &client.traffic;
        let now = self.now();
        let seconds_since = |at: crate::base::clock::UnixMillis| (now.0 - at.0).max(0) / 1000;
        let query_bytes = traffic.query_len();
        let unwritten_bytes = traffic.unwritten_len();
        let multi_bytes = client.transaction.as_ref().map_or(0, |transaction| transaction.bytes);
        let args_bytes = match client.blocked.as_deref().map(|state| &state.on) {
            Some(super::BlockedOn::Keys { args, .. }) => args.memory_bytes(),
            _ => 0,
        };
        let buffer_bytes = client.out.capacity() + client.out_later.capacity();
        // A replica's are blocks of the stream, which others read too.
        let stream_bytes =
            if client.kind == ClientKind::Replica { self.unread_bytes(client) as usize } else { 0 };
        let blocks = stream_bytes.div_ceil(BLOCK_BYTES);
        let omem = unwritten_bytes.max(stream_bytes) + client.out_later.len();
        let total = CLIENT_BYTES + query_bytes + multi_bytes + args_bytes + buffer_bytes + omem;
        let mut line = format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={}",
            client.id.0,
            client.addr,
            client.local_addr,
            client.fd,
            String::from_utf8_lossy(&client.name),
            seconds_since(client.created_at),
            seconds_since(client.last_interaction),
            flags(client),
            client.db_index,
        );
        let queued = client.transaction.as_ref().map_or(-1, |transaction| transaction.queued.len() as i64);
        let _ = write!(
            line,
            " sub={} psub={} ssub={} multi={queued} watch={} qbuf={query_bytes} qbuf-free=0 argv-mem={args_bytes} \
             multi-mem={multi_bytes} rbs={} rbp={} obl={} oll={} omem={omem} tot-mem={total} events={}",
            client.channels.len(),
            client.patterns.len(),
            client.shard_channels.len(),
            client.watching.len(),
            client.out.capacity(),
            client.out.len(),
            client.out.len(),
            usize::from(unwritten_bytes > 0).max(blocks),
            if unwritten_bytes > 0 { "rw" } else { "r" },
        );
        let _ = write!(
            line,
            " cmd={} user=default redir=-1 resp={} lib-name={} lib-ver={} tot-net-in={} tot-net-out={} tot-cmds={}",
            if client.last_command.is_empty() { "NULL" } else { client.last_command },
            if client.protocol == Protocol::Resp3 { 3 } else { 2 },
            String::from_utf8_lossy(&client.lib_name),
            String::from_utf8_lossy(&client.lib_version),
            traffic.received_bytes.get(),
            traffic.sent_bytes.get(),
            client.commands_processed,
        );
        line
    }
}

fn flags(client: &Client) -> String {
    let facts = [
        (client.is_monitor, 'O'),
        (client.kind == ClientKind::Replica, 'S'),
        (client.kind == ClientKind::Master, 'M'),
        (client.subscriptions_len() > 0, 'P'),
        (client.transaction.is_some(), 'x'),
        (client.blocked.is_some(), 'b'),
        (client.is_dirty, 'd'),
        (client.closing == Closing::AfterReplies, 'c'),
        (client.closing == Closing::Now, 'A'),
        (client.is_unix, 'U'),
        (client.is_no_evict, 'e'),
        (client.is_no_touch, 'T'),
    ];
    let letters: String = facts.into_iter().filter(|(holds, _)| *holds).map(|(_, letter)| letter).collect();
    if letters.is_empty() { "N".to_owned() } else { letters }
}
