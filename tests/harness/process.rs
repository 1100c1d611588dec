//! The `replicamq` binary as a process of its own: started, watched, hurt and ended.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::wait;

/// `REPLICAMQ_BIN`, or what cargo built beside the running test.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("REPLICAMQ_BIN").map_or_else(beside, PathBuf::from);
    assert!(
        path.exists(),
        "no broker at {}: run `cargo build --release -p replicamq-server` first, or set REPLICAMQ_BIN",
        path.display()
    );
    path
}

/// target/release/replicamq, where this is target/release/deps/cluster-0123456789abcdef.
fn beside() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.ancestors().nth(2).expect("cargo nests its tests");
    folder.join("replicamq")
}

/// A program, in a network namespace if one is given.
pub(crate) fn program_in(namespace: Option<&Path>, program: impl AsRef<OsStr>) -> Command {
    let Some(namespace) = namespace else {
        return Command::new(program);
    };
    // It becomes the program: signals and the process id are those of the program.
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", namespace.display()))
        .arg("--")
        .arg(program);
    command
}

/// The binary with nothing of our own environment that it would listen to.
pub fn command() -> Command {
    command_of(&binary(), None)
}

fn command_of(binary: &Path, namespace: Option<&Path>) -> Command {
    let mut command = program_in(namespace, binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REPLICAMQ_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Where a node listens, what it keeps, and the process if it runs.
#[derive(Debug)]
pub struct Node {
    /// `broker-1`, …
    pub name: String,
    /// For STOMP clients.
    pub stomp: SocketAddr,
    /// For `replicamq status`.
    pub admin: SocketAddr,
    /// For the other nodes.
    pub replication: SocketAddr,
    /// The build that it runs.
    pub binary: PathBuf,
    /// Its data.
    pub directory: PathBuf,
    /// Where it runs, if not where the tests do.
    pub(crate) namespace: Option<PathBuf>,
    pub(crate) configuration: PathBuf,
    pub(crate) log: PathBuf,
    /// Where the log of the running process begins in the file.
    pub(crate) began: usize,
    pub(crate) process: Option<Child>,
}

impl Node {
    /// Starts it, with flags that go before its configuration.
    pub fn start(&mut self, flags: &[&str]) {
        self.start_with(flags, &[]);
    }

    /// The same, with more variables in its environment.
    pub fn start_with(&mut self, flags: &[&str], variables: &[(&str, &str)]) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        self.began = fs::metadata(&self.log).map_or(0, |file| {
            usize::try_from(file.len()).expect("a log fits into memory")
        });
        let open = || {
            let mut options = File::options();
            options.create(true).append(true).open(&self.log)
        };
        let process = command_of(&self.binary, self.namespace.as_deref())
            .arg("serve")
            .arg("--config")
            .arg(&self.configuration)
            .args(flags)
            .envs(variables.iter().copied())
            .stdout(open().expect("the log can be written"))
            .stderr(open().expect("the log can be written"))
            .spawn()
            .expect("the broker can be started");
        self.process = Some(process);
    }

    /// Runs `replicamq cluster` with its configuration; what that said, and whether it did it.
    pub fn operate(&self, words: &[&str]) -> (bool, String) {
        let output = command()
            .arg("cluster")
            .args(words)
            .arg("--config")
            .arg(&self.configuration)
            .output()
            .expect("the binary can be run");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.success(), said)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        let process = self.process.as_ref();
        process.map(Child::id).expect("it runs")
    }

    /// Whether a process was started and not yet killed or seen to end.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cannot send {signal} to {}",
            self.name
        );
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            drop(process.kill());
            process.wait().expect("a child can be waited for");
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until it has ended by itself.
    pub fn ended(&mut self) -> ExitStatus {
        wait::until(&format!("{} ends", self.name.clone()), || self.has_ended())
    }

    /// How it has ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let process = self.process.as_mut().expect("it was started");
        let status = process.try_wait().expect("a child can be asked")?;
        self.process = None;
        Some(status)
    }

    /// What it has logged since it was last started.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let from = self.began.min(bytes.len());
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }

    /// Waits until its log says something, and returns that line.
    pub fn says(&self, text: &str) -> String {
        wait::until(&format!("{} says {text:?}", self.name), || {
            let log = self.log();
            let line = log.lines().find(|line| line.contains(text));
            line.map(str::to_owned)
        })
    }

    /// The memory that it has in RAM, in MiB.
    pub fn resident_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(path).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.and_then(|kib| kib.parse::<u64>().ok())
            .expect("Linux tells the memory of a process")
            / 1024
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
