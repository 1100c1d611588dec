//! Hands the fuzzer's bytes to the function beside the code.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| replicamq_core::fuzz::selector(data));
