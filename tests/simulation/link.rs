//! A replica's end of its link: `command::follower` over the virtual network.

use russet::command::follower::{Follower, LinkError, Step};
use russet::engine::Engine;
use russet::persistence::snapshot::{self, Duplicates};

use crate::network::ConnId;

pub struct Link {
    pub conn: ConnId,
    pub last_read: i64,
    follower: Follower,
    payload: Vec<u8>,
}

impl Link {
    /// The connection stands. Answers what is said first.
    pub fn open(engine: &mut Engine, conn: ConnId) -> (Self, Vec<u8>) {
        engine.link_connecting();
        let (follower, hello) = Follower::open(engine);
        (Self { conn, last_read: engine.now().0, follower, payload: Vec::new() }, hello)
    }

    pub fn epoch(&self) -> u64 {
        self.follower.epoch()
    }

    pub fn is_streaming(&self) -> bool {
        self.follower.is_streaming()
    }

    /// Takes what has come from the master; answers what is to be sent.
    pub fn receive(&mut self, engine: &mut Engine, bytes: &[u8]) -> Result<Vec<u8>, LinkError> {
        self.last_read = engine.now().0;
        let mut out = Vec::new();
        if let Some(stream) = self.follower.stream() {
            stream.push(bytes);
            self.apply(engine, &mut out)?;
            return Ok(out);
        }
        let mut input = bytes;
        loop {
            match self.follower.receive(engine, &mut input)? {
                Step::Read => return Ok(out),
                Step::Go => {}
                Step::Send(line) => out.extend_from_slice(&line),
                Step::BeginSnapshot => self.payload.clear(),
                Step::Snapshot(chunk) => self.payload.extend_from_slice(chunk),
                Step::EndSnapshot => {
                    let options = engine.load_options(Duplicates::Refuse);
                    let loaded = snapshot::read(&self.payload[..], engine.empty_keyspace(), &options, |_| ())
                        .unwrap_or_else(|error| panic!("the master's payload is refused: {error}"));
                    self.follower.adopt(engine, loaded)?;
                    out.extend_from_slice(&engine.ack_line());
                }
                Step::Stream => self.apply(engine, &mut out)?,
            }
        }
    }

    fn apply(&mut self, engine: &mut Engine, out: &mut Vec<u8>) -> Result<(), LinkError> {
        let epoch = engine.link_epoch;
        let Some(stream) = self.follower.stream() else { return Ok(()) };
        while stream.decode().unwrap_or_else(|error| panic!("{error}")) {
            out.extend(stream.apply(engine)?.expect("nobody pauses"));
        }
        assert_eq!(epoch, engine.link_epoch, "the stream does not change the role");
        let complaint = engine.log_lines.iter().find(|line| line.text.contains("CRITICAL"));
        assert!(complaint.is_none(), "{complaint:?}");
        Ok(())
    }
}
