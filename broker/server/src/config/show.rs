//! The effective configuration, as a file that could be used as it is (but for secrets).

use std::fmt::Write;

use serde_json::Value;

use super::keys::{KEYS, Keys};
use super::origin::{Origin, Origins};

/// Where the remarks begin, if the value before is not longer.
const REMARK_COLUMN: usize = 44;

pub(super) fn to_toml(keys: &Keys, origins: &Origins) -> String {
    let values = serde_json::to_value(keys).expect("keys are text and numbers");
    let mut text = String::new();
    for (name, _) in KEYS {
        let shown = match &values[*name] {
            Value::Null => continue,
            Value::String(text) => format!("{name} = {}", quoted(text)),
            other => format!("{name} = {other}"),
        };
        let origin = match origins.of(name) {
            Origin::Default => String::new(),
            origin => format!("# {origin}"),
        };
        let line = format!("{shown:REMARK_COLUMN$}{origin}");
        writeln!(text, "{}", line.trim_end()).expect("a string grows");
    }
    text
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(c)).expect("a string grows");
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_toml_again_and_hides_secrets() {
        let keys = Keys {
            replicas: Some(3),
            zk_address: Some("a,b".parse().unwrap()),
            directory: Some("/tmp/with \"quotes\"\n".into()),
            security_token: Some("hunter2".parse().unwrap()),
            ..Keys::default()
        };
        let text = to_toml(&keys, &Origins::default());
        assert!(!text.contains("hunter2"));
        let back: Keys = toml::from_str(&text).unwrap();
        assert_eq!(back.replicas, keys.replicas);
        assert_eq!(back.zk_address, keys.zk_address);
        assert_eq!(back.directory, keys.directory);
    }
}
