//! BITOP: strings combined bit by bit. Shorter ones, and those that are missing, go on with zeros.
//!
//! The sources are folded one after the other into a result, so that none of them is copied but the first.

use crate::command::context::Ctx;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::data("bitop", -4, WRITE | DENYOOM, "bitmap", bitop)
        .keys(&[KeySpec::range(2, 2, 1, OW | UPDATE), KeySpec::range(3, -1, 1, RO | ACCESS)])
        .docs(
            "2.6.0",
            "O(N)",
            "Combines strings bit by bit and stores the result.",
            "<AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]",
        )];

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

/// A result that grows as sources are added to it.
#[derive(Debug)]
struct Folded {
    operation: Operation,
    /// How many sources are in it.
    sources: usize,
    result: Vec<u8>,
    /// DIFF, DIFF1, ANDOR: the first source. ONE: the bits that more than one source has.
    aside: Vec<u8>,
}

impl Folded {
    fn new(operation: Operation) -> Self {
        Self { operation, sources: 0, result: Vec::new(), aside: Vec::new() }
    }

    fn add(&mut self, source: &[u8]) {
        self.sources += 1;
        let is_first = self.sources == 1;
        if is_first && self.operation.sets_first_apart() {
            self.aside = source.to_vec();
            self.result = vec![0; source.len()];
            return;
        }
        if self.result.is_empty() && is_first {
            self.result = source.to_vec();
        } else if self.result.len() < source.len() {
            self.result.resize(source.len(), 0);
        }
        if is_first {
            return;
        }
        match self.operation {
            Operation::And => {
                fold(&mut self.result, source, |to, from| to & from);
                self.result[source.len()..].fill(0);
            }
            Operation::Xor => fold(&mut self.result, source, |to, from| to ^ from),
            Operation::One => {
                self.aside.resize(self.result.len(), 0);
                for ((many, once), &from) in self.aside.iter_mut().zip(&mut self.result).zip(source) {
                    *many |= *once & from;
                    *once |= from;
                }
            }
            Operation::Or | Operation::Not | Operation::Diff | Operation::Diff1 | Operation::AndOr => {
                fold(&mut self.result, source, |to, from| to | from);
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let (result, aside) = (&mut self.result, &mut self.aside);
        match self.operation {
            Operation::And | Operation::Or | Operation::Xor => {}
            Operation::Not => result.iter_mut().for_each(|byte| *byte = !*byte),
            Operation::Diff | Operation::Diff1 | Operation::AndOr => {
                aside.resize(result.len(), 0);
                match self.operation {
                    Operation::Diff => fold(result, aside, |others, first| first & !others),
                    Operation::Diff1 => fold(result, aside, |others, first| others & !first),
                    _ => fold(result, aside, |others, first| first & others),
                }
            }
            Operation::One => fold(result, aside, |any, many| any & !many),
        }
        self.result
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
    let mut folded = Folded::new(operation);
    let mut buffer = itoa::Buffer::new();
    for key in args.from(3).iter() {
        let source = ctx.db.string(key)?.map(|string| string.as_bytes(&mut buffer));
        folded.add(source.unwrap_or_default());
    }
    let result = folded.finish();
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
                let mut folded = Folded::new(operation);
                sources.iter().for_each(|source| folded.add(source));
                prop_assert_eq!(folded.finish(), expected(operation, sources), "{:?}", operation);
            }
        }
    }
}
