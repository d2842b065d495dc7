//! `russet check`: whether files that a server has written are whole, and how far an append-only file is.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::aof::text::Text;
use crate::config::CheckOptions;
use crate::persistence::aof::manifest::Manifest;
use crate::persistence::aof::reader::{self, Step};
use crate::persistence::rdb::{self, RdbEntry, RdbSink};
use crate::resp::args::Args;
use crate::storage::EncodingLimits;

/// Checks files; answers the process' exit code.
pub fn check_files(options: &CheckOptions) -> i32 {
    let mut code = 0;
    for path in &options.files {
        if let Err(error) = check(path, options.fix) {
            println!("{}: {error:#}", path.display());
            code = 1;
        }
    }
    code
}

fn check(path: &Path, fix: bool) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".manifest") { check_manifest(path, fix) } else { check_part(path, fix, true) }
}

/// Checks a manifest and every file that it lists.
fn check_manifest(path: &Path, fix: bool) -> anyhow::Result<()> {
    let text = std::fs::read(path).context("cannot read it")?;
    let manifest = Manifest::parse(&text)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let count = manifest.parts().count();
    println!("{}: a manifest of {count} files", path.display());
    let mut broken = 0;
    for (index, part) in manifest.parts().enumerate() {
        let part_path = folder.join(&part.name);
        if let Err(error) = check_part(&part_path, fix, index + 1 == count) {
            println!("{}: {error:#}", part_path.display());
            broken += 1;
        }
    }
    if broken > 0 {
        bail!("{broken} of its {count} files are not valid");
    }
    println!("{}: all files are valid", path.display());
    Ok(())
}

/// Checks an RDB file, or an append-only file with or without one at its front.
fn check_part(path: &Path, fix: bool, is_last: bool) -> anyhow::Result<()> {
    let file = File::open(path).context("cannot open it")?;
    let mut text = Text::begin(file)?;
    let is_rdb = text.is_rdb();
    if is_rdb {
        let start = std::mem::take(&mut text.buffer);
        let source = std::io::Cursor::new(start).chain(&text.file);
        let summary = rdb::read(source, &EncodingLimits::default(), &mut Counting)
            .map_err(|error| anyhow::anyhow!("not valid: an RDB file that is broken at {error}"))?;
        println!(
            "{}: an RDB file of version {}, {} bytes, {} keys, {} with an expiry: valid",
            path.display(),
            summary.version,
            summary.bytes,
            summary.keys,
            summary.expires
        );
        (text.buffer, text.offset) = (summary.read_ahead, summary.bytes);
    }
    let scan = scan(&mut text)?;
    let length = text.file.seek(SeekFrom::End(0))?;
    let Some(damage) = scan.damage else {
        if !is_rdb || scan.commands > 0 {
            println!("{}: an AOF of {length} bytes, {} commands: valid", path.display(), scan.commands);
        }
        return Ok(());
    };
    let lost = length - scan.valid;
    if !fix {
        bail!("not valid: {damage}; whole up to offset {}, {lost} bytes before the end", scan.valid);
    }
    if !is_last {
        bail!("not valid: {damage}; it is not cut off because it is not the last file");
    }
    let file = File::options().write(true).open(path).context("cannot open it to repair it")?;
    file.set_len(scan.valid).and_then(|()| file.sync_all()).context("cannot cut it off")?;
    println!(
        "{}: {damage}; cut off at offset {}, {lost} bytes before its end: valid",
        path.display(),
        scan.valid
    );
    Ok(())
}

/// What the commands of a file are like.
struct Scan {
    commands: u64,
    /// Up to here it is whole.
    valid: u64,
    damage: Option<String>,
}

fn scan(text: &mut Text<File>) -> anyhow::Result<Scan> {
    let mut scan = Scan { commands: 0, valid: text.offset, damage: None };
    let mut ranges = Vec::new();
    let mut is_open = false;
    loop {
        let rest = &text.buffer[text.used..];
        let step =
            if rest.is_empty() { Step::Incomplete { wanted: 1 } } else { reader::step(rest, &mut ranges) };
        let bytes = match step {
            Step::Command { bytes } => {
                let args = Args::new(rest, &ranges);
                is_open = args.is(0, "multi") || (is_open && !args.is(0, "exec") && !args.is(0, "discard"));
                scan.commands += 1;
                bytes
            }
            Step::Annotation { bytes, .. } => bytes,
            Step::Incomplete { wanted } if !text.is_at_end => {
                text.read_more(wanted)?;
                continue;
            }
            Step::Incomplete { .. } => {
                if !rest.is_empty() {
                    scan.damage = Some(format!("the end is missing from offset {} on", text.offset));
                } else if is_open {
                    scan.damage = Some("the EXEC of the last transaction is missing".to_owned());
                }
                return Ok(scan);
            }
            Step::Corrupt { at, expected } => {
                let damage = format!("offset {}: expected {expected}", text.offset + at as u64);
                scan.damage = Some(match text.is_lost_from(text.used)? {
                    true => {
                        format!("nothing but zeros at the end, which is lost from offset {} on", text.offset)
                    }
                    false => damage,
                });
                return Ok(scan);
            }
        };
        text.used += bytes;
        text.offset += bytes as u64;
        if !is_open {
            scan.valid = text.offset;
        }
    }
}

/// Lets go of everything: what counts is that it can be read.
struct Counting;

impl RdbSink for Counting {
    fn select_db(&mut self, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn entry(&mut self, _: RdbEntry<'_>) -> Result<(), String> {
        Ok(())
    }
}
