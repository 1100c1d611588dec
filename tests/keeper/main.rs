//! Membership on a real ZooKeeper: who may join, what lies there to be read,
//! who wins a claim, and what happens when ZooKeeper goes and comes back.

mod faults;
mod joining;
mod node;
