//! The manifest: which files make up an append-only file.
//!
//! One line for each: `file <name> seq <number> type <b|i|h>`. At most one is the base (`b`); the incremental ones (`i`)
//! come in ascending order of their numbers; what a rewrite has replaced (`h`) is listed until it is removed, so that it is
//! removed even if the server stops in between. Other keys of a line, which newer versions write, are left out.

use std::fmt;

use crate::config::words;

/// Longest line that is read, as in Redis.
const LINE_BYTES_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub seq: u64,
}

/// The files of one append-only file, in the order in which the manifest lists them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    pub base: Option<Part>,
    pub history: Vec<Part>,
    pub incrs: Vec<Part>,
    /// The highest numbers in use.
    base_seq: u64,
    incr_seq: u64,
}

/// What is wrong with a manifest; line 0 is none in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    pub line: usize,
    pub text: String,
    pub reason: &'static str,
}

impl std::error::Error for ManifestError {}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {}: '{}')", self.reason, self.line, self.text)
    }
}

/// How a base is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseForm {
    Rdb,
    Commands,
}

const FORMAT: &str = "Invalid AOF manifest file format";

impl Manifest {
    /// Reads a whole manifest.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let mut manifest = Self::default();
        if text.is_empty() {
            return Err(ManifestError {
                line: 0,
                text: String::new(),
                reason: "Found an empty AOF manifest",
            });
        }
        for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let wrong = |reason| ManifestError {
                line: index + 1,
                text: String::from_utf8_lossy(line.trim_ascii()).into_owned(),
                reason,
            };
            if line.starts_with(b"#") {
                continue;
            }
            if line.len() > LINE_BYTES_MAX || !line.ends_with(b"\n") {
                return Err(wrong("The AOF manifest file contains too long line"));
            }
            manifest.take_line(line.trim_ascii()).map_err(wrong)?;
        }
        Ok(manifest)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let words = words::split(line).filter(|words| words.len() >= 6 && words.len().is_multiple_of(2));
        let (mut name, mut seq, mut kind) = (None, None, None);
        for pair in words.ok_or(FORMAT)?.chunks_exact(2) {
            let value = String::from_utf8(pair[1].clone()).map_err(|_| FORMAT)?;
            match pair[0].to_ascii_lowercase().as_slice() {
                b"file" if value.contains('/') => return Err("File can't be a path, just a filename"),
                b"file" => name = Some(value),
                b"seq" => seq = value.parse().ok().filter(|&seq: &u64| seq > 0),
                b"type" => kind = value.bytes().next(),
                _ => {}
            }
        }
        let name = name.filter(|name| !name.is_empty()).ok_or(FORMAT)?;
        let part = Part { name, seq: seq.ok_or(FORMAT)? };
        match kind.ok_or(FORMAT)? {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.base_seq = part.seq;
                self.base = Some(part);
            }
            b'h' => self.history.push(part),
            b'i' if part.seq <= self.incr_seq => return Err("Found a non-monotonic sequence number"),
            b'i' => {
                self.incr_seq = part.seq;
                self.incrs.push(part);
            }
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The manifest as it is written.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let base = self.base.iter().map(|part| (part, 'b'));
        let others = self.history.iter().map(|part| (part, 'h'));
        for (part, kind) in base.chain(others).chain(self.incrs.iter().map(|part| (part, 'i'))) {
            let name = words::quote_if_needed(&part.name);
            text.push_str(&format!("file {name} seq {} type {kind}\n", part.seq));
        }
        text
    }

    /// The files that hold the data, in the order in which they are loaded.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &Part> {
        self.base.iter().chain(&self.incrs)
    }

    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incrs.is_empty()
    }

    /// The manifest of an old append-only file of one part, which becomes the base.
    pub fn of_old_file(name: &str) -> Self {
        Self { base: Some(Part { name: name.to_owned(), seq: 1 }), base_seq: 1, ..Self::default() }
    }

    /// Adds the next incremental file of an append-only file called `file`; its name.
    pub fn add_incr(&mut self, file: &str) -> String {
        self.incr_seq += 1;
        let name = format!("{file}.{}.incr.aof", self.incr_seq);
        self.incrs.push(Part { name: name.clone(), seq: self.incr_seq });
        name
    }

    /// Puts the next base into the place of the one at hand, which is history from here on; the new one's name.
    pub fn replace_base(&mut self, file: &str, form: BaseForm) -> String {
        // What was retired last is listed first, as Redis does.
        self.history.splice(0..0, self.base.take());
        self.base_seq += 1;
        let extension = if form == BaseForm::Rdb { "rdb" } else { "aof" };
        let name = format!("{file}.{}.base.{extension}", self.base_seq);
        self.base = Some(Part { name: name.clone(), seq: self.base_seq });
        name
    }

    /// The incremental files but the last `kept` are in the base: they are history.
    pub fn retire_incrs(&mut self, kept: usize) {
        let retired = self.incrs.len().saturating_sub(kept);
        self.history.splice(0..0, self.incrs.drain(..retired));
    }
}

/// What the manifest of the append-only file called `file` is called.
pub fn manifest_name(file: &str) -> String {
    format!("{file}.manifest")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn refuses(text: &str, reason: &str) {
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap_err().reason, reason, "{text:?}");
    }

    #[test]
    fn a_manifest_is_read_and_written_as_redis_does() {
        let text = "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.1.base.rdb seq 1 type h\n\
                    file appendonly.aof.4.incr.aof seq 4 type i\nfile \"my file\" seq 7 type i\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.base.as_ref().unwrap().seq, 2);
        assert_eq!(manifest.incrs[1].name, "my file");
        assert_eq!(manifest.to_text(), text);
        let with_comment = format!("# a comment\n{text}");
        assert_eq!(Manifest::parse(with_comment.as_bytes()).unwrap(), manifest);
        let newer = "file x seq 1 type i startoffset 5\n";
        assert_eq!(Manifest::parse(newer.as_bytes()).unwrap().incrs.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said_in_redis_sentences() {
        refuses("", "Found an empty AOF manifest");
        refuses("file a seq 1 type i", "The AOF manifest file contains too long line");
        refuses(
            &format!("file {} seq 1 type i\n", "a".repeat(1100)),
            "The AOF manifest file contains too long line",
        );
        for bad in ["\n", "file a seq 1 type\n", "file a seq x type i\n", "file a seq 1 kind i\n", "a \"b\n"]
        {
            refuses(bad, FORMAT);
        }
        refuses("file a/b seq 1 type i\n", "File can't be a path, just a filename");
        refuses("file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information");
        refuses("file a seq 2 type i\nfile b seq 2 type i\n", "Found a non-monotonic sequence number");
        refuses("file a seq 2 type x\n", "Unknown AOF file type");
    }

    #[test]
    fn a_rewrite_replaces_the_base_and_what_was_added_to_it() {
        let mut manifest = Manifest::default();
        assert_eq!(manifest.replace_base("a", BaseForm::Rdb), "a.1.base.rdb");
        assert_eq!(manifest.add_incr("a"), "a.1.incr.aof");
        assert_eq!(manifest.add_incr("a"), "a.2.incr.aof");
        assert_eq!(manifest.replace_base("a", BaseForm::Commands), "a.2.base.aof");
        manifest.retire_incrs(1);
        assert_eq!(
            manifest.to_text(),
            "file a.2.base.aof seq 2 type b\nfile a.1.incr.aof seq 1 type h\nfile a.1.base.rdb seq 1 type h\n\
             file a.2.incr.aof seq 2 type i\n"
        );
        let names: Vec<&str> = manifest.parts().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["a.2.base.aof", "a.2.incr.aof"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::parse(&text);
        }

        #[test]
        fn what_is_written_is_read_back(names in prop::collection::vec("[a-z \"\\\\é]{1,12}", 1..5)) {
            let mut manifest = Manifest::default();
            for name in &names {
                manifest.add_incr(name);
            }
            manifest.replace_base(&names[0], BaseForm::Rdb);
            prop_assert_eq!(Manifest::parse(manifest.to_text().as_bytes()).unwrap(), manifest);
        }
    }
}
