//! When two replies are the same: byte by byte, or as an exception allows. Knows what a transaction has queued.

use russet::resp::value::Value;

use crate::exceptions;
use crate::round::{Reply, shown};

/// The conversation so far.
#[derive(Default)]
pub struct Comparison {
    /// The commands of the open transaction.
    queued: Vec<Vec<Vec<u8>>>,
}

impl Comparison {
    /// Compares the replies to one command; the two as texts if they differ.
    pub fn check(&mut self, words: &[Vec<u8>], ours: &Reply, theirs: &Reply) -> Result<(), (String, String)> {
        let is_equal = if words[0].eq_ignore_ascii_case(b"exec") {
            let queued = std::mem::take(&mut self.queued);
            ours.bytes == theirs.bytes || are_results_equal(&queued, &ours.value, &theirs.value)
        } else {
            ours.bytes == theirs.bytes || is_same(words, ours.value.clone(), theirs.value.clone())
        };
        if words[0].eq_ignore_ascii_case(b"discard") && !theirs.value.is_error() {
            self.queued.clear();
        }
        if theirs.bytes == b"+QUEUED\r\n" {
            self.queued.push(words.to_vec());
        }
        if is_equal { Ok(()) } else { Err((shown(&ours.bytes), shown(&theirs.bytes))) }
    }
}

fn are_results_equal(queued: &[Vec<Vec<u8>>], ours: &Value, theirs: &Value) -> bool {
    match (ours.elements(), theirs.elements()) {
        (Some(ours), Some(theirs)) => {
            ours.len() == theirs.len()
                && queued.len() == ours.len()
                && queued.iter().zip(ours.iter().zip(theirs)).all(|(words, (ours, theirs))| {
                    bytes_of(ours) == bytes_of(theirs) || is_same(words, ours.clone(), theirs.clone())
                })
        }
        _ => false,
    }
}

/// Whether the two are the same but for what the exceptions of this command allow.
fn is_same(words: &[Vec<u8>], mut ours: Value, mut theirs: Value) -> bool {
    let name = String::from_utf8_lossy(&words[0]).to_ascii_lowercase();
    for exception in exceptions::EXCEPTIONS.iter().filter(|it| it.commands.contains(&name.as_str())) {
        (exception.reconcile)(words, &mut ours, &mut theirs);
    }
    bytes_of(&ours) == bytes_of(&theirs)
}

pub fn bytes_of(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.write(&mut bytes);
    bytes
}
