//! replication/store
