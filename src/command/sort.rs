//! SORT and SORT_RO: the elements of a list, set or sorted set in an order of the client's choice.

use std::cmp::Ordering;

use super::context::Ctx;
use super::options::integer;
use super::spec::*;
use crate::base::number::parse_f64;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::hash::Field;
use crate::storage::list::List;
use crate::storage::{Value, ValueRef};

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("sort", -2, WRITE | DENYOOM | MOVABLE_KEYS | DANGEROUS, "generic", sort)
        .keys(&[
            KeySpec::range(1, 1, 1, RO | ACCESS),
            KeySpec::unknown(RO | ACCESS).noted("For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort"),
            KeySpec::unknown(OW | UPDATE).noted("For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array"),
        ])
        .looks_at(Extent::Sort).docs(
            "1.0.0",
            "O(N*log(N)), N being the number of elements.",
            "Sorts the elements of a collection, answers or stores them.",
            "key [BY by-pattern] [LIMIT offset count] [GET get-pattern [GET get-pattern ...]] [ASC | DESC] [ALPHA] \
             [STORE destination]",
        ),
    CommandSpec::data("sort_ro", -2, READONLY | MOVABLE_KEYS | DANGEROUS, "generic", sort_ro)
        .keys(&[KeySpec::range(1, 1, 1, RO | ACCESS), KeySpec::unknown(RO | ACCESS).noted("For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort")])
        .looks_at(Extent::Sort).docs(
            "7.0.0",
            "O(N*log(N)), N being the number of elements.",
            "Sorts the elements of a collection and answers them.",
            "key [BY by-pattern] [LIMIT offset count] [GET get-pattern [GET get-pattern ...]] [ASC | DESC] [ALPHA]",
        ),
];

struct SortOptions<'a> {
    is_descending: bool,
    is_alpha: bool,
    offset: i64,
    /// Negative: all.
    count: i64,
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
}

impl<'a> SortOptions<'a> {
    /// `args` are those behind the key.
    fn parse(args: Args<'a>, may_store: bool) -> Result<Self, ErrorReply> {
        let mut options = Self {
            is_descending: false,
            is_alpha: false,
            offset: 0,
            count: -1,
            by: None,
            get: Vec::new(),
            store: None,
        };
        let mut at = 0;
        while at < args.len() {
            let value = args.get(at + 1);
            match value {
                _ if args.is(at, "asc") => options.is_descending = false,
                _ if args.is(at, "desc") => options.is_descending = true,
                _ if args.is(at, "alpha") => options.is_alpha = true,
                Some(offset) if args.is(at, "limit") && at + 2 < args.len() => {
                    options.offset = integer(offset)?;
                    options.count = integer(args.bytes(at + 2))?;
                    at += 2;
                }
                Some(destination) if may_store && args.is(at, "store") => {
                    options.store = Some(destination);
                    at += 1;
                }
                Some(pattern) if args.is(at, "by") => {
                    options.by = Some(pattern);
                    at += 1;
                }
                Some(pattern) if args.is(at, "get") => {
                    options.get.push(pattern);
                    at += 1;
                }
                _ => return Err(ErrorReply::SYNTAX),
            }
            at += 1;
        }
        Ok(options)
    }

    /// The places that LIMIT leaves of `len`.
    fn range(&self, len: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(self.offset).unwrap_or(0).min(len);
        let count = usize::try_from(self.count).unwrap_or(len);
        start..start.saturating_add(count).min(len)
    }

    /// BY a pattern without `*` is no order at all.
    fn is_unsorted(&self) -> bool {
        self.by.is_some_and(|pattern| !pattern.contains(&b'*'))
    }
}

/// `SORT key [BY by-pattern] [LIMIT offset count] [GET get-pattern ...] [ASC | DESC] [ALPHA] [STORE destination]`
fn sort(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    run(ctx, args.bytes(1), SortOptions::parse(args.from(2), true)?)
}

/// `SORT_RO key [BY by-pattern] [LIMIT offset count] [GET get-pattern ...] [ASC | DESC] [ALPHA]`
fn sort_ro(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    run(ctx, args.bytes(1), SortOptions::parse(args.from(2), false)?)
}

fn run(ctx: &mut Ctx<'_>, key: &[u8], mut options: SortOptions<'_>) -> CommandResult {
    let (mut elements, kind) = elements_of(ctx, key)?;
    let mut is_sorted = !options.is_unsorted();
    if !is_sorted && kind == Kind::Set && (options.store.is_some() || ctx.is_scripted) {
        // A set has no order of its own, and what is stored must be the same on every replica.
        is_sorted = true;
        options.is_alpha = true;
        options.by = None;
    }
    if is_sorted {
        elements = sorted(ctx, elements, &options)?;
    } else if kind != Kind::Set && options.is_descending {
        elements.reverse();
    }
    let range = options.range(elements.len());
    let rows: Vec<Option<Vec<u8>>> = if options.get.is_empty() {
        elements.truncate(range.end);
        elements.into_iter().skip(range.start).map(Some).collect()
    } else {
        let (elements, patterns) = (&elements[range], &options.get);
        let pairs =
            elements.iter().flat_map(|element| patterns.iter().map(move |&pattern| (pattern, element)));
        pairs.map(|(pattern, element)| look_up(ctx, pattern, element)).collect()
    };
    match options.store {
        Some(destination) => store(ctx, destination, rows),
        None => {
            ctx.reply.array(rows.len());
            for row in rows {
                match row {
                    Some(bytes) => ctx.reply.bulk(bytes),
                    None => ctx.reply.null(),
                }
            }
        }
    }
    Ok(Flow::Done)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Set,
    SortedSet,
}

/// The elements of the collection at `key`, in its own order.
fn elements_of(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<(Vec<Vec<u8>>, Kind), ErrorReply> {
    Ok(match ctx.db.get(key) {
        None => (Vec::new(), Kind::List),
        Some(ValueRef::List(list)) => (list.iter().map(<[u8]>::to_vec).collect(), Kind::List),
        Some(ValueRef::Set(set)) => (set.iter().map(|member| member.to_vec()).collect(), Kind::Set),
        Some(ValueRef::SortedSet(sorted_set)) => {
            (sorted_set.iter().map(|(member, _)| member.to_vec()).collect(), Kind::SortedSet)
        }
        Some(_) => return Err(ErrorReply::WRONG_TYPE),
    })
}

fn sorted(
    ctx: &mut Ctx<'_>,
    mut elements: Vec<Vec<u8>>,
    options: &SortOptions<'_>,
) -> Result<Vec<Vec<u8>>, ErrorReply> {
    let directed = |order: Ordering| if options.is_descending { order.reverse() } else { order };
    match options.by {
        None if options.is_alpha => elements.sort_unstable_by(|a, b| directed(a.cmp(b))),
        Some(pattern) if options.is_alpha => {
            let weights = elements.iter().map(|element| look_up(ctx, pattern, element)).collect::<Vec<_>>();
            let mut weighted: Vec<_> = weights.into_iter().zip(elements).collect();
            weighted.sort_by(|(a, _), (b, _)| directed(a.cmp(b)));
            elements = weighted.into_iter().map(|(_, element)| element).collect();
        }
        by => {
            let mut order = Vec::with_capacity(elements.len());
            for (place, element) in elements.iter().enumerate() {
                let weight = match by {
                    None => number(element)?,
                    Some(pattern) => number(&look_up(ctx, pattern, element).unwrap_or_default())?,
                };
                order.push((weight, place));
            }
            order.sort_unstable_by(|&(a, left), &(b, right)| {
                directed(a.total_cmp(&b).then_with(|| elements[left].cmp(&elements[right])))
            });
            elements = order.into_iter().map(|(_, place)| std::mem::take(&mut elements[place])).collect();
        }
    }
    Ok(elements)
}

/// The number that an element weighs. C's strtod, which Redis calls here, ends at a zero byte and reads nothing as zero.
fn number(text: &[u8]) -> Result<f64, ErrorReply> {
    match text.split(|byte| *byte == 0).next() {
        None | Some([]) => Ok(0.0),
        // Minus zero equals zero.
        Some(text) => parse_f64(text.trim_ascii_start()).map(|n| n + 0.0).ok_or(ErrorReply::SORT_NOT_NUMERIC),
    }
}

/// What a BY or GET pattern names for an element: the element itself (`#`), the string at the key that the pattern
/// becomes when the element replaces its `*`, or the field behind `->` of the hash there.
fn look_up(ctx: &mut Ctx<'_>, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = pattern.iter().position(|&c| c == b'*')?;
    let (prefix, rest) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = rest.windows(2).position(|pair| pair == b"->").filter(|&at| at + 2 < rest.len());
    let (suffix, field) = match arrow {
        Some(at) => (&rest[..at], Some(&rest[at + 2..])),
        None => (rest, None),
    };
    let key = [prefix, element, suffix].concat();
    let horizon = ctx.db.horizon();
    match (ctx.db.get(&key)?, field) {
        (ValueRef::Hash(hash), Some(field)) => match hash.find(field, horizon) {
            Field::Live(value) => Some(value.to_vec()),
            Field::Missing => None,
            Field::Due => {
                ctx.db.expire_fields(&key, [field]);
                None
            }
        },
        (ValueRef::Int(n), None) => Some(itoa::Buffer::new().format(n).as_bytes().to_vec()),
        (ValueRef::Str(bytes), None) => Some(bytes.to_vec()),
        _ => None,
    }
}

/// Replaces `destination` by a list of the rows; none of them leave no key.
fn store(ctx: &mut Ctx<'_>, destination: &[u8], rows: Vec<Option<Vec<u8>>>) {
    let len = rows.len();
    if len == 0 {
        if ctx.db.remove(destination) {
            ctx.modified(destination, "del");
        }
    } else {
        let mut list = List::new();
        for row in rows {
            list.push_back(row.as_deref().unwrap_or_default(), ctx.db.limits);
        }
        ctx.db.insert(destination, Value::List(list), None);
        ctx.modified(destination, "sortstore");
        ctx.add_dirty(len as u64 - 1);
    }
    ctx.reply.integer(len as i64);
}
