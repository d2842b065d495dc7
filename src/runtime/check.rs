//! `russet check`: whether files that a server has written are whole, and how far an append-only file is.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::aof::text::Text;
use crate::command::replay;
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
    if name.ends_with(".manifest") { check_manifest(path, fix) } else { check_part(path, fix, Place::Alone) }
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
        let place = if index + 1 == count { Place::Last } else { Place::InTheMiddle };
        if let Err(error) = check_part(&part_path, fix, place) {
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
fn check_part(path: &Path, fix: bool, place: Place) -> anyhow::Result<()> {
    let shown = path.display();
    let file = File::open(path).context("cannot open it")?;
    let length = file.metadata().context("cannot look at it")?.len();
    let mut text = Text::begin(file)?;
    let is_rdb = text.is_rdb();
    if is_rdb {
        let start = std::mem::take(&mut text.buffer);
        let source = std::io::Cursor::new(start).chain(&text.file);
        let summary = rdb::read(source, &EncodingLimits::default(), &mut Counting)
            .map_err(|error| anyhow::anyhow!("not valid: an RDB file that is broken at {error}"))?;
        let rdb::Summary { version, bytes, keys, expires, .. } = summary;
        println!(
            "{shown}: an RDB file of version {version}, {bytes} bytes, {keys} keys, {expires} with an expiry: valid"
        );
        if place == Place::Alone && !summary.is_aof_base() {
            if length > bytes {
                println!("{shown}: {} bytes behind its end, which nobody reads", length - bytes);
            }
            return Ok(());
        }
        (text.buffer, text.offset) = (summary.read_ahead, bytes);
    }
    if length == 0 && place == Place::Alone && path.extension().is_some_and(|extension| extension == "rdb") {
        bail!("not valid: it is empty, and an RDB file begins with REDIS");
    }
    let scan = scan(&mut text)?;
    let Some(damage) = scan.damage else {
        if !is_rdb || scan.commands > 0 {
            println!("{shown}: an AOF of {length} bytes, {} commands: valid", scan.commands);
        }
        return Ok(());
    };
    let (what, whole_to, lost) = (damage.what, scan.valid, length - scan.valid);
    if !fix {
        bail!("not valid: {what}; whole up to offset {whole_to}, {lost} bytes before the end");
    }
    if !damage.is_missing_end {
        bail!(
            "not valid: {what}; not repaired, since it is not its end that is missing: to cut it off at offset \
             {whole_to} would lose the {lost} bytes behind that, and with them what is whole there"
        );
    }
    if place == Place::InTheMiddle {
        bail!("not valid: {what}; it is not cut off because it is not the last file");
    }
    let file = File::options().write(true).open(path).context("cannot open it to repair it")?;
    file.set_len(whole_to).and_then(|()| file.sync_all()).context("cannot cut it off")?;
    println!("{shown}: {what}; cut off at offset {whole_to}, {lost} bytes before its end: valid");
    Ok(())
}

/// Where a file stands among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Alone,
    /// In a manifest, with others behind it.
    InTheMiddle,
    Last,
}

/// What the commands of a file are like.
struct Scan {
    commands: u64,
    /// Up to here it is whole.
    valid: u64,
    damage: Option<Damage>,
}

struct Damage {
    what: String,
    /// Nothing follows that could be whole: a crash leaves a file like that.
    is_missing_end: bool,
}

fn scan(text: &mut Text<File>) -> anyhow::Result<Scan> {
    let mut scan = Scan { commands: 0, valid: text.offset, damage: None };
    let mut ranges = Vec::new();
    let mut is_open = false;
    loop {
        let rest = &text.buffer[text.used..];
        let step =
            if rest.is_empty() { Step::Incomplete { wanted: 1 } } else { reader::step(rest, &mut ranges) };
        let offset = text.offset;
        let damage = match step {
            Step::Command { bytes } => {
                let args = Args::new(rest, &ranges);
                match replay::find(&args) {
                    Ok(_) => {
                        is_open =
                            args.is(0, "multi") || (is_open && !args.is(0, "exec") && !args.is(0, "discard"));
                        scan.commands += 1;
                        text.used += bytes;
                        text.offset += bytes as u64;
                        None
                    }
                    Err(reason) => {
                        Some(Damage { what: format!("offset {offset}: {reason}"), is_missing_end: false })
                    }
                }
            }
            Step::Annotation { bytes, .. } => {
                text.used += bytes;
                text.offset += bytes as u64;
                None
            }
            Step::Incomplete { wanted } if !text.is_at_end => {
                text.read_more(wanted)?;
                continue;
            }
            Step::Incomplete { .. } => {
                let what = match (rest.is_empty(), is_open) {
                    (false, _) => format!("the end is missing from offset {offset} on"),
                    (true, true) => "the EXEC of the last transaction is missing".to_owned(),
                    (true, false) => return Ok(scan),
                };
                Some(Damage { what, is_missing_end: true })
            }
            Step::Corrupt { at, expected } => Some(match text.is_lost_from(text.used)? {
                true => Damage {
                    what: format!("nothing but zeros at the end, which is lost from offset {offset} on"),
                    is_missing_end: true,
                },
                false => Damage {
                    what: format!("offset {}: expected {expected}", offset + at as u64),
                    is_missing_end: false,
                },
            }),
        };
        if damage.is_some() {
            scan.damage = damage;
            return Ok(scan);
        }
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
