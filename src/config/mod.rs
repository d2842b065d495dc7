//! The server's parameters, typed: one row of one table serves the command line, redis.conf and CONFIG.
//!
//! Reads files only through a closure that it is handed, and knows nothing of what a parameter does.

mod choices;
mod cli;
mod file;
mod lists;
mod parameter;
mod parameters;
mod rewrite;
mod set;
mod setting;
pub mod words;

pub use choices::{
    AclPubsubDefault, AppendFsync, ClusterEndpointType, LogLevel, MaxmemoryPolicy, OomScoreAdj, Permission,
    PropagationErrorBehavior, ReplDisklessLoad, SanitizeDumpPayload, ShutdownOptions, Supervised,
    SyslogFacility, TlsAuthClients,
};
pub use cli::{CheckOptions, Invocation, Startup, parse};
pub use lists::{HostPort, NotifyFlags, OutputBufferLimit, OutputBufferLimits, SavePoint};
pub use parameter::Parameter;
pub use parameters::{Config, PARAMETERS};
pub use rewrite::RewriteScope;
pub use set::{Asker, SetError};
pub use setting::{MemoryShare, parse_memory};

/// The Redis version that clients are told, whose features they may expect.
pub const REDIS_VERSION: &str = "7.4.0";
/// The same as one number, a byte for each part.
pub const REDIS_VERSION_NUMBER: i64 = 0x0007_0400;

/// The row of `name`, which may be an alias and in any case.
pub fn find(name: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|row| row.names().any(|known| known.eq_ignore_ascii_case(name)))
}

/// Whether the value of `name` must be kept out of MONITOR, SLOWLOG and logs.
pub fn is_sensitive(name: &[u8]) -> bool {
    std::str::from_utf8(name).ok().and_then(find).is_some_and(|row| row.has(parameter::SENSITIVE))
}

impl Config {
    /// What the rows cannot see alone: parameters that exclude each other.
    pub fn validate(&self) -> anyhow::Result<()> {
        if self.cluster_enabled && self.replicaof.is_some() {
            anyhow::bail!("replicaof is not allowed together with cluster-enabled");
        }
        if !self.aclfile.is_empty() && !self.users.is_empty() {
            anyhow::bail!("users are given both as 'user' lines and by aclfile '{}'", self.aclfile);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `CONFIG GET *` of redis-server 7.0.15 answers without a configuration (`dir` aside), name=value.
    const REDIS_DEFAULTS: &str = include_str!("redis_defaults.txt");
    /// What has another default here. Redis fears huge pages for the sake of the children that it forks.
    const OTHER_DEFAULTS: [(&str, &str); 1] = [("disable-thp", "no")];

    #[test]
    fn every_parameter_of_redis_is_here_with_its_default() {
        let config = Config::default();
        for line in REDIS_DEFAULTS.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.split_once('=').unwrap();
            let row = find(name).unwrap_or_else(|| panic!("{name} is missing"));
            let other = OTHER_DEFAULTS.iter().find(|(other, _)| *other == name);
            assert_eq!(row.show(&config), other.map_or(value, |(_, value)| value), "{name}");
        }
    }

    #[test]
    fn names_are_unique_and_rows_are_explained() {
        let mut names: Vec<&str> = PARAMETERS.iter().flat_map(Parameter::names).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for row in PARAMETERS {
            assert!(!row.help.trim().is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn passwords_are_sensitive_by_any_name() {
        assert!(is_sensitive(b"RequirePass"));
        assert!(is_sensitive(b"masterauth"));
        assert!(!is_sensitive(b"port"));
    }

    #[test]
    fn contradictions_are_found_at_start() {
        let users =
            Config { aclfile: "users.acl".into(), users: vec![vec!["a".into()]], ..Config::default() };
        assert!(users.validate().is_err());
        assert!(Config::default().validate().is_ok());
    }
}
