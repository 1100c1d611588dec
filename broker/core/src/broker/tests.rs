//! The broker under test: scenarios by behaviour, and random interleavings
//! against a simple model.

mod acknowledge;
mod browse;
mod client;
mod duplicate;
mod durable;
mod expiry;
mod forget;
mod groups;
mod harness;
mod paging;
mod queue;
mod random;
mod selector;
mod sweep;
mod topic;
mod transaction;
mod turns;
