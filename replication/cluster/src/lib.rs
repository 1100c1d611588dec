//! The network edge of a node: `ZooKeeper` membership, the gRPC links between
//! nodes, and the transfer of snapshots. It decides nothing: it carries what
//! the quorum says, and tells it what happened.

mod convert;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod incoming;
mod limits;
mod links;
mod membership;
mod peer;
mod quiet;
mod service;
mod snapshot;
mod state;
mod token;
mod version;

pub use convert::Malformed;
pub use links::{LinkConfig, LinkError, LinkEvent, LinkEvents, Links};
pub use membership::{
    ClusterView, KeeperAccess, MemberInfo, Membership, MembershipConfig, MembershipEvent,
    OperateError, Operator, Place, RefusedMembership, Standing,
};
pub use snapshot::{
    Checkpoint, CheckpointSource, SnapshotError, SnapshotFile, SnapshotManifest, Snapshots,
};
pub use token::{InvisibleToken, TokenCheck};
