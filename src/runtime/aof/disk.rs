//! Files as the append-only file needs them, and what else its writer has around it.
//!
//! Every step on files goes through `Disk`, so that a simulation can let it fail, or lose it in a crash.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::Gate;
use crate::engine::Engine;
use crate::engine::aof::RewriteRequest;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Read,
    /// It is created if it is not there; what is written goes behind what it holds.
    Append,
    /// It begins empty.
    Create,
    /// To be made shorter.
    Cut,
}

pub trait Disk: Clone + std::fmt::Debug {
    type File: DiskFile;

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Self::File>;
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Forces the names in a folder to disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    fn is_file(&self, path: &Path) -> bool;
    fn is_dir(&self, path: &Path) -> bool;
    fn len_of(&self, path: &Path) -> io::Result<u64>;
}

#[expect(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait DiskFile: Read + Write + std::fmt::Debug {
    fn len(&self) -> io::Result<u64>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Forces what was written, and the length, to disk.
    fn sync(&self) -> io::Result<()>;
}

/// The files of the operating system.
#[derive(Debug, Clone, Copy)]
pub struct Files;

impl Disk for Files {
    type File = File;

    fn open(&self, path: &Path, mode: Mode) -> io::Result<File> {
        let mut options = File::options();
        match mode {
            Mode::Read => options.read(true),
            Mode::Append => options.create(true).append(true),
            Mode::Create => options.create(true).write(true).truncate(true),
            Mode::Cut => options.write(true),
        };
        options.open(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(dir)?.flatten();
        Ok(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn len_of(&self, path: &Path) -> io::Result<u64> {
        fs::metadata(path).map(|metadata| metadata.len())
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// What the writer and the loader have around them.
pub trait World {
    type Disk: Disk;

    fn disk(&self) -> Self::Disk;
    /// Runs `f` on the engine, then carries out what it left behind.
    fn enter<R>(&self, f: impl FnOnce(&mut Engine) -> R) -> R;
    fn gate(&self) -> &Gate;
    /// Begins to write a base beside everything else; the writer is told of the end by `Writer::end_rewrite`.
    fn start_base(&self, request: Box<RewriteRequest>, path: &Path) -> io::Result<()>;
    /// The time since some moment that stays the same.
    fn uptime(&self) -> Duration;
    fn pause(&self, duration: Duration);
}
