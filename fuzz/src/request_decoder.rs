//! Holds the incremental request decoder equal to the grammar, whatever a client sends and in whatever pieces.

use russet::resp::grammar::{self, WireError};
use russet::resp::request::{Batch, Decoder, Limits, ProtocolError};

/// All that can be seen of decoding one stream: the requests, the bytes they took, and what ended it.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub requests: Vec<Vec<Vec<u8>>>,
    /// None after an error: the connection closes, so nobody counts.
    pub bytes: Option<usize>,
    pub error: Option<ProtocolError>,
}

/// The first byte bounds the pieces' size (0: all at once), the second chooses the limits; the rest is sent.
pub fn check(data: &[u8]) {
    let [piece_max, flags, wire @ ..] = data else { return };
    let mut limits = Limits { authenticated: flags & 1 == 0, ..Limits::default() };
    if flags & 2 != 0 {
        limits = Limits { bulk_bytes_max: 64, args_max: 12, inline_bytes_max: 32, ..limits };
    }
    let requests_max = [1, 2, 7, 1000][usize::from(flags >> 2 & 3)];
    let mut state = u64::from(*piece_max) << 8 | u64::from(*flags);
    let piece = || match piece_max {
        0 => usize::MAX,
        &max => {
            // A linear congruential generator, so that the pieces follow from the input alone.
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            1 + (state >> 33) as usize % usize::from(max)
        }
    };
    assert_agrees(wire, &limits, requests_max, piece);
}

/// Panics when the decoder, fed with pieces of the sizes that `piece` says, finds anything that the grammar does not.
pub fn assert_agrees(wire: &[u8], limits: &Limits, requests_max: usize, piece: impl FnMut() -> usize) {
    let expected = by_grammar(wire, limits);
    let actual = by_decoder(wire, limits, requests_max, piece);
    assert_eq!(actual, expected, "for {}", wire.escape_ascii());
}

/// The reference: one request after the other.
pub fn by_grammar(wire: &[u8], limits: &Limits) -> Decoded {
    let (mut requests, mut rest, mut error) = (Vec::new(), wire, None);
    loop {
        match grammar::request(limits, rest) {
            Ok((after, args)) => {
                rest = after;
                if !args.is_empty() {
                    requests.push(args.into_iter().map(|arg| arg.into_owned()).collect());
                }
            }
            Err(nom::Err::Incomplete(_)) => break,
            Err(
                nom::Err::Error(WireError::Protocol(found)) | nom::Err::Failure(WireError::Protocol(found)),
            ) => {
                error = Some(found);
                break;
            }
            Err(other) => panic!("the grammar of requests failed with {other:?}"),
        }
    }
    Decoded { requests, bytes: error.is_none().then_some(wire.len() - rest.len()), error }
}

/// As a connection does it: bytes arrive, complete requests are drained, the incomplete one waits.
pub fn by_decoder(
    wire: &[u8],
    limits: &Limits,
    requests_max: usize,
    mut piece: impl FnMut() -> usize,
) -> Decoded {
    let (mut decoder, mut batch, mut requests) = (Decoder::new(), Batch::new(), Vec::new());
    let (mut bytes, mut arrived) = (0, 0);
    while arrived < wire.len() {
        arrived = wire.len().min(arrived.saturating_add(piece()));
        loop {
            let buf = &wire[bytes..arrived];
            let done = match decoder.decode(buf, limits, &mut batch, requests_max, usize::MAX) {
                Ok(done) => done,
                Err(error) => return Decoded { requests, bytes: None, error: Some(error) },
            };
            assert!(batch.len() <= requests_max);
            assert!(decoder.bytes_wanted() <= buf.len().max(64 * 1024));
            for (index, args) in batch.iter(buf).enumerate() {
                let request = batch.request(index);
                assert!(!args.is_empty() && request.start + request.bytes <= done);
                requests.push(args.iter().map(<[u8]>::to_vec).collect());
            }
            bytes += done;
            if done == 0 {
                break;
            }
        }
    }
    Decoded { requests, bytes: Some(bytes), error: None }
}
