//! What a node is told: from flags, before variables, before a file, before defaults.
//!
//! Everything is checked here, once, and refused with its place and the cure; what
//! comes out is typed and complete. Nothing behind this module reads a variable.

mod address;
mod file;
mod filter;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod keys;
mod origin;
mod refusal;
mod resolve;
mod show;
mod value;
mod variables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;

pub(crate) use address::Address;
#[cfg(test)]
pub(crate) use keys::KEYS;
pub(crate) use keys::Keys;
pub(crate) use refusal::Refusal;
pub(crate) use value::{Durability, Interval, LogFormat, Secret, SyncMode, closest};
#[cfg(test)]
pub(crate) use variables::OTHERS as OTHER_VARIABLES;

use origin::Origins;

/// A node's configuration, complete and checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The node's name.
    pub(crate) node: String,
    /// Where messages are kept; may not exist yet.
    pub(crate) directory: PathBuf,
    /// `None`: a standalone broker.
    pub(crate) cluster: Option<Cluster>,
    /// When a send is safe.
    pub(crate) sync: SyncMode,
    /// What nodes, and tools that ask them, prove to know.
    pub(crate) security_token: Option<Secret>,
    /// Where STOMP clients connect.
    pub(crate) stomp: Option<Listen>,
    /// Where operators' tools connect.
    pub(crate) admin: Option<Listen>,
    pub(crate) intervals: Intervals,
    pub(crate) limits: Limits,
    /// A filter that parses.
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    /// Where to listen; port 0 lets the system choose.
    pub(crate) bind: Address,
    /// What others are told to connect to; port 0 means the port that was chosen.
    pub(crate) advertised: Address,
}

/// Where a cluster lives in ZooKeeper, if nothing else is said.
pub(crate) const ZK_PATH_DEFAULT: &str = "/replicamq";

/// What makes a node one of several.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// At least 1.
    pub(crate) replicas: u32,
    pub(crate) weight: u32,
    pub(crate) replication: Listen,
    /// Never empty.
    pub(crate) zk_servers: Vec<Address>,
    pub(crate) zk_path: String,
    pub(crate) zk_password: Option<Secret>,
    pub(crate) zk_session_timeout: Duration,
}

/// Invariant: heartbeat < lease < suspicion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Intervals {
    pub(crate) heartbeat: Duration,
    pub(crate) lease: Duration,
    pub(crate) suspicion: Duration,
}

/// Bounds, each above zero but for the rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) frame_bytes_max: usize,
    pub(crate) connections_max: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) duplicate_window: u32,
    pub(crate) destinations_max: usize,
    pub(crate) durables_max: usize,
    pub(crate) log_segment_bytes: u64,
    pub(crate) log_retention_bytes: u64,
    pub(crate) log_retention_age: Duration,
    /// Bytes a second for each; 0: as many as go.
    pub(crate) snapshot_rate: u64,
    /// Bytes a second; 0: nothing is scrubbed.
    pub(crate) scrub_rate: u64,
}

/// A configuration with what a user should be told about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// What is allowed and probably not meant.
    pub(crate) warnings: Vec<String>,
    /// Every key as it counts, for `--check-config`.
    effective: Keys,
    origins: Origins,
}

impl Loaded {
    /// The effective configuration as TOML, with where each value came from;
    /// secrets are hidden.
    pub(crate) fn to_toml(&self) -> String {
        show::to_toml(&self.effective, &self.origins)
    }
}

/// Joins flags and variables (as clap read them) with a file and the defaults.
pub(crate) fn load(
    given: Keys,
    matches: &ArgMatches,
    file: Option<&Path>,
) -> Result<Loaded, Refusal> {
    let variables = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let unknown = variables::check(variables)?;
    let mut origins = Origins::from_matches(matches);
    let keys = match file {
        Some(path) => given.or(file::read(path, &mut origins)?),
        None => given,
    };
    let mut loaded = resolve::resolve(keys, origins, &resolve::Surroundings::here())?;
    loaded.warnings.extend(unknown);
    Ok(loaded)
}

/// A node's configuration from its file alone: for tools that talk to the node.
pub(crate) fn load_file(path: &Path) -> Result<Config, Refusal> {
    let mut origins = Origins::default();
    let keys = file::read(path, &mut origins)?;
    let loaded = resolve::resolve(keys, origins, &resolve::Surroundings::here())?;
    Ok(loaded.config)
}

/// The configuration of a broker that stands alone with its data here.
pub(crate) fn load_directory(directory: &Path) -> Result<Config, Refusal> {
    let keys = Keys {
        directory: Some(directory.to_owned()),
        ..Keys::default()
    };
    let loaded = resolve::resolve(keys, Origins::default(), &resolve::Surroundings::here())?;
    Ok(loaded.config)
}

/// A secret that a file holds on its one line.
pub(crate) fn read_secret_file(path: &Path) -> Result<Secret, Refusal> {
    resolve::read_secret(path).map_err(|problem| Refusal::new(path.display().to_string(), problem))
}
