//! A blocking client that speaks bare RESP.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use bytes::BytesMut;
use russet::resp::codec::ReplyCodec;
use russet::resp::reply::write_request;
use russet::resp::value::Value;
use tokio_util::codec::Decoder as _;

use super::PATIENCE;

pub struct Client {
    stream: TcpStream,
    codec: ReplyCodec,
    buffer: BytesMut,
}

pub fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

pub fn bulk(data: impl AsRef<[u8]>) -> Value {
    Value::Bulk(data.as_ref().to_vec())
}

impl Client {
    #[track_caller]
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap_or_else(|error| panic!("cannot connect to port {port}: {error}"))
    }

    pub fn try_connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, codec: ReplyCodec::default(), buffer: BytesMut::new() })
    }

    pub fn try_call(&mut self, args: &[impl AsRef<[u8]>]) -> io::Result<Value> {
        let mut request = Vec::new();
        write_request(&mut request, args.iter());
        self.stream.write_all(&request)?;
        self.try_read()
    }

    /// Sends the words of `line` as one request and reads its reply.
    #[track_caller]
    pub fn call(&mut self, line: &str) -> Value {
        let words: Vec<&str> = line.split(' ').collect();
        self.call_args(&words)
    }

    #[track_caller]
    pub fn call_args(&mut self, args: &[impl AsRef<[u8]>]) -> Value {
        self.try_call(args).unwrap_or_else(|error| {
            let name = String::from_utf8_lossy(args[0].as_ref()).into_owned();
            panic!("{name} was not answered: {error}")
        })
    }

    /// A reply that is a text of any kind.
    #[track_caller]
    pub fn text(&mut self, line: &str) -> String {
        let reply = self.call(line);
        let bytes = reply.as_bytes().unwrap_or_else(|| panic!("{line} answers {reply:?}"));
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[track_caller]
    pub fn integer(&mut self, line: &str) -> i64 {
        let reply = self.call(line);
        reply.as_integer().unwrap_or_else(|| panic!("{line} answers {reply:?}"))
    }

    /// One field of INFO; empty when there is none.
    #[track_caller]
    pub fn info(&mut self, field: &str) -> String {
        let info = self.text("INFO");
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes what is sent");
    }

    pub fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    #[track_caller]
    pub fn read(&mut self) -> Value {
        self.try_read().unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    pub fn try_read(&mut self) -> io::Result<Value> {
        loop {
            if let Some(value) = self.codec.decode(&mut self.buffer)? {
                return Ok(value);
            }
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => self.buffer.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// Whether a reply, or the beginning of one, has come.
    pub fn has_reply(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket can be asked");
        let has_come = !self.buffer.is_empty() || self.stream.peek(&mut [0]).is_ok();
        self.stream.set_nonblocking(false).expect("a socket can be asked");
        has_come
    }

    /// Reads until the server closes; what it sent before.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = self.buffer.split().to_vec();
        // A reset is an end as well: the server need not read what it refuses.
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }

    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be shared")
    }
}
