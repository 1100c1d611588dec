//! Some brokers and a real ZooKeeper, as processes on free ports of this machine.

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::network::{Host, Network};
use crate::process::{self, Node};
use crate::wait;
use crate::zookeeper::ZooKeeper;

/// What the nodes prove to each other.
pub const TOKEN: &str = "a-token-of-the-tests";

/// Below the ports that the system gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// STOMP, administration and replication, for a node that has a host to itself.
const HOST_PORTS: [u16; 3] = [61_613, 8_161, 61_619];

/// Lines of each log that a failed test shows.
const LINES_SHOWN: usize = 60;

/// Nodes, what they keep, and their ZooKeeper.
#[derive(Debug)]
pub struct Cluster {
    /// `broker-1`, `broker-2`, …
    pub nodes: Vec<Node>,
    /// Shared with other tests, unless this one means to hurt it.
    pub zookeeper: Arc<Mutex<ZooKeeper>>,
    /// Its place in ZooKeeper.
    pub zk_path: String,
    /// How many nodes make it up.
    size: usize,
    zk_address: String,
    directory: Option<TempDir>,
}

impl Cluster {
    /// Three nodes that follow one master, in a ZooKeeper that others use, too.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same, with more lines in every node's configuration.
    pub fn start_with(lines: &str) -> Self {
        let mut cluster = Self::prepare(&shared_zookeeper(), lines);
        cluster.start_all();
        cluster
    }

    /// So many nodes that follow one master.
    pub fn start_of(size: usize) -> Self {
        let mut cluster = Self::prepare_of(size, &shared_zookeeper(), "");
        cluster.start_all();
        cluster
    }

    /// Three nodes that follow one master, with a ZooKeeper of their own.
    pub fn start_alone() -> Self {
        let zookeeper = ZooKeeper::start().expect("ZooKeeper starts");
        let mut cluster = Self::prepare(&Arc::new(Mutex::new(zookeeper)), "");
        cluster.start_all();
        cluster
    }

    /// Three nodes and their ZooKeeper, each on a host of its own. Only ZooKeeper runs yet.
    pub fn prepare_in(network: &Network, lines: &str) -> Self {
        let zookeeper = ZooKeeper::start_in(network).expect("ZooKeeper starts");
        let mut cluster = Self::without_nodes(3, &Arc::new(Mutex::new(zookeeper)));
        for index in 0..cluster.size {
            let host = Host::Broker(index);
            let at = |port| SocketAddr::from((host.address(), port));
            let addresses = HOST_PORTS.map(at);
            let name = format!("broker-{}", index + 1);
            let mut node = cluster.node_at(&name, lines, addresses);
            node.namespace = Some(network.namespace(host));
            cluster.nodes.push(node);
        }
        cluster
    }

    /// Configured, and nothing runs yet but ZooKeeper.
    pub fn prepare(zookeeper: &Arc<Mutex<ZooKeeper>>, lines: &str) -> Self {
        Self::prepare_of(3, zookeeper, lines)
    }

    fn prepare_of(size: usize, zookeeper: &Arc<Mutex<ZooKeeper>>, lines: &str) -> Self {
        let mut cluster = Self::without_nodes(size, zookeeper);
        for number in 1..=size {
            let node = cluster.node(&format!("broker-{number}"), lines);
            cluster.nodes.push(node);
        }
        cluster
    }

    fn without_nodes(size: usize, zookeeper: &Arc<Mutex<ZooKeeper>>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::Builder::new()
            .prefix("replicamq-cluster-")
            .tempdir()
            .expect("there is room for temporary files");
        let zk_address = locked(zookeeper).address.clone();
        Self {
            nodes: Vec::new(),
            zookeeper: Arc::clone(zookeeper),
            zk_path: format!("/tests/{}-{number}", std::process::id()),
            size,
            zk_address,
            directory: Some(directory),
        }
    }

    /// Starts every node that does not run, and waits until all follow one master.
    pub fn start_all(&mut self) {
        for node in &mut self.nodes {
            if !node.runs() {
                node.start(&[]);
            }
        }
        self.complete();
    }

    /// One more node of this cluster, configured but not started.
    pub fn node(&self, name: &str, lines: &str) -> Node {
        let addresses = [free_address(), free_address(), free_address()];
        self.node_at(name, lines, addresses)
    }

    fn node_at(&self, name: &str, lines: &str, addresses: [SocketAddr; 3]) -> Node {
        let root = self.directory();
        let [stomp, admin, replication] = addresses;
        let hostname = stomp.ip();
        let directory = root.join(format!("data-{name}"));
        let (zk_address, zk_path, replicas) = (&self.zk_address, &self.zk_path, self.size);
        let text = format!(
            "node = \"{name}\"\nhostname = \"{hostname}\"\ndirectory = \"{}\"\n\
             stomp = \"tcp://{stomp}\"\nadmin = \"tcp://{admin}\"\nbind = \"tcp://{replication}\"\n\
             zk_address = \"{zk_address}\"\nzk_path = \"{zk_path}\"\nzk_session_timeout = \"2s\"\n\
             security_token = \"{TOKEN}\"\nreplicas = {replicas}\n{lines}\n",
            directory.display()
        );
        let configuration = root.join(format!("{name}.toml"));
        fs::write(&configuration, text).expect("the configuration can be written");
        Node {
            name: name.to_owned(),
            stomp,
            admin,
            replication,
            binary: process::binary(),
            directory,
            namespace: None,
            configuration,
            log: root.join(format!("{name}.log")),
            began: 0,
            process: None,
        }
    }

    /// Where this test's files are.
    pub fn directory(&self) -> &Path {
        let directory = self.directory.as_ref();
        directory.expect("it goes with the cluster").path()
    }

    /// ZooKeeper, to stop or pause it.
    pub fn keeper(&self) -> MutexGuard<'_, ZooKeeper> {
        locked(&self.zookeeper)
    }

    /// Where clients may find the master.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.stomp).collect()
    }

    /// Which node is master: the one that lets clients in.
    pub fn master(&self) -> usize {
        self.master_but(None)
    }

    /// The master among the others, as when `not` stands still with an open port.
    pub fn master_but(&self, not: Option<usize>) -> usize {
        wait::until("there is a master", || {
            let mut running = self.nodes.iter().enumerate();
            let found = running
                .find(|(index, node)| Some(*index) != not && node.runs() && accepts(node.stomp));
            found.map(|(index, _)| index)
        })
    }

    /// Two nodes that are not the master, the first ones.
    pub fn replicas(&self) -> [usize; 2] {
        let master = self.master();
        let mut others = (0..self.size).filter(|index| *index != master);
        let mut next = || others.next().expect("there are three nodes or more");
        [next(), next()]
    }

    /// The epoch of the master.
    pub fn epoch(&self) -> u64 {
        wait::until("the master tells its epoch", || {
            let master = self.nodes.iter().find(|node| accepts(node.stomp))?;
            status(master.admin)?["epoch"].as_u64()
        })
    }

    /// The master is one because its predecessor asked it to be: nobody waited for a silence or
    /// a broken stream, and no election failed in between.
    #[track_caller]
    pub fn was_handed_over_by(&self, old: usize) {
        let name = &self.nodes[old].name;
        let new = &self.nodes[self.master_but(Some(old))];
        let status = wait::until("the new master tells why it is one", || {
            local_status(new.admin)
        });
        let why = status["last_election_reason"].as_str();
        assert_eq!(
            why,
            Some(format!("{name} hands the mastership over").as_str()),
            "{status}"
        );
    }

    /// Waits until all nodes follow one master and miss nothing.
    pub fn complete(&self) {
        wait::until("every node follows the master and misses nothing", || {
            self.is_complete()
        });
    }

    /// Whether all nodes follow one master and miss nothing.
    pub fn is_complete(&self) -> Option<()> {
        let master = self.nodes.iter().find(|node| accepts(node.stomp))?;
        let status = status(master.admin)?;
        let members = status["members"].as_array()?;
        let role = |name: &str| members.iter().filter(|one| one["role"] == name).count();
        let level = |one: &Value| one["connected"] == true && one["lag_entries"] == 0;
        let replicas = self.size - 1;
        (role("master") == 1 && role("replica") == replicas && members.iter().all(level))
            .then_some(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        for node in &mut self.nodes {
            node.kill();
            if failed {
                show(node);
            }
        }
        if failed && let Some(directory) = self.directory.take() {
            let kept = directory.keep();
            say(&format!("kept, with the nodes' logs: {}", kept.display()));
        }
    }
}

/// What a node says of the cluster, if it answers.
pub fn status(admin: SocketAddr) -> Option<Value> {
    ask(admin, &[])
}

/// What a node knows by itself.
pub fn local_status(admin: SocketAddr) -> Option<Value> {
    ask(admin, &["--local"])
}

/// One node's part of a status.
pub fn member<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let mut members = status["members"].as_array()?.iter();
    members.find(|member| member["node"] == name)
}

fn ask(admin: SocketAddr, flags: &[&str]) -> Option<Value> {
    let output = process::command()
        .args(["status", "--json", "--node", &admin.to_string()])
        .args(["--security-token", TOKEN])
        .args(flags)
        .output()
        .expect("the binary can be run");
    let answer = output.status.success().then_some(output.stdout)?;
    serde_json::from_slice(&answer).ok()
}

/// Whether a TCP connection is taken.
pub fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// One ZooKeeper for all tests that run at the same time; it ends with the last of them.
pub fn shared_zookeeper() -> Arc<Mutex<ZooKeeper>> {
    static SHARED: Mutex<Weak<Mutex<ZooKeeper>>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(zookeeper) = shared.upgrade() {
        return zookeeper;
    }
    let zookeeper = ZooKeeper::start().expect("ZooKeeper starts");
    let zookeeper = Arc::new(Mutex::new(zookeeper));
    *shared = Arc::downgrade(&zookeeper);
    zookeeper
}

/// An address that nobody listens on, and that no outgoing connection will take.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = u32::from(PORTS.end - PORTS.start);
    let first = std::process::id().wrapping_mul(101) % span;
    wait::until("there is a free port", || {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from((first + step) % span).expect("the span is one of ports");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + offset));
        TcpListener::bind(address).is_ok().then_some(address)
    })
}

fn locked(zookeeper: &Mutex<ZooKeeper>) -> MutexGuard<'_, ZooKeeper> {
    zookeeper.lock().unwrap_or_else(PoisonError::into_inner)
}

fn show(node: &Node) {
    let text = fs::read_to_string(&node.log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LINES_SHOWN);
    say(&format!("--- {}:\n{}", node.name, lines[from..].join("\n")));
}

/// A line for whoever runs the tests, also of one that passes.
pub fn say(text: &str) {
    writeln!(io::stderr(), "{text}").expect("the terminal takes a line");
}

/// What this machine lacks for a test. Where all must be tested (`REPLICAMQ_TEST_ALL`), the
/// test fails.
#[track_caller]
pub fn not_tested(why: &str) {
    say(&format!("NOT TESTED: {why}"));
    assert!(
        std::env::var_os("REPLICAMQ_TEST_ALL").is_none(),
        "REPLICAMQ_TEST_ALL is set: {why}"
    );
}
