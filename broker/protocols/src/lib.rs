//! Wire protocols as pure code: bytes in, commands and bytes out.
//!
//! Every protocol has the same three parts: frames (types), a codec (bytes and
//! frames) and a session (frames and commands of the broker). No socket, clock
//! or task lives here: time and bytes are arguments. Nothing that a client
//! sends may panic, and whatever a client can make grow has a named limit.

#![warn(clippy::indexing_slicing)]

pub mod detect;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod stomp;
