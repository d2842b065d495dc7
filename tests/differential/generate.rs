//! Rounds of random commands: all that is random follows from the seed, nothing from a reply.

use fastrand::Rng;

use crate::round::{COMMANDS, Round, Step};
use crate::scene::{Line, WAITERS};
use crate::template::{self, Template};

/// Out of so many commands one is damaged: an argument too many or too few, something else in its place.
const DAMAGED_ONE_IN: u32 = 25;
/// Out of so many keys one is of another type than the command wants.
const WRONG_TYPE_ONE_IN: u32 = 20;
const TRANSACTION_ONE_IN: u32 = 40;
const TRANSFER_ONE_IN: u32 = 60;
const SCENE_ONE_IN: u32 = 80;
const SCENE_LINES: std::ops::RangeInclusive<u32> = 3..=12;
const PIPELINE_MAX: usize = 60;

/// The letters that keys of a type begin with: strings, lists, hashes, sets, sorted sets, streams, bitmaps,
/// HyperLogLogs, geo.
pub const KEY_KINDS: &[u8] = b"slhSzxbpg";
pub const KEYS_PER_KIND: u8 = 4;

/// What stands in the place of an argument. No short time among it: it would pass while the round runs.
const JUNK: &[&str] = &[
    "",
    "-1",
    "0",
    "abc",
    "1.5",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1e400",
    " 1",
    "+1",
    "01",
    "nan",
    "-inf",
    "0x10",
    "(",
    "[",
    "-",
    "+",
    "$",
    "*",
    "WITHSCORES",
    "LIMIT",
    "COUNT",
    "GET",
    "NX",
    "18446744073709551616",
    "1-",
    "s1",
    "l1",
    "h1",
    "S1",
    "x1",
];

const WORDS: &[&str] = &[
    "a",
    "b",
    "c",
    "foo",
    "bar",
    "hello world",
    "",
    "\u{e9}",
    "A",
    "ab",
    "abc",
    "\u{1}\u{2}",
    "a b",
    "a\0b",
    "a\0",
    "ab\0c",
];

/// Templates to choose from by their weights.
struct Choice {
    templates: Vec<Template>,
    weight: u32,
}

impl Choice {
    fn new(text: &str) -> Self {
        let templates = template::parse_all(text);
        let weight = templates.iter().map(|template| template.weight).sum();
        Self { templates, weight }
    }

    /// The commands of one of them.
    fn expand(&self, random: &mut Rng) -> Vec<Vec<Vec<u8>>> {
        let mut at = random.u32(..self.weight);
        let template = self.templates.iter().find(|template| {
            let is_it = at < template.weight;
            at = at.wrapping_sub(template.weight);
            is_it
        });
        let template = template.expect("the weights add up");
        let mut keys = Vec::new();
        template.expand(random, &mut |hole, random| fill(hole, random, &mut keys))
    }
}

pub struct Generator {
    commands: Choice,
    /// What clients wait with, and what is done meanwhile.
    waits: Choice,
    drives: Choice,
}

impl Generator {
    pub fn new() -> Self {
        let scenes = include_str!("blocked.txt");
        let (waits, drives) = scenes.split_once("\n# drive\n").expect("blocked.txt has two parts");
        Self {
            commands: Choice::new(include_str!("commands.txt")),
            waits: Choice::new(waits),
            drives: Choice::new(drives),
        }
    }

    pub fn round(&self, seed: u64) -> Round {
        let mut random = Rng::with_seed(seed);
        let mut steps = Vec::new();
        while steps.len() < COMMANDS {
            if random.u32(..TRANSFER_ONE_IN) == 0 {
                let (from, to) = (any_key(&mut random), any_key(&mut random));
                steps.push(Step::Transfer { from, to });
            } else if random.u32(..SCENE_ONE_IN) == 0 {
                steps.extend([command(&["SELECT", "0"]), self.scene(&mut random)]);
            } else if random.u32(..TRANSACTION_ONE_IN) == 0 {
                let ending = if random.u32(..6) == 0 { "DISCARD" } else { "EXEC" };
                steps.push(command(&["MULTI"]));
                for _ in 0..random.u32(..5) {
                    self.add_commands(&mut random, &mut steps);
                }
                steps.push(command(&[ending]));
            } else {
                self.add_commands(&mut random, &mut steps);
            }
        }
        // Whatever the round has selected or left open ends here.
        steps.extend([command(&["DISCARD"]), command(&["SELECT", "0"])]);
        for kind in KEY_KINDS {
            for number in 1..=KEYS_PER_KIND {
                let key = format!("{}{number}", *kind as char);
                let questions: &[&[&str]] = &[
                    &["TYPE", &key],
                    &["OBJECT", "ENCODING", &key],
                    &["EXPIRETIME", &key],
                    &["XPENDING", &key, "group1"],
                    &["XINFO", "STREAM", &key, "FULL", "COUNT", "100"],
                ];
                steps.extend(questions.iter().map(|words| command(words)));
            }
        }
        let mut pipelines = Vec::new();
        while pipelines.iter().sum::<usize>() < steps.len() {
            pipelines.push(random.usize(1..=PIPELINE_MAX));
        }
        Round { seed, protocol: 2 + (seed % 2) as u8, steps, pipelines }
    }

    fn add_commands(&self, random: &mut Rng, steps: &mut Vec<Step>) {
        let commands = self.commands.expand(random);
        let last = commands.len() - 1;
        for (index, mut words) in commands.into_iter().enumerate() {
            // The others prepare the last one. A damaged timeout might be endless, and an arity that was changed since 7.0
            // would end a transaction on one side only. A range by members of another key may have unequal scores.
            let may_damage = index == last
                && !is_blocking(&words)
                && !words[0].ends_with(b"RANK")
                && words[0] != b"ZRANGESTORE"
                && !words[0].eq_ignore_ascii_case(b"COMMAND");
            if may_damage && random.u32(..DAMAGED_ONE_IN) == 0 {
                damage_words(&mut words, random);
            }
            if random.u8(..4) == 0 {
                words[0].make_ascii_lowercase();
            }
            let consumers = consumers_of(&words);
            steps.push(Step::Command(words));
            steps.extend(consumers.into_iter().map(Step::Command));
        }
    }

    fn scene(&self, random: &mut Rng) -> Step {
        let mut lines = Vec::new();
        for _ in 0..random.u32(SCENE_LINES) {
            let (waiter, commands) = if random.bool() {
                (Some(random.usize(..WAITERS)), self.waits.expand(random))
            } else {
                (None, self.drives.expand(random))
            };
            for words in commands {
                let consumers = consumers_of(&words);
                lines.push(Line { waiter, words });
                // Who waits as a consumer is one since 7.2; before, only who is given something.
                let at = lines.len() - 1;
                lines.splice(at..at, consumers.into_iter().map(|words| Line { waiter: None, words }));
            }
        }
        Step::Scene(lines)
    }
}

/// The commands that make the consumers which this one names: all versions agree about them afterwards.
fn consumers_of(words: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let is =
        |at: usize, name: &str| words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let create = |key: &[u8], group: &[u8], consumer: &[u8]| {
        [b"XGROUP", &b"CREATECONSUMER"[..], key, group, consumer].map(<[u8]>::to_vec).to_vec()
    };
    if words.len() > 3 && (is(0, "xclaim") || is(0, "xautoclaim")) {
        return vec![create(&words[1], &words[2], &words[3])];
    }
    let streams = words.iter().position(|word| word.eq_ignore_ascii_case(b"streams"));
    match streams {
        Some(at) if is(0, "xreadgroup") && is(1, "group") && at > 3 => {
            let named = &words[at + 1..];
            let mut keys = named[..named.len() / 2].to_vec();
            keys.dedup();
            keys.iter().map(|key| create(key, &words[2], &words[3])).collect()
        }
        _ => Vec::new(),
    }
}

fn is_blocking(words: &[Vec<u8>]) -> bool {
    matches!(words[0].first(), Some(b'B')) && !words[0].starts_with(b"BIT")
        || words[0] == b"WAIT"
        || words.iter().any(|word| word.eq_ignore_ascii_case(b"block"))
}

fn command(words: &[&str]) -> Step {
    Step::Command(words.iter().map(|word| word.as_bytes().to_vec()).collect())
}

fn damage_words(words: &mut Vec<Vec<u8>>, random: &mut Rng) {
    let junk = pick(JUNK, random);
    // The command's name stays what it is.
    if words.len() < 2 {
        words.push(junk);
        return;
    }
    let at = random.usize(1..words.len());
    match random.u8(..6) {
        0 => drop(words.remove(at)),
        1 => words.push(junk),
        2 => words.truncate(at),
        3 => words.insert(at, junk),
        // A value in the place of a time would be a short one.
        4 if !words[0].to_ascii_lowercase().ends_with(b"setex") => {
            let other = random.usize(1..words.len());
            words.swap(at, other);
        }
        _ => words[at] = junk,
    }
}

fn any_key(random: &mut Rng) -> Vec<u8> {
    key_of(KEY_KINDS[random.usize(..KEY_KINDS.len())], random)
}

fn key_of(kind: u8, random: &mut Rng) -> Vec<u8> {
    vec![kind, b'0' + random.u8(1..=KEYS_PER_KIND)]
}

fn pick(words: &[&str], random: &mut Rng) -> Vec<u8> {
    words[random.usize(..words.len())].as_bytes().to_vec()
}

fn text(value: impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The bytes for a hole of `commands.txt`.
fn fill(hole: &str, random: &mut Rng, keys: &mut Vec<Vec<u8>>) -> Vec<u8> {
    if let &[kind] = hole.as_bytes()
        && KEY_KINDS.contains(&kind)
    {
        let key = if random.u32(..WRONG_TYPE_ONE_IN) == 0 { any_key(random) } else { key_of(kind, random) };
        keys.push(key.clone());
        return key;
    }
    match hole {
        "any" => {
            let key = any_key(random);
            keys.push(key.clone());
            key
        }
        // The key that came before it, in this command or in the last one.
        "same" => keys.last().expect("a key comes before {same}").clone(),
        "first" => keys.first().expect("a key comes before {first}").clone(),
        "value" => value(random),
        "field" => {
            let fields = if random.u8(..3) == 0 { 200 } else { 12 };
            text(format!("f{}", random.u8(1..=fields)))
        }
        "member" => member(random),
        // Small numbers, as counts and indexes, mostly within what there is.
        "n" => number(random, -6..=12),
        // Where a large number would make a reply without end.
        "few" => text(random.i32(-6..=12)),
        "count" => number(random, 0..=12),
        "index" => number(random, -14..=14),
        "increment" => match random.u8(..12) {
            0 => pick(&["9223372036854775807", "-9223372036854775808", "9223372036854775808"], random),
            1 => pick(&["abc", "1.5", " 1", "1 ", "+1", "", "-0", "01"], random),
            _ => text(random.i64(-1000..=1000)),
        },
        "float" => match random.u8(..10) {
            0 => {
                pick(&["1e400", "nan", "inf", "-inf", "abc", "", " 1", "1 ", "0x1p3", "1e-400", "-0"], random)
            }
            1 => pick(&["3.0e3", "1e20", "-1e17", "0.1", "5.0", "1e-7"], random),
            _ => text(f64::from(random.i32(-4000..=4000)) / 8.0),
        },
        "score" => match random.u8(..16) {
            0 => pick(
                &["inf", "-inf", "+inf", "1e300", "-1e-300", "0.1", "0x10", "1e17", "-0", "-0.0"],
                random,
            ),
            1 => pick(&["nan", "abc", "", " 1", "1 ", "1e", "--1", "infx"], random),
            2 => text(f64::from(random.i32(-40..=400)) / 10.0),
            _ => text(f64::from(random.i32(-10..=60)) / 4.0),
        },
        "scorebound" => match random.u8(..16) {
            0 => pick(&["(inf", "(", "abc", "(abc", "nan", "", "(nan", "1 ", "((1"], random),
            1..=4 => pick(&["-inf", "+inf", "inf", "(-inf"], random),
            _ => {
                let open = if random.u8(..3) == 0 { "(" } else { "" };
                text(format!("{open}{}", f64::from(random.i32(-10..=60)) / 4.0))
            }
        },
        "lexbound" => match random.u8(..10) {
            0 => pick(&["a", "", "(", "[", "--", "++", "inf"], random),
            1..=4 => pick(&["-", "+"], random),
            _ => {
                let mut bound = vec![if random.bool() { b'[' } else { b'(' }];
                bound.extend(member(random));
                bound
            }
        },
        "weight" => pick(&["1", "2", "-1.5", "inf", "-inf", "0.5", "nan", "abc", "3"], random),
        "bit" => pick(&["0", "1", "0", "1", "0", "1", "2", "-1", "a"], random),
        "offset" => match random.u8(..16) {
            0 => pick(&["-1", "4294967296", "abc", "#1", "9223372036854775807", "4294967295x"], random),
            1 => text(random.u32(..20_000)),
            _ => text(random.u32(..200)),
        },
        "bitindex" => number(random, -40..=200),
        "bittype" => match random.u8(..10) {
            0 => pick(&["u64", "i65", "u0", "i0", "x8", "u", "8", "", "i-1", "U8"], random),
            1 => pick(&["i64", "u63", "u1", "i1"], random),
            _ => text(format!("{}{}", if random.bool() { 'u' } else { 'i' }, random.u8(1..=33))),
        },
        "bitoffset" => match random.u8(..10) {
            0 => pick(&["-1", "#-1", "abc", "#", "4294967296", "#536870912"], random),
            1..=3 => text(format!("#{}", random.u8(..12))),
            _ => text(random.u8(..150)),
        },
        "range" => match random.u8(..12) {
            0 => pick(&["-1", "536870912", "abc", "9223372036854775807", "-9223372036854775808"], random),
            _ => text(random.i32(-10..=80)),
        },
        "position" => match random.u8(..12) {
            0 => pick(&["-1", "536870912", "abc", "9223372036854775807", "-9223372036854775808"], random),
            _ => text(random.i32(0..=80)),
        },
        "seconds" => match random.u8(..12) {
            0 => pick(&["0", "-1", "abc", "", "1.5", "9223372036854775807", "-9223372036854775808"], random),
            1 => pick(&["9223372036854775", "9223370000000000", "-100000", "9223372036854776"], random),
            _ => text(random.u32(100_000..1_000_000_000)),
        },
        "ms" => match random.u8(..12) {
            0 => pick(&["0", "-1", "abc", "", "1.5", "9223372036854775807", "-9223372036854775808"], random),
            _ => text(random.u64(100_000_000..1_000_000_000_000)),
        },
        "at" => match random.u8(..12) {
            0 => pick(&["0", "-1", "1", "abc", "", "9223372036854775807", "-9223372036854775808"], random),
            _ => text(4_102_444_800 + random.u64(..1_000_000_000)),
        },
        "atms" => match random.u8(..12) {
            0 => pick(&["0", "-1", "1", "abc", "", "9223372036854775807", "-9223372036854775808"], random),
            _ => text(4_102_444_800_000 + random.u64(..1_000_000_000_000)),
        },
        "entry" => match random.u8(..24) {
            0 => pick(
                &["0-0", "abc", "1-", "-1", "1-1-1", "18446744073709551615-18446744073709551615", ""],
                random,
            ),
            1 => pick(&["18446744073709551616-0", "*-1", "1-x", "-", "+", "01-1", "0-1"], random),
            2..=6 => text(format!("{}-*", random.u8(1..60))),
            7..=8 => text(random.u8(1..60)),
            _ => text(format!("{}-{}", random.u8(1..60), random.u8(..5))),
        },
        "id" => match random.u8(..20) {
            0 => pick(
                &["abc", "1-", "-1", "1-1-1", "18446744073709551615-18446744073709551615", "", "1-*"],
                random,
            ),
            1..=2 => text(random.u8(..60)),
            _ => text(format!("{}-{}", random.u8(..60), random.u8(..5))),
        },
        "idbound" => match random.u8(..20) {
            0 => pick(
                &["(-", "(+", "(", "abc", "(abc", "(18446744073709551615-18446744073709551615", "(0-0"],
                random,
            ),
            1..=8 => pick(&["-", "+"], random),
            9..=11 => text(format!("({}-{}", random.u8(..60), random.u8(..5))),
            12..=14 => text(random.u8(..60)),
            _ => text(format!("{}-{}", random.u8(..60), random.u8(..5))),
        },
        "group" => text(format!("group{}", random.u8(1..=3))),
        "consumer" => text(format!("consumer{}", random.u8(1..=3))),
        "pattern" => pick(
            &["*", "f1*", "m?", "[a-f]*", "s*", "*1", "[^s]1", "", "\\*", "[", "f[1", "m[13-5]*", "??"],
            random,
        ),
        "type" => pick(&["string", "list", "hash", "set", "zset", "stream", "STRING", "none", "x"], random),
        "place" => text(format!("p{}", random.u8(1..=15))),
        "lon" => match random.u8(..20) {
            0 => pick(&["181", "-180", "180", "abc", "nan", "", "-180.0001"], random),
            _ => text(
                f64::from(random.i32(-180_000..=180_000)) / if random.bool() { 1000.0 } else { 20_000.0 },
            ),
        },
        "lat" => match random.u8(..20) {
            0 => pick(&["86", "-85.05112878", "85.05112878", "abc", "inf", "", "85.06"], random),
            _ => {
                text(f64::from(random.i32(-85_000..=85_000)) / if random.bool() { 1000.0 } else { 20_000.0 })
            }
        },
        "radius" => match random.u8(..12) {
            0 => pick(&["-1", "0", "abc", "nan", "inf", "1e300", ""], random),
            _ => text(random.u32(1..=6000)),
        },
        "unit" => pick(&["m", "km", "mi", "ft", "KM", "x"], random),
        "db" => pick(&["0", "0", "1", "2", "3", "4", "-1", "x"], random),
        "junk" => pick(JUNK, random),
        _ => panic!("commands.txt names the unknown hole {{{hole}}}"),
    }
}

fn number(random: &mut Rng, usual: std::ops::RangeInclusive<i32>) -> Vec<u8> {
    match random.u8(..24) {
        0 => pick(&["abc", "", "1.5", "9223372036854775807", "-9223372036854775808", "4294967296"], random),
        1 => pick(&["2147483647", "-2147483648", "-1", "0", "-9223372036854775807", "1000"], random),
        _ => text(random.i32(usual)),
    }
}

fn value(random: &mut Rng) -> Vec<u8> {
    match random.u8(..24) {
        0 => vec![b'a' + random.u8(..26); random.usize(40..=70)],
        1 => vec![b'a' + random.u8(..26); random.usize(100..=700)],
        2 => (0..random.usize(1..=30)).map(|_| random.u8(..)).collect(),
        3 => text(random.i64(..)),
        4 => pick(
            &["9223372036854775807", "-9223372036854775808", "9223372036854775808", "-0", "007", "+1"],
            random,
        ),
        5 => text(f64::from(random.i32(-4000..=4000)) / 8.0),
        6 => pick(&["1e3", "inf", "nan", "3.0", "1e-5", "12345678901234567890", "0.1"], random),
        7..=13 => text(random.i32(-100..=300)),
        14..=17 => pick(WORDS, random),
        _ => text(format!("v{}", random.u8(..30))),
    }
}

fn member(random: &mut Rng) -> Vec<u8> {
    match random.u8(..20) {
        0 => value(random),
        1 => text(random.i64(..)),
        2 => vec![b'a' + random.u8(..4); random.usize(60..=70)],
        3..=11 => text(random.i32(-10..=40)),
        _ => text(format!("m{}", random.u8(1..=30))),
    }
}
