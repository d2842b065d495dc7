//! The master's answer to PSYNC: go on from where the replica is, or send it everything.

use super::log::{ReplOffset, ReplicationLog};
use super::replid::{ReplId, ReplIds};
use crate::base::number::parse_i64;
use crate::resp::error::ErrorReply;

/// What a replica answers to SYNC and PSYNC while it has no data of its master to pass on.
pub const NO_MASTER_LINK: ErrorReply =
    ErrorReply::fixed("NOMASTERLINK Can't SYNC while not connected with my master");

/// `PSYNC replid offset`: the history that a replica holds, and the number of the byte it lacks next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PsyncRequest<'a> {
    pub replid: &'a [u8],
    pub offset: i64,
}

/// How a replica is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Psync {
    Continue { from: ReplOffset },
    FullResync(Cause),
}

/// Why there is no partial resync; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The replica has no history: `PSYNC ? -1`.
    Requested,
    /// It holds another history, or went further with the second one than this server did.
    OtherHistory,
    /// The bytes it lacks are no longer held, or it is ahead of this server.
    NotHeld,
}

impl<'a> PsyncRequest<'a> {
    /// Fails with "ERR value is not an integer..." for an offset that is no number; any number is
    /// well-formed.
    pub fn parse(replid: &'a [u8], offset: &[u8]) -> Result<Self, ErrorReply> {
        let offset = parse_i64(offset).ok_or(ErrorReply::NOT_AN_INTEGER)?;
        Ok(Self { replid, offset })
    }

    pub fn decide(&self, ids: &ReplIds, log: &ReplicationLog) -> Psync {
        if self.replid.first() == Some(&b'?') {
            return Psync::FullResync(Cause::Requested);
        }
        // Byte 0 does not exist, yet belongs to every history: what is missing then is the backlog.
        let position = ReplOffset::before_byte(self.offset);
        if !ids.cover(self.replid, position.unwrap_or_default()) {
            return Psync::FullResync(Cause::OtherHistory);
        }
        match position {
            Some(from) if log.holds(from) => Psync::Continue { from },
            _ => Psync::FullResync(Cause::NotHeld),
        }
    }
}

/// `+FULLRESYNC <replid> <offset>`: a snapshot taken at `offset` follows.
pub fn full_resync_line(replid: ReplId, offset: ReplOffset) -> String {
    format!("+FULLRESYNC {replid} {offset}\r\n")
}

/// `+CONTINUE`: the stream follows. Only a replica that said `capa psync2` expects the id.
pub fn continue_line(replid: ReplId, is_psync2: bool) -> String {
    if is_psync2 { format!("+CONTINUE {replid}\r\n") } else { "+CONTINUE\r\n".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(c: u8) -> ReplId {
        ReplId::parse(&[c; 40]).unwrap()
    }

    /// A server that was promoted at 20 and holds bytes 11 to 30.
    fn server() -> (ReplIds, ReplicationLog) {
        let mut log = ReplicationLog::new(ReplOffset(10));
        log.activate();
        log.append(&[b'x'; 20]);
        let mut ids = ReplIds::new(id(b'a'));
        ids.shift(id(b'b'), ReplOffset(20));
        (ids, log)
    }

    #[track_caller]
    fn check(replid: &[u8], offset: i64, expected: Result<u64, Cause>) {
        let (ids, log) = server();
        let expected = match expected {
            Ok(from) => Psync::Continue { from: ReplOffset(from) },
            Err(cause) => Psync::FullResync(cause),
        };
        assert_eq!(PsyncRequest { replid, offset }.decide(&ids, &log), expected);
    }

    #[test]
    fn a_replica_continues_from_any_byte_held_and_from_the_end() {
        check(&[b'b'; 40], 11, Ok(10));
        check(&[b'B'; 40], 25, Ok(24));
        check(&[b'b'; 40], 31, Ok(30));
        check(&[b'b'; 40], 32, Err(Cause::NotHeld));
        check(&[b'b'; 40], 10, Err(Cause::NotHeld));
        check(&[b'b'; 40], 0, Err(Cause::NotHeld));
        check(&[b'b'; 40], -1, Err(Cause::NotHeld));
        check(&[b'b'; 40], i64::MIN, Err(Cause::NotHeld));
    }

    #[test]
    fn the_second_id_is_good_up_to_the_promotion() {
        check(&[b'a'; 40], 21, Ok(20));
        check(&[b'a'; 40], 22, Err(Cause::OtherHistory));
    }

    #[test]
    fn a_question_mark_or_a_stranger_gets_a_full_resync() {
        check(b"?", -1, Err(Cause::Requested));
        check(b"?", 15, Err(Cause::Requested));
        check(&[b'c'; 40], 15, Err(Cause::OtherHistory));
        check(b"", 15, Err(Cause::OtherHistory));
    }

    #[test]
    fn without_a_backlog_nobody_continues() {
        let log = ReplicationLog::default();
        let request = PsyncRequest { replid: &[b'a'; 40], offset: 1 };
        assert_eq!(request.decide(&ReplIds::new(id(b'a')), &log), Psync::FullResync(Cause::NotHeld));
    }

    #[test]
    fn an_offset_that_is_no_number_is_an_error() {
        assert_eq!(PsyncRequest::parse(b"x", b"abc"), Err(ErrorReply::NOT_AN_INTEGER));
        assert_eq!(PsyncRequest::parse(b"?", b"-2"), Ok(PsyncRequest { replid: b"?", offset: -2 }));
    }

    #[test]
    fn the_lines_are_redis_bytes() {
        let a = "a".repeat(40);
        assert_eq!(full_resync_line(id(b'a'), ReplOffset(28)), format!("+FULLRESYNC {a} 28\r\n"));
        assert_eq!(continue_line(id(b'a'), true), format!("+CONTINUE {a}\r\n"));
        assert_eq!(continue_line(id(b'a'), false), "+CONTINUE\r\n");
    }
}
