//! Lines as words and back: the quoting of redis.conf.
//!
//! Words are parted by white space. `"..."` knows `\n \r \t \a \b \xHH` and `\` before anything else; `'...'`
//! knows `\'` alone. A closing quote must be followed by white space or the end.

/// The words of `line`; `None` when a quote is not closed or something follows it directly.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        // As in Redis, a line ends where a byte of zero stands.
        if rest.is_empty() || rest[0] == 0 {
            return Some(words);
        }
        let (word, after) = take_word(rest)?;
        words.push(word);
        rest = after;
    }
}

/// `split`, refusing words that are not UTF-8, for which the reason is given.
pub fn split_text(line: &str) -> Result<Vec<String>, &'static str> {
    let words = split(line.as_bytes()).ok_or("Unbalanced quotes in configuration line")?;
    words
        .into_iter()
        .map(|word| String::from_utf8(word).map_err(|_| "argument must be valid UTF-8"))
        .collect()
}

/// The first word of `text`, which does not start with white space, and what follows it.
fn take_word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut i = 0;
    while let Some(&byte) = text.get(i) {
        match byte {
            b'"' | b'\'' => {
                let used = take_quoted(&text[i..], &mut word)?;
                i += used;
                return text.get(i).is_none_or(u8::is_ascii_whitespace).then(|| (word, &text[i..]));
            }
            b' ' | b'\n' | b'\r' | b'\t' | 0 => break,
            _ => word.push(byte),
        }
        i += 1;
    }
    Some((word, &text[i..]))
}

/// Appends what the quoted string at the start of `text` stands for; its length with both quotes.
fn take_quoted(text: &[u8], word: &mut Vec<u8>) -> Option<usize> {
    let quote = text[0];
    let mut i = 1;
    loop {
        match (*text.get(i)?, text.get(i + 1).copied()) {
            (byte, _) if byte == quote => return Some(i + 1),
            (b'\\', Some(b'\'')) if quote == b'\'' => {
                word.push(b'\'');
                i += 2;
            }
            (b'\\', Some(escape)) if quote == b'"' => {
                if let Some(byte) = hex_escape(&text[i..]) {
                    word.push(byte);
                    i += 4;
                    continue;
                }
                word.push(match escape {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                i += 2;
            }
            (byte, _) => {
                word.push(byte);
                i += 1;
            }
        }
    }
}

/// The byte of `\xHH` at the start of `text`.
fn hex_escape(text: &[u8]) -> Option<u8> {
    let [b'\\', b'x', high, low, ..] = *text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// `text` in double quotes, so that `split` gives it back.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{7}' => quoted.push_str("\\a"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `quote`, but a word that reads the same without quotes stays bare.
pub fn quote_if_needed(text: &str) -> String {
    let plain = |c: char| !c.is_ascii_whitespace() && !c.is_ascii_control() && !"\"'\\".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { quote(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        assert_eq!(split_text(line).unwrap(), expected, "{line}");
    }

    #[test]
    fn words_are_split_as_redis_splits_them() {
        check("", &[]);
        check("  port \t 6379 \r\n", &["port", "6379"]);
        check(r#"save """#, &["save", ""]);
        check(r#""a b" 'c d'"#, &["a b", "c d"]);
        check(r#""\x41\n\t\"\q""#, &["A\n\t\"q"]);
        check(r"'it\'s \n'", &["it's \\n"]);
        check(r#"pre"fix ed""#, &["prefix ed"]);
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        assert_eq!(split(b"a b\0c"), Some(vec![b"a".to_vec(), b"b".to_vec()]));
        for line in [r#"a "b"#, "a 'b", r#""a"b"#, "'a'b", r#""\"#] {
            assert_eq!(split(line.as_bytes()), None, "{line}");
        }
        assert!(split_text(r#""\xff""#).is_err());
    }

    proptest! {
        #[test]
        fn quoted_text_is_read_back(text in any::<String>()) {
            prop_assert_eq!(split_text(&quote(&text)).unwrap(), vec![text.clone()]);
            prop_assert_eq!(split_text(&quote_if_needed(&text)).unwrap(), vec![text]);
        }
    }
}
