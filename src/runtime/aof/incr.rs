//! The incremental file that is being written: whole batches or, after an error, nothing of one.
//!
//! It remembers what was written since the last fsync. When an fsync fails, the system may have dropped what it could not
//! write, and a later fsync that works says nothing about it; so the file goes back to where it is known to be on disk, and
//! all that came after is written anew.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::Folder;
use super::disk::{Disk, DiskFile, Mode};
use crate::replication::log::{Pieces, ReplOffset};

/// Slices that one system call takes.
const SLICES_MAX: usize = 512;
/// So much is remembered at most; who wants to be able to go back forces to disk before that.
pub const KEPT_BYTES_MAX: u64 = 32 << 20;

/// Bytes that were taken from the log, to be written together.
#[derive(Debug)]
pub struct Batch {
    pub prefix: Vec<u8>,
    pub pieces: Pieces,
    /// The position in the stream behind them.
    pub end: ReplOffset,
    /// Bytes up to there that are a replica's own effects.
    pub own: u64,
}

impl Batch {
    pub fn len(&self) -> usize {
        self.prefix.len() + self.pieces.iter().map(|piece| piece.len()).sum::<usize>()
    }
}

#[derive(Debug)]
pub struct Incr<F> {
    file: F,
    pub path: PathBuf,
    /// What counts of it.
    pub len: u64,
    /// Behind that, a failure may have left something, which is cut off before the next write.
    is_torn: bool,
    /// Up to here it is on disk.
    synced_len: u64,
    /// What was written since; none if not all of it was kept.
    unsynced: Option<Vec<Batch>>,
}

impl<F: DiskFile> Incr<F> {
    pub fn open<D: Disk<File = F>>(folder: &Folder<D>, path: &Path) -> io::Result<Self> {
        let file = folder.disk.open(path, Mode::Append)?;
        let len = file.len()?;
        Ok(Self {
            file,
            path: path.to_owned(),
            len,
            is_torn: false,
            synced_len: len,
            unsynced: Some(Vec::new()),
        })
    }

    /// Begins a file that must not have anything in it.
    pub fn create<D: Disk<File = F>>(folder: &Folder<D>, path: &Path) -> io::Result<Self> {
        let mut incr = Self::open(folder, path)?;
        if incr.len > 0 {
            incr.file.set_len(0)?;
            (incr.len, incr.synced_len) = (0, 0);
            // After a crash, what it held must not come back under a name that is listed then.
            incr.sync()?;
        }
        Ok(incr)
    }

    /// Writes a batch as a whole; after an error nothing of it counts.
    pub fn write(&mut self, batch: &Batch) -> io::Result<()> {
        self.mend()?;
        let written = write_all(&mut self.file, batch);
        match written {
            Ok(()) => self.len += batch.len() as u64,
            Err(_) => {
                self.is_torn = true;
                // If it cannot be cut off at this moment, it is before the next write.
                let _ = self.mend();
            }
        }
        written
    }

    /// Remembers a batch that was written, unless that is not wanted or too much already.
    pub fn keep(&mut self, batch: Batch, is_wanted: bool) {
        if !is_wanted || self.unsynced_bytes() > KEPT_BYTES_MAX {
            self.unsynced = None;
        } else if let Some(unsynced) = &mut self.unsynced {
            unsynced.push(batch);
        }
    }

    fn mend(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.len)?;
            self.is_torn = false;
        }
        Ok(())
    }

    pub fn unsynced_bytes(&self) -> u64 {
        self.len - self.synced_len
    }

    /// Whether it has changed since the last fsync.
    pub fn is_unsynced(&self) -> bool {
        self.is_torn || self.len > self.synced_len
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.mend()?;
        self.file.sync()?;
        self.synced_len = self.len;
        self.unsynced = Some(Vec::new());
        Ok(())
    }

    /// To be called when an fsync has failed: the file ends where it is known to be on disk. What has to be written again;
    /// none if that was not kept, then the file stays as it is.
    pub fn go_back(&mut self) -> Option<Vec<Batch>> {
        let unsynced = self.unsynced.replace(Vec::new());
        match &unsynced {
            Some(_) => (self.len, self.is_torn) = (self.synced_len, true),
            None => self.unsynced = None,
        }
        unsynced
    }
}

fn write_all(file: &mut impl io::Write, batch: &Batch) -> io::Result<()> {
    let (mut written, total) = (0, batch.len());
    while written < total {
        let mut skipped = written;
        let parts = std::iter::once(&batch.prefix[..]).chain(batch.pieces.iter().map(|piece| &piece[..]));
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(batch.pieces.len() + 1);
        for part in parts {
            let from = skipped.min(part.len());
            skipped -= from;
            if from < part.len() {
                slices.push(IoSlice::new(&part[from..]));
            }
            if slices.len() == SLICES_MAX {
                break;
            }
        }
        match file.write_vectored(&slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::aof::Files;
    use bytes::Bytes;

    fn batch(pieces: &[&'static [u8]]) -> Batch {
        let pieces = pieces.iter().map(|piece| Bytes::from_static(piece)).collect();
        Batch { prefix: b"first ".to_vec(), pieces, end: ReplOffset(0), own: 0 }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        let aof = Folder::new(Files, folder.path().to_str().unwrap(), "aof", "a");
        aof.create().unwrap();
        (folder, aof)
    }

    #[test]
    fn a_batch_is_written_whole_and_in_order() {
        let (_folder, aof) = folder();
        let path = aof.path("a.1.incr.aof");
        let mut incr = Incr::open(&aof, &path).unwrap();
        incr.write(&batch(&[b"second ", b"", b"third"])).unwrap();
        assert!(incr.is_unsynced());
        incr.sync().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first second third");
        assert_eq!((incr.len, incr.is_unsynced()), (18, false));
        let many = Batch { pieces: vec![Bytes::from_static(b"x"); 3000].into(), ..batch(&[]) };
        incr.write(&many).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 18 + 6 + 3000);
    }

    #[test]
    fn what_could_not_be_forced_to_disk_is_written_anew_from_the_last_good_place() {
        let (_folder, aof) = folder();
        let path = aof.path("a");
        let mut incr = Incr::open(&aof, &path).unwrap();
        for (piece, is_synced) in [(b"one ", true), (b"two ", false), (b"thr ", false)] {
            let batch = Batch { prefix: Vec::new(), ..batch(&[piece]) };
            incr.write(&batch).unwrap();
            incr.keep(batch, true);
            if is_synced {
                incr.sync().unwrap();
            }
        }
        let again = incr.go_back().unwrap();
        assert_eq!((incr.len, incr.is_unsynced(), again.len()), (4, true, 2));
        incr.write(&again[0]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one two ");
        // Nobody can go back to what was not kept.
        incr.keep(batch(&[]), false);
        assert!(incr.go_back().is_none());
        assert_eq!(incr.len, 8);
    }
}
