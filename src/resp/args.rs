//! The arguments of one request: ranges of the bytes it was read from, without copies.

use bytes::Bytes;

/// Where one argument lies, relative to the start of its request's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgRange {
    pub start: u32,
    pub len: u32,
}

/// The arguments of one request, the command's name first. Never empty when a handler sees it.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    ranges: &'a [ArgRange],
}

impl<'a> Args<'a> {
    /// `ranges` must lie within `buf`.
    pub fn new(buf: &'a [u8], ranges: &'a [ArgRange]) -> Self {
        Self { buf, ranges }
    }

    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The argument at `index`; panics when there is none, so arity comes first.
    pub fn bytes(&self, index: usize) -> &'a [u8] {
        let range = self.ranges[index];
        &self.buf[range.start as usize..][..range.len as usize]
    }

    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        (index < self.ranges.len()).then(|| self.bytes(index))
    }

    /// Whether the argument at `index` is `word`, in any case. False when there is none.
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The arguments from `index` on, as a view of their own.
    pub fn from(&self, index: usize) -> Args<'a> {
        Args { buf: self.buf, ranges: &self.ranges[index.min(self.ranges.len())..] }
    }

    /// `len` arguments from `index` on, as a view of their own.
    pub fn slice(&self, index: usize, len: usize) -> Args<'a> {
        Args { buf: self.buf, ranges: &self.ranges[index..index + len] }
    }

    /// Views of `len` consecutive arguments each, in their order; the last may have fewer.
    pub fn chunks(&self, len: usize) -> impl Iterator<Item = Args<'a>> + use<'a> {
        let buf = self.buf;
        self.ranges.chunks(len).map(move |ranges| Args { buf, ranges })
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone + use<'a> {
        let buf = self.buf;
        self.ranges.iter().map(move |range| &buf[range.start as usize..][..range.len as usize])
    }

    pub fn to_owned(&self) -> OwnedArgs {
        self.iter().collect()
    }
}

/// Arguments that outlive the buffer they came from: queued in MULTI, parked by a blocking command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedArgs {
    buf: Bytes,
    ranges: Box<[ArgRange]>,
}

impl OwnedArgs {
    pub fn as_args(&self) -> Args<'_> {
        Args::new(&self.buf, &self.ranges)
    }

    /// Bytes this takes on the heap.
    pub fn memory_bytes(&self) -> usize {
        self.buf.len() + std::mem::size_of_val(&*self.ranges)
    }
}

impl<A: AsRef<[u8]>> FromIterator<A> for OwnedArgs {
    fn from_iter<I: IntoIterator<Item = A>>(args: I) -> Self {
        let mut buf = Vec::new();
        let mut ranges = Vec::new();
        for arg in args {
            let arg = arg.as_ref();
            ranges.push(ArgRange { start: buf.len() as u32, len: arg.len() as u32 });
            buf.extend_from_slice(arg);
        }
        Self { buf: buf.into(), ranges: ranges.into() }
    }
}
