//! A disk in memory that fails: writes come short or not at all, fsyncs fail and drop what they should have written, and a
//! crash loses what was not forced to disk.
//!
//! A file's changes are on disk in the order in which they were made: after a crash some of them are there, the last one
//! perhaps in part. So are names, independently of what the files hold. When an fsync fails, what it could not write is
//! lost, though whoever reads the file still finds it; a later fsync that works says nothing about it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use russet::runtime::aof::{Disk, DiskFile, Mode};

/// What goes wrong at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// So many writes fail.
    Writes(u32),
    /// So many fsyncs fail.
    Syncs(u32),
    /// So many changes of names fail.
    Names(u32),
    NoSpace,
}

#[derive(Clone)]
pub struct FaultyDisk(Rc<RefCell<State>>);

struct State {
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    name_changes: Vec<NameChange>,
    files: Vec<Content>,
    fault: Fault,
    /// The machine goes down at this many steps from here.
    steps_left: Option<u32>,
    is_down: bool,
    has_lost_writes: bool,
    rng: fastrand::Rng,
}

#[derive(Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

enum NameChange {
    Add(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl std::fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyDisk")
    }
}

fn down() -> io::Error {
    io::Error::other("the machine is down")
}

fn input_output() -> io::Error {
    io::Error::other("Input/output error")
}

impl Change {
    fn apply(self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                // What was lost before it reads as zeros.
                to.resize(to.len().max(at + bytes.len()), 0);
                to[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            Self::SetLen(len) => to.resize(len, 0),
        }
    }
}

impl NameChange {
    fn apply(self, to: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Add(path, file) => drop(to.insert(path, file)),
            Self::Rename(from, into) => {
                if let Some(file) = to.remove(&from) {
                    to.insert(into, file);
                }
            }
            Self::Remove(path) => drop(to.remove(&path)),
        }
    }
}

impl Content {
    /// Some of the changes reach the disk, the last of them perhaps in part; the others never will.
    fn write_some(&mut self, rng: &mut fastrand::Rng) {
        let kept = rng.usize(0..=self.changes.len());
        for (index, change) in std::mem::take(&mut self.changes).into_iter().enumerate() {
            match change {
                change if index < kept => change.apply(&mut self.durable),
                Change::Write { at, bytes } if index == kept => {
                    let part = bytes[..rng.usize(0..=bytes.len())].to_vec();
                    Change::Write { at, bytes: part }.apply(&mut self.durable);
                }
                _ => return,
            }
        }
    }
}

impl State {
    /// One step that the machine may not survive.
    fn step(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.steps_left {
            *left = left.saturating_sub(1);
            self.is_down |= *left == 0;
        }
        if self.is_down { Err(down()) } else { Ok(()) }
    }

    /// Whether a change of names fails.
    fn name_step(&mut self) -> io::Result<()> {
        self.step()?;
        match &mut self.fault {
            Fault::Names(left) if *left > 0 => {
                *left -= 1;
                Err(input_output())
            }
            _ => Ok(()),
        }
    }

    fn sync_fails(&mut self) -> bool {
        match &mut self.fault {
            Fault::Syncs(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    fn change_name(&mut self, change: NameChange) {
        // The same twice: as everybody sees it, and on its way to disk.
        let again = match &change {
            NameChange::Add(path, file) => NameChange::Add(path.clone(), *file),
            NameChange::Rename(from, to) => NameChange::Rename(from.clone(), to.clone()),
            NameChange::Remove(path) => NameChange::Remove(path.clone()),
        };
        change.apply(&mut self.names);
        self.name_changes.push(again);
    }

    fn add(&mut self, path: &Path) -> usize {
        self.files.push(Content::default());
        let file = self.files.len() - 1;
        self.change_name(NameChange::Add(path.to_owned(), file));
        file
    }

    fn set_len(&mut self, file: usize, len: usize) {
        let content = &mut self.files[file];
        content.seen.resize(len, 0);
        content.changes.push(Change::SetLen(len));
    }
}

impl FaultyDisk {
    pub fn new(rng: fastrand::Rng) -> Self {
        Self(Rc::new(RefCell::new(State {
            dirs: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            files: Vec::new(),
            fault: Fault::None,
            steps_left: None,
            is_down: false,
            has_lost_writes: false,
            rng,
        })))
    }

    pub fn set_fault(&self, fault: Fault) {
        self.0.borrow_mut().fault = fault;
    }

    pub fn fault(&self) -> Fault {
        self.0.borrow().fault
    }

    /// The machine goes down in the middle of what is done in so many steps.
    pub fn crash_after(&self, steps: u32) {
        self.0.borrow_mut().steps_left = Some(steps);
    }

    pub fn is_down(&self) -> bool {
        self.0.borrow().is_down
    }

    /// Whether an fsync has failed since the last start, so that what readers see may not be on disk.
    pub fn has_lost_writes(&self) -> bool {
        self.0.borrow().has_lost_writes
    }

    /// The machine has gone down and is up again: what was not forced to disk is there in part, or not.
    pub fn lose_power(&self) {
        let state = &mut *self.0.borrow_mut();
        for content in &mut state.files {
            content.write_some(&mut state.rng);
            content.seen = content.durable.clone();
        }
        let kept = state.rng.usize(0..=state.name_changes.len());
        for change in state.name_changes.drain(..).take(kept) {
            change.apply(&mut state.durable_names);
        }
        state.names = state.durable_names.clone();
        Self::restart(state);
    }

    /// Another process goes on with what this one has left; the system has kept running.
    pub fn lose_process(&self) {
        Self::restart(&mut self.0.borrow_mut());
    }

    fn restart(state: &mut State) {
        state.fault = Fault::None;
        state.steps_left = None;
        state.is_down = false;
        state.has_lost_writes = false;
    }
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn open(&self, path: &Path, mode: Mode) -> io::Result<FaultyFile> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        let found = state.names.get(path).copied();
        let file = match (mode, found) {
            (Mode::Append | Mode::Create, None) => {
                state.name_step()?;
                state.add(path)
            }
            (Mode::Create, Some(file)) => {
                state.set_len(file, 0);
                file
            }
            (_, Some(file)) => file,
            (Mode::Read | Mode::Cut, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(FaultyFile { disk: self.clone(), file, read: 0 })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        match state.dirs.insert(path.to_owned()) {
            true => Ok(()),
            false => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.name_step()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.name_step()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.borrow();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.step()?;
        if state.sync_fails() {
            return Err(input_output());
        }
        for change in state.name_changes.drain(..) {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn is_file(&self, path: &Path) -> bool {
        self.0.borrow().names.contains_key(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.0.borrow().dirs.contains(path)
    }

    fn len_of(&self, path: &Path) -> io::Result<u64> {
        let state = self.0.borrow();
        let file = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.files[file].seen.len() as u64)
    }
}

pub struct FaultyFile {
    disk: FaultyDisk,
    file: usize,
    read: usize,
}

impl std::fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FaultyFile({})", self.file)
    }
}

impl io::Read for FaultyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.0.borrow();
        let rest = &state.files[self.file].seen[self.read..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.read += n;
        Ok(n)
    }
}

impl io::Write for FaultyFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let state = &mut *self.disk.0.borrow_mut();
        let survives = state.step();
        let mut len = data.len();
        if state.rng.u8(..4) == 0 || survives.is_err() {
            len = state.rng.usize(0..=len);
        }
        match &mut state.fault {
            Fault::Writes(left) if *left > 0 => {
                *left -= 1;
                return Err(input_output());
            }
            Fault::NoSpace => {
                len = state.rng.usize(0..=len / 2);
                if len == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            _ => {}
        }
        let len = if survives.is_ok() { len.max(1).min(data.len()) } else { len };
        let content = &mut state.files[self.file];
        let at = content.seen.len();
        content.seen.extend_from_slice(&data[..len]);
        content.changes.push(Change::Write { at, bytes: data[..len].to_vec() });
        survives.map(|()| len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.borrow().files[self.file].seen.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *self.disk.0.borrow_mut();
        state.step()?;
        state.set_len(self.file, len as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.0.borrow_mut();
        state.step()?;
        let fails = state.sync_fails();
        let content = &mut state.files[self.file];
        if fails {
            state.has_lost_writes = true;
            content.write_some(&mut state.rng);
            return Err(input_output());
        }
        for change in content.changes.drain(..) {
            change.apply(&mut content.durable);
        }
        Ok(())
    }
}
