//! Rounds of random scripts and functions: what they return in both protocols, how they fail, and what they leave behind.

use fastrand::Rng;
use sha1::{Digest, Sha1};

use crate::grammar::Grammar;
use crate::round::{COMMANDS, Round, Step};

const PIPELINE_MAX: usize = 30;
/// Scripts that came with EVAL give way to others since Redis 7.4 when there are 500, which a round is not to notice.
const STEPS_PER_FLUSH: usize = 400;
/// Questions about the data between the scripts, which also makes it such that scripts fail on it.
const PLAIN: &[&str] = &[
    "GET s1",
    "SET s1 10",
    "LRANGE l1 0 -1",
    "LRANGE l2 0 -1",
    "HGET h1 f",
    "DEL l1 l2",
    "DEL z1 x1",
    "SET s2 0.5",
    "RPUSH l1 a 1",
    "HSET h1 f 1",
    "SADD S1 1 2",
    "ZADD z1 1 m",
    "ZRANGE z1 0 -1 WITHSCORES",
    "EXISTS s1 s2 s3 l1 l2 h1 S1 z1 x1 p1",
    "FUNCTION DELETE lib1",
    "SCRIPT EXISTS 0000000000000000000000000000000000000000",
    "INCR s1",
];

pub struct Generator {
    grammar: Grammar,
}

impl Generator {
    pub fn new() -> Self {
        Self { grammar: Grammar::parse(include_str!("scripts.txt")) }
    }

    pub fn round(&self, seed: u64) -> Round {
        let mut random = Rng::with_seed(seed);
        let mut steps = Vec::new();
        let mut flushed_at = 0;
        while steps.len() < COMMANDS {
            if steps.len() >= flushed_at + STEPS_PER_FLUSH {
                flushed_at = steps.len();
                steps.push(words(["SCRIPT", "FLUSH"]));
            }
            if random.u8(..20) == 0 {
                steps.push(words(["MULTI"]));
                for _ in 0..random.u8(..4) {
                    self.add(&mut random, &mut steps);
                }
                steps.push(words(["EXEC"]));
            } else {
                self.add(&mut random, &mut steps);
            }
        }
        let mut pipelines = Vec::new();
        while pipelines.iter().sum::<usize>() < steps.len() {
            pipelines.push(random.usize(1..=PIPELINE_MAX));
        }
        Round { seed, protocol: 2 + (seed % 2) as u8, steps, pipelines }
    }

    fn add(&self, random: &mut Rng, steps: &mut Vec<Step>) {
        let script = self.grammar.text("script", random);
        let read_only = if random.u8(..4) == 0 { "_RO" } else { "" };
        match random.u8(..12) {
            0..6 => {
                let flags = match random.u8(..12) {
                    0 => "#!lua\n",
                    1 => "#!lua flags=no-writes\n",
                    2 => "#!lua flags=allow-oom,no-cluster\n",
                    3 => "#!lua flags=nothing\n",
                    _ => "",
                };
                steps.push(call(&format!("EVAL{read_only}"), &format!("{flags}{script}"), random));
            }
            6..8 => {
                let digest =
                    Sha1::digest(&script).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                if random.u8(..10) > 0 {
                    steps.push(words(["SCRIPT", "LOAD", &script]));
                }
                steps.push(call(&format!("EVALSHA{read_only}"), &digest, random));
            }
            8..10 => {
                let library = random.u8(1..=3);
                let function = format!("function(KEYS, ARGV) {script} end");
                let body = match random.u8(..4) {
                    0 => format!("redis.register_function('f{library}', {function})"),
                    1 => format!(
                        "redis.register_function{{function_name='f{library}', callback={function}, flags={{'no-writes'}}}}"
                    ),
                    2 => format!(
                        "local function g(a) return a end redis.register_function('f{library}', {function})"
                    ),
                    _ => self.grammar.text("statement", random),
                };
                let code = format!("#!lua name=lib{library}\n{body}");
                steps.push(words(["FUNCTION", "LOAD", "REPLACE", &code]));
                steps.push(call(&format!("FCALL{read_only}"), &format!("f{library}"), random));
            }
            _ => steps.push(words(PLAIN[random.usize(..PLAIN.len())].split(' '))),
        }
    }
}

/// A command with keys and arguments for a script.
fn call(name: &str, script: &str, random: &mut Rng) -> Step {
    let (keys, words_len) = (random.usize(..3), random.usize(..5));
    let count = if random.u8(..30) == 0 { "x".to_owned() } else { keys.to_string() };
    let mut request = vec![name.to_owned(), script.to_owned(), count];
    request.extend(["s1", "l1", "7", "word", "é"].iter().take(words_len).map(ToString::to_string));
    words(request)
}

fn words<W: Into<Vec<u8>>>(request: impl IntoIterator<Item = W>) -> Step {
    Step::Command(request.into_iter().map(Into::into).collect())
}
