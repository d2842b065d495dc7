//! Long reads beside the engine: a command that only looks, at so much that others would wait too long for it, works on
//! frozen data somewhere else while its client is parked.
//!
//! The engine decides and freezes (`command/long_read.rs`), the runtime runs the work, and the reply comes back here. A
//! client waits for one read at most, and what it sends meanwhile is run behind it, so its replies keep their order.

use super::blocked::BlockedOn;
use super::{ClientId, Engine};
use crate::resp::error::ErrorReply;
use crate::resp::reply::Reply;

/// From how many keys, elements or bytes on a read is long. Without a runtime none is: every command runs where it stands.
#[derive(Debug, Clone, Copy)]
pub struct LongReadLimits {
    pub keys_min: usize,
    pub elements_min: usize,
    pub bytes_min: usize,
}

impl Default for LongReadLimits {
    fn default() -> Self {
        Self { keys_min: usize::MAX, elements_min: usize::MAX, bytes_min: usize::MAX }
    }
}

/// A read that waits to be run.
pub struct LongRead {
    pub client: ClientId,
    /// The command's index in the table.
    pub command: usize,
    /// The work, with the frozen data that it looks at.
    pub run: Box<dyn FnOnce() -> ReadOutcome + Send>,
}

impl std::fmt::Debug for LongRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LongRead")
            .field("client", &self.client)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// The long part of a reply, to be written when its command is over: from data that it has taken out, or holds a copy of.
pub struct LateReply(pub Box<dyn FnOnce(&mut Reply<'_>) + Send>);

impl std::fmt::Debug for LateReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LateReply").finish_non_exhaustive()
    }
}

/// Where a command leaves the long part of its reply.
#[derive(Debug)]
pub struct LateReplies<'a> {
    limits: LongReadLimits,
    /// None for a command that runs beside the engine itself.
    place: Option<&'a mut Option<LateReply>>,
}

impl<'a> LateReplies<'a> {
    pub fn new(limits: LongReadLimits, place: &'a mut Option<LateReply>) -> Self {
        Self { limits, place: Some(place) }
    }

    /// Takes none: all of the reply is written at once.
    pub fn none() -> Self {
        Self { limits: LongReadLimits::default(), place: None }
    }

    /// How many elements are enough to be left here.
    pub fn elements_min(&self) -> usize {
        self.limits.elements_min
    }

    /// Whether so many elements of a reply are to be left here.
    pub fn take_elements(&self, elements: usize) -> bool {
        self.place.is_some() && elements >= self.limits.elements_min
    }

    /// Whether so many bytes of a reply are to be left here.
    pub fn take_bytes(&self, bytes: usize) -> bool {
        self.place.is_some() && bytes >= self.limits.bytes_min
    }

    /// Leaves the rest of the reply: the command writes nothing behind it.
    pub fn leave(&mut self, write: impl FnOnce(&mut Reply<'_>) + Send + 'static) {
        if let Some(place) = &mut self.place {
            debug_assert!(place.is_none(), "a reply has one end");
            **place = Some(LateReply(Box::new(write)));
        }
    }
}

/// What a read has found.
#[derive(Debug, Default)]
pub struct ReadOutcome {
    /// The reply as the client reads it; an error's line when it has failed.
    pub reply: Vec<u8>,
    pub error: Option<ErrorReply>,
    pub hits: u64,
    pub misses: u64,
}

impl Engine {
    /// Whether the client still waits for its read.
    pub fn waits_for_read(&self, id: ClientId) -> bool {
        let state = self.clients.get(id).and_then(|client| client.blocked.as_deref());
        state.is_some_and(|state| matches!(state.on, BlockedOn::Job))
    }

    /// Hands a read's reply to its client, which goes on. `nanos` is the time that the read took. A client that has gone
    /// reads nothing: the reply is given back.
    pub fn finish_read(&mut self, id: ClientId, command: usize, nanos: u64, outcome: ReadOutcome) -> Vec<u8> {
        self.stats.keyspace_hits += outcome.hits;
        self.stats.keyspace_misses += outcome.misses;
        let stats = &mut self.stats.commands[command];
        stats.nanos += nanos;
        if self.config.latency_tracking {
            stats.histogram.record(nanos);
        }
        if let Some(error) = &outcome.error {
            stats.failed += 1;
            self.stats.count_error(error.code());
        }
        if !self.waits_for_read(id) {
            return outcome.reply;
        }
        if let Some(client) = self.clients.get_mut(id) {
            client.append_long_reply(outcome.reply);
        }
        self.blocked.unblock(&mut self.clients, id);
        Vec::new()
    }
}
