//! What the configuration asks of the operating system: directory, file descriptors, pid file, background.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::log;
use crate::config::{Config, SetError};

/// File descriptors for everything but clients; Redis' figure.
const RESERVED_FDS: u64 = 32;

/// Makes `dir` the working directory, and absolute.
pub fn enter_dir(config: &mut Config) -> anyhow::Result<()> {
    std::env::set_current_dir(&config.dir).with_context(|| format!("Can't chdir to '{}'", config.dir))?;
    let dir = std::env::current_dir().context("cannot tell the working directory")?;
    config.dir = dir.to_str().with_context(|| format!("{} is not valid UTF-8", dir.display()))?.to_owned();
    Ok(())
}

/// CONFIG SET has changed these parameters: what must be done, or why it cannot.
pub fn apply(config: &mut Config, changed: &[&'static str]) -> Result<(), SetError> {
    if changed.contains(&"dir") {
        let reason = match std::env::set_current_dir(&config.dir) {
            Ok(()) => {
                return enter_dir(config).map_err(|error| SetError::failed("dir", format!("{error:#}")));
            }
            Err(error) => error,
        };
        let text = reason.to_string();
        // The operating system's own sentence, without the number that Rust adds.
        let text = text.split(" (os error").next().unwrap_or_default().to_owned();
        return Err(SetError::failed("dir", text));
    }
    if changed.contains(&"maxclients") {
        let wanted = config.maxclients;
        fit_maxclients(config);
        if config.maxclients < wanted {
            let reason = "The operating system is not able to handle the specified number of clients, \
                          try with a lower number";
            return Err(SetError::failed("maxclients", reason));
        }
    }
    Ok(())
}

/// Raises the limit of file descriptors to what `maxclients` needs, or lowers `maxclients` to what there is.
pub fn fit_maxclients(config: &mut Config) {
    let wanted = u64::from(config.maxclients) + RESERVED_FDS;
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|&current| current < wanted) else { return };
    let reachable = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    // The superuser may raise the hard limit too.
    let raised = [wanted, reachable].into_iter().find(|&fds| {
        let maximum = limit.maximum.map(|maximum| maximum.max(fds));
        setrlimit(Resource::Nofile, Rlimit { current: Some(fds), maximum }).is_ok()
    });
    let available = raised.unwrap_or(current);
    if available < wanted {
        let maxclients = available.saturating_sub(RESERVED_FDS).max(1);
        log::warning(&format!(
            "maxclients {} needs {wanted} file descriptors, but the limit is {available}: maxclients is now \
             {maxclients}",
            config.maxclients
        ));
        config.maxclients = maxclients as u32;
    }
}

/// A pid file that goes when the server ends.
pub struct PidFile(Option<PathBuf>);

impl PidFile {
    pub fn create(path: &str) -> Self {
        if path.is_empty() {
            return Self(None);
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        match std::fs::write(&path, format!("{}\n", std::process::id())) {
            Ok(()) => Self(Some(path)),
            Err(error) => {
                log::warning(&format!("cannot write the pid file {}: {error}", path.display()));
                Self(None)
            }
        }
    }

    pub fn remove(&self) {
        if let Some(path) = &self.0 {
            log::notice("Removing the pid file.");
            // It may have been removed by somebody else.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// `daemonize yes`: starts this program anew in the background, with the same arguments; the caller ends.
pub fn spawn_in_background() -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};
    let program = std::env::current_exe().context("cannot find this program")?;
    Command::new(program)
        .args(std::env::args_os().skip(1))
        .args(["--daemonize", "no"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start in the background")?;
    Ok(())
}

/// The configuration file as it is found after the working directory has changed.
pub fn absolute(path: Option<&Path>) -> String {
    let Some(path) = path else { return String::new() };
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
