//! The notation of `commands.txt`: one line is a command, or several separated by ` ; `, with what varies in it.
//!
//! - `{name}` is a hole, which `generate.rs` fills: a key, a value, a number.
//! - `(a|b c)` is one of the alternatives, `[a|b c]` one of them or nothing, `(a)*` between one and five of them.
//! - `4 SET ...` comes up four times as often as a line without a number.

use fastrand::Rng;

/// Some commands that are sent one after the other.
pub struct Template {
    pub weight: u32,
    commands: Vec<Vec<Node>>,
}

enum Node {
    Word(String),
    Hole(String),
    Choice { alternatives: Vec<Vec<Node>>, occurs: Occurs },
}

#[derive(Clone, Copy, PartialEq)]
enum Occurs {
    Once,
    Maybe,
    Often,
}

const REPEATED_MAX: usize = 5;

/// All templates of a text; lines that begin with `#` are comments.
pub fn parse_all(text: &str) -> Vec<Template> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(parse).collect()
}

fn parse(line: &str) -> Template {
    let (weight, rest) = match line.split_once(' ') {
        Some((first, rest)) if first.bytes().all(|byte| byte.is_ascii_digit()) => {
            (first.parse().expect("digits are a number"), rest)
        }
        _ => (1, line),
    };
    let commands = rest.split(" ; ").map(|command| {
        let mut rest = command;
        let nodes = sequence(&mut rest);
        assert!(rest.is_empty(), "{line}: what is {rest:?}?");
        nodes
    });
    Template { weight, commands: commands.collect() }
}

/// Reads up to the end of the group.
fn sequence(rest: &mut &str) -> Vec<Node> {
    let mut nodes = Vec::new();
    loop {
        *rest = rest.trim_start();
        match rest.chars().next() {
            None | Some('|' | ')' | ']') => return nodes,
            Some('{') => {
                let (name, after) = rest[1..].split_once('}').expect("a hole is closed");
                nodes.push(Node::Hole(name.to_owned()));
                *rest = after;
            }
            Some(open @ ('(' | '[')) => nodes.push(group(rest, open)),
            Some(_) => {
                let end = rest.find([' ', '|', ')', ']']).unwrap_or(rest.len());
                nodes.push(Node::Word(rest[..end].to_owned()));
                *rest = &rest[end..];
            }
        }
    }
}

fn group(rest: &mut &str, open: char) -> Node {
    let mut alternatives = Vec::new();
    loop {
        *rest = &rest[1..];
        alternatives.push(sequence(rest));
        if !rest.starts_with('|') {
            break;
        }
    }
    assert!(rest.starts_with([')', ']']), "a group is closed");
    *rest = &rest[1..];
    let mut occurs = if open == '[' { Occurs::Maybe } else { Occurs::Once };
    if let Some(after) = rest.strip_prefix('*') {
        (*rest, occurs) = (after, Occurs::Often);
    }
    Node::Choice { alternatives, occurs }
}

impl Template {
    /// The commands with every choice made; `fill` makes the bytes of a hole.
    pub fn expand(
        &self,
        random: &mut Rng,
        fill: &mut impl FnMut(&str, &mut Rng) -> Vec<u8>,
    ) -> Vec<Vec<Vec<u8>>> {
        let commands = self.commands.iter().map(|nodes| {
            let mut words = Vec::new();
            append(nodes, random, fill, &mut words);
            words
        });
        commands.collect()
    }
}

fn append(
    nodes: &[Node],
    random: &mut Rng,
    fill: &mut impl FnMut(&str, &mut Rng) -> Vec<u8>,
    words: &mut Vec<Vec<u8>>,
) {
    for node in nodes {
        match node {
            Node::Word(word) => words.push(word.clone().into_bytes()),
            Node::Hole(name) => words.push(fill(name, random)),
            Node::Choice { alternatives, occurs } => {
                let times = match occurs {
                    Occurs::Once => 1,
                    Occurs::Maybe => usize::from(random.u8(..3) == 0),
                    Occurs::Often => random.usize(1..=REPEATED_MAX),
                };
                for _ in 0..times {
                    append(&alternatives[random.usize(..alternatives.len())], random, fill, words);
                }
            }
        }
    }
}
