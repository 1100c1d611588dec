//! What fuzzers call: batches and stored values as they may lie on a disk, and selectors as clients
//! may write them. See `replicamq-fuzzing`.

mod batch;
mod boot;
mod selector;

pub use batch::batch;
pub use boot::boot;
pub use selector::selector;

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

    #[test]
    fn the_corpus_of_selectors_passes() {
        replay("selector", super::selector);
    }
}
