//! STOMP 1.0, 1.1 and 1.2, for both ends of a connection.

pub mod client;
mod codec;
mod frame;
mod heartbeat;
mod limits;
mod session;
mod version;
mod violation;
mod write;

pub use codec::Decoder;
pub use frame::{Frame, Verb};
pub use heartbeat::HeartBeat;
pub use limits::Limits;
pub use session::{Fault, Flow, Outputs, Session, SessionConfig};
pub use version::Version;
pub use violation::Violation;
pub use write::encode;
