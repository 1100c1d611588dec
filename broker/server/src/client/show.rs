//! How a delivery is printed.

use std::collections::BTreeMap;

use clap::Args;
use replicamq_protocols::stomp::Frame;
use serde::Serialize;

use crate::terminal;

/// How a delivery is printed.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Show {
    /// One JSON object a line, with headers and body
    #[arg(long)]
    json: bool,

    /// Print the headers above each body, and a blank line between
    #[arg(long = "show-headers", conflicts_with = "json")]
    headers: bool,

    /// Print the bodies exactly as they are, with nothing between or after them
    #[arg(long, conflicts_with_all = ["json", "headers"])]
    raw: bool,
}

#[derive(Debug, Serialize)]
struct Shown<'m> {
    message_id: &'m str,
    destination: &'m str,
    redelivered: bool,
    headers: BTreeMap<&'m str, &'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'m str>,
    /// In place of `body` when that is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

impl<'m> Shown<'m> {
    fn new(message: &'m Frame) -> Self {
        let header = |name| message.header(name).unwrap_or_default();
        let mut headers = BTreeMap::new();
        for (name, value) in message.headers() {
            headers.entry(name).or_insert(value);
        }
        let text = std::str::from_utf8(&message.body).ok();
        Self {
            message_id: header("message-id"),
            destination: header("destination"),
            redelivered: header("redelivered") == "true",
            headers,
            body: text,
            body_hex: text.is_none().then(|| hex(&message.body)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| DIGITS[usize::from(digit)])
        .collect()
}

/// Prints one delivery on stdout.
pub(super) fn show(message: &Frame, how: Show) -> anyhow::Result<()> {
    let print = || {
        if how.json {
            let json = serde_json::to_string(&Shown::new(message))?;
            return terminal::line(&json);
        }
        if how.raw {
            terminal::raw(&message.body)?;
            return terminal::flush();
        }
        if how.headers {
            for (name, value) in message.headers() {
                terminal::line(&format!("{name}: {value}"))?;
            }
            terminal::line("")?;
            terminal::raw_line(&message.body)?;
            return terminal::line("");
        }
        terminal::raw_line(&message.body)
    };
    print().map_err(terminal::Output)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use replicamq_protocols::stomp::Verb;

    #[test]
    fn a_body_that_is_not_text_is_shown_in_hexadecimal() {
        let message = Frame::new(Verb::Message)
            .with("message-id", "7")
            .with("redelivered", "true")
            .with_body(vec![0_u8, 255, 16]);
        let json = serde_json::to_value(Shown::new(&message)).unwrap();
        assert_eq!(json["body_hex"], "00ff10");
        assert_eq!(json["redelivered"], true);
        assert!(json.get("body").is_none());
        let text = Frame::new(Verb::Message).with_body("发送的消息1");
        let json = serde_json::to_value(Shown::new(&text)).unwrap();
        assert_eq!(json["body"], "发送的消息1");
    }
}
