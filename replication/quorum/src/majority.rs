//! The arithmetic of quorums.

/// How many of `replicas` make a quorum: any two of that size share a node.
#[must_use]
pub fn majority(replicas: usize) -> usize {
    replicas / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_quorums_always_share_a_node() {
        for replicas in 1..=9 {
            assert!(2 * majority(replicas) > replicas);
        }
    }
}
