//! `oom-score-adj`: how gladly the kernel ends this process when memory runs out.
//!
//! The score that the process was started with is read when the first own one is written, and put back when the parameter
//! is switched off. There is no saving child, so the last of `oom-score-adj-values` is nobody's.

use std::io;
use std::sync::{Mutex, PoisonError};

use super::log;
use crate::config::{Config, OomScoreAdj, SetError};

const SCORE: &str = "/proc/self/oom_score_adj";
const SCORE_MAX: i32 = 1000;

#[derive(Default)]
pub struct OomScore {
    /// The score from before; set while one of ours is in force.
    before: Mutex<Option<i32>>,
}

impl OomScore {
    /// CONFIG SET has changed these parameters.
    pub fn apply(&self, config: &Config, is_master: bool, changed: &[&'static str]) -> Result<(), SetError> {
        let Some(name) = changed.iter().find(|name| name.starts_with("oom-score-adj")) else { return Ok(()) };
        let reason = "Failed to set current oom_score_adj. Check server logs.";
        self.adjust(config, is_master).map_err(|_| SetError::failed(name, reason))
    }

    /// Brings the score to what configuration and role ask for. What goes wrong is in the log.
    pub fn adjust(&self, config: &Config, is_master: bool) -> io::Result<()> {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let [of_master, of_replica, _] = config.oom_score_adj_values;
        let value = if is_master { of_master } else { of_replica };
        let score = match (config.oom_score_adj, *before) {
            (OomScoreAdj::No, None) => return Ok(()),
            (OomScoreAdj::No, Some(base)) => base,
            (mode, known) => {
                let base = known.map_or_else(read, Ok).inspect_err(|error| complain("read", error))?;
                *before = Some(base);
                if mode == OomScoreAdj::Absolute { value } else { base + value }
            }
        };
        let score = score.clamp(-SCORE_MAX, SCORE_MAX);
        std::fs::write(SCORE, format!("{score}\n")).inspect_err(|error| complain("write", error))?;
        if config.oom_score_adj == OomScoreAdj::No {
            *before = None;
        }
        Ok(())
    }
}

fn read() -> io::Result<i32> {
    let text = std::fs::read_to_string(SCORE)?;
    text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not a number"))
}

fn complain(what: &str, error: &io::Error) {
    log::warning(&format!("Unable to {what} oom_score_adj: {error}"));
}
