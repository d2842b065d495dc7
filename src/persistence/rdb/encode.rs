//! Values written in the layouts of Redis 7.0; hashes with fields that expire in those of 7.4.

use std::io::{self, Write};

use super::intset::write_intset;
use super::kind;
use super::listpack::ListpackBuilder;
use super::output::Output;
use super::stream::write_stream;
use super::values::{self, Hash, List, NEVER, Set, SortedSet, ValueRef};

/// A list node takes elements up to this size, or a single larger one.
const NODE_BYTES_MAX: usize = 8 * 1024;
/// Larger small collections are written element by element, so that a whole one need not be held twice.
const LISTPACK_BYTES_MAX: usize = 1 << 20;
/// Redis refuses listpacks of more than a gigabyte; a list element of this size is a node of its own kind.
const PLAIN_NODE_BYTES_MIN: usize = 1 << 29;
/// The first version that knows sets in listpacks.
const SET_LISTPACK_VERSION: u16 = 11;
/// The first version that knows when a consumer was last active.
const STREAM_ACTIVITY_VERSION: u16 = 11;
/// Integers up to here are doubles exactly, and as scores are written as integers.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// The buffers that values are put together in.
#[derive(Default)]
pub(super) struct Encoder {
    listpack: ListpackBuilder,
    bytes: Vec<u8>,
}

impl Encoder {
    /// Writes the key, if there is one, between the type byte of the value and the value.
    pub(super) fn object<W: Write>(
        &mut self,
        output: &mut Output<W>,
        key: Option<&[u8]>,
        value: ValueRef<'_>,
        version: u16,
    ) -> io::Result<()> {
        let head = |output: &mut Output<W>, kind: u8| {
            output.byte(kind);
            key.map_or(Ok(()), |key| output.string(key))
        };
        match value {
            ValueRef::Int(number) => {
                head(output, kind::STRING)?;
                output.int(number)
            }
            ValueRef::Str(bytes) => {
                head(output, kind::STRING)?;
                output.string(bytes)
            }
            ValueRef::List(list) => {
                head(output, kind::LIST_QUICKLIST_2)?;
                self.list(output, list)
            }
            ValueRef::Hash(hash) if hash.is_volatile() => {
                let is_packed = self.pack_timed_hash(hash);
                head(output, if is_packed { kind::HASH_LISTPACK_EX } else { kind::HASH_METADATA })?;
                output.small(&hash.next_expiry().to_le_bytes());
                if is_packed { output.string(self.listpack.finish()) } else { write_timed_hash(output, hash) }
            }
            ValueRef::Hash(hash) if self.pack_hash(hash) => {
                head(output, kind::HASH_LISTPACK)?;
                output.string(self.listpack.finish())
            }
            ValueRef::Hash(hash) => {
                head(output, kind::HASH)?;
                write_hash(output, hash)
            }
            ValueRef::Set(set) => match values::integers(set) {
                Some(numbers) => {
                    write_intset(&numbers, &mut self.bytes);
                    head(output, kind::SET_INTSET)?;
                    output.string(&self.bytes)
                }
                None if version >= SET_LISTPACK_VERSION && self.pack_set(set) => {
                    head(output, kind::SET_LISTPACK)?;
                    output.string(self.listpack.finish())
                }
                None => {
                    head(output, kind::SET)?;
                    write_set(output, set)
                }
            },
            ValueRef::SortedSet(sorted_set) if self.pack_sorted_set(sorted_set) => {
                head(output, kind::ZSET_LISTPACK)?;
                output.string(self.listpack.finish())
            }
            ValueRef::SortedSet(sorted_set) => {
                head(output, kind::ZSET_2)?;
                write_sorted_set(output, sorted_set)
            }
            ValueRef::Stream(stream) => {
                let has_activity = version >= STREAM_ACTIVITY_VERSION;
                head(output, if has_activity { kind::STREAM_LISTPACKS_3 } else { kind::STREAM_LISTPACKS_2 })?;
                write_stream(output, stream, has_activity)
            }
        }
    }

    /// The number of nodes comes first, so the list is gone through twice rather than held twice.
    fn list<W: Write>(&mut self, output: &mut Output<W>, list: &List) -> io::Result<()> {
        let mut nodes = 0;
        let mut node_bytes = 0;
        for element in values::elements(list) {
            if starts_node(&mut node_bytes, element.len()) {
                nodes += 1;
            }
        }
        output.length(nodes);
        node_bytes = 0;
        self.listpack.clear();
        for element in values::elements(list) {
            if starts_node(&mut node_bytes, element.len()) {
                self.node(output)?;
            }
            if element.len() >= PLAIN_NODE_BYTES_MIN {
                output.length(kind::NODE_PLAIN);
                output.string(element)?;
            } else {
                self.listpack.push(element);
            }
        }
        self.node(output)
    }

    /// Writes the node that is complete, if one was begun.
    fn node<W: Write>(&mut self, output: &mut Output<W>) -> io::Result<()> {
        if self.listpack.count() > 0 {
            output.length(kind::NODE_PACKED);
            output.string(self.listpack.finish())?;
            self.listpack.clear();
        }
        Ok(())
    }

    /// Whether the hash is small enough to be one listpack, which is then ready.
    fn pack_hash(&mut self, hash: &Hash) -> bool {
        self.listpack.clear();
        values::is_listpack_hash(hash)
            && values::fields(hash).all(|(field, value)| self.push(field) && self.push(value))
    }

    /// [`Encoder::pack_hash`] with the expiry behind each value, 0 for none.
    fn pack_timed_hash(&mut self, hash: &Hash) -> bool {
        self.listpack.clear();
        values::is_listpack_hash(hash)
            && values::timed_fields(hash).all(|(field, value, expiry)| {
                let fits = self.push(field) && self.push(value);
                self.listpack.push_int(if expiry == NEVER { 0 } else { expiry });
                fits
            })
    }

    fn pack_set(&mut self, set: &Set) -> bool {
        self.listpack.clear();
        values::is_listpack_set(set)
            && values::try_for_members(set, |member| self.push(member).then_some(()).ok_or(())).is_ok()
    }

    fn pack_sorted_set(&mut self, sorted_set: &SortedSet) -> bool {
        self.listpack.clear();
        values::is_listpack_sorted_set(sorted_set)
            && values::scored(sorted_set).all(|(member, score)| {
                let fits = self.push(member);
                self.push_score(score);
                fits
            })
    }

    fn push(&mut self, element: &[u8]) -> bool {
        let fits = self.listpack.bytes_max_with(element.len()) <= LISTPACK_BYTES_MAX;
        if fits {
            self.listpack.push(element);
        }
        fits
    }

    fn push_score(&mut self, score: f64) {
        let negative_zero = score == 0.0 && score.is_sign_negative();
        if score.fract() == 0.0 && score.abs() <= EXACT_INTEGER_MAX && !negative_zero {
            self.listpack.push_int(score as i64);
        } else {
            self.listpack.push(ryu::Buffer::new().format(score).as_bytes());
        }
    }
}

/// Whether the next element opens a new list node; `node_bytes` is what the current one holds.
fn starts_node(node_bytes: &mut usize, length: usize) -> bool {
    // An element's overhead is at most this within a node of this size.
    let size = length + 8;
    if *node_bytes > 0 && *node_bytes + size <= NODE_BYTES_MAX {
        *node_bytes += size;
        return false;
    }
    *node_bytes = size;
    true
}

fn write_hash<W: Write>(output: &mut Output<W>, hash: &Hash) -> io::Result<()> {
    output.length(hash.len() as u64);
    for (field, value) in values::fields(hash) {
        output.string(field)?;
        output.string(value)?;
    }
    Ok(())
}

/// Each field behind its expiry: 0 for none, otherwise the distance from the earliest one and 1.
fn write_timed_hash<W: Write>(output: &mut Output<W>, hash: &Hash) -> io::Result<()> {
    let earliest = hash.next_expiry();
    output.length(hash.len() as u64);
    for (field, value, expiry) in values::timed_fields(hash) {
        output.length(if expiry == NEVER { 0 } else { expiry.abs_diff(earliest) + 1 });
        output.string(field)?;
        output.string(value)?;
    }
    Ok(())
}

fn write_set<W: Write>(output: &mut Output<W>, set: &Set) -> io::Result<()> {
    output.length(set.len() as u64);
    values::try_for_members(set, |member| output.string(member))
}

fn write_sorted_set<W: Write>(output: &mut Output<W>, sorted_set: &SortedSet) -> io::Result<()> {
    output.length(sorted_set.len() as u64);
    for (member, score) in values::scored(sorted_set) {
        output.string(member)?;
        output.small(&score.to_le_bytes());
    }
    Ok(())
}
