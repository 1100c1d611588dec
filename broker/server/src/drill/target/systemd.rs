//! Nodes that are units `replicamq@NODE` of this machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::{DrillNode, Fault, output};
use crate::config;
use crate::status::Access;

/// Where the units take the token from.
const TOKEN_FILE: &str = "token";

pub(in crate::drill) struct Systemd {
    nodes: Vec<DrillNode>,
}

impl Systemd {
    /// Every NODE.toml of the folder is a unit's configuration.
    pub(in crate::drill) fn new(folder: &Path) -> anyhow::Result<Self> {
        let read = || {
            format!(
                "read the configurations in {} (--systemd-dir)",
                folder.display()
            )
        };
        let token_file = folder.join(TOKEN_FILE);
        let token = if token_file.exists() {
            Some(config::read_secret_file(&token_file)?)
        } else {
            None
        };
        let mut nodes = Vec::new();
        for entry in fs::read_dir(folder).with_context(read)? {
            let path = entry.with_context(read)?.path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let stomp = config::load_file(&path)?.stomp;
            let stomp = stomp.with_context(|| {
                format!(
                    "{} has no STOMP connector: the load needs one",
                    path.display()
                )
            })?;
            let mut admin = Access::from_config(&path)?;
            admin.token = admin.token.or_else(|| token.clone());
            let everywhere = stomp.bind.is_unspecified();
            let stomp = if everywhere {
                stomp.advertised
            } else {
                stomp.bind
            };
            nodes.push(DrillNode { name, admin, stomp });
        }
        if nodes.is_empty() {
            bail!("no NODE.toml in {}: give --systemd-dir", folder.display());
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { nodes })
    }

    pub(super) fn nodes(&self) -> Vec<DrillNode> {
        self.nodes.clone()
    }

    pub(super) async fn start_all(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            systemctl(&["start", "--no-block"], &node.name).await?;
        }
        Ok(())
    }

    pub(super) async fn fault(&self, node: &str, fault: Fault) -> anyhow::Result<()> {
        let signal = match fault {
            Fault::Kill => "SIGKILL",
            Fault::Stop => "SIGSTOP",
        };
        systemctl(&["kill", "-s", signal], node).await
    }

    /// systemd may have started a killed node already; then there is nothing to do.
    pub(super) async fn heal(&self, node: &str, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill => systemctl(&["start", "--no-block"], node).await,
            Fault::Stop => systemctl(&["kill", "-s", "SIGCONT"], node).await,
        }
    }
}

async fn systemctl(arguments: &[&str], node: &str) -> anyhow::Result<()> {
    let mut command = Command::new("systemctl");
    command.args(arguments).arg(format!("replicamq@{node}"));
    output(command).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_found_by_their_configurations() {
        let folder = std::env::temp_dir().join(format!("replicamq-systemd-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (name, port) in [("b-2", 7003), ("b-1", 7001)] {
            let text = format!(
                "stomp = \"0.0.0.0:{port}\"\nadmin = \"127.0.0.1:{}\"\nhostname = \"here\"",
                port + 1
            );
            fs::write(folder.join(format!("{name}.toml")), text).unwrap();
        }
        fs::write(folder.join("token"), "abc\n").unwrap();
        let found = Systemd::new(&folder);
        fs::remove_dir_all(&folder).unwrap();
        let nodes = found.unwrap().nodes();
        assert_eq!(nodes[0].name, "b-1");
        assert_eq!(nodes[0].stomp.to_string(), "tcp://here:7001");
        assert_eq!(nodes[1].admin.token.as_ref().unwrap().reveal(), "abc");
    }
}
