//! Texts from a grammar: `scripts.txt` explains the notation.

use std::collections::HashMap;

use fastrand::Rng;

/// From here on the first alternative of a rule is taken.
const DEPTH_MAX: usize = 7;

pub struct Grammar {
    rules: HashMap<&'static str, Vec<Vec<Piece>>>,
}

enum Piece {
    Text(&'static str),
    Rule(&'static str),
}

impl Grammar {
    pub fn parse(text: &'static str) -> Self {
        let mut rules: HashMap<_, Vec<_>> = HashMap::new();
        let body = text.split_once("\n[").map_or(text, |(_, body)| body);
        for section in body.split("\n\n[") {
            let (name, lines) = section.split_once("]\n").expect("a rule has a name");
            // A line that ends a long string goes on.
            let lines = lines.trim_end_matches('\n').replace("[[long\n", "[[long\u{1}");
            let alternatives = Box::leak(lines.into_boxed_str()).split('\n');
            rules.insert(name, alternatives.map(pieces).collect());
        }
        for piece in rules.values().flatten().flatten() {
            if let Piece::Rule(name) = piece {
                assert!(rules.contains_key(name), "scripts.txt has no rule {name}");
            }
        }
        Self { rules }
    }

    /// A text of this rule.
    pub fn text(&self, rule: &str, random: &mut Rng) -> String {
        let mut text = String::new();
        self.append(rule, random, 0, &mut text);
        text.replace('\u{1}', "\n")
    }

    fn append(&self, rule: &str, random: &mut Rng, depth: usize, text: &mut String) {
        let alternatives = &self.rules[rule];
        let at = if depth < DEPTH_MAX { random.usize(..alternatives.len()) } else { 0 };
        for piece in &alternatives[at] {
            match piece {
                Piece::Text(words) => text.push_str(words),
                Piece::Rule(name) => self.append(name, random, depth + 1, text),
            }
        }
    }
}

/// A line in parts; a `<` that begins no name is one.
fn pieces(line: &'static str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = line;
    let mut searched = 0;
    while let Some(at) = rest[searched..].find('<').map(|at| at + searched) {
        let name = rest[at + 1..].split('>').next().unwrap_or_default();
        let is_name = rest[at + 1 + name.len()..].starts_with('>')
            && name.starts_with(|it: char| it.is_ascii_lowercase())
            && name.chars().all(|it| it.is_ascii_alphanumeric());
        if is_name {
            pieces.push(Piece::Text(&rest[..at]));
            pieces.push(Piece::Rule(name));
            rest = &rest[at + name.len() + 2..];
            searched = 0;
        } else {
            searched = at + 1;
        }
    }
    pieces.push(Piece::Text(rest));
    pieces
}
