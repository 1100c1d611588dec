//! Reading a configuration file, so that what is wrong is shown where it stands.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Keys};
use super::origin::{Line, Origin, Origins};
use super::refusal::Refusal;
use super::value::closest;

/// No configuration is longer; a wrong path may be a huge file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file and notes where each of its keys stands.
pub(super) fn read(path: &Path, origins: &mut Origins) -> Result<Keys, Refusal> {
    let text = read_text(path, FILE_BYTES_MAX).map_err(|problem| {
        let place = path.display().to_string();
        Refusal::new(place, format!("cannot read the configuration: {problem}"))
            .cure("give --config a TOML file that this user may read")
    })?;
    parse(&text, path, origins)
}

/// Reads a file that ought to be short; it may as well be a device without an end.
pub(super) fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(bytes_max + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > bytes_max {
        return Err(format!("it holds more than {bytes_max} bytes"));
    }
    Ok(text)
}

pub(super) fn parse(text: &str, path: &Path, origins: &mut Origins) -> Result<Keys, Refusal> {
    let place = |span: std::ops::Range<usize>| Origin::File {
        path: path.to_owned(),
        line: Line::at(text, span),
    };
    let broken = |error: &toml::de::Error| {
        let line = Line::at(text, error.span().unwrap_or(0..0));
        let problem = if line.is_secret() {
            "this is not a secret: write it as text in quotes".to_owned()
        } else {
            in_words(error.message())
        };
        let path = path.to_owned();
        Refusal::at(&Origin::File { path, line }, problem)
    };
    let table = DeTable::parse(text).map_err(|error| broken(&error))?;
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        match KEYS.iter().find(|(known, _)| *known == name) {
            Some((known, _)) => origins.note_file(known, path, Line::at(text, key.span())),
            None => return Err(unknown(name, value.get_ref(), &place(key.span()))),
        }
    }
    toml::from_str(text).map_err(|error| broken(&error))
}

fn unknown(name: &str, value: &DeValue<'_>, place: &Origin) -> Refusal {
    let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
    let cure = match (closest(name, &names), value) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, DeValue::Table(_)) => {
            "the file has no [sections]: write every key at the top".to_owned()
        }
        (None, _) => "see `replicamq serve --help` for the keys".to_owned(),
    };
    Refusal::at(place, format!("unknown key `{name}`")).cure(&cure)
}

/// serde's words for Rust's types, in a user's.
fn in_words(message: &str) -> String {
    message
        .replace(
            "expected u32",
            "expected a whole number from 0 to 4294967295",
        )
        .replace("expected path string", "expected a path in quotes")
        .replace("expected a string", "expected text in quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let mut origins = Origins::default();
        parse(text, Path::new("node.toml"), &mut origins)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_file_is_read_and_its_lines_noted() {
        let mut origins = Origins::default();
        let text =
            "# ours\nreplicas = 3\nzk_session_timeout = \"2s\"\nframe_bytes_max = \"1MiB\"\n";
        let keys = parse(text, Path::new("node.toml"), &mut origins).unwrap();
        assert_eq!(keys.replicas, Some(3));
        assert_eq!(keys.zk_session_timeout.unwrap().as_ms(), 2_000);
        assert_eq!(keys.frame_bytes_max.unwrap().0, 1 << 20);
        assert_eq!(origins.of("replicas").to_string(), "node.toml:2");
        assert_eq!(*origins.of("weight"), Origin::Default);
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_line_and_the_right_one() {
        assert_eq!(
            refused("replicas = 3\nwieght = 5\n"),
            "node.toml:2: unknown key `wieght`\n  2 | wieght = 5\n    | ^^^^^^\n  cure: did you mean `weight`?"
        );
        assert!(refused("zkAddress = \"a:1\"").contains("did you mean `zk_address`?"));
        assert!(refused("[broker]\nx = 1").contains("the file has no [sections]"));
        assert!(refused("colour = 1").contains("see `replicamq serve --help`"));
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_line() {
        assert_eq!(
            refused("\nreplicas = \"three\"\n"),
            "node.toml:2: invalid type: string \"three\", expected a whole number from 0 to 4294967295\n  2 | replicas = \"three\"\n    |            ^^^^^^^"
        );
        assert!(refused("stomp = 61613").contains(
            "invalid type: integer `61613`, expected an address such as \"tcp://127.0.0.1:61613\", or \"none\""
        ));
        assert!(refused("weight = -1").contains("node.toml:1: invalid value: integer `-1`"));
        assert!(refused("bind = \"0.0.0.0\"").contains(
            "`0.0.0.0` is not an address: the port is missing; write it like tcp://127.0.0.1:61613"
        ));
        let bare = refused("lease = 500");
        assert!(bare.contains("write \"500s\" or \"500ms\""), "{bare}");
        assert!(refused("heartbeat = \"often\"").contains("`often` is not a length of time"));
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line() {
        let refusal = refused("replicas = 3\nbind tcp://0.0.0.0:61619\n");
        assert!(refusal.starts_with("node.toml:2: "), "{refusal}");
        let twice = refused("weight = 1\nweight = 2\n");
        assert!(twice.starts_with("node.toml:2: duplicate key"), "{twice}");
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        let mut origins = Origins::default();
        let endless = read(Path::new("/dev/zero"), &mut origins).unwrap_err();
        assert!(
            endless.to_string().contains("it holds more than"),
            "{endless}"
        );
        let missing = read(Path::new("/nonexistent.toml"), &mut origins).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "/nonexistent.toml: cannot read the configuration: No such file or directory (os error 2)\n  cure: give --config a TOML file that this user may read"
        );
    }

    #[test]
    fn a_badly_written_secret_is_not_repeated() {
        let refusal = refused("security_token = 1234567890");
        assert!(refusal.starts_with("node.toml:1: "), "{refusal}");
        assert!(refusal.contains("write it as text in quotes"), "{refusal}");
        assert!(!refusal.contains("1234567890"), "{refusal}");
    }
}
