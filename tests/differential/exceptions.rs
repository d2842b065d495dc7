//! Where replies may differ from those of Redis 7.0, each with its reason; and what the test does not send at all.

use russet::resp::value::Value;

use crate::compare::bytes_of;
use crate::{scores, streams};

/// What is not sent, and why. For the reader: the generator knows only what `commands.txt` has.
#[allow(dead_code, reason = "a table to read")]
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("XADD *, XTRIM ~", "ids of the clock; how far an approximate trim goes depends on the nodes' sizes"),
    ("XREAD with +", "since 7.4 the last entry, in 7.0 an error"),
    ("HEXPIRE and its kin, HGETDEL, HGETEX, HSETEX", "7.4 and 8.0 have them, the oracle does not"),
    (
        "ZRANK and ZREVRANK with a fourth argument",
        "WITHSCORE since 7.2, in 7.0 an error that ends a transaction",
    ),
    (
        "several keys that become ready at once for one client",
        "since 7.2 it is served from the first that it has named, in 7.0 from that which became ready first",
    ),
    (
        "clients that wait for several keys of which one is of a wrong type",
        "that is an error since 7.2 when another key is ready, in 7.0 only if it comes first to be served",
    ),
    (
        "XSETID of a stream that has lost entries",
        "the last id may not be less than what was deleted, since 7.2",
    ),
    ("SORT of a sorted set that stays", "Redis makes it a skiplist, here a read changes no value"),
    ("COMMAND GETKEYS with a single name", "a matter of arity until 7.2, which ends a transaction"),
    ("error() of a table without `err`, by a script that does not catch it", "it ends a redis-server 7.0"),
    (
        "numbers of `{double=}` with a fraction that has no end",
        "they are shown in their shortest form since 7.2",
    ),
    ("times under a day", "they would pass while the round runs, on one server before the other"),
];

pub struct Exception {
    pub reason: &'static str,
    pub commands: &'static [&'static str],
    /// Makes equal what may differ, and leaves all else.
    pub reconcile: fn(words: &[Vec<u8>], ours: &mut Value, theirs: &mut Value),
}

/// Applied in this order.
pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        reason: "an error of a library that leaves a coroutine names the line once, and not once more for the coroutine",
        commands: &["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"],
        reconcile: |_, ours, theirs| {
            pairwise(ours, theirs, &mut |ours, theirs| {
                if let (Some(one), Some(two)) = (ours.as_bytes(), theirs.as_bytes())
                    && names_line_twice(one, two)
                {
                    theirs.clone_from(ours);
                }
            });
        },
    },
    Exception {
        reason: "Redis' pcall returns the field `err` of an error beside it if it is no string",
        commands: &["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"],
        reconcile: |_, ours, theirs| {
            pairwise(ours, theirs, &mut |ours, theirs| {
                if let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs)
                    && theirs.len() == 3
                    && ours[..] == theirs[..2]
                    && matches!(ours[0], Value::Null | Value::NullBulk | Value::Boolean(false))
                {
                    theirs.truncate(2);
                }
            });
        },
    },
    Exception {
        reason: "whether what is no number has a sign depends on how Lua was compiled",
        commands: &["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"],
        reconcile: |_, ours, theirs| {
            pairwise(ours, theirs, &mut |ours, theirs| {
                if let (Value::Bulk(ours), Value::Bulk(theirs)) = (ours, theirs)
                    && without_sign(ours) == without_sign(theirs)
                {
                    theirs.clone_from(ours);
                }
            });
        },
    },
    Exception {
        reason: "members of a set that a script returns come in the order of the table",
        commands: &["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"],
        reconcile: |_, ours, theirs| {
            for value in [ours, theirs] {
                if matches!(value, Value::Set(_)) {
                    sort(value, 1);
                }
            }
        },
    },
    Exception {
        reason: "members of sets and fields of hashes come in the order of the table",
        commands: &["smembers", "sinter", "sunion", "sdiff", "keys", "hkeys", "hvals", "spop"],
        reconcile: |_, ours, theirs| [ours, theirs].into_iter().for_each(|value| sort(value, 1)),
    },
    Exception {
        reason: "fields of hashes come in the order of the table, with their values",
        commands: &["hgetall"],
        reconcile: |_, ours, theirs| [ours, theirs].into_iter().for_each(|value| sort(value, 2)),
    },
    Exception {
        reason: "of places that are equally far, COUNT takes those that the sorting leaves in front",
        commands: &["georadius", "georadius_ro", "georadiusbymember", "georadiusbymember_ro", "geosearch"],
        reconcile: |words, ours, theirs| {
            let counts = words.iter().any(|word| word.eq_ignore_ascii_case(b"count"));
            let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs) else { return };
            if !counts || ours.len() != theirs.len() {
                return;
            }
            // What is told of each besides its name must be the same.
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                match (ours, theirs) {
                    (Value::Array(ours), Value::Array(theirs)) => ours[0] = theirs[0].clone(),
                    (ours, theirs) => *ours = theirs.clone(),
                }
            }
        },
    },
    Exception {
        reason: "a scan goes by the order of the table",
        commands: &["scan", "sscan", "hscan", "zscan"],
        reconcile: |words, ours, theirs| {
            let step = if words[0].eq_ignore_ascii_case(b"hscan") || words[0].eq_ignore_ascii_case(b"zscan") {
                2
            } else {
                1
            };
            for value in [ours, theirs] {
                if let Value::Array(parts) = value
                    && let [_, elements] = &mut parts[..]
                {
                    sort(elements, step);
                }
            }
        },
    },
    Exception {
        reason: "where a scan goes on is the server's own, and since 7.4 a negative cursor is none, and a blank may stand before one",
        commands: &["scan", "sscan", "hscan", "zscan"],
        reconcile: |words, ours, theirs| {
            let cursor = if words[0].eq_ignore_ascii_case(b"scan") { 1 } else { 2 };
            let ends = |value: &Value| value.elements().is_some_and(|it| it[0].as_bytes() == Some(b"0"));
            let is_whole = ends(ours) && ends(theirs);
            if words.get(cursor).is_some_and(|cursor| cursor != b"0" || !is_whole) {
                newer(true, b"ERR invalid cursor", ours, theirs);
                let has_blank = words[cursor].first().is_some_and(u8::is_ascii_whitespace);
                if has_blank && theirs.as_bytes() == Some(b"ERR invalid cursor") {
                    theirs.clone_from(ours);
                }
                if matches!((&*ours, &*theirs), (Value::Array(_), Value::Array(_))) {
                    theirs.clone_from(ours);
                }
            }
        },
    },
    Exception {
        reason: "a blocked XREADGROUP whose stream or group goes away fails since 7.2 as it would fail if it came now",
        commands: &["xreadgroup"],
        reconcile: |words, ours, theirs| {
            let says = |value: &Value, text: &[u8]| value.as_bytes().is_some_and(|it| it.starts_with(text));
            let is_blocking = words.iter().any(|word| word.eq_ignore_ascii_case(b"block"));
            let is_gone = says(theirs, b"UNBLOCKED the stream key no longer exists")
                || says(theirs, b"NOGROUP the consumer group this client was blocked on no longer exists");
            if is_blocking && is_gone && (says(ours, b"NOGROUP ") || says(ours, b"WRONGTYPE ")) {
                theirs.clone_from(ours);
            }
        },
    },
    Exception {
        reason: "+ names the last entry since 7.4",
        commands: &["xread"],
        reconcile: |words, ours, theirs| {
            let is_plus = words.iter().any(|word| word == b"+");
            if is_plus
                && theirs.as_bytes() == Some(b"ERR Invalid stream ID specified as stream command argument")
            {
                theirs.clone_from(ours);
            }
        },
    },
    Exception {
        reason: "the greatest deleted id is looked at before the last entry since 7.2",
        commands: &["xsetid"],
        reconcile: |_, ours, theirs| {
            let error = b"ERR The ID specified in XSETID is smaller than current max_deleted_entry_id";
            newer(theirs.is_error(), error, ours, theirs);
        },
    },
    Exception {
        reason: "the sentence names the command since 7.4",
        commands: &["xread", "xreadgroup"],
        reconcile: |_, ours, theirs| newer(theirs.is_error(), b"ERR Unbalanced 'x", ours, theirs),
    },
    Exception {
        reason: "a client that has waited reads all its streams that have something since 7.2, in 7.0 that which has woken it",
        commands: &["xread"],
        reconcile: |words, ours, theirs| {
            if words.iter().any(|word| word.eq_ignore_ascii_case(b"block")) {
                with_more_streams(ours, theirs);
            }
        },
    },
    Exception {
        reason: "neither a missing key nor one of another type excuses bad arguments since 7.2",
        commands: &["bitcount", "bitpos"],
        reconcile: |words, ours, theirs| {
            let is_of_wrong_type = theirs.as_bytes().is_some_and(|text| text.starts_with(b"WRONGTYPE"));
            let is_missing = is_of_wrong_type
                || [Value::Integer(0), Value::Integer(-1)].contains(theirs) && words.len() > 2;
            newer(is_missing, b"ERR ", ours, theirs);
        },
    },
    Exception {
        reason: "how a payload is compressed and in which order is the server's own; transfers check what it holds",
        commands: &["dump"],
        reconcile: |_, ours, theirs| {
            if matches!((&*ours, &*theirs), (Value::Bulk(_), Value::Bulk(_))) {
                theirs.clone_from(ours);
            }
        },
    },
    Exception {
        reason: "a set is sorted by nothing, and of equal weights any may come first",
        commands: &["sort", "sort_ro"],
        reconcile: |words, ours, theirs| {
            let count = |name: &[u8]| words.iter().filter(|word| word.eq_ignore_ascii_case(name)).count();
            if count(b"by") > 0 || count(b"alpha") > 0 && count(b"get") > 0 {
                [ours, theirs].into_iter().for_each(|value| sort(value, count(b"get").max(1)));
            } else if count(b"alpha") > 0 && count(b"store") == 0 {
                // C's strcoll compares up to a zero byte: what is behind it weighs nothing.
                [ours, theirs].into_iter().for_each(up_to_zero);
            }
        },
    },
    Exception {
        // SSCAN s 18446744073709551616 and SORT of 0.5 behind it, in one packet, show it.
        reason: "Redis' SORT takes the error of another command's number for its own, since it looks at what errno is left as",
        commands: &["sort", "sort_ro"],
        reconcile: |words, ours, theirs| {
            let is_number = |value: &Value| {
                std::str::from_utf8(value.as_bytes().unwrap_or_default())
                    .is_ok_and(|it| it.parse::<f64>().is_ok())
            };
            let is_numeric = !words.iter().any(|word| word.eq_ignore_ascii_case(b"alpha"))
                && ours.elements().is_some_and(|it| it.iter().all(is_number));
            if is_numeric
                && theirs.as_bytes() == Some(b"ERR One or more scores can't be converted into double")
            {
                theirs.clone_from(ours);
            }
        },
    },
    Exception {
        reason: "chance chooses: only the shape is compared",
        commands: &["srandmember", "hrandfield", "zrandmember", "randomkey", "spop"],
        reconcile: |_, ours, theirs| [ours, theirs].into_iter().for_each(hide_texts),
    },
    Exception {
        reason: "the clocks of two servers are not read at the same instant",
        commands: &["ttl", "expiretime", "pttl", "pexpiretime"],
        reconcile: |words, ours, theirs| {
            let is_ms = words[0].to_ascii_lowercase().starts_with(b"p");
            near(ours, theirs, if is_ms { 10_000 } else { 10 });
        },
    },
    Exception {
        reason: "a short list is a listpack since 7.2, and a small set as well",
        commands: &["object"],
        reconcile: |_, ours, theirs| {
            let old = [&b"quicklist"[..], b"hashtable"];
            if ours.as_bytes() == Some(b"listpack") && theirs.as_bytes().is_some_and(|it| old.contains(&it)) {
                theirs.clone_from(ours);
            }
        },
    },
    Exception {
        reason: "Redis keeps small integers once for all keys, and tells how long that one was not used",
        commands: &["object"],
        reconcile: |words, ours, theirs| {
            let is_it = words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"idletime"));
            if is_it && matches!((&*ours, &*theirs), (Value::Integer(0..10), Value::Integer(0..))) {
                theirs.clone_from(ours);
            }
        },
    },
    Exception {
        reason: "a time limit behind the end of all time is refused since 7.2",
        commands: &["wait"],
        reconcile: |_, ours, theirs| newer(true, b"ERR timeout is out of range", ours, theirs),
    },
    Exception {
        reason: "what a value takes is the server's own affair",
        commands: &["memory"],
        reconcile: |_, ours, theirs| {
            if let (Value::Integer(1..), Value::Integer(1..)) = (&*ours, &*theirs) {
                theirs.clone_from(ours);
            }
        },
    },
    Exception {
        reason: "how long an entry has been pending is a matter of the clock",
        commands: &["xpending"],
        reconcile: |_, ours, theirs| {
            pairwise(ours, theirs, &mut |ours, theirs| {
                if let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs)
                    && let ([_, _, ours, Value::Integer(_)], [_, _, theirs, _]) =
                        (&mut ours[..], &mut theirs[..])
                {
                    near(ours, theirs, 10_000);
                }
            });
        },
    },
    Exception {
        reason: "consumers tell of their last success since 7.2, a group's place is counted otherwise since 7.4, and times are told",
        commands: &["xinfo"],
        reconcile: streams::reconcile,
    },
    Exception {
        reason: "LPOS refuses the one RANK that has no opposite since 7.2",
        commands: &["lpos"],
        reconcile: |words, ours, theirs| {
            let is_there = words.iter().any(|word| word == b"-9223372036854775808");
            newer(is_there, b"ERR value is out of range, value must between", ours, theirs);
        },
    },
    Exception {
        reason: "scores are in their shortest form since 7.2, and ours must be just that",
        commands: &[
            "zscore",
            "zmscore",
            "zadd",
            "zincrby",
            "zrange",
            "zrevrange",
            "zrangebyscore",
            "zrevrangebyscore",
            "zpopmin",
            "zpopmax",
            "zmpop",
            "bzpopmin",
            "bzpopmax",
            "bzmpop",
            "zunion",
            "zinter",
            "zdiff",
            "zscan",
        ],
        reconcile: |_, ours, theirs| pairwise(ours, theirs, &mut same_number),
    },
];

/// A text in which no `nan` has a sign.
fn without_sign(text: &[u8]) -> String {
    text.escape_ascii().to_string().replace("-nan", "nan")
}

/// Accepts our error, which begins so, where a newer version answers otherwise.
fn newer(is_case: bool, error: &[u8], ours: &Value, theirs: &mut Value) {
    if is_case && ours.is_error() && ours.as_bytes().is_some_and(|text| text.starts_with(error)) {
        theirs.clone_from(ours);
    }
}

/// Whether `two` is `one` with a place like `user_script:1: ` twice in a row.
fn names_line_twice(one: &[u8], two: &[u8]) -> bool {
    let extra = two.len().saturating_sub(one.len());
    let place = |at: usize| &two[at..at + extra];
    extra > 0
        && one.starts_with(b"ERR user_")
        && two.len() >= 4 + 2 * extra
        && place(4) == place(4 + extra)
        && place(4).ends_with(b": ")
        && two[4 + extra..] == one[4..]
}

/// The reasons why this command may be answered otherwise.
pub fn reasons(command: &str) -> impl Iterator<Item = &'static str> {
    EXCEPTIONS.iter().filter(move |it| it.commands.contains(&command)).map(|it| it.reason)
}

/// Calls `reconcile` with what is at the same place in both, the outer before the inner.
fn pairwise(ours: &mut Value, theirs: &mut Value, reconcile: &mut impl FnMut(&mut Value, &mut Value)) {
    reconcile(ours, theirs);
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) | (Value::Set(ours), Value::Set(theirs)) => {
            ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| pairwise(ours, theirs, reconcile));
        }
        _ => {}
    }
}

fn same_number(ours: &mut Value, theirs: &mut Value) {
    let number = |value: &Value| match value {
        Value::Bulk(text) => std::str::from_utf8(text).ok()?.parse::<f64>().ok(),
        _ => None,
    };
    if let Some(number) = number(theirs)
        && ours.as_bytes() == Some(scores::text(number).as_bytes())
    {
        theirs.clone_from(ours);
    }
}

/// What may differ because of the command before, `last` being our answer to that.
pub fn reconcile_behind(
    last_words: &[Vec<u8>],
    last: &Value,
    words: &[Vec<u8>],
    ours: &Value,
    theirs: &mut Value,
) {
    let is = |words: &[Vec<u8>], at: usize, name: &str| {
        words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    if last_words.len() < 3 || words.len() < 3 {
        return;
    }
    // XREADGROUP, XCLAIM and XAUTOCLAIM make their consumer even if they give it nothing since 7.2. The generator asks
    // behind each of them.
    let makes_consumer = ["xreadgroup", "xclaim", "xautoclaim"].iter().any(|name| is(last_words, 0, name));
    if makes_consumer
        && !last.is_error()
        && is(words, 0, "xgroup")
        && is(words, 1, "createconsumer")
        && words[2..].iter().all(|word| last_words.contains(word))
        && (ours, &*theirs) == (&Value::Integer(0), &Value::Integer(1))
    {
        theirs.clone_from(ours);
    }
    if is(last_words, 1, "stream")
        && is(last_words, 3, "full")
        && is(words, 1, "groups")
        && words[2] == last_words[2]
    {
        streams::reconcile_groups(last, ours, theirs);
    }
}

/// Makes equal two replies of streams if ours has all that theirs has.
fn with_more_streams(ours: &mut Value, theirs: &mut Value) {
    let has_all = match (&*ours, &*theirs) {
        (Value::Array(ours), Value::Array(theirs)) => theirs.iter().all(|stream| ours.contains(stream)),
        (Value::Map(ours), Value::Map(theirs)) => theirs.iter().all(|stream| ours.contains(stream)),
        _ => false,
    };
    if has_all {
        theirs.clone_from(ours);
    }
}

/// Sorts the elements in groups of so many.
fn sort(value: &mut Value, group: usize) {
    match value {
        Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => {
            let mut groups: Vec<Vec<Value>> = elements.chunks(group).map(<[Value]>::to_vec).collect();
            groups.sort_by_cached_key(|group| group.iter().flat_map(bytes_of).collect::<Vec<u8>>());
            *elements = groups.concat();
        }
        Value::Map(pairs) => pairs.sort_by_cached_key(|(key, value)| [bytes_of(key), bytes_of(value)]),
        _ => {}
    }
}

/// Cuts the elements at their first zero bytes.
fn up_to_zero(value: &mut Value) {
    if let Value::Array(elements) = value {
        for element in elements {
            if let Value::Bulk(text) = element {
                text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(text.len()));
            }
        }
    }
}

fn hide_texts(value: &mut Value) {
    match value {
        Value::Bulk(text) => *text = b"chance".to_vec(),
        Value::Double(number) => *number = 0.0,
        Value::Array(elements) | Value::Set(elements) => elements.iter_mut().for_each(hide_texts),
        _ => {}
    }
}

pub fn near(ours: &mut Value, theirs: &mut Value, distance: u64) {
    if let (Value::Integer(a), Value::Integer(b)) = (&*ours, &*theirs)
        && *a >= 0
        && *b >= 0
        && a.abs_diff(*b) <= distance
    {
        ours.clone_from(theirs);
    }
}
