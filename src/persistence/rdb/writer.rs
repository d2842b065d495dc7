//! A whole RDB file, written record by record. The same calls always make the same bytes.

use std::io::{self, Write};

use super::encode::Encoder;
use super::output::{Compression, Output};
use super::values::ValueRef;
use super::{KeyUsage, VERSION, VERSION_MAX, opcode};
use crate::base::clock::UnixMillis;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterOptions {
    /// `rdbchecksum`
    pub checksum: bool,
    /// `rdbcompression`
    pub compress: bool,
    /// 10 to 12: from 11 on, small sets are listpacks, which Redis 7.0 cannot read.
    pub version: u16,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { checksum: true, compress: true, version: VERSION }
    }
}

/// Writes chunks of 64 KiB and more, so `W` needs no buffer of its own.
///
/// 1. `new`, then `aux` and `function` as often as needed;
/// 2. for each database `select_db`, then its entries;
/// 3. `finish`.
pub struct RdbWriter<W> {
    output: Output<W>,
    encoder: Encoder,
    version: u16,
}

impl<W: Write> RdbWriter<W> {
    pub fn new(inner: W, options: WriterOptions) -> Self {
        let WriterOptions { checksum, compress, version } = options;
        assert!((VERSION..=VERSION_MAX).contains(&version), "only the layouts of these versions are written");
        let compression = if compress { Compression::Lzf } else { Compression::None };
        let mut output = Output::new(inner, compression, checksum);
        output.small(format!("REDIS{version:04}").as_bytes());
        Self { output, encoder: Encoder::default(), version }
    }

    pub fn aux(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.output.byte(opcode::AUX);
        self.output.string(key)?;
        self.output.string(value)
    }

    /// The entries that follow belong to database `db`, which has so many keys, some of them with an expiry.
    pub fn select_db(&mut self, db: u64, keys: u64, expires: u64) -> io::Result<()> {
        self.output.byte(opcode::SELECTDB);
        self.output.length(db);
        self.output.byte(opcode::RESIZEDB);
        self.output.length(keys);
        self.output.length(expires);
        self.output.flush_if_full()
    }

    pub fn entry(
        &mut self,
        key: &[u8],
        value: ValueRef<'_>,
        expires_at: Option<UnixMillis>,
        usage: Option<KeyUsage>,
    ) -> io::Result<()> {
        if let Some(UnixMillis(at)) = expires_at {
            self.output.byte(opcode::EXPIRETIME_MS);
            self.output.small(&at.to_le_bytes());
        }
        match usage {
            Some(KeyUsage::Idle(seconds)) => {
                self.output.byte(opcode::IDLE);
                self.output.length(seconds);
            }
            Some(KeyUsage::Frequency(counter)) => self.output.small(&[opcode::FREQ, counter]),
            None => {}
        }
        self.encoder.object(&mut self.output, Some(key), value, self.version)
    }

    /// The source code of a function library.
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        self.output.byte(opcode::FUNCTION2);
        self.output.string(code)
    }

    /// Ends the file, flushes the destination and hands it back.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.byte(opcode::EOF);
        self.output.finish()
    }
}
