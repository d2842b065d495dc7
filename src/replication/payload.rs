//! The payload of a full resync on the wire: where the snapshot ends and the stream begins.
//!
//! A header line `$<len>` or `$EOF:<40 characters>`, then the snapshot, without a line break after it. Chunks
//! are slices of what was read. Only bytes that may be the beginning of the delimiter are held back, and as
//! they equal its beginning they are never stored.

use memchr::memmem;

pub const DELIMITER_BYTES: usize = 40;

/// What comes next of the payload.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Chunk(&'a [u8]),
    End,
}

/// A payload that is being received.
#[derive(Debug)]
pub enum Payload {
    Length {
        remaining_bytes: u64,
    },
    /// The last `matched` bytes read are the beginning of the delimiter.
    Eof {
        delimiter: [u8; DELIMITER_BYTES],
        matched: usize,
    },
    /// A payload of known length whose end was reported.
    Complete,
}

impl Payload {
    /// Reads the header line, without its line break. None: it is none.
    pub fn parse_header(line: &[u8]) -> Option<Self> {
        let size = line.strip_prefix(b"$")?;
        if let Some(delimiter) = size.strip_prefix(b"EOF:") {
            return Some(Self::Eof { delimiter: delimiter.try_into().ok()?, matched: 0 });
        }
        Some(Self::Length { remaining_bytes: crate::base::number::parse_u64(size)? })
    }

    /// The size, where the header tells it.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Length { remaining_bytes } => Some(*remaining_bytes),
            Self::Eof { .. } | Self::Complete => None,
        }
    }

    /// Whether the end was reported: what follows is the stream.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Complete | Self::Eof { matched: DELIMITER_BYTES, .. })
    }

    /// Takes the next piece from the front of `input`; None when more is to be read first.
    pub fn take<'e, 'i: 'e>(&'e mut self, input: &mut &'i [u8]) -> Option<Piece<'e>> {
        match self {
            Self::Complete => None,
            Self::Length { remaining_bytes: 0 } => {
                *self = Self::Complete;
                Some(Piece::End)
            }
            Self::Length { remaining_bytes } => {
                let here = usize::try_from(*remaining_bytes).map_or(input.len(), |n| n.min(input.len()));
                *remaining_bytes -= here as u64;
                (here > 0).then(|| Piece::Chunk(take_front(input, here)))
            }
            Self::Eof { delimiter, matched } => take_delimited(delimiter, matched, input),
        }
    }
}

fn take_delimited<'e, 'i: 'e>(
    delimiter: &'e [u8; DELIMITER_BYTES],
    matched: &mut usize,
    input: &mut &'i [u8],
) -> Option<Piece<'e>> {
    if *matched == 0 {
        let data = *input;
        let chunk = match memmem::find(data, delimiter) {
            Some(at) => at,
            None => data.len() - partial_match(delimiter, data),
        };
        if chunk > 0 {
            return Some(Piece::Chunk(take_front(input, chunk)));
        }
    }
    let same = delimiter[*matched..].iter().zip(*input).take_while(|(a, b)| a == b).count();
    take_front(input, same);
    let held = *matched + same;
    if held == DELIMITER_BYTES {
        *matched = held;
        return Some(Piece::End);
    }
    if input.is_empty() {
        *matched = held;
        return None;
    }
    // What was held back was data after all, except for a shorter beginning that it may end with.
    *matched = partial_match(delimiter, &delimiter[1..held]);
    Some(Piece::Chunk(&delimiter[..held - *matched]))
}

/// The length of the longest end of `data` that is a beginning, but not all, of `delimiter`.
fn partial_match(delimiter: &[u8; DELIMITER_BYTES], data: &[u8]) -> usize {
    let longest = data.len().min(DELIMITER_BYTES - 1);
    (1..=longest).rev().find(|&n| data.ends_with(&delimiter[..n])).unwrap_or(0)
}

fn take_front<'i>(input: &mut &'i [u8], n: usize) -> &'i [u8] {
    let (front, rest) = input.split_at(n);
    *input = rest;
    front
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `wire` in pieces of the given sizes; the snapshot and what follows it.
    fn receive(mut payload: Payload, wire: &[u8], sizes: &[usize]) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut sizes = sizes.iter().cycle();
        let (mut snapshot, mut rest) = (Vec::new(), wire);
        while !rest.is_empty() {
            let size = (*sizes.next().unwrap()).min(rest.len());
            let mut input = take_front(&mut rest, size);
            while let Some(piece) = payload.take(&mut input) {
                match piece {
                    Piece::Chunk(chunk) => snapshot.extend_from_slice(chunk),
                    Piece::End => return (snapshot, Some([input, rest].concat())),
                }
            }
            assert!(input.is_empty());
        }
        (snapshot, None)
    }

    #[test]
    fn headers_that_are_none_are_refused() {
        assert_eq!(Payload::parse_header(b"$183").unwrap().size(), Some(183));
        let header = [b"$EOF:", &[b'x'; 40][..]].concat();
        assert_eq!(Payload::parse_header(&header).unwrap().size(), None);
        for bad in ["", "$", "$-1", "$EOF:", "$EOF:short", "$12x", "+OK", "$99999999999999999999"] {
            assert!(Payload::parse_header(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_stream_follows_without_a_line_break() {
        let payload = Payload::parse_header(b"$3").unwrap();
        assert_eq!(receive(payload, b"abc*1\r\n", &[100]), (b"abc".to_vec(), Some(b"*1\r\n".to_vec())));
    }

    #[test]
    fn a_beginning_of_the_delimiter_within_the_data_is_data() {
        let delimiter = *b"aabaabaabaabaabaabaabaabaabaabaabaabaabc";
        for cut in 1..60 {
            let data = [&delimiter[..39], b"aab", &delimiter[..20], b"x", &delimiter[..39]].concat();
            let wire = [&data[..], &delimiter, b"next"].concat();
            let payload = Payload::Eof { delimiter, matched: 0 };
            assert_eq!(receive(payload, &wire, &[cut]), (data, Some(b"next".to_vec())), "pieces of {cut}");
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_snapshot(
            data in prop::collection::vec(prop::sample::select(vec![b'a', b'b']), 0..300),
            sizes in prop::collection::vec(1usize..50, 1..10),
        ) {
            let delimiter = *b"abaababaabaababaababaabaababaabaababaabc";
            let wire = [&data[..], &delimiter, b"*1"].concat();
            let payload = Payload::Eof { delimiter, matched: 0 };
            prop_assert_eq!(receive(payload, &wire, &sizes), (data, Some(b"*1".to_vec())));
        }
    }
}
