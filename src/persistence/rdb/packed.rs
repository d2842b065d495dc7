//! Collections that lie in one string: what listpacks, ziplists, intsets and zipmaps have in common.
//!
//! Every reader checks each length before it uses it, and at the end that counts and sizes were the truth.

use std::borrow::Cow;

use super::error::Reason;

/// One element of a packed collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The element as a string; digits are written to `digits`.
    pub(super) fn as_bytes<'b>(&self, digits: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Self::Int(number) => digits.format(number).as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// The elements in order. `None` is the end, and that everything was in order.
pub(super) trait Packed<'a> {
    fn next(&mut self) -> Result<Option<Element<'a>>, Reason>;
}

/// A position in a packed string that cannot leave it.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    /// What is being read, for errors.
    name: &'static str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], name: &'static str) -> Self {
        Self { bytes, position: 0, name }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Reason> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Reason> {
        let taken = self.bytes[self.position..].get(..count).ok_or_else(|| {
            let left = self.bytes.len() - self.position;
            self.malformed(format!("{count} more bytes"), format!("{left}"))
        })?;
        self.position += count;
        Ok(taken)
    }

    /// Fails unless the whole string was consumed.
    pub(super) fn finish(&self) -> Result<(), Reason> {
        self.expect_equal("the end at byte", self.bytes.len(), self.position)
    }

    pub(super) fn expect_equal(
        &self,
        what: &'static str,
        expected: usize,
        found: usize,
    ) -> Result<(), Reason> {
        if expected == found {
            return Ok(());
        }
        Err(self.malformed(format!("{what} {expected}"), found.to_string()))
    }

    pub(super) fn malformed(
        &self,
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<Cow<'static, str>>,
    ) -> Reason {
        let expected: Cow<'static, str> = expected.into();
        Reason::malformed(format!("{expected} (byte {} of a {})", self.position, self.name), found)
    }
}

/// A little-endian integer of three bytes.
pub(super) fn i24(bytes: [u8; 3]) -> i64 {
    i64::from(i32::from_le_bytes([0, bytes[0], bytes[1], bytes[2]]) >> 8)
}

/// All elements, for tests.
#[cfg(test)]
pub(super) fn collect<'a>(mut packed: impl Packed<'a>) -> Result<Vec<String>, Reason> {
    let mut all = Vec::new();
    while let Some(element) = packed.next()? {
        let text = element.as_bytes(&mut itoa::Buffer::new()).to_vec();
        all.push(String::from_utf8_lossy(&text).into_owned());
    }
    Ok(all)
}
