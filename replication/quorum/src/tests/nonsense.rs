//! Another node says what cannot be.

use super::*;

/// The number after the last epoch is 0: claimed, it would have taken `ZooKeeper` back to
/// before the first one.
#[test]
fn after_an_epoch_that_no_other_follows_nothing_is_claimed() {
    let mut node = quorum(&ten());
    step(&mut node, keeper(1, "gone"), 0);
    let mut answer = willing(Position::new(1, 5));
    if let Message::AskAnswer(answer) = &mut answer {
        answer.promised = crate::Epoch(u64::MAX);
    }
    step(&mut node, received("c", answer.clone()), 10);
    let effects = step(&mut node, received("a", answer), 10);
    assert!(!claims(&effects), "{effects:?}");
    let sensible = willing(Position::new(1, 5));
    step(&mut node, received("c", sensible.clone()), 20);
    let effects = step(&mut node, received("a", sensible), 20);
    assert!(claims(&effects), "an answer counts until the next one");
}

#[test]
fn the_lowest_rank_that_can_be_said_is_the_first() {
    let mut node = quorum(&ten());
    step(&mut node, keeper(1, "gone"), 0);
    let mut answer = willing(Position::new(1, 10));
    if let Message::AskAnswer(answer) = &mut answer {
        answer.rank = i64::MIN;
    }
    step(&mut node, received("c", answer.clone()), 10);
    let effects = step(&mut node, received("a", answer), 10);
    assert!(!claims(&effects), "both came before this node");
    let effects = step(&mut node, Event::Tick, 400);
    assert!(!claims(&effects), "and have their time");
}
