//! A STOMP client that finds the master and does not lose what it was given.
//!
//! [`Connection`] is one socket. [`Session`] outlives it: it connects anew, sends again
//! what was not acknowledged and subscribes again. The commands `send`, `receive` and
//! `browse` stand beside it; `drill` uses it, too. `bench` uses bare connections.

mod connection;
mod options;
#[cfg(test)]
pub(crate) mod peer;
mod receive;
mod send;
mod session;
mod show;
mod unconfirmed;
mod uri;

pub(crate) use connection::{Connection, Opening};
pub(crate) use options::ClientOptions;
pub(crate) use receive::{BrowseArgs, ReceiveArgs, browse, receive};
pub(crate) use send::{SendArgs, send};
pub(crate) use session::{Event, Session, Subscription};
pub(crate) use uri::{BrokerUri, Failover};
