//! The question, over gRPC.

use std::path::Path;
use std::time::Duration;

use replicamq_proto::admin::v1::admin_client::AdminClient;
use replicamq_proto::admin::v1::{
    StatusRequest, StatusResponse, TransferRequest, TransferResponse,
};
use thiserror::Error;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::config::{self, Address, Secret};

/// For the connection, and for the answer; a replica asks the master meanwhile.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An answer names every destination.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where a node answers, and what it wants to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) address: Address,
    pub(crate) token: Option<Secret>,
}

/// Why a configuration file does not lead to a node.
#[derive(Debug, Error)]
#[error("{path} switches the admin connector off (admin = \"none\"): nobody can ask this node")]
struct Off {
    path: String,
}

impl Access {
    /// From a node's own configuration file.
    pub(crate) fn from_config(path: &Path) -> anyhow::Result<Self> {
        let config = config::load_file(path)?;
        let admin = config.admin.ok_or_else(|| Off {
            path: path.display().to_string(),
        })?;
        let everywhere = admin.bind.is_unspecified();
        let address = if everywhere {
            admin.advertised
        } else {
            admin.bind
        };
        Ok(Self {
            address,
            token: config.security_token,
        })
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    #[error(
        "nobody answers at {address} ({reason}): is the node running, and is this its `admin` address?"
    )]
    Unreachable { address: String, reason: String },
    #[error(
        "{address} wants the cluster's security token: give --security-token-file, or --config with the node's own file"
    )]
    TokenWanted { address: String },
    #[error(
        "{address} does not accept this security token: every node and tool of a cluster needs the same one"
    )]
    TokenRefused { address: String },
    #[error("{reason}")]
    Refused { reason: String },
    #[error(
        "{address} does not answer as a node's `admin` address does ({reason}): name that (port 8161 by default), not `stomp` (61613) or `bind` (61619)"
    )]
    OtherPort { address: String, reason: String },
    #[error("{address} did not answer: {reason}")]
    Failed { address: String, reason: String },
}

/// Asks a node. `local`: it answers from its own knowledge alone.
pub(crate) async fn ask(access: &Access, local: bool) -> Result<StatusResponse, AskError> {
    let (mut client, request) = connect(access, StatusRequest { local }).await?;
    answer(access, client.status(request).await)
}

/// Asks a node to have the mastership handed over; answered when that has begun.
pub(crate) async fn transfer(
    access: &Access,
    request: TransferRequest,
) -> Result<TransferResponse, AskError> {
    let (mut client, request) = connect(access, request).await?;
    answer(access, client.transfer(request).await)
}

async fn connect<T>(
    access: &Access,
    request: T,
) -> Result<(AdminClient<Channel>, Request<T>), AskError> {
    let address = access.address.authority();
    let unreachable = |error: &dyn std::error::Error| AskError::Unreachable {
        address: address.clone(),
        reason: innermost(error),
    };
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| unreachable(&error))?
        .connect_timeout(TIMEOUT)
        .timeout(TIMEOUT)
        .connect()
        .await
        .map_err(|error| unreachable(&error))?;
    let mut request = Request::new(request);
    if let Some(token) = &access.token {
        let mut value =
            AsciiMetadataValue::try_from(token.reveal()).map_err(|_| AskError::TokenRefused {
                address: address.clone(),
            })?;
        value.set_sensitive(true);
        request.metadata_mut().insert("replicamq-token", value);
    }
    let client = AdminClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    Ok((client, request))
}

fn answer<T>(access: &Access, answer: Result<Response<T>, Status>) -> Result<T, AskError> {
    answer.map(Response::into_inner).map_err(|status| {
        let address = access.address.authority();
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied if access.token.is_none() => {
                AskError::TokenWanted { address }
            }
            Code::Unauthenticated | Code::PermissionDenied => AskError::TokenRefused { address },
            Code::FailedPrecondition => AskError::Refused {
                reason: status.message().to_owned(),
            },
            Code::Unimplemented => AskError::OtherPort {
                address,
                reason: "it knows no status".to_owned(),
            },
            _ if speaks_otherwise(&status) => AskError::OtherPort {
                address,
                reason: "it does not speak gRPC".to_owned(),
            },
            _ => AskError::Failed {
                address,
                reason: status.message().to_owned(),
            },
        }
    })
}

/// What came back was no HTTP/2, as far as tonic tells: it gives the failures of its
/// transport no type of their own.
fn speaks_otherwise(status: &Status) -> bool {
    let mut error: Option<&dyn std::error::Error> = Some(status);
    while let Some(inner) = error {
        if inner.to_string().contains("frame with invalid size") {
            return true;
        }
        error = inner.source();
    }
    false
}

/// tonic wraps what happened in several layers of "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_stomp_port_is_told_apart() {
        let stomp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let access = Access {
            address: stomp.local_addr().unwrap().to_string().parse().unwrap(),
            token: None,
        };
        let server = async {
            let (mut stream, _) = stomp.accept().await.unwrap();
            stream.readable().await.unwrap();
            stream
                .write_all(b"ERROR\nmessage:this is a STOMP port\n\n\0")
                .await
                .unwrap();
            stream
        };
        let (asked, _open) = tokio::join!(ask(&access, false), server);
        let error = asked.unwrap_err();
        assert!(matches!(error, AskError::OtherPort { .. }), "{error:?}");
        assert!(
            error.to_string().contains("port 8161 by default"),
            "{error}"
        );
    }
}
