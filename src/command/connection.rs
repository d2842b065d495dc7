//! Commands on the connection itself: who it is, which protocol it speaks, which database it works on.

use super::options::{db_index, integer, integer_in};
use super::spec::*;
use crate::config::REDIS_VERSION;
use crate::engine::client::{Closing, ReplyMode};
use crate::engine::{Client, ClientId, Engine};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::resp::reply::Protocol;

/// The only user while there are no ACL rules.
const DEFAULT_USER: &[u8] = b"default";

const OPEN: Flags = NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY;

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::engine("auth", -2, OPEN, "connection", auth).docs(
        "1.0.0",
        "O(N) where N is the number of passwords defined for the user",
        "Proves who the client is with a password.",
        "[username] password",
    ),
    CommandSpec::engine("echo", 2, LOADING | STALE | FAST, "connection", echo).docs(
        "1.0.0",
        "O(1)",
        "Answers its argument.",
        "message",
    ),
    CommandSpec::engine("hello", -1, OPEN, "connection", hello).docs(
        "6.0.0",
        "O(1)",
        "Chooses the protocol version and introduces server and client to each other.",
        "[protover [AUTH username password] [SETNAME clientname]]",
    ),
    CommandSpec::engine("ping", -1, FAST | SUBSCRIBER | HEALTH, "connection", ping)
        .docs("1.0.0", "O(1)", "Answers PONG, or its argument: a sign of life.", "[message]")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    CommandSpec::engine("quit", -1, OPEN | NOT_QUEUED | SUBSCRIBER, "connection", quit).docs(
        "1.0.0",
        "O(1)",
        "Closes the connection.",
        "",
    ),
    CommandSpec::engine("reset", 1, OPEN | NOT_QUEUED | SUBSCRIBER, "connection", reset).docs(
        "6.2.0",
        "O(1)",
        "Puts the connection into the state of a new one.",
        "",
    ),
    CommandSpec::engine("select", 2, LOADING | STALE | FAST, "connection", select).docs(
        "1.0.0",
        "O(1)",
        "Chooses the database of the connection.",
        "index",
    ),
];

/// The client that runs a command.
pub(super) fn caller(engine: &mut Engine, id: ClientId) -> &mut Client {
    engine.clients.get_mut(id).expect("the client whose command runs is there")
}

/// `AUTH [username] password`
fn auth(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    engine.redacted_args.extend(1..args.len());
    let (user, password) = match args.len() {
        2 if engine.config.requirepass.is_empty() => return Err(ErrorReply::NO_PASSWORD_SET),
        2 => (DEFAULT_USER, args.bytes(1)),
        3 => (args.bytes(1), args.bytes(2)),
        _ => return Err(ErrorReply::SYNTAX),
    };
    authenticate(engine, id, user, password)?;
    caller(engine, id).reply().ok();
    Ok(Flow::Done)
}

fn authenticate(engine: &mut Engine, id: ClientId, user: &[u8], password: &[u8]) -> Result<(), ErrorReply> {
    let expected = engine.config.requirepass.as_bytes();
    let is_right = expected.is_empty() || is_equal_in_constant_time(expected, password);
    if user != DEFAULT_USER || !is_right {
        return Err(ErrorReply::WRONG_PASS);
    }
    caller(engine, id).is_authenticated = true;
    Ok(())
}

/// Compares without telling by its duration how much of a guess was right. It takes as long as `given` is long.
fn is_equal_in_constant_time(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = expected.len() ^ given.len();
    for (i, &byte) in given.iter().enumerate() {
        difference |= usize::from(byte ^ expected[i % expected.len().max(1)]);
    }
    std::hint::black_box(difference) == 0
}

/// `ECHO message`
fn echo(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    caller(engine, id).reply().bulk(args.bytes(1));
    Ok(Flow::Done)
}

/// `PING [message]`
fn ping(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    if args.len() > 2 {
        return Err(ErrorReply::wrong_arity("ping"));
    }
    let client = caller(engine, id);
    if client.is_in_subscriber_mode() {
        // There every reply has the form of a message.
        let mut reply = client.reply();
        reply.array(2);
        reply.bulk("pong");
        reply.bulk(args.get(1).unwrap_or_default());
        return Ok(Flow::Done);
    }
    match args.get(1) {
        Some(message) => client.reply().bulk(message),
        None => client.reply().simple("PONG"),
    }
    Ok(Flow::Done)
}

/// What HELLO asks for.
#[derive(Default)]
struct Hello<'a> {
    protocol: Option<Protocol>,
    auth: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> Hello<'a> {
    /// Also notes which arguments are secret.
    fn parse(args: &Args<'a>, redacted: &mut Vec<usize>) -> Result<Self, ErrorReply> {
        let mut hello = Self::default();
        let Some(version) = args.get(1) else { return Ok(hello) };
        hello.protocol = match integer(version) {
            Ok(2) => Some(Protocol::Resp2),
            Ok(3) => Some(Protocol::Resp3),
            Ok(_) => return Err(ErrorReply::NO_PROTO),
            Err(_) => {
                return Err(ErrorReply::fixed("ERR Protocol version is not an integer or out of range"));
            }
        };
        let mut i = 2;
        while i < args.len() {
            let follow = args.len() - i - 1;
            if args.is(i, "AUTH") && follow >= 2 {
                redacted.extend([i + 1, i + 2]);
                hello.auth = Some((args.bytes(i + 1), args.bytes(i + 2)));
                i += 3;
            } else if args.is(i, "SETNAME") && follow >= 1 {
                let name = args.bytes(i + 1);
                check_name(name)?;
                hello.name = Some(name);
                i += 2;
            } else {
                let option = String::from_utf8_lossy(args.bytes(i));
                return Err(ErrorReply::new(format!("ERR Syntax error in HELLO option '{option}'")));
            }
        }
        Ok(hello)
    }
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`
fn hello(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let hello = Hello::parse(args, &mut engine.redacted_args)?;
    if let Some((user, password)) = hello.auth {
        authenticate(engine, id, user, password)?;
    }
    let role = engine.role_name();
    let client = caller(engine, id);
    if !client.is_authenticated {
        return Err(ErrorReply::HELLO_WITHOUT_AUTH);
    }
    if let Some(name) = hello.name {
        client.name = name.to_vec();
    }
    if let Some(protocol) = hello.protocol {
        client.protocol = protocol;
    }
    let version = if client.protocol == Protocol::Resp3 { 3 } else { 2 };
    let mut reply = client.reply();
    reply.map(7);
    reply.bulk("server");
    reply.bulk("redis");
    reply.bulk("version");
    reply.bulk(REDIS_VERSION);
    reply.bulk("proto");
    reply.integer(version);
    reply.bulk("id");
    reply.integer(id.0 as i64);
    reply.bulk("mode");
    reply.bulk("standalone");
    reply.bulk("role");
    reply.bulk(role);
    reply.bulk("modules");
    reply.array(0);
    Ok(Flow::Done)
}

/// Names stand in lines of fields that are divided by spaces.
pub(super) fn check_name(name: &[u8]) -> Result<(), ErrorReply> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) { Ok(()) } else { Err(ErrorReply::CLIENT_NAME) }
}

/// `QUIT`
fn quit(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    let client = caller(engine, id);
    client.reply().ok();
    client.closing = Closing::AfterReplies;
    Ok(Flow::Done)
}

/// `RESET`
fn reset(engine: &mut Engine, id: ClientId, _: &Args<'_>) -> CommandResult {
    engine.discard_transaction(id);
    engine.stop_monitoring(id);
    engine.unsubscribe_all(id);
    let needs_password = !engine.config.requirepass.is_empty();
    let client = caller(engine, id);
    client.db_index = 0;
    client.protocol = Protocol::Resp2;
    client.name.clear();
    client.reply_mode = ReplyMode::On;
    client.is_no_touch = false;
    client.is_authenticated = !needs_password;
    client.reply().simple("RESET");
    Ok(Flow::Done)
}

/// `SELECT index`
fn select(engine: &mut Engine, id: ClientId, args: &Args<'_>) -> CommandResult {
    let int = i64::from(i32::MIN)..=i64::from(i32::MAX);
    integer_in(args.bytes(1), int, ErrorReply::OUT_OF_I32_RANGE)?;
    let db_index = db_index(args.bytes(1), engine.keyspace.len())?;
    let client = caller(engine, id);
    client.db_index = db_index;
    client.reply().ok();
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_equal_only_as_a_whole() {
        assert!(is_equal_in_constant_time(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secretsecret", b"Secret", b"secret\0"] {
            assert!(!is_equal_in_constant_time(b"secret", wrong));
        }
    }
}
