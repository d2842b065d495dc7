//! The incremental file that is being written: whole batches or, after an error, nothing of one.

use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::path::{Path, PathBuf};

use super::Folder;
use crate::replication::log::{Pieces, ReplOffset};

/// Slices that one system call takes.
const SLICES_MAX: usize = 512;

/// Bytes that were taken from the log and are not in the file yet.
#[derive(Debug)]
pub struct Batch {
    pub prefix: Vec<u8>,
    pub pieces: Pieces,
    /// The position in the stream behind them.
    pub end: ReplOffset,
    /// How much of them is in the file: what an error has left there and could not be taken back.
    pub written: usize,
}

impl Batch {
    pub fn len(&self) -> usize {
        self.prefix.len() + self.pieces.iter().map(|piece| piece.len()).sum::<usize>()
    }
}

#[derive(Debug)]
pub struct Incr {
    file: File,
    pub path: PathBuf,
    pub len: u64,
    /// Whether something was written since the last fsync.
    pub is_unsynced: bool,
}

impl Incr {
    pub fn open(folder: &Folder, path: &Path) -> io::Result<Self> {
        let file = folder.open_to_append(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, path: path.to_owned(), len, is_unsynced: false })
    }

    /// Begins a file that must not have anything in it.
    pub fn create(folder: &Folder, path: &Path) -> io::Result<Self> {
        let mut incr = Self::open(folder, path)?;
        if incr.len > 0 {
            incr.file.set_len(0)?;
            incr.len = 0;
        }
        Ok(incr)
    }

    /// Writes what is left of a batch. After an error the file is as it was, if it can be cut; otherwise the batch knows
    /// how much of it is there.
    pub fn write(&mut self, batch: &mut Batch) -> io::Result<()> {
        let already = batch.written;
        let written = self.write_rest(batch);
        let progress = (batch.written - already) as u64;
        self.is_unsynced |= progress > 0;
        if written.is_err() && progress > 0 && self.file.set_len(self.len).is_ok() {
            batch.written = already;
        } else {
            self.len += progress;
        }
        written
    }

    fn write_rest(&mut self, batch: &mut Batch) -> io::Result<()> {
        let total = batch.len();
        while batch.written < total {
            let mut skipped = batch.written;
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
            match self.file.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => batch.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.is_unsynced = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn batch(pieces: &[&'static [u8]]) -> Batch {
        let pieces = pieces.iter().map(|piece| Bytes::from_static(piece)).collect();
        Batch { prefix: b"first ".to_vec(), pieces, end: ReplOffset(0), written: 0 }
    }

    #[test]
    fn a_batch_is_written_whole_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_str().unwrap();
        let aof = Folder::new(dir, "aof", "a");
        aof.create().unwrap();
        let path = aof.path("a.1.incr.aof");
        let mut incr = Incr::open(&aof, &path).unwrap();
        let mut written = batch(&[b"second ", b"", b"third"]);
        incr.write(&mut written).unwrap();
        incr.sync().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first second third");
        assert_eq!((incr.len, incr.is_unsynced), (18, false));
        let mut many = Batch { pieces: vec![Bytes::from_static(b"x"); 3000].into(), ..batch(&[]) };
        incr.write(&mut many).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 18 + 6 + 3000);
    }

    #[test]
    fn what_is_in_the_file_already_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let aof = Folder::new(folder.path().to_str().unwrap(), "aof", "a");
        aof.create().unwrap();
        let mut incr = Incr::open(&aof, &aof.path("a")).unwrap();
        let mut rest = batch(&[b"second"]);
        rest.written = 8;
        incr.write(&mut rest).unwrap();
        assert_eq!(std::fs::read(aof.path("a")).unwrap(), b"cond");
    }
}
