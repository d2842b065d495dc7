//! The folder of the append-only file: names, the manifest, and steps that a crash between any two leaves valid.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::log;
use super::disk::{Disk, DiskFile as _, Files, Mode};
use crate::config::Config;
use crate::persistence::aof::manifest::{Manifest, manifest_name};

/// What the name of a base begins with while it is written.
const TEMPORARY_BASE: &str = "temp-rewriteaof-bg-";

/// Where an append-only file lies, and what it is called.
#[derive(Debug, Clone)]
pub struct Folder<D = Files> {
    pub disk: D,
    /// The server's directory, where old append-only files lie.
    dir: PathBuf,
    path: PathBuf,
    pub file: String,
}

/// A manifest that could not be written, at least not for sure.
#[derive(Debug)]
pub struct ManifestFailure {
    error: io::Error,
    /// It is in its place all the same, but after a crash the one before it may be: what either of them lists must stay.
    pub may_count: bool,
}

impl std::error::Error for ManifestFailure {}

impl fmt::Display for ManifestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write the AOF manifest: {}", super::reason(&self.error))
    }
}

impl<D: Disk> Folder<D> {
    pub fn of(disk: D, config: &Config) -> Self {
        Self::new(disk, &config.dir, &config.appenddirname, &config.appendfilename)
    }

    pub fn new(disk: D, dir: &str, name: &str, file: &str) -> Self {
        Self { disk, dir: PathBuf::from(dir), path: Path::new(dir).join(name), file: file.to_owned() }
    }

    /// The same in another directory of the server.
    pub fn in_dir(&self, dir: &str) -> Self {
        let name = self.path.file_name().unwrap_or_default();
        Self { dir: PathBuf::from(dir), path: Path::new(dir).join(name), ..self.clone() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn manifest_path(&self) -> PathBuf {
        self.path(&manifest_name(&self.file))
    }

    /// What a base is called while it is written.
    pub fn temporary_base(&self, number: u64) -> PathBuf {
        self.path(&format!("{TEMPORARY_BASE}{}.{number}.aof", std::process::id()))
    }

    /// Removes bases that a server which is gone has left half written.
    pub fn remove_leftovers(&self) {
        let Ok(names) = self.disk.list(&self.path) else { return };
        for name in names.iter().filter(|name| name.starts_with(TEMPORARY_BASE)) {
            // It is in nobody's way if it stays.
            let _ = self.disk.remove(&self.path(name));
        }
    }

    /// What an incremental file is called that counts only with a base still to come.
    pub fn temporary_incr(&self) -> PathBuf {
        self.path(&format!("temp-{}.incr", self.file))
    }

    pub fn create(&self) -> anyhow::Result<()> {
        match self.disk.create_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error)
                .with_context(|| format!("Can't open or create append-only dir {}", self.path.display())),
            _ => Ok(()),
        }
    }

    /// The manifest; an empty one if there is none.
    pub fn read_manifest(&self) -> anyhow::Result<Manifest> {
        let path = self.manifest_path();
        let mut text = Vec::new();
        let read = self.disk.open(&path, Mode::Read).and_then(|mut file| file.read_to_end(&mut text));
        match read {
            Ok(_) => Manifest::parse(&text).with_context(|| {
                format!("*** FATAL AOF MANIFEST FILE ERROR *** Reading the manifest file {}", path.display())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Manifest::default()),
            Err(error) => Err(error)
                .with_context(|| format!("Fatal error: can't open the AOF manifest {}", path.display())),
        }
    }

    /// Puts a manifest into the place of the one at hand: a crash leaves the old one or the new one.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), ManifestFailure> {
        let temporary = self.path(&format!("temp-{}", manifest_name(&self.file)));
        let replaced = (|| {
            let mut file = self.disk.open(&temporary, Mode::Create)?;
            file.write_all(manifest.to_text().as_bytes())?;
            file.sync()?;
            self.disk.rename(&temporary, &self.manifest_path())
        })();
        if let Err(error) = replaced {
            // What it may have left is in nobody's way.
            let _ = self.disk.remove(&temporary);
            return Err(ManifestFailure { error, may_count: false });
        }
        self.sync().map_err(|error| ManifestFailure { error, may_count: true })
    }

    /// Forces names to disk.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.path)
    }

    /// Removes what a rewrite has replaced, and then its names.
    pub fn remove_history(&self, manifest: &mut Manifest) -> Result<(), ManifestFailure> {
        if manifest.history.is_empty() {
            return Ok(());
        }
        for part in manifest.history.drain(..) {
            log::notice(&format!("Removing the history file {} in the background", part.name));
            match self.disk.remove(&self.path(&part.name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    log::warning(&format!("cannot remove {}: {error}", part.name));
                }
                _ => {}
            }
        }
        self.write_manifest(manifest)
    }

    /// Makes an append-only file of one part, as servers before Redis 7 wrote it, the base of one of several.
    pub fn adopt_old_file(&self, manifest: &mut Manifest) -> anyhow::Result<()> {
        let old = self.dir.join(&self.file);
        if !self.disk.is_file(&old) {
            return Ok(());
        }
        // It may have been listed already, and not been moved before a crash.
        let is_listed = manifest.incrs.is_empty()
            && manifest.base.as_ref().is_some_and(|base| base.name == self.file)
            && !self.disk.is_file(&self.path(&self.file));
        if self.disk.is_dir(&self.path) && !manifest.is_empty() && !is_listed {
            return Ok(());
        }
        self.create()?;
        *manifest = Manifest::of_old_file(&self.file);
        self.write_manifest(manifest)?;
        self.disk.rename(&old, &self.path(&self.file)).with_context(|| {
            format!("cannot move the old AOF file {} into {}", self.file, self.path.display())
        })?;
        self.sync().with_context(|| format!("cannot force {} to disk", self.path.display()))?;
        log::notice(&format!(
            "Successfully migrated an old-style AOF configuration ({}) into the AOF directory ({}).",
            self.file,
            self.path.file_name().unwrap_or_default().display()
        ));
        Ok(())
    }

    /// The length of a part.
    pub fn len_of(&self, name: &str) -> anyhow::Result<u64> {
        match self.disk.len_of(&self.path(name)) {
            Ok(len) => Ok(len),
            Err(error) => {
                let reason = super::reason(&error);
                anyhow::bail!("Unable to obtain the AOF file {name} length. stat: {reason}")
            }
        }
    }
}
