//! Defaults, and what cannot go together.

mod limits;

use std::fs;
use std::path::{Path, PathBuf};

use super::address::{Address, Connector, NodeName, ZkPath};
use super::file::read_text;
use super::filter::{self, LEVELS};
use super::keys::Keys;
use super::origin::{Origin, Origins};
use super::refusal::Refusal;
use super::value::{Durability, Interval, LogFormat, Secret, SyncMode};
use super::{Cluster, Config, Intervals, Listen, Loaded, ZK_PATH_DEFAULT};

const REPLICAS_MAX: u32 = 9;
const SECRET_BYTES_MAX: u64 = 4096;
/// The ZooKeeper client tells of every attempt to connect, at several levels; what an
/// operator should know of the connection, `membership` says once.
const LOG: &str = "info,zookeeper_client=error";
/// ZooKeeper's own bounds for the usual tick of two seconds are 4 s and 40 s.
const ZK_SESSION_TIMEOUT_MIN: Interval = Interval::from_ms(500);

/// What the defaults take from the machine.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) hostname: Option<String>,
    /// `$XDG_DATA_HOME`, or what stands for it.
    pub(super) data_home: PathBuf,
}

impl Surroundings {
    pub(super) fn here() -> Self {
        let path = |name| std::env::var_os(name).map(PathBuf::from);
        let data_home = path("XDG_DATA_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| path("HOME").map(|home| home.join(".local/share")));
        Self {
            hostname: fs::read_to_string("/proc/sys/kernel/hostname").ok(),
            data_home: data_home.unwrap_or_else(|| PathBuf::from(".")),
        }
    }
}

struct Resolver {
    keys: Keys,
    origins: Origins,
    warnings: Vec<String>,
}

pub(super) fn resolve(
    keys: Keys,
    origins: Origins,
    surroundings: &Surroundings,
) -> Result<Loaded, Refusal> {
    let mut resolver = Resolver {
        keys,
        origins,
        warnings: Vec::new(),
    };
    let config = resolver.config(surroundings)?;
    Ok(Loaded {
        config,
        warnings: resolver.warnings,
        effective: resolver.keys,
        origins: resolver.origins,
    })
}

impl Resolver {
    fn config(&mut self, surroundings: &Surroundings) -> Result<Config, Refusal> {
        self.check_standalone()?;
        let (hostname, node, directory) = self.identity(surroundings);
        self.check_paths()?;
        self.check_directory(&directory)?;
        let stomp = self
            .keys
            .stomp
            .get_or_insert_with(|| loopback(61613))
            .clone();
        let stomp = self.listen("advertise_stomp", &stomp, &hostname)?;
        let admin = self
            .keys
            .admin
            .get_or_insert_with(|| loopback(8161))
            .clone();
        let admin = self.listen("advertise_admin", &admin, &hostname)?;
        let sync = *self.keys.sync.get_or_insert(SyncMode::QUORUM_DISK);
        let security_token = self.secret("security_token", "security_token_file")?;
        self.check_token(security_token.as_ref())?;
        let cluster = if self.keys.zk_address.is_some() {
            Some(self.cluster(&hostname)?)
        } else {
            None
        };
        let intervals = self.intervals(cluster.is_some())?;
        let limits = self.limits()?;
        let log = self.keys.log.get_or_insert_with(|| LOG.to_owned()).clone();
        let log = self.filter(&log)?;
        let config = Config {
            node,
            directory,
            cluster,
            sync,
            security_token,
            stomp,
            admin,
            intervals,
            limits,
            log,
            log_format: *self.keys.log_format.get_or_insert(LogFormat::Text),
        };
        self.check_ports(&config)?;
        self.warn_of_what_is_unusual(&config);
        Ok(config)
    }

    /// A configuration is text: one that is not could neither be written to a file nor shown.
    fn check_paths(&self) -> Result<(), Refusal> {
        let paths = [
            ("directory", &self.keys.directory),
            ("security_token_file", &self.keys.security_token_file),
            ("zk_password_file", &self.keys.zk_password_file),
        ];
        for (key, path) in paths {
            if let Some(path) = path.as_ref().filter(|path| path.to_str().is_none()) {
                let problem = format!("{key} = {} is not text in UTF-8", path.display());
                return Err(self
                    .refuse(key, problem)
                    .cure("name a path that can be written in a file, or a link to this one"));
            }
        }
        Ok(())
    }

    /// It need not be there yet; what cannot become a directory is said here.
    fn check_directory(&self, directory: &Path) -> Result<(), Refusal> {
        let problem = if directory.as_os_str().is_empty() {
            "directory is empty: messages need a place".to_owned()
        } else if fs::metadata(directory).is_ok_and(|found| !found.is_dir()) {
            format!("directory = {} is a file", directory.display())
        } else {
            return Ok(());
        };
        Err(self
            .refuse("directory", problem)
            .cure("name a directory, as in \"/var/lib/replicamq\"; it is made if it is missing"))
    }

    fn filter(&self, log: &str) -> Result<String, Refusal> {
        filter::normal(log).map_err(|problem| {
            self.refuse("log", problem).cure(&format!(
                "write a level ({}), or target=level pairs with commas between",
                LEVELS.join(", ")
            ))
        })
    }

    fn refuse(&self, key: &str, problem: String) -> Refusal {
        Refusal::at(self.origins.of(key), problem)
    }

    /// `key = value`, with its place if it has one.
    fn shown(&self, key: &str, value: impl std::fmt::Display) -> String {
        match self.origins.of(key) {
            Origin::Default => format!("{key} = {value}, the default"),
            origin => format!("{key} = {value} ({origin})"),
        }
    }

    /// Without `zk_address` there is no cluster: whoever sets the rest means one.
    fn check_standalone(&self) -> Result<(), Refusal> {
        if self.keys.zk_address.is_some() {
            return Ok(());
        }
        let keys = &self.keys;
        if let Some(replicas @ 2..) = keys.replicas {
            return Err(self
                .refuse("replicas", format!("replicas = {replicas} needs ZooKeeper, and zk_address is not set"))
                .cure("set zk_address, as in \"127.0.0.1:2181\", or leave replicas out for a standalone broker"));
        }
        let meant = [
            ("zk_path", keys.zk_path.is_some()),
            ("zk_password", keys.zk_password.is_some()),
            ("zk_password_file", keys.zk_password_file.is_some()),
            ("zk_session_timeout", keys.zk_session_timeout.is_some()),
            ("bind", keys.bind.is_some()),
            (
                "advertise_replication",
                keys.advertise_replication.is_some(),
            ),
        ];
        if let Some((key, _)) = meant.iter().find(|(_, set)| *set) {
            return Err(self
                .refuse(key, format!("{key} belongs to a cluster node, and zk_address is not set"))
                .cure(&format!("set zk_address, as in \"127.0.0.1:2181\", or leave {key} out for a standalone broker")));
        }
        if let Some(sync) = keys.sync.filter(|sync| sync.local == Durability::None) {
            return Err(self
                .refuse(
                    "sync",
                    format!(
                        "sync = {sync} waits for other nodes only, and a standalone broker has none"
                    ),
                )
                .cure("use local_disk or local_mem, or set zk_address"));
        }
        Ok(())
    }

    fn identity(&mut self, surroundings: &Surroundings) -> (String, String, PathBuf) {
        let of_machine = || {
            let name = surroundings.hostname.as_deref().map_or("", str::trim);
            name.parse()
                .unwrap_or_else(|_| NodeName("localhost".to_owned()))
        };
        let clustered = self.keys.zk_address.is_some();
        let hostname = self.keys.hostname.get_or_insert_with(of_machine).clone();
        let node = self
            .keys
            .node
            .get_or_insert_with(|| hostname.clone())
            .clone();
        let own = if clustered { &node.0 } else { "standalone" };
        let home = || surroundings.data_home.join("replicamq").join(own);
        let directory = self.keys.directory.get_or_insert_with(home).clone();
        (hostname.0, node.0, directory)
    }

    /// What others are told: what was said, or the bind address, or, if that is every interface, the hostname.
    fn listen(
        &mut self,
        key: &'static str,
        bind: &Connector,
        hostname: &str,
    ) -> Result<Option<Listen>, Refusal> {
        let Some(bind) = bind.address() else {
            return Ok(None);
        };
        let said = match key {
            "advertise_stomp" => &mut self.keys.advertise_stomp,
            "advertise_admin" => &mut self.keys.advertise_admin,
            _ => &mut self.keys.advertise_replication,
        };
        let usual = || {
            if bind.is_unspecified() {
                Address::new(hostname, bind.port)
            } else {
                bind.clone()
            }
        };
        let advertised = said.get_or_insert_with(usual).clone();
        if advertised.is_unspecified() {
            return Err(self
                .refuse(key, format!("nobody can connect to {advertised}: it means every interface of the own machine"))
                .cure("name the address or host name under which this machine is reached"));
        }
        Ok(Some(Listen {
            bind: bind.clone(),
            advertised,
        }))
    }

    fn cluster(&mut self, hostname: &str) -> Result<Cluster, Refusal> {
        let replicas = *self.keys.replicas.get_or_insert(3);
        if !(1..=REPLICAS_MAX).contains(&replicas) {
            return Err(self
                .refuse(
                    "replicas",
                    format!("replicas = {replicas}: a cluster has 1 to {REPLICAS_MAX} nodes"),
                )
                .cure("use 3, which stays safe without any one node, or 5, without any two"));
        }
        let bind = self
            .keys
            .bind
            .get_or_insert_with(|| Address::new("0.0.0.0", 61619))
            .clone();
        let replication = self
            .listen("advertise_replication", &Connector::At(bind), hostname)?
            .expect("the connector is not off");
        let path = || ZkPath(ZK_PATH_DEFAULT.to_owned());
        let timeout = *self
            .keys
            .zk_session_timeout
            .get_or_insert(Interval::from_ms(6_000));
        if timeout < ZK_SESSION_TIMEOUT_MIN {
            return Err(self
                .refuse(
                    "zk_session_timeout",
                    format!("zk_session_timeout = {timeout} would let every pause end the session"),
                )
                .cure("use 2s or more; failover does not wait for it"));
        }
        let servers = self.keys.zk_address.clone().expect("a cluster node has it");
        Ok(Cluster {
            replicas,
            weight: *self.keys.weight.get_or_insert(1),
            replication,
            zk_servers: servers.0,
            zk_path: self.keys.zk_path.get_or_insert_with(path).0.clone(),
            zk_password: self.secret("zk_password", "zk_password_file")?,
            zk_session_timeout: timeout.0,
        })
    }

    /// A secret said directly or kept in a file, but not both.
    fn secret(&self, key: &str, file_key: &str) -> Result<Option<Secret>, Refusal> {
        let (said, file) = match key {
            "zk_password" => (&self.keys.zk_password, &self.keys.zk_password_file),
            _ => (&self.keys.security_token, &self.keys.security_token_file),
        };
        match (said, file) {
            (Some(_), Some(path)) => {
                let file = self.shown(file_key, path.display());
                Err(self
                    .refuse(key, format!("{key} and {file} are both set"))
                    .cure("keep one of them"))
            }
            (Some(secret), None) => Ok(Some(secret.clone())),
            (None, None) => Ok(None),
            (None, Some(path)) => read_secret(path).map(Some).map_err(|problem| {
                self.refuse(
                    file_key,
                    format!("{file_key} = {}: {problem}", path.display()),
                )
                .cure("the file must hold the secret on one line and be readable by this user")
            }),
        }
    }

    /// The token travels in a header of HTTP/2.
    fn check_token(&self, token: Option<&Secret>) -> Result<(), Refusal> {
        let visible = |token: &Secret| token.reveal().chars().all(|c| c.is_ascii_graphic());
        if token.is_none_or(visible) {
            return Ok(());
        }
        let key = if self.keys.security_token.is_some() {
            "security_token"
        } else {
            "security_token_file"
        };
        Err(self
            .refuse(key, "the security token has characters that cannot travel".to_owned())
            .cure("use letters, digits and punctuation without blanks, as from `openssl rand -hex 32`"))
    }

    fn intervals(&mut self, clustered: bool) -> Result<Intervals, Refusal> {
        let usual = replicamq_quorum::Limits::default();
        let keys = &self.keys;
        let heartbeat = keys
            .heartbeat
            .unwrap_or(Interval::from_ms(usual.heartbeat_ms));
        let lease = keys.lease.unwrap_or(Interval::from_ms(usual.lease_ms));
        let suspicion = keys
            .suspicion
            .unwrap_or(Interval::from_ms(usual.suspicion_ms));
        let pairs = [
            (
                "heartbeat",
                heartbeat,
                "lease",
                lease,
                "a master would lose its lease between two heartbeats",
            ),
            (
                "lease",
                lease,
                "suspicion",
                suspicion,
                "another node could be elected while the old master still answers",
            ),
        ];
        for (shorter, short, longer, long, why) in pairs {
            if short >= long {
                let blamed = match self.origins.of(shorter) {
                    Origin::Default => longer,
                    _ => shorter,
                };
                let (short, long) = (self.shown(shorter, short), self.shown(longer, long));
                return Err(self
                    .refuse(
                        blamed,
                        format!("{shorter} must be shorter than {longer}: {short}; {long}"),
                    )
                    .cure(&format!(
                        "lengthen {longer} or shorten {shorter}; otherwise {why}"
                    )));
            }
        }
        if heartbeat.as_ms() == 0 {
            return Err(self
                .refuse(
                    "heartbeat",
                    "heartbeat = 0ms would do nothing but beat".to_owned(),
                )
                .cure("use 50ms"));
        }
        if clustered {
            if lease.as_ms() < 3 * heartbeat.as_ms() {
                self.warnings.push(format!(
                    "lease = {lease} leaves room for fewer than three heartbeats of {heartbeat}: a short pause will stop the master"
                ));
            }
            self.keys.heartbeat = Some(heartbeat);
            self.keys.lease = Some(lease);
            self.keys.suspicion = Some(suspicion);
        }
        Ok(Intervals {
            heartbeat: heartbeat.0,
            lease: lease.0,
            suspicion: suspicion.0,
        })
    }

    fn check_ports(&self, config: &Config) -> Result<(), Refusal> {
        let mut taken: Vec<(&str, &Address)> = Vec::new();
        let listeners = [
            ("stomp", config.stomp.as_ref()),
            ("admin", config.admin.as_ref()),
            (
                "bind",
                config.cluster.as_ref().map(|cluster| &cluster.replication),
            ),
        ];
        for (key, listen) in listeners {
            let Some(Listen { bind, .. }) = listen else {
                continue;
            };
            if let Some((other, at)) = taken.iter().find(|(_, at)| at.collides(bind)) {
                let (one, two) = (self.shown(key, bind), self.shown(other, at));
                return Err(self
                    .refuse(
                        key,
                        format!("{key} and {other} want the same port: {one}; {two}"),
                    )
                    .cure("give each its own port"));
            }
            taken.push((key, bind));
        }
        Ok(())
    }

    fn warn_of_what_is_unusual(&mut self, config: &Config) {
        let Some(cluster) = &config.cluster else {
            return;
        };
        let mut warn = |text: String| self.warnings.push(text);
        if cluster.replicas.is_multiple_of(2) {
            warn(format!(
                "replicas = {} bears the loss of no more nodes than {} would: use an odd number",
                cluster.replicas,
                cluster.replicas - 1
            ));
        }
        if cluster.replicas > 1 && config.sync.remote == Durability::None {
            warn(format!(
                "sync = {} answers before any other node has the message: what was acknowledged is lost with the master",
                config.sync
            ));
        } else if config.sync.remote == Durability::Mem || config.sync.local != Durability::Disk {
            warn(format!(
                "sync = {} may lose acknowledged messages when several nodes lose power together",
                config.sync
            ));
        }
        let beyond = !cluster.replication.bind.is_loopback();
        if beyond && config.security_token.is_none() {
            warn(format!(
                "replication listens on {} without a security_token: whoever reaches it can read and write every message",
                cluster.replication.bind
            ));
        }
        if beyond && cluster.replication.advertised.host == "localhost" {
            warn(
                "hostname is localhost: other machines will not reach this node under it"
                    .to_owned(),
            );
        }
        if let Some(stomp) = config
            .stomp
            .as_ref()
            .filter(|stomp| beyond && stomp.bind.is_loopback())
        {
            warn(format!(
                "stomp listens on {} only: clients on other machines cannot connect (tcp://0.0.0.0:61613 would let them)",
                stomp.bind
            ));
        }
    }
}

fn loopback(port: u16) -> Connector {
    Connector::At(Address::new("127.0.0.1", port))
}

pub(super) fn read_secret(path: &Path) -> Result<Secret, String> {
    let text = read_text(path, SECRET_BYTES_MAX)?;
    text.trim_end_matches(['\r', '\n']).parse()
}

#[cfg(test)]
#[path = "resolve_test.rs"]
mod tests;
