//! Commands of publish/subscribe.

use super::connection::caller;
use super::introspection::reply_help;
use super::spec::*;
use crate::base::glob::{self, Case};
use crate::engine::client::ReplyMode;
use crate::engine::effects::Propagation;
use crate::engine::pubsub::Topic;
use crate::engine::{ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

const OPEN: Flags = PUBSUB | LOADING | STALE;
const LISTENING: Flags = OPEN | NOSCRIPT | SUBSCRIBER;

const SHARD_CHANNELS: &[KeySpec] = &[KeySpec::range(1, -1, 1, NOT_KEY)];
const SHARD_CHANNEL: &[KeySpec] = &[KeySpec::range(1, 1, 1, NOT_KEY)];

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::engine("psubscribe", -2, LISTENING, "pubsub", psubscribe).docs(
        "2.0.0",
        "O(N) where N is the number of patterns the client is already subscribed to.",
        "Listens to channels whose names match patterns.",
        "pattern [pattern ...]",
    ),
    CommandSpec::engine("publish", 3, OPEN | FAST | MAY_REPLICATE, "pubsub", publish).docs(
        "2.0.0",
        "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of \
         subscribed patterns (by any client).",
        "Sends a message to a channel.",
        "channel message",
    ),
    CommandSpec::container("pubsub", "pubsub").docs(
        "2.8.0",
        "Depends on subcommand.",
        "Commands on the state of publish/subscribe.",
        "",
    ),
    CommandSpec::engine("pubsub|channels", -2, OPEN, "pubsub", channels).docs(
        "2.8.0",
        "O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively \
         short channels and patterns)",
        "Channels that have subscribers.",
        "[pattern]",
    ),
    CommandSpec::engine("pubsub|help", 2, LOADING | STALE, "pubsub", help).docs(
        "6.2.0",
        "O(1)",
        "Lists the sub-commands.",
        "",
    ),
    CommandSpec::engine("pubsub|numpat", 2, OPEN, "pubsub", numpat).docs(
        "2.8.0",
        "O(1)",
        "How many different patterns are subscribed to.",
        "",
    ),
    CommandSpec::engine("pubsub|numsub", -2, OPEN, "pubsub", numsub).docs(
        "2.8.0",
        "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
        "How many subscribers channels have, patterns not counted.",
        "[channel [channel ...]]",
    ),
    CommandSpec::engine("pubsub|shardchannels", -2, OPEN, "pubsub", shardchannels).docs(
        "7.0.0",
        "O(N) where N is the number of active shard channels, and assuming constant time pattern matching \
         (relatively short shard channels).",
        "Shard channels that have subscribers.",
        "[pattern]",
    ),
    CommandSpec::engine("pubsub|shardnumsub", -2, OPEN, "pubsub", shardnumsub).docs(
        "7.0.0",
        "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
        "How many subscribers shard channels have.",
        "[shardchannel [shardchannel ...]]",
    ),
    CommandSpec::engine("punsubscribe", -1, LISTENING, "pubsub", punsubscribe).docs(
        "2.0.0",
        "O(N+M) where N is the number of patterns the client is already subscribed and M is the number of total \
         patterns subscribed in the system (by any client).",
        "Stops listening to patterns, or to all of them.",
        "[pattern [pattern ...]]",
    ),
    CommandSpec::engine("spublish", 3, OPEN | FAST | MAY_REPLICATE, "pubsub", spublish).keys(SHARD_CHANNEL).docs(
        "7.0.0",
        "O(N) where N is the number of clients subscribed to the receiving shard channel.",
        "Sends a message to a shard channel.",
        "shardchannel message",
    ),
    CommandSpec::engine("ssubscribe", -2, LISTENING, "pubsub", ssubscribe).keys(SHARD_CHANNELS).docs(
        "7.0.0",
        "O(N) where N is the number of shard channels to subscribe to.",
        "Listens to shard channels.",
        "shardchannel [shardchannel ...]",
    ),
    CommandSpec::engine("subscribe", -2, LISTENING, "pubsub", subscribe).docs(
        "2.0.0",
        "O(N) where N is the number of channels to subscribe to.",
        "Listens to channels.",
        "channel [channel ...]",
    ),
    CommandSpec::engine("sunsubscribe", -1, LISTENING, "pubsub", sunsubscribe).keys(SHARD_CHANNELS).docs(
        "7.0.0",
        "O(N) where N is the number of clients already subscribed to a shard channel.",
        "Stops listening to shard channels, or to all of them.",
        "[shardchannel [shardchannel ...]]",
    ),
    CommandSpec::engine("unsubscribe", -1, LISTENING, "pubsub", unsubscribe).docs(
        "2.0.0",
        "O(N) where N is the number of clients already subscribed to a channel.",
        "Stops listening to channels, or to all of them.",
        "[channel [channel ...]]",
    ),
];

/// `SUBSCRIBE channel [channel ...]`
fn subscribe(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    join(engine, id, Topic::Channel, "subscribe", args)
}

/// `PSUBSCRIBE pattern [pattern ...]`
fn psubscribe(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    join(engine, id, Topic::Pattern, "psubscribe", args)
}

/// `SSUBSCRIBE shardchannel [shardchannel ...]`
fn ssubscribe(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    join(engine, id, Topic::ShardChannel, "ssubscribe", args)
}

/// `UNSUBSCRIBE [channel [channel ...]]`
fn unsubscribe(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    leave(engine, id, Topic::Channel, "unsubscribe", args)
}

/// `PUNSUBSCRIBE [pattern [pattern ...]]`
fn punsubscribe(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    leave(engine, id, Topic::Pattern, "punsubscribe", args)
}

/// `SUNSUBSCRIBE [shardchannel [shardchannel ...]]`
fn sunsubscribe(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    leave(engine, id, Topic::ShardChannel, "sunsubscribe", args)
}

fn join(
    engine: &mut Engine,
    id: ClientId,
    topic: Topic,
    event: &'static str,
    args: &Args<'_>,
) -> CommandResult {
    for name in args.from(1).iter() {
        engine.subscribe(id, topic, name);
        confirm(engine, id, topic, event, Some(name));
    }
    Ok(Flow::Done)
}

fn leave(
    engine: &mut Engine,
    id: ClientId,
    topic: Topic,
    event: &'static str,
    args: &Args<'_>,
) -> CommandResult {
    if args.len() > 1 {
        for name in args.from(1).iter() {
            engine.unsubscribe(id, topic, name);
            confirm(engine, id, topic, event, Some(name));
        }
        return Ok(Flow::Done);
    }
    let names = caller(engine, id).subscriptions(topic).clone();
    for name in &names {
        engine.unsubscribe(id, topic, name);
        confirm(engine, id, topic, event, Some(name));
    }
    if names.is_empty() {
        confirm(engine, id, topic, event, None);
    }
    Ok(Flow::Done)
}

/// Tells a client of a subscription that began or ended. This is no reply: CLIENT REPLY OFF does not silence it.
fn confirm(engine: &mut Engine, id: ClientId, topic: Topic, event: &'static str, name: Option<&[u8]>) {
    let client = caller(engine, id);
    let count = client.subscriptions_shown(topic) as i64;
    let is_silenced = client.reply_mode != ReplyMode::On;
    let protocol = client.protocol;
    let out = if is_silenced { &mut client.out_later } else { &mut client.out };
    let mut reply = crate::resp::reply::Reply::new(out, protocol);
    reply.push(3);
    reply.bulk(event);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(count);
}

/// Replicas' subscribers hear a message too. A master that has come back is told much by sentinels, before it learns that it
/// was replaced; that must not part it from its history.
fn propagate_message(engine: &mut Engine) {
    if !engine.role.stream().may_stay_silent() {
        engine.effects.propagation = Propagation::ForcedToReplicas;
    }
}

/// `PUBLISH channel message`
fn publish(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let receivers = engine.publish(args.bytes(1), args.bytes(2));
    propagate_message(engine);
    caller(engine, id).reply().integer(receivers as i64);
    Ok(Flow::Done)
}

/// `SPUBLISH shardchannel message`
fn spublish(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let receivers = engine.publish_to_shard(args.bytes(1), args.bytes(2));
    propagate_message(engine);
    caller(engine, id).reply().integer(receivers as i64);
    Ok(Flow::Done)
}

/// `PUBSUB CHANNELS [pattern]`
fn channels(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    reply_names(engine, id, Topic::Channel, args)
}

/// `PUBSUB SHARDCHANNELS [pattern]`
fn shardchannels(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    reply_names(engine, id, Topic::ShardChannel, args)
}

fn reply_names(engine: &mut Engine, id: ClientId, topic: Topic, args: &Args<'_>) -> CommandResult {
    if args.len() > 3 {
        return Err(ErrorReply::subcommand_syntax("PUBSUB", args.bytes(1)));
    }
    let is_wanted =
        |name: &&[u8]| args.get(2).is_none_or(|pattern| glob::matches(pattern, name, Case::Sensitive));
    let names = engine.pubsub.names(topic);
    let names: Vec<Vec<u8>> = names.into_iter().filter(is_wanted).map(<[u8]>::to_vec).collect();
    let mut reply = caller(engine, id).reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(name);
    }
    Ok(Flow::Done)
}

/// `PUBSUB NUMPAT`
fn numpat(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let count = engine.pubsub.patterns.len();
    caller(engine, id).reply().integer(count as i64);
    Ok(Flow::Done)
}

/// `PUBSUB NUMSUB [channel [channel ...]]`
fn numsub(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    reply_counts(engine, id, Topic::Channel, args)
}

/// `PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]`
fn shardnumsub(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    reply_counts(engine, id, Topic::ShardChannel, args)
}

fn reply_counts(engine: &mut Engine, id: ClientId, topic: Topic, args: &Args<'_>) -> CommandResult {
    let names = args.from(2);
    caller(engine, id).reply().array(names.len() * 2);
    for name in names.iter() {
        let count = engine.pubsub.subscribers_len(topic, name);
        let mut reply = caller(engine, id).reply();
        reply.bulk(name);
        reply.integer(count as i64);
    }
    Ok(Flow::Done)
}

/// `PUBSUB HELP`
fn help(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    reply_help(engine, id, args)
}
