//! Nodes in containers, through `docker compose` or the older `docker-compose`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::process::Command;

use super::{DrillNode, Fault, output};
use crate::config::{Address, Secret};
use crate::status::Access;

/// The ports inside of the containers.
const STOMP_PORT: &str = "61613";
const ADMIN_PORT: &str = "8161";
const TOKEN: &str = "REPLICAMQ_SECURITY_TOKEN";

pub(in crate::drill) struct Compose {
    file: PathBuf,
    services: Vec<String>,
    /// `docker compose`, as opposed to `docker-compose`.
    plugin: bool,
}

impl Compose {
    pub(in crate::drill) async fn new(file: &Path, services: &[String]) -> anyhow::Result<Self> {
        let file = file
            .canonicalize()
            .with_context(|| format!("find {} (--compose-file)", file.display()))?;
        let mut version = Command::new("docker");
        version.args(["compose", "version"]);
        Ok(Self {
            file,
            services: services.to_vec(),
            plugin: output(version).await.is_ok(),
        })
    }

    /// As `deploy/docker/compose` calls it, so that the project has the same name.
    async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = if self.plugin {
            let mut docker = Command::new("docker");
            docker.arg("compose");
            docker
        } else {
            Command::new("docker-compose")
        };
        command.arg("--project-directory").arg(self.folder());
        command.arg("-f").arg(&self.file).args(arguments);
        output(command).await
    }

    fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    pub(super) async fn nodes(&self) -> anyhow::Result<Vec<DrillNode>> {
        let token = token(&self.folder().join(".env"))?;
        let mut nodes = Vec::new();
        for service in &self.services {
            nodes.push(DrillNode {
                name: service.clone(),
                admin: Access {
                    address: self.published(service, ADMIN_PORT).await?,
                    token: token.clone(),
                },
                stomp: self.published(service, STOMP_PORT).await?,
            });
        }
        Ok(nodes)
    }

    /// Where a port of a container is reached from here.
    async fn published(&self, service: &str, port: &str) -> anyhow::Result<Address> {
        let answer = self.run(&["port", service, port]).await?;
        let address = answer.trim();
        match Address::from_authority(address) {
            Ok(address) if address.port != 0 => Ok(address),
            _ => bail!(
                "port {port} of {service} is not published on this machine: is the container running?"
            ),
        }
    }

    pub(super) async fn start_all(&self) -> anyhow::Result<()> {
        let services = self.services.iter().map(String::as_str);
        let arguments: Vec<&str> = std::iter::once("start").chain(services).collect();
        self.run(&arguments).await.map(drop)
    }

    pub(super) async fn fault(&self, node: &str, fault: Fault) -> anyhow::Result<()> {
        let done = match fault {
            Fault::Kill => self.run(&["kill", "-s", "SIGKILL", node]).await,
            Fault::Stop => self.run(&["pause", node]).await,
        };
        done.map(drop)
    }

    pub(super) async fn heal(&self, node: &str, fault: Fault) -> anyhow::Result<()> {
        let done = match fault {
            Fault::Kill => self.run(&["start", node]).await,
            Fault::Stop => self.run(&["unpause", node]).await,
        };
        done.map(drop)
    }
}

/// The token that compose takes from its .env file.
fn token(file: &Path) -> anyhow::Result<Option<Secret>> {
    let Ok(text) = fs::read_to_string(file) else {
        return Ok(None);
    };
    let value = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == TOKEN)
        .map(|(_, value)| value.trim().trim_matches(['"', '\'']));
    let secret = value.map(str::parse).transpose();
    secret.map_err(|problem| anyhow::anyhow!("{TOKEN} in {}: {problem}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_among_other_variables() {
        let file = std::env::temp_dir().join(format!("replicamq-env-{}", std::process::id()));
        fs::write(
            &file,
            "# ours\nSTOMP_PORT_1=7000\nREPLICAMQ_SECURITY_TOKEN='abc'\n",
        )
        .unwrap();
        let found = token(&file);
        fs::remove_file(&file).unwrap();
        assert_eq!(found.unwrap().unwrap().reveal(), "abc");
        assert!(token(&file).unwrap().is_none());
    }
}
