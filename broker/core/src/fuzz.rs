//! What fuzzers call: batches and stored values as they may lie on a disk. See `replicamq-fuzzing`.

mod batch;
mod boot;

pub use batch::batch;
pub use boot::boot;

#[cfg(test)]
mod tests {
    use replicamq_fuzzing::replay;

    #[test]
    fn the_corpus_of_batches_passes() {
        replay("batch", super::batch);
    }

    #[test]
    fn the_corpus_of_boots_passes() {
        replay("boot", super::boot);
    }
}
