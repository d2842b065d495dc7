//! Values read in each layout that any version of Redis has written.

use std::io::Read;

use smallvec::SmallVec;

use super::error::{RdbError, Reason};
use super::field_expiry;
use super::input::Input;
use super::intset::Intset;
use super::kind;
use super::listpack::Listpack;
use super::packed::{Element, Packed};
use super::stream::read_stream;
use super::values::{self, Hash, List, Set, SortedSet, Value};
use super::ziplist::Ziplist;
use super::zipmap::Zipmap;
use crate::base::number::parse_f64;
use crate::storage::limits::EncodingLimits;

/// Whether values of this type are served; if not, the reason.
pub(super) fn check_kind(kind: u8) -> Result<(), Reason> {
    match kind {
        kind::STRING..=kind::ZSET_2
        | kind::HASH_ZIPMAP..=kind::LIST_QUICKLIST
        | kind::HASH_LISTPACK..=kind::LIST_QUICKLIST_2
        | kind::SET_LISTPACK
        | kind::HASH_METADATA_PRE_GA..=kind::HASH_LISTPACK_EX
        | kind::STREAM_LISTPACKS..=kind::STREAM_LISTPACKS_3 => Ok(()),
        other => Err(unsupported(other)),
    }
}

/// Reads a value after its type byte; `None` for a collection without elements.
pub(super) fn read_object<R: Read>(
    input: &mut Input<R>,
    kind: u8,
    limits: &EncodingLimits,
) -> Result<Option<Value>, RdbError> {
    let start = input.offset();
    let in_value = |reason: Reason| reason.at(start);
    let value = match kind {
        kind::STRING => Value::string(input.string()?),
        kind::LIST => Value::List(plain_list(input, limits)?),
        kind::SET => Value::Set(plain_set(input, limits)?),
        kind::ZSET => Value::SortedSet(plain_sorted_set(input, limits, text_score)?),
        kind::ZSET_2 => Value::SortedSet(plain_sorted_set(input, limits, binary_score)?),
        kind::HASH => Value::Hash(plain_hash(input, limits)?),
        kind::HASH_METADATA | kind::HASH_METADATA_PRE_GA => {
            Value::Hash(field_expiry::read_plain(input, kind, limits)?)
        }
        kind::HASH_LISTPACK_EX | kind::HASH_LISTPACK_EX_PRE_GA => {
            Value::Hash(field_expiry::read_packed(input, kind, limits)?)
        }
        kind::LIST_QUICKLIST => Value::List(quicklist(input, limits)?),
        kind::LIST_QUICKLIST_2 => Value::List(quicklist_2(input, limits)?),
        kind::STREAM_LISTPACKS | kind::STREAM_LISTPACKS_2 | kind::STREAM_LISTPACKS_3 => {
            Value::Stream(read_stream(input, kind)?)
        }
        kind::HASH_ZIPMAP
        | kind::LIST_ZIPLIST
        | kind::SET_INTSET
        | kind::ZSET_ZIPLIST
        | kind::HASH_ZIPLIST
        | kind::HASH_LISTPACK
        | kind::ZSET_LISTPACK
        | kind::SET_LISTPACK => {
            let bytes = input.string()?;
            packed_object(kind, &bytes, limits).map_err(in_value)?
        }
        other => return Err(unsupported(other).at(start.saturating_sub(1))),
    };
    Ok(values::unless_empty(value))
}

fn packed_object(kind: u8, bytes: &[u8], limits: &EncodingLimits) -> Result<Value, Reason> {
    Ok(match kind {
        kind::HASH_ZIPMAP => Value::Hash(packed_hash(Zipmap::new(bytes)?, limits)?),
        kind::HASH_ZIPLIST => Value::Hash(packed_hash(Ziplist::new(bytes)?, limits)?),
        kind::HASH_LISTPACK => Value::Hash(packed_hash(Listpack::new(bytes)?, limits)?),
        kind::SET_INTSET => Value::Set(packed_set(Intset::new(bytes)?, limits)?),
        kind::SET_LISTPACK => Value::Set(packed_set(Listpack::new(bytes)?, limits)?),
        kind::ZSET_ZIPLIST => Value::SortedSet(packed_sorted_set(Ziplist::new(bytes)?, limits)?),
        kind::ZSET_LISTPACK => Value::SortedSet(packed_sorted_set(Listpack::new(bytes)?, limits)?),
        _ => {
            let mut list = List::default();
            packed_list(Ziplist::new(bytes)?, &mut list, limits)?;
            Value::List(list)
        }
    })
}

fn unsupported(kind: u8) -> Reason {
    match kind {
        kind::MODULE | kind::MODULE_2 => Reason::UnsupportedType("module"),
        other => Reason::malformed("an opcode or value type", format!("byte {other}")),
    }
}

fn plain_list<R: Read>(input: &mut Input<R>, limits: &EncodingLimits) -> Result<List, RdbError> {
    let mut list = List::default();
    let mut element = Vec::new();
    for _ in 0..input.length()? {
        input.string_into(&mut element)?;
        values::push(&mut list, &element, limits);
    }
    Ok(list)
}

fn plain_set<R: Read>(input: &mut Input<R>, limits: &EncodingLimits) -> Result<Set, RdbError> {
    let mut set = Set::default();
    let mut member = Vec::new();
    for _ in 0..input.length()? {
        let start = input.offset();
        input.string_into(&mut member)?;
        values::insert_member(&mut set, &member, limits).map_err(|reason| reason.at(start))?;
    }
    Ok(set)
}

fn plain_hash<R: Read>(input: &mut Input<R>, limits: &EncodingLimits) -> Result<Hash, RdbError> {
    let mut hash = Hash::default();
    let (mut field, mut value) = (Vec::new(), Vec::new());
    for _ in 0..input.length()? {
        let start = input.offset();
        input.string_into(&mut field)?;
        input.string_into(&mut value)?;
        values::insert_field(&mut hash, &field, &value, limits).map_err(|reason| reason.at(start))?;
    }
    Ok(hash)
}

fn plain_sorted_set<R: Read>(
    input: &mut Input<R>,
    limits: &EncodingLimits,
    score: impl Fn(&mut Input<R>) -> Result<f64, RdbError>,
) -> Result<SortedSet, RdbError> {
    let mut sorted_set = SortedSet::default();
    let mut member = Vec::new();
    for _ in 0..input.length()? {
        let start = input.offset();
        input.string_into(&mut member)?;
        let score = score(input)?;
        values::insert_scored(&mut sorted_set, score, &member, limits).map_err(|reason| reason.at(start))?;
    }
    sorted_set.settle_zeros(limits);
    Ok(sorted_set)
}

fn binary_score<R: Read>(input: &mut Input<R>) -> Result<f64, RdbError> {
    Ok(f64::from_le_bytes(input.array()?))
}

/// One byte of length and digits; the three highest lengths are the values without digits.
fn text_score<R: Read>(input: &mut Input<R>) -> Result<f64, RdbError> {
    let start = input.offset();
    let length = match input.byte()? {
        253 => return Ok(f64::NAN),
        254 => return Ok(f64::INFINITY),
        255 => return Ok(f64::NEG_INFINITY),
        length => usize::from(length),
    };
    let mut text = [0; 252];
    for byte in &mut text[..length] {
        *byte = input.byte()?;
    }
    score_of_text(&text[..length]).map_err(|reason| reason.at(start))
}

fn score_of_text(text: &[u8]) -> Result<f64, Reason> {
    parse_f64(text).ok_or_else(|| {
        Reason::malformed("a score", format!("`{}`", String::from_utf8_lossy(text).escape_debug()))
    })
}

fn quicklist<R: Read>(input: &mut Input<R>, limits: &EncodingLimits) -> Result<List, RdbError> {
    let mut list = List::default();
    let mut node = Vec::new();
    for _ in 0..input.length()? {
        let start = input.offset();
        input.string_into(&mut node)?;
        Ziplist::new(&node)
            .and_then(|ziplist| packed_list(ziplist, &mut list, limits))
            .map_err(|reason| reason.at(start))?;
    }
    Ok(list)
}

fn quicklist_2<R: Read>(input: &mut Input<R>, limits: &EncodingLimits) -> Result<List, RdbError> {
    let mut list = List::default();
    let mut node = Vec::new();
    for _ in 0..input.length()? {
        let start = input.offset();
        let container = input.length()?;
        input.string_into(&mut node)?;
        match container {
            // Only a long element has a node of its own.
            kind::NODE_PLAIN if node.is_empty() => {
                return Err(Reason::malformed("a list node", "an empty one").at(start));
            }
            kind::NODE_PLAIN => values::push(&mut list, &node, limits),
            kind::NODE_PACKED => Listpack::new(&node)
                .and_then(|listpack| packed_list(listpack, &mut list, limits))
                .map_err(|reason| reason.at(start))?,
            other => {
                return Err(Reason::malformed("a plain or packed list node", other.to_string()).at(start));
            }
        }
    }
    Ok(list)
}

fn packed_list<'a>(
    mut packed: impl Packed<'a>,
    list: &mut List,
    limits: &EncodingLimits,
) -> Result<(), Reason> {
    let mut digits = itoa::Buffer::new();
    while let Some(element) = packed.next()? {
        values::push(list, element.as_bytes(&mut digits), limits);
    }
    Ok(())
}

fn packed_set<'a>(mut packed: impl Packed<'a>, limits: &EncodingLimits) -> Result<Set, Reason> {
    let mut set = Set::default();
    let mut digits = itoa::Buffer::new();
    while let Some(member) = packed.next()? {
        values::insert_member(&mut set, member.as_bytes(&mut digits), limits)?;
    }
    Ok(set)
}

fn packed_hash<'a>(mut packed: impl Packed<'a>, limits: &EncodingLimits) -> Result<Hash, Reason> {
    let mut elements: SmallVec<[Element<'a>; 64]> = SmallVec::new();
    while let Some(field) = packed.next()? {
        elements.extend([field, partner(&mut packed)?]);
    }
    let mut numbers = Vec::new();
    let mut number_lens: SmallVec<[usize; 64]> = SmallVec::new();
    for element in &elements {
        if let Element::Int(number) = element {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(*number).as_bytes();
            numbers.extend_from_slice(digits);
            number_lens.push(digits.len());
        }
    }
    let (mut numbers, mut number_lens) = (&numbers[..], number_lens.iter());
    let strings = elements.iter().map(|element| match *element {
        Element::Bytes(bytes) => bytes,
        Element::Int(_) => {
            let (digits, rest) = numbers.split_at(*number_lens.next().expect("each number has a length"));
            numbers = rest;
            digits
        }
    });
    let strings: SmallVec<[&[u8]; 64]> = strings.collect();
    values::hash_of(&strings, limits)
}

fn packed_sorted_set<'a>(mut packed: impl Packed<'a>, limits: &EncodingLimits) -> Result<SortedSet, Reason> {
    let mut sorted_set = SortedSet::default();
    let mut digits = itoa::Buffer::new();
    while let Some(member) = packed.next()? {
        let score = match partner(&mut packed)? {
            Element::Int(number) => number as f64,
            Element::Bytes(text) => score_of_text(text)?,
        };
        values::insert_scored(&mut sorted_set, score, member.as_bytes(&mut digits), limits)?;
    }
    Ok(sorted_set)
}

/// The second of two elements that belong together.
pub(super) fn partner<'a>(packed: &mut impl Packed<'a>) -> Result<Element<'a>, Reason> {
    packed.next()?.ok_or_else(|| Reason::malformed("an even number of elements", "an odd one"))
}
