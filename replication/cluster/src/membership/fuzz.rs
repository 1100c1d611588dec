//! A fuzzer's way to what lies in ZooKeeper: JSON that anybody may have written, names of znodes,
//! and the paths that a person configures.

use replicamq_fuzzing::Input;
use replicamq_quorum::{NodeId, Position};

use super::znodes::{
    ClusterNode, EpochNode, MEMBER, MemberNode, Paths, Place, Places, VoterNode, rank,
};
use crate::fuzz::json;

pub(crate) fn fuzz_znodes(input: &mut Input<'_>) {
    match input.below(3) {
        0 => contents(input.rest()),
        1 => {
            let name = String::from_utf8_lossy(input.rest());
            let _: Option<i64> = rank(&name);
            if let Some(number) = rank(&format!("{MEMBER}{name}")) {
                assert_eq!(rank(&format!("{MEMBER}{number:010}")), Some(number));
            }
        }
        _ => paths(input),
    }
}

fn contents(data: &[u8]) {
    drop(json::<ClusterNode>(data));
    let _: Option<Places> = json(data);
    drop(json::<VoterNode>(data));
    if let Some(member) = json::<MemberNode>(data) {
        assert_eq!(Place::from(member.durable()), member.durable);
    }
    if let Some(epoch) = json::<EpochNode>(data) {
        let record = epoch.record(3);
        assert_eq!((record.epoch.0, record.version), (epoch.epoch, 3));
        assert_eq!(record.master.map(|node| node.to_string()), epoch.master);
    }
    if let Some(place) = json::<Place>(data) {
        assert_eq!(Place::from(Position::from(place)), place);
    }
}

/// What is taken lies below the root, and cannot lead elsewhere.
fn paths(input: &mut Input<'_>) {
    let (address, path, node) = (input.text(), input.text(), input.text());
    let Ok(paths) = Paths::new(&address, &path) else {
        return;
    };
    assert!(paths.root.len() > 1 && paths.root.starts_with('/'));
    let Ok(place) = paths.checked_node(&NodeId::new(&node)) else {
        return;
    };
    for below in [
        &paths.cluster,
        &paths.nodes,
        &paths.members,
        &paths.epoch,
        &place,
    ] {
        assert!(below.starts_with(&format!("{}/", paths.root)), "{below}");
        let odd = |part: &str| matches!(part, "" | "." | "..");
        assert!(!below.split('/').skip(1).any(odd), "{below}");
    }
}
