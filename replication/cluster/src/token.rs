//! The shared secret of a cluster, when one is set.

use std::sync::Arc;

use subtle::ConstantTimeEq;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::incoming::Admission;
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
    door: Door,
    quiet: Arc<Quiet>,
}

/// What is guarded: whoever is refused, and whoever reads of it, should not look in
/// the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Only nodes come here.
    Replication,
    /// Tools come here, and nodes that ask the master for a tool.
    Admin,
}

impl Door {
    /// For the log of the node that refused.
    fn refused(self) -> &'static str {
        match self {
            Self::Replication => "refused a node with a wrong or missing security_token",
            Self::Admin => "refused a status request with a wrong or missing security_token",
        }
    }

    /// For the one that was refused.
    fn answer(self) -> &'static str {
        match self {
            Self::Replication => {
                "wrong or missing token: set the same security_token on every node"
            }
            Self::Admin => {
                "wrong or missing token: a status request needs the security_token of the node that it asks"
            }
        }
    }
}

/// The token cannot travel in a header.
#[derive(Debug, thiserror::Error)]
#[error("the security_token may only hold visible ASCII characters")]
pub struct InvisibleToken;

impl TokenCheck {
    /// A guard for the service that operators ask; `None` admits everybody.
    pub fn admin(token: Option<&str>) -> Result<Self, InvisibleToken> {
        let token = token.map(MetadataValue::try_from).transpose();
        token
            .map(|token| Self::new(token, Door::Admin))
            .map_err(|_| InvisibleToken)
    }

    pub(crate) fn replication(token: Token) -> Self {
        Self::new(token, Door::Replication)
    }

    fn new(token: Token, door: Door) -> Self {
        let quiet = Arc::default();
        Self { token, door, quiet }
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
        let admission = request.extensions().get::<Admission>();
        if self.admits(request.metadata()) {
            if let Some(admission) = admission {
                admission.grant();
            }
            return Ok(request);
        }
        let from = admission.map_or_else(|| request.remote_addr(), Admission::from);
        let from = from.map(|address| address.ip().to_string());
        let from = from.unwrap_or_default();
        if self.quiet.allows(&from) {
            tracing::warn!(from, "{}", self.door.refused());
        }
        Err(Status::unauthenticated(self.door.answer()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(check: &mut TokenCheck, token: Option<&'static str>) -> Result<(), String> {
        let token = token.map(MetadataValue::from_static);
        check
            .call(sign(&token, Request::new(())))
            .map(|_| ())
            .map_err(|status| status.message().to_owned())
    }

    #[tokio::test]
    async fn each_door_tells_its_own_visitors_what_they_lack() {
        let token = Some(MetadataValue::from_static("right"));
        let doors = [
            (TokenCheck::replication(token), "on every node"),
            (
                TokenCheck::admin(Some("right")).unwrap(),
                "a status request needs",
            ),
        ];
        for (mut check, cure) in doors {
            assert_eq!(answer(&mut check, Some("right")), Ok(()));
            for wrong in [None, Some("wrong"), Some("righ"), Some("rightly")] {
                let said = answer(&mut check, wrong).unwrap_err();
                assert!(said.contains(cure), "{said}");
            }
        }
    }

    #[tokio::test]
    async fn without_a_token_everybody_is_admitted() {
        let mut check = TokenCheck::admin(None).unwrap();
        assert_eq!(answer(&mut check, None), Ok(()));
        assert_eq!(answer(&mut check, Some("any")), Ok(()));
    }
}
