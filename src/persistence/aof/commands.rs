//! A data set as the commands that build it: the base of an append-only file when `aof-use-rdb-preamble` is off.
//!
//! Large collections are built by several commands, so that none of them is long. What expires is given its absolute time
//! behind its value. What commands cannot say is lost here as in Redis: how recently a key was used, and pending entries
//! whose stream entry is gone.

use std::io::{self, Write};

use crate::resp::reply::write_request;
use crate::storage::hash::NEVER;
use crate::storage::set::Member;
use crate::storage::stream::{Group, Stream, StreamId};
use crate::storage::{Keyspace, ValueRef};

/// Elements of one command, as in Redis.
const ELEMENTS_PER_COMMAND: usize = 64;
const BUFFER_BYTES: usize = 64 * 1024;

/// Writes a data set. `each_key` is called after every key; its error ends the writing.
pub fn write<W: Write>(
    keyspace: &Keyspace,
    out: W,
    mut each_key: impl FnMut() -> io::Result<()>,
) -> io::Result<W> {
    let mut output = Output { inner: out, buffer: Vec::new() };
    for code in keyspace.libraries.values() {
        output.command(&[b"FUNCTION", b"LOAD", code])?;
    }
    for (index, db) in keyspace.dbs().enumerate().filter(|(_, db)| !db.is_empty()) {
        output.command(&[b"SELECT", itoa::Buffer::new().format(index).as_bytes()])?;
        for item in db.iter() {
            output.value(item.key, item.value)?;
            if let Some(at) = item.expires_at {
                output.command(&[b"PEXPIREAT", item.key, itoa::Buffer::new().format(at).as_bytes()])?;
            }
            each_key()?;
        }
    }
    output.flush()?;
    Ok(output.inner)
}

struct Output<W> {
    inner: W,
    buffer: Vec<u8>,
}

impl<W: Write> Output<W> {
    fn command(&mut self, args: &[&[u8]]) -> io::Result<()> {
        write_request(&mut self.buffer, args.iter());
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn value(&mut self, key: &[u8], value: ValueRef<'_>) -> io::Result<()> {
        match value {
            ValueRef::Embedded(embedded) => self.value(key, embedded.to_value().as_ref()),
            ValueRef::Int(number) => {
                self.command(&[b"SET", key, itoa::Buffer::new().format(number).as_bytes()])
            }
            ValueRef::Str(bytes) => self.command(&[b"SET", key, bytes]),
            ValueRef::List(list) => {
                let mut elements = Elements::new(&[b"RPUSH", key], 1);
                list.iter().try_for_each(|element| elements.add(self, &[element]))?;
                elements.end(self)
            }
            ValueRef::Set(set) => {
                let mut elements = Elements::new(&[b"SADD", key], 1);
                let mut digits = itoa::Buffer::new();
                for member in set.iter() {
                    match member {
                        Member::Int(number) => elements.add(self, &[digits.format(number).as_bytes()])?,
                        Member::Bytes(bytes) => elements.add(self, &[bytes])?,
                    }
                }
                elements.end(self)
            }
            ValueRef::SortedSet(sorted_set) => {
                let mut elements = Elements::new(&[b"ZADD", key], 2);
                for (member, score) in sorted_set.iter() {
                    elements.add(self, &[score_text(score).as_bytes(), member])?;
                }
                elements.end(self)
            }
            ValueRef::Hash(hash) => {
                let mut elements = Elements::new(&[b"HMSET", key], 2);
                hash.iter().try_for_each(|(field, value)| elements.add(self, &[field, value]))?;
                elements.end(self)?;
                if !hash.is_volatile() {
                    return Ok(());
                }
                for (field, _, at) in hash.timed().filter(|(_, _, at)| *at != NEVER) {
                    let mut digits = itoa::Buffer::new();
                    self.command(&[
                        b"HPEXPIREAT",
                        key,
                        digits.format(at).as_bytes(),
                        b"FIELDS",
                        b"1",
                        field,
                    ])?;
                }
                Ok(())
            }
            ValueRef::Stream(stream) => self.stream(key, stream),
        }
    }

    fn stream(&mut self, key: &[u8], stream: &Stream) -> io::Result<()> {
        for entry in stream.range(StreamId::MIN, StreamId::MAX) {
            let id = entry.id.to_string();
            let mut args: Vec<Vec<u8>> = vec![b"XADD".to_vec(), key.to_vec(), id.into_bytes()];
            let mut digits = itoa::Buffer::new();
            for (field, value) in entry.fields() {
                args.push(field.as_bytes(&mut digits).to_vec());
                args.push(value.as_bytes(&mut digits).to_vec());
            }
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            self.command(&args)?;
        }
        let last = stream.last_id().to_string();
        if stream.is_empty() {
            // A stream without entries comes into being with one that is dropped at once.
            self.command(&[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"])?;
        }
        let added = stream.entries_added().to_string();
        let deleted = stream.max_deleted_id().to_string();
        self.command(&[
            b"XSETID",
            key,
            last.as_bytes(),
            b"ENTRIESADDED",
            added.as_bytes(),
            b"MAXDELETEDID",
            deleted.as_bytes(),
        ])?;
        stream.groups().try_for_each(|(name, group)| self.group(key, name, group))
    }

    fn group(&mut self, key: &[u8], name: &[u8], group: &Group) -> io::Result<()> {
        let last = group.last_id.to_string();
        let read = group.entries_read.unwrap_or(-1).to_string();
        self.command(&[b"XGROUP", b"CREATE", key, name, last.as_bytes(), b"ENTRIESREAD", read.as_bytes()])?;
        for (consumer, state) in group.consumers() {
            self.command(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer])?;
            for id in state.pending_from(StreamId::MIN) {
                let Some(pending) = group.pending(id) else { continue };
                self.command(&[
                    b"XCLAIM",
                    key,
                    name,
                    consumer,
                    b"0",
                    id.to_string().as_bytes(),
                    b"TIME",
                    pending.delivered_at.to_string().as_bytes(),
                    b"RETRYCOUNT",
                    pending.deliveries.to_string().as_bytes(),
                    b"JUSTID",
                    b"FORCE",
                ])?;
            }
        }
        Ok(())
    }
}

/// A score in the shortest form that reads back as the same number.
fn score_text(score: f64) -> String {
    if score.is_infinite() {
        return if score > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    ryu::Buffer::new().format(score).to_owned()
}

/// Elements of a collection on their way into commands of bounded length.
struct Elements {
    args: Vec<Vec<u8>>,
    head_len: usize,
    /// Arguments of one command behind the head.
    args_max: usize,
}

impl Elements {
    fn new(head: &[&[u8]], args_per_element: usize) -> Self {
        let args: Vec<Vec<u8>> = head.iter().map(|arg| arg.to_vec()).collect();
        Self { head_len: args.len(), args, args_max: ELEMENTS_PER_COMMAND * args_per_element }
    }

    fn add<W: Write>(&mut self, output: &mut Output<W>, element: &[&[u8]]) -> io::Result<()> {
        self.args.extend(element.iter().map(|arg| arg.to_vec()));
        if self.args.len() - self.head_len < self.args_max { Ok(()) } else { self.end(output) }
    }

    /// Writes what is left.
    fn end<W: Write>(&mut self, output: &mut Output<W>) -> io::Result<()> {
        if self.args.len() > self.head_len {
            let args: Vec<&[u8]> = self.args.iter().map(Vec::as_slice).collect();
            output.command(&args)?;
            self.args.truncate(self.head_len);
        }
        Ok(())
    }
}
