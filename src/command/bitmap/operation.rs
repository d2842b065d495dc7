//! BITOP: strings combined bit by bit. Shorter ones, and those that are missing, go on with zeros.
//!
//! Chunk by chunk the sources are folded into the result, so that each byte of them is read from memory once, and each of
//! the result is written once: it is in the processor's cache meanwhile.

use std::sync::Arc;

use crate::command::context::Ctx;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::StringRef;

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::data("bitop", -4, WRITE | DENYOOM, "bitmap", bitop)
        .keys(&[KeySpec::range(2, 2, 1, OW | UPDATE), KeySpec::range(3, -1, 1, RO | ACCESS)])
        .docs(
            "2.6.0",
            "O(N)",
            "Combines strings bit by bit and stores the result.",
            "<AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]",
        )];

/// From here on a string is held instead of copied.
const SHARED_BYTES_MIN: usize = 1024;

/// What is combined at a time.
const CHUNK_BYTES: usize = if cfg!(test) { 7 } else { 8 << 10 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
    /// In the first, but in none of the others.
    Diff,
    /// In any of the others, but not in the first.
    Diff1,
    /// In the first and in any of the others.
    AndOr,
    /// In exactly one of all.
    One,
}

impl Operation {
    fn parse(args: &Args<'_>) -> Result<Self, ErrorReply> {
        const NAMES: [(&str, Operation); 8] = [
            ("AND", Operation::And),
            ("OR", Operation::Or),
            ("XOR", Operation::Xor),
            ("NOT", Operation::Not),
            ("DIFF", Operation::Diff),
            ("DIFF1", Operation::Diff1),
            ("ANDOR", Operation::AndOr),
            ("ONE", Operation::One),
        ];
        let Some((name, operation)) = NAMES.into_iter().find(|(name, _)| args.is(1, name)) else {
            return Err(ErrorReply::SYNTAX);
        };
        let sources = args.len() - 3;
        if operation == Self::Not && sources != 1 {
            return Err(ErrorReply::fixed("ERR BITOP NOT must be called with a single source key."));
        }
        if operation.sets_first_apart() && sources < 2 {
            return Err(ErrorReply::new(format!(
                "ERR BITOP {name} must be called with at least two source keys."
            )));
        }
        Ok(operation)
    }

    fn sets_first_apart(self) -> bool {
        matches!(self, Self::Diff | Self::Diff1 | Self::AndOr)
    }
}

/// A string that takes part, as it is when the command begins.
enum Source {
    /// Shared with the data set.
    Long(Arc<Vec<u8>>),
    Short(Vec<u8>),
}

impl Source {
    fn of(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Self, ErrorReply> {
        match ctx.db.string(key)? {
            None => return Ok(Self::Short(Vec::new())),
            Some(StringRef::Bytes(bytes)) if bytes.len() >= SHARED_BYTES_MIN => {}
            Some(string) => return Ok(Self::Short(string.to_vec())),
        }
        Ok(Self::Long(ctx.db.shared_string(key).expect("a long string is shared")))
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Long(bytes) => bytes,
            Self::Short(bytes) => bytes,
        }
    }
}

fn combine(operation: Operation, sources: &[&[u8]]) -> Vec<u8> {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let mut result = Vec::with_capacity(len);
    let mut aside = Vec::new();
    for start in (0..len).step_by(CHUNK_BYTES) {
        let end = len.min(start + CHUNK_BYTES);
        let part = |source: &[u8]| start.min(source.len())..end.min(source.len());
        let Some((&first, others)) = sources.split_first() else { break };
        let first = &first[part(first)];
        let others = others.iter().map(|&source| &source[part(source)]);
        result.extend_from_slice(first);
        result.resize(end, 0);
        combine_chunk(operation, &mut result[start..], others, &mut aside);
    }
    result
}

/// Combines what `result` has of the first source with the same part of the others. `aside` has no meaning between two
/// chunks.
fn combine_chunk<'a>(
    operation: Operation,
    result: &mut [u8],
    others: impl Iterator<Item = &'a [u8]>,
    aside: &mut Vec<u8>,
) {
    aside.clear();
    match operation {
        Operation::And => others.for_each(|other| {
            fold(result, other, |to, from| to & from);
            result[other.len()..].fill(0);
        }),
        Operation::Or => others.for_each(|other| fold(result, other, |to, from| to | from)),
        Operation::Xor => others.for_each(|other| fold(result, other, |to, from| to ^ from)),
        Operation::Not => result.iter_mut().for_each(|byte| *byte = !*byte),
        Operation::One => {
            // The bits that more than one source has.
            aside.resize(result.len(), 0);
            for other in others {
                for ((many, any), &from) in aside.iter_mut().zip(&mut *result).zip(other) {
                    *many |= *any & from;
                    *any |= from;
                }
            }
            fold(result, aside, |any, many| any & !many);
        }
        Operation::Diff | Operation::Diff1 | Operation::AndOr => {
            aside.resize(result.len(), 0);
            others.for_each(|other| fold(aside, other, |to, from| to | from));
            match operation {
                Operation::Diff => fold(result, aside, |first, others| first & !others),
                Operation::Diff1 => fold(result, aside, |first, others| others & !first),
                _ => fold(result, aside, |first, others| first & others),
            }
        }
    }
}

/// Combines each byte of `to` with the one of `from`, as far as both go. Simple enough for the compiler to do it in
/// the widest words there are.
fn fold(to: &mut [u8], from: &[u8], combine: impl Fn(u8, u8) -> u8) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = combine(*to, from);
    }
}

/// `BITOP <AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]`
fn bitop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let operation = Operation::parse(args)?;
    let sources = args.from(3).iter().map(|key| Source::of(ctx, key)).collect::<Result<Vec<_>, _>>()?;
    let result = combine(operation, &sources.iter().map(Source::as_bytes).collect::<Vec<_>>());
    // They go first, so that a destination that is one of them is not kept alive.
    drop(sources);
    let (destination, len) = (args.bytes(2), result.len());
    if len > 0 {
        ctx.db.set_raw_bytes(destination, result);
        ctx.modified(destination, "set");
    } else if ctx.db.remove(destination) {
        ctx.modified(destination, "del");
    }
    ctx.reply.integer(len as i64);
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expected(operation: Operation, sources: &[Vec<u8>]) -> Vec<u8> {
        let len = sources.iter().map(Vec::len).max().unwrap_or(0);
        let byte = |source: &Vec<u8>, i: usize| source.get(i).copied().unwrap_or(0);
        let bit_of = |at: usize| {
            let bits: Vec<bool> =
                sources.iter().map(|source| byte(source, at / 8) >> (7 - at % 8) & 1 == 1).collect();
            let set = bits.iter().filter(|&&bit| bit).count();
            let (first, others) = (bits[0], bits[1..].iter().any(|&bit| bit));
            match operation {
                Operation::And => set == bits.len(),
                Operation::Or => set > 0,
                Operation::Xor => set % 2 == 1,
                Operation::Not => !first,
                Operation::Diff => first && !others,
                Operation::Diff1 => !first && others,
                Operation::AndOr => first && others,
                Operation::One => set == 1,
            }
        };
        (0..len).map(|i| (0..8).fold(0, |byte, j| byte << 1 | u8::from(bit_of(i * 8 + j)))).collect()
    }

    proptest! {
        #[test]
        fn each_bit_of_a_result_follows_from_that_bit_of_the_sources(
            sources in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..5),
        ) {
            use Operation::{And, AndOr, Diff, Diff1, Not, One, Or, Xor};
            for operation in [And, Or, Xor, Not, Diff, Diff1, AndOr, One] {
                let sources = if operation == Not { &sources[..1] } else { &sources[..] };
                let slices: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
                prop_assert_eq!(combine(operation, &slices), expected(operation, sources), "{:?}", operation);
            }
        }
    }
}
