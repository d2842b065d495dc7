//! Redis' glob-style patterns: `*`, `?`, `[a-z]`, `[^x]` and `\` escapes, over bytes.

/// Whether letters match regardless of ASCII case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Sensitive,
    Insensitive,
}

/// More stars than this, one run of them counting once, match nothing, as in Redis.
const STARS_MAX: usize = 1000;

/// True when the whole of `text` matches `pattern`.
///
/// Runs in O(pattern * text): on a mismatch only the last `*` is retried, so that no pattern is exponential.
pub fn matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    let (mut p, mut t, mut stars) = (0, 0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            while p < pattern.len() && pattern[p] == b'*' {
                p += 1;
            }
            if p == pattern.len() {
                return true;
            }
            stars += 1;
            if stars > STARS_MAX {
                return false;
            }
            retry = Some((p, t));
            continue;
        }
        match (p < pattern.len()).then(|| match_one(&pattern[p..], text[t], case)).flatten() {
            Some(used) => {
                p += used;
                t += 1;
            }
            None => match retry {
                Some((star, from)) => {
                    p = star;
                    t = from + 1;
                    retry = Some((star, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// Matches one byte against the first element of `pattern`, which is not `*`; the pattern bytes used, if it does.
fn match_one(pattern: &[u8], byte: u8, case: Case) -> Option<usize> {
    let fold = |b: u8| if case == Case::Insensitive { b.to_ascii_lowercase() } else { b };
    match pattern[0] {
        b'?' => Some(1),
        b'[' => {
            let (hit, used) = match_class(pattern, fold(byte), fold);
            hit.then_some(used)
        }
        b'\\' if pattern.len() >= 2 => (fold(pattern[1]) == fold(byte)).then_some(2),
        literal => (fold(literal) == fold(byte)).then_some(1),
    }
}

/// `[...]` at the start of `pattern`: whether it holds `byte`, and its length. An unclosed class ends with the pattern.
fn match_class(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> (bool, usize) {
    let mut i = 1;
    let negated = pattern.get(i) == Some(&b'^');
    if negated {
        i += 1;
    }
    let mut hit = false;
    loop {
        match pattern.get(i) {
            None => break,
            Some(b']') => {
                i += 1;
                break;
            }
            Some(b'\\') if i + 1 < pattern.len() => {
                hit |= fold(pattern[i + 1]) == byte;
                i += 2;
            }
            Some(&low) if i + 2 < pattern.len() && pattern[i + 1] == b'-' => {
                let (a, b) = (fold(low), fold(pattern[i + 2]));
                hit |= (a.min(b)..=a.max(b)).contains(&byte);
                i += 3;
            }
            Some(&literal) => {
                hit |= fold(literal) == byte;
                i += 1;
            }
        }
    }
    (hit != negated, i)
}

#[cfg(test)]
mod tests {
    use super::{Case, STARS_MAX, matches};

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(
            matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive),
            expected,
            "{pattern} {text}"
        );
    }

    #[test]
    fn patterns_match_as_redis_matches_them() {
        check("*", "", true);
        check("*", "anything", true);
        check("h?llo", "hello", true);
        check("h?llo", "hllo", false);
        check("h*llo", "heeeello", true);
        check("h[ae]llo", "hallo", true);
        check("h[ae]llo", "hillo", false);
        check("h[^e]llo", "hallo", true);
        check("h[^e]llo", "hello", false);
        check("h[a-c]llo", "hbllo", true);
        check("h[c-a]llo", "hbllo", true);
        check("a\\*b", "a*b", true);
        check("a\\*b", "axb", false);
        check("[\\]]", "]", true);
        check("a*b*c", "aXXbYYc", true);
        check("a*b*c", "aXXbYY", false);
        check("", "", true);
        check("", "a", false);
        check("a", "", false);
        check("[abc", "b", true);
        check("\\", "\\", true);
    }

    #[test]
    fn case_is_ignored_on_request() {
        assert!(matches(b"MaxMem*", b"maxmemory", Case::Insensitive));
        assert!(matches(b"[A-C]x", b"bX", Case::Insensitive));
    }

    #[test]
    fn more_stars_than_the_limit_match_nothing() {
        let text = b"a".repeat(STARS_MAX + 1);
        assert!(matches(&b"*?".repeat(STARS_MAX), &text, Case::Sensitive));
        assert!(matches(&[&b"**?".repeat(STARS_MAX)[..], b"*"].concat(), &text, Case::Sensitive));
        assert!(!matches(&b"*?".repeat(STARS_MAX + 1), &text, Case::Sensitive));
    }

    #[test]
    fn many_stars_take_polynomial_time() {
        let pattern = b"a*".repeat(50);
        let text = b"a".repeat(100);
        assert!(!matches(&[&pattern[..], b"b"].concat(), &text, Case::Sensitive));
    }
}
