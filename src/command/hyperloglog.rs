//! PFADD, PFCOUNT, PFMERGE and what looks into a HyperLogLog. Its representation is `storage::hyperloglog`'s affair.
//!
//! PFCOUNT is a reading command that writes: it leaves the cardinality it has computed in the value.

use std::fmt::Write as _;

use smallvec::SmallVec;

use super::context::Ctx;
use super::spec::*;
use crate::resp::args::Args;
use crate::resp::error::ErrorReply;
use crate::storage::StringRef;
use crate::storage::hyperloglog::{
    Corrupt, Encoding, HyperLogLog, HyperLogLogMut, Mark, NotHyperLogLog, Run, Union,
};

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("pfadd", -2, WRITE | DENYOOM | FAST, "hyperloglog", pfadd)
        .keys(&[KeySpec::range(1, 1, 1, RW | INSERT)])
        .docs(
            "2.8.9",
            "O(1) to add every element.",
            "Adds elements to a HyperLogLog.",
            "key [element [element ...]]",
        ),
    CommandSpec::data("pfcount", -2, READONLY | MAY_REPLICATE, "hyperloglog", pfcount)
        .keys(&[KeySpec::range(1, -1, 1, RW | ACCESS).noted(
            "RW because it may change the internal representation of the key, and propagate to replicas",
        )])
        .docs(
            "2.8.9",
            "O(1) for a single key, O(N) for N keys, with a much larger constant.",
            "Estimates how many different elements one HyperLogLog or the union of several has had.",
            "key [key ...]",
        ),
    CommandSpec::data("pfmerge", -2, WRITE | DENYOOM, "hyperloglog", pfmerge)
        .keys(&[KeySpec::range(1, 1, 1, RW | ACCESS | INSERT), KeySpec::range(2, -1, 1, RO | ACCESS)])
        .docs(
            "2.8.9",
            "O(N) to merge N HyperLogLogs, with a large constant.",
            "Adds all that several HyperLogLogs have had to one of them.",
            "destkey [sourcekey [sourcekey ...]]",
        ),
    CommandSpec::data("pfdebug", 3, WRITE | DENYOOM | ADMIN, "hyperloglog", pfdebug)
        .keys(&[KeySpec::range(2, 2, 1, RW | ACCESS)])
        .docs(
            "2.8.9",
            "O(N) where N is the number of registers.",
            "Looks into a HyperLogLog, for tests.",
            "subcommand key",
        )
        .for_the_system(),
    CommandSpec::data("pfselftest", 1, ADMIN, "hyperloglog", pfselftest)
        .docs(
            "2.8.9",
            "O(N) where N is the number of elements that the test adds.",
            "Tests the HyperLogLog implementation.",
            "",
        )
        .for_the_system(),
];

impl From<NotHyperLogLog> for ErrorReply {
    fn from(_: NotHyperLogLog) -> Self {
        Self::fixed("WRONGTYPE Key is not a valid HyperLogLog string value.")
    }
}

impl From<Corrupt> for ErrorReply {
    fn from(_: Corrupt) -> Self {
        Self::fixed("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// A string as a HyperLogLog. An integer is none.
fn of_string(string: StringRef<'_>) -> Result<HyperLogLog<'_>, NotHyperLogLog> {
    match string {
        StringRef::Bytes(bytes) => HyperLogLog::of(bytes),
        StringRef::Int(_) => Err(NotHyperLogLog),
    }
}

/// Lets `change` work on the HyperLogLog at `key`, which is created if there is no such key. If it fails, the value is
/// as it was.
fn change<R>(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    change: impl FnOnce(&mut HyperLogLogMut<'_>) -> Result<R, Corrupt>,
) -> Result<R, ErrorReply> {
    let is_sparse = match ctx.db.peek_string(key)? {
        Some(string) => of_string(string)?.encoding() == Encoding::Sparse,
        None => false,
    };
    let sparse_bytes_max = ctx.config.hll_sparse_max_bytes;
    ctx.db.update_string(key, |bytes| {
        // Only a sparse one can turn out to be corrupt while it is changed, and it is short.
        let backup = is_sparse.then(|| bytes.clone());
        let result = HyperLogLogMut::of_or_new(bytes, sparse_bytes_max)
            .map_err(ErrorReply::from)
            .and_then(|mut hyperloglog| Ok(change(&mut hyperloglog)?));
        if let (Err(_), Some(backup)) = (&result, backup) {
            *bytes = backup;
        }
        result
    })?
}

/// Redis keeps so short a string in one piece with its header until a command may change it, also if it does not.
const SHORT_BYTES: usize = 44;

/// `PFADD key [element [element ...]]`
fn pfadd(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let mut marks: SmallVec<[Mark; 8]> = args.from(2).iter().map(Mark::of).collect();
    let (is_new, is_short) = match ctx.db.peek_string(key)? {
        Some(string) => {
            let hyperloglog = of_string(string)?;
            marks.retain(|mark| hyperloglog.may_change_by(*mark));
            let is_short = matches!(string, StringRef::Bytes(bytes) if bytes.len() <= SHORT_BYTES);
            (false, is_short)
        }
        None => (true, false),
    };
    // Most elements have been there before, and then nothing is written, nor copied for a snapshot.
    if marks.is_empty() && !is_new && !is_short {
        ctx.db.access(key);
        ctx.reply.integer(0);
        return Ok(Flow::Done);
    }
    let changes = change(ctx, key, |hyperloglog| {
        let mut changes = u64::from(is_new);
        for mark in marks {
            changes += u64::from(hyperloglog.add(mark)?);
        }
        if changes > 0 {
            hyperloglog.invalidate();
        }
        Ok(changes)
    })?;
    if changes > 0 {
        ctx.modified(key, "pfadd");
        ctx.add_dirty(changes - 1);
    }
    ctx.reply.integer(i64::from(changes > 0));
    Ok(Flow::Done)
}

/// `PFCOUNT key [key ...]`
fn pfcount(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    if args.len() > 2 {
        let cardinality = union(ctx, args)?.cardinality();
        ctx.reply.integer(cardinality as i64);
        return Ok(Flow::Done);
    }
    let key = args.bytes(1);
    let Some(string) = ctx.db.string(key)? else {
        ctx.reply.integer(0);
        return Ok(Flow::Done);
    };
    let hyperloglog = of_string(string)?;
    let cardinality = match hyperloglog.cached_cardinality() {
        Some(cardinality) => {
            if matches!(string, StringRef::Bytes(bytes) if bytes.len() <= SHORT_BYTES) {
                change(ctx, key, |_| Ok(()))?;
            }
            cardinality
        }
        None => {
            let cardinality = hyperloglog.cardinality()?;
            change(ctx, key, |hyperloglog| {
                hyperloglog.cache_cardinality(cardinality);
                Ok(())
            })?;
            ctx.modified_silently(key);
            cardinality
        }
    };
    ctx.reply.integer(cardinality as i64);
    Ok(Flow::Done)
}

/// The union of the HyperLogLogs at all keys; one that is missing is empty.
fn union(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Result<Union, ErrorReply> {
    let mut union = Union::default();
    for key in args.from(1).iter() {
        if let Some(string) = ctx.db.string(key)? {
            union.add(of_string(string)?)?;
        }
    }
    Ok(union)
}

/// `PFMERGE destkey [sourcekey [sourcekey ...]]`
fn pfmerge(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let key = args.bytes(1);
    let union = union(ctx, args)?;
    change(ctx, key, |hyperloglog| {
        hyperloglog.take_union(&union)?;
        hyperloglog.invalidate();
        Ok(())
    })?;
    // The event is that of an addition, which a merge is.
    ctx.modified(key, "pfadd");
    ctx.reply.ok();
    Ok(Flow::Done)
}

/// `PFDEBUG <GETREG | DECODE | ENCODING | TODENSE> key`
fn pfdebug(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    if args.is(1, "SIMD") {
        // There is one way to count, and the compiler makes use of wide words where there are any.
        if !args.is(2, "ON") && !args.is(2, "OFF") {
            return Err(ErrorReply::SYNTAX);
        }
        ctx.reply.ok();
        return Ok(Flow::Done);
    }
    let key = args.bytes(2);
    let Some(string) = ctx.db.peek_string(key)? else {
        return Err(ErrorReply::fixed("ERR The specified key does not exist"));
    };
    let hyperloglog = of_string(string)?;
    let encoding = hyperloglog.encoding();
    match () {
        () if args.is(1, "GETREG") => {
            make_dense(ctx, key, encoding)?;
            write_registers(ctx, key)?;
        }
        () if args.is(1, "DECODE") => {
            if encoding != Encoding::Sparse {
                return Err(ErrorReply::fixed("ERR HLL encoding is not sparse"));
            }
            let decoded = decoded(hyperloglog);
            ctx.reply.bulk(decoded);
        }
        () if args.is(1, "ENCODING") => ctx.reply.simple(encoding.name()),
        () if args.is(1, "TODENSE") => {
            let is_changed = make_dense(ctx, key, encoding)?;
            ctx.reply.integer(i64::from(is_changed));
        }
        () => {
            let name = String::from_utf8_lossy(args.bytes(1));
            return Err(ErrorReply::new(format!("ERR Unknown PFDEBUG subcommand '{name}'")));
        }
    }
    Ok(Flow::Done)
}

/// Makes the HyperLogLog at `key` dense if it is not; whether it was.
fn make_dense(ctx: &mut Ctx<'_>, key: &[u8], encoding: Encoding) -> Result<bool, ErrorReply> {
    if encoding == Encoding::Dense {
        return Ok(false);
    }
    change(ctx, key, |hyperloglog| hyperloglog.make_dense())?;
    ctx.modified_silently(key);
    Ok(true)
}

fn write_registers(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<(), ErrorReply> {
    let mut union = Union::default();
    if let Some(string) = ctx.db.peek_string(key)? {
        union.add(of_string(string)?)?;
    }
    ctx.reply.array(union.registers().len());
    union.registers().iter().for_each(|&rank| ctx.reply.integer(i64::from(rank)));
    Ok(())
}

/// Runs in the notation of PFDEBUG DECODE: `z:3 v:2,1 Z:16380`.
fn decoded(hyperloglog: HyperLogLog<'_>) -> String {
    let mut text = String::new();
    for run in hyperloglog.runs() {
        let written = match run {
            Run::Zero { len } => write!(text, "z:{len} "),
            Run::XZero { len } => write!(text, "Z:{len} "),
            Run::Val { rank, len } => write!(text, "v:{rank},{len} "),
        };
        written.expect("a string takes everything");
    }
    text.truncate(text.trim_end().len());
    text
}

/// `PFSELFTEST`
fn pfselftest(ctx: &mut Ctx<'_>, _: &Args<'_>) -> CommandResult {
    /// Redis adds ten million, for which this server would stand still for longer than a test is worth.
    const ELEMENTS: u64 = 100_000;
    let failed = |what: String| Err(ErrorReply::new(format!("TESTFAILED {what}")));
    let sparse_bytes_max = ctx.config.hll_sparse_max_bytes;
    let (mut sparse, mut dense) = (Vec::new(), Vec::new());
    let mut sparse = HyperLogLogMut::of_or_new(&mut sparse, sparse_bytes_max)?;
    let mut dense = HyperLogLogMut::of_or_new(&mut dense, sparse_bytes_max)?;
    dense.make_dense()?;
    let seed = ctx.rng.u64(..);
    let mut checkpoint = 1;
    for n in 1..=ELEMENTS {
        let mark = Mark::of(&(n ^ seed).to_le_bytes());
        if sparse.add(mark)? != dense.add(mark)? {
            return failed(format!("dense/sparse disagree on element {n}"));
        }
        if n < checkpoint {
            continue;
        }
        checkpoint *= 10;
        let cardinality = dense.as_ref().cardinality()?;
        if sparse.as_ref().cardinality()? != cardinality {
            return failed("dense/sparse disagree".to_owned());
        }
        if n < sparse_bytes_max as u64 / 2 && sparse.as_ref().encoding() != Encoding::Sparse {
            return failed("sparse encoding not used".to_owned());
        }
        // Six times the standard error; among few elements two may share a register.
        let error_max = (n as f64 * 6.0 * 1.04 / 128.0).ceil() as u64;
        let error = cardinality.abs_diff(n);
        if error > error_max {
            return failed(format!("Too big error. card:{n} abserr:{error}"));
        }
    }
    ctx.reply.ok();
    Ok(Flow::Done)
}
