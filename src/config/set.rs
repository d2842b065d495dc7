//! CONFIG GET and CONFIG SET.

use std::fmt;

use super::parameter::{DENY_LOADING, HIDDEN, IMMUTABLE, MULTI_ARG, PROTECTED, Parameter};
use super::setting::Reason;
use super::{Config, PARAMETERS, find};
use crate::base::glob;

/// Who calls CONFIG SET, and when.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker {
    /// The client is on this machine.
    pub is_local: bool,
    /// The data set is being loaded.
    pub is_loading: bool,
}

/// Why CONFIG SET changed nothing; displayed as Redis' error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetError {
    Unknown { name: String },
    Failed { name: String, reason: Reason },
    Loading,
}

impl SetError {
    /// For a value that is well-formed, but could not be put into effect (a port that is in use).
    pub fn failed(name: &str, reason: impl Into<Reason>) -> Self {
        Self::Failed { name: name.to_owned(), reason: reason.into() }
    }
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => {
                write!(f, "ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
            }
            Self::Failed { name, reason } => {
                write!(f, "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
            }
            Self::Loading => f.write_str("LOADING Redis is loading the dataset in memory"),
        }
    }
}

impl std::error::Error for SetError {}

impl Config {
    /// Names and values of the parameters that match a pattern, each once. An alias is a name of its own; a
    /// pattern without wildcards is answered by the name as it was asked for.
    pub fn matching(&self, patterns: &[&[u8]]) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for pattern in patterns {
            let is_glob = pattern.iter().any(|byte| b"*?[".contains(byte));
            for row in PARAMETERS.iter().filter(|row| !(is_glob && row.has(HIDDEN))) {
                for name in row.names() {
                    let shown = if !is_glob && name.as_bytes().eq_ignore_ascii_case(pattern) {
                        String::from_utf8_lossy(pattern).into_owned()
                    } else if is_glob && glob::matches(pattern, name.as_bytes(), glob::Case::Insensitive) {
                        name.to_owned()
                    } else {
                        continue;
                    };
                    if !found.iter().any(|(known, _)| *known == shown) {
                        found.push((shown, row.show(self)));
                    }
                }
            }
        }
        found
    }

    /// Sets all of `pairs` or none. The names (not the aliases) of those whose value is another than before.
    pub fn set_many(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        asker: Asker,
    ) -> Result<Vec<&'static str>, SetError> {
        let rows = self.settable_rows(pairs, asker)?;
        let mut changed_config = self.clone();
        let mut changed = Vec::new();
        for ((name, value), row) in pairs.iter().zip(rows) {
            assign_value(row, &mut changed_config, value)
                .map_err(|reason| SetError::failed(&String::from_utf8_lossy(name), reason))?;
            if row.lines(self) != row.lines(&changed_config) && !changed.contains(&row.name) {
                changed.push(row.name);
            }
        }
        *self = changed_config;
        Ok(changed)
    }

    /// The row of each pair, if every one of them may be set.
    fn settable_rows(
        &self,
        pairs: &[(&[u8], &[u8])],
        asker: Asker,
    ) -> Result<Vec<&'static Parameter>, SetError> {
        let mut rows = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let shown = String::from_utf8_lossy(name);
            let row = find(&shown).ok_or_else(|| SetError::Unknown { name: shown.clone().into_owned() })?;
            rows.push(row);
        }
        // A client that meets LOADING tries again, so it goes before the other refusals.
        if asker.is_loading && rows.iter().any(|row| row.has(DENY_LOADING)) {
            return Err(SetError::Loading);
        }
        for (index, ((name, _), row)) in pairs.iter().zip(&rows).enumerate() {
            let is_duplicate = pairs[..index].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name));
            let refusal = if row.has(IMMUTABLE) {
                "can't set immutable config"
            } else if row.has(PROTECTED) && !self.enable_protected_configs.allows(asker.is_local) {
                "can't set protected config"
            } else if is_duplicate {
                "duplicate parameter"
            } else {
                continue;
            };
            return Err(SetError::failed(&String::from_utf8_lossy(name), refusal));
        }
        Ok(rows)
    }
}

/// The value of CONFIG SET is one argument; the words of a value of several are parted by single spaces.
fn assign_value(row: &Parameter, config: &mut Config, value: &[u8]) -> Result<(), Reason> {
    let value = std::str::from_utf8(value).map_err(|_| "argument must be valid UTF-8")?;
    if !row.has(MULTI_ARG) {
        return row.assign(config, &[value]);
    }
    let words: Vec<&str> = if value.is_empty() { Vec::new() } else { value.split(' ').collect() };
    row.assign(config, &words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOCAL: Asker = Asker { is_local: true, is_loading: false };

    fn set(config: &mut Config, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
        let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        config.set_many(&pairs, LOCAL).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refuses(pairs: &[(&str, &str)], expected: &str) {
        let mut config = Config::default();
        assert_eq!(set(&mut config, pairs).unwrap_err(), expected);
        assert_eq!(config, Config::default());
    }

    #[track_caller]
    fn fails(name: &str, value: &str, reason: &str) {
        let sentence = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}");
        refuses(&[("maxmemory", "1gb"), (name, value)], &sentence);
    }

    #[test]
    fn errors_are_redis_sentences_and_nothing_is_changed() {
        refuses(
            &[("port", "1"), ("nosuch", "2")],
            "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'",
        );
        fails("port", "99999", "argument must be between 0 and 65535 inclusive");
        fails("port", "abc", "argument couldn't be parsed into an integer");
        fails("timeout", "+1", "argument couldn't be parsed into an integer");
        fails("MaxMemory", "1", "duplicate parameter");
        fails("databases", "4", "can't set immutable config");
        fails("replicaof", "a 1", "can't set immutable config");
        fails("dir", "/tmp", "can't set protected config");
        fails("repl-backlog-size", "x", "argument must be a memory value");
        fails("appendonly", "maybe", "argument must be 'yes' or 'no'");
        fails("maxclients", "0", "argument must be between 1 and 4294967295 inclusive");
        fails("slave-priority", "-1", "argument must be between 0 and 2147483647 inclusive");
        fails("appendfsync", "x", "argument(s) must be one of the following: everysec, always, no");
        fails("save", "60", "Invalid save parameters");
        fails(
            "cluster-announce-hostname",
            "a_b",
            "Hostnames may only contain alphanumeric characters, hyphens or dots",
        );
        fails("proc-title-template", "{foo}", "template format is invalid or contains unknown variables");
    }

    #[test]
    fn several_values_are_set_at_once_and_the_changed_ones_are_named() {
        let mut config = Config::default();
        let changed = set(
            &mut config,
            &[
                ("MAXMEMORY", "100mb"),
                ("save", ""),
                ("slave-priority", "7"),
                ("hz", "10"),
                ("maxclients", "5"),
            ],
        );
        assert_eq!(changed.unwrap(), ["maxmemory", "save", "replica-priority", "maxclients"]);
        assert_eq!((config.maxmemory, config.replica_priority, config.maxclients), (100 << 20, 7, 5));
        assert!(config.save.is_empty());
    }

    #[test]
    fn hz_and_the_backlog_are_moved_into_their_range() {
        let mut config = Config::default();
        set(&mut config, &[("hz", "1000"), ("repl-backlog-size", "1")]).unwrap();
        assert_eq!((config.hz, config.repl_backlog_size), (500, 16384));
    }

    #[test]
    fn protected_parameters_can_be_opened_and_loading_closes_some() {
        let mut config =
            Config { enable_protected_configs: super::super::Permission::Local, ..Config::default() };
        set(&mut config, &[("dbfilename", "x.rdb")]).unwrap();
        assert_eq!(config.dbfilename, "x.rdb");
        let loading = Asker { is_local: true, is_loading: true };
        assert_eq!(config.set_many(&[(b"appendonly", b"yes")], loading), Err(SetError::Loading));
    }

    #[test]
    fn get_answers_patterns_and_aliases_once_each() {
        let config = Config::default();
        let names = |patterns: &[&str]| -> Vec<String> {
            let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
            config.matching(&patterns).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(&["PORT", "nosuch"]), ["PORT"]);
        assert_eq!(names(&["*-priority", "slave-priority"]), ["replica-priority", "slave-priority"]);
        assert_eq!(names(&["rdb-key*"]), [""; 0]);
        assert_eq!(names(&["rdb-key-save-delay"]), ["rdb-key-save-delay"]);
    }

    #[test]
    fn every_value_that_get_shows_can_be_set_again() {
        let mut config =
            Config { enable_protected_configs: super::super::Permission::Yes, ..Config::default() };
        for row in PARAMETERS.iter().filter(|row| !row.has(IMMUTABLE)) {
            for name in row.names() {
                let value = row.show(&config);
                assert_eq!(set(&mut config, &[(name, &value)]), Ok(vec![]), "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_set_accepts_get_shows_in_a_form_that_set_accepts(
            index in 0..PARAMETERS.len(),
            value in "-?[0-9]{1,4}|[0-9]{1,3}(k|mb|%)|yes|no|[a-zA$]{0,5}|[1-9]{1,3} [0-9]{1,3}",
        ) {
            let row = &PARAMETERS[index];
            let mut config = Config::default();
            if assign_value(row, &mut config, value.as_bytes()).is_ok() && !row.show(&config).is_empty() {
                let before = row.show(&config);
                prop_assert!(assign_value(row, &mut config, before.as_bytes()).is_ok(), "{}", row.name);
                prop_assert_eq!(before, row.show(&config));
            }
        }
    }
}
