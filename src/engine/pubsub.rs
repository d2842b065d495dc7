//! Publish/subscribe: who listens to which channel, and messages into their output buffers.
//!
//! A message is encoded once. RESP2 and RESP3 differ in its first byte alone: an array there, a push here.
//! Subscribers are kept in order of their numbers, so that what happens does not depend on chance.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::Engine;
use super::client::{Client, ClientId};
use crate::base::glob::{self, Case};
use crate::resp::reply::{Protocol, Reply};

/// The three name spaces of subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Channel,
    Pattern,
    ShardChannel,
}

type Subscribers = BTreeSet<ClientId>;

#[derive(Debug, Default)]
pub struct PubSub {
    pub channels: HashMap<Vec<u8>, Subscribers>,
    pub patterns: BTreeMap<Vec<u8>, Subscribers>,
    pub shard_channels: HashMap<Vec<u8>, Subscribers>,
}

impl PubSub {
    /// Names with subscribers, in order; of channels or shard channels.
    pub fn names(&self, topic: Topic) -> Vec<&[u8]> {
        let mut names: Vec<&[u8]> = match topic {
            Topic::Channel => self.channels.keys().map(Vec::as_slice).collect(),
            Topic::Pattern => self.patterns.keys().map(Vec::as_slice).collect(),
            Topic::ShardChannel => self.shard_channels.keys().map(Vec::as_slice).collect(),
        };
        names.sort_unstable();
        names
    }

    pub fn subscribers_len(&self, topic: Topic, name: &[u8]) -> usize {
        let subscribers = match topic {
            Topic::Channel => self.channels.get(name),
            Topic::Pattern => self.patterns.get(name),
            Topic::ShardChannel => self.shard_channels.get(name),
        };
        subscribers.map_or(0, BTreeSet::len)
    }

    fn insert(&mut self, topic: Topic, name: &[u8], id: ClientId) {
        let subscribers = match topic {
            Topic::Channel => self.channels.entry(name.to_vec()).or_default(),
            Topic::Pattern => self.patterns.entry(name.to_vec()).or_default(),
            Topic::ShardChannel => self.shard_channels.entry(name.to_vec()).or_default(),
        };
        subscribers.insert(id);
    }

    fn remove(&mut self, topic: Topic, name: &[u8], id: ClientId) {
        let subscribers = match topic {
            Topic::Channel => self.channels.get_mut(name),
            Topic::Pattern => self.patterns.get_mut(name),
            Topic::ShardChannel => self.shard_channels.get_mut(name),
        };
        let Some(subscribers) = subscribers else { return };
        subscribers.remove(&id);
        if !subscribers.is_empty() {
            return;
        }
        match topic {
            Topic::Channel => drop(self.channels.remove(name)),
            Topic::Pattern => drop(self.patterns.remove(name)),
            Topic::ShardChannel => drop(self.shard_channels.remove(name)),
        }
    }
}

impl Client {
    pub fn subscriptions(&self, topic: Topic) -> &BTreeSet<Vec<u8>> {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::ShardChannel => &self.shard_channels,
        }
    }

    fn subscriptions_mut(&mut self, topic: Topic) -> &mut BTreeSet<Vec<u8>> {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::ShardChannel => &mut self.shard_channels,
        }
    }

    /// The number that a confirmation shows: shard channels are counted by themselves.
    pub fn subscriptions_shown(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel | Topic::Pattern => self.channels.len() + self.patterns.len(),
            Topic::ShardChannel => self.shard_channels.len(),
        }
    }
}

impl Engine {
    pub fn subscribe(&mut self, id: ClientId, topic: Topic, name: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.subscriptions_mut(topic).insert(name.to_vec()) {
            self.pubsub.insert(topic, name, id);
        }
    }

    pub fn unsubscribe(&mut self, id: ClientId, topic: Topic, name: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.subscriptions_mut(topic).remove(name) {
            self.pubsub.remove(topic, name, id);
        }
    }

    /// Ends all subscriptions of a client without a word, as when it has gone.
    pub fn unsubscribe_all(&mut self, id: ClientId) {
        for topic in [Topic::Channel, Topic::Pattern, Topic::ShardChannel] {
            let Some(client) = self.clients.get_mut(id) else { return };
            for name in std::mem::take(client.subscriptions_mut(topic)) {
                self.pubsub.remove(topic, &name, id);
            }
        }
    }

    /// Sends a message to a channel's subscribers and to those whose patterns match; how often it was sent.
    pub fn publish(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let mut receivers = 0;
        if let Some(subscribers) = self.pubsub.channels.get(channel) {
            let ids: Vec<ClientId> = subscribers.iter().copied().collect();
            receivers += ids.len();
            self.deliver(&ids, &encode(&[b"message", channel, message]));
        }
        let matching: Vec<(Vec<u8>, Vec<ClientId>)> = self
            .pubsub
            .patterns
            .iter()
            .filter(|(pattern, _)| glob::matches(pattern, channel, Case::Sensitive))
            .map(|(pattern, subscribers)| (pattern.clone(), subscribers.iter().copied().collect()))
            .collect();
        for (pattern, ids) in matching {
            receivers += ids.len();
            self.deliver(&ids, &encode(&[b"pmessage", &pattern, channel, message]));
        }
        receivers
    }

    /// Sends a message to a shard channel's subscribers; how many there are.
    pub fn publish_to_shard(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let Some(subscribers) = self.pubsub.shard_channels.get(channel) else { return 0 };
        let ids: Vec<ClientId> = subscribers.iter().copied().collect();
        self.deliver(&ids, &encode(&[b"smessage", channel, message]));
        ids.len()
    }

    /// Appends one message to the output of each client.
    fn deliver(&mut self, ids: &[ClientId], message: &[u8]) {
        for &id in ids {
            let is_running = self.running == Some(id);
            let Some(client) = self.clients.get_mut(id) else { continue };
            let protocol = client.protocol_of_connection.unwrap_or(client.protocol);
            let kind = if protocol == Protocol::Resp3 { b'>' } else { b'*' };
            // What a client causes for itself it reads after its own reply.
            let out = if is_running { &mut client.out_later } else { &mut client.out };
            out.push(kind);
            out.extend_from_slice(message);
            self.clients.wake(id);
            self.enforce_output_limit(id);
        }
    }
}

/// A message without its first byte.
fn encode(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len() + 16).sum::<usize>() + 8);
    let mut reply = Reply::new(&mut out, Protocol::Resp2);
    reply.array(parts.len());
    for part in parts {
        reply.bulk(part);
    }
    out.remove(0);
    out
}
