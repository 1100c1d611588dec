//! CONNECT, STOMP and CONNECTED: which protocol, which version, who beats when.

use bytes::{Buf, BytesMut};
use replicamq_core::Command;

use super::owed::Answer;
use super::{Fault, Phase, Session, invalid};
use crate::detect::{Detected, Protocol, detect};
use crate::stomp::codec::blank_bytes;
use crate::stomp::heartbeat::{HeartBeat, Pulse};
use crate::stomp::write::Writer;
use crate::stomp::{Frame, Verb, Version, Violation};

/// Whether the first bytes may go to the decoder. Others' protocols get told
/// so; what looks like nothing at all is left to the decoder's own words.
///
/// Ends of lines in front are not kept: they have no end that could be waited for.
pub(super) fn is_stomp(input: &mut BytesMut) -> Result<bool, Violation> {
    input.advance(blank_bytes(input));
    match detect(input) {
        Detected::NeedMore => Ok(false),
        Detected::Protocol(Protocol::Stomp) | Detected::Unknown => Ok(true),
        Detected::Protocol(found) => Err(Violation::OtherProtocol { found }),
    }
}

impl Session {
    /// Any host, login and passcode will do: there are no virtual hosts to
    /// choose from, and no users yet.
    pub(super) fn connect(
        &mut self,
        frame: &Frame,
        now_ms: u64,
        commands: &mut Vec<Command>,
    ) -> Result<(), Fault> {
        let accept = frame.header("accept-version");
        let Some(version) = Version::negotiate(accept) else {
            return Err(Fault::NoCommonVersion {
                accept: accept.unwrap_or_default().to_owned(),
            });
        };
        self.version = version;
        self.decoder.set_version(version);
        self.client_beats = match frame.header("heart-beat") {
            Some(value) if version > Version::V1_0 => HeartBeat::parse(value).ok_or_else(|| {
                let expected = "two numbers of milliseconds such as 10000,10000";
                invalid(frame.verb, "heart-beat", value, expected)
            })?,
            _ => HeartBeat::default(),
        };
        self.pulse = Pulse::new(HeartBeat::default(), now_ms);
        let client_id = frame.header("client-id").filter(|id| !id.is_empty());
        commands.push(Command::Connect {
            client_id: client_id.map(str::to_owned),
            receipt: self.owed.push(Answer::Connected),
        });
        self.phase = Phase::Connecting;
        Ok(())
    }

    /// The core has accepted the connection.
    pub(super) fn connected(&mut self, now_ms: u64, write: &mut BytesMut) {
        let offer = self.config.heart_beat;
        let mut writer = Writer::begin(Verb::Connected, self.version, write);
        writer
            .header("version", self.version.as_str())
            .header("server", &self.config.server)
            .header("session", &self.id);
        if self.version > Version::V1_0 {
            let beats = format!("{},{}", offer.send_ms, offer.receive_ms);
            writer.header("heart-beat", &beats);
        }
        writer.end();
        self.pulse = Pulse::new(offer.agree(self.client_beats), now_ms);
        self.phase = Phase::Connected;
    }
}
