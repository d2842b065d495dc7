//! RESP for tokio-util's framed streams: the link to a master, tools and tests.
//!
//! The server's clients do not use this: `request::Decoder` decodes their buffers in batches and without copies.
//! Nor does the replication stream, whose offset counts every byte, skipped ones too.

use std::io;

use bytes::{Buf, BytesMut};
use memchr::memchr;
use tokio_util::codec;

use super::args::OwnedArgs;
use super::grammar;
use super::reply::write_request;
use super::request::{Batch, Decoder, Limits};
use super::value::Value;
use crate::base::number;

/// Reads and writes requests.
#[derive(Debug, Default)]
pub struct RequestCodec {
    decoder: Decoder,
    batch: Batch,
    limits: Limits,
    scratch: Vec<u8>,
}

/// Reads and writes replies.
#[derive(Debug, Default)]
pub struct ReplyCodec {
    extent: Extent,
    scratch: Vec<u8>,
}

/// Finds where the value at a buffer's start ends, and goes on where it stopped when more has arrived: so a large
/// reply in small pieces is parsed once.
#[derive(Debug)]
struct Extent {
    /// The first byte that is not measured yet.
    at: usize,
    /// Values still to be measured: the outermost, and the elements of the aggregates passed.
    values_left: u64,
}

impl RequestCodec {
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}

impl codec::Decoder for RequestCodec {
    type Item = OwnedArgs;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<OwnedArgs>> {
        let decoded = self.decoder.decode(src, &self.limits, &mut self.batch, 1, usize::MAX);
        let bytes = decoded.map_err(invalid_data)?;
        let args = self.batch.iter(src).next().map(|args| args.to_owned());
        src.advance(bytes);
        src.reserve(self.decoder.bytes_wanted());
        Ok(args)
    }
}

impl<A: AsRef<[u8]>> codec::Encoder<&[A]> for RequestCodec {
    type Error = io::Error;

    fn encode(&mut self, args: &[A], dst: &mut BytesMut) -> io::Result<()> {
        self.scratch.clear();
        write_request(&mut self.scratch, args.iter());
        dst.extend_from_slice(&self.scratch);
        Ok(())
    }
}

impl codec::Encoder<OwnedArgs> for RequestCodec {
    type Error = io::Error;

    fn encode(&mut self, args: OwnedArgs, dst: &mut BytesMut) -> io::Result<()> {
        self.scratch.clear();
        write_request(&mut self.scratch, args.as_args().iter());
        dst.extend_from_slice(&self.scratch);
        Ok(())
    }
}

impl codec::Decoder for ReplyCodec {
    type Item = Value;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Value>> {
        if !self.extent.reach_end(src) {
            return Ok(None);
        }
        match grammar::value(src) {
            Ok((rest, value)) => {
                let bytes = src.len() - rest.len();
                src.advance(bytes);
                self.extent = Extent::default();
                Ok(Some(value))
            }
            Err(nom::Err::Incomplete(_)) => Ok(None),
            Err(nom::Err::Error(error) | nom::Err::Failure(error)) => Err(invalid_data(error)),
        }
    }
}

impl codec::Encoder<&Value> for ReplyCodec {
    type Error = io::Error;

    fn encode(&mut self, value: &Value, dst: &mut BytesMut) -> io::Result<()> {
        self.scratch.clear();
        value.write(&mut self.scratch);
        dst.extend_from_slice(&self.scratch);
        Ok(())
    }
}

fn invalid_data(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Default for Extent {
    fn default() -> Self {
        Self { at: 0, values_left: 1 }
    }
}

impl Extent {
    /// Whether the whole value is in `buf`, or is malformed, which the grammar will say better.
    fn reach_end(&mut self, buf: &[u8]) -> bool {
        while self.values_left > 0 {
            let Some(line) = buf.get(self.at..) else { return false };
            let Some(end) = memchr(b'\n', line) else { return false };
            let [kind, digits @ .., b'\r'] = &line[..end] else { return true };
            let len = number::parse_i64(digits).map(|len| len.max(0) as u64);
            let (blob, elements) = match kind {
                b'$' | b'!' | b'=' => (digits != b"-1", Some(0)),
                b'*' | b'~' | b'>' => (false, len),
                b'%' => (false, len.and_then(|len| len.checked_mul(2))),
                // The value that carries the attributes comes after them and is no element of anything.
                b'|' => (false, len.and_then(|len| len.checked_mul(2)?.checked_add(1))),
                _ => (false, Some(0)),
            };
            let Some(values_left) = elements.and_then(|n| (self.values_left - 1).checked_add(n)) else {
                return true;
            };
            let mut at = self.at + end + 1;
            if blob {
                let Some(data) = len.and_then(|len| usize::try_from(len).ok()) else { return true };
                let Some(after) = at.checked_add(data).and_then(|at| at.checked_add(2)) else { return true };
                at = after;
            }
            self.at = at;
            self.values_left = values_left;
        }
        self.at <= buf.len()
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::codec::{Decoder as _, Encoder as _};

    use super::*;

    #[test]
    fn requests_come_back_as_they_were_written() {
        let mut codec = RequestCodec::default();
        let mut wire = BytesMut::new();
        codec.encode(["SET", "key", "a\r\nb"].as_slice(), &mut wire).unwrap();
        codec.encode(OwnedArgs::from_iter(["PING"]), &mut wire).unwrap();
        let set = codec.decode(&mut wire).unwrap().unwrap();
        assert_eq!(set, OwnedArgs::from_iter(["SET", "key", "a\r\nb"]));
        assert_eq!(codec.decode(&mut wire).unwrap().unwrap(), OwnedArgs::from_iter(["PING"]));
        assert_eq!(codec.decode(&mut wire).unwrap(), None);
        assert!(wire.is_empty());
    }

    #[test]
    fn replies_come_byte_by_byte() {
        let text = "*3\r\n$3\r\na\nb\r\n%1\r\n+k\r\n|1\r\n+ttl\r\n:1\r\n,2.5\r\n$-1\r\n+next\r\n*-1\r\n=5\r\ntxt:x\r\n";
        let mut codec = ReplyCodec::default();
        let (mut wire, mut written, mut values) = (BytesMut::new(), BytesMut::new(), 0);
        for byte in text.bytes() {
            wire.extend_from_slice(&[byte]);
            while let Some(value) = codec.decode(&mut wire).unwrap() {
                codec.encode(&value, &mut written).unwrap();
                values += 1;
            }
        }
        assert_eq!(values, 4);
        assert_eq!(written, text);
    }

    #[test]
    fn a_malformed_reply_is_an_error_and_not_a_wait() {
        for text in ["$x\r\n", "*9223372036854775808\r\n", "hello\n", "$3\r\nabcde"] {
            let mut wire = BytesMut::from(text);
            assert!(ReplyCodec::default().decode(&mut wire).is_err(), "{text:?}");
        }
        let mut wire = BytesMut::from("*1\r\nfoo\r\n");
        assert!(RequestCodec::default().decode(&mut wire).is_err());
    }
}
