//! XINFO: what 7.0 tells otherwise than the newer versions do, each difference as narrow as it can be said.
//!
//! - Consumers have an `active-time` (`inactive`) since 7.2, which 7.0 does not know.
//! - How far a group has read is counted otherwise since 7.4 once a stream has lost entries. The lag is checked
//!   against the rule itself, which needs nothing but what XINFO STREAM FULL tells.
//! - Times are told by two clocks.

use russet::resp::value::Value;

use crate::exceptions::near;

const CLOCKS_APART_MS: u64 = 10_000;

/// Makes equal what may differ in XINFO STREAM [FULL] and XINFO CONSUMERS.
pub fn reconcile(words: &[Vec<u8>], ours: &mut Value, theirs: &mut Value) {
    without_activity(ours);
    times(ours, theirs);
    if words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"stream")) && words.len() > 3 {
        let stream = Place::of_stream(ours);
        let ids: Vec<Id> = entries(ours);
        if let (Some(stream), Some(ours), Some(theirs)) =
            (stream, field_mut(ours, b"groups"), field_mut(theirs, b"groups"))
            && let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs)
        {
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                // A value that went over by DUMP and RESTORE has the other server's count.
                let counts_well = [&*ours, &*theirs].into_iter().any(|group| {
                    let read = field(group, b"entries-read").and_then(Value::as_integer);
                    read.is_some() && read == stream.read_of(group, &ids)
                });
                if stream.has_lost() || counts_well {
                    copy_field(ours, theirs, b"entries-read");
                }
                if field(ours, b"lag").is_some_and(|lag| *lag == stream.lag(ours)) {
                    copy_field(ours, theirs, b"lag");
                }
            }
        }
    }
}

/// XINFO GROUPS says of each group what XINFO STREAM FULL has just said, `full` being our answer to it.
pub fn reconcile_groups(full: &Value, ours: &Value, theirs: &mut Value) {
    let Some(Value::Array(told)) = field(full, b"groups") else { return };
    let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs) else { return };
    for (told, (ours, theirs)) in told.iter().zip(ours.iter().zip(theirs)) {
        for name in [&b"entries-read"[..], b"lag"] {
            if field(told, b"name") == field(ours, b"name") && field(told, name) == field(ours, name) {
                copy_field(ours, theirs, name);
            }
        }
    }
}

fn entries(stream: &Value) -> Vec<Id> {
    let entries = field(stream, b"entries").and_then(Value::elements).unwrap_or_default();
    entries.iter().filter_map(|entry| id(entry.elements()?.first()?)).collect()
}

/// What the lag of a group depends on.
struct Place {
    len: i64,
    added: i64,
    first: Id,
    last: Id,
    deleted: Id,
}

type Id = (u64, u64);

impl Place {
    fn of_stream(value: &Value) -> Option<Self> {
        Some(Self {
            len: field(value, b"length")?.as_integer()?,
            added: field(value, b"entries-added")?.as_integer()?,
            first: id(field(value, b"recorded-first-entry-id")?)?,
            last: id(field(value, b"last-generated-id")?)?,
            deleted: id(field(value, b"max-deleted-entry-id")?)?,
        })
    }

    fn has_lost(&self) -> bool {
        self.added != self.len || self.deleted != (0, 0)
    }

    /// How many entries a group has read of a stream that has lost none, if all are shown or it has read all.
    fn read_of(&self, group: &Value, shown: &[Id]) -> Option<i64> {
        let at = field(group, b"last-delivered-id").and_then(id)?;
        if at >= self.last {
            return Some(self.len);
        }
        let behind = shown.partition_point(|&id| id <= at);
        (behind < shown.len() || shown.len() as i64 == self.len).then_some(behind as i64)
    }

    /// The rule of Redis 8.
    fn lag(&self, group: &Value) -> Value {
        let unknown = match field(group, b"lag") {
            Some(null @ (Value::Null | Value::NullBulk)) => null.clone(),
            _ => Value::NullBulk,
        };
        let Some(at) = field(group, b"last-delivered-id").and_then(id) else { return unknown };
        let read = field(group, b"entries-read").and_then(Value::as_integer);
        if self.added == 0 || self.len == 0 {
            return Value::Integer(0);
        }
        if at < self.first && self.deleted < self.first {
            return Value::Integer(self.len);
        }
        let has_gap_behind = self.deleted >= self.first && self.deleted != (0, 0) && at <= self.deleted;
        match (read.filter(|_| !has_gap_behind), self.read_at(at)) {
            (Some(read), _) | (None, Some(read)) => Value::Integer(self.added.wrapping_sub(read)),
            (None, None) => unknown,
        }
    }

    /// How many entries came up to an id of a stream that is not empty, where that can be told.
    fn read_at(&self, at: Id) -> Option<i64> {
        if at != (0, 0) && at < self.deleted {
            return None;
        }
        if at >= self.last {
            return (at == self.last).then_some(self.added);
        }
        if at > self.first || self.deleted >= self.first {
            return None;
        }
        Some(self.added.wrapping_sub(self.len) + i64::from(at == self.first))
    }
}

fn id(value: &Value) -> Option<Id> {
    let text = std::str::from_utf8(value.as_bytes()?).ok()?;
    let (ms, sequence) = text.split_once('-')?;
    Some((ms.parse().ok()?, sequence.parse().ok()?))
}

/// The value of a field of a map, which is a flat array in RESP2.
fn field<'a>(value: &'a Value, name: &[u8]) -> Option<&'a Value> {
    match value {
        Value::Map(pairs) => {
            pairs.iter().find(|(key, _)| key.as_bytes() == Some(name)).map(|(_, value)| value)
        }
        Value::Array(elements) => {
            elements.chunks_exact(2).find(|pair| pair[0].as_bytes() == Some(name)).map(|pair| &pair[1])
        }
        _ => None,
    }
}

fn field_mut<'a>(value: &'a mut Value, name: &[u8]) -> Option<&'a mut Value> {
    match value {
        Value::Map(pairs) => {
            pairs.iter_mut().find(|(key, _)| key.as_bytes() == Some(name)).map(|(_, value)| value)
        }
        Value::Array(elements) => elements
            .chunks_exact_mut(2)
            .find(|pair| pair[0].as_bytes() == Some(name))
            .map(|pair| &mut pair[1]),
        _ => None,
    }
}

fn copy_field(from: &Value, to: &mut Value, name: &[u8]) {
    if let (Some(from), Some(to)) = (field(from, name), field_mut(to, name)) {
        to.clone_from(from);
    }
}

/// Takes out what 7.0 does not tell.
fn without_activity(value: &mut Value) {
    let is_new =
        |name: &Value| name.as_bytes().is_some_and(|name| [&b"inactive"[..], b"active-time"].contains(&name));
    match value {
        Value::Array(elements) => {
            if let Some(at) = elements.iter().step_by(2).position(is_new) {
                elements.drain(2 * at..2 * at + 2);
            }
            elements.iter_mut().for_each(without_activity);
        }
        Value::Map(pairs) => {
            pairs.retain(|(name, _)| !is_new(name));
            pairs.iter_mut().for_each(|(_, value)| without_activity(value));
        }
        _ => {}
    }
}

/// Makes times equal that are near: `idle`, `seen-time`, and when a pending entry was delivered.
fn times(ours: &mut Value, theirs: &mut Value) {
    for name in [&b"idle"[..], b"seen-time"] {
        if let (Some(ours), Some(theirs)) = (field_mut(ours, name), field_mut(theirs, name)) {
            near(ours, theirs, CLOCKS_APART_MS);
        }
    }
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            // An id, with its consumer or without, the time of its delivery, and how often.
            if let [Value::Bulk(_), .., Value::Integer(_), Value::Integer(_)] = &ours[..]
                && ours.len() == theirs.len()
                && ours.len() <= 4
            {
                let at = ours.len() - 2;
                near(&mut ours[at], &mut theirs[at], CLOCKS_APART_MS);
            }
            ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| times(ours, theirs));
        }
        (Value::Map(ours), Value::Map(theirs)) => {
            ours.iter_mut().zip(theirs).for_each(|((_, ours), (_, theirs))| times(ours, theirs));
        }
        _ => {}
    }
}
