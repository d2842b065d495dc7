//! Where replies may differ from those of Redis 7.0, each with its reason; and what the test does not send at all.

use russet::resp::value::Value;

use crate::compare::bytes_of;

/// What is not sent, and why. For the reader: the generator knows only what `commands.txt` has.
#[allow(dead_code, reason = "a table to read")]
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("scores of minus zero", "Redis keeps the sign in the large form of a sorted set alone, Russet in none"),
    ("XADD *, XTRIM ~", "ids of the clock; how far an approximate trim goes depends on the nodes' sizes"),
    ("XREAD with +", "since 7.4 the last entry, in 7.0 an error"),
    (
        "XINFO of groups and consumers",
        "who has read what is counted otherwise since 7.2; tests/transcripts holds it",
    ),
    ("HEXPIRE and its kin, HGETDEL, HGETEX, HSETEX", "7.4 and 8.0 have them, the oracle does not"),
    ("times under a day", "they would pass while the round runs, on one server before the other"),
    ("blocking with a second client", "who is first depends on the machine; tests/transcripts holds it"),
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
        reason: "where a scan goes on is the server's own, and a cursor with a sign or a blank is none since 7.2",
        commands: &["scan", "sscan", "hscan", "zscan"],
        reconcile: |words, ours, theirs| {
            let cursor = if words[0].eq_ignore_ascii_case(b"scan") { 1 } else { 2 };
            let ends = |value: &Value| value.elements().is_some_and(|it| it[0].as_bytes() == Some(b"0"));
            let is_whole = ends(ours) && ends(theirs);
            if words.get(cursor).is_some_and(|cursor| cursor != b"0" || !is_whole) {
                newer(true, b"ERR invalid cursor", ours, theirs);
                if matches!((&*ours, &*theirs), (Value::Array(_), Value::Array(_))) {
                    theirs.clone_from(ours);
                }
            }
        },
    },
    Exception {
        reason: "the sentence names the command since 7.4",
        commands: &["xread", "xreadgroup"],
        reconcile: |_, ours, theirs| newer(theirs.is_error(), b"ERR Unbalanced 'x", ours, theirs),
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
            if count(b"by") > 0 {
                [ours, theirs].into_iter().for_each(|value| sort(value, count(b"get").max(1)));
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
        reason: "Redis' forms tell a value's history: SORT enlarges a sorted set, PFADD and INCRBYFLOAT leave a string as it is",
        commands: &["object"],
        reconcile: |_, ours, theirs| {
            let pair = (ours.as_bytes(), theirs.as_bytes());
            let text = [Some(&b"int"[..]), Some(b"embstr"), Some(b"raw")];
            if text.contains(&pair.0) && text.contains(&pair.1)
                || pair == (Some(b"listpack"), Some(b"skiplist"))
            {
                theirs.clone_from(ours);
            }
        },
    },
    Exception {
        reason: "XCLAIM and XREADGROUP make a consumer even if they give it nothing since 7.2",
        commands: &["xgroup"],
        reconcile: |words, ours, theirs| {
            let is_creation = words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"createconsumer"));
            if is_creation && *ours == Value::Integer(0) && *theirs == Value::Integer(1) {
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
        reason: "XINFO tells times, the lag of a group that has read nothing is the length since 7.4, 7.2 tells when a consumer was active, and sizes of nodes are the server's own",
        commands: &["xinfo"],
        reconcile: |_, ours, theirs| [ours, theirs].into_iter().for_each(without_times),
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
        reason: "ZRANK and ZREVRANK have taken WITHSCORE since 7.2",
        commands: &["zrank", "zrevrank"],
        reconcile: |words, ours, theirs| newer(words.len() == 4, b"ERR syntax error", ours, theirs),
    },
    Exception {
        reason: "scores are in their shortest form since 7.2",
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

/// Accepts our error, which begins so, where a newer version answers otherwise.
fn newer(is_case: bool, error: &[u8], ours: &Value, theirs: &mut Value) {
    if is_case && ours.is_error() && ours.as_bytes().is_some_and(|text| text.starts_with(error)) {
        theirs.clone_from(ours);
    }
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
    if let (Some(a), Some(b)) = (number(ours), number(theirs))
        && a == b
    {
        ours.clone_from(theirs);
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

fn hide_texts(value: &mut Value) {
    match value {
        Value::Bulk(text) => *text = b"chance".to_vec(),
        Value::Double(number) => *number = 0.0,
        Value::Array(elements) | Value::Set(elements) => elements.iter_mut().for_each(hide_texts),
        _ => {}
    }
}

fn near(ours: &mut Value, theirs: &mut Value, distance: u64) {
    if let (Value::Integer(a), Value::Integer(b)) = (&*ours, &*theirs)
        && *a > 0
        && *b > 0
        && a.abs_diff(*b) <= distance
    {
        ours.clone_from(theirs);
    }
}

const TIMES: &[&[u8]] =
    &[b"lag", b"idle", b"inactive", b"seen-time", b"active-time", b"radix-tree-keys", b"radix-tree-nodes"];

/// Takes the named fields out, and the times out of lists of pending entries.
fn without_times(value: &mut Value) {
    match value {
        Value::Array(elements) => {
            let mut at = 0;
            while at < elements.len() {
                let is_time = elements[at].as_bytes().is_some_and(|name| TIMES.contains(&name));
                if is_time && at + 1 < elements.len() {
                    elements.drain(at..at + 2);
                } else {
                    at += 1;
                }
            }
            // An entry's id, with its consumer or without, the time of its delivery, and how often.
            let is_pending = matches!(
                elements[..],
                [Value::Bulk(_), Value::Integer(_), Value::Integer(_)]
                    | [Value::Bulk(_), Value::Bulk(_), Value::Integer(_), Value::Integer(_)]
            );
            if is_pending {
                elements.remove(elements.len() - 2);
            }
            elements.iter_mut().for_each(without_times);
        }
        Value::Map(pairs) => {
            pairs.retain(|(name, _)| !name.as_bytes().is_some_and(|name| TIMES.contains(&name)));
            pairs.iter_mut().for_each(|(_, value)| without_times(value));
        }
        _ => {}
    }
}
