//! XTRIM, and the trimming options that it shares with XADD.

use std::borrow::Cow;

use super::{ids, peek};
use crate::command::context::Ctx;
use crate::command::options::integer;
use crate::command::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::stream::{Keep, Stream, StreamId, Trim};

pub(in crate::command) const COMMANDS: &[CommandSpec] =
    &[CommandSpec::data("xtrim", -4, WRITE, "stream", xtrim)
        .keys(&[KeySpec::range(1, 1, 1, RW | DELETE)])
        .docs(
            "5.0.0",
            "O(N) where N is the number of entries removed, whole blocks of them at a time.",
            "Removes entries from the front of a stream.",
            "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]",
        )
        .tips(&["nondeterministic_output"])];

/// `XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]`
fn xtrim(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let mut options = TrimOptions::default();
    let mut at = 2;
    while at < args.len() {
        at += options.take(args, at)?.ok_or(ErrorReply::SYNTAX)?;
    }
    let Some(trim) = options.finish(ctx)? else {
        return Err(ErrorReply::fixed("ERR syntax error, XTRIM must be called with a trimming strategy"));
    };
    let key = args.bytes(1);
    let Some(stream) = ctx.db.write::<Stream>(key)? else {
        ctx.reply.integer(0);
        return Ok(Flow::Done);
    };
    let (removed, rest) = stream.trim(trim);
    ctx.db.discard(rest);
    if removed > 0 {
        ctx.modified(key, "xtrim");
        ctx.add_dirty(removed - 1);
        if trim.is_approximate && ctx.is_propagating() {
            let mut effect: Vec<Cow<'_, [u8]>> = args.iter().map(Cow::Borrowed).collect();
            options.make_exact(&mut effect, peek(ctx, key)?);
            ctx.propagate_as(effect);
        }
    }
    ctx.reply.integer(removed as i64);
    Ok(Flow::Done)
}

/// `<MAXLEN | MINID> [= | ~] threshold [LIMIT count]`, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct TrimOptions {
    keep: Option<Keep>,
    is_approximate: bool,
    limit: Option<i64>,
    /// Which argument the threshold is.
    threshold_at: usize,
}

impl TrimOptions {
    /// Takes the option at `at`; answers how many arguments it has, none if it is no option of trimming.
    pub fn take(&mut self, args: &Args<'_>, at: usize) -> Result<Option<usize>, ErrorReply> {
        let Some(next) = args.get(at + 1) else { return Ok(None) };
        let by_len = args.is(at, "MAXLEN");
        if by_len || args.is(at, "MINID") {
            if self.keep.is_some() {
                return Err(ErrorReply::fixed(
                    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                ));
            }
            let has_sign = args.len() > at + 2 && matches!(next, b"~" | b"=");
            self.is_approximate = has_sign && next == b"~";
            self.threshold_at = at + 1 + usize::from(has_sign);
            let threshold = args.bytes(self.threshold_at);
            self.keep = Some(if by_len {
                let error = ErrorReply::fixed("ERR The MAXLEN argument must be >= 0.");
                Keep::Len(u64::try_from(integer(threshold)?).map_err(|_| error)?)
            } else {
                Keep::From(ids::exact(threshold)?)
            });
            return Ok(Some(2 + usize::from(has_sign)));
        }
        if args.is(at, "LIMIT") {
            let limit = integer(next)?;
            if limit < 0 {
                return Err(ErrorReply::fixed("ERR The LIMIT argument must be >= 0."));
            }
            self.limit = Some(limit);
            return Ok(Some(2));
        }
        Ok(None)
    }

    /// What is to be trimmed, once all options were read; none if nothing.
    pub fn finish(&self, ctx: &Ctx<'_>) -> Result<Option<Trim>, ErrorReply> {
        /// How much one command trims at most, where it need not be exact and says nothing else.
        const LIMIT_MAX: u64 = 1_000_000;
        let Some(keep) = self.keep else {
            return match self.limit.unwrap_or(0) {
                0 => Ok(None),
                _ => Err(ErrorReply::fixed(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                )),
            };
        };
        let entries_max = match self.limit {
            // What the master has trimmed is trimmed.
            _ if ctx.must_obey => 0,
            Some(_) if !self.is_approximate => {
                return Err(ErrorReply::fixed(
                    "ERR syntax error, LIMIT cannot be used without the special ~ option",
                ));
            }
            Some(limit) => limit as u64,
            None if self.is_approximate => match ctx.config.stream_node_max_entries {
                0 => 10_000,
                entries => entries.saturating_mul(100).min(LIMIT_MAX),
            },
            None => 0,
        };
        Ok(Some(Trim { keep, is_approximate: self.is_approximate, entries_max }))
    }

    /// Changes the arguments of a command that trimmed about so much into those that trim just as much.
    pub fn make_exact(&self, args: &mut [Cow<'_, [u8]>], trimmed: Option<&Stream>) {
        let Some(stream) = trimmed else { return };
        args[self.threshold_at - 1] = Cow::Borrowed(b"=");
        args[self.threshold_at] = Cow::Owned(match self.keep {
            Some(Keep::From(_)) => ids::text(stream.first_stored_id().unwrap_or(StreamId::MAX)).to_vec(),
            _ => stream.len().to_string().into_bytes(),
        });
    }
}
