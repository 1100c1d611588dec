//! What the tests that cross crates share.

pub mod cluster;
pub mod damage;
mod delay;
pub mod failing_disk;
pub mod load;
pub mod network;
pub mod process;
pub mod stomp;
pub mod wait;
pub mod zookeeper;
