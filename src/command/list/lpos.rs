//! LPOS: where an element is in a list.

use crate::command::context::Ctx;
use crate::command::options::{integer, signed_count};
use crate::command::spec::{CommandResult, Flow};
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::list::List;

struct Search {
    from_back: bool,
    /// Matches to pass over before the first that counts.
    skipped: u64,
    /// How many positions to answer; none: the first alone, not as an array.
    count: Option<usize>,
    /// How many elements to compare.
    compared_max: usize,
}

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`
pub(super) fn lpos(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let search = Search::parse(&args.from(3))?;
    let element = args.bytes(2);
    let list = ctx.db.read::<List>(args.bytes(1))?;
    let Some(count) = search.count else {
        match list.and_then(|list| search.positions(list, element).next()) {
            Some(index) => ctx.reply.integer(index as i64),
            None => ctx.reply.null(),
        }
        return Ok(Flow::Done);
    };
    let array = ctx.reply.defer();
    let mut len = 0;
    for index in list.into_iter().flat_map(|list| search.positions(list, element)).take(count) {
        ctx.reply.integer(index as i64);
        len += 1;
    }
    ctx.reply.end_array(array, len);
    Ok(Flow::Done)
}

impl Search {
    fn parse(args: &Args<'_>) -> Result<Self, ErrorReply> {
        let mut search = Self { from_back: false, skipped: 0, count: None, compared_max: usize::MAX };
        for at in (0..args.len()).step_by(2) {
            let Some(value) = args.get(at + 1) else { return Err(ErrorReply::SYNTAX) };
            if args.is(at, "RANK") {
                let rank = signed_count(value)?;
                if rank == 0 {
                    return Err(ErrorReply::RANK_ZERO);
                }
                search.from_back = rank < 0;
                search.skipped = rank.unsigned_abs() - 1;
            } else if args.is(at, "COUNT") {
                search.count = Some(or_all(value, ErrorReply::COUNT_NEGATIVE)?);
            } else if args.is(at, "MAXLEN") {
                search.compared_max = or_all(value, ErrorReply::MAXLEN_NEGATIVE)?;
            } else {
                return Err(ErrorReply::SYNTAX);
            }
        }
        Ok(search)
    }

    /// The positions of `element`, as far as the search goes.
    fn positions<'a>(&self, list: &'a List, element: &'a [u8]) -> impl Iterator<Item = usize> + use<'a> {
        let len = list.len();
        let from_back = self.from_back;
        let mut elements = list.iter();
        let next = move || if from_back { elements.next_back() } else { elements.next() };
        std::iter::from_fn(next)
            .take(self.compared_max)
            .enumerate()
            .filter(move |(_, other)| *other == element)
            .map(move |(passed, _)| if from_back { len - 1 - passed } else { passed })
            .skip(usize::try_from(self.skipped).unwrap_or(usize::MAX))
    }
}

/// A number that is not negative; 0 stands for no limit. `error` tells of anything else.
fn or_all(arg: &[u8], error: ErrorReply) -> Result<usize, ErrorReply> {
    match integer(arg).map(usize::try_from) {
        Ok(Ok(0)) => Ok(usize::MAX),
        Ok(Ok(n)) => Ok(n),
        _ => Err(error),
    }
}
