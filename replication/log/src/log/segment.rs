//! One file of the log: a header in whole pages, then entries.
//!
//! ```text
//! magic 8 | version u32 | CRC-32C u32 | header bytes u32 | epochs u32
//! | number u64 | previous epoch u64 | previous sequence u64 | (epoch u64, first u64)…
//! ```
//!
//! The epoch history up to the segment is in its header, so that it outlives
//! older segments. A segment appears under its name only once its header is
//! durable and so is every entry before it: what stands in a segment that is
//! not the last was whole once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use replicamq_quorum::{EPOCHS_MAX, Epoch, EpochHistory, EpochStart, Position, Sequence};

use crate::error::Context;
use crate::files::{self, PAGE_BYTES};
use crate::log::record::Salt;
use crate::{Disk, DiskError, DiskFile, OpenError, Ready, pace};

const MAGIC: [u8; 8] = *b"RMQLOG\r\n";
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 48;
const START_BYTES: usize = 16;

/// A segment in use. The file stays readable for whoever holds it, whatever
/// becomes of its name.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    /// The last entry before it.
    pub(crate) previous: Position,
    /// Where its entries begin.
    pub(crate) begin: u64,
    /// The size of the file.
    pub(crate) bytes: u64,
    /// When it came into use, or was found at a start: what stands before it is as old.
    pub(crate) begun: Instant,
}

impl Segment {
    pub(crate) fn salt(&self) -> Salt {
        Salt::of_segment(self.number)
    }

    pub(crate) fn first(&self) -> Sequence {
        self.previous.sequence.next()
    }
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) previous: Position,
    /// Up to `previous`.
    pub(crate) history: EpochHistory,
}

impl Header {
    /// Whole pages, zeros at the end.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let starts = self.history.starts();
        let used = FIXED_BYTES + starts.len() * START_BYTES;
        let page = usize::try_from(PAGE_BYTES).expect("a page fits");
        let bytes = used.next_multiple_of(page);
        let mut header = Vec::with_capacity(bytes);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend([0; 4]);
        header.extend(
            u32::try_from(bytes)
                .expect("epochs are bounded")
                .to_le_bytes(),
        );
        header.extend(
            u32::try_from(starts.len())
                .expect("epochs are bounded")
                .to_le_bytes(),
        );
        header.extend(self.number.to_le_bytes());
        header.extend(self.previous.epoch.0.to_le_bytes());
        header.extend(self.previous.sequence.0.to_le_bytes());
        for start in starts {
            header.extend(start.epoch.0.to_le_bytes());
            header.extend(start.first.0.to_le_bytes());
        }
        header.resize(bytes, 0);
        let checksum = checksum(&header);
        header[12..16].copy_from_slice(&checksum.to_le_bytes());
        header
    }
}

/// The checksum lies in it as zeros. Magic, version, checksum and size keep
/// their places in every format, so that a newer one is told from damage.
fn checksum(header: &[u8]) -> u32 {
    let start = crc32c::crc32c(&header[..12]);
    crc32c::crc32c_append(start, &header[16..])
}

/// What became of reading a header.
pub(crate) enum Found {
    Header(Header, Segment),
    Damaged,
}

/// Opens a segment and reads its header.
pub(crate) fn open(disk: &dyn Disk, path: &Path, number: u64) -> Result<Found, OpenError> {
    let file = disk.open(path).context("open", path)?;
    let bytes = file.len().context("read", path)?;
    let Some(header) = read_header(&*file, path, bytes)? else {
        return Ok(Found::Damaged);
    };
    let version = u32_at(&header, 8);
    if version > VERSION {
        return Err(OpenError::NewerFormat {
            path: path.to_owned(),
            found: version,
            known: VERSION,
        });
    }
    let begin = header.len() as u64;
    match decode(&header) {
        Some(header) if header.number == number => {
            let segment = Segment {
                number,
                path: path.to_owned(),
                file,
                previous: header.previous,
                begin,
                bytes,
                begun: pace::now(),
            };
            Ok(Found::Header(header, segment))
        }
        _ => Ok(Found::Damaged),
    }
}

/// The whole header, if it checks.
fn read_header(file: &dyn DiskFile, path: &Path, bytes: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let mut fixed = [0; FIXED_BYTES];
    if bytes < PAGE_BYTES {
        return Ok(None);
    }
    file.read_exact_at(&mut fixed, 0).context("read", path)?;
    let size = u64::from(u32_at(&fixed, 16));
    let plausible = fixed[..8] == MAGIC
        && size % PAGE_BYTES == 0
        && (PAGE_BYTES..=bytes.min((EPOCHS_MAX * START_BYTES) as u64 + PAGE_BYTES)).contains(&size);
    if !plausible {
        return Ok(None);
    }
    let mut header = vec![0; usize::try_from(size).expect("headers are bounded")];
    file.read_exact_at(&mut header, 0).context("read", path)?;
    let sound = checksum(&header) == u32_at(&header, 12);
    Ok(sound.then_some(header))
}

fn decode(header: &[u8]) -> Option<Header> {
    let count = u32_at(header, 20) as usize;
    let starts = header.get(FIXED_BYTES..FIXED_BYTES + count.checked_mul(START_BYTES)?)?;
    let starts = starts
        .chunks_exact(START_BYTES)
        .map(|start| EpochStart {
            epoch: Epoch(u64_at(start, 0)),
            first: Sequence(u64_at(start, 8)),
        })
        .collect();
    let header = Header {
        number: u64_at(header, 24),
        previous: Position::new(u64_at(header, 32), u64_at(header, 40)),
        history: EpochHistory::new(starts)?,
    };
    let fits = header.history.starts().last().is_none_or(|last| {
        last.epoch <= header.previous.epoch && last.first <= header.previous.sequence
    });
    fits.then_some(header)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Writes a header into a file that was made ready, and gives it its name.
/// Whatever the file held before is no part of the segment.
pub(crate) fn publish(
    disk: &dyn Disk,
    directory: &Path,
    header: &Header,
    ready: Ready,
) -> Result<Segment, DiskError> {
    let (from, file) = ready;
    let encoded = header.encode();
    file.write_all_at(&encoded, 0)
        .context_at("write", &from, 0)?;
    file.sync_data().context("sync", &from)?;
    let path = path(directory, header.number);
    disk.rename(&from, &path)
        .context("rename to a segment", &from)?;
    files::sync_directory(disk, directory)?;
    let bytes = file.len().context("read", &path)?;
    Ok(Segment {
        number: header.number,
        path,
        file,
        previous: header.previous,
        begin: encoded.len() as u64,
        bytes,
        begun: pace::now(),
    })
}

/// The name of a segment.
pub(crate) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016x}.segment"))
}

/// The number in a name, if it is that of a segment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::RealDisk;

    fn header(epochs: u64) -> Header {
        let starts = (1..=epochs).map(|n| EpochStart {
            epoch: Epoch(n),
            first: Sequence(n * 10),
        });
        Header {
            number: 3,
            previous: Position::new(epochs, epochs * 10 + 5),
            history: EpochHistory::new(starts.collect()).unwrap(),
        }
    }

    fn written(directory: &Path, header: &Header) -> PathBuf {
        let from = directory.join("spare");
        let file = RealDisk.create(&from).unwrap();
        file.reserve(1 << 20).unwrap();
        publish(&RealDisk, directory, header, (from, file))
            .unwrap()
            .path
    }

    #[test]
    fn a_header_comes_back_however_many_epochs_there_were() {
        let directory = tempfile::tempdir().unwrap();
        for epochs in [0, 1, 253, 254, 1000] {
            let header = header(epochs);
            let path = written(directory.path(), &header);
            let Found::Header(found, segment) = open(&RealDisk, &path, 3).unwrap() else {
                panic!("{epochs} epochs");
            };
            assert_eq!(found, header);
            assert_eq!(segment.begin % PAGE_BYTES, 0);
        }
    }

    #[test]
    fn a_flipped_bit_another_name_and_a_newer_version_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = written(directory.path(), &header(2));
        assert!(matches!(open(&RealDisk, &path, 4).unwrap(), Found::Damaged));
        let whole = fs::read(&path).unwrap();
        for index in 0..FIXED_BYTES + 2 * START_BYTES {
            let mut bytes = whole.clone();
            bytes[index] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(
                matches!(open(&RealDisk, &path, 3).unwrap(), Found::Damaged),
                "byte {index}"
            );
        }
        let mut bytes = whole;
        bytes[8] = 2;
        let page = usize::try_from(PAGE_BYTES).unwrap();
        let sum = checksum(&bytes[..page]);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        let Err(OpenError::NewerFormat { found: 2, .. }) = open(&RealDisk, &path, 3) else {
            panic!("a newer version is refused");
        };
    }
}
