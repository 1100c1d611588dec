//! replication/cluster
