//! JSON to Lua values, straight into Lua's tables and without recursion.
//!
//! The text ends at its first zero byte, as C's strings do. Positions in sentences count from 1.

use mlua::{Lua, Table, Value};

use super::Settings;
use crate::scripting::libraries::STACK_SLOTS_MAX;
use crate::scripting::libraries::arguments::error;
use crate::scripting::libraries::float_text;
use crate::scripting::libraries::table_stack::TableStack;

pub struct Decoder<'a> {
    lua: &'a Lua,
    settings: Settings,
    text: &'a [u8],
    /// Where the next token is looked for.
    position: usize,
    /// The string token read last, if it contains escapes.
    unescaped: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Plain(&'a [u8]),
    /// A string that is in `unescaped`.
    Escaped,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Wrong(&'static str),
}

impl Token<'_> {
    /// What a sentence calls it.
    fn name(self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::Plain(_) | Token::Escaped => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Wrong(what) => what,
        }
    }
}

/// A token, and where it or what is wrong with it begins.
type Located<'a> = (Token<'a>, usize);

/// An array or object that is being filled.
#[derive(Debug, Clone, Copy)]
enum Open {
    /// With the next index.
    Array(i64),
    Object,
}

impl Open {
    fn end(self) -> Token<'static> {
        match self {
            Open::Array(_) => Token::ArrayEnd,
            Open::Object => Token::ObjectEnd,
        }
    }

    /// Slots of Lua's stack that the reference implementation has in use while a value inside is read.
    fn slots(self) -> usize {
        match self {
            Open::Array(_) => 1,
            Open::Object => 2,
        }
    }
}

/// What a value's first token says about it.
enum Begun {
    Whole(Value),
    Open(Open),
}

impl<'a> Decoder<'a> {
    pub fn new(lua: &'a Lua, settings: Settings, text: &'a [u8]) -> Self {
        Decoder { lua, settings, text, position: 0, unescaped: Vec::new() }
    }

    pub fn decode(mut self) -> mlua::Result<Value> {
        if let [first, second, ..] = self.text
            && (*first == 0 || *second == 0)
        {
            return Err(error(self.lua, b"JSON parser does not support UTF-16 or UTF-32"));
        }
        let token = self.token();
        let value = match self.begin(token)? {
            Begun::Whole(value) => value,
            Begun::Open(open) => Value::Table(self.fill(open)?),
        };
        match self.token() {
            (Token::End, _) => Ok(value),
            token => Err(self.unexpected("the end", token)),
        }
    }

    /// Everything inside an array or object whose first bracket was read.
    fn fill(&mut self, mut open: Open) -> mlua::Result<Table> {
        let mut waiting = TableStack::new(self.lua);
        let mut opens: Vec<Open> = Vec::new();
        let mut slots = 1;
        self.check_depth(1, slots, open)?;
        let mut table = self.lua.create_table()?;
        let mut token = self.token();
        let mut is_empty = true;
        loop {
            if !(is_empty && token.0 == open.end()) {
                let key = match &mut open {
                    Open::Array(index) => {
                        *index += 1;
                        Value::Integer(*index - 1)
                    }
                    Open::Object => {
                        let key = self.key(token)?;
                        token = self.token();
                        key
                    }
                };
                match self.begin(token)? {
                    Begun::Whole(value) => table.raw_set(key, value)?,
                    Begun::Open(inner) => {
                        slots += open.slots();
                        self.check_depth(opens.len() + 2, slots, inner)?;
                        // It is put into its place before it is filled.
                        let inner_table = self.lua.create_table()?;
                        table.raw_set(key, &inner_table)?;
                        waiting.push(std::mem::replace(&mut table, inner_table))?;
                        opens.push(std::mem::replace(&mut open, inner));
                        token = self.token();
                        is_empty = true;
                        continue;
                    }
                }
                token = self.token();
            }
            // After a value, or before the end of what is empty.
            while token.0 == open.end() {
                let (Some(outer), Some(outer_open)) = (waiting.pop()?, opens.pop()) else {
                    return Ok(table);
                };
                (table, open) = (outer, outer_open);
                slots -= open.slots();
                token = self.token();
            }
            if token.0 != Token::Comma {
                let expected = match open {
                    Open::Array(_) => "comma or array end",
                    Open::Object => "comma or object end",
                };
                return Err(self.unexpected(expected, token));
            }
            token = self.token();
            is_empty = false;
        }
    }

    /// A key and the colon after it.
    fn key(&mut self, token: Located) -> mlua::Result<Value> {
        let key = match token.0 {
            Token::Plain(bytes) => self.lua.create_string(bytes)?,
            Token::Escaped => self.lua.create_string(&self.unescaped)?,
            _ => return Err(self.unexpected("object key string", token)),
        };
        match self.token() {
            (Token::Colon, _) => Ok(Value::String(key)),
            token => Err(self.unexpected("colon", token)),
        }
    }

    fn begin(&self, token: Located) -> mlua::Result<Begun> {
        Ok(match token.0 {
            Token::Plain(bytes) => Begun::Whole(Value::String(self.lua.create_string(bytes)?)),
            Token::Escaped => Begun::Whole(Value::String(self.lua.create_string(&self.unescaped)?)),
            Token::Number(number) => Begun::Whole(Value::Number(number)),
            Token::Boolean(boolean) => Begun::Whole(Value::Boolean(boolean)),
            Token::Null => Begun::Whole(Value::NULL),
            Token::ArrayBegin => Begun::Open(Open::Array(1)),
            Token::ObjectBegin => Begun::Open(Open::Object),
            _ => return Err(self.unexpected("value", token)),
        })
    }

    fn check_depth(&self, depth: usize, slots: usize, open: Open) -> mlua::Result<()> {
        if depth <= self.settings.decode_max_depth as usize && slots + open.slots() < STACK_SLOTS_MAX {
            return Ok(());
        }
        let sentence =
            format!("Found too many nested data structures ({depth}) at character {}", self.position);
        Err(error(self.lua, sentence.as_bytes()))
    }

    fn unexpected(&self, expected: &str, (token, position): Located) -> mlua::Error {
        let found = token.name();
        let sentence = format!("Expected {expected} but found {found} at character {}", position + 1);
        error(self.lua, sentence.as_bytes())
    }

    fn byte(&self, position: usize) -> u8 {
        self.text.get(position).copied().unwrap_or(0)
    }

    fn token(&mut self) -> Located<'a> {
        while matches!(self.byte(self.position), b' ' | b'\t' | b'\n' | b'\r') {
            self.position += 1;
        }
        let start = self.position;
        let rest = &self.text[start.min(self.text.len())..];
        let (token, length) = match self.byte(start) {
            0 => (Token::End, 0),
            b'{' => (Token::ObjectBegin, 1),
            b'}' => (Token::ObjectEnd, 1),
            b'[' => (Token::ArrayBegin, 1),
            b']' => (Token::ArrayEnd, 1),
            b',' => (Token::Comma, 1),
            b':' => (Token::Colon, 1),
            b'"' => return self.string(start),
            b'-' | b'0'..=b'9' if !self.settings.decode_invalid_numbers && is_invalid_number(rest) => {
                (Token::Wrong("invalid number"), 0)
            }
            b'-' | b'0'..=b'9' => number(rest),
            b't' if rest.starts_with(b"true") => (Token::Boolean(true), 4),
            b'f' if rest.starts_with(b"false") => (Token::Boolean(false), 5),
            b'n' if rest.starts_with(b"null") => (Token::Null, 4),
            b'+' | b'i' | b'I' | b'n' | b'N'
                if self.settings.decode_invalid_numbers && is_invalid_number(rest) =>
            {
                number(rest)
            }
            _ => (Token::Wrong("invalid token"), 0),
        };
        self.position += length;
        (token, start)
    }

    fn string(&mut self, start: usize) -> Located<'a> {
        self.position += 1;
        self.unescaped.clear();
        let mut plain_from = self.position;
        let mut is_plain = true;
        loop {
            let rest = &self.text[self.position..];
            let Some(length) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0)) else {
                return (Token::Wrong("unexpected end of string"), self.text.len());
            };
            self.position += length;
            let plain = &self.text[plain_from..self.position];
            match rest[length] {
                b'"' => {
                    self.position += 1;
                    if is_plain {
                        return (Token::Plain(plain), start);
                    }
                    self.unescaped.extend_from_slice(plain);
                    return (Token::Escaped, start);
                }
                0 => return (Token::Wrong("unexpected end of string"), self.position),
                _ => {
                    is_plain = false;
                    self.unescaped.extend_from_slice(plain);
                    if let Err(what) = self.escape() {
                        return (Token::Wrong(what), self.position);
                    }
                    plain_from = self.position;
                }
            }
        }
    }

    /// What a backslash begins.
    fn escape(&mut self) -> Result<(), &'static str> {
        let byte = match self.byte(self.position + 1) {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => b'\x08',
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => b'\x0c',
            b'r' => b'\r',
            b'u' => {
                let (character, length) = self.unicode().ok_or("invalid unicode escape code")?;
                self.unescaped.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                self.position += length;
                return Ok(());
            }
            _ => return Err("invalid escape code"),
        };
        self.unescaped.push(byte);
        self.position += 2;
        Ok(())
    }

    /// The character of `\u` and four digits, or of two of them that are a surrogate pair, and the bytes that it takes.
    fn unicode(&self) -> Option<(char, usize)> {
        let unit = self.utf16_unit(self.position)?;
        if let Some(character) = char::from_u32(unit) {
            return Some((character, 6));
        }
        let low = self.utf16_unit(self.position + 6)?;
        if !(0xd800..0xdc00).contains(&unit) || !(0xdc00..0xe000).contains(&low) {
            return None;
        }
        Some((char::from_u32(0x10000 + ((unit & 0x3ff) << 10 | (low & 0x3ff)))?, 12))
    }

    fn utf16_unit(&self, position: usize) -> Option<u32> {
        let escape = self.text.get(position..position + 6)?;
        let digits = escape.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    }
}

fn number(text: &[u8]) -> (Token<'static>, usize) {
    match float_text::parse(text) {
        Some((number, length)) => (Token::Number(number), length),
        None => (Token::Wrong("invalid number"), 0),
    }
}

/// What C reads as a number but JSON does not: a plus sign, hexadecimal digits, leading zeros, infinity and NaN.
fn is_invalid_number(text: &[u8]) -> bool {
    let unsigned = match text {
        [b'+', ..] => return true,
        [b'-', rest @ ..] => rest,
        _ => text,
    };
    match unsigned {
        [b'0', second, ..] => matches!(second, b'x' | b'X' | b'0'..=b'9'),
        [a, b, c, ..] => {
            let word = [a, b, c].map(u8::to_ascii_lowercase);
            word == *b"inf" || word == *b"nan"
        }
        _ => false,
    }
}
