//! What a node without a master tells operators.

use super::*;
use crate::Outlook;

fn names(nodes: &[NodeId]) -> Vec<&str> {
    nodes.iter().map(NodeId::as_str).collect()
}

fn outlook(node: &Quorum) -> Outlook {
    node.outlook().expect("there is no master")
}

fn unwilling(reason: &str) -> Message {
    let Message::AskAnswer(answer) = willing(Position::new(1, 10)) else {
        unreachable!("it makes nothing else");
    };
    Message::AskAnswer(AskAnswer {
        unwilling: Some(reason.to_owned()),
        ..answer
    })
}

#[test]
fn it_tells_who_would_vote_who_would_not_and_who_is_missing() {
    let mut node = quorum(&ten());
    let before = outlook(&node);
    assert!(!before.keeper && before.vacant == 0, "{before:?}");

    let Event::Keeper(mut read) = keeper(1, "gone") else {
        unreachable!("it makes nothing else");
    };
    read.members.retain(|member| member.node.as_str() != "c");
    step(&mut node, Event::Keeper(read.clone()), 0);
    let alone = outlook(&node);
    assert!(alone.keeper);
    assert_eq!((alone.replicas, alone.needed), (3, 2));
    assert_eq!(names(&alone.willing), ["b"]);
    assert_eq!(names(&alone.silent), ["a"]);
    assert_eq!(names(&alone.absent), ["c"]);

    step(&mut node, received("a", unwilling("not filled")), 10);
    let told = outlook(&node);
    assert_eq!(
        told.unwilling,
        [(NodeId::new("a"), "not filled".to_owned())]
    );
    assert_eq!(names(&told.silent), [""; 0]);
    step(&mut node, received("a", willing(Position::new(1, 20))), 20);
    let voted = node
        .outlook()
        .expect("it lets the one further on stand first");
    assert_eq!(names(&voted.willing), ["b", "a"]);

    let mut young = quorum(&ten());
    read.voters.remove(&NodeId::new("c"));
    step(&mut young, Event::Keeper(read), 0);
    assert_eq!(outlook(&young).vacant, 1);
}

#[test]
fn a_node_that_hears_a_master_or_is_one_has_nothing_to_tell() {
    let mut node = candidate();
    step(&mut node, claimed(2, true), 20);
    step(&mut node, promise_stored(2), 30);
    assert_eq!(names(&outlook(&node).absent), [""; 0]);
    let promise = promised(2, Position::new(1, 5));
    step(&mut node, received("a", promise), 40);
    assert_eq!(node.outlook(), None);
    let late = 40 + Limits::default().suspicion_ms;
    step(&mut node, Event::Tick, late);
    let unheard = outlook(&node);
    assert_eq!(names(&unheard.willing), ["b"], "no replica answers");
    assert_eq!(names(&unheard.silent), ["a", "c"]);
}

#[test]
fn a_node_that_may_not_vote_says_why() {
    let mut node = quorum(&Recovered {
        unfilled: true,
        ..ten()
    });
    step(&mut node, keeper(1, "gone"), 0);
    let outlook = outlook(&node);
    assert_eq!(names(&outlook.willing), [""; 0]);
    assert!(outlook.unwilling[0].1.contains("not filled"), "{outlook:?}");
}
