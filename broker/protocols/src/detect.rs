//! Which protocol the first bytes of a connection speak.

use std::fmt;

/// A protocol that brokers are spoken to in, rightly or by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `CONNECT` or `STOMP` on a line.
    Stomp,
    /// The protocol header `AMQP`.
    Amqp,
    /// An MQTT CONNECT packet.
    Mqtt,
    /// A wire format info with the magic `ActiveMQ`.
    OpenWire,
    /// A handshake record of TLS.
    Tls,
    /// A request line.
    Http,
}

impl Protocol {
    /// Its name, as people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stomp => "STOMP",
            Self::Amqp => "AMQP",
            Self::Mqtt => "MQTT",
            Self::OpenWire => "OpenWire",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What the first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// This protocol.
    Protocol(Protocol),
    /// Not enough to tell; at most [`DETECT_BYTES_MAX`] are ever needed.
    NeedMore,
    /// None that is known here.
    Unknown,
}

/// By so many bytes detection has ended.
pub const DETECT_BYTES_MAX: usize = 13;

/// Openings that tell a protocol by themselves. `CONNECT` with a space behind
/// it asks an HTTP proxy; with the end of a line it is STOMP.
const OPENINGS: [(&[u8], Protocol); 18] = [
    (b"CONNECT\n", Protocol::Stomp),
    (b"CONNECT\r\n", Protocol::Stomp),
    (b"STOMP\n", Protocol::Stomp),
    (b"STOMP\r\n", Protocol::Stomp),
    (b"AMQP", Protocol::Amqp),
    (b"\x16\x03\x00", Protocol::Tls),
    (b"\x16\x03\x01", Protocol::Tls),
    (b"\x16\x03\x02", Protocol::Tls),
    (b"\x16\x03\x03", Protocol::Tls),
    (b"CONNECT ", Protocol::Http),
    (b"DELETE ", Protocol::Http),
    (b"GET ", Protocol::Http),
    (b"HEAD ", Protocol::Http),
    (b"OPTIONS ", Protocol::Http),
    (b"PATCH ", Protocol::Http),
    (b"POST ", Protocol::Http),
    (b"PRI * HTTP/", Protocol::Http),
    (b"PUT ", Protocol::Http),
];

/// Tells the protocol from the first bytes. Ends of lines may come before them:
/// the caller throws those away, however many they are.
pub fn detect(bytes: &[u8]) -> Detected {
    let mut undecided = false;
    for (opening, protocol) in OPENINGS {
        if bytes.starts_with(opening) {
            return Detected::Protocol(protocol);
        }
        undecided |= opening.starts_with(bytes);
    }
    for (found, protocol) in [
        (mqtt(bytes), Protocol::Mqtt),
        (openwire(bytes), Protocol::OpenWire),
    ] {
        match found {
            Some(true) => return Detected::Protocol(protocol),
            Some(false) => {}
            None => undecided = true,
        }
    }
    if undecided {
        Detected::NeedMore
    } else {
        Detected::Unknown
    }
}

/// Packet type CONNECT, a length of one to four bytes, the protocol's name.
fn mqtt(bytes: &[u8]) -> Option<bool> {
    let (&first, rest) = bytes.split_first()?;
    if first != 0x10 {
        return Some(false);
    }
    let more = rest
        .iter()
        .take(3)
        .take_while(|byte| **byte >= 0x80)
        .count();
    let name = rest.get(more + 1..).unwrap_or_default();
    matches_one_of(name, &[b"\x00\x04MQTT", b"\x00\x06MQIsdp"])
}

/// A length of four bytes, the type of a wire format info, its magic.
fn openwire(bytes: &[u8]) -> Option<bool> {
    match bytes.first() {
        None => return None,
        // A wire format info is far below 16 MiB.
        Some(0) => {}
        Some(_) => return Some(false),
    }
    matches_one_of(bytes.get(4..).unwrap_or_default(), &[b"\x01ActiveMQ"])
}

/// Whether the bytes open with one of these; `None` while they still might.
fn matches_one_of(bytes: &[u8], openings: &[&[u8]]) -> Option<bool> {
    if openings.iter().any(|opening| bytes.starts_with(opening)) {
        return Some(true);
    }
    if openings.iter().any(|opening| opening.starts_with(bytes)) {
        return None;
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        let cases: [(&[u8], Protocol); 14] = [
            (b"CONNECT\naccept-version:1.2\n\n\0", Protocol::Stomp),
            (b"STOMP\r\nhost:a\r\n\r\n\0", Protocol::Stomp),
            (b"GET / HTTP/1.1\r\n", Protocol::Http),
            (b"CONNECT example.org:443 HTTP/1.1\r\n", Protocol::Http),
            (b"PRI * HTTP/2.0\r\n\r\n", Protocol::Http),
            (b"AMQP\x00\x01\x00\x00", Protocol::Amqp),
            (b"AMQP\x03\x01\x00\x00", Protocol::Amqp),
            (b"\x16\x03\x01\x02\x00\x01", Protocol::Tls),
            (b"\x10\x0c\x00\x04MQTT\x04\x02", Protocol::Mqtt),
            (b"\x10\x0c\x00\x04MQTT\x05\x02", Protocol::Mqtt),
            (b"\x10\xff\x01\x00\x06MQIsdp\x03", Protocol::Mqtt),
            (b"\x10\xff\xff\xff\x7f\x00\x06MQIsdp", Protocol::Mqtt),
            (
                b"\x00\x00\x01\x46\x01ActiveMQ\x00\x00\x00\x0c",
                Protocol::OpenWire,
            ),
            (b"\x00\x00\x00\xf0\x01ActiveMQ", Protocol::OpenWire),
        ];
        for (bytes, protocol) in cases {
            assert_eq!(detect(bytes), Detected::Protocol(protocol), "{bytes:?}");
            let told = (0..=bytes.len())
                .find(|&end| detect(bytes.get(..end).unwrap()) != Detected::NeedMore)
                .unwrap();
            assert_eq!(
                detect(bytes.get(..told).unwrap()),
                Detected::Protocol(protocol),
                "told wrongly after {told} bytes of {bytes:?}"
            );
            assert!(told <= DETECT_BYTES_MAX, "{told}");
        }
    }

    #[test]
    fn anything_else_is_unknown() {
        for bytes in [
            b"SEND\n".as_slice(),
            b"hello",
            b"\x10\x0c\x00\x04MQTx",
            b"\x16\x02",
            b"\x00\x00\x00\x01\x02ActiveMQ",
            b"\xff",
            b"CONNECTED",
        ] {
            assert_eq!(detect(bytes), Detected::Unknown, "{bytes:?}");
        }
        assert_eq!(detect(b""), Detected::NeedMore);
        assert_eq!(detect(b"CONNEC"), Detected::NeedMore);
    }
}
