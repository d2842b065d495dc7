//! What a client's bytes may not be: the limits of one request and the errors that end a connection.

use std::fmt;

use super::error::ErrorReply;
use crate::base::number;

/// How large one request may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest argument (`proto-max-bulk-len`); a master's link sets it to `u64::MAX`.
    pub bulk_bytes_max: u64,
    /// The most arguments of one request.
    pub args_max: u32,
    /// The longest line: an inline request, or the digits of a length.
    pub inline_bytes_max: usize,
    /// Before AUTH a stranger gets no more than 10 arguments of 16 KiB.
    pub authenticated: bool,
}

/// Arguments are ranges of 32 bits, so this is the most that one request may take, framing included.
pub const REQUEST_BYTES_MAX: u64 = u32::MAX as u64;

pub(super) const UNAUTHENTICATED_ARGS_MAX: u32 = 10;
pub(super) const UNAUTHENTICATED_BULK_BYTES_MAX: u64 = 16 * 1024;

/// The client's bytes are not RESP: it reads this error, then the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    MultibulkLength,
    BulkLength,
    UnauthenticatedMultibulkLength,
    UnauthenticatedBulkLength,
    ExpectedBulk { got: u8 },
    MultibulkCountTooLong,
    BulkCountTooLong,
    InlineTooLong,
    UnbalancedQuotes,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bulk_bytes_max: 512 * 1024 * 1024,
            args_max: i32::MAX as u32,
            inline_bytes_max: 64 * 1024,
            authenticated: true,
        }
    }
}

impl Limits {
    /// The count of a multibulk header, from its digits. Negative counts mean an empty request, as in Redis.
    pub(super) fn multibulk_count(&self, digits: &[u8]) -> Result<u32, ProtocolError> {
        let count = number::parse_i64(digits).ok_or(ProtocolError::MultibulkLength)?;
        if count > i64::from(self.args_max) {
            return Err(ProtocolError::MultibulkLength);
        }
        if count > i64::from(UNAUTHENTICATED_ARGS_MAX) && !self.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        Ok(count.max(0) as u32)
    }

    /// The length of a bulk, from its digits. The bulk begins at `offset` within its request.
    pub(super) fn bulk_len(&self, digits: &[u8], offset: usize) -> Result<usize, ProtocolError> {
        let len = number::parse_u64(digits).ok_or(ProtocolError::BulkLength)?;
        let header = digits.len() as u64 + 3;
        let end = len.checked_add(offset as u64 + header + 2).ok_or(ProtocolError::BulkLength)?;
        if len > self.bulk_bytes_max || end > REQUEST_BYTES_MAX {
            return Err(ProtocolError::BulkLength);
        }
        if len > UNAUTHENTICATED_BULK_BYTES_MAX && !self.authenticated {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        Ok(len as usize)
    }
}

impl ProtocolError {
    /// What the client reads before its connection closes.
    pub fn reply_line(&self) -> ErrorReply {
        ErrorReply::new(format!("ERR Protocol error: {self}"))
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MultibulkLength => "invalid multibulk length",
            Self::BulkLength => "invalid bulk length",
            Self::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            Self::UnauthenticatedBulkLength => "unauthenticated bulk length",
            Self::MultibulkCountTooLong => "too big mbulk count string",
            Self::BulkCountTooLong => "too big bulk count string",
            Self::InlineTooLong => "too big inline request",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
            Self::ExpectedBulk { got } => {
                let got = if got.is_ascii() { char::from(*got) } else { char::REPLACEMENT_CHARACTER };
                return write!(f, "expected '$', got '{got}'");
            }
        })
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_byte_it_quotes() {
        let line = |got| ProtocolError::ExpectedBulk { got }.reply_line().as_bytes().to_vec();
        assert_eq!(line(b'x'), b"ERR Protocol error: expected '$', got 'x'");
        assert_eq!(line(b'\r'), b"ERR Protocol error: expected '$', got ' '");
    }

    #[test]
    fn a_request_stays_within_32_bits() {
        let limits = Limits { bulk_bytes_max: u64::MAX, ..Limits::default() };
        // The header takes 13 bytes, the line break after the bulk 2.
        assert_eq!(limits.bulk_len(b"4294967200", 80), Ok(4_294_967_200));
        assert_eq!(limits.bulk_len(b"4294967200", 81), Err(ProtocolError::BulkLength));
        assert_eq!(limits.bulk_len(b"18446744073709551615", 4), Err(ProtocolError::BulkLength));
    }
}
