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
    pub const OUT_OF_LONG_RANGE: Self = Self::fixed(
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    );
    pub const NUMKEYS_NOT_POSITIVE: Self = Self::fixed("ERR numkeys should be greater than 0");
    pub const TOO_MANY_KEYS: Self = Self::fixed("ERR Number of keys can't be greater than number of args");
    pub const LIMIT_NEGATIVE: Self = Self::fixed("ERR LIMIT can't be negative");
    pub const INVALID_CURSOR: Self = Self::fixed("ERR invalid cursor");
    pub const NOVALUES_OUTSIDE_HSCAN: Self = Self::fixed("ERR NOVALUES option can only be used in HSCAN");
    pub const HASH_VALUE_NOT_AN_INTEGER: Self = Self::fixed("ERR hash value is not an integer");
    pub const HASH_VALUE_NOT_A_FLOAT: Self = Self::fixed("ERR hash value is not a float");
    pub const VALUE_NOT_FINITE: Self = Self::fixed("ERR value is NaN or Infinity");
    pub const NAN_OR_INFINITY: Self = Self::fixed("ERR increment would produce NaN or Infinity");
    pub const OVERFLOW: Self = Self::fixed("ERR increment or decrement would overflow");
    pub const DECREMENT_OVERFLOW: Self = Self::fixed("ERR decrement would overflow");
    pub const OFFSET_OUT_OF_RANGE: Self = Self::fixed("ERR offset is out of range");
    pub const NOT_STRINGS: Self = Self::fixed("ERR The specified keys must contain string values");
    pub const LCS_LEN_AND_IDX: Self =
        Self::fixed("ERR If you want both the length and indexes, please just use IDX.");
    pub const LCS_TOO_LONG: Self = Self::fixed("ERR String too long for LCS");
    pub const LCS_TOO_LARGE: Self =
        Self::fixed("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
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
    pub const WAITAOF_WITHOUT_AOF: Self =
        Self::fixed("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
    pub const OOM: Self = Self::fixed("OOM command not allowed when used memory > 'maxmemory'.");
    pub const EXEC_ABORT: Self = Self::fixed("EXECABORT Transaction discarded because of previous errors.");
    pub const EXEC_WITHOUT_MULTI: Self = Self::fixed("ERR EXEC without MULTI");
    pub const DISCARD_WITHOUT_MULTI: Self = Self::fixed("ERR DISCARD without MULTI");
    pub const MULTI_NESTED: Self = Self::fixed("ERR MULTI calls can not be nested");
    pub const WATCH_INSIDE_MULTI: Self = Self::fixed("ERR WATCH inside MULTI is not allowed");
    pub const NOT_ALLOWED_IN_MULTI: Self = Self::fixed("ERR Command not allowed inside a transaction");
    pub const NO_SUCH_CLIENT: Self = Self::fixed("ERR No such client");
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
    pub const RANK_ZERO: Self = Self::fixed(
        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
         start from the end of the list",
    );
    pub const COUNT_NEGATIVE: Self = Self::fixed("ERR COUNT can't be negative");
    pub const MAXLEN_NEGATIVE: Self = Self::fixed("ERR MAXLEN can't be negative");
    pub const COUNT_NOT_POSITIVE: Self = Self::fixed("ERR count should be greater than 0");
    pub const UNBLOCKED: Self = Self::fixed("UNBLOCKED client unblocked via CLIENT UNBLOCK");
    pub const BUSY_KEY: Self = Self::fixed("BUSYKEY Target key name already exists.");

    pub const OUT_OF_I32_RANGE: Self =
        Self::fixed("ERR value is out of range, value must between -2147483648 and 2147483647");
    pub const SAME_OBJECT: Self = Self::fixed("ERR source and destination objects are the same");
    pub const EXPIRE_NX_WITH_OTHERS: Self =
        Self::fixed("ERR NX and XX, GT or LT options at the same time are not compatible");
    pub const EXPIRE_GT_WITH_LT: Self =
        Self::fixed("ERR GT and LT options at the same time are not compatible");
    pub const EXPIRE_TIME_NEGATIVE: Self = Self::fixed("ERR invalid expire time, must be >= 0");
    pub const EXPIRE_TIME_MISSING: Self = Self::fixed("ERR missing expire time");
    pub const FIELDS_MISSING: Self =
        Self::fixed("ERR Mandatory argument FIELDS is missing or not at the right position");
    pub const FIELDS_NOT_POSITIVE: Self = Self::fixed("ERR Number of fields must be a positive integer");
    pub const NUMFIELDS_NOT_POSITIVE: Self =
        Self::fixed("ERR Parameter `numFields` should be greater than 0");
    pub const NUMFIELDS_MISMATCH: Self =
        Self::fixed("ERR The `numfields` parameter must match the number of arguments");
    pub const INVALID_NUMBER_OF_FIELDS: Self = Self::fixed("ERR invalid number of fields");
    pub const HSETEX_CONDITIONS: Self = Self::fixed("ERR Only one of FXX or FNX arguments can be specified");
    pub const HSETEX_EXPIRATIONS: Self =
        Self::fixed("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
    pub const DUMP_PAYLOAD: Self = Self::fixed("ERR DUMP payload version or checksum are wrong");
    pub const DUMP_FORMAT: Self = Self::fixed("ERR Bad data format");
    pub const IDLE_TIME_NOT_TRACKED: Self = Self::fixed(
        "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
         between policies at runtime LRU and LFU data will take some time to adjust.",
    );
    pub const FREQUENCY_NOT_TRACKED: Self = Self::fixed(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
         switching between policies at runtime LRU and LFU data will take some time to adjust.",
    );
    pub const SORT_NOT_NUMERIC: Self = Self::fixed("ERR One or more scores can't be converted into double");

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

    /// `parent` has a sub-command `name`, but not with these arguments.
    pub fn subcommand_syntax(parent: &str, name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
        Self::new(format!(
            "ERR unknown subcommand or wrong number of arguments for '{name}'. Try {parent} HELP."
        ))
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
