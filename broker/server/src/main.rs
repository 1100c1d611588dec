//! `replicamq`: the broker, and the tools that go with it.
//!
//! Reads the command line and hands over. Exit codes: 0 done, 1 failed, 2 the
//! command line or the configuration is wrong.

mod admin;
mod bench;
mod cli;
mod client;
mod clock;
mod cluster;
mod config;
mod connection;
mod drill;
mod listener;
mod logging;
mod run;
mod status;
mod systemd;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::dispatch() {
        Ok(code) => code,
        Err(error) if terminal::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::remark(&format!("error: {error:#}"));
            let refused = error.downcast_ref::<config::Refusal>().is_some();
            ExitCode::from(if refused { 2 } else { 1 })
        }
    }
}
