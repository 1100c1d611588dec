//! Where death is noticed by silence alone and clocks are nearly right, at most
//! one master at a time may answer and dispatch.

use replicamq_quorum::Role;

use super::{Verdict, violation};
use crate::node::Node;

/// Who may serve at this moment.
pub(super) fn exclusive(nodes: &[Node], now_us: u64) -> Verdict {
    let holders: Vec<&Node> = nodes
        .iter()
        .filter(|node| {
            node.process.as_ref().is_some_and(|process| {
                process.inbox.is_none()
                    && matches!(process.quorum().role(), Role::Master { .. })
                    && process.quorum().lease_held(process.clock.now_ms(now_us))
            })
        })
        .collect();
    if let [first, second, ..] = holders.as_slice() {
        return violation(
            "lease",
            format!("{} and {} hold a lease at once", first.name, second.name),
        );
    }
    Ok(())
}
