//! What the tests that cross crates share.

pub mod checkers;
pub mod disk;
pub mod effects;
pub mod faults;
pub mod keeper;
pub mod log;
pub mod network;
pub mod node;
pub mod plan;
pub mod random;
pub mod simulation;
pub mod trace;
pub mod workload;
pub mod world;
pub mod zookeeper;
