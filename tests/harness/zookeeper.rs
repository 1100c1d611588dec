//! A real ZooKeeper on a free port of 127.0.0.1, for tests and drills.
//!
//! It keeps its port and its data through [`ZooKeeper::stop`] and
//! [`ZooKeeper::start_again`], and ends with the value. Only the process that was started
//! here is ever signalled.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::network::{Host, Network};
use crate::process::program_in;

/// Where distributions and the operator may have put it.
const JARS: [&str; 2] = [
    "/usr/share/java/zookeeper.jar",
    "/usr/share/zookeeper/zookeeper.jar",
];

/// A Java process on a busy machine needs this long at worst.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where it listens on a host of its own.
const USUAL_PORT: u16 = 2181;

/// How long a tick is; sessions last two ticks or more.
const TICK_MS: u32 = 200;

/// A ZooKeeper server.
#[derive(Debug)]
pub struct ZooKeeper {
    /// Where clients connect, as `host:port`.
    pub address: String,
    host: Ipv4Addr,
    port: u16,
    /// Where it runs, if not where the tests do.
    namespace: Option<PathBuf>,
    directory: PathBuf,
    process: Option<Child>,
}

impl ZooKeeper {
    /// Starts one with an empty data directory, and waits until it answers.
    ///
    /// # Errors
    /// If there is no Java or no ZooKeeper, or if it does not answer.
    pub fn start() -> io::Result<Self> {
        let mut zookeeper = Self::prepare()?;
        // A free port may be taken by somebody else before Java gets to it.
        let mut tries = 3;
        loop {
            zookeeper.listen_at(Ipv4Addr::LOCALHOST, free_port()?);
            match zookeeper.start_again() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => tries -= 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(zookeeper),
            }
        }
    }

    /// The same, on its host in a network.
    ///
    /// # Errors
    /// If there is no Java or no ZooKeeper, or if it does not answer.
    pub fn start_in(network: &Network) -> io::Result<Self> {
        let mut zookeeper = Self::prepare()?;
        zookeeper.namespace = Some(network.namespace(Host::ZooKeeper));
        zookeeper.listen_at(Host::ZooKeeper.address(), USUAL_PORT);
        zookeeper.start_again()?;
        Ok(zookeeper)
    }

    fn listen_at(&mut self, host: Ipv4Addr, port: u16) {
        (self.host, self.port) = (host, port);
        self.address = format!("{host}:{port}");
    }

    fn prepare() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("replicamq-zookeeper-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        // A process of this number may have been killed here, and have left what it had.
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(directory.join("data"))?;
        Ok(Self {
            address: String::new(),
            host: Ipv4Addr::LOCALHOST,
            port: 0,
            namespace: None,
            directory,
            process: None,
        })
    }

    /// Starts it again after [`ZooKeeper::stop`], with the same port and data.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn start_again(&mut self) -> io::Result<()> {
        assert!(self.process.is_none(), "it runs already");
        let jar = jar()?;
        let configuration = self.directory.join("zoo.cfg");
        fs::write(&configuration, self.configuration())?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("zookeeper.log"))?;
        let child = program_in(self.namespace.as_deref(), "java")
            .args([
                "-Xmx128m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-cp",
            ])
            .arg(format!(
                "{}:/usr/share/java/slf4j-simple.jar",
                jar.display()
            ))
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.process = Some(child);
        self.wait_until_ready()
    }

    /// Kills it as a crash would; the port refuses from then on.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            drop(process.kill());
            process.wait().expect("a child can be waited for");
        }
    }

    /// Stops and starts it, with the same port and data: sessions survive.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        self.start_again()
    }

    /// Freezes it: connections stay open and nothing is answered.
    ///
    /// # Errors
    /// If the process cannot be signalled.
    pub fn pause(&self) -> io::Result<()> {
        self.signal("-STOP")
    }

    /// Goes on after [`ZooKeeper::pause`].
    ///
    /// # Errors
    /// If the process cannot be signalled.
    pub fn resume(&self) -> io::Result<()> {
        self.signal("-CONT")
    }

    /// Asks one of ZooKeeper's four-letter words, such as `srvr` or `cons`.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn ask(&self, word: &str) -> io::Result<String> {
        let address = SocketAddr::from((self.host, self.port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(word.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Where its log and data lie; removed with the value.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn configuration(&self) -> String {
        format!(
            "tickTime={TICK_MS}\nminSessionTimeout={}\nmaxSessionTimeout=60000\ndataDir={}\nclientPortAddress={}\nclientPort={}\nmaxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\nforceSync=no\nextendedTypesEnabled=true\n",
            2 * TICK_MS,
            self.directory.join("data").display(),
            self.host,
            self.port,
        )
    }

    /// `srvr` is answered only by a server that serves.
    fn wait_until_ready(&mut self) -> io::Result<()> {
        let (_never, tick) = mpsc::channel::<()>();
        let mut left = READY_TIMEOUT;
        loop {
            if self
                .ask("srvr")
                .is_ok_and(|answer| answer.contains("Mode:"))
            {
                return Ok(());
            }
            let process = self.process.as_mut().expect("it was just started");
            if let Some(status) = process.try_wait()? {
                self.process = None;
                return Err(self.failed(&format!("ended with {status}")));
            }
            if left.is_zero() {
                self.stop();
                return Err(self.failed("does not answer"));
            }
            // Nothing is ever sent: this only waits a little before the next look.
            assert!(tick.recv_timeout(LOOK_EVERY).is_err(), "nothing is sent");
            left = left.saturating_sub(LOOK_EVERY);
        }
    }

    fn failed(&self, what: &str) -> io::Error {
        let log = fs::read_to_string(self.directory.join("zookeeper.log")).unwrap_or_default();
        let kind = if log.contains("Address already in use") {
            io::ErrorKind::AddrInUse
        } else {
            io::ErrorKind::Other
        };
        let from = log.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
        io::Error::new(
            kind,
            format!("ZooKeeper {what}; its log ends: {}", &log[from..]),
        )
    }

    fn signal(&self, signal: &str) -> io::Result<()> {
        let process = self.process.as_ref().expect("it runs");
        let pid = process.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("kill {signal} {pid}: {status}")))
        }
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        self.stop();
        // A test that fails keeps its log.
        if !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.directory));
        }
    }
}

/// `ZOOKEEPER_JAR`, or where Debian puts it. Its manifest names what else it needs.
fn jar() -> io::Result<PathBuf> {
    let given = std::env::var_os("ZOOKEEPER_JAR").map(PathBuf::from);
    let known = JARS.iter().map(PathBuf::from);
    given.into_iter().chain(known).find(|jar| jar.exists()).ok_or_else(|| {
        let why = "no ZooKeeper here: install it (on Debian: apt-get install zookeeper default-jre-headless), or set ZOOKEEPER_JAR";
        io::Error::new(io::ErrorKind::NotFound, why)
    })
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
