//! Small files that say what a directory is: a few `key=value` lines that an
//! operator can read, replaced whole, and kept twice in one file, so that a
//! flipped bit costs nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use crate::error::Context;
use crate::{Disk, DiskError, DiskFile, files};

/// The newest format of these files.
const VERSION: u32 = 1;

/// The last line of a copy: `crc32c=`, eight digits, a line feed.
const SEAL_BYTES: usize = 16;

/// The lines, without the first and the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// With one more line.
    #[must_use]
    pub fn with(mut self, key: &str, value: &impl ToString) -> Self {
        let value = value.to_string();
        assert!(is_name(&value), "values were checked when they came in");
        self.0.insert(key.to_owned(), value);
        self
    }

    /// What a line says.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The number that a line says.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }
}

/// Whether a text fits on a line.
pub fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// What became of reading such a file.
#[derive(Debug)]
pub enum Loaded {
    /// What it says.
    Fields(Fields),
    /// There is no such file.
    Missing,
    /// No copy checks.
    Damaged,
    /// Written by a later version.
    Newer {
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
}

/// Reads a file, durable when it returns; a copy that does not check is rewritten from
/// the other.
pub fn load(disk: &dyn Disk, path: &Path, kind: &str) -> Result<Loaded, DiskError> {
    let Some(bytes) = files::read(disk, path)? else {
        return Ok(Loaded::Missing);
    };
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let copies = [parse(first, kind), parse(second, kind)];
    let whole = copies.iter().all(Option::is_some);
    let Some((version, fields)) = copies.into_iter().flatten().next() else {
        return Ok(Loaded::Damaged);
    };
    if version > VERSION {
        return Ok(Loaded::Newer {
            found: version,
            known: VERSION,
        });
    }
    if whole {
        // Whoever replaced it may have died before its name was durable: what is told of it
        // from now on must not go back with the power.
        files::sync_directory(disk, directory(path))?;
    } else {
        store(disk, path, kind, &fields)?;
    }
    Ok(Loaded::Fields(fields))
}

/// Replaces a file; durable when it returns.
pub fn store(disk: &dyn Disk, path: &Path, kind: &str, fields: &Fields) -> Result<(), DiskError> {
    let temporary = path.with_extension("tmp");
    let file = write(disk, &temporary, kind, fields)?;
    file.sync_data().context("sync", &temporary)?;
    disk.rename(&temporary, path).context("replace", path)?;
    files::sync_directory(disk, directory(path))
}

/// Replaces a file for those who read it while this machine runs: its disk takes no syncs.
pub fn store_unsynced(
    disk: &dyn Disk,
    path: &Path,
    kind: &str,
    fields: &Fields,
) -> Result<(), DiskError> {
    let temporary = path.with_extension("tmp");
    write(disk, &temporary, kind, fields)?;
    disk.rename(&temporary, path).context("replace", path)
}

fn write(
    disk: &dyn Disk,
    path: &Path,
    kind: &str,
    fields: &Fields,
) -> Result<Arc<dyn DiskFile>, DiskError> {
    let copy = render(kind, fields);
    let file = disk.create(path).context("create", path)?;
    file.write_all_at(copy.repeat(2).as_bytes(), 0)
        .context("write", path)?;
    Ok(file)
}

fn directory(path: &Path) -> &Path {
    path.parent().expect("a file has a directory")
}

fn render(kind: &str, fields: &Fields) -> String {
    let mut text = format!("replicamq {kind} {VERSION}\n");
    for (key, value) in &fields.0 {
        writeln!(text, "{key}={value}").expect("a string takes all");
    }
    let seal = crc32c::crc32c(text.as_bytes());
    writeln!(text, "crc32c={seal:08x}").expect("a string takes all");
    text
}

fn parse(copy: &[u8], kind: &str) -> Option<(u32, Fields)> {
    let (body, seal) = copy.split_at_checked(copy.len().checked_sub(SEAL_BYTES)?)?;
    let seal = str::from_utf8(seal).ok()?;
    let seal = seal.strip_prefix("crc32c=")?.strip_suffix('\n')?;
    if u32::from_str_radix(seal, 16).ok()? != crc32c::crc32c(body) {
        return None;
    }
    let mut lines = str::from_utf8(body).ok()?.lines();
    let version = lines
        .next()?
        .strip_prefix("replicamq ")?
        .strip_prefix(kind)?
        .strip_prefix(' ')?
        .parse()
        .ok()?;
    let pairs = lines.map(|line| {
        let (key, value) = line.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    });
    Some((version, Fields(pairs.collect::<Option<_>>()?)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::RealDisk;

    fn fields() -> Fields {
        Fields::default()
            .with("node", &"broker-1")
            .with("epoch", &7)
    }

    #[test]
    fn any_flipped_bit_is_healed_by_the_other_copy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("PROMISE");
        store(&RealDisk, &path, "promise", &fields()).unwrap();
        let whole = fs::read(&path).unwrap();
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 4;
            fs::write(&path, &bytes).unwrap();
            let Loaded::Fields(found) = load(&RealDisk, &path, "promise").unwrap() else {
                panic!("byte {index} was not healed");
            };
            assert_eq!(found, fields());
            assert_eq!(
                fs::read(&path).unwrap(),
                whole,
                "byte {index} was not rewritten"
            );
        }
    }

    #[test]
    fn both_copies_bad_a_wrong_kind_and_a_newer_version_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("PROMISE");
        assert!(matches!(
            load(&RealDisk, &path, "promise").unwrap(),
            Loaded::Missing
        ));
        store(&RealDisk, &path, "identity", &fields()).unwrap();
        assert!(matches!(
            load(&RealDisk, &path, "promise").unwrap(),
            Loaded::Damaged
        ));
        for bytes in [&b""[..], b"x", b"crc32c=00000000\ncrc32c=00000000\n"] {
            fs::write(&path, bytes).unwrap();
            assert!(matches!(
                load(&RealDisk, &path, "promise").unwrap(),
                Loaded::Damaged
            ));
        }
        let body = "replicamq promise 2\nepoch=1\n";
        let copy = format!("{body}crc32c={:08x}\n", crc32c::crc32c(body.as_bytes()));
        fs::write(&path, format!("{copy}{copy}")).unwrap();
        assert!(matches!(
            load(&RealDisk, &path, "promise").unwrap(),
            Loaded::Newer { found: 2, known: 1 }
        ));
    }
}
