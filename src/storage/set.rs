//! The set: an intset while all members are integers, a packed buffer while it is small ("listpack"), a table
//! of fields without values beyond ("hashtable").
//!
//! Encodings change as in Redis 7.2, and only towards the table.

use super::cow::Cow;
use super::{intset, intset::IntSet};
use super::{limits::EncodingLimits, packed, packed::Packed, table, table::Table};

pub use super::table::Lost;
use crate::base::number::parse_i64;

#[derive(Clone, Default)]
pub struct Set {
    repr: Repr,
}

#[derive(Clone)]
enum Repr {
    /// Members as strings, or the buffer of an intset.
    Small(Packed<false>),
    Table(Cow<Table>),
}

impl Default for Repr {
    fn default() -> Self {
        Self::Small(Packed::default())
    }
}

/// A member where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Member<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Member<'a> {
    /// The member's text; the buffer is where an integer's is written.
    pub fn as_bytes<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Int(integer) => buffer.format(integer).as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.as_bytes(&mut itoa::Buffer::new()).to_vec()
    }
}

/// The three encodings, as reading sees them.
enum View<'a> {
    Ints(IntSet<'a>),
    Packed(&'a Packed<false>),
    Table(&'a Table),
}

impl Set {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        match self.view() {
            View::Ints(ints) => ints.len(),
            View::Packed(members) => members.len(),
            View::Table(table) => table.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name that `OBJECT ENCODING` gives.
    pub fn encoding(&self) -> &'static str {
        match self.view() {
            View::Ints(_) => "intset",
            View::Packed(_) => "listpack",
            View::Table(_) => "hashtable",
        }
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        match self.view() {
            View::Ints(ints) => parse_i64(member).is_some_and(|integer| ints.contains(integer)),
            View::Packed(members) => members.find(member, 1).is_some(),
            View::Table(table) => table.get(member).is_some(),
        }
    }

    /// Whether a member of another set is one of this set as well.
    pub fn contains_member(&self, member: Member<'_>) -> bool {
        match (self.view(), member) {
            (View::Ints(ints), Member::Int(integer)) => ints.contains(integer),
            (_, Member::Int(integer)) => self.contains(itoa::Buffer::new().format(integer).as_bytes()),
            (_, Member::Bytes(bytes)) => self.contains(bytes),
        }
    }

    /// The number of members and their bytes, of a set in its packed form.
    pub(super) fn packed_entries(&self) -> Option<(usize, &[u8])> {
        match self.view() {
            View::Packed(members) => Some((members.len(), members.entries())),
            _ => None,
        }
    }

    /// Becomes the set that has such a packed form.
    pub(super) fn fill_packed(&mut self, count: usize, entries: &[u8]) {
        if let Repr::Table(_) = self.repr {
            self.repr = Repr::default();
        }
        if let Repr::Small(small) = &mut self.repr {
            small.fill(count, entries);
        }
    }

    /// Adds a member; false if it is there already.
    pub fn insert(&mut self, member: &[u8], limits: &EncodingLimits) -> bool {
        if let Repr::Table(table) = &mut self.repr {
            return Table::insert_shared(table, member, b"");
        }
        let is_empty = self.is_empty();
        if let (Repr::Small(small), Some(integer)) = (&mut self.repr, parse_i64(member))
            && (IntSet::of(small.buf()).is_some() || (is_empty && limits.set_max_intset_entries > 0))
        {
            if !intset::insert(small.buf_mut(), integer) {
                return false;
            }
            if self.len() > limits.set_max_intset_entries {
                self.repr = Repr::Table(Cow::new(self.to_table()));
            }
            return true;
        }
        if self.contains(member) {
            return false;
        }
        if !self.stays_packed_with(member, limits) {
            let mut table = self.to_table();
            table.insert(member, b"");
            self.repr = Repr::Table(Cow::new(table));
        } else if let Repr::Small(small) = &mut self.repr {
            if let Some(ints) = IntSet::of(small.buf()) {
                let mut strings = Packed::default();
                ints.iter().for_each(|integer| strings.push_back(&Member::Int(integer).to_vec()));
                *small = strings;
            }
            small.push_back(member);
        }
        true
    }

    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.repr {
            Repr::Table(table) => Table::remove_shared(table, member),
            Repr::Small(small) if IntSet::of(small.buf()).is_some() => {
                parse_i64(member).is_some_and(|integer| intset::remove(small.buf_mut(), integer))
            }
            Repr::Small(small) => {
                let Some(span) = small.find(member, 1) else { return false };
                small.splice(span, 1, &[]);
                true
            }
        }
    }

    pub fn iter(&self) -> Iter<'_> {
        match self.view() {
            View::Ints(ints) => Iter::Ints { ints, next: 0 },
            View::Packed(members) => Iter::Packed(members.iter()),
            View::Table(table) => Iter::Table(table.iter()),
        }
    }

    /// A member drawn with equal chances.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<Member<'_>> {
        match self.view() {
            View::Ints(ints) => ints.get(rng.usize(..ints.len())).map(Member::Int),
            View::Packed(members) if members.is_empty() => None,
            View::Packed(members) => members.get(rng.usize(..members.len())).map(Member::Bytes),
            View::Table(table) => table.random(rng).map(|(member, _)| Member::Bytes(member)),
        }
    }

    /// Removes a member drawn with equal chances.
    pub fn pop_random(&mut self, rng: &mut fastrand::Rng) -> Option<Vec<u8>> {
        let member = self.random(rng)?.to_vec();
        self.remove(&member);
        Some(member)
    }

    /// Takes `count` members out at once; every choice has the same chance. None while the set is small: then they are
    /// to be drawn and removed.
    pub fn pop_many(&mut self, count: usize, rng: &mut fastrand::Rng) -> Option<Lost> {
        match &mut self.repr {
            Repr::Small(_) => None,
            Repr::Table(table) => Some(table.make_mut().thin(count, rng)),
        }
    }

    /// Whether `pop_many` has left something for `settle`.
    pub fn is_unsettled(&self) -> bool {
        matches!(&self.repr, Repr::Table(table) if table.is_unsettled())
    }

    /// Cleans up behind `pop_many`: `max` segments at most.
    pub fn settle(&mut self, max: usize) {
        if let Repr::Table(table) = &mut self.repr {
            table.make_mut().settle(max);
        }
    }

    /// `count` distinct members, or all if there are no more; every choice has the same chance.
    pub fn random_distinct(&self, count: usize, rng: &mut fastrand::Rng) -> Vec<Member<'_>> {
        table::draw_distinct(self.len(), count, rng, || self.iter(), |rng| self.random(rng))
    }

    /// Draws `count` times, each time any member with equal chances; an empty set has none to tell.
    pub fn random_repeated(&self, count: usize, rng: &mut fastrand::Rng, tell: impl FnMut(Member<'_>)) {
        table::draw_repeated(self.len(), count, rng, || self.iter(), |rng| self.random(rng), tell);
    }

    /// Tells about `count` members from the cursor on and returns the next cursor, 0 after the last. A member
    /// that is present from the first call to the last is told at least once. A small set is told at once.
    pub fn scan(&self, cursor: u64, count: usize, mut tell: impl FnMut(Member<'_>)) -> u64 {
        match self.view() {
            View::Table(table) => table.scan(cursor, count, |member, _| tell(Member::Bytes(member))),
            View::Ints(_) | View::Packed(_) => {
                self.iter().for_each(tell);
                0
            }
        }
    }

    /// Where the large form lies, which a copy shares until either changes; none while it is small.
    pub fn large_root(&self) -> Option<*const ()> {
        match &self.repr {
            Repr::Table(root) => Some(root.as_ptr().cast()),
            Repr::Small(_) => None,
        }
    }

    /// The bytes allocated for this set, without the handle itself; takes a step per segment.
    pub fn memory_bytes(&self) -> usize {
        match &self.repr {
            Repr::Small(small) => small.memory_bytes(),
            Repr::Table(table) => 16 + table.memory_bytes(),
        }
    }

    /// About how many allocations are freed with the set.
    pub fn free_effort(&self) -> usize {
        match &self.repr {
            Repr::Small(_) => 1,
            Repr::Table(table) => table.free_effort(),
        }
    }

    /// The table of a set that has one.
    pub(super) fn table(&self) -> Option<&Table> {
        if let Repr::Table(table) = &self.repr { Some(table) } else { None }
    }

    fn view(&self) -> View<'_> {
        match &self.repr {
            Repr::Table(table) => View::Table(table),
            Repr::Small(small) => IntSet::of(small.buf()).map_or(View::Packed(small), View::Ints),
        }
    }

    fn stays_packed_with(&self, member: &[u8], limits: &EncodingLimits) -> bool {
        let widest = match self.view() {
            View::Ints(ints) => {
                let ends = [ints.get(0), ints.get(ints.len() - 1)];
                ends.into_iter().flatten().map(|end| Member::Int(end).to_vec().len()).max().unwrap_or(0)
            }
            View::Packed(_) => 0,
            View::Table(_) => return false,
        };
        self.len() < limits.set_max_listpack_entries
            && widest.max(member.len()) <= limits.set_max_listpack_value
    }

    fn to_table(&self) -> Table {
        let mut table = Table::new();
        let mut buffer = itoa::Buffer::new();
        for member in self.iter() {
            table.insert(member.as_bytes(&mut buffer), b"");
        }
        table
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|member| String::from_utf8_lossy(&member.to_vec()).into_owned()))
            .finish()
    }
}

/// The members of a set; integers ascend, others are in no particular order.
#[derive(Clone)]
pub enum Iter<'a> {
    Ints { ints: IntSet<'a>, next: usize },
    Packed(packed::Iter<'a, false>),
    Table(table::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        match self {
            Self::Ints { ints, next } => {
                let integer = ints.get(*next)?;
                *next += 1;
                Some(Member::Int(integer))
            }
            Self::Packed(members) => members.next().map(Member::Bytes),
            Self::Table(pairs) => pairs.next().map(|(member, _)| Member::Bytes(member)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    fn member() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            10 => (-30i64..30).prop_map(|n| n.to_string().into_bytes()),
            1 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
            1 => (0u8..40).prop_map(|n| format!("m{n}").into_bytes()),
            1 => Just(b"007".to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn a_set_is_a_set_and_its_clones_never_change(
            steps in prop::collection::vec((0u8..10, member()), 0..150),
            ints in 0usize..40, entries in 0usize..40, bytes in 1usize..21,
        ) {
            let limits = EncodingLimits {
                set_max_intset_entries: ints,
                set_max_listpack_entries: entries,
                set_max_listpack_value: bytes,
                ..EncodingLimits::default()
            };
            let (mut set, mut model) = (Set::new(), HashSet::new());
            let mut frozen = (set.clone(), model.clone());
            let mut rng = fastrand::Rng::with_seed(3);
            for (kind, member) in steps {
                match kind {
                    0..6 => prop_assert_eq!(set.insert(&member, &limits), model.insert(member.clone())),
                    6..8 => prop_assert_eq!(set.remove(&member), model.remove(&member)),
                    8 => match set.pop_random(&mut rng) {
                        Some(popped) => prop_assert!(model.remove(&popped)),
                        None => prop_assert!(model.is_empty()),
                    },
                    _ => frozen = (set.clone(), model.clone()),
                }
                prop_assert_eq!(set.contains(&member), model.contains(&member));
                for (set, model) in [(&set, &model), (&frozen.0, &frozen.1)] {
                    prop_assert_eq!(set.len(), model.len());
                    prop_assert_eq!(set.iter().map(Member::to_vec).collect::<HashSet<_>>(), model.clone());
                }
                let some = set.random_distinct(5, &mut rng);
                prop_assert_eq!(some.iter().collect::<HashSet<_>>().len(), model.len().min(5));
            }
        }
    }

    #[test]
    fn the_handle_is_two_words() {
        assert!(size_of::<Set>() <= 16);
    }

    #[test]
    fn encodings_change_as_in_redis() {
        let limits = EncodingLimits::default();
        let ints = |count: usize| {
            let mut set = Set::new();
            (0..count).for_each(|i| assert!(set.insert(i.to_string().as_bytes(), &limits)));
            set
        };
        let with = |mut set: Set, member: &[u8]| {
            set.insert(member, &limits);
            set.encoding()
        };
        assert_eq!(with(ints(511), b"511"), "intset");
        assert_eq!(with(ints(512), b"512"), "hashtable");
        assert_eq!(with(ints(127), b"a"), "listpack");
        assert_eq!(with(ints(128), b"a"), "hashtable");
        assert_eq!(with(ints(10), &[b'a'; 64]), "listpack");
        assert_eq!(with(ints(10), &[b'a'; 65]), "hashtable");
        assert_eq!(with(Set::new(), &[b'a'; 65]), "hashtable");
        assert_eq!(with(Set::new(), b"01"), "listpack");
    }

    #[test]
    fn every_member_is_drawn_equally_often() {
        for (count, prefix) in [(50, ""), (50, "m"), (600, ""), (3000, "m")] {
            let limits = EncodingLimits::default();
            let mut set = Set::new();
            (0..count).for_each(|i| assert!(set.insert(format!("{prefix}{i}").as_bytes(), &limits)));
            let (mut rng, mut drawn) = (fastrand::Rng::with_seed(7), HashMap::new());
            for _ in 0..count * 100 {
                *drawn.entry(set.random(&mut rng).unwrap()).or_insert(0) += 1;
            }
            let square = |n: i32| f64::from(n - 100).powi(2) / 100.0;
            let chi_square: f64 = drawn.values().map(|&n| square(n)).sum();
            let (mean, deviation) = (f64::from(count), f64::from(2 * count).sqrt());
            assert_eq!(drawn.len(), count as usize);
            assert!((chi_square - mean).abs() < 5.0 * deviation, "{} {chi_square}", set.encoding());
        }
    }

    #[test]
    fn members_drawn_repeatedly_are_drawn_equally_often() {
        // More draws than members, then fewer: one walk for all of them, or a draw each.
        for (len, draws_per_call) in [(60, 600), (60, 10), (1000, 10_000), (1000, 10)] {
            let mut set = Set::new();
            (0..len)
                .for_each(|i| assert!(set.insert(format!("m{i}").as_bytes(), &EncodingLimits::default())));
            let (mut rng, mut drawn) = (fastrand::Rng::with_seed(7), HashMap::new());
            for _ in 0..len * 100 / draws_per_call {
                set.random_repeated(draws_per_call, &mut rng, |member| {
                    *drawn.entry(member.to_vec()).or_insert(0) += 1;
                });
            }
            assert_eq!(drawn.values().sum::<usize>(), len * 100);
            let chi_square: f64 = drawn.values().map(|&n| (n as f64 - 100.0).powi(2) / 100.0).sum();
            assert!((chi_square - len as f64).abs() < 5.0 * (2.0 * len as f64).sqrt(), "{len} {chi_square}");
        }
        Set::new()
            .random_repeated(3, &mut fastrand::Rng::with_seed(7), |_| unreachable!("there is no member"));
    }

    #[test]
    fn members_are_the_same_in_every_encoding() {
        let set = |members: &[&str]| {
            let mut set = Set::new();
            for member in members {
                set.insert(member.as_bytes(), &EncodingLimits::default());
            }
            set
        };
        let wide = "w".repeat(65);
        let sets = [set(&["1", "2"]), set(&["1", "2", "m"]), set(&["1", "2", &wide])];
        assert_eq!(sets.each_ref().map(Set::encoding), ["intset", "listpack", "hashtable"]);
        for (one, other) in sets.iter().flat_map(|one| sets.iter().map(move |other| (one, other))) {
            let common = one.iter().filter(|&member| other.contains_member(member)).count();
            assert_eq!(common, if one.encoding() == other.encoding() { one.len() } else { 2 });
        }
    }

    #[test]
    fn a_member_of_a_big_set_costs_less_than_34_bytes() {
        let mut set = Set::new();
        for i in 0..100_000 {
            set.insert(format!("member:{i:010}").as_bytes(), &EncodingLimits::default());
        }
        let bytes = set.memory_bytes() as f64 / 100_000.0;
        assert!(bytes < 34.0, "{bytes}");
    }
}
