//! The command line: `russet [CONFIG-FILE] [--parameter value ...] [-]`.
//!
//! Every parameter is a flag, named and read as in redis.conf; the flags follow the files, in their order. An
//! argument after a flag is its value even when it begins with `--`, as redis-server has it, so the values
//! are gathered here before clap sees the flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::file::{Loader, ReadFile};
use super::parameter::COMMON;
use super::{Config, PARAMETERS, Parameter, REDIS_VERSION, find, words};

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    Run(Box<Startup>),
    /// Check these files instead of serving.
    Check(CheckOptions),
    /// Print this text (help, version) and exit with 0.
    Print(String),
}

/// `russet check`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOptions {
    pub files: Vec<PathBuf>,
    /// Cut off the end of an append-only file where it is broken.
    pub fix: bool,
}

/// A server that can start.
#[derive(Debug)]
pub struct Startup {
    pub config: Config,
    /// As given; CONFIG REWRITE writes it.
    pub config_file: Option<PathBuf>,
    pub warnings: Vec<String>,
}

/// Reads the command line `argv`, which begins with the program, and the files that it names. `read` is given
/// `-` for the standard input. An error is one line for the operator when displayed with `{:#}`.
pub fn parse(argv: impl IntoIterator<Item = OsString>, read: ReadFile<'_>) -> anyhow::Result<Invocation> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    if argv.get(1).is_some_and(|word| word == CHECK) {
        return parse_check(argv);
    }
    let given = Given::gather(argv)?;
    let matches = match command().try_get_matches_from(given.clap_arguments()) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Ok(Invocation::Print(error.render().to_string()));
        }
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            let (version, bits) = (env!("CARGO_PKG_VERSION"), usize::BITS);
            return Ok(Invocation::Print(format!(
                "russet v={version} redis_version={REDIS_VERSION} bits={bits}\n"
            )));
        }
        Err(error) => {
            // Mistakes are reported in their order, and a wrong value may stand before the unknown flag.
            let known = given.flags.iter().take_while(|flag| is_known(&flag.name));
            load(&given, known.map(Flag::line), read)?;
            bail!("command line: {}", one_line(&error));
        }
    };
    let loader = load(&given, flag_lines(&matches).into_iter(), read)?;
    loader.config.validate()?;
    let config_file = given.file.map(PathBuf::from);
    Ok(Invocation::Run(Box::new(Startup { config: loader.config, config_file, warnings: loader.warnings })))
}

/// The word that makes `russet` a tool.
const CHECK: &str = "check";

fn parse_check(argv: Vec<OsString>) -> anyhow::Result<Invocation> {
    let command = Command::new("russet").subcommand(check_command());
    let matches = match command.try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return Ok(Invocation::Print(error.render().to_string()));
        }
        Err(error) => bail!("command line: {}", one_line(&error)),
    };
    let matches = matches.subcommand_matches(CHECK).context("command line: nothing to check")?;
    Ok(Invocation::Check(CheckOptions {
        files: matches.get_many::<PathBuf>("FILE").into_iter().flatten().cloned().collect(),
        fix: matches.get_flag("fix"),
    }))
}

fn check_command() -> Command {
    Command::new(CHECK)
        .about("Check snapshots, append-only files and their manifests")
        .long_about(
            "Reads files as the server would, without loading them, and says whether they are whole: snapshots (RDB), \
             append-only files (AOF), and manifests (*.manifest) with all files that they list. Exits with 1 if one \
             is not.",
        )
        .arg(
            Arg::new("FILE")
                .help("What to check")
                .required(true)
                .num_args(1..)
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(Arg::new("fix").long("fix").action(ArgAction::SetTrue).help(
            "Cut an append-only file off behind its last whole command; of those in a manifest only the last",
        ))
}

fn load<'a>(
    given: &Given,
    lines: impl Iterator<Item = String>,
    read: ReadFile<'a>,
) -> anyhow::Result<Loader<'a>> {
    let mut loader = Loader::new(read);
    if let Some(path) = &given.file {
        loader.load_file(Path::new(path))?;
    }
    if given.reads_stdin {
        loader.load_file(Path::new("-")).context("standard input")?;
    }
    for line in lines {
        loader.load_line(line.trim(), "command line")?;
    }
    Ok(loader)
}

/// The command line with every flag's values gathered.
struct Given {
    program: OsString,
    file: Option<String>,
    reads_stdin: bool,
    flags: Vec<Flag>,
    /// What is neither a flag nor a value: clap says what it thinks of it.
    rest: Vec<String>,
}

struct Flag {
    name: String,
    /// The values, quoted as in redis.conf.
    values: Vec<String>,
}

impl Flag {
    fn line(&self) -> String {
        format!("{} {}", self.name, self.values.join(" "))
    }

    /// `argument` is the next one after those that it has; whether it is another value of this flag.
    fn takes(&self, argument: &str) -> bool {
        let is_flag = argument.starts_with("--");
        // `--save --port 1`: scripts write an empty list so.
        !is_flag || (self.values.is_empty() && !self.name.eq_ignore_ascii_case("save") && !self.is_complete())
    }

    /// Its values came in the same argument, or it has none.
    fn is_complete(&self) -> bool {
        !self.values.is_empty() || matches!(self.name.as_str(), "help" | "version")
    }
}

impl Given {
    fn gather(argv: impl IntoIterator<Item = OsString>) -> anyhow::Result<Self> {
        let mut argv = argv.into_iter();
        let program = argv.next().unwrap_or_else(|| "russet".into());
        let mut given = Self { program, file: None, reads_stdin: false, flags: Vec::new(), rest: Vec::new() };
        let mut argv = argv.enumerate().peekable();
        while let Some((index, argument)) = argv.next() {
            let argument = argument
                .into_string()
                .map_err(|bad| anyhow::anyhow!("command line: '{}' is not valid UTF-8", bad.display()))?;
            let is_at_an_end = index == 0 || argv.peek().is_none();
            match given.flags.last_mut() {
                _ if argument == "-" && is_at_an_end => given.reads_stdin = true,
                Some(flag) if flag.takes(&argument) => flag.values.push(words::quote(&argument)),
                _ if argument.len() > 2 && argument.starts_with("--") => {
                    given.flags.push(split_flag(&argument))
                }
                _ if index == 0 && !argument.starts_with('-') => given.file = Some(argument),
                // `redis.conf loglevel verbose`: what stands before all flags is a line, too.
                None if is_known(&argument) => given.flags.push(Flag { name: argument, values: Vec::new() }),
                _ => given.rest.push(argument),
            }
        }
        for flag in &mut given.flags {
            if flag.values.is_empty() && flag.name.eq_ignore_ascii_case("save") {
                flag.values.push(words::quote(""));
            }
        }
        Ok(given)
    }

    fn clap_arguments(&self) -> Vec<OsString> {
        let mut arguments = vec![self.program.clone()];
        arguments.extend(self.file.iter().map(OsString::from));
        arguments.extend(self.rest.iter().map(OsString::from));
        arguments.extend(self.flags.iter().map(|flag| {
            let name = flag.name.to_ascii_lowercase();
            match name.as_str() {
                "help" | "version" => format!("--{name}").into(),
                _ => format!("--{name}={}", flag.values.join(" ")).into(),
            }
        }));
        arguments
    }
}

/// `--name`, `--name=value` or, in one argument, `--name value`.
fn split_flag(argument: &str) -> Flag {
    let argument = &argument[2..];
    if let Some((name, values)) = argument.split_once(char::is_whitespace) {
        let values = values.trim();
        let values = if values.is_empty() { Vec::new() } else { vec![values.to_owned()] };
        return Flag { name: name.to_owned(), values };
    }
    match argument.split_once('=') {
        Some((name, value)) => Flag { name: name.to_owned(), values: vec![words::quote(value)] },
        None => Flag { name: argument.to_owned(), values: Vec::new() },
    }
}

/// The flags as lines of redis.conf, in the order in which they were given.
fn flag_lines(matches: &ArgMatches) -> Vec<String> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for id in matches.ids().map(clap::Id::as_str).filter(|&id| is_known(id)) {
        let values = matches.get_many::<String>(id).into_iter().flatten();
        let indices = matches.indices_of(id).into_iter().flatten();
        lines.extend(indices.zip(values).map(|(index, value)| (index, format!("{id} {value}"))));
    }
    lines.sort_by_key(|(index, _)| *index);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Lines of redis.conf that are not parameters, and yet flags.
const DIRECTIVES: [(&str, &str, &str); 4] = [
    ("include", "FILE", "Read another configuration file"),
    ("user", "NAME RULE...", "Define a user and its rules, as ACL SETUSER does"),
    ("rename-command", "NAME NEW-NAME", "Rename a command; an empty new name removes it"),
    ("loadmodule", "FILE", "Not supported"),
];

fn is_known(name: &str) -> bool {
    find(name).is_some() || DIRECTIVES.iter().any(|(directive, ..)| directive.eq_ignore_ascii_case(name))
}

fn command() -> Command {
    let config = Config::default();
    let mut command = Command::new("russet")
        .version(REDIS_VERSION)
        .about("A Redis-compatible in-memory data server")
        .override_usage(
            "russet [CONFIG-FILE] [--PARAMETER VALUE...]... [-]\n       russet check [--fix] FILE...",
        )
        .after_help(
            "Every parameter of redis.conf is a flag: '--name value' is the line 'name value' after the lines of\n\
             CONFIG-FILE. CONFIG GET '*' lists them all. With '-', lines are read from the standard input as well.\n\n\
             Examples:\n  russet --port 7777 --replicaof 127.0.0.1 6379\n  russet /etc/redis/redis.conf --loglevel \
             verbose\n  russet --save 3600 1 300 100 --appendonly yes\n  echo 'maxmemory 128mb' | russet -\n  russet check \
             appendonlydir/appendonly.aof.manifest\n\n'russet check' checks snapshots and append-only files; see \
             'russet check --help'.",
        )
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(Arg::new("CONFIG-FILE").help("File in the syntax of redis.conf"))
        .arg(Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Print this help"))
        .arg(
            Arg::new("version").short('v').long("version").action(ArgAction::Version).help("Print the version"),
        );
    for (name, placeholder, help) in DIRECTIVES {
        command = command.arg(value_flag(name).value_name(placeholder).help(help).hide(name != "include"));
    }
    command.args(PARAMETERS.iter().map(|row| parameter_flag(row, &config)))
}

fn parameter_flag(row: &'static Parameter, config: &Config) -> Arg {
    let default = row.show(config);
    let choices = row.choices(config);
    let mut help = row.help.trim().to_owned();
    if !choices.is_empty() {
        help.push_str(&format!(": {}", choices.join(", ")));
    }
    if !default.is_empty() {
        help.push_str(&format!(" [{default}]"));
    }
    value_flag(row.name)
        .aliases(row.alias)
        .value_name(row.placeholder(config))
        .help(help)
        .help_heading(row.group)
        .hide(!row.has(COMMON))
}

fn value_flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::Append).num_args(1).allow_hyphen_values(true)
}

/// Clap's complaint without its hints at other pages.
fn one_line(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string);
    match (error.kind(), context(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(argument)) => match context(ContextKind::SuggestedArg) {
            Some(similar) => format!("unknown flag '{argument}', did you mean '{similar}'?"),
            None => format!("unknown argument '{argument}', see --help"),
        },
        _ => {
            let text = error.render().to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::{load as load_text, one_file};
    use super::*;

    const FILE: &str = "port 7000\nloglevel verbose\nsave 3600 1\n";

    fn run(arguments: &[&str]) -> Result<Startup, String> {
        let read = |path: &Path| match path.to_str() {
            Some("-") => Ok("port 8000\n".to_owned()),
            _ => one_file(FILE)(path),
        };
        let argv = ["russet"].iter().chain(arguments).map(OsString::from);
        match parse(argv, &read).map_err(|error| format!("{error:#}"))? {
            Invocation::Run(startup) => Ok(*startup),
            Invocation::Check(options) => Err(format!("{options:?}")),
            Invocation::Print(text) => Err(text),
        }
    }

    #[test]
    fn check_is_a_tool_of_its_own() {
        let checked = |arguments: &[&str]| match parse(
            ["russet"].iter().chain(arguments).map(OsString::from),
            &|_: &Path| Ok(String::new()),
        ) {
            Ok(Invocation::Check(options)) => Ok(options),
            Ok(_) => Err("something else".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        };
        let options = checked(&["check", "--fix", "a.aof", "dump.rdb"]).unwrap();
        assert_eq!(options, CheckOptions { files: vec!["a.aof".into(), "dump.rdb".into()], fix: true });
        assert!(!checked(&["check", "a"]).unwrap().fix);
        assert_eq!(checked(&["check"]).unwrap_err().lines().count(), 1);
        assert!(checked(&["check", "a", "--no"]).unwrap_err().contains("--no"));
    }

    #[track_caller]
    fn refuses(arguments: &[&str], expected: &str) {
        assert_eq!(run(arguments).unwrap_err(), expected);
    }

    /// The flags must mean the same as the lines.
    #[track_caller]
    fn check(arguments: &[&str], lines: &str) {
        assert_eq!(run(arguments).unwrap().config, load_text(lines).unwrap().0, "{arguments:?}");
    }

    #[test]
    fn flags_are_lines() {
        check(&[], "");
        check(&["--port", "6380", "--appendonly", "yes"], "port 6380\nappendonly yes");
        check(&["--port=6380", "--LogLevel=debug"], "port 6380\nloglevel debug");
        check(&["--port 6380"], "port 6380");
        check(&["--save", "60", "1", "--save", "5", "5"], "save 60 1 5 5");
        check(&["--save", "", "--hz", "20"], "save \"\"\nhz 20");
        check(&["--save", "--hz", "20"], "save \"\"\nhz 20");
        check(&["--save"], "save \"\"");
        check(&["--bind", "*", "-::*", "--port", "1"], "bind * -::*\nport 1");
        check(&["--replicaof", "localhost", "6379"], "replicaof localhost 6379");
        check(&["--slaveof", "localhost 6379"], "replicaof localhost 6379");
        check(&["--shutdown-on-sigint", "nosave force"], "shutdown-on-sigint nosave force");
        check(&["--list-max-ziplist-size", "-3"], "list-max-listpack-size -3");
        check(&["--dbfilename", "--my--name"], "dbfilename --my--name");
        check(&["--user", "bob", "on", ">x"], "user bob on >x");
        check(&["--requirepass", "a \"b\" \n"], "requirepass \"a \\\"b\\\" \\n\"");
        check(&["--enable-debug-command", "yes"], "enable-debug-command yes");
        check(&["--maxmemory '700mb'", "--dbfilename 'a b'"], "maxmemory 700mb\ndbfilename \"a b\"");
    }

    #[test]
    fn words_behind_the_file_are_a_line_until_the_first_flag() {
        let startup = run(&["redis.conf", "loglevel", "warning", "--maxmemory '700mb'"]).unwrap();
        assert_eq!(startup.config.loglevel, super::super::LogLevel::Warning);
        assert_eq!((startup.config.port, startup.config.maxmemory), (7000, 700 << 20));
        refuses(&["redis.conf", "loglevel"], "command line: 'loglevel': wrong number of arguments");
        refuses(&["redis.conf", "nosuch", "1"], "command line: unknown argument 'nosuch', see --help");
    }

    #[test]
    fn every_parameter_is_a_flag_with_the_value_of_its_line() {
        for row in PARAMETERS {
            let value = row.show(&Config::default());
            for name in row.names() {
                let flag = format!("--{name}");
                check(&[&flag, &value], &format!("{name} {}", words::quote(&value)));
            }
        }
    }

    #[test]
    fn the_file_comes_first_then_the_standard_input_then_the_flags() {
        let startup = run(&["redis.conf", "--loglevel", "debug", "-"]).unwrap();
        assert_eq!(startup.config_file, Some(PathBuf::from("redis.conf")));
        assert_eq!((startup.config.port, startup.config.loglevel), (8000, super::super::LogLevel::Debug));
        assert_eq!(run(&["-"]).unwrap().config.port, 8000);
        assert_eq!(run(&["redis.conf", "--port", "1", "--port", "2"]).unwrap().config.port, 2);
    }

    #[test]
    fn errors_are_one_line_in_the_order_of_the_flags() {
        refuses(&["--port"], "command line: 'port': wrong number of arguments");
        refuses(
            &["--port", "--loglevel"],
            "command line: 'port \"--loglevel\"': argument couldn't be parsed into an integer",
        );
        refuses(&["--appendonly"], "command line: 'appendonly': wrong number of arguments");
        refuses(
            &["--replicaof", "--127.0.0.1", "--abc"],
            "command line: 'replicaof \"--127.0.0.1\"': wrong number of arguments",
        );
        refuses(&["--replicaof", "1", "abc"], "command line: 'replicaof \"1\" \"abc\"': Invalid master port");
        refuses(
            &["--shutdown-on-sigint", "now", "--shutdown-on-sigterm"],
            "command line: 'shutdown-on-sigterm': argument(s) must be one of the following: default, save, nosave, \
             now, force",
        );
        refuses(&["--prot", "1"], "command line: unknown flag '--prot', did you mean '--port'?");
        assert!(run(&["nosuch.conf"]).unwrap_err().starts_with("can't open config file 'nosuch.conf'"));
        for bad in [&["-x"][..], &["redis.conf", "other.conf"]] {
            assert_eq!(run(bad).unwrap_err().lines().count(), 1, "{bad:?}");
        }
    }

    #[test]
    fn help_and_version_are_printed() {
        let version = concat!("russet v=", env!("CARGO_PKG_VERSION"), " redis_version=7.4.0 bits=64\n");
        refuses(&["--version"], version);
        refuses(&["-v"], version);
        let help = run(&["--help"]).unwrap_err();
        assert_eq!(run(&["-h"]).unwrap_err(), help);
        for expected in ["Replication:", "--replicaof <HOST PORT>", "Every parameter of redis.conf is a flag"]
        {
            assert!(help.contains(expected), "{help}");
        }
        assert!(!help.contains("--tls-port"));
    }
}
