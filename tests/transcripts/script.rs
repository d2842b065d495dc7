//! What the lines of a transcript mean.
//!
//! ```text
//! # a comment
//! config maxmemory-policy allkeys-lru      a parameter of the server, before anything else happens
//! a> SET key "a\r\nb"                      client `a`, connected by its first line, sends a request
//! a>> *1\r\n$4\r\nPING\r\n                 client `a` sends exactly these bytes; several lines may make one request
//! +5000 ms                                 the clock moves, and with it everything that happens by itself
//! disconnect a                             client `a` closes its connection
//! ```
//!
//! Words are split as redis-cli splits them: `"..."` knows `\r \n \t \xHH`, `'...'` only `\'`.

use std::path::Path;

use russet::resp::inline::split_args;

pub struct Script {
    pub name: String,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub number: usize,
    pub text: String,
    pub step: Step,
}

pub enum Step {
    Nothing,
    Config { name: String, value: String },
    Request { client: String, args: Vec<Vec<u8>> },
    Raw { client: String, bytes: Vec<u8> },
    Advance { ms: i64 },
    Disconnect { client: String },
}

impl Script {
    /// Panics with file and line where the file cannot be understood.
    pub fn read(path: &Path) -> Self {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let parse = |(index, text): (usize, &str)| {
            let number = index + 1;
            let step = parse_step(text.trim())
                .unwrap_or_else(|| panic!("{name}:{number}: a line of this kind is not known: {text}"));
            Line { number, text: text.trim_end().to_owned(), step }
        };
        let lines: Vec<Line> = text.lines().enumerate().map(parse).collect();
        let is_config = |line: &Line| matches!(line.step, Step::Config { .. });
        let is_action = |line: &Line| !matches!(line.step, Step::Nothing | Step::Config { .. });
        if let (Some(last_config), Some(first_action)) =
            (lines.iter().rposition(is_config), lines.iter().position(is_action))
        {
            assert!(last_config < first_action, "{name}: config lines come first");
        }
        Self { name, lines }
    }
}

fn parse_step(text: &str) -> Option<Step> {
    if text.is_empty() || text.starts_with('#') {
        return Some(Step::Nothing);
    }
    if let Some(rest) = text.strip_prefix('+') {
        let ms = rest.strip_suffix("ms")?.trim().parse().ok()?;
        return Some(Step::Advance { ms });
    }
    if let Some((client, rest)) = text.split_once('>')
        && !client.is_empty()
        && client.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        let client = client.to_owned();
        return match rest.strip_prefix('>') {
            Some(raw) => Some(Step::Raw { client, bytes: unescape(raw.trim())? }),
            None => Some(Step::Request { client, args: split_args(rest.as_bytes())? }),
        };
    }
    let (word, rest) = text.split_once(' ')?;
    match word {
        "config" => {
            let (name, value) = rest.split_once(' ')?;
            Some(Step::Config { name: name.to_owned(), value: value.trim().to_owned() })
        }
        "disconnect" => Some(Step::Disconnect { client: rest.trim().to_owned() }),
        _ => None,
    }
}

/// The bytes of a raw line, whose escapes are those of a quoted word.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let quoted = format!("\"{}\"", text.replace('"', "\\\""));
    split_args(quoted.as_bytes())?.pop()
}
