//! One round against both servers: sending, reading, the digest at the end, and shrinking what has failed.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use russet::resp::codec::ReplyCodec;
use russet::resp::reply::write_request;
use russet::resp::value::Value;
use tokio_util::codec::Decoder as _;

use crate::compare::Comparison;
use crate::exceptions;
use crate::harness::Server;
use crate::scene::{Line, Waiters};

/// About so many a round has.
pub const COMMANDS: usize = 2000;
const SHRINKING_REPLAYS_MAX: usize = 100;
const REPORT_BYTES_MAX: usize = 3000;
/// A server that has not answered for so long will not.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const NO_REPLY: &str = "no reply";

pub struct Round {
    pub seed: u64,
    pub protocol: u8,
    pub steps: Vec<Step>,
    /// How many steps are sent together.
    pub pipelines: Vec<usize>,
}

#[derive(Clone)]
pub enum Step {
    Command(Vec<Vec<u8>>),
    /// Each server dumps `from`, and what it has dumped the other one restores as `to`.
    Transfer {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    /// Other clients wait meanwhile.
    Scene(Vec<Line>),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(words) => write_words(f, words),
            Self::Scene(lines) => {
                for line in lines {
                    match line.waiter {
                        Some(waiter) => write!(f, "\n    client {waiter}> ")?,
                        None => write!(f, "\n    driver> ")?,
                    }
                    write_words(f, &line.words)?;
                }
                Ok(())
            }
            Self::Transfer { from, to } => {
                write!(f, "(DUMP {} here, RESTORE {} there)", from.escape_ascii(), to.escape_ascii())
            }
        }
    }
}

fn write_words(f: &mut std::fmt::Formatter<'_>, words: &[Vec<u8>]) -> std::fmt::Result {
    for word in words {
        let is_plain = !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
        let quote = if is_plain { "" } else { "\"" };
        write!(f, "{quote}{}{quote} ", word.escape_ascii())?;
    }
    Ok(())
}

/// Where the two servers part.
pub struct Difference {
    /// The last step that was compared.
    pub at: usize,
    pub is_of_digests: bool,
    pub ours: String,
    pub theirs: String,
}

/// A reply as it came, and what it means.
pub struct Reply {
    pub bytes: Vec<u8>,
    pub value: Value,
}

/// A connection to one of the servers.
pub struct Peer {
    stream: TcpStream,
    codec: ReplyCodec,
    buffer: BytesMut,
}

impl Peer {
    pub fn connect(port: u16, protocol: u8) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(SILENCE_MAX)).unwrap();
        let mut peer = Self { stream, codec: ReplyCodec::default(), buffer: BytesMut::new() };
        peer.call(&["HELLO", &protocol.to_string()]);
        peer
    }

    pub fn call(&mut self, words: &[impl AsRef<[u8]>]) -> Reply {
        let mut request = Vec::new();
        write_request(&mut request, words.iter());
        self.stream.write_all(&request).expect("the server reads");
        self.read().unwrap_or_else(|error| panic!("{}: {error}", shown(words[0].as_ref())))
    }

    /// Sends requests without waiting for their replies.
    pub fn send(&mut self, requests: &[&[Vec<u8>]]) {
        let mut bytes = Vec::new();
        for words in requests {
            write_request(&mut bytes, words.iter());
        }
        self.stream.write_all(&bytes).expect("the server reads");
    }

    /// The next reply; the error in words if there is none.
    pub fn read(&mut self) -> Result<Reply, String> {
        self.read_within(SILENCE_MAX)?.ok_or_else(|| NO_REPLY.to_owned())
    }

    /// The next reply if it comes in time.
    pub fn read_within(&mut self, time: Duration) -> Result<Option<Reply>, String> {
        self.stream.set_read_timeout(Some(time)).expect("some time is given");
        loop {
            let before = self.buffer.clone();
            match self.codec.decode(&mut self.buffer) {
                Ok(Some(value)) => {
                    let bytes = before[..before.len() - self.buffer.len()].to_vec();
                    return Ok(Some(Reply { bytes, value }));
                }
                Ok(None) => {}
                Err(error) => return Err(format!("not a reply: {error}")),
            }
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the connection is closed".to_owned()),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                    return Ok(None);
                }
                Err(error) => return Err(format!("no connection: {error}")),
            }
        }
    }
}

/// The two servers that must not differ.
pub struct Pair {
    pub ours: Server,
    pub theirs: Server,
}

impl Pair {
    /// Both play the round on empty databases.
    pub fn play(&self, round: &Round) -> Result<(), Difference> {
        self.replay(&round.steps, round.protocol, round.pipelines.iter().copied())
    }

    fn replay(
        &self,
        steps: &[Step],
        protocol: u8,
        mut pipelines: impl Iterator<Item = usize>,
    ) -> Result<(), Difference> {
        let mut ours = Peer::connect(self.ours.port, protocol);
        let mut theirs = Peer::connect(self.theirs.port, protocol);
        for peer in [&mut ours, &mut theirs] {
            peer.call(&["FLUSHALL"]);
        }
        let mut waiters = None;
        let mut comparison = Comparison::default();
        let mut at = 0;
        while at < steps.len() {
            let steps_max = pipelines.next().unwrap_or(1);
            let end = steps.len().min(at + steps_max);
            let is_command = |step: &&Step| matches!(step, Step::Command(_));
            let commands = steps[at..end].iter().take_while(is_command).count();
            if commands == 0 {
                let played = match &steps[at] {
                    Step::Command(_) => Ok(()),
                    Step::Transfer { from, to } => transfer(&mut ours, &mut theirs, from, to),
                    Step::Scene(lines) => {
                        let waiters = waiters.get_or_insert_with(|| {
                            [&self.ours, &self.theirs].map(|server| Waiters::connect(server.port, protocol))
                        });
                        let [of_ours, of_theirs] = waiters;
                        let ours = of_ours.play(&mut ours, lines);
                        comparison.check_scene(ours, of_theirs.play(&mut theirs, lines))
                    }
                };
                played.map_err(|texts| difference(at, texts))?;
                at += 1;
                continue;
            }
            let requests: Vec<&[Vec<u8>]> = steps[at..at + commands]
                .iter()
                .filter_map(|step| if let Step::Command(words) = step { Some(&words[..]) } else { None })
                .collect();
            ours.send(&requests);
            theirs.send(&requests);
            for (index, step) in steps.iter().enumerate().skip(at).take(commands) {
                let Step::Command(words) = step else { continue };
                match (ours.read(), theirs.read()) {
                    (Ok(ours), Ok(theirs)) => {
                        comparison.check(words, &ours, &theirs).map_err(|texts| difference(index, texts))?;
                    }
                    (ours, theirs) => {
                        let text = |reply: Result<Reply, String>| match reply {
                            Ok(reply) => shown(&reply.bytes),
                            Err(error) => error,
                        };
                        return Err(difference(index, (text(ours), text(theirs))));
                    }
                }
            }
            at += commands;
        }
        let digests = [&mut ours, &mut theirs].map(|peer| {
            // A shrunk round may leave a transaction open.
            peer.call(&["DISCARD"]);
            shown(&peer.call(&["DEBUG", "DIGEST"]).bytes)
        });
        let [ours, theirs] = digests;
        if ours != theirs {
            let at = steps.len().saturating_sub(1);
            return Err(Difference { at, is_of_digests: true, ours, theirs });
        }
        Ok(())
    }

    /// A report with the seed, and the fewest commands found that show a difference.
    pub fn explain(&self, round: &Round, found: &Difference) -> String {
        let mut text = String::new();
        let step = round.steps.get(found.at).map_or(String::new(), ToString::to_string);
        let step = if found.is_of_digests { "the end: DEBUG DIGEST".to_owned() } else { step };
        let _ = writeln!(text, "RUSSET_SEED={} (RESP{}) differs at {step}", round.seed, round.protocol);
        let _ = writeln!(text, "  ours   {}\n  theirs {}", cut(&found.ours), cut(&found.theirs));

        // Each replay would wait as long again.
        if [&found.ours, &found.theirs].iter().any(|text| text.starts_with(NO_REPLY)) {
            return text;
        }

        let (steps, found) = self.shrink(round, found);
        let _ = writeln!(text, "\nThe same with {} commands:", steps.len());
        for step in &steps {
            let _ = writeln!(text, "  {}", cut(&step.to_string()));
        }
        if let Some(found) = found {
            let _ = writeln!(text, "  ours   {}\n  theirs {}", cut(&found.ours), cut(&found.theirs));
        }
        if let Some(Step::Command(words)) = steps.last() {
            let name = String::from_utf8_lossy(&words[0]).to_ascii_lowercase();
            for reason in exceptions::reasons(&name) {
                let _ = writeln!(text, "  although {name} may differ where {reason}");
            }
        }
        text
    }

    /// Leaves out what may be left out, in pieces that get smaller.
    fn shrink(&self, round: &Round, first: &Difference) -> (Vec<Step>, Option<Difference>) {
        let mut replays = 0;
        let mut fails = |steps: &[Step]| {
            replays += 1;
            if replays > SHRINKING_REPLAYS_MAX {
                return None;
            }
            // Less may make another difference, which would lead elsewhere.
            let found = self.replay(steps, round.protocol, std::iter::repeat(PIPELINE_SHRUNK)).err()?;
            let is_the_same = match (name_of(&round.steps, first), name_of(steps, &found)) {
                (Some(first), Some(name)) => first.eq_ignore_ascii_case(name),
                (first, name) => first == name,
            };
            is_the_same.then_some(found)
        };
        let mut steps = round.steps.clone();
        let mut last = fails(&steps);
        if let Some(difference) = &last {
            steps.truncate(difference.at + 1);
        }
        let mut piece = steps.len() / 2;
        while piece > 0 && last.is_some() {
            let mut at = 0;
            while at < steps.len() {
                let mut fewer = steps[..at].to_vec();
                fewer.extend_from_slice(&steps[steps.len().min(at + piece)..]);
                match fails(&fewer) {
                    Some(difference) => {
                        fewer.truncate(difference.at + 1);
                        (steps, last) = (fewer, Some(difference));
                    }
                    None => at += piece,
                }
            }
            piece /= 2;
        }
        // Then the lines of the scene that is left.
        let mut line = 0;
        while let Some(Step::Scene(lines)) = steps.last()
            && line < lines.len()
            && last.is_some()
        {
            let mut fewer = steps.clone();
            if let Some(Step::Scene(lines)) = fewer.last_mut() {
                lines.remove(line);
            }
            match fails(&fewer) {
                Some(difference) => (steps, last) = (fewer, Some(difference)),
                None => line += 1,
            }
        }
        (steps, last)
    }
}

/// The command that was answered differently; none if it is the data that differs.
fn name_of<'a>(steps: &'a [Step], difference: &Difference) -> Option<&'a [u8]> {
    match steps.get(difference.at) {
        Some(Step::Command(words)) if !difference.is_of_digests => Some(&words[0]),
        _ => None,
    }
}

const PIPELINE_SHRUNK: usize = 50;

fn transfer(ours: &mut Peer, theirs: &mut Peer, from: &[u8], to: &[u8]) -> Result<(), (String, String)> {
    let dumps = [&mut *ours, &mut *theirs].map(|peer| peer.call(&[b"DUMP", from]).value);
    let payload = |value: &Value| match value {
        Value::Bulk(bytes) => bytes.clone(),
        other => format!("{other:?}").into_bytes(),
    };
    let [our_dump, their_dump] = dumps.each_ref().map(payload);
    let restore = |peer: &mut Peer, payload: &[u8]| {
        shown(&peer.call(&[b"RESTORE", to, b"0", payload, b"REPLACE"]).bytes)
    };
    let replies = (restore(ours, &their_dump), restore(theirs, &our_dump));
    if replies.0 == replies.1 { Ok(()) } else { Err(replies) }
}

/// The beginning of a text that may be long.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(REPORT_BYTES_MAX)]
}

fn difference(at: usize, (ours, theirs): (String, String)) -> Difference {
    Difference { at, is_of_digests: false, ours, theirs }
}

pub fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
