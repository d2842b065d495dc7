//! Commands on keys whatever they hold: removing, finding and counting them.
//!
//! What gives a key another name or place is in `relocate`, what asks about its representation in `object`.

use super::context::Ctx;
use super::scan_options::{Page, ScanOf, ScanOptions, cursor};
use super::spec::*;
use crate::base::glob::{self, Case};
use crate::resp::args::Args;
use crate::storage::db::PREFETCH_KEYS_MAX;

const ONE_KEY_READ: &[KeySpec] = &[KeySpec::range(1, 1, 1, RO)];
const ALL_KEYS_READ: &[KeySpec] = &[KeySpec::range(1, -1, 1, RO)];
const ALL_KEYS_REMOVED: &[KeySpec] = &[KeySpec::range(1, -1, 1, RM | DELETE)];

pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec::data("del", -2, WRITE, "generic", del)
        .keys(ALL_KEYS_REMOVED)
        .docs(
            "1.0.0",
            "O(N), N being the number of keys; large values are freed on another thread.",
            "Removes keys with their values.",
            "key [key ...]",
        )
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
    CommandSpec::data("unlink", -2, WRITE | FAST, "generic", del)
        .keys(ALL_KEYS_REMOVED)
        .docs(
            "4.0.0",
            "O(N), N being the number of keys; large values are freed on another thread.",
            "Removes keys; their memory is given back later.",
            "key [key ...]",
        )
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
    CommandSpec::data("exists", -2, READONLY | FAST, "generic", exists)
        .keys(ALL_KEYS_READ)
        .docs(
            "1.0.0",
            "O(N), N being the number of keys.",
            "Counts how many of the named keys are there.",
            "key [key ...]",
        )
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
    CommandSpec::data("type", 2, READONLY | FAST, "generic", type_).keys(ONE_KEY_READ).docs(
        "1.0.0",
        "O(1)",
        "Names the type of a key's value.",
        "key",
    ),
    CommandSpec::data("touch", -2, READONLY | FAST, "generic", touch)
        .keys(ALL_KEYS_READ)
        .docs(
            "3.2.1",
            "O(N), N being the number of keys.",
            "Counts as an access to keys; tells how many are there.",
            "key [key ...]",
        )
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
    CommandSpec::data("keys", 2, READONLY | DANGEROUS, "generic", keys)
        .looks_at(Extent::Keys)
        .docs(
            "1.0.0",
            "O(N), N being the number of keys of the database.",
            "Lists all keys whose names match a pattern.",
            "pattern",
        )
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"]),
    CommandSpec::data("scan", -2, READONLY | TOUCHES_ARBITRARY_KEYS, "generic", scan)
        .looks_at(Extent::ScanKeys)
        .docs(
            "2.8.0",
            "O(1) per call, O(N) for all N keys.",
            "Walks through the keys of the database in steps.",
            "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        )
        .tips(&["nondeterministic_output", "request_policy:special"]),
    CommandSpec::data("randomkey", 1, READONLY | TOUCHES_ARBITRARY_KEYS, "generic", randomkey)
        .docs("1.0.0", "O(1)", "Picks a key by chance.", "")
        .tips(&["request_policy:all_shards", "nondeterministic_output"]),
];

/// `DEL key [key ...]`, `UNLINK key [key ...]`
fn del(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let mut removed = 0;
    for keys in args.from(1).chunks(PREFETCH_KEYS_MAX) {
        ctx.db.prefetch(keys.iter());
        for key in keys.iter() {
            if ctx.db.remove(key) {
                ctx.modified(key, "del");
                removed += 1;
            }
        }
    }
    ctx.reply.integer(removed);
    Ok(Flow::Done)
}

/// `EXISTS key [key ...]`
fn exists(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let mut found = 0;
    for keys in args.from(1).chunks(PREFETCH_KEYS_MAX) {
        ctx.db.prefetch(keys.iter());
        found += keys.iter().filter(|key| ctx.db.look(key).is_some()).count();
    }
    ctx.reply.integer(found as i64);
    Ok(Flow::Done)
}

/// `TYPE key`
fn type_(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let name = ctx.db.look(args.bytes(1)).map_or("none", |value| value.type_name());
    ctx.reply.simple(name);
    Ok(Flow::Done)
}

/// `TOUCH key [key ...]`
fn touch(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let mut touched = 0;
    for keys in args.from(1).chunks(PREFETCH_KEYS_MAX) {
        ctx.db.prefetch(keys.iter());
        touched += keys.iter().filter(|key| ctx.db.touch(key, ctx.access)).count();
    }
    ctx.reply.integer(touched as i64);
    Ok(Flow::Done)
}

/// `KEYS pattern`
fn keys(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let pattern = args.bytes(1);
    let array = ctx.reply.defer();
    let mut found = 0;
    for item in ctx.db.iter() {
        if glob::matches(pattern, item.key, Case::Sensitive) {
            ctx.reply.bulk(item.key);
            found += 1;
        }
    }
    ctx.reply.end_array(array, found);
    Ok(Flow::Done)
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
fn scan(ctx: &mut Ctx<'_>, args: &Args<'_>) -> CommandResult {
    let cursor = cursor(args.bytes(1))?;
    let options = ScanOptions::parse(args.from(2), ScanOf::Keys)?;
    let mut page = Page::new(&ctx.reply);
    let next = ctx.db.scan_live(cursor, options.count, |item| {
        if options.matches(item.key) && options.matches_type(item.value.type_name()) {
            page.push(item.key);
        }
    });
    page.write(&mut ctx.reply, next);
    Ok(Flow::Done)
}

/// `RANDOMKEY`
fn randomkey(ctx: &mut Ctx<'_>, _args: &Args<'_>) -> CommandResult {
    match ctx.db.random_key() {
        Some(key) => ctx.reply.bulk(key),
        None => ctx.reply.null(),
    }
    Ok(Flow::Done)
}
