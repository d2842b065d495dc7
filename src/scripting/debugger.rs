//! The debugger of scripts for EVAL: stops a script at its lines and does what its client asks meanwhile.
//!
//! Each answer is an array of status lines, the last one of a session ends with `<endsession>`. Commands and their answers
//! are those of Redis' own debugger, since `redis-cli --ldb` reads them.
//!
//! While a script is stopped its thread waits for the client, so whoever runs one decides who else waits for that.

mod commands;
mod shown;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::{Debug, DebugEvent, Lua, Value};

use super::error::Raised;
use super::host::{self, Called};
use crate::resp::args::Args;
use crate::resp::request::{Batch, Decoder, Limits};

/// The client of a session.
pub trait Console: Send {
    /// Whether it can still be told something does not matter: the next `receive` says so.
    fn send(&mut self, bytes: &[u8]);
    /// Waits for the client and appends what it sends; false if there will be nothing more.
    fn receive(&mut self, into: &mut Vec<u8>) -> bool;
}

const BREAKPOINTS_MAX: usize = 64;
const SHOWN_BYTES_MAX: usize = 256;
/// What a client may send before one command is complete.
const RECEIVED_BYTES_MAX: usize = 1 << 20;
/// Words of a command that are shown.
const WORDS_MAX: usize = 10;

/// One session.
pub struct Debugger {
    console: RefCell<Box<dyn Console>>,
    source: Vec<Vec<u8>>,
    log: RefCell<Vec<Vec<u8>>>,
    received: RefCell<Vec<u8>>,
    /// The script stops at the next line, and its commands are shown.
    is_stepping: Cell<bool>,
    /// It has called `redis.breakpoint`.
    is_at_breakpoint: Cell<bool>,
    breakpoints: RefCell<Vec<i64>>,
    line: Cell<i64>,
    /// Longer values and replies are cut; 0 for none.
    shown_bytes_max: Cell<usize>,
    is_hint_given: Cell<bool>,
    /// How long it may run by itself before it is stopped, and since when it does.
    slow_nanos: u64,
    resumed_at: Cell<u64>,
    /// Code of the client runs.
    is_evaluating: Cell<bool>,
}

thread_local! {
    static IS_ACTIVE: Cell<bool> = const { Cell::new(false) };
    static CURRENT: RefCell<Option<Rc<Debugger>>> = const { RefCell::new(None) };
}

/// The session of the script that runs on this thread.
pub fn current() -> Option<Rc<Debugger>> {
    if !IS_ACTIVE.get() {
        return None;
    }
    CURRENT.with_borrow(Clone::clone)
}

/// The session, if what the script does is to be shown.
pub fn watching() -> Option<Rc<Debugger>> {
    current().filter(|debugger| debugger.is_stepping.get())
}

/// Makes a session that of this thread, or ends it.
pub(super) fn set_current(debugger: Option<Rc<Debugger>>) {
    IS_ACTIVE.set(debugger.is_some());
    CURRENT.set(debugger);
}

impl Debugger {
    /// `slow_nanos` is how long a script may run between two stops.
    pub fn new(console: Box<dyn Console>, script: &[u8], slow_nanos: u64) -> Self {
        let end = script.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        Self {
            console: RefCell::new(console),
            source: script[..end].split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect(),
            log: RefCell::default(),
            received: RefCell::default(),
            is_stepping: Cell::new(true),
            is_at_breakpoint: Cell::new(false),
            breakpoints: RefCell::default(),
            line: Cell::new(0),
            shown_bytes_max: Cell::new(SHOWN_BYTES_MAX),
            is_hint_given: Cell::new(false),
            slow_nanos,
            resumed_at: Cell::new(0),
            is_evaluating: Cell::new(false),
        }
    }

    /// The script is over: tells the client what is left to tell.
    pub fn end(&self) {
        self.note("<endsession>");
        self.answer();
    }

    pub fn into_console(self) -> Box<dyn Console> {
        self.console.into_inner()
    }

    /// What Lua does before each line, and every so many instructions.
    pub(super) fn hook(&self, lua: &Lua, debug: &Debug<'_>) -> mlua::Result<()> {
        let is_count = matches!(debug.event(), DebugEvent::Count);
        if self.is_evaluating.get() {
            let is_slow = is_count && self.is_slow();
            return if is_slow { Err(Raised::reply("ERR the code takes too long")) } else { Ok(()) };
        }
        self.line.set(debug.current_line().map_or(-1, |line| line as i64));
        if !debug.source().short_src.is_some_and(|name| name.contains("user_script")) {
            return Ok(());
        }
        let is_called = self.is_at_breakpoint.get();
        let is_set = self.has_breakpoint(self.line.get());
        let stops_anyway = self.is_stepping.get() || is_called || is_set;
        // If it stops anyway, that is at a line, not in the middle of one.
        let is_late = is_count && !stops_anyway && self.is_slow();
        if is_count && !is_late || !is_count && !stops_anyway {
            return Ok(());
        }
        let reason = match (is_called, is_set) {
            (true, _) => "redis.breakpoint() called",
            (false, true) => "break point",
            (false, false) if is_late => "timeout reached, infinite loop?",
            (false, false) => "step over",
        };
        self.is_stepping.set(false);
        self.is_at_breakpoint.set(false);
        self.note(format!("* Stopped at {}, stop reason = {reason}", self.line.get()));
        self.show_line(self.line.get());
        self.answer();
        let is_there = self.converse(lua)?;
        if !is_there && is_late {
            return Err(Raised::reply("ERR timeout during Lua debugging with client closing connection"));
        }
        self.resume();
        Ok(())
    }

    fn resume(&self) {
        self.resumed_at.set(host::with(|host| host.nanos()).unwrap_or_default());
    }

    fn is_slow(&self) -> bool {
        let now = host::with(|host| host.nanos()).unwrap_or_default();
        now.saturating_sub(self.resumed_at.get()) >= self.slow_nanos
    }

    /// Does what the client asks until the script is to go on. False if the client is gone: the script then runs to its end.
    fn converse(&self, lua: &Lua) -> mlua::Result<bool> {
        loop {
            let Some(words) = self.next_command()? else {
                self.is_stepping.set(false);
                self.breakpoints.borrow_mut().clear();
                return Ok(false);
            };
            if commands::run(self, lua, &words)? == commands::Then::GoOn {
                return Ok(true);
            }
        }
    }

    /// The words of the next command; none if there is no client any more.
    fn next_command(&self) -> mlua::Result<Option<Vec<Vec<u8>>>> {
        let mut received = self.received.borrow_mut();
        loop {
            let mut batch = Batch::new();
            let consumed = Decoder::new()
                .decode(&received, &Limits::default(), &mut batch, 1, usize::MAX)
                .map_err(|_| Raised::reply("ERR protocol error"))?;
            let words = (!batch.is_empty()).then(|| {
                let args = batch.args(&received, 0);
                args.iter().map(<[u8]>::to_vec).collect()
            });
            received.drain(..consumed);
            if words.is_some() {
                return Ok(words);
            }
            if received.len() > RECEIVED_BYTES_MAX {
                return Err(Raised::reply("ERR max client buffer reached"));
            }
            if !self.console.borrow_mut().receive(&mut received) {
                return Ok(None);
            }
        }
    }

    /// A line for the next answer.
    fn note(&self, line: impl Into<Vec<u8>>) {
        self.log.borrow_mut().push(line.into());
    }

    /// A line that is cut where it is too long. The first time, the client is told how to have it whole.
    fn note_in_short(&self, mut line: Vec<u8>) {
        let max = self.shown_bytes_max.get();
        let is_cut = max > 0 && line.len() > max;
        if is_cut {
            line.truncate(max);
            line.extend_from_slice(b" ...");
        }
        self.note(line);
        if is_cut && !self.is_hint_given.replace(true) {
            self.note("<hint> The above reply was trimmed. Use 'maxlen 0' to disable trimming.");
        }
    }

    fn note_value(&self, prefix: &str, value: &Value) {
        let mut line = prefix.as_bytes().to_vec();
        shown::value(value, &mut line);
        self.note_in_short(line);
    }

    /// Sends what was noted.
    fn answer(&self) {
        let lines = self.log.take();
        let mut bytes = format!("*{}\r\n", lines.len()).into_bytes();
        for line in lines {
            bytes.push(b'+');
            bytes
                .extend(line.into_iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
            bytes.extend_from_slice(b"\r\n");
        }
        self.console.borrow_mut().send(&bytes);
    }

    fn has_breakpoint(&self, line: i64) -> bool {
        self.breakpoints.borrow().contains(&line)
    }

    /// Shows a line of the script, with marks for where it stands and where it will stop.
    fn show_line(&self, number: i64) {
        let prefix = match (self.line.get() == number, self.has_breakpoint(number)) {
            (true, true) => "->#",
            (true, false) => "-> ",
            (false, true) => "  #",
            (false, false) => "   ",
        };
        let line = usize::try_from(number - 1).ok().and_then(|index| self.source.get(index));
        let mut shown = format!("{prefix}{number:<3} ").into_bytes();
        shown.extend_from_slice(line.map_or(b"<out of range source code line>", |line| line));
        self.note(shown);
    }

    /// The lines around one; all if `around` is 0.
    fn show_lines(&self, around: i64, context: i64) {
        for number in 1..=self.source.len() as i64 {
            if around == 0 || (around - number).abs() <= context {
                self.show_line(number);
            }
        }
    }

    /// A command that the script gives.
    pub fn show_command(&self, args: &Args<'_>) {
        let mut line = b"<redis>".to_vec();
        for word in args.iter().take(WORDS_MAX) {
            line.push(b' ');
            line.extend_from_slice(word);
        }
        if args.len() > WORDS_MAX {
            line.extend_from_slice(format!(" ... ({} more)", args.len() - WORDS_MAX - 1).as_bytes());
        }
        self.note(line);
    }

    /// What it reads.
    pub fn show_reply(&self, reply: &[u8], called: Called) {
        if reply.starts_with(b"-") {
            let error = reply.trim_ascii_end();
            if called == Called::Refused {
                return self.show_error(error.strip_prefix(b"-ERR ").unwrap_or(error));
            }
            self.show_error(error);
        }
        let mut line = b"<reply> ".to_vec();
        shown::reply(reply, &mut line);
        self.note_in_short(line);
    }

    fn show_error(&self, error: &[u8]) {
        self.note([b"<error> ", error].concat());
    }

    /// `redis.breakpoint()`
    pub fn stop_at_next_line(&self) {
        self.is_at_breakpoint.set(true);
    }

    /// `redis.debug(value, ...)`
    pub fn show_values<'v>(&self, values: impl Iterator<Item = &'v Value>) {
        let mut line = format!("<debug> line {}: ", self.line.get()).into_bytes();
        for (at, value) in values.enumerate() {
            if at > 0 {
                line.extend_from_slice(b", ");
            }
            shown::value(value, &mut line);
        }
        self.note(line);
    }
}
