//! A cluster in a world made from one seed: its time, network, disks and ZooKeeper are
//! simulated, its state machines are the shipped ones, and checkers look after every step.
//!
//! It needs nothing but the pure crates, so that it builds in seconds. It must never read
//! a clock or chance of the real world where a run could notice: one seed, one history.

pub mod calendar;
pub mod checkers;
pub mod clients;
pub mod disk;
pub mod effects;
pub mod faults;
mod files;
pub mod ground;
pub mod keeper;
pub mod log;
pub mod model;
pub mod network;
pub mod node;
pub mod operator;
pub mod pace;
pub mod plan;
pub mod platter;
pub mod random;
pub mod recovery;
pub mod rot;
pub mod service;
pub mod simulation;
pub mod store;
pub mod terminal;
pub mod trace;
pub mod traps;
pub mod turns;
pub mod workload;
pub mod world;
