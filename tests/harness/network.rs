//! A network of its own for a cluster: every broker, ZooKeeper and the clients each in a
//! namespace with one cable to a bridge. What the host's network does is left alone.
//!
//! Whoever makes one is moved to where the clients are, and its threads and children with it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::delay::Delay;

/// Every namespace of every run begins so; the process of the run follows.
const PREFIX: &str = "replicamq-";

/// Where `ip netns` keeps them.
const NAMESPACES: &str = "/run/netns";

/// The namespace with the bridge.
const HUB: &str = "hub";

/// The table that holds all faults of a host.
const TABLE: &str = "inet faults";

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// All clients, and the tests.
    Clients,
    /// The one ZooKeeper.
    ZooKeeper,
    /// The nodes of the cluster, from zero.
    Broker(usize),
}

/// Everybody.
pub const HOSTS: [Host; 5] = [
    Host::Clients,
    Host::ZooKeeper,
    Host::Broker(0),
    Host::Broker(1),
    Host::Broker(2),
];

impl Host {
    fn name(self) -> String {
        match self {
            Self::Clients => "clients".to_owned(),
            Self::ZooKeeper => "zookeeper".to_owned(),
            Self::Broker(index) => format!("broker-{}", index + 1),
        }
    }

    /// Two networks never meet, so that all may use the same addresses.
    pub fn address(self) -> Ipv4Addr {
        let last = match self {
            Self::Clients => 1,
            Self::ZooKeeper => 2,
            Self::Broker(index) => 11 + u8::try_from(index).expect("there are three brokers"),
        };
        Ipv4Addr::new(10, 61, 61, last)
    }
}

/// Five hosts on a bridge; gone with the value.
#[derive(Debug)]
pub struct Network {
    /// What all its namespaces begin with.
    run: String,
    /// Where the maker was before.
    home: File,
}

/// Of all hosts.
#[derive(Debug)]
pub struct Delays(#[expect(dead_code, reason = "they end when they are dropped")] Vec<Delay>);

impl Network {
    /// Makes all hosts and moves this thread to the clients.
    ///
    /// # Errors
    /// If that is not allowed here, or a tool is missing.
    pub fn make() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        sweep()?;
        let network = Self {
            run: format!("{PREFIX}{}-{number}-", std::process::id()),
            home: File::open("/proc/thread-self/ns/net")?,
        };
        network.add_hub()?;
        for host in HOSTS {
            network.add(host)?;
        }
        let clients = File::open(network.namespace(Host::Clients))?;
        enter(&clients)?;
        Ok(network)
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.run)
    }

    /// What a process has to enter to run there.
    pub fn namespace(&self, host: Host) -> PathBuf {
        Path::new(NAMESPACES).join(self.full_name(&host.name()))
    }

    fn add_hub(&self) -> io::Result<()> {
        let hub = self.full_name(HUB);
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link add bridge type bridge"))?;
        ip(&format!("-n {hub} link set bridge up"))
    }

    fn add(&self, host: Host) -> io::Result<()> {
        let (hub, name) = (self.full_name(HUB), host.name());
        let namespace = self.full_name(&name);
        let address = host.address();
        ip(&format!("netns add {namespace}"))?;
        ip(&format!(
            "-n {hub} link add {name} type veth peer name eth0 netns {namespace}"
        ))?;
        ip(&format!("-n {hub} link set {name} master bridge up"))?;
        ip(&format!("-n {namespace} address add {address}/24 dev eth0"))?;
        ip(&format!("-n {namespace} link set lo up"))?;
        ip(&format!("-n {namespace} link set eth0 up"))?;
        self.nft(host, &chains(&[]))
    }

    /// What a host does with what comes in, instead of all that it did before: rules of
    /// nftables.
    pub fn rule(&self, host: Host, rules: &[String]) {
        self.nft(host, &chains(rules))
            .expect("it was allowed when the network was made");
    }

    /// Nobody's packets are hurt any more.
    pub fn heal(&self) {
        for host in HOSTS {
            self.rule(host, &[]);
        }
    }

    /// Packets from `from` do not reach `to`; the other way they do.
    pub fn cut_one_way(&self, from: &[Host], to: &[Host]) {
        for host in to {
            self.rule(*host, &[drop_from(from)]);
        }
    }

    /// Neither reaches the other.
    pub fn cut(&self, some: &[Host], others: &[Host]) {
        self.cut_one_way(some, others);
        self.cut_one_way(others, some);
    }

    /// Delays what every host sends, until the value is gone.
    ///
    /// # Errors
    /// If that is not allowed here, or the kernel queues no packets.
    pub fn delay(&self, time: Duration) -> io::Result<Delays> {
        let delays = HOSTS.map(|host| Delay::begin(&self.namespace(host), time));
        delays.into_iter().collect::<io::Result<_>>().map(Delays)
    }

    fn nft(&self, host: Host, script: &str) -> io::Result<()> {
        let namespace = self.namespace(host);
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", namespace.display()))
            .args(["nft", "-f", "-"]);
        run(&mut command, script)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Where this fails, the next run sweeps.
        drop(enter(&self.home));
        for name in names().unwrap_or_default() {
            if name.starts_with(&self.run) {
                drop(ip(&format!("netns del {name}")));
            }
        }
    }
}

/// A rule: what comes from these is not there.
pub fn drop_from(hosts: &[Host]) -> String {
    format!("ip saddr {{ {} }} drop", addresses(hosts))
}

/// A rule: so many packets of a hundred from these are not there.
pub fn lose_from(hosts: &[Host], percent: u8) -> String {
    format!(
        "ip saddr {{ {} }} numgen random mod 100 < {percent} drop",
        addresses(hosts)
    )
}

/// A rule: connections with these break at their next word.
pub fn reset_from(hosts: &[Host]) -> String {
    format!(
        "ip saddr {{ {} }} meta l4proto tcp reject with tcp reset",
        addresses(hosts)
    )
}

fn addresses(hosts: &[Host]) -> String {
    let all: Vec<String> = hosts
        .iter()
        .map(|host| host.address().to_string())
        .collect();
    all.join(", ")
}

/// A table with these rules alone, in one step.
fn chains(rules: &[String]) -> String {
    let rules = rules.join("\n");
    format!(
        "add table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\nchain input {{\n\
         type filter hook input priority 0;\n{rules}\n}}\n}}\n"
    )
}

pub(crate) fn enter(namespace: &File) -> io::Result<()> {
    let network = Some(LinkNameSpaceType::Network);
    Ok(move_into_link_name_space(namespace.as_fd(), network)?)
}

fn names() -> io::Result<Vec<String>> {
    match fs::read_dir(NAMESPACES) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Removes what killed runs left: their namespaces, and the processes in them.
fn sweep() -> io::Result<()> {
    for name in names()? {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let process = rest.split('-').next().unwrap_or_default();
        let ours = process.parse::<u32>().is_ok();
        if !ours || Path::new("/proc").join(process).exists() {
            continue;
        }
        let output = Command::new("ip").args(["netns", "pids", &name]).output()?;
        let left = String::from_utf8_lossy(&output.stdout).into_owned();
        for process in left.split_whitespace() {
            // It may end by itself meanwhile.
            drop(Command::new("kill").args(["-s", "KILL", process]).output());
        }
        // Another run may sweep at the same time.
        drop(ip(&format!("netns del {name}")));
    }
    Ok(())
}

fn ip(words: &str) -> io::Result<()> {
    run(Command::new("ip").args(words.split_whitespace()), "")
}

pub(crate) fn run(command: &mut Command, input: &str) -> io::Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            io::Error::new(error.kind(), format!("{program}: {error}"))
        })?;
    let mut stdin = child.stdin.take().expect("it was piped");
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}", said.trim())))
}
