//! Replication ids: the name of a history of changes, and of the one it continues.
//!
//! Two servers with the same replid hold the same bytes at the same offsets. A promoted replica begins a new
//! history under a new id but remembers the old one as `replid2`, valid up to where it left it, so that its
//! fellow replicas need no full resync.

use std::fmt;

use super::log::ReplOffset;

/// The name of a history: 40 characters, hexadecimal digits when generated here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplId([u8; ReplId::LEN]);

impl ReplId {
    pub const LEN: usize = 40;

    /// How INFO shows that there is no second id.
    pub const NONE: Self = Self([b'0'; Self::LEN]);

    pub fn random(rng: &mut fastrand::Rng) -> Self {
        Self(std::array::from_fn(|_| b"0123456789abcdef"[rng.usize(..16)]))
    }

    /// An id as a peer or an RDB file writes it: 40 letters and digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let id: [u8; Self::LEN] = text.try_into().ok()?;
        id.iter().all(u8::is_ascii_alphanumeric).then_some(Self(id))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether a peer means this id. Redis compares ids regardless of case.
    pub fn is(&self, text: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(text)
    }
}

impl fmt::Display for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&c| fmt::Write::write_char(f, c as char))
    }
}

impl fmt::Debug for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The history that the present one grew out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecondReplId {
    pub replid: ReplId,
    /// Up to here both histories are the same bytes.
    pub shared_to: ReplOffset,
}

/// The ids under which this server's stream is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplIds {
    replid: ReplId,
    second: Option<SecondReplId>,
}

impl ReplIds {
    /// One history without a predecessor.
    pub fn new(replid: ReplId) -> Self {
        Self { replid, second: None }
    }

    pub fn replid(&self) -> ReplId {
        self.replid
    }

    pub fn second(&self) -> Option<SecondReplId> {
        self.second
    }

    /// INFO's `master_replid2`.
    pub fn replid2(&self) -> ReplId {
        self.second.map_or(ReplId::NONE, |second| second.replid)
    }

    /// INFO's `second_repl_offset`: the number of the first byte that the old history does not share, or -1.
    pub fn second_repl_offset(&self) -> i64 {
        self.second.map_or(-1, |second| second.shared_to.next_byte() as i64)
    }

    /// Goes on under `replid` from `at` and remembers the present id as the second one.
    pub fn shift(&mut self, replid: ReplId, at: ReplOffset) {
        self.second = Some(SecondReplId { replid: self.replid, shared_to: at });
        self.replid = replid;
    }

    /// Continues, under the present id, the history that a file says it was saved from.
    pub fn set_second(&mut self, replid: ReplId, shared_to: ReplOffset) {
        self.second = Some(SecondReplId { replid, shared_to });
    }

    /// Whether the second history ends at `end`: nothing was written under the present id.
    pub fn is_second_at(&self, end: ReplOffset) -> bool {
        self.second.is_some_and(|second| second.shared_to == end)
    }

    /// Takes the second id up again if nothing was written since it ended at `end`: the present one names no byte yet that
    /// the second one does not.
    pub fn resume_second(&mut self, end: ReplOffset) {
        if let Some(second) = self.second.filter(|second| second.shared_to == end) {
            self.second = Some(SecondReplId { replid: self.replid, shared_to: end });
            self.replid = second.replid;
        }
    }

    /// Whether a peer that holds history `replid` up to `position` holds what this server holds up to there.
    pub fn cover(&self, replid: &[u8], position: ReplOffset) -> bool {
        self.replid.is(replid)
            || self.second.is_some_and(|second| second.replid.is(replid) && position <= second.shared_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_forty_hexadecimal_digits() {
        let id = ReplId::random(&mut fastrand::Rng::with_seed(1));
        assert!(id.to_string().bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
        assert_eq!(ReplId::parse(id.as_bytes()), Some(id));
        assert_ne!(id, ReplId::random(&mut fastrand::Rng::with_seed(2)));
        assert_eq!(ReplId::parse(&[b'a'; 39]), None);
        assert_eq!(ReplId::parse(&[b'\n'; 40]), None);
    }

    #[test]
    fn a_shifted_id_covers_the_old_history_up_to_the_shift_only() {
        let [old, new] = [ReplId([b'a'; 40]), ReplId([b'b'; 40])];
        let mut ids = ReplIds::new(old);
        assert_eq!((ids.replid2(), ids.second_repl_offset()), (ReplId::NONE, -1));
        ids.shift(new, ReplOffset(10));
        assert_eq!((ids.replid(), ids.replid2(), ids.second_repl_offset()), (new, old, 11));
        assert!(ids.cover(&[b'A'; 40], ReplOffset(10)));
        assert!(!ids.cover(&[b'a'; 40], ReplOffset(11)));
        assert!(ids.cover(&[b'b'; 40], ReplOffset(11)));
        assert!(!ids.cover(b"?", ReplOffset(0)));
        ids.resume_second(ReplOffset(11));
        assert_eq!(ids.replid(), new);
        ids.resume_second(ReplOffset(10));
        assert_eq!((ids.replid(), ids.replid2(), ids.second_repl_offset()), (old, new, 11));
    }
}
