//! The command table: every row, found by name.

use std::sync::{LazyLock, OnceLock};

use super::GROUPS;
use super::spec::{BeginSearch, CommandSpec, FindKeys, Handler, KeySpec};
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::error::ErrorReply;

/// All commands of this server.
pub static TABLE: LazyLock<CommandTable> = LazyLock::new(|| {
    CommandTable::new(RENAMES.get().map_or(&[], |renames| &renames[..]))
        .unwrap_or_else(|wrong| panic!("{wrong}"))
});

/// What `rename-command` says, set before the table is first used.
static RENAMES: OnceLock<Vec<(String, String)>> = OnceLock::new();

/// Gives commands the names that `rename-command` says; an empty one removes the command. To be called once, before any
/// command is looked up. The error names the line's first fault.
pub fn rename_commands(renames: Vec<(String, String)>) -> Result<(), String> {
    CommandTable::new(&renames)?;
    RENAMES.set(renames).map_err(|_| "commands can be renamed at the start only".to_owned())
}

/// Names longer than this are no command's.
const NAME_BYTES_MAX: usize = 48;
/// At least four times the number of rows, so that a search mostly ends where it begins.
const NAME_SLOTS: usize = 2048;
const FREE: u16 = u16::MAX;

pub struct CommandTable {
    rows: Vec<&'static CommandSpec>,
    /// For each row, the argument that is its first key; 0 if it has none at a fixed place.
    first_keys: Vec<u8>,
    /// For each row, how many arguments behind that key a member of its collection is; 0 if there is none.
    members: Vec<u8>,
    by_name: Names,
    /// The names before `rename-command`, if it was used: a master's stream speaks them.
    by_original_name: Option<Names>,
    /// By index: whether the next word names a sub-command.
    has_subcommands: Vec<bool>,
}

/// What a request's first words name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The index of a row.
    Found(u16),
    Unknown,
    /// The index of the container whose sub-command is unknown.
    UnknownSubcommand(u16),
}

impl CommandTable {
    fn new(renames: &[(String, String)]) -> Result<Self, String> {
        let rows: Vec<&'static CommandSpec> = GROUPS.iter().flat_map(|group| group.iter()).collect();
        let originals = Names::new(rows.iter().map(|row| row.name.to_owned()).collect());
        let by_name = originals.renamed(renames)?;
        let by_original_name = (!renames.is_empty()).then_some(originals);
        let first_keys = rows.iter().map(|row| first_key(row)).collect();
        let members = rows.iter().map(|row| first_member(row)).collect();
        let parents: hashbrown::HashSet<&str> =
            rows.iter().filter_map(|row| Some(row.name.split_once('|')?.0)).collect();
        let has_subcommands = rows
            .iter()
            .map(|row| matches!(row.handler, Handler::Container) || parents.contains(row.name))
            .collect();
        Ok(Self { rows, first_keys, members, by_name, by_original_name, has_subcommands })
    }

    pub fn rows(&self) -> &[&'static CommandSpec] {
        &self.rows
    }

    pub fn row(&self, index: u16) -> &'static CommandSpec {
        self.rows[index as usize]
    }

    /// The first key of a request, where the row's place for it is fixed, and the first member of its collection that the
    /// request names.
    pub fn first_key<'a>(&self, lookup: Lookup, args: &Args<'a>) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let Lookup::Found(index) = lookup else { return None };
        match usize::from(self.first_keys[usize::from(index)]) {
            0 => None,
            at => {
                let member = match usize::from(self.members[usize::from(index)]) {
                    0 => None,
                    behind => args.get(at + behind),
                };
                Some((args.get(at)?, member))
            }
        }
    }

    /// The row of a full name (`get`, `config|get`) in any case.
    pub fn by_name(&self, name: &[u8]) -> Option<u16> {
        self.by_name.find(name)
    }

    /// The sub-commands of a container.
    pub fn subcommands(&self, container: &CommandSpec) -> impl Iterator<Item = &'static CommandSpec> {
        let name = container.name;
        self.rows
            .iter()
            .copied()
            .filter(move |row| row.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('|')))
    }

    /// What a client's request names.
    pub fn lookup(&self, args: &Args<'_>) -> Lookup {
        self.lookup_in(&self.by_name, args)
    }

    /// Whether every request that begins with the same name names the same row.
    pub fn is_found_by_name(&self, lookup: Lookup) -> bool {
        matches!(lookup, Lookup::Found(index) if !self.has_subcommands[usize::from(index)] && !self.row(index).name.contains('|'))
    }

    /// What a request of a master's stream names, which does not know of this server's `rename-command`.
    pub fn lookup_original(&self, args: &Args<'_>) -> Lookup {
        self.lookup_in(self.by_original_name.as_ref().unwrap_or(&self.by_name), args)
    }

    fn lookup_in(&self, names: &Names, args: &Args<'_>) -> Lookup {
        let Some(index) = names.find(args.bytes(0)) else { return Lookup::Unknown };
        // A row's name is no command's when it joins two words.
        if args.bytes(0).contains(&b'|') {
            return Lookup::Unknown;
        }
        if !self.has_subcommands[index as usize] {
            return Lookup::Found(index);
        }
        let Some(sub) = args.get(1) else { return Lookup::Found(index) };
        let mut name = Vec::with_capacity(NAME_BYTES_MAX);
        name.extend_from_slice(self.row(index).name.as_bytes());
        name.push(b'|');
        name.extend_from_slice(&sub[..sub.len().min(NAME_BYTES_MAX)]);
        names.find(&name).map_or(Lookup::UnknownSubcommand(index), Lookup::Found)
    }

    /// A client's request under the command's own name, where `rename-command` gave it another: what replicas and
    /// monitors read of it.
    pub fn in_original_name(&self, lookup: Lookup, args: &Args<'_>) -> Option<OwnedArgs> {
        self.by_original_name.as_ref()?;
        let Lookup::Found(index) = lookup else { return None };
        let (name, _) = self.row(index).name.split_once('|').unwrap_or((self.row(index).name, ""));
        if args.bytes(0).eq_ignore_ascii_case(name.as_bytes()) {
            return None;
        }
        Some(std::iter::once(name.as_bytes()).chain(args.from(1).iter()).collect())
    }

    /// The row that a request names and whose arity it meets, or what its client reads.
    pub fn resolve(&self, lookup: Lookup, args: &Args<'_>) -> Result<&'static CommandSpec, ErrorReply> {
        match lookup {
            Lookup::Found(index) => {
                let row = self.row(index);
                if row.accepts_arity(args.len()) { Ok(row) } else { Err(ErrorReply::wrong_arity(row.name)) }
            }
            Lookup::Unknown => Err(ErrorReply::unknown_command(args.bytes(0), args.from(1).iter())),
            Lookup::UnknownSubcommand(index) => {
                Err(ErrorReply::unknown_subcommand(self.row(index).name, args.bytes(1)))
            }
        }
    }
}

/// Names of rows, by their index, and the way back.
struct Names {
    names: Vec<String>,
    /// Indexes by the hash of their name, open addressing; `FREE` ends a search.
    slots: Box<[u16; NAME_SLOTS]>,
}

impl Names {
    /// Rows with an empty name are not found.
    fn new(names: Vec<String>) -> Self {
        assert!(names.len() * 4 <= NAME_SLOTS, "the table of names has to grow with the rows");
        let mut slots = Box::new([FREE; NAME_SLOTS]);
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let mut slot = slot_of(name.as_bytes());
            while slots[slot] != FREE {
                slot = (slot + 1) % NAME_SLOTS;
            }
            slots[slot] = index as u16;
        }
        Self { names, slots }
    }

    /// One renaming after the other, as Redis reads them.
    fn renamed(&self, renames: &[(String, String)]) -> Result<Self, String> {
        let mut names = self.names.clone();
        for (from, to) in renames {
            let find = |name: &str| names.iter().position(|known| known.eq_ignore_ascii_case(name));
            let Some(index) = find(from).filter(|_| !from.is_empty() && !from.contains('|')) else {
                return Err(format!("No such command in rename-command: '{from}'"));
            };
            if !to.is_empty() && (find(to).is_some() || to.contains('|')) {
                return Err(format!("Target command name already exists: '{to}'"));
            }
            names[index] = to.to_ascii_lowercase();
        }
        Ok(Self::new(names))
    }

    fn find(&self, name: &[u8]) -> Option<u16> {
        let mut slot = slot_of(name);
        loop {
            let index = self.slots[slot];
            if index == FREE {
                return None;
            }
            if self.names[usize::from(index)].as_bytes().eq_ignore_ascii_case(name) {
                return Some(index);
            }
            slot = (slot + 1) % NAME_SLOTS;
        }
    }
}

/// Where the search for a name begins: its first and last eight bytes, without their case, spread by a multiplication.
fn slot_of(name: &[u8]) -> usize {
    let (head, tail) = match name.len() {
        0..=8 => (word(name), 0),
        len => (word(&name[..8]), word(&name[len - 8..])),
    };
    const IGNORED_CASE: u64 = 0x2020_2020_2020_2020;
    let mixed =
        ((head | IGNORED_CASE) ^ (tail | IGNORED_CASE).rotate_left(29)).wrapping_add(name.len() as u64);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % NAME_SLOTS
}

/// Up to eight bytes as a number.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// How many arguments behind the first key the usage line names a member or field, options left out.
fn first_member(row: &CommandSpec) -> u8 {
    let mut depth = 0;
    let mut required = 0;
    for word in row.docs.usage.split_whitespace() {
        let is_nested = depth > 0 || word.starts_with(['[', '<']);
        depth += word.matches(['[', '<']).count();
        depth -= word.matches([']', '>']).count();
        if !is_nested {
            if matches!(word, "member" | "field") {
                return required;
            }
            required += 1;
        }
    }
    0
}

fn first_key(row: &CommandSpec) -> u8 {
    match row.keys.first() {
        Some(KeySpec { begin: BeginSearch::Index(at), find: FindKeys::Range { .. }, .. }) => *at as u8,
        // If the number is zero it is no key, which costs nothing but time.
        Some(KeySpec { begin: BeginSearch::Index(at), find: FindKeys::Count { first, .. }, .. }) => {
            (at + first) as u8
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_command_is_named_by_two_words_only() {
        let lookup = |words: &[&str]| {
            let args: crate::resp::args::OwnedArgs = words.iter().collect();
            TABLE.lookup(&args.as_args())
        };
        assert!(matches!(lookup(&["config", "get", "x"]), Lookup::Found(_)));
        assert_eq!(lookup(&["config|get", "x"]), Lookup::Unknown);
    }

    #[test]
    fn renamed_commands_answer_to_their_new_name_alone() {
        let rename = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect();
            CommandTable::new(&pairs)
        };
        let args = |words: &str| -> OwnedArgs { words.split(' ').collect() };
        let table =
            rename(&[("CONFIG", "s3cret"), ("flushall", ""), ("get", "old-get"), ("set", "get")]).unwrap();
        let name_of = |lookup| match lookup {
            Lookup::Found(index) => table.row(index).name,
            _ => "none",
        };
        let found = |words: &str| name_of(table.lookup(&args(words).as_args()));
        assert_eq!(
            ["config get x", "S3CRET get x", "flushall", "get k v", "old-get k", "set k v"].map(found),
            ["none", "config|get", "none", "set", "get", "none"]
        );
        let original = |words: &str| name_of(table.lookup_original(&args(words).as_args()));
        assert_eq!(["flushall", "get k", "old-get k"].map(original), ["flushall", "get", "none"]);
        let spoken = args("get k v");
        let (args, lookup) = (spoken.as_args(), table.lookup(&spoken.as_args()));
        let said = table.in_original_name(lookup, &args).unwrap();
        assert_eq!(said.as_args().iter().collect::<Vec<_>>(), [&b"set"[..], b"k", b"v"]);

        assert!(rename(&[("nosuch", "x")]).is_err());
        assert!(rename(&[("get", "set")]).is_err());
        assert!(rename(&[("config|get", "x")]).is_err());
    }

    #[test]
    fn members_are_found_behind_the_key() {
        let place = |name: &str| TABLE.members[usize::from(TABLE.by_name(name.as_bytes()).unwrap())];
        assert_eq!(["hset", "hget", "sadd", "zscore", "zadd", "zincrby"].map(place), [1, 1, 1, 1, 2, 2]);
        assert_eq!(["get", "hgetall", "zrange", "sinter", "lpush", "ping"].map(place), [0; 6]);
    }

    #[test]
    fn names_are_unique_lower_case_and_found_in_any_case() {
        for (index, row) in TABLE.rows().iter().enumerate() {
            assert_eq!(row.name, row.name.to_ascii_lowercase());
            assert_eq!(
                TABLE.by_name(row.name.to_ascii_uppercase().as_bytes()),
                Some(index as u16),
                "{}",
                row.name
            );
        }
    }
}
