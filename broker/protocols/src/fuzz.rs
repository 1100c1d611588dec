//! The functions that fuzzers call with any bytes, for STOMP: see `replicamq-fuzzing`.

mod frames;
mod session;

pub use frames::stomp_frames;
pub use session::stomp_session;

#[cfg(test)]
mod tests {
    use replicamq_fuzzing::replay;

    #[test]
    fn the_corpus_of_stomp_frames_passes() {
        replay("stomp_frames", super::stomp_frames);
    }

    #[test]
    fn the_corpus_of_stomp_sessions_passes() {
        replay("stomp_session", super::stomp_session);
    }
}
