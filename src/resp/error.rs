//! Every error sentence that a client reads, in Redis' bytes.
//!
//! A reply is a code, a space and a sentence, without the leading `-` and the line break.

use std::borrow::Cow;

/// What a client's command answers when it fails: its connection lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply(Cow<'static, str>);

impl ErrorReply {
    pub const SYNTAX: Self = Self::fixed("ERR syntax error");
    pub const WRONG_TYPE: Self =
        Self::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub const NOT_AN_INTEGER: Self = Self::fixed("ERR value is not an integer or out of range");
    pub const NOT_A_FLOAT: Self = Self::fixed("ERR value is not a valid float");
    pub const NO_SUCH_KEY: Self = Self::fixed("ERR no such key");
    pub const INDEX_OUT_OF_RANGE: Self = Self::fixed("ERR index out of range");
    pub const OUT_OF_RANGE: Self = Self::fixed("ERR value is out of range");
    pub const OUT_OF_RANGE_POSITIVE: Self = Self::fixed("ERR value is out of range, must be positive");
    pub const DB_INDEX_OUT_OF_RANGE: Self = Self::fixed("ERR DB index is out of range");
    pub const STRING_TOO_LONG: Self =
        Self::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    pub const OVERFLOW: Self = Self::fixed("ERR increment or decrement would overflow");
    pub const TIMEOUT_NOT_A_FLOAT: Self = Self::fixed("ERR timeout is not a float or out of range");
    pub const TIMEOUT_NEGATIVE: Self = Self::fixed("ERR timeout is negative");
    pub const TIMEOUT_NOT_AN_INTEGER: Self = Self::fixed("ERR timeout is not an integer or out of range");
    pub const NO_AUTH: Self = Self::fixed("NOAUTH Authentication required.");
    pub const WRONG_PASS: Self = Self::fixed("WRONGPASS invalid username-password pair or user is disabled.");
    pub const LOADING: Self = Self::fixed("LOADING Redis is loading the dataset in memory");
    pub const MASTER_DOWN: Self =
        Self::fixed("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
    pub const READ_ONLY: Self = Self::fixed("READONLY You can't write against a read only replica.");
    pub const NO_REPLICAS: Self = Self::fixed("NOREPLICAS Not enough good replicas to write.");
    pub const MISCONF: Self = Self::fixed(
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
         Commands that may modify the data set are disabled, because this instance is configured to report \
         errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check \
         the Redis logs for details about the RDB error.",
    );
    pub const OOM: Self = Self::fixed("OOM command not allowed when used memory > 'maxmemory'.");
    pub const EXEC_ABORT: Self = Self::fixed("EXECABORT Transaction discarded because of previous errors.");
    pub const EXEC_WITHOUT_MULTI: Self = Self::fixed("ERR EXEC without MULTI");
    pub const DISCARD_WITHOUT_MULTI: Self = Self::fixed("ERR DISCARD without MULTI");
    pub const MULTI_NESTED: Self = Self::fixed("ERR MULTI calls can not be nested");
    pub const WATCH_INSIDE_MULTI: Self = Self::fixed("ERR WATCH inside MULTI is not allowed");
    pub const NOT_ALLOWED_IN_MULTI: Self = Self::fixed("ERR Command not allowed inside a transaction");
    pub const NO_SUCH_CLIENT: Self = Self::fixed("ERR No such client");
    pub const UNBLOCKED: Self = Self::fixed("UNBLOCKED client unblocked via CLIENT UNBLOCK");
    pub const HELLO_WITHOUT_AUTH: Self = Self::fixed(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
         <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
         same time",
    );
    pub const NO_PASSWORD_SET: Self = Self::fixed(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
         configuration is correct?",
    );
    pub const CLIENT_NAME: Self =
        Self::fixed("ERR Client names cannot contain spaces, newlines or special characters.");
    pub const NO_PROTO: Self = Self::fixed("NOPROTO unsupported protocol version");
    pub const BUSY_KEY: Self = Self::fixed("BUSYKEY Target key name already exists.");

    /// A sentence that never varies.
    pub const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// A sentence with something of the client's in it. Line breaks, which would end the reply, become spaces.
    pub fn new(text: impl Into<String>) -> Self {
        let text: String = text.into();
        if text.contains(['\r', '\n']) {
            return Self(Cow::Owned(text.replace(['\r', '\n'], " ")));
        }
        Self(Cow::Owned(text))
    }

    /// The command `name` with its first arguments, cut as Redis cuts them.
    pub fn unknown_command<'a>(name: &[u8], args: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut shown = String::new();
        for arg in args {
            if shown.len() >= 128 {
                break;
            }
            let room = (128 - shown.len()).min(arg.len());
            shown.push('\'');
            shown.push_str(&String::from_utf8_lossy(&arg[..room]));
            shown.push_str("' ");
        }
        let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
        Self::new(format!("ERR unknown command '{name}', with args beginning with: {shown}"))
    }

    /// `parent` has no sub-command `name`.
    pub fn unknown_subcommand(parent: &str, name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
        Self::new(format!("ERR unknown subcommand '{name}'. Try {} HELP.", parent.to_ascii_uppercase()))
    }

    /// `name` is the command's own name, `config|get` for a sub-command.
    pub fn wrong_arity(name: &str) -> Self {
        Self::new(format!("ERR wrong number of arguments for '{name}' command"))
    }

    pub fn invalid_expire_time(command: &str) -> Self {
        Self::new(format!("ERR invalid expire time in '{command}' command"))
    }

    /// What EXEC answers that was refused itself.
    pub fn as_exec_abort(&self) -> Self {
        let reason = self.0.strip_prefix("ERR ").unwrap_or(&self.0);
        Self::new(format!("EXECABORT Transaction discarded because of: {reason}"))
    }

    /// The whole line without its `-` and line break.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The first word, by which errorstats counts.
    pub fn code(&self) -> &str {
        self.0.split(' ').next().unwrap_or("ERR")
    }
}
