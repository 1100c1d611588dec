//! The shared secret of a cluster, when one is set.

use std::sync::Arc;

use subtle::ConstantTimeEq;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::quiet::Quiet;

/// The name under which the token travels.
const TOKEN: &str = "replicamq-token";

/// The token that we send; `None` when none is set.
pub(crate) type Token = Option<MetadataValue<Ascii>>;

/// Puts the token on a request.
pub(crate) fn sign<T>(token: &Token, mut request: Request<T>) -> Request<T> {
    if let Some(token) = token {
        request.metadata_mut().insert(TOKEN, token.clone());
    }
    request
}

/// Refuses requests without the right token, before anything of their body is read.
#[derive(Clone, Debug)]
pub struct TokenCheck {
    token: Token,
    quiet: Arc<Quiet>,
}

/// The token cannot travel in a header.
#[derive(Debug, thiserror::Error)]
#[error("the security_token may only hold visible ASCII characters")]
pub struct InvisibleToken;

impl TokenCheck {
    /// A guard for services outside of the replication port; `None` admits everybody.
    pub fn of(token: Option<&str>) -> Result<Self, InvisibleToken> {
        let token = token.map(MetadataValue::try_from).transpose();
        token.map(Self::new).map_err(|_| InvisibleToken)
    }

    pub(crate) fn new(token: Token) -> Self {
        let quiet = Arc::default();
        Self { token, quiet }
    }

    fn admits(&self, metadata: &MetadataMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let given = metadata
            .get(TOKEN)
            .map_or(&b""[..], MetadataValue::as_encoded_bytes);
        token.as_encoded_bytes().ct_eq(given).into()
    }
}

impl Interceptor for TokenCheck {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if self.admits(request.metadata()) {
            return Ok(request);
        }
        let from = request
            .remote_addr()
            .map(|address| address.ip().to_string());
        let from = from.unwrap_or_default();
        if self.quiet.allows(&from) {
            tracing::warn!(
                from,
                "refused a node with a wrong or missing security_token"
            );
        }
        Err(Status::unauthenticated(
            "wrong or missing token: set the same security_token on every node",
        ))
    }
}
