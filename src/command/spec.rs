//! What a row of the command table says.

use super::context::Ctx;
pub use super::long_read::Extent;
use crate::base::clock::UnixMillis;
use crate::engine::{ClientId, Engine, TimeoutReply};
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::error::ErrorReply;
use crate::scripting::ScriptFlags;

/// Properties of a command, by which alone the dispatcher decides what to do with it. The names are Redis' own.
pub type Flags = u32;
pub const WRITE: Flags = 1 << 0;
pub const READONLY: Flags = 1 << 1;
pub const DENYOOM: Flags = 1 << 2;
pub const FAST: Flags = 1 << 3;
pub const ADMIN: Flags = 1 << 4;
pub const PUBSUB: Flags = 1 << 5;
pub const NOSCRIPT: Flags = 1 << 6;
pub const BLOCKING: Flags = 1 << 7;
pub const LOADING: Flags = 1 << 8;
pub const STALE: Flags = 1 << 9;
pub const SKIP_MONITOR: Flags = 1 << 10;
pub const SKIP_SLOWLOG: Flags = 1 << 11;
pub const NO_AUTH: Flags = 1 << 12;
pub const NO_MULTI: Flags = 1 << 13;
/// Runs at once inside MULTI instead of being queued.
pub const NOT_QUEUED: Flags = 1 << 14;
pub const MAY_REPLICATE: Flags = 1 << 15;
pub const ALLOW_BUSY: Flags = 1 << 16;
/// Allowed to a RESP2 client that has subscriptions.
pub const SUBSCRIBER: Flags = 1 << 17;
/// Refused unless its `enable-*-command` parameter allows it.
pub const PROTECTED: Flags = 1 << 18;
pub const MOVABLE_KEYS: Flags = 1 << 19;
pub const NO_ASYNC_LOADING: Flags = 1 << 20;
pub const DANGEROUS: Flags = 1 << 21;
/// Runs what was queued: the gates ask it what they would ask the queued commands.
pub const RUNS_QUEUED: Flags = 1 << 22;
pub const NO_MANDATORY_KEYS: Flags = 1 << 23;
/// Looks at keys that its arguments do not name: those that have expired leave one by one, not as a transaction.
pub const TOUCHES_ARBITRARY_KEYS: Flags = 1 << 24;

/// Is refused as writes are while the disk fails: whoever asks whether the server is well learns of that.
pub const HEALTH: Flags = 1 << 25;

/// How a command uses a key; Redis' names.
pub type KeyFlags = u16;
pub const RO: KeyFlags = 1 << 0;
pub const RW: KeyFlags = 1 << 1;
pub const OW: KeyFlags = 1 << 2;
pub const RM: KeyFlags = 1 << 3;
pub const ACCESS: KeyFlags = 1 << 4;
pub const UPDATE: KeyFlags = 1 << 5;
pub const INSERT: KeyFlags = 1 << 6;
pub const DELETE: KeyFlags = 1 << 7;
pub const NOT_KEY: KeyFlags = 1 << 8;
pub const INCOMPLETE: KeyFlags = 1 << 9;
pub const VARIABLE_FLAGS: KeyFlags = 1 << 10;

/// Where some of a command's keys are among its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    pub flags: KeyFlags,
    pub begin: BeginSearch,
    pub find: FindKeys,
    /// What COMMAND tells of it besides; empty where that is nothing.
    pub note: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeginSearch {
    /// At this argument.
    Index(usize),
    /// Behind this word, looked for from an argument on (from the end when negative).
    Keyword { word: &'static str, start_from: i32 },
    /// Nobody can say without knowing the command: `keys_of` has code for it.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindKeys {
    /// From the begin to `last` (relative to it; negative: from the end), each `step`-th. `limit` 2: half of the rest.
    Range {
        last: i32,
        step: usize,
        limit: usize,
    },
    /// A number of keys at `count`, the first at `first`, both relative to the begin.
    Count {
        count: usize,
        first: usize,
        step: usize,
    },
    Unknown,
}

impl KeySpec {
    /// Keys from argument `first` to `last` (absolute; negative from the end), each `step`-th.
    pub const fn range(first: usize, last: i32, step: usize, flags: KeyFlags) -> Self {
        let last = if last < 0 { last } else { last - first as i32 };
        Self {
            flags,
            begin: BeginSearch::Index(first),
            find: FindKeys::Range { last, step, limit: 0 },
            note: "",
        }
    }

    /// Keys at places that only the command's own syntax tells.
    pub const fn unknown(flags: KeyFlags) -> Self {
        Self { flags, begin: BeginSearch::Unknown, find: FindKeys::Unknown, note: "" }
    }

    /// `numkeys key [key ...]`, the number at argument `count`.
    pub const fn counted(count: usize, flags: KeyFlags) -> Self {
        Self {
            flags,
            begin: BeginSearch::Index(count),
            find: FindKeys::Count { count: 0, first: 1, step: 1 },
            note: "",
        }
    }

    pub const fn noted(self, note: &'static str) -> Self {
        Self { note, ..self }
    }
}

/// What a handler may touch is its type.
#[derive(Clone, Copy)]
pub enum Handler {
    /// The keys of one database, the reply, time, chance and the effects.
    Data(DataHandler),
    /// All of the server: clients, replication, configuration.
    Engine(fn(&mut Engine, ClientId, &Args<'_>) -> CommandResult),
    /// Has sub-commands only.
    Container,
}

/// A handler that reaches the keys of one database, the reply, time, chance and the effects.
pub type DataHandler = fn(&mut Ctx<'_>, &Args<'_>) -> CommandResult;

pub type CommandResult = Result<Flow, ErrorReply>;

/// How a handler ends when it does not fail.
#[derive(Debug)]
pub enum Flow {
    /// The reply is written.
    Done,
    /// Nothing was written: the command is run again when one of the keys was modified.
    Block(BlockOnKeys),
    /// The client was parked by the handler; whoever unparks it writes the reply.
    Parked,
}

#[derive(Debug)]
pub struct BlockOnKeys {
    pub keys: Vec<Vec<u8>>,
    pub deadline: Option<UnixMillis>,
    pub on_timeout: TimeoutReply,
    /// The command as it is to be run again, where that is not as it came: what was meant at the time it came.
    pub args: Option<OwnedArgs>,
    /// Run it again even if a key is gone or holds another type: it fails then.
    pub wakes_without_value: bool,
}

impl BlockOnKeys {
    pub fn new(keys: Vec<Vec<u8>>, deadline: Option<UnixMillis>, on_timeout: TimeoutReply) -> Self {
        Self { keys, deadline, on_timeout, args: None, wakes_without_value: false }
    }
}

/// What COMMAND DOCS tells of a command.
#[derive(Debug, Clone, Copy)]
pub struct Docs {
    /// The version of Redis that brought it.
    pub since: &'static str,
    pub complexity: &'static str,
    pub summary: &'static str,
    /// The arguments in the notation of the command reference: `key value [NX | XX] [GET] [EX seconds]`.
    pub usage: &'static str,
    /// Since which version it is not to be used any more, and what instead.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Not for clients: servers and tests send it.
    pub is_of_system: bool,
}

/// One row.
pub struct CommandSpec {
    /// In lower case; `config|get` for a sub-command.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least that many.
    pub arity: i32,
    pub flags: Flags,
    /// The group of the command reference, which is also an ACL category where Redis has one of that name.
    pub group: &'static str,
    pub handler: Handler,
    pub keys: &'static [KeySpec],
    /// How much it looks at.
    pub extent: Extent,
    /// For what runs scripts: what the one that a request names has declared of itself, if it can be told.
    pub declared: Option<fn(&mut Engine, &Args<'_>) -> Option<ScriptFlags>>,
    /// Hints for clients and proxies, as COMMAND tells them.
    pub tips: &'static [&'static str],
    pub docs: Docs,
}

const NO_DOCS: Docs = Docs {
    since: "1.0.0",
    complexity: "O(1)",
    summary: "",
    usage: "",
    deprecated: None,
    is_of_system: false,
};

impl CommandSpec {
    pub const fn data(
        name: &'static str,
        arity: i32,
        flags: Flags,
        group: &'static str,
        handler: fn(&mut Ctx<'_>, &Args<'_>) -> CommandResult,
    ) -> Self {
        Self {
            name,
            arity,
            flags,
            group,
            handler: Handler::Data(handler),
            keys: &[],
            extent: Extent::Short,
            declared: None,
            tips: &[],
            docs: NO_DOCS,
        }
    }

    pub const fn engine(
        name: &'static str,
        arity: i32,
        flags: Flags,
        group: &'static str,
        handler: fn(&mut Engine, ClientId, &Args<'_>) -> CommandResult,
    ) -> Self {
        Self {
            name,
            arity,
            flags,
            group,
            handler: Handler::Engine(handler),
            keys: &[],
            extent: Extent::Short,
            declared: None,
            tips: &[],
            docs: NO_DOCS,
        }
    }

    /// A name that only sub-commands follow.
    pub const fn container(name: &'static str, group: &'static str) -> Self {
        Self {
            name,
            arity: -2,
            flags: 0,
            group,
            handler: Handler::Container,
            keys: &[],
            extent: Extent::Short,
            declared: None,
            tips: &[],
            docs: NO_DOCS,
        }
    }

    pub const fn keys(self, keys: &'static [KeySpec]) -> Self {
        Self { keys, ..self }
    }

    /// Says that it may look at so much that it runs beside the engine.
    pub const fn looks_at(self, extent: Extent) -> Self {
        Self { extent, ..self }
    }

    /// Says where the declarations of its script are.
    pub const fn runs(self, declared: fn(&mut Engine, &Args<'_>) -> Option<ScriptFlags>) -> Self {
        Self { declared: Some(declared), ..self }
    }

    pub const fn tips(self, tips: &'static [&'static str]) -> Self {
        Self { tips, ..self }
    }

    pub const fn docs(
        self,
        since: &'static str,
        complexity: &'static str,
        summary: &'static str,
        usage: &'static str,
    ) -> Self {
        Self { docs: Docs { since, complexity, summary, usage, ..self.docs }, ..self }
    }

    /// After `docs`: since when there is something better, and what.
    pub const fn deprecated(self, since: &'static str, replaced_by: &'static str) -> Self {
        Self { docs: Docs { deprecated: Some((since, replaced_by)), ..self.docs }, ..self }
    }

    pub const fn for_the_system(self) -> Self {
        Self { docs: Docs { is_of_system: true, ..self.docs }, ..self }
    }

    pub fn has(&self, flag: Flags) -> bool {
        self.flags & flag != 0
    }

    pub fn accepts_arity(&self, args: usize) -> bool {
        match usize::try_from(self.arity) {
            Ok(exact) => args == exact,
            Err(_) => args >= self.arity.unsigned_abs() as usize,
        }
    }
}
