//! A node: the broker core and the replicated log, joined in one loop.
//!
//! Pure, like the two that it joins: the server and the simulator run the same
//! [`Node`], one on the real world, one on a seeded one.

mod boot;
mod event;
mod node;

pub use event::{Effect, Event, Now};
pub use node::{Config, Node};
