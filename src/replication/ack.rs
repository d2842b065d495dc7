//! Acknowledgements: how far a replica has applied the stream.
//!
//! A replica says `REPLCONF ACK <offset>` once a second and whenever it meets `REPLCONF GETACK *` in the
//! stream. The offset counts every byte of every command that it has applied. GETACK is answered while it is
//! being applied, so its answer counts all bytes before it and not its own; those count from the next answer
//! on. Commands between MULTI and EXEC count when EXEC has been applied, so that a link that breaks inside a
//! transaction resumes before its MULTI.

use super::log::ReplOffset;
use crate::resp::reply::write_request;

/// `REPLCONF GETACK *`, an effect like others: every replica sees it, and its bytes count.
pub const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// `ping`, which a master appends to the stream every `repl-ping-replica-period`.
pub const PING: &[u8] = b"*1\r\n$4\r\nping\r\n";

/// Appends `REPLCONF ACK <offset>`, with ` FACK <offset>` for what is on the replica's disk if it has an append-only file; a
/// master answers nothing to it.
pub fn write_ack(out: &mut Vec<u8>, offset: ReplOffset, fsynced: Option<ReplOffset>) {
    let (mut number, mut other) = (itoa::Buffer::new(), itoa::Buffer::new());
    let offset = number.format(offset.0);
    match fsynced {
        None => write_request(out, ["REPLCONF", "ACK", offset].iter()),
        Some(fsynced) => {
            write_request(out, ["REPLCONF", "ACK", offset, "FACK", other.format(fsynced.0)].iter());
        }
    }
}

/// Counts what a replica has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    applied: ReplOffset,
    open_transaction_bytes: usize,
}

/// What a command of the stream means for the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applying {
    Command,
    Multi,
    Exec,
}

impl Applied {
    /// `offset` is the snapshot's, or the one that the partial resync continued from.
    pub fn new(offset: ReplOffset) -> Self {
        Self { applied: offset, open_transaction_bytes: 0 }
    }

    /// What an acknowledgement says. While GETACK is being applied, that is before its own `count`.
    pub fn offset(&self) -> ReplOffset {
        self.applied
    }

    /// A command has been applied (or queued in a transaction); `bytes` is its length in the stream.
    /// Returns how many bytes became final, which is what sub-replicas may be sent.
    pub fn count(&mut self, command: Applying, bytes: usize) -> usize {
        let held = self.open_transaction_bytes;
        if command == Applying::Multi || (held > 0 && command == Applying::Command) {
            self.open_transaction_bytes += bytes;
            return 0;
        }
        self.open_transaction_bytes = 0;
        self.applied = self.applied.advanced(held + bytes);
        held + bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_is_redis_bytes() {
        let mut out = Vec::new();
        write_ack(&mut out, ReplOffset(154), None);
        assert_eq!(out, b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$3\r\n154\r\n");
        out.clear();
        write_ack(&mut out, ReplOffset(154), Some(ReplOffset(7)));
        assert!(out.starts_with(b"*5\r\n$8\r\nREPLCONF\r\n") && out.ends_with(b"$4\r\nFACK\r\n$1\r\n7\r\n"));
    }

    #[test]
    fn getack_is_answered_without_its_own_bytes_which_count_afterwards() {
        let mut applied = Applied::new(ReplOffset(0));
        assert_eq!(applied.offset(), ReplOffset(0));
        applied.count(Applying::Command, GETACK.len());
        applied.count(Applying::Command, PING.len());
        assert_eq!(applied.offset(), ReplOffset(37 + 14));
        applied.count(Applying::Command, GETACK.len());
        assert_eq!(applied.offset(), ReplOffset(37 + 14 + 37));
    }

    #[test]
    fn a_transaction_counts_as_a_whole() {
        let mut applied = Applied::new(ReplOffset(100));
        assert_eq!(applied.count(Applying::Multi, 15), 0);
        assert_eq!(applied.count(Applying::Command, 30), 0);
        assert_eq!(applied.offset(), ReplOffset(100));
        assert_eq!(applied.count(Applying::Exec, 14), 59);
        assert_eq!(applied.offset(), ReplOffset(159));
    }
}
