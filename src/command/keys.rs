//! Which arguments of a command are keys, from the key specs of its row.

use super::spec::*;
use crate::base::number::parse_i64;
use crate::resp::args::Args;

/// One key among a command's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyArg {
    pub index: usize,
    pub flags: KeyFlags,
}

/// The names of the flags, in the order in which COMMAND shows them.
pub(super) const KEY_FLAG_NAMES: [(KeyFlags, &str); 11] = [
    (RO, "RO"),
    (RW, "RW"),
    (OW, "OW"),
    (RM, "RM"),
    (ACCESS, "access"),
    (UPDATE, "update"),
    (INSERT, "insert"),
    (DELETE, "delete"),
    (NOT_KEY, "not_key"),
    (INCOMPLETE, "incomplete"),
    (VARIABLE_FLAGS, "variable_flags"),
];

/// Whether a command may have keys at all.
pub fn has_keys(row: &CommandSpec) -> bool {
    row.keys.iter().any(|spec| spec.flags & NOT_KEY == 0)
}

/// The keys among `args`; none if the arguments do not fit the command.
pub fn keys_of(row: &CommandSpec, args: &Args<'_>) -> Option<Vec<KeyArg>> {
    let mut keys = Vec::new();
    for spec in row.keys.iter().filter(|spec| spec.flags & NOT_KEY == 0) {
        let Some(begin) = begin(spec.begin, args) else { continue };
        let flags = flags_in(row, spec, args);
        let found = find(spec.find, begin, args)?;
        // No keys where some are wanted is an error of the whole command, whatever other keys it names.
        if found.is_empty() && matches!(spec.find, FindKeys::Count { .. }) && !row.has(NO_MANDATORY_KEYS) {
            return None;
        }
        keys.extend(found.into_iter().map(|index| KeyArg { index, flags }));
    }
    if row.name == "migrate" {
        // Either one key, or an empty one and those behind KEYS, which may be the value of another option.
        let word = (6..args.len()).find(|&i| args.is(i, "KEYS"));
        let named = match word {
            None => 3..4,
            Some(word) if args.get(3).is_some_and(<[u8]>::is_empty) => word + 1..args.len(),
            Some(_) => return None,
        };
        return Some(named.map(|index| KeyArg { index, flags: RW | ACCESS | DELETE }).collect());
    }
    if row.name == "sort" {
        // The last STORE counts, and LIMIT, GET and BY may be followed by a word that reads like it.
        let mut i = 2;
        let mut destination = None;
        while i < args.len() {
            let values = match () {
                () if args.is(i, "LIMIT") => 2,
                () if args.is(i, "GET") || args.is(i, "BY") => 1,
                () if args.is(i, "STORE") && i + 1 < args.len() => {
                    destination = Some(i + 1);
                    1
                }
                () => 0,
            };
            i += 1 + values;
        }
        keys.extend(destination.map(|index| KeyArg { index, flags: OW | UPDATE }));
    }
    Some(keys)
}

fn begin(search: BeginSearch, args: &Args<'_>) -> Option<usize> {
    match search {
        BeginSearch::Index(index) => Some(index),
        BeginSearch::Keyword { word, start_from } => {
            let found = match usize::try_from(start_from) {
                // The last argument has nothing behind it that could be a key.
                Ok(from) => (from..args.len().saturating_sub(1)).find(|&i| args.is(i, word)),
                Err(_) => {
                    let from = args.len().checked_sub(start_from.unsigned_abs() as usize)?;
                    (1..=from).rev().find(|&i| args.is(i, word))
                }
            };
            found.map(|index| index + 1)
        }
        BeginSearch::Unknown => None,
    }
}

fn find(find: FindKeys, begin: usize, args: &Args<'_>) -> Option<Vec<usize>> {
    let len = args.len();
    let (first, last, step) = match find {
        FindKeys::Range { last, step, limit } => {
            let last = match usize::try_from(last) {
                Ok(last) => begin + last,
                Err(_) => {
                    let end = if limit <= 1 { len } else { begin + len.checked_sub(begin)? / limit };
                    end.checked_sub(last.unsigned_abs() as usize)?
                }
            };
            (begin, last, step)
        }
        FindKeys::Count { count, first, step } => {
            let number = usize::try_from(parse_i64(args.get(begin + count)?)?).ok()?;
            if number == 0 {
                return Some(Vec::new());
            }
            let first = begin + first;
            // More keys than arguments are no keys, and must not overflow.
            (first, first + number.min(len).checked_sub(1)?.checked_mul(step)?, step)
        }
        FindKeys::Unknown => return Some(Vec::new()),
    };
    (first <= last && last < len).then(|| (first..=last).step_by(step.max(1)).collect())
}

/// What some commands do to a key depends on their options.
fn flags_in(row: &CommandSpec, spec: &KeySpec, args: &Args<'_>) -> KeyFlags {
    if spec.flags & VARIABLE_FLAGS == 0 {
        return spec.flags;
    }
    let has_word = |word: &str| (2..args.len()).any(|i| args.is(i, word));
    match row.name {
        "set" if has_word("GET") => RW | ACCESS | UPDATE,
        "set" => OW | UPDATE,
        "bitfield" if !has_word("SET") && !has_word("INCRBY") => RO | ACCESS,
        _ => spec.flags & !VARIABLE_FLAGS,
    }
}

/// First key, last key and step as COMMAND shows them: what ranges alone can say.
pub fn legacy_range(row: &CommandSpec) -> (i64, i64, i64) {
    let mut legacy: Option<(i64, i64, i64)> = None;
    for spec in row.keys {
        let (BeginSearch::Index(first), FindKeys::Range { last, step, limit: 0 | 1 }) =
            (spec.begin, spec.find)
        else {
            continue;
        };
        let first = first as i64;
        let last = if last >= 0 { first + i64::from(last) } else { i64::from(last) };
        legacy = match legacy {
            None => Some((first, last, step as i64)),
            // Ranges that touch are one.
            Some((begin, end, 1)) if step == 1 && end + 1 == first => Some((begin, last, 1)),
            other => other,
        };
    }
    legacy.unwrap_or((0, 0, 0))
}
