//! Which version of the conversation between nodes a build speaks, so that a rolling
//! upgrade works, and two builds that cannot understand each other say so.
//!
//! A change that an older build would misread raises [`PROTOCOL`]. While nodes of both
//! builds must work together, the newer one keeps to what the older one knows, and
//! [`PROTOCOL_MIN`] tells how far back it does. Fields that may be ignored raise nothing.

use replicamq_proto::replication::v1 as wire;

/// What this build speaks.
pub(crate) const PROTOCOL: u32 = 1;

/// The oldest that it can work with.
pub(crate) const PROTOCOL_MIN: u32 = 1;

/// Why a node cannot be worked with; who must be upgraded first.
pub(crate) fn check(sender: &wire::Sender) -> Result<(), String> {
    // Builds from before these fields.
    let theirs = sender.protocol.max(1);
    let node = &sender.node;
    if sender.protocol_min > PROTOCOL {
        return Err(format!(
            "node {node} is too new: it needs protocol {} or later, this build speaks {PROTOCOL}: run builds in between first, or upgrade this node",
            sender.protocol_min
        ));
    }
    if theirs < PROTOCOL_MIN {
        return Err(format!(
            "node {node} is too old: it speaks protocol {theirs}, this build needs {PROTOCOL_MIN} or later: upgrade that node"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(protocol: u32, protocol_min: u32) -> wire::Sender {
        wire::Sender {
            node: "broker-2".to_owned(),
            protocol,
            protocol_min,
            ..wire::Sender::default()
        }
    }

    #[test]
    fn builds_that_share_a_version_work_together() {
        assert_eq!(check(&sender(0, 0)), Ok(()), "from before the fields");
        assert_eq!(check(&sender(PROTOCOL, PROTOCOL_MIN)), Ok(()));
        assert_eq!(check(&sender(PROTOCOL + 5, PROTOCOL)), Ok(()));
        let refused = check(&sender(PROTOCOL + 1, PROTOCOL + 1)).unwrap_err();
        assert!(refused.contains("broker-2 is too new"), "{refused}");
    }
}
