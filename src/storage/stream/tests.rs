//! The stream against its naive model, and what a clone must not notice.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;
type Shown = Vec<(StreamId, Fields)>;

fn shown<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Shown {
    let text =
        |element: crate::storage::listpack::Element<'_>| element.as_bytes(&mut itoa::Buffer::new()).to_vec();
    entries
        .map(|entry| (entry.id, entry.fields().map(|(name, value)| (text(name), text(value))).collect()))
        .collect()
}

fn all(stream: &Stream) -> Shown {
    shown(stream.range(StreamId::MIN, StreamId::MAX))
}

fn append(stream: &mut Stream, id: StreamId, fields: &Fields, limits: BlockLimits) {
    let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    stream.append(id, &fields, limits);
}

fn check_equal(stream: &Stream, model: &BTreeMap<StreamId, Fields>) {
    let expected: Shown = model.iter().map(|(id, fields)| (*id, fields.clone())).collect();
    assert_eq!(all(stream), expected);
    let mut back = shown(stream.range_back(StreamId::MIN, StreamId::MAX));
    back.reverse();
    assert_eq!(back, expected);
    assert_eq!(stream.len(), model.len());
    assert_eq!(stream.first_entry_id(), model.keys().next().copied());
    assert_eq!(stream.last_entry_id(), model.keys().next_back().copied());
    // What is saved is read as the same.
    let mut copy = Stream::default();
    for (id, bytes) in stream.blocks() {
        copy.push_block(id, bytes.to_vec()).unwrap();
    }
    let figures = Figures {
        len: stream.len() as u64,
        last_id: stream.last_id(),
        max_deleted_id: stream.max_deleted_id(),
        entries_added: stream.entries_added(),
    };
    copy.restore_figures(figures).unwrap();
    assert_eq!(all(&copy), expected);
}

#[derive(Debug, Clone)]
enum Step {
    Append { ms: u64, seq: u64, fields: Fields },
    Delete { at: usize },
    DeleteRun { at: usize, len: usize },
    Trim { keep: usize, by_id: bool },
    TrimAbout { keep: usize, entries_max: u64 },
    Range { from: u64, to: u64 },
    Freeze,
}

fn step() -> impl Strategy<Value = Step> {
    let text = prop_oneof![
        "[a-c]{0,3}".prop_map(String::into_bytes),
        any::<i32>().prop_map(|n| n.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..90),
    ];
    let fields = prop_oneof![
        text.clone().prop_map(|value| vec![(b"f".to_vec(), value)]),
        prop::collection::vec((text.clone(), text), 1..4),
    ];
    prop_oneof![
        12 => (0u64..3, 0u64..3, fields).prop_map(|(ms, seq, fields)| Step::Append { ms, seq, fields }),
        3 => (0usize..200).prop_map(|at| Step::Delete { at }),
        1 => (0usize..200, 0usize..40).prop_map(|(at, len)| Step::DeleteRun { at, len }),
        1 => (0usize..150, any::<bool>()).prop_map(|(keep, by_id)| Step::Trim { keep, by_id }),
        1 => (0usize..150, 0u64..30).prop_map(|(keep, entries_max)| Step::TrimAbout { keep, entries_max }),
        2 => (0u64..600, 0u64..600).prop_map(|(from, to)| Step::Range { from, to }),
        1 => Just(Step::Freeze),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_stream_is_a_sorted_map_and_its_clones_stay_as_they_are(
        steps in prop::collection::vec(step(), 0..400),
        bytes in prop_oneof![Just(0usize), 60usize..600],
        entries in 1u64..20,
    ) {
        let limits = BlockLimits { bytes, entries };
        let (mut stream, mut model) = (Stream::default(), BTreeMap::<StreamId, Fields>::new());
        let mut frozen = (stream.clone(), model.clone());
        for step in steps {
            match step {
                Step::Append { ms, seq, fields } => {
                    let last = stream.last_id();
                    let id = StreamId { ms: last.ms + ms, seq: if ms == 0 { last.seq + 1 + seq } else { seq } };
                    append(&mut stream, id, &fields, limits);
                    model.insert(id, fields);
                }
                Step::Delete { at } => {
                    let id = model.keys().nth(at).copied().unwrap_or(StreamId::new(at as u64, 1));
                    prop_assert_eq!(stream.contains(id), model.contains_key(&id));
                    prop_assert_eq!(stream.delete(id), model.remove(&id).is_some());
                }
                Step::DeleteRun { at, len } => {
                    let ids: Vec<StreamId> = model.keys().skip(at).take(len).copied().collect();
                    for id in ids {
                        prop_assert!(stream.delete(id));
                        model.remove(&id);
                    }
                }
                Step::Trim { keep, by_id } => {
                    let first_kept = model.keys().nth_back(keep.saturating_sub(1)).copied();
                    let first_kept = if keep == 0 { None } else { first_kept.or(Some(StreamId::MIN)) };
                    let min = first_kept.unwrap_or(StreamId::MAX);
                    let keep = if by_id { Keep::From(min) } else { Keep::Len(keep as u64) };
                    let before = model.len();
                    model.retain(|&id, _| id >= min);
                    let (removed, rest) = stream.trim(Trim { keep, is_approximate: false, entries_max: 0 });
                    prop_assert!(rest.is_none_or(|rest| all(&rest).len() as u64 <= removed));
                    prop_assert_eq!(removed as usize, before - model.len());
                }
                Step::TrimAbout { keep, entries_max } => {
                    let trim = Trim { keep: Keep::Len(keep as u64), is_approximate: true, entries_max };
                    let removed = stream.trim(trim).0;
                    prop_assert!(entries_max == 0 || removed <= entries_max);
                    prop_assert!(model.len() - removed as usize >= keep.min(model.len()));
                    for _ in 0..removed {
                        model.pop_first();
                    }
                }
                Step::Range { from, to } => {
                    let (from, to) = (StreamId::new(from, 1), StreamId::new(from + to, 1));
                    let expected: Vec<StreamId> = model.range(from..=to).map(|(id, _)| *id).collect();
                    let found: Vec<StreamId> = stream.range(from, to).map(|entry| entry.id).collect();
                    let mut back: Vec<StreamId> = stream.range_back(from, to).map(|entry| entry.id).collect();
                    back.reverse();
                    prop_assert_eq!(&found, &expected);
                    prop_assert_eq!(&back, &expected);
                }
                Step::Freeze => {
                    check_equal(&frozen.0, &frozen.1);
                    frozen = (stream.clone(), model.clone());
                }
            }
        }
        check_equal(&stream, &model);
        check_equal(&frozen.0, &frozen.1);
    }

    #[test]
    fn a_group_knows_whose_each_pending_entry_is(
        steps in prop::collection::vec((0u8..6, 0u64..200, 0u8..4), 0..600),
    ) {
        let (mut stream, mut model) = (Stream::default(), BTreeMap::<StreamId, (Vec<u8>, u64)>::new());
        stream.create_group(b"g", Group::new(StreamId::MIN, None));
        let mut frozen = (stream.clone(), model.clone());
        for (what, ms, consumer) in steps {
            let (id, name) = (StreamId::new(ms, 0), vec![b'a' + consumer]);
            let group = stream.group_mut(b"g").unwrap();
            match what {
                0..=2 => {
                    group.create_consumer(&name, 1);
                    let pending = Pending { consumer: group.name_of(&name).unwrap(), delivered_at: 0, deliveries: ms };
                    group.assign(id, pending);
                    model.insert(id, (name, ms));
                }
                3 => prop_assert_eq!(group.acknowledge(id), model.remove(&id).is_some()),
                4 if ms < 20 => {
                    let before = model.len();
                    model.retain(|_, (owner, _)| *owner != name);
                    prop_assert_eq!(group.delete_consumer(&name).unwrap_or(0), before - model.len());
                }
                4 => {
                    group.deliver_again(id, 5);
                    if let Some((_, deliveries)) = model.get_mut(&id) {
                        *deliveries += 1;
                    }
                }
                _ => {
                    check_group(&frozen.0, &frozen.1);
                    frozen = (stream.clone(), model.clone());
                }
            }
        }
        check_group(&stream, &model);
        check_group(&frozen.0, &frozen.1);
    }
}

fn check_group(stream: &Stream, model: &BTreeMap<StreamId, (Vec<u8>, u64)>) {
    let group = stream.group(b"g").unwrap();
    let pending: BTreeMap<StreamId, (Vec<u8>, u64)> = group
        .pending_from(StreamId::MIN)
        .map(|(id, pending)| (id, (pending.consumer.to_vec(), pending.deliveries)))
        .collect();
    assert_eq!(pending, *model);
    assert_eq!(group.pending_len(), model.len());
    for (name, consumer) in group.consumers() {
        let own: Vec<StreamId> = consumer.pending_from(StreamId::MIN).collect();
        let expected: Vec<StreamId> =
            model.iter().filter(|(_, (owner, _))| owner[..] == name[..]).map(|(id, _)| *id).collect();
        assert_eq!(own, expected);
        assert_eq!(consumer.pending_len(), expected.len());
    }
}

#[test]
fn blocks_are_as_large_as_the_limits_say() {
    let mut stream = Stream::default();
    for ms in 1..=1000 {
        append(
            &mut stream,
            StreamId::new(ms, 0),
            &vec![(b"f".to_vec(), b"v".to_vec())],
            BlockLimits::default(),
        );
    }
    assert_eq!(stream.blocks_len(), 10);
    assert!(stream.memory_bytes() < 1000 * 16, "{}", stream.memory_bytes());
}

#[test]
fn a_write_after_a_clone_copies_one_block() {
    let mut stream = Stream::default();
    for ms in 1..=100_000 {
        append(
            &mut stream,
            StreamId::new(ms, 0),
            &vec![(b"f".to_vec(), b"v".to_vec())],
            BlockLimits::default(),
        );
    }
    let clone = stream.clone();
    assert!(stream.delete(StreamId::new(50_050, 0)));
    append(
        &mut stream,
        StreamId::new(200_000, 0),
        &vec![(b"f".to_vec(), b"v".to_vec())],
        BlockLimits::default(),
    );
    let shared = stream
        .blocks()
        .filter(|(id, bytes)| {
            clone.blocks().any(|(other, theirs)| other == *id && std::ptr::eq(*bytes, theirs))
        })
        .count();
    assert_eq!(shared, 999);
    assert_eq!((clone.len(), stream.len()), (100_000, 100_000));
    assert!(clone.contains(StreamId::new(50_050, 0)));
}

#[test]
fn foreign_blocks_are_refused_that_do_not_ascend_or_lie_about_counts() {
    let mut stream = Stream::default();
    for ms in 1..=20 {
        let limits = BlockLimits { bytes: 0, entries: 5 };
        append(&mut stream, StreamId::new(ms, 0), &vec![(b"f".to_vec(), b"v".to_vec())], limits);
    }
    let blocks: Vec<(StreamId, Vec<u8>)> = stream.blocks().map(|(id, bytes)| (id, bytes.to_vec())).collect();
    let mut copy = Stream::default();
    copy.push_block(blocks[1].0, blocks[1].1.clone()).unwrap();
    assert!(copy.push_block(blocks[0].0, blocks[0].1.clone()).is_err(), "ids descend");
    assert!(copy.push_block(blocks[1].0, blocks[1].1.clone()).is_err(), "the same block again");
    assert!(copy.push_block(StreamId::new(8, 0), blocks[2].1.clone()).is_err(), "blocks overlap");
    let figures = |len, last| Figures {
        len,
        last_id: StreamId::new(last, 0),
        max_deleted_id: StreamId::MIN,
        entries_added: 5,
    };
    assert!(copy.clone().restore_figures(figures(4, 10)).is_err());
    assert!(copy.clone().restore_figures(figures(5, 9)).is_err());
    assert!(copy.restore_figures(figures(5, 10)).is_ok());
}
