//! What COMMAND and COMMAND DOCS tell of every command that both servers have, field by field.

use std::collections::BTreeMap;

use russet::resp::value::Value;

use crate::harness::Server;

/// Redis 7.0's sub-commands that are missing here, and the fields that a newer version has changed.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("blmove", "flags", "scripts may use it since 7.2"),
    ("blpop", "flags", "scripts may use it since 7.2"),
    ("brpop", "flags", "scripts may use it since 7.2"),
    ("brpoplpush", "flags", "scripts may use it since 7.2"),
    ("bzpopmax", "flags", "scripts may use it since 7.2"),
    ("bzpopmin", "flags", "scripts may use it since 7.2"),
    ("wait", "flags", "scripts may use it, and it blocks, since 7.2"),
    ("wait", "categories", "it blocks since 7.2"),
    ("command|getkeys", "arity", "-3 since 7.2"),
    ("command|getkeysandflags", "arity", "-3 since 7.2"),
    ("zrank", "arity", "-3 since 7.2, with WITHSCORE"),
    ("zrevrank", "arity", "-3 since 7.2, with WITHSCORE"),
];

/// The elements of a command's row, by the names of the command reference.
const FIELDS: [&str; 9] =
    ["name", "arity", "flags", "first key", "last key", "step", "categories", "tips", "key specifications"];

/// The facts of a command in COMMAND DOCS. Words about it are our own, and arguments are described as since 7.2.
const FACTS: [&str; 5] = ["since", "group", "doc_flags", "deprecated_since", "replaced_by"];

/// The text of each field of each command; what is unordered is sorted.
type Table = BTreeMap<(String, String), String>;

#[test]
fn every_command_is_described_as_redis_describes_it() {
    let tables = [Server::russet(&[]), Server::redis(&[])].map(|server| {
        let mut client = server.client();
        let mut table = Table::new();
        for row in client.call("COMMAND").elements().unwrap() {
            add_row(row, &mut table);
        }
        add_docs(&client.call("COMMAND DOCS"), &mut table);
        table
    });
    let [ours, theirs] = &tables;
    let mut wrong = Vec::new();
    for ((name, field), expected) in theirs {
        let is_here = ours.contains_key(&(name.clone(), "arity".to_owned()));
        let is_known = DIFFERENCES.iter().any(|(of, what, _)| of == name && what == field);
        let found = ours.get(&(name.clone(), field.clone()));
        if is_here && !is_known && found != Some(expected) {
            wrong.push(format!("{name}: {field}\n    ours   {found:?}\n    theirs {expected:?}"));
        }
    }
    let compared = theirs
        .keys()
        .filter(|(name, field)| field == "arity" && ours.contains_key(&(name.clone(), field.clone())));
    let compared = compared.count();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 280, "only {compared} commands were compared");
}

fn add_row(row: &Value, table: &mut Table) {
    let elements = row.elements().unwrap();
    let name = String::from_utf8_lossy(elements[0].as_bytes().unwrap()).into_owned();
    for (field, value) in FIELDS.iter().zip(elements).skip(1) {
        let text = if *field == "key specifications" { format!("{value:?}") } else { sorted(value) };
        table.insert((name.clone(), (*field).to_owned()), text);
    }
    for row in elements[9].elements().unwrap() {
        add_row(row, table);
    }
}

fn add_docs(docs: &Value, table: &mut Table) {
    for pair in docs.elements().unwrap().chunks_exact(2) {
        let name = String::from_utf8_lossy(pair[0].as_bytes().unwrap()).into_owned();
        for fact in pair[1].elements().unwrap().chunks_exact(2) {
            let field = String::from_utf8_lossy(fact[0].as_bytes().unwrap()).into_owned();
            if field == "subcommands" {
                add_docs(&fact[1], table);
            } else if FACTS.contains(&&field[..]) {
                table.insert((name.clone(), field), sorted(&fact[1]));
            }
        }
    }
}

fn sorted(value: &Value) -> String {
    match value.elements() {
        Some(elements) => {
            let mut texts: Vec<String> = elements.iter().map(|element| format!("{element:?}")).collect();
            texts.sort();
            texts.join(" ")
        }
        None => format!("{value:?}"),
    }
}
