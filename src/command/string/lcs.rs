//! `LCS`: the longest common subsequence of two strings, by dynamic programming.

use crate::command::context::Ctx;
use crate::command::options::integer;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::StringRef;

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::data("lcs", -3, READONLY, "string", lcs)
        .keys(&[KeySpec::range(1, 2, 1, RO | ACCESS)])
        .docs(
            "7.0.0",
            "O(N*M) where N and M are the lengths of the strings",
            "Finds a longest common subsequence of two strings.",
            "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        )];

#[derive(Debug, Default)]
struct LcsOptions {
    len: bool,
    idx: bool,
    /// Shorter matches are left out of what IDX answers.
    min_match_len: usize,
    with_match_len: bool,
}

impl LcsOptions {
    fn parse(args: &Args<'_>) -> Result<Self, ErrorReply> {
        let mut options = Self::default();
        let mut index = 3;
        while index < args.len() {
            if args.is(index, "LEN") {
                options.len = true;
            } else if args.is(index, "IDX") {
                options.idx = true;
            } else if args.is(index, "WITHMATCHLEN") {
                options.with_match_len = true;
            } else if args.is(index, "MINMATCHLEN") && index + 1 < args.len() {
                index += 1;
                options.min_match_len = usize::try_from(integer(args.bytes(index))?).unwrap_or(0);
            } else {
                return Err(ErrorReply::SYNTAX);
            }
            index += 1;
        }
        if options.len && options.idx { Err(ErrorReply::LCS_LEN_AND_IDX) } else { Ok(options) }
    }
}

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]`
fn lcs(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let mut string = |index| match ctx.db.string(args.bytes(index)) {
        Ok(found) => Ok(found.map(StringRef::to_vec).unwrap_or_default()),
        Err(_) => Err(ErrorReply::NOT_STRINGS),
    };
    let (a, b) = (string(1)?, string(2)?);
    let options = LcsOptions::parse(args)?;
    check_memory(a.len(), b.len(), ctx.config.proto_max_bulk_len)?;
    let table = Table::new(&a, &b);
    if options.idx {
        reply_matches(ctx, &table.matches(&a, &b), table.lcs_len(), &options);
    } else if options.len {
        ctx.reply.integer(i64::from(table.lcs_len()));
    } else {
        let mut common = Vec::with_capacity(table.lcs_len() as usize);
        for run in table.matches(&a, &b).iter().rev() {
            common.extend_from_slice(&a[run.a..run.a + run.len]);
        }
        ctx.reply.bulk(common);
    }
    Ok(Flow::Done)
}

/// Refuses strings whose table would take more memory than a client may ask for.
fn check_memory(a_len: usize, b_len: usize, bytes_max: u64) -> Result<(), ErrorReply> {
    const LEN_MAX: usize = u32::MAX as usize - 1;
    if a_len >= LEN_MAX || b_len >= LEN_MAX {
        return Err(ErrorReply::LCS_TOO_LONG);
    }
    let bytes = (a_len as u128 + 1) * (b_len as u128 + 1) * size_of::<u32>() as u128;
    if bytes > u128::from(bytes_max) { Err(ErrorReply::LCS_TOO_LARGE) } else { Ok(()) }
}

/// The matches from the last to the first, each with its first and last index in both strings, and the total length.
fn reply_matches(ctx: &mut Ctx<'_>, matches: &[Run], total: u32, options: &LcsOptions) {
    let shown = || matches.iter().filter(|run| run.len >= options.min_match_len);
    let reply = &mut ctx.reply;
    reply.map(2);
    reply.bulk("matches");
    reply.array(shown().count());
    for run in shown() {
        reply.array(2 + usize::from(options.with_match_len));
        for start in [run.a, run.b] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + run.len - 1) as i64);
        }
        if options.with_match_len {
            reply.integer(run.len as i64);
        }
    }
    reply.bulk("len");
    reply.integer(i64::from(total));
}

/// Bytes of the common subsequence that follow each other in both strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// Where it begins in each string.
    a: usize,
    b: usize,
    len: usize,
}

/// For the first `i` bytes of one string and the first `j` of the other, the length of their common subsequence.
struct Table {
    lens: Vec<u32>,
    columns: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8]) -> Self {
        let columns = b.len() + 1;
        let mut lens = vec![0u32; (a.len() + 1) * columns];
        for (i, byte) in a.iter().enumerate() {
            let (above, row) = lens[i * columns..(i + 2) * columns].split_at_mut(columns);
            for (j, other) in b.iter().enumerate() {
                row[j + 1] = if byte == other { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Self { lens, columns }
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lens[i * self.columns + j]
    }

    fn lcs_len(&self) -> u32 {
        self.lens.last().copied().unwrap_or(0)
    }

    /// One longest common subsequence, from its end: where several are equally long, the one that Redis chooses.
    fn matches(&self, a: &[u8], b: &[u8]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                match runs.last_mut() {
                    Some(run) if run.a == i && run.b == j => {
                        *run = Run { a: i - 1, b: j - 1, len: run.len + 1 };
                    }
                    _ => runs.push(Run { a: i - 1, b: j - 1, len: 1 }),
                }
                i -= 1;
                j -= 1;
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_found_from_the_end() {
        let (a, b) = (b"ohmytext", b"mynewtext");
        let table = Table::new(a, b);
        assert_eq!(table.lcs_len(), 6);
        assert_eq!(table.matches(a, b), [Run { a: 4, b: 5, len: 4 }, Run { a: 2, b: 0, len: 2 }]);
        assert_eq!(Table::new(b"", b"x").matches(b"", b"x"), []);
    }

    #[test]
    fn a_table_must_not_exceed_the_longest_bulk_string() {
        assert_eq!(check_memory(99, 99, 40_000), Ok(()));
        assert_eq!(check_memory(99, 100, 40_000), Err(ErrorReply::LCS_TOO_LARGE));
        assert_eq!(check_memory(u32::MAX as usize, 1, u64::MAX), Err(ErrorReply::LCS_TOO_LONG));
    }
}
