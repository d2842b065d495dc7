//! The `usage` of a row as the tree of arguments that COMMAND DOCS tells.
//!
//! Notation: `[x]` may be left out, `x | y` are alternatives, `<...>` groups them, `...` repeats what is before it;
//! words in upper case are written as they are, others stand for values. Types of values are guessed from their names.

/// One argument, or a group of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    pub name: String,
    pub kind: Kind,
    /// The word before the value, or the word itself.
    pub token: Option<String>,
    pub is_optional: bool,
    pub is_multiple: bool,
    /// Each repetition begins with the token.
    pub repeats_token: bool,
    pub arguments: Vec<Argument>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf => "oneof",
            Self::Block => "block",
        }
    }
}

/// The arguments that a usage line describes.
pub(super) fn parse(usage: &str) -> Vec<Argument> {
    let spaced: String = usage
        .chars()
        .flat_map(|c| match c {
            '[' | ']' | '<' | '>' | '|' => [' ', c, ' '],
            c => ['\0', c, '\0'],
        })
        .filter(|&c| c != '\0')
        .collect();
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, at: 0 };
    let alternatives = parser.alternatives();
    match <[Vec<Argument>; 1]>::try_from(alternatives) {
        Ok([sequence]) => sequence,
        Err(alternatives) => vec![one_of(alternatives)],
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
}

impl Parser<'_> {
    /// Sequences between `|`, up to a closing bracket, which is passed.
    fn alternatives(&mut self) -> Vec<Vec<Argument>> {
        let mut done = Vec::new();
        let mut sequence = Vec::new();
        while let Some(&word) = self.words.get(self.at) {
            self.at += 1;
            match word {
                "]" | ">" => break,
                "|" => done.push(std::mem::take(&mut sequence)),
                "[" => self.bracket(&mut sequence),
                "<" => {
                    let group = group(self.alternatives());
                    attach(&mut sequence, group);
                }
                "..." => {
                    if let Some(last) = sequence.last_mut() {
                        last.is_multiple = true;
                    }
                }
                word if is_token(word) => sequence.push(token(word)),
                word => attach(&mut sequence, value(word)),
            }
        }
        done.push(sequence);
        done
    }

    /// `[...]`: an option, or the repetition of what was just read.
    fn bracket(&mut self, sequence: &mut Vec<Argument>) {
        let from = self.at;
        let mut alternatives = self.alternatives();
        let repeats = self.at >= from + 2 && self.words[self.at - 2] == "...";
        if repeats && alternatives.len() == 1 {
            let mut repeated = std::mem::take(&mut alternatives[0]);
            if let Some(last) = repeated.last_mut() {
                last.is_multiple = false;
            }
            if !mark_repeated(sequence, &repeated) {
                let mut option = group(vec![repeated]);
                (option.is_optional, option.is_multiple) = (true, true);
                sequence.push(option);
            }
            return;
        }
        let mut option = group(alternatives);
        option.is_optional = true;
        sequence.push(option);
    }
}

/// Marks the end of `sequence` as repeatable if `repeated` repeats it.
fn mark_repeated(sequence: &mut Vec<Argument>, repeated: &[Argument]) -> bool {
    let Some(start) = sequence.len().checked_sub(repeated.len()) else { return false };
    let same_names = sequence[start..].iter().zip(repeated).all(|(a, b)| a.name == b.name);
    if repeated.is_empty() || !same_names {
        return false;
    }
    if repeated.len() == 1 {
        let last = &mut sequence[start];
        last.is_multiple = true;
        last.repeats_token = last.token.is_some() && repeated[0].token.is_some();
    } else {
        let members = sequence.split_off(start);
        sequence.push(Argument { is_multiple: true, ..block(members) });
    }
    true
}

/// What stands between brackets as one argument.
fn group(mut alternatives: Vec<Vec<Argument>>) -> Argument {
    if alternatives.len() > 1 {
        return one_of(alternatives);
    }
    sequence_as_one(alternatives.pop().unwrap_or_default())
}

fn one_of(alternatives: Vec<Vec<Argument>>) -> Argument {
    let arguments: Vec<Argument> = alternatives.into_iter().map(sequence_as_one).collect();
    Argument { kind: Kind::OneOf, name: joined_name(&arguments), arguments, ..token("") }.without_token()
}

fn sequence_as_one(mut sequence: Vec<Argument>) -> Argument {
    if sequence.len() == 1 {
        return sequence.remove(0);
    }
    block(sequence)
}

fn block(arguments: Vec<Argument>) -> Argument {
    Argument { kind: Kind::Block, name: joined_name(&arguments), arguments, ..token("") }.without_token()
}

impl Argument {
    fn without_token(self) -> Self {
        Self { token: None, ..self }
    }
}

fn joined_name(arguments: &[Argument]) -> String {
    let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
    names.join("_")
}

/// A value right behind a bare token belongs to it.
fn attach(sequence: &mut Vec<Argument>, value: Argument) {
    match sequence.last_mut() {
        Some(last) if last.kind == Kind::PureToken && !last.is_optional && value.token.is_none() => {
            let token = last.token.take();
            *last = Argument { token, ..value };
        }
        _ => sequence.push(value),
    }
}

fn is_token(word: &str) -> bool {
    !word.chars().any(|c| c.is_ascii_lowercase())
}

fn token(word: &str) -> Argument {
    Argument {
        name: word.to_ascii_lowercase(),
        kind: Kind::PureToken,
        token: Some(word.to_owned()),
        is_optional: false,
        is_multiple: false,
        repeats_token: false,
        arguments: Vec::new(),
    }
}

fn value(name: &str) -> Argument {
    Argument { name: name.to_owned(), kind: kind_of(name), ..token("") }.without_token()
}

fn kind_of(name: &str) -> Kind {
    const KEYS: [&str; 8] =
        ["key", "newkey", "source", "destination", "destkey", "key1", "key2", "sourcekey"];
    const INTEGERS: [&str; 34] = [
        "count",
        "offset",
        "seconds",
        "milliseconds",
        "index",
        "numfields",
        "numkeys",
        "cursor",
        "increment",
        "decrement",
        "db",
        "destination-db",
        "selected-db",
        "index1",
        "index2",
        "length",
        "len",
        "limit",
        "bit",
        "rank",
        "num-matches",
        "maxlen",
        "ttl",
        "frequency",
        "numreplicas",
        "numlocal",
        "client-id",
        "protover",
        "maxage",
        "port",
        "threshold",
        "version",
        "entries-added",
        "entries-read",
    ];
    const DOUBLES: [&str; 6] = ["score", "longitude", "latitude", "radius", "width", "height"];
    match name {
        name if KEYS.contains(&name) => Kind::Key,
        name if INTEGERS.contains(&name) => Kind::Integer,
        name if DOUBLES.contains(&name) => Kind::Double,
        "pattern" => Kind::Pattern,
        name if name.starts_with("unix-time") => Kind::UnixTime,
        _ => Kind::String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in one line: `name:kind`, `TOKEN/` before, `?` optional, `*` multiple, `**` with its token.
    fn shown(arguments: &[Argument]) -> String {
        let show = |argument: &Argument| {
            let token = argument.token.as_ref().map_or(String::new(), |token| format!("{token}/"));
            let name = if argument.arguments.is_empty() {
                argument.name.clone()
            } else {
                format!("({})", shown(&argument.arguments))
            };
            let optional = if argument.is_optional { "?" } else { "" };
            let multiple = match (argument.is_multiple, argument.repeats_token) {
                (true, true) => "**",
                (true, false) => "*",
                _ => "",
            };
            format!("{token}{name}:{}{optional}{multiple}", argument.kind.name())
        };
        arguments.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(usage: &str, expected: &str) {
        assert_eq!(shown(&parse(usage)), expected, "{usage}");
    }

    #[test]
    fn usage_lines_become_trees() {
        check("", "");
        check("key", "key:key");
        check("key [key ...]", "key:key*");
        check("[channel [channel ...]]", "channel:string?*");
        check(
            "key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]",
            "key:key value:string (NX/nx:pure-token XX/xx:pure-token):oneof? GET/get:pure-token? \
             (EX/seconds:integer PX/milliseconds:integer KEEPTTL/keepttl:pure-token):oneof?",
        );
        check("key field value [field value ...]", "key:key (field:string value:string):block*");
        check("[LIMIT offset count]", "(LIMIT/offset:integer count:integer):block?");
        check(
            "<ON | OFF> [PREFIX prefix [PREFIX prefix ...]]",
            "(ON/on:pure-token OFF/off:pure-token):oneof PREFIX/prefix:string?**",
        );
        check("[TYPE <NORMAL | MASTER>]", "TYPE/(NORMAL/normal:pure-token MASTER/master:pure-token):oneof?");
        check("timeout [WRITE | ALL]", "timeout:string (WRITE/write:pure-token ALL/all:pure-token):oneof?");
        check(
            "[protover [AUTH username password] [SETNAME clientname]]",
            "(protover:integer (AUTH/username:string password:string):block? SETNAME/clientname:string?):block?",
        );
    }
}
