//! What fuzzers call: bytes from another node or from ZooKeeper. See `replicamq-fuzzing`.

mod checkpoint;
mod wire;

pub use checkpoint::checkpoint;
pub(crate) use wire::json;
pub use wire::wire;

#[cfg(test)]
mod tests {
    use replicamq_fuzzing::replay;

    #[test]
    fn the_corpus_of_the_wire_passes() {
        replay("wire", super::wire);
    }

    #[test]
    fn the_corpus_of_checkpoints_passes() {
        replay("checkpoint", super::checkpoint);
    }
}
