//! The syntax of redis.conf: one parameter a line, `#` comments, quotes, `include`.
//!
//! The command line is read by the same code, as lines that follow those of the files.

use std::io;
use std::path::Path;

use anyhow::{Context, bail};

use super::parameter::{ADDS_UP, MULTI_ARG, NO_EFFECT, Parameter};
use super::setting::{Reason, Rule};
use super::{Config, find, words};

/// Reads the text of a file; `-` is the standard input.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// A configuration in the making: the defaults, changed line by line.
pub(super) struct Loader<'a> {
    read: ReadFile<'a>,
    default: Config,
    pub config: Config,
    pub warnings: Vec<String>,
    /// Parameters whose first line has replaced the default, so that later ones add to it.
    adding_up: Vec<&'static str>,
    include_depth: usize,
}

impl<'a> Loader<'a> {
    pub fn new(read: ReadFile<'a>) -> Self {
        Self {
            read,
            default: Config::default(),
            config: Config::default(),
            warnings: Vec::new(),
            adding_up: Vec::new(),
            include_depth: 0,
        }
    }

    /// Reads the file at `path`. The error names the file, the line and the reason.
    pub fn load_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let text =
            (self.read)(path).with_context(|| format!("can't open config file '{}'", path.display()))?;
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            self.load_line(line.trim(), &format!("{} line {}", path.display(), index + 1))?;
        }
        Ok(())
    }

    /// One line without the white space around it, which came from `origin`.
    pub fn load_line(&mut self, line: &str, origin: &str) -> anyhow::Result<()> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let located = |reason: &dyn std::fmt::Display| anyhow::anyhow!("{origin}: '{line}': {reason}");
        let words = words::split_text(line).map_err(|reason| located(&reason))?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some((name, args)) = words.split_first() else { return Ok(()) };
        if name.eq_ignore_ascii_case("include") {
            let [path] = args else { return Err(located(&"wrong number of arguments")) };
            return self.include(Path::new(path)).with_context(|| format!("{origin}: '{line}'"));
        }
        match find(name) {
            Some(row) => self.assign(row, name, args),
            None => self.directive(name, args),
        }
        .map_err(|reason| located(&reason))
    }

    fn include(&mut self, path: &Path) -> anyhow::Result<()> {
        const INCLUDE_DEPTH_MAX: usize = 16;
        if self.include_depth == INCLUDE_DEPTH_MAX {
            bail!("files include each other more than {INCLUDE_DEPTH_MAX} deep");
        }
        self.include_depth += 1;
        self.load_file(path)?;
        self.include_depth -= 1;
        Ok(())
    }

    fn assign(&mut self, row: &'static Parameter, name: &str, args: &[&str]) -> Result<(), Reason> {
        // The whole value of several words may stand in one pair of quotes.
        let unquoted = match args {
            [only] if row.has(MULTI_ARG) && only.contains(' ') => Some(words::split_text(only)?),
            _ => None,
        };
        let args: Vec<&str> = match &unquoted {
            Some(words) => words.iter().map(String::as_str).collect(),
            None => args.to_vec(),
        };
        let earlier = row.show(&self.config);
        let is_addition = row.has(ADDS_UP) && self.adding_up.contains(&row.name) && args != [""];
        let args = if is_addition { earlier.split_whitespace().chain(args).collect() } else { args };
        match row.assign(&mut self.config, &args) {
            // A Redis built to defragment would start with this file, so it must not stop this server.
            Err(_) if matches!(row.rule, Rule::NeverYes(_)) && args == ["yes"] => self.warn_no_effect(name),
            Err(reason) => return Err(reason),
            Ok(()) if row.has(NO_EFFECT) && !row.is_default(&self.config, &self.default) => {
                self.warn_no_effect(name);
            }
            Ok(()) => {}
        }
        if row.has(ADDS_UP) && !is_addition {
            self.adding_up.push(row.name);
        }
        Ok(())
    }

    fn warn_no_effect(&mut self, name: &str) {
        let warning = format!("parameter '{}' has no effect in Russet", name.to_ascii_lowercase());
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Lines that are not parameters.
    fn directive(&mut self, name: &str, args: &[&str]) -> Result<(), Reason> {
        match (name.to_ascii_lowercase().as_str(), args) {
            ("user", [_, ..]) => self.config.users.push(args.iter().map(|&arg| arg.to_owned()).collect()),
            ("rename-command", [from, to]) => {
                self.config.renamed_commands.push(((*from).to_owned(), (*to).to_owned()));
            }
            ("user" | "rename-command", _) => return Err("wrong number of arguments".into()),
            ("loadmodule", _) => return Err("modules are not supported".into()),
            ("sentinel", _) => return Err("sentinel mode is not supported".into()),
            _ => return Err("unknown directive".into()),
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::SavePoint;
    use super::*;

    /// A file system of one file, `redis.conf`.
    pub fn one_file(text: &str) -> impl Fn(&Path) -> io::Result<String> {
        move |path| match path.to_str() {
            Some("redis.conf") => Ok(text.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn load(text: &str) -> Result<(Config, Vec<String>), String> {
        let read = one_file(text);
        let mut loader = Loader::new(&read);
        loader.load_file(Path::new("redis.conf")).map_err(|error| format!("{error:#}"))?;
        Ok((loader.config, loader.warnings))
    }

    #[track_caller]
    fn refuses(text: &str, expected: &str) {
        assert_eq!(load(text).unwrap_err(), expected);
    }

    #[test]
    fn a_file_as_packages_ship_it_is_read() {
        let (config, warnings) = load(
            "# Comment\r\n\n  bind 127.0.0.1 -::1\nPORT 6380\nalways-show-logo no\nunixsocketperm 700\n\
             proc-title-template \"{title} {listen-addr} {server-mode}\"\nnotify-keyspace-events \"\"\n\
             client-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 512mb 64mb 60\n\
             slaveof localhost 6379\nauto-aof-rewrite-min-size 64mb\nmaxmemory-clients 5%\n\
             shutdown-on-sigterm \"nosave force\"\njemalloc-bg-thread yes\ndaemonize yes\n\
             user bob on >secret ~*\nrename-command FLUSHALL \"\"\nactivedefrag yes\n",
        )
        .unwrap();
        assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
        assert_eq!((config.port, config.unixsocketperm), (6380, 0o700));
        assert_eq!(config.client_output_buffer_limits.replica.hard_bytes, 512 << 20);
        assert_eq!(config.replicaof.unwrap().port, 6379);
        assert!(config.shutdown_on_sigterm.nosave && config.shutdown_on_sigterm.force);
        assert_eq!(config.users[0][0], "bob");
        assert_eq!(config.renamed_commands, [("FLUSHALL".to_owned(), String::new())]);
        assert_eq!(
            warnings,
            [
                "parameter 'daemonize' has no effect in Russet",
                "parameter 'activedefrag' has no effect in Russet"
            ]
        );
    }

    #[test]
    fn save_lines_add_up_and_an_empty_one_starts_over() {
        let point = |seconds, changes| SavePoint { seconds, changes };
        assert_eq!(load("save 60 1\nsave 300 10").unwrap().0.save, [point(60, 1), point(300, 10)]);
        assert_eq!(load("save 60 1 300 10").unwrap().0.save, [point(60, 1), point(300, 10)]);
        assert_eq!(load("save 60 1\nsave \"\"\nsave 5 5").unwrap().0.save, [point(5, 5)]);
        assert_eq!(load("save \"\"").unwrap().0.save, []);
    }

    #[test]
    fn errors_name_the_file_the_line_and_the_reason() {
        refuses("port 1\nfoo bar\n", "redis.conf line 2: 'foo bar': unknown directive");
        refuses("port", "redis.conf line 1: 'port': wrong number of arguments");
        refuses(
            "\n# x\nport 70000",
            "redis.conf line 3: 'port 70000': argument must be between 0 and 65535 inclusive",
        );
        refuses("dir \"x", "redis.conf line 1: 'dir \"x': Unbalanced quotes in configuration line");
        refuses("replicaof a b", "redis.conf line 1: 'replicaof a b': Invalid master port");
        refuses("loadmodule x.so", "redis.conf line 1: 'loadmodule x.so': modules are not supported");
        refuses(
            "unixsocketperm 999",
            "redis.conf line 1: 'unixsocketperm 999': argument couldn't be parsed as an octal number",
        );
        refuses(
            "include nosuch.conf",
            "redis.conf line 1: 'include nosuch.conf': can't open config file 'nosuch.conf': entity not found",
        );
    }

    #[test]
    fn included_files_are_read_in_place_and_a_circle_is_refused() {
        let read = |path: &Path| -> io::Result<String> {
            Ok(match path.to_str() {
                Some("a.conf") => "port 1\ninclude b.conf\nhz 20".to_owned(),
                Some("b.conf") => "port 2\nhz 30".to_owned(),
                _ => "include c.conf".to_owned(),
            })
        };
        let mut loader = Loader::new(&read);
        loader.load_file(Path::new("a.conf")).unwrap();
        assert_eq!((loader.config.port, loader.config.hz), (2, 20));
        assert!(loader.load_file(Path::new("c.conf")).is_err());
    }
}
