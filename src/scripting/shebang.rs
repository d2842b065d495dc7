//! The first line of a script or library: `#!lua flags=no-writes,allow-oom`, `#!lua name=mylib`.

use crate::config::words;
use crate::resp::error::ErrorReply;

/// What a script or function declares about itself.
pub type ScriptFlags = u8;
pub const NO_WRITES: ScriptFlags = 1 << 0;
pub const ALLOW_OOM: ScriptFlags = 1 << 1;
pub const ALLOW_STALE: ScriptFlags = 1 << 2;
pub const NO_CLUSTER: ScriptFlags = 1 << 3;
pub const ALLOW_CROSS_SLOT_KEYS: ScriptFlags = 1 << 4;

/// Their names, in the order in which FUNCTION LIST shows them.
pub const FLAG_NAMES: [(ScriptFlags, &str); 5] = [
    (NO_WRITES, "no-writes"),
    (ALLOW_OOM, "allow-oom"),
    (ALLOW_STALE, "allow-stale"),
    (NO_CLUSTER, "no-cluster"),
    (ALLOW_CROSS_SLOT_KEYS, "allow-cross-slot-keys"),
];

impl ScriptHeader {
    pub const NO_WRITES: ScriptFlags = NO_WRITES;
    pub const ALLOW_OOM: ScriptFlags = ALLOW_OOM;
    pub const ALLOW_STALE: ScriptFlags = ALLOW_STALE;
}

pub fn flag_of(name: &[u8]) -> Option<ScriptFlags> {
    FLAG_NAMES.iter().find(|(_, known)| known.as_bytes() == name).map(|&(flag, _)| flag)
}

/// What a script for EVAL says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptHeader {
    /// None without a first line of this kind: the script is held to the rules that there were before.
    pub flags: Option<ScriptFlags>,
    /// Where the code begins: at the line break, so that lines keep their numbers.
    pub code_at: usize,
}

impl ScriptHeader {
    pub fn read(body: &[u8]) -> Result<Self, ErrorReply> {
        if !body.starts_with(b"#!") {
            return Ok(Self { flags: None, code_at: 0 });
        }
        let code_at = body
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or(ErrorReply::fixed("ERR Invalid script shebang"))?;
        let words = words::split(&body[..code_at]).ok_or(ErrorReply::fixed("ERR Invalid script shebang"))?;
        let (engine, options) = words.split_first().ok_or(ErrorReply::fixed("ERR Invalid script shebang"))?;
        if engine != b"#!lua" {
            let engine = String::from_utf8_lossy(engine);
            return Err(ErrorReply::new(format!("ERR Unexpected engine in script shebang: {engine}")));
        }
        let mut flags = 0;
        for word in options {
            let Some(names) = word.strip_prefix(b"flags=") else {
                let word = String::from_utf8_lossy(word);
                return Err(ErrorReply::new(format!("ERR Unknown lua shebang option: {word}")));
            };
            for name in names.split(|&byte| byte == b',').filter(|_| !names.is_empty()) {
                flags |= flag_of(name).ok_or_else(|| {
                    let name = String::from_utf8_lossy(name);
                    ErrorReply::new(format!("ERR Unexpected flag in script shebang: {name}"))
                })?;
            }
        }
        Ok(Self { flags: Some(flags), code_at })
    }
}

/// What a library says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryHeader {
    pub name: Vec<u8>,
    pub code_at: usize,
}

impl LibraryHeader {
    pub fn read(code: &[u8]) -> Result<Self, ErrorReply> {
        if !code.starts_with(b"#!") {
            return Err(ErrorReply::fixed("ERR Missing library metadata"));
        }
        let code_at = code
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or(ErrorReply::fixed("ERR Invalid library metadata"))?;
        let words =
            words::split(&code[..code_at]).ok_or(ErrorReply::fixed("ERR Invalid library metadata"))?;
        let (engine, options) =
            words.split_first().ok_or(ErrorReply::fixed("ERR Invalid library metadata"))?;
        let engine = engine.strip_prefix(b"#!").unwrap_or_default();
        let mut name = None;
        for word in options {
            let value = match word.split_at_checked(5) {
                Some((key, value)) if key.eq_ignore_ascii_case(b"name=") => value,
                _ => {
                    let word = String::from_utf8_lossy(word);
                    return Err(ErrorReply::new(format!("ERR Invalid metadata value given: {word}")));
                }
            };
            if name.replace(value.to_vec()).is_some() {
                return Err(ErrorReply::fixed(
                    "ERR Invalid metadata value, name argument was given multiple times",
                ));
            }
        }
        let name = name.ok_or(ErrorReply::fixed("ERR Library name was not given"))?;
        if !super::is_name(&name) {
            return Err(super::library::BAD_NAME);
        }
        if !engine.eq_ignore_ascii_case(b"lua") {
            let engine = String::from_utf8_lossy(engine);
            return Err(ErrorReply::new(format!("ERR Engine '{engine}' not found")));
        }
        Ok(Self { name, code_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_its_flags_in_its_first_line() {
        let read = |body: &str| ScriptHeader::read(body.as_bytes()).map(|header| header.flags);
        assert_eq!(read("return 1"), Ok(None));
        assert_eq!(read("#!lua\nreturn 1"), Ok(Some(0)));
        assert_eq!(read("#!lua flags=no-writes,allow-oom\n"), Ok(Some(NO_WRITES | ALLOW_OOM)));
        for (body, sentence) in [
            ("#!lua", "ERR Invalid script shebang"),
            ("#!foo\n", "ERR Unexpected engine in script shebang: #!foo"),
            ("#!lua name=x\n", "ERR Unknown lua shebang option: name=x"),
            ("#!lua flags=x\n", "ERR Unexpected flag in script shebang: x"),
        ] {
            assert_eq!(read(body), Err(ErrorReply::fixed(sentence)), "{body}");
        }
    }
}
