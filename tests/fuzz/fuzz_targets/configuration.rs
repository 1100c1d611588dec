//! Hands the fuzzer's bytes to the function beside the code.
//!
//! The server is a program and no library, and links RocksDB: its configuration, which needs
//! neither, is compiled in here.
#![no_main]
#![expect(
    dead_code,
    unused_imports,
    reason = "the server uses the rest of it"
)]

#[path = "../../../broker/server/src"]
mod server {
    pub(crate) mod config;
}

use server::config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| config::fuzz::configuration(data));
