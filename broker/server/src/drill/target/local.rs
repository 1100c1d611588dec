//! Nodes that are processes of this machine, in a folder by `deploy/local-cluster`:
//! node-N.toml, node-N.pid and node-N.log each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::{Child, Command};

use super::{DrillNode, Fault};
use crate::config::{self, Address};
use crate::status::Access;

pub(in crate::drill) struct Local {
    /// By name.
    nodes: BTreeMap<String, Process>,
}

struct Process {
    /// node-N.toml, absolute: by it a process is known to be ours.
    configuration: PathBuf,
    admin: Access,
    stomp: Address,
    /// If we started it, so that it can be reaped.
    child: Option<Child>,
}

impl Local {
    pub(in crate::drill) fn new(folder: &Path) -> anyhow::Result<Self> {
        let hint = || {
            format!(
                "no cluster in {}: make one with `deploy/local-cluster start {0}`",
                folder.display()
            )
        };
        let folder = folder.canonicalize().with_context(hint)?;
        let mut nodes = BTreeMap::new();
        for entry in fs::read_dir(&folder).with_context(hint)? {
            let path = entry.with_context(hint)?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name.starts_with("node-")
                && path
                    .extension()
                    .is_some_and(|extension| extension == "toml")
            {
                let (name, process) = Process::read(path)?;
                nodes.insert(name, process);
            }
        }
        if nodes.is_empty() {
            bail!(hint());
        }
        Ok(Self { nodes })
    }

    pub(super) fn nodes(&self) -> Vec<DrillNode> {
        let node = |(name, process): (&String, &Process)| DrillNode {
            name: name.clone(),
            admin: process.admin.clone(),
            stomp: process.stomp.clone(),
        };
        self.nodes.iter().map(node).collect()
    }

    pub(super) fn start_missing(&mut self) -> anyhow::Result<()> {
        self.nodes.values_mut().try_for_each(Process::start)
    }

    pub(super) async fn fault(&mut self, node: &str, fault: Fault) -> anyhow::Result<()> {
        let process = self.process(node)?;
        match fault {
            Fault::Kill => {
                process.signal(Signal::KILL)?;
                if let Some(mut child) = process.child.take() {
                    child.wait().await.context("wait for the end of a node")?;
                }
                Ok(())
            }
            Fault::Stop => process.signal(Signal::STOP),
        }
    }

    pub(super) fn heal(&mut self, node: &str, fault: Fault) -> anyhow::Result<()> {
        let process = self.process(node)?;
        match fault {
            Fault::Kill => process.start(),
            Fault::Stop => process.signal(Signal::CONT),
        }
    }

    fn process(&mut self, node: &str) -> anyhow::Result<&mut Process> {
        let known = self.nodes.get_mut(node);
        known.with_context(|| format!("the master {node} is none of the nodes in this folder"))
    }
}

impl Process {
    fn read(configuration: PathBuf) -> anyhow::Result<(String, Self)> {
        let config = config::load_file(&configuration)?;
        let stomp = config.stomp.with_context(|| {
            format!(
                "{} has no STOMP connector: the load needs one",
                configuration.display()
            )
        })?;
        let process = Self {
            admin: Access::from_config(&configuration)?,
            stomp: stomp.bind,
            configuration,
            child: None,
        };
        Ok((config.node, process))
    }

    /// The pid in its file counts only while that process runs our configuration.
    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.configuration.with_extension("pid")).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
        let arguments = fs::read(path).ok()?;
        let ours = self.configuration.as_os_str().as_encoded_bytes();
        let runs = arguments
            .split(|byte| *byte == 0)
            .any(|argument| argument == ours);
        runs.then_some(pid)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let name = self.configuration.display();
        let pid = self
            .pid()
            .with_context(|| format!("the node of {name} does not run"))?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).context("open the process of a node")?;
        // Between reading and opening the number may have passed to another process.
        if self.pid() != Some(pid) {
            bail!("the node of {name} has just ended by itself");
        }
        pidfd_send_signal(handle, signal).with_context(|| format!("signal the node of {name}"))
    }

    /// Starts it, unless it runs; detached from this terminal.
    fn start(&mut self) -> anyhow::Result<()> {
        if self.pid().is_some() {
            return Ok(());
        }
        let log = self.configuration.with_extension("log");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let binary = std::env::current_exe().context("find the own binary")?;
        let child = Command::new(binary)
            .arg("serve")
            .arg("--config")
            .arg(&self.configuration)
            .env_clear()
            .envs(clean_environment())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start the node of {}", self.configuration.display()))?;
        let pid = child.id().context("the node ended at once")?;
        let file = self.configuration.with_extension("pid");
        fs::write(&file, format!("{pid}\n"))
            .with_context(|| format!("write {}", file.display()))?;
        self.child = Some(child);
        Ok(())
    }
}

/// A variable meant for this command must not configure the nodes.
fn clean_environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| !name.as_encoded_bytes().starts_with(b"REPLICAMQ_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_nodes_says_how_to_make_some() {
        let missing = Local::new(Path::new("/nonexistent/cluster")).err().unwrap();
        let text = format!("{missing:#}");
        assert!(
            text.contains("deploy/local-cluster start /nonexistent/cluster"),
            "{text}"
        );
    }

    #[test]
    fn a_pid_of_somebody_else_is_not_ours() {
        let folder = std::env::temp_dir().join(format!("replicamq-local-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let configuration = folder.join("node-1.toml");
        fs::write(
            &configuration,
            "node = \"b-1\"\nstomp = \"127.0.0.1:7001\"\nadmin = \"127.0.0.1:7002\"",
        )
        .unwrap();
        fs::write(
            folder.join("node-1.pid"),
            format!("{}\n", std::process::id()),
        )
        .unwrap();
        let local = Local::new(&folder).unwrap();
        let process = &local.nodes["b-1"];
        let (pid, signalled) = (process.pid(), process.signal(Signal::CONT));
        let nodes = local.nodes();
        fs::remove_dir_all(&folder).unwrap();
        assert!(pid.is_none(), "this test does not run node-1.toml");
        assert!(signalled.unwrap_err().to_string().contains("does not run"));
        assert_eq!(nodes[0].stomp, Address::new("127.0.0.1", 7001));
        assert_eq!(nodes[0].admin.address, Address::new("127.0.0.1", 7002));
    }
}
