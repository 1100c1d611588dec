//! The log against a list: whatever is appended, cut, applied and reopened.

use proptest::prelude::*;

use super::*;

/// What may happen to a log.
#[derive(Debug, Clone)]
enum Step {
    /// A group of entries of these sizes, in an epoch that many later.
    Append {
        epochs: u64,
        sizes: Vec<usize>,
        synced: bool,
    },
    /// Keep this share of what is not applied.
    Cut {
        percent: u64,
    },
    /// Apply and flush this share.
    Apply {
        percent: u64,
    },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![8 => 0..2000_usize, 1 => 2000..70_000_usize, 1 => Just(140_000_usize)];
    prop_oneof![
        6 => (0..2_u64, prop::collection::vec(size, 1..8), any::<bool>())
            .prop_map(|(epochs, sizes, synced)| Step::Append { epochs, sizes, synced }),
        2 => (0..=100_u64).prop_map(|percent| Step::Cut { percent }),
        2 => (0..=100_u64).prop_map(|percent| Step::Apply { percent }),
        2 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_log_is_the_list_that_was_put_into_it(steps in prop::collection::vec(step(), 1..40)) {
        let directory = tempfile::tempdir().unwrap();
        let mut log = create(directory.path());
        log.options.retention.bytes = 3 * SEGMENT_BYTES;
        let mut model: Vec<Entry> = Vec::new();
        let mut applied = 0_u64;
        let mut epoch = 1;
        for step in steps {
            let last = model.len() as u64;
            match step {
                Step::Append { epochs, sizes, synced } => {
                    epoch += epochs;
                    let entries: Vec<_> = sizes
                        .iter()
                        .zip(last + 1..)
                        .map(|(&bytes, sequence)| entry(epoch, sequence, bytes))
                        .collect();
                    if synced { append(&mut log, &entries) } else { write(&mut log, &entries) }
                    model.extend(entries);
                }
                Step::Cut { percent } => {
                    let keep = applied + (last - applied) * percent / 100;
                    let position = match keep {
                        0 => Position::default(),
                        _ => model[usize::try_from(keep - 1).unwrap()].position,
                    };
                    log.cut(position, Sequence(applied)).unwrap();
                    model.truncate(usize::try_from(keep).unwrap());
                }
                Step::Apply { percent } => {
                    applied += (last - applied) * percent / 100;
                    log.trim(Sequence(applied), None).unwrap();
                }
                Step::Reopen => {
                    drop(log);
                    let mut floor = Floor::default();
                    for entry in &model[..usize::try_from(applied).unwrap()] {
                        floor.applied = entry.position;
                        floor.history.append(entry.position);
                    }
                    let (opened, damage) = reopen_above(directory.path(), floor);
                    prop_assert_eq!(damage, None);
                    log = opened;
                    log.options.retention.bytes = 3 * SEGMENT_BYTES;
                }
            }
            let first = usize::try_from(log.first().0).unwrap();
            prop_assert!(first as u64 <= applied + 1);
            let expected = model.get(first - 1..).unwrap_or_default();
            prop_assert_eq!(read_all(&log), expected);
            let end = model.last().map_or(Position::default(), |entry| entry.position);
            prop_assert_eq!(log.last(), end);
            for entry in &model {
                prop_assert_eq!(log.history().epoch_at(entry.position.sequence), Some(entry.position.epoch));
            }
        }
    }
}
