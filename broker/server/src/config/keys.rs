//! Every key, once: its name in a file, its flag, its variable, and what it means.
#![expect(clippy::doc_markdown, reason = "these comments are what --help prints")]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::address::{Address, Connector, NodeName, ZkAddress, ZkPath};
use super::value::{Bytes, Interval, LogFormat, Secret, SyncMode};

/// Makes of a table of keys the struct that clap and TOML both fill.
macro_rules! keys {
    ($( $heading:literal { $( $(#[doc = $doc:literal])+ $name:ident: $type:ty, $variable:literal, $value:literal; )+ } )+) => {
        /// What one source (flags and variables, or a file) says; `None` where it says nothing.
        #[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Keys {
            $( $(
                $(#[doc = $doc])+
                #[arg(long, env = $variable, hide_env_values = true, value_name = $value, help_heading = $heading)]
                pub(crate) $name: Option<$type>,
            )+ )+
        }

        /// Every key's name and variable, in the order of the table.
        pub(crate) const KEYS: &[(&str, &str)] = &[$( $( (stringify!($name), $variable), )+ )+];

        impl Keys {
            /// What this source says, and where it says nothing, what the other one does.
            pub(super) fn or(self, other: Self) -> Self {
                Self { $( $( $name: self.$name.or(other.$name), )+ )+ }
            }
        }
    };
}

keys! {
    "Node" {
        /// The name or address under which the other nodes and the clients reach this machine [default: its host name]
        hostname: NodeName, "REPLICAMQ_HOSTNAME", "NAME";
        /// This node's name in the cluster; it stays with its directory for good [default: the hostname]
        node: NodeName, "REPLICAMQ_NODE", "NAME";
        /// Where messages are kept [default: replicamq/NODE in $XDG_DATA_HOME, that is ~/.local/share]
        directory: PathBuf, "REPLICAMQ_DIRECTORY", "DIR";
        /// Which messages are logged: a level, or target=level pairs [default: info,zookeeper_client=error]
        log: String, "REPLICAMQ_LOG", "FILTER";
        /// How log lines look: text or json [default: text]
        log_format: LogFormat, "REPLICAMQ_LOG_FORMAT", "FORMAT";
    }
    "Connectors" {
        /// Where STOMP clients connect, or none [default: tcp://127.0.0.1:61613]
        stomp: Connector, "REPLICAMQ_STOMP", "URI";
        /// Where `replicamq status` and monitoring connect, or none [default: tcp://127.0.0.1:8161]
        admin: Connector, "REPLICAMQ_ADMIN", "URI";
        /// What STOMP clients are told to connect to [default: from stomp and hostname]
        advertise_stomp: Address, "REPLICAMQ_ADVERTISE_STOMP", "URI";
        /// Where the other nodes reach this one's admin connector [default: from admin and hostname]
        advertise_admin: Address, "REPLICAMQ_ADVERTISE_ADMIN", "URI";
    }
    "Cluster" {
        /// ZooKeeper's servers; this makes the node a cluster node
        zk_address: ZkAddress, "REPLICAMQ_ZK_ADDRESS", "HOST:PORT,…";
        /// The cluster's place in ZooKeeper [default: /replicamq]
        zk_path: ZkPath, "REPLICAMQ_ZK_PATH", "PATH";
        /// Closes the cluster's znodes to everybody without this password
        zk_password: Secret, "REPLICAMQ_ZK_PASSWORD", "SECRET";
        /// A file that holds the zk_password
        zk_password_file: PathBuf, "REPLICAMQ_ZK_PASSWORD_FILE", "FILE";
        /// ZooKeeper forgets a silent node after this [default: 6s]
        zk_session_timeout: Interval, "REPLICAMQ_ZK_SESSION_TIMEOUT", "TIME";
        /// How many nodes the cluster has; a send is safe on more than half of them [default: 3]
        replicas: u32, "REPLICAMQ_REPLICAS", "COUNT";
        /// Where the other nodes connect for replication [default: tcp://0.0.0.0:61619]
        bind: Address, "REPLICAMQ_BIND", "URI";
        /// Where the other nodes reach this one's replication [default: from bind and hostname]
        advertise_replication: Address, "REPLICAMQ_ADVERTISE_REPLICATION", "URI";
        /// The higher one becomes master among nodes that are equally far on [default: 1]
        weight: u32, "REPLICAMQ_WEIGHT", "NUMBER";
        /// When a send is safe: quorum_disk, quorum_mem, or local_mem, local_disk, remote_mem, remote_disk, comma-separated [default: quorum_disk]
        sync: SyncMode, "REPLICAMQ_SYNC", "MODE";
        /// The nodes prove to each other that they know it; the same on every node
        security_token: Secret, "REPLICAMQ_SECURITY_TOKEN", "SECRET";
        /// A file that holds the security_token
        security_token_file: PathBuf, "REPLICAMQ_SECURITY_TOKEN_FILE", "FILE";
        /// The master lets the others hear from it at least this often [default: 50ms]
        heartbeat: Interval, "REPLICAMQ_HEARTBEAT", "TIME";
        /// A master that hears no quorum for so long stops answering [default: 500ms]
        lease: Interval, "REPLICAMQ_LEASE", "TIME";
        /// A node that hears no master for so long lets another be elected; longer than the lease [default: 800ms]
        suspicion: Interval, "REPLICAMQ_SUSPICION", "TIME";
    }
    "Limits" {
        /// The largest frame, and so the largest message, that a client may send [default: 16MiB]
        frame_bytes_max: Bytes, "REPLICAMQ_FRAME_BYTES_MAX", "BYTES";
        /// Client connections at a time [default: 10000]
        connections_max: u32, "REPLICAMQ_CONNECTIONS_MAX", "COUNT";
        /// How long a client may take from its connection to its CONNECT frame [default: 30s]
        connect_timeout: Interval, "REPLICAMQ_CONNECT_TIMEOUT", "TIME";
        /// A send that is repeated is known again within so many stored sends; one costs about 30 bytes of memory [default: 400000]
        duplicate_window: u32, "REPLICAMQ_DUPLICATE_WINDOW", "COUNT";
        /// Queues and topics at a time; unused ones are forgotten after ten minutes [default: 10000]
        destinations_max: u32, "REPLICAMQ_DESTINATIONS_MAX", "COUNT";
        /// Durable subscriptions, connected or not [default: 10000]
        durables_max: u32, "REPLICAMQ_DURABLES_MAX", "COUNT";
        /// The size of one log file [default: 64MiB]
        log_segment_bytes: Bytes, "REPLICAMQ_LOG_SEGMENT_BYTES", "BYTES";
        /// How much log is kept for nodes that were away; beyond it they take a snapshot [default: 1GiB]
        log_retention_bytes: Bytes, "REPLICAMQ_LOG_RETENTION_BYTES", "BYTES";
        /// A log file goes, too, once a later one was begun so long ago; 1m or more [default: 7d]
        log_retention_age: Interval, "REPLICAMQ_LOG_RETENTION_AGE", "TIME";
        /// What a snapshot for another node may take in a second, so that clients do not feel it; 0: as much as goes [default: 64MiB]
        snapshot_rate: Bytes, "REPLICAMQ_SNAPSHOT_RATE", "BYTES";
        /// Everything on the disk is read once an hour, at most so much a second, to see that it is whole; 0: never [default: 4MiB]
        scrub_rate: Bytes, "REPLICAMQ_SCRUB_RATE", "BYTES";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_its_key_in_capitals() {
        for (name, variable) in KEYS {
            assert_eq!(*variable, format!("REPLICAMQ_{}", name.to_uppercase()));
        }
    }

    #[test]
    fn what_the_first_source_says_wins() {
        let first = Keys {
            weight: Some(2),
            ..Keys::default()
        };
        let second = Keys {
            weight: Some(3),
            replicas: Some(5),
            ..Keys::default()
        };
        let both = first.or(second);
        assert_eq!(
            (both.weight, both.replicas, both.sync),
            (Some(2), Some(5), None)
        );
    }
}
