//! The replica's side of the link as a step function: the handshake, the payload, then the stream.
//!
//! The handshake says PING, to see that the master answers; AUTH when there is a password; REPLCONF
//! listening-port, ip-address (when one is announced) and capa; PSYNC. What follows is the payload of a full
//! resync, or the stream at once.
//!
//! One request is under way at a time. A master may put line feeds before any reply while it is busy; they
//! are skipped. Nothing is buffered but one unfinished line, whose length is bounded. Time is the caller's:
//! it gives up a link that has been silent for `repl-timeout`.

use std::mem;

use super::log::ReplOffset;
use super::payload::{Payload, Piece};
use super::replid::ReplId;
use crate::resp::reply::write_request;

/// A longer line is no reply to anything said here.
const LINE_BYTES_MAX: usize = 1024;

/// What is said to the master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOptions {
    /// Where this server's own clients connect, or what it announces instead.
    pub listening_port: u16,
    pub announce_ip: Option<String>,
    pub auth: Option<Auth>,
    /// The history held and its end; None asks for everything.
    pub psync_from: Option<(ReplId, ReplOffset)>,
    /// The other side is a replica that is to take over.
    pub is_failover: bool,
}

/// `masterauth` with `masteruser`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    pub user: Option<String>,
    pub password: String,
}

/// What the caller does, or learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// To be written to the master.
    Send(Vec<u8>),
    /// A snapshot of this history at this offset follows. None: the master only knows SYNC.
    FullSync { history: Option<(ReplId, ReplOffset)> },
    /// The payload's header; its size unless a delimiter ends it.
    SnapshotSize(Option<u64>),
    /// The next bytes of the snapshot.
    SnapshotChunk(&'a [u8]),
    /// The snapshot is complete. Once it is loaded the caller acknowledges its offset: a master that ended
    /// the payload with a delimiter sends nothing before.
    SnapshotEnd,
    /// The stream goes on from where it was asked for; under this id, if one is named.
    Continue { replid: Option<ReplId> },
    /// The master's effects, from the first byte on.
    Stream(&'a [u8]),
    /// The link is of no use any more: close it, try again later.
    Failed(Failure),
}

/// Why a link failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The master is not ready: it loads its data, or has no link to its own master.
    NotReady,
    /// The master said an error: wrong password, missing permission, an aborted snapshot.
    Refused,
    /// What came is not this protocol.
    Protocol,
    /// The replica that was to take over does not.
    FailoverRefused,
}

/// What the next bytes of the master are.
#[derive(Debug)]
enum State {
    Idle,
    /// The reply to a request of the handshake.
    Reply(Request),
    /// The payload's header. `history` was told by `+FULLRESYNC`, or there is none after SYNC.
    Header {
        is_named: bool,
    },
    /// The header has been read but not reported.
    Begin(Payload),
    Payload(Payload),
    Stream,
    Failed,
}

/// The requests of the handshake, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Ping,
    Auth,
    ListeningPort,
    IpAddress,
    Capa,
    Psync,
}

/// One link to a master, from its first byte to its last.
#[derive(Debug)]
pub struct MasterLink {
    options: LinkOptions,
    state: State,
    /// The line that has not ended yet.
    line: Vec<u8>,
}

impl MasterLink {
    pub fn new(options: LinkOptions) -> Self {
        Self { options, state: State::Idle, line: Vec::new() }
    }

    /// The connection stands: what to send first.
    pub fn start(&mut self) -> Vec<u8> {
        self.ask(Request::Ping)
    }

    /// Whether all that comes from here on is the stream, so that the caller may read it directly.
    pub fn is_streaming(&self) -> bool {
        match &self.state {
            State::Payload(payload) => payload.is_complete(),
            state => matches!(state, State::Stream),
        }
    }

    /// Takes the next event from the front of `input`. None: all of it is used, read more.
    pub fn receive<'e, 'i: 'e>(&'e mut self, input: &mut &'i [u8]) -> Option<Event<'e>> {
        if self.is_streaming() {
            self.state = State::Stream;
        }
        match self.state {
            State::Idle | State::Failed => {
                *input = &[];
                None
            }
            State::Begin(_) => self.begin_payload(),
            State::Payload(_) => self.take_payload(input),
            State::Stream => (!input.is_empty()).then(|| Event::Stream(mem::take(input))),
            State::Reply(_) | State::Header { .. } => self.take_lines(input),
        }
    }

    /// Reads lines until one of them is an event; empty ones are none.
    fn take_lines<'e>(&mut self, input: &mut &[u8]) -> Option<Event<'e>> {
        loop {
            let end = memchr::memchr(b'\n', input);
            let (part, rest) = input.split_at(end.map_or(input.len(), |at| at + 1));
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                return Some(self.fail(FailureKind::Protocol, "line too long from the master".to_owned()));
            }
            self.line.extend_from_slice(part);
            *input = rest;
            end?;
            let line = mem::take(&mut self.line);
            let line = line.trim_ascii_end();
            if !line.is_empty() {
                return Some(self.take_line(line));
            }
        }
    }

    fn take_line<'e>(&mut self, line: &[u8]) -> Event<'e> {
        match self.state {
            State::Reply(Request::Psync) => self.take_psync_reply(line),
            State::Reply(request) => self.take_reply(request, line),
            State::Header { is_named } => self.take_header(is_named, line),
            _ => self.fail_with(FailureKind::Protocol, "unexpected line", line),
        }
    }

    /// The reply to a request before PSYNC: on to the next one, or the end.
    fn take_reply<'e>(&mut self, request: Request, line: &[u8]) -> Event<'e> {
        match request {
            // The master lives. What it forbids is seen when the password has been given.
            Request::Ping if starts(line, &["+", "-NOAUTH", "-NOPERM", "-ERR operation not permitted"]) => {}
            Request::Ping => {
                let kind = if line.starts_with(b"-") { FailureKind::Refused } else { FailureKind::Protocol };
                let kind = if starts(line, &["-LOADING"]) { FailureKind::NotReady } else { kind };
                return self.fail_with(kind, "master answered PING with", line);
            }
            Request::Auth if line.starts_with(b"-") => {
                return self.fail_with(FailureKind::Refused, "Unable to AUTH to MASTER:", line);
            }
            // An old master that does not know an option of REPLCONF works without it.
            _ if starts(line, &["+", "-"]) => {}
            _ => return self.fail_with(FailureKind::Protocol, "unexpected reply to the handshake:", line),
        }
        Event::Send(self.ask(self.after(request)))
    }

    fn take_psync_reply<'e>(&mut self, line: &[u8]) -> Event<'e> {
        if let Some(told) = line.strip_prefix(b"+FULLRESYNC") {
            let Some(history) = parse_history(told) else {
                return self.fail_with(FailureKind::Protocol, "malformed reply to PSYNC:", line);
            };
            self.state = State::Header { is_named: true };
            return Event::FullSync { history: Some(history) };
        }
        if let Some(told) = line.strip_prefix(b"+CONTINUE") {
            if self.options.psync_from.is_none() {
                return self.fail_with(FailureKind::Protocol, "nothing to continue after", line);
            }
            self.state = State::Stream;
            return Event::Continue { replid: ReplId::parse(told.trim_ascii()) };
        }
        if self.options.is_failover {
            return self.fail_with(FailureKind::FailoverRefused, "failover refused:", line);
        }
        if starts(line, &["-NOMASTERLINK", "-LOADING"]) {
            return self.fail_with(FailureKind::NotReady, "master is not ready:", line);
        }
        if starts(line, &["-ERR"]) {
            // A master from before PSYNC.
            self.state = State::Header { is_named: false };
            return Event::Send(request(&["SYNC"]));
        }
        let kind = if line.starts_with(b"-") { FailureKind::Refused } else { FailureKind::Protocol };
        self.fail_with(kind, "unexpected reply to PSYNC:", line)
    }

    fn take_header<'e>(&mut self, is_named: bool, line: &[u8]) -> Event<'e> {
        if line.starts_with(b"-") {
            return self.fail_with(FailureKind::Refused, "master aborted the full resync:", line);
        }
        let Some(payload) = Payload::parse_header(line) else {
            return self.fail_with(FailureKind::Protocol, "malformed payload header:", line);
        };
        self.state = State::Begin(payload);
        if is_named {
            self.begin_payload().unwrap_or(Event::SnapshotSize(None))
        } else {
            Event::FullSync { history: None }
        }
    }

    fn begin_payload<'e>(&mut self) -> Option<Event<'e>> {
        let State::Begin(payload) = mem::replace(&mut self.state, State::Failed) else { return None };
        let size = payload.size();
        self.state = State::Payload(payload);
        Some(Event::SnapshotSize(size))
    }

    fn take_payload<'e, 'i: 'e>(&'e mut self, input: &mut &'i [u8]) -> Option<Event<'e>> {
        let State::Payload(payload) = &mut self.state else { return None };
        payload.take(input).map(|piece| match piece {
            Piece::Chunk(chunk) => Event::SnapshotChunk(chunk),
            Piece::End => Event::SnapshotEnd,
        })
    }

    fn after(&self, request: Request) -> Request {
        match request {
            Request::Ping if self.options.auth.is_some() => Request::Auth,
            Request::Ping | Request::Auth => Request::ListeningPort,
            Request::ListeningPort if self.options.announce_ip.is_some() => Request::IpAddress,
            Request::ListeningPort | Request::IpAddress => Request::Capa,
            Request::Capa | Request::Psync => Request::Psync,
        }
    }

    /// Writes a request and waits for its reply.
    fn ask(&mut self, asked: Request) -> Vec<u8> {
        self.state = State::Reply(asked);
        let options = &self.options;
        match asked {
            Request::Ping => request(&["PING"]),
            Request::Auth => match &options.auth {
                Some(Auth { user: Some(user), password }) => request(&["AUTH", user, password]),
                Some(Auth { user: None, password }) => request(&["AUTH", password]),
                None => request(&["AUTH"]),
            },
            Request::ListeningPort => {
                request(&["REPLCONF", "listening-port", &options.listening_port.to_string()])
            }
            Request::IpAddress => {
                request(&["REPLCONF", "ip-address", options.announce_ip.as_deref().unwrap_or_default()])
            }
            Request::Capa => request(&["REPLCONF", "capa", "eof", "capa", "psync2"]),
            Request::Psync => match options.psync_from {
                Some((replid, end)) => {
                    let (replid, next) = (replid.to_string(), end.next_byte().to_string());
                    let words = ["PSYNC", &replid, &next, "FAILOVER"];
                    request(&words[..if options.is_failover { 4 } else { 3 }])
                }
                None => request(&["PSYNC", "?", "-1"]),
            },
        }
    }

    fn fail_with<'e>(&mut self, kind: FailureKind, what: &str, line: &[u8]) -> Event<'e> {
        self.fail(kind, format!("{what} {}", line.escape_ascii()))
    }

    fn fail<'e>(&mut self, kind: FailureKind, reason: String) -> Event<'e> {
        self.state = State::Failed;
        self.line = Vec::new();
        Event::Failed(Failure { kind, reason })
    }
}

fn request(args: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    write_request(&mut out, args.iter());
    out
}

fn starts(line: &[u8], beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| line.starts_with(beginning.as_bytes()))
}

/// ` <replid> <offset>`
fn parse_history(told: &[u8]) -> Option<(ReplId, ReplOffset)> {
    let mut words = told.split(|&b| b == b' ').filter(|word| !word.is_empty());
    let replid = ReplId::parse(words.next()?)?;
    let offset = crate::base::number::parse_u64(words.next()?)?;
    // Offsets are signed on the wire; one that has no successor there is nobody's.
    (offset < i64::MAX as u64).then_some((replid, ReplOffset(offset)))
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
