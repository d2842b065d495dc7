//! A reply as a value: what a client of RESP2 or RESP3 reads. For the link to a master, tools and tests.
//!
//! The server itself never builds one: it writes replies with `Reply`. `grammar::value` reads them.

/// One reply. `write` gives back exactly the bytes that it was read from, in canonical form.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    Array(Vec<Value>),
    /// `*-1`
    NullArray,
    /// `_`, the one null of RESP3
    Null,
    Boolean(bool),
    /// RESP3; `inf`, `-inf` and `nan` too
    Double(f64),
    /// Decimal digits, with a `-` before them or not
    BigNumber(Vec<u8>),
    /// An error that may hold line breaks
    BulkError(Vec<u8>),
    /// A text and its format of three letters
    Verbatim {
        format: [u8; 3],
        text: Vec<u8>,
    },
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    /// An out-of-band message
    Push(Vec<Value>),
    /// A value with attributes, which a client may ignore
    Attributed {
        attributes: Vec<(Value, Value)>,
        value: Box<Value>,
    },
}

impl Value {
    /// The bytes of a string of any kind, or of an error.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Simple(text)
            | Self::Error(text)
            | Self::Bulk(text)
            | Self::BigNumber(text)
            | Self::BulkError(text)
            | Self::Verbatim { text, .. } => Some(text),
            Self::Attributed { value, .. } => value.as_bytes(),
            _ => None,
        }
    }

    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(n) => Some(*n),
            Self::Attributed { value, .. } => value.as_integer(),
            _ => None,
        }
    }

    /// The elements of an array, set or push.
    pub fn elements(&self) -> Option<&[Value]> {
        match self {
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => Some(elements),
            Self::Attributed { value, .. } => value.elements(),
            _ => None,
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_) | Self::BulkError(_))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null | Self::NullBulk | Self::NullArray)
    }

    /// Appends the value's bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Simple(text) => line(out, b'+', text),
            Self::Error(text) => line(out, b'-', text),
            Self::Integer(n) => line(out, b':', n.to_string().as_bytes()),
            Self::Bulk(data) => blob(out, b'$', &[data]),
            Self::NullBulk => line(out, b'$', b"-1"),
            Self::Array(elements) => aggregate(out, b'*', elements),
            Self::NullArray => line(out, b'*', b"-1"),
            Self::Null => line(out, b'_', b""),
            Self::Boolean(truth) => line(out, b'#', if *truth { b"t" } else { b"f" }),
            Self::Double(number) => {
                let mut text = String::new();
                super::reply::format_double(*number, &mut text);
                line(out, b',', text.as_bytes());
            }
            Self::BigNumber(digits) => line(out, b'(', digits),
            Self::BulkError(text) => blob(out, b'!', &[text]),
            Self::Verbatim { format, text } => blob(out, b'=', &[format, b":", text]),
            Self::Map(pairs) => map(out, b'%', pairs),
            Self::Set(elements) => aggregate(out, b'~', elements),
            Self::Push(elements) => aggregate(out, b'>', elements),
            Self::Attributed { attributes, value } => {
                map(out, b'|', attributes);
                value.write(out);
            }
        }
    }
}

fn line(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn length(out: &mut Vec<u8>, kind: u8, len: usize) {
    line(out, kind, itoa::Buffer::new().format(len).as_bytes());
}

fn blob(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    length(out, kind, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

fn aggregate(out: &mut Vec<u8>, kind: u8, elements: &[Value]) {
    length(out, kind, elements.len());
    elements.iter().for_each(|element| element.write(out));
}

fn map(out: &mut Vec<u8>, kind: u8, pairs: &[(Value, Value)]) {
    length(out, kind, pairs.len());
    for (key, value) in pairs {
        key.write(out);
        value.write(out);
    }
}
