//! Real brokers as processes, a real ZooKeeper, and everything that may happen to them.
//!
//! The binary is `REPLICAMQ_BIN`, or what cargo built beside these tests.

mod commands;
mod damage;
mod disk;
mod input;
mod intruders;
mod keeper;
mod ledger;
mod masters;
mod modes;
mod operator;
mod power;
mod replicas;
mod syncs;
mod upgrade;
