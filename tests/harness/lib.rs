//! What the tests that cross crates share.

pub mod checkers;
pub mod cluster;
pub mod disk;
pub mod effects;
pub mod faults;
pub mod keeper;
pub mod load;
pub mod log;
pub mod network;
pub mod node;
pub mod plan;
pub mod process;
pub mod random;
pub mod simulation;
pub mod stomp;
pub mod trace;
pub mod traps;
pub mod wait;
pub mod workload;
pub mod world;
pub mod zookeeper;
