//! Whose directory this is.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use replicamq_log::sealed::Fields;
use replicamq_log::{Context, DiskError};

use crate::OpenError;

pub(crate) const KIND: &str = "identity";

/// Who the directory belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster whose entries it holds; `None` until one was adopted.
    pub cluster: Option<String>,
    /// The node that made it.
    pub node: String,
    /// Of this directory alone: made with it, by chance.
    pub store: String,
}

impl Identity {
    pub(crate) fn create(node: &str) -> Result<Self, OpenError> {
        Ok(Self {
            cluster: None,
            node: node.to_owned(),
            store: random_id()?,
        })
    }

    pub(crate) fn fields(&self) -> Fields {
        let fields = Fields::default()
            .with("node", &self.node)
            .with("store", &self.store);
        match &self.cluster {
            Some(cluster) => fields.with("cluster", cluster),
            None => fields,
        }
    }

    pub(crate) fn from_fields(fields: &Fields) -> Option<Self> {
        Some(Self {
            cluster: fields.text("cluster").map(str::to_owned),
            node: fields.text("node")?.to_owned(),
            store: fields.text("store")?.to_owned(),
        })
    }
}

fn random_id() -> Result<String, DiskError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("read", path)?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}
