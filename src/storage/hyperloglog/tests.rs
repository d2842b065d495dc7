//! HyperLogLogs against a plain array of registers, and against bytes that make no sense.

use super::*;
use proptest::prelude::*;

const SPARSE_MAX: usize = 3000;

fn new() -> Vec<u8> {
    let mut bytes = Vec::new();
    HyperLogLogMut::of_or_new(&mut bytes, SPARSE_MAX).unwrap();
    bytes
}

fn registers_of(bytes: &[u8]) -> Vec<u8> {
    let mut union = Union::default();
    union.add(HyperLogLog::of(bytes).unwrap()).unwrap();
    union.registers
}

fn decoded(bytes: &[u8]) -> Vec<Run> {
    HyperLogLog::of(bytes).unwrap().runs().collect()
}

#[test]
fn the_hash_is_that_of_redis() {
    // Indexes and ranks that redis-server 7.0.15 shows with PFDEBUG GETREG.
    for (element, index, rank) in [
        ("", 5938, 2),
        ("a", 12711, 2),
        ("foobar", 1910, 4),
        ("12345678", 10579, 3),
        ("123456789abcdefghij", 3913, 3),
    ] {
        let mark = Mark::of(element.as_bytes());
        assert_eq!((mark.index, mark.rank), (index, rank), "{element:?}");
    }
}

#[test]
fn runs_are_split_and_joined() {
    let mut bytes = new();
    let mut set = |index, rank| {
        let mut it = HyperLogLogMut::of_or_new(&mut bytes, SPARSE_MAX).unwrap();
        it.add(Mark { index, rank }).unwrap();
        decoded(&bytes)
    };
    assert_eq!(set(10, 3), [Run::Zero { len: 10 }, Run::Val { rank: 3, len: 1 }, Run::XZero { len: 16373 }]);
    assert_eq!(set(11, 3), [Run::Zero { len: 10 }, Run::Val { rank: 3, len: 2 }, Run::XZero { len: 16372 }]);
    assert_eq!(
        set(10, 4)[..3],
        [Run::Zero { len: 10 }, Run::Val { rank: 4, len: 1 }, Run::Val { rank: 3, len: 1 }]
    );
    assert_eq!(set(9, 4)[..2], [Run::Zero { len: 9 }, Run::Val { rank: 4, len: 2 }]);
    assert_eq!(set(16383, 1)[3..], [Run::XZero { len: 16371 }, Run::Val { rank: 1, len: 1 }]);
}

#[test]
fn a_rank_that_runs_cannot_hold_makes_dense() {
    let mut bytes = new();
    let mut it = HyperLogLogMut::of_or_new(&mut bytes, SPARSE_MAX).unwrap();
    it.add(Mark { index: 5, rank: 32 }).unwrap();
    assert_eq!(it.encoding, Encoding::Sparse);
    assert!(it.add(Mark { index: 6, rank: 33 }).unwrap());
    assert_eq!(it.encoding, Encoding::Dense);
    assert_eq!(registers_of(&bytes)[4..8], [0, 32, 33, 0]);
}

#[test]
fn estimates_are_near_the_truth() {
    let mut bytes = new();
    let mut it = HyperLogLogMut::of_or_new(&mut bytes, SPARSE_MAX).unwrap();
    let mut checkpoint = 1;
    for n in 1..=100_000u32 {
        it.add(Mark::of(n.to_string().as_bytes())).unwrap();
        if n == checkpoint {
            let estimate = it.as_ref().cardinality().unwrap() as f64;
            let error = (estimate - f64::from(n)).abs() / f64::from(n);
            assert!(error < 0.03, "{n} estimated as {estimate}");
            checkpoint *= 10;
        }
    }
}

#[test]
fn registers_beyond_all_hashes_have_a_cardinality_too() {
    let mut union = Union::default();
    union.registers.fill(63);
    assert_eq!(union.cardinality(), 1 << 63);
    union.registers.fill(51);
    assert!(union.cardinality() > 0);
}

proptest! {
    #[test]
    fn any_sequence_of_marks_is_kept_by_both_encodings(
        marks in prop::collection::vec((prop_oneof![0..REGISTERS, 0usize..40], 1u8..=51), 1..300),
        sparse_max in prop_oneof![Just(SPARSE_MAX), 0usize..200],
    ) {
        let mut model = vec![0; REGISTERS];
        let (mut bytes, mut dense) = (new(), new());
        let mut it = HyperLogLogMut::of_or_new(&mut bytes, sparse_max).unwrap();
        let mut it_dense = HyperLogLogMut::of_or_new(&mut dense, sparse_max).unwrap();
        it_dense.make_dense().unwrap();
        for (index, rank) in marks {
            let mark = Mark { index, rank };
            let rises = model[index] < rank;
            prop_assert!(rises || it.encoding == Encoding::Sparse || !it.as_ref().may_change_by(mark));
            prop_assert_eq!(it.add(mark), Ok(rises));
            prop_assert_eq!(it_dense.add(mark), Ok(rises));
            model[index] = model[index].max(rank);
        }
        prop_assert!(it.encoding == Encoding::Dense || it.bytes.len() <= sparse_max.max(18));
        prop_assert_eq!(it.as_ref().cardinality(), it_dense.as_ref().cardinality());
        prop_assert_eq!(&registers_of(&bytes), &model);
        prop_assert_eq!(&registers_of(&dense), &model);

        // A union of what is there already changes no register.
        let mut union = Union::default();
        union.add(HyperLogLog::of(&bytes).unwrap()).unwrap();
        let mut merged = new();
        HyperLogLogMut::of_or_new(&mut merged, sparse_max).unwrap().take_union(&union).unwrap();
        prop_assert_eq!(&registers_of(&merged), &model);
    }

    #[test]
    fn bytes_that_make_no_sense_are_refused_and_left_alone(
        registers in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x7f), Just(0xff)], 0..60),
        index in 0..REGISTERS,
        rank in 1u8..=51,
    ) {
        let mut bytes = new();
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(&registers);
        let old = bytes.clone();
        let it = HyperLogLog::of(&old).unwrap();
        let covered: usize = it.runs().map(Run::len).sum();
        prop_assert_eq!(it.cardinality().is_ok(), covered == REGISTERS);
        prop_assert_eq!(Union::default().add(it).is_ok(), covered == REGISTERS);
        let mut it = HyperLogLogMut::of_or_new(&mut bytes, SPARSE_MAX).unwrap();
        if it.add(Mark { index, rank }).is_err() {
            prop_assert_eq!(&bytes, &old);
        }
    }
}
