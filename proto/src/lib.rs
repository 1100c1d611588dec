//! The contracts: what crosses a process boundary or stays on disk, as
//! generated from the `.proto` files beside this crate. No logic lives here.

/// Store operations and stored messages: what stays on disk.
pub mod store {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/replicamq.store.v1.rs"));
    }
}

/// What nodes say to each other.
#[cfg(feature = "grpc")]
pub mod replication {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/replicamq.replication.v1.rs"));
    }
}

/// What operators ask a node.
#[cfg(feature = "grpc")]
pub mod admin {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/replicamq.admin.v1.rs"));
    }
}
