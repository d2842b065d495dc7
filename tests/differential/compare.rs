//! When two replies are the same: byte by byte, or as an exception allows. Knows what a transaction has queued.

use russet::resp::value::Value;

use crate::round::{Reply, shown};
use crate::scene::Heard;
use crate::{exceptions, scores};

/// The conversation so far.
#[derive(Default)]
pub struct Comparison {
    /// The commands of the open transaction.
    queued: Vec<Vec<Vec<u8>>>,
    /// The command before, and our answer to it.
    last: Option<(Vec<Vec<u8>>, Value)>,
}

impl Comparison {
    /// Compares the replies to one command; the two as texts if they differ.
    pub fn check(&mut self, words: &[Vec<u8>], ours: &Reply, theirs: &Reply) -> Result<(), (String, String)> {
        let is_equal = if words[0].eq_ignore_ascii_case(b"exec") {
            let queued = std::mem::take(&mut self.queued);
            ours.bytes == theirs.bytes || self.are_results_equal(&queued, &ours.value, &theirs.value)
        } else {
            ours.bytes == theirs.bytes || self.is_same(words, &ours.value, &theirs.value)
        };
        if words[0].eq_ignore_ascii_case(b"discard") && !theirs.value.is_error() {
            self.queued.clear();
        }
        if theirs.bytes == b"+QUEUED\r\n" {
            self.queued.push(words.to_vec());
        } else if !words[0].eq_ignore_ascii_case(b"exec") {
            self.remember(words, &ours.value);
        }
        // What the exceptions compare are values: our text of each must be the one that there is for it.
        let is_canonical = ours.bytes == theirs.bytes
            || bytes_of(&ours.value) == ours.bytes && are_doubles_shortest(&ours.value);
        if is_equal && is_canonical { Ok(()) } else { Err((shown(&ours.bytes), shown(&theirs.bytes))) }
    }

    /// Compares what the clients of a scene have heard.
    pub fn check_scene(
        &mut self,
        ours: Result<Vec<Heard>, String>,
        theirs: Result<Vec<Heard>, String>,
    ) -> Result<(), (String, String)> {
        let (ours, theirs) = match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => (ours, theirs),
            (ours, theirs) => return Err((text_of(&ours), text_of(&theirs))),
        };
        let is_equal = ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(ours, theirs)| {
                ours.waiter == theirs.waiter && self.check(&ours.words, &ours.reply, &theirs.reply).is_ok()
            });
        if is_equal { Ok(()) } else { Err((text_of(&Ok(ours)), text_of(&Ok(theirs)))) }
    }

    fn are_results_equal(&mut self, queued: &[Vec<Vec<u8>>], ours: &Value, theirs: &Value) -> bool {
        let (Some(ours), Some(theirs)) = (ours.elements(), theirs.elements()) else { return false };
        ours.len() == theirs.len()
            && queued.len() == ours.len()
            && queued.iter().zip(ours.iter().zip(theirs)).all(|(words, (ours, theirs))| {
                let is_same = bytes_of(ours) == bytes_of(theirs) || self.is_same(words, ours, theirs);
                self.remember(words, ours);
                is_same
            })
    }

    /// Several consumers may be asked for behind one command.
    fn remember(&mut self, words: &[Vec<u8>], ours: &Value) {
        let is_creation = words.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"createconsumer"));
        if !is_creation {
            self.last = Some((words.to_vec(), ours.clone()));
        }
    }

    /// Whether the two are the same but for what the exceptions of this command allow.
    fn is_same(&self, words: &[Vec<u8>], ours: &Value, theirs: &Value) -> bool {
        let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
        let name = String::from_utf8_lossy(&words[0]).to_ascii_lowercase();
        for exception in exceptions::EXCEPTIONS.iter().filter(|it| it.commands.contains(&name.as_str())) {
            (exception.reconcile)(words, &mut ours, &mut theirs);
        }
        if let Some((last_words, last)) = &self.last {
            exceptions::reconcile_behind(last_words, last, words, &ours, &mut theirs);
        }
        bytes_of(&ours) == bytes_of(&theirs)
    }
}

fn text_of(heard: &Result<Vec<Heard>, String>) -> String {
    match heard {
        Err(error) => error.clone(),
        Ok(heard) => heard.iter().fold(String::new(), |mut text, heard| {
            let who = heard.waiter.map_or("driver".to_owned(), |waiter| format!("client {waiter}"));
            text += &format!("\n    {who} {}", shown(&heard.reply.bytes));
            text
        }),
    }
}

fn are_doubles_shortest(value: &Value) -> bool {
    match value {
        Value::Double(number) => {
            let mut text = String::new();
            russet::resp::reply::format_double(*number, &mut text);
            text == scores::text(*number)
        }
        Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => {
            elements.iter().all(are_doubles_shortest)
        }
        Value::Map(pairs) => {
            pairs.iter().all(|(key, value)| are_doubles_shortest(key) && are_doubles_shortest(value))
        }
        _ => true,
    }
}

pub fn bytes_of(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.write(&mut bytes);
    bytes
}
