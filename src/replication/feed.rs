//! The master's side to one replica as a step function: what to write to it next.
//!
//! The life of a feed:
//! 1. `Queued`: the replica waits for a snapshot to begin. Line feeds keep its link alive.
//! 2. `Announced`: the snapshot's offset is fixed, `+FULLRESYNC` was said. Line feeds still do.
//! 3. `Snapshot`: `$<len>` or `$EOF:<delimiter>` was said and the payload is under way. Nothing may come
//!    between.
//! 4. `Unconfirmed`: a payload that ended with a delimiter was sent whole. The replica says that it has
//!    loaded it with its first acknowledgement; only then the stream begins.
//! 5. `Online`: the log, from the snapshot's offset on. A partial resync begins here.
//!
//! The snapshot's bytes go from the caller to the socket directly; the feed only frames them. PING is part of
//! the log and so not said here.

use bytes::Bytes;

use super::log::{Pieces, ReplOffset, ReplicationLog};
use super::psync::{continue_line, full_resync_line};
use super::replid::ReplId;
use crate::base::clock::UnixMillis;

/// Keeps a waiting replica's link alive; replicas skip it before a payload.
pub const KEEPALIVE: &[u8] = b"\n";

/// How the replica finds the end of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The size is known.
    Length(u64),
    /// 40 random characters end it. Only for a replica that said `capa eof`.
    Eof([u8; 40]),
}

impl Framing {
    pub fn random_eof(rng: &mut fastrand::Rng) -> Self {
        let mut delimiter = [0; 40];
        delimiter.copy_from_slice(ReplId::random(rng).as_bytes());
        Self::Eof(delimiter)
    }

    fn header(self) -> Bytes {
        match self {
            Self::Length(len) => format!("${len}\r\n").into(),
            Self::Eof(delimiter) => [b"$EOF:", &delimiter[..], b"\r\n"].concat().into(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Queued { since: UnixMillis },
    Announced,
    Snapshot { framing: Framing, sent_bytes: u64 },
    Unconfirmed,
    Online,
}

/// What the master does next for a replica.
#[derive(Debug, PartialEq, Eq)]
pub enum FeedStep {
    Write(Pieces),
    /// The payload is the caller's to write; `snapshot_sent` and `snapshot_done` say how it went.
    Snapshot,
    /// Nothing until the replica, the snapshot or the log moves.
    Idle,
    /// The log no longer holds what the replica lacks: close the link, it will ask again.
    Lost,
}

/// The payload had another size than its header promised: the link is beyond repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongSnapshotSize {
    pub promised: u64,
    pub sent: u64,
}

/// One replica's feed.
#[derive(Debug)]
pub struct ReplicaFeed {
    state: State,
    /// It said PSYNC and is told which history it gets; after SYNC it expects no line.
    is_named: bool,
    /// Lines that precede whatever the state sends.
    lines: Pieces,
    /// How far the log has been handed out, or the snapshot's offset.
    position: ReplOffset,
}

impl ReplicaFeed {
    /// For a replica that needs a full resync.
    pub fn full_resync(since: UnixMillis, is_named: bool) -> Self {
        let state = State::Queued { since };
        Self { state, is_named, lines: Pieces::new(), position: ReplOffset::default() }
    }

    /// For a replica that continues at `from`.
    pub fn partial_resync(replid: ReplId, from: ReplOffset, is_psync2: bool) -> Self {
        let mut lines = Pieces::new();
        lines.push(continue_line(replid, is_psync2).into());
        Self { state: State::Online, is_named: true, lines, position: from }
    }

    /// Since when it waits for a snapshot to begin, if it does.
    pub fn queued_since(&self) -> Option<UnixMillis> {
        match self.state {
            State::Queued { since } => Some(since),
            _ => None,
        }
    }

    pub fn is_named(&self) -> bool {
        self.is_named
    }

    /// The snapshot has been taken at `offset` of history `replid`.
    pub fn announce(&mut self, replid: ReplId, offset: ReplOffset) {
        assert!(self.queued_since().is_some(), "a snapshot is announced once");
        if self.is_named {
            self.lines.push(full_resync_line(replid, offset).into());
        }
        self.position = offset;
        self.state = State::Announced;
    }

    /// The payload is ready to be sent.
    pub fn begin_snapshot(&mut self, framing: Framing) {
        assert_eq!(self.state, State::Announced, "a payload follows its announcement");
        self.lines.push(framing.header());
        self.state = State::Snapshot { framing, sent_bytes: 0 };
    }

    /// The caller has written `bytes` of the payload.
    pub fn snapshot_sent(&mut self, bytes: usize) {
        if let State::Snapshot { sent_bytes, .. } = &mut self.state {
            *sent_bytes += bytes as u64;
        }
    }

    /// The caller has written the last of the payload.
    pub fn snapshot_done(&mut self) -> Result<(), WrongSnapshotSize> {
        match self.state {
            State::Snapshot { framing: Framing::Length(promised), sent_bytes: sent } if promised != sent => {
                return Err(WrongSnapshotSize { promised, sent });
            }
            State::Snapshot { framing: Framing::Length(_), .. } => self.state = State::Online,
            State::Snapshot { framing: Framing::Eof(delimiter), .. } => {
                self.lines.push(Bytes::copy_from_slice(&delimiter));
                self.state = State::Unconfirmed;
            }
            _ => {}
        }
        Ok(())
    }

    /// The replica has acknowledged something: it has loaded its snapshot.
    pub fn note_ack(&mut self) {
        if self.state == State::Unconfirmed {
            self.state = State::Online;
        }
    }

    /// What to write next, at most `bytes_max` of the log at once.
    pub fn next(&mut self, log: &mut ReplicationLog, bytes_max: usize) -> FeedStep {
        if !self.lines.is_empty() {
            return FeedStep::Write(std::mem::take(&mut self.lines));
        }
        match self.state {
            State::Snapshot { .. } => FeedStep::Snapshot,
            State::Queued { .. } | State::Announced | State::Unconfirmed => FeedStep::Idle,
            State::Online => match log.read_from(self.position, bytes_max) {
                None => FeedStep::Lost,
                Some(pieces) if pieces.is_empty() => FeedStep::Idle,
                Some(pieces) => {
                    self.position = self.position.advanced(pieces.iter().map(Bytes::len).sum());
                    FeedStep::Write(pieces)
                }
            },
        }
    }

    /// What keeps the link alive while the replica waits, when that is allowed.
    pub fn keepalive(&self) -> Option<&'static [u8]> {
        matches!(self.state, State::Queued { .. } | State::Announced).then_some(KEEPALIVE)
    }

    /// From where on this replica still needs the log; None while that is open.
    pub fn position(&self) -> Option<ReplOffset> {
        self.queued_since().is_none().then_some(self.position)
    }

    /// Whether the replica has its data, so that it counts and receives the stream.
    pub fn is_online(&self) -> bool {
        matches!(self.state, State::Unconfirmed | State::Online)
    }

    /// Whether the payload is being sent.
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, State::Snapshot { .. })
    }

    /// Whether a snapshot is still on its way to the replica.
    pub fn is_sending_snapshot(&self) -> bool {
        matches!(self.state, State::Announced | State::Snapshot { .. })
    }

    /// INFO's word for the state.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Queued { .. } | State::Announced => "wait_bgsave",
            // Redis' child writes such a payload to the socket itself, and its end is what is waited for.
            State::Snapshot { framing: Framing::Eof(_), .. } => "wait_bgsave",
            State::Snapshot { framing: Framing::Length(_), .. } => "send_bulk",
            State::Unconfirmed | State::Online => "online",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replid() -> ReplId {
        ReplId::parse(&[b'a'; 40]).unwrap()
    }

    fn log() -> ReplicationLog {
        let mut log = ReplicationLog::new(ReplOffset(100));
        log.activate();
        log
    }

    #[track_caller]
    fn writes(feed: &mut ReplicaFeed, log: &mut ReplicationLog, expected: &str) {
        match feed.next(log, 1000) {
            FeedStep::Write(pieces) => assert_eq!(String::from_utf8(pieces.concat()).unwrap(), expected),
            other => panic!("{other:?} instead of {expected}"),
        }
    }

    #[test]
    fn a_payload_of_known_length_is_followed_by_the_log_at_once() {
        let (mut feed, mut log) = (ReplicaFeed::full_resync(UnixMillis(0), true), log());
        assert_eq!(feed.next(&mut log, 1000), FeedStep::Idle);
        assert_eq!((feed.keepalive(), feed.position()), (Some(KEEPALIVE), None));
        feed.announce(replid(), log.end_offset());
        log.append(b"later");
        writes(&mut feed, &mut log, &format!("+FULLRESYNC {} 100\r\n", replid()));
        assert_eq!((feed.state_name(), feed.keepalive()), ("wait_bgsave", Some(KEEPALIVE)));
        feed.begin_snapshot(Framing::Length(3));
        writes(&mut feed, &mut log, "$3\r\n");
        assert_eq!((feed.state_name(), feed.keepalive()), ("send_bulk", None));
        assert_eq!(feed.next(&mut log, 1000), FeedStep::Snapshot);
        feed.snapshot_sent(2);
        assert_eq!(feed.snapshot_done(), Err(WrongSnapshotSize { promised: 3, sent: 2 }));
        feed.snapshot_sent(1);
        feed.snapshot_done().unwrap();
        assert!(feed.is_online());
        writes(&mut feed, &mut log, "later");
        assert_eq!(feed.next(&mut log, 1000), FeedStep::Idle);
        assert_eq!(feed.position(), Some(ReplOffset(105)));
    }

    #[test]
    fn after_a_delimiter_the_log_waits_for_the_first_acknowledgement() {
        let (mut feed, mut log) = (ReplicaFeed::full_resync(UnixMillis(0), true), log());
        feed.announce(replid(), log.end_offset());
        log.append(b"later");
        feed.begin_snapshot(Framing::Eof([b'e'; 40]));
        let delimiter = "e".repeat(40);
        writes(&mut feed, &mut log, &format!("+FULLRESYNC {} 100\r\n$EOF:{delimiter}\r\n", replid()));
        feed.snapshot_sent(1234);
        feed.snapshot_done().unwrap();
        writes(&mut feed, &mut log, &delimiter);
        assert_eq!((feed.next(&mut log, 1000), feed.state_name()), (FeedStep::Idle, "online"));
        feed.note_ack();
        writes(&mut feed, &mut log, "later");
    }

    #[test]
    fn a_partial_resync_says_continue_and_goes_on() {
        let mut log = log();
        log.append(b"0123456789");
        let mut feed = ReplicaFeed::partial_resync(replid(), ReplOffset(104), true);
        writes(&mut feed, &mut log, &format!("+CONTINUE {}\r\n", replid()));
        writes(&mut feed, &mut log, "456789");
    }

    #[test]
    fn a_replica_that_says_sync_is_not_told_an_id() {
        let (mut feed, mut log) = (ReplicaFeed::full_resync(UnixMillis(0), false), log());
        feed.announce(replid(), log.end_offset());
        feed.begin_snapshot(Framing::Length(0));
        writes(&mut feed, &mut log, "$0\r\n");
    }

    #[test]
    fn a_replica_behind_the_backlog_is_lost() {
        let mut log = log();
        let mut feed = ReplicaFeed::partial_resync(replid(), ReplOffset(100), false);
        writes(&mut feed, &mut log, "+CONTINUE\r\n");
        log.reset(ReplOffset(200));
        assert_eq!(feed.next(&mut log, 1000), FeedStep::Lost);
    }
}
