//! What can be wrong with foreign RDB bytes: where, what was expected there, what was found.

use std::borrow::Cow;
use std::{fmt, io};

/// The bytes cannot be loaded. `offset` counts from the first byte read; for a value that is packed into one
/// string (a listpack, an intset) it is the start of that value.
#[derive(Debug)]
pub struct RdbError {
    pub offset: u64,
    pub reason: Reason,
}

#[derive(Debug)]
pub enum Reason {
    /// The source failed.
    Io(io::Error),
    /// The source ended where at least this many more bytes had to follow.
    Truncated {
        wanted: u64,
    },
    /// The bytes break the format.
    Malformed {
        expected: Cow<'static, str>,
        found: Cow<'static, str>,
    },
    /// Well-formed, but of a type that is not served.
    UnsupportedType(&'static str),
    /// A collection without elements, which no key may hold.
    EmptyKey,
    Checksum {
        expected: u64,
        found: u64,
    },
    /// The sink would not take the entry.
    Refused(String),
}

impl Reason {
    pub(super) fn malformed(
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Malformed { expected: expected.into(), found: found.into() }
    }

    pub(super) fn at(self, offset: u64) -> RdbError {
        RdbError { offset, reason: self }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "read failed: {error}"),
            Self::Truncated { wanted } => {
                write!(f, "expected at least {wanted} more bytes, found the end of the input")
            }
            Self::Malformed { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::UnsupportedType(name) => write!(f, "unsupported type {name}"),
            Self::EmptyKey => write!(f, "expected at least one element, found an empty key"),
            Self::Checksum { expected, found } => {
                write!(f, "RDB CRC error: expected checksum {expected:016x}, found {found:016x}")
            }
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for RdbError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Io(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_offset_the_expected_and_the_found() {
        let error = Reason::malformed("a value type", "byte 77").at(1234);
        assert_eq!(error.to_string(), "offset 1234: expected a value type, found byte 77");
    }
}
