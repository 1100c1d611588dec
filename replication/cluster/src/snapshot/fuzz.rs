//! A fuzzer's way to the manifest of a checkpoint.

use std::collections::BTreeSet;

use prost::Message as _;
use replicamq_proto::replication::v1 as wire;

use super::SnapshotManifest;
use crate::limits::SNAPSHOT_FILES_MAX;

pub(crate) fn read_manifest(manifest: wire::SnapshotManifest) -> Result<SnapshotManifest, String> {
    SnapshotManifest::from_wire(manifest)
}

/// Refused, or a list of different bare names that is written as it was read.
pub(crate) fn fuzz_manifest(data: &[u8]) {
    let Ok(manifest) = wire::SnapshotManifest::decode(data) else {
        return;
    };
    let Ok(manifest) = read_manifest(manifest) else {
        return;
    };
    assert!(manifest.files.len() <= SNAPSHOT_FILES_MAX);
    let names: BTreeSet<&str> = manifest.files.iter().map(|file| &*file.name).collect();
    assert_eq!(names.len(), manifest.files.len(), "a name appears twice");
    for name in names {
        let path = std::path::Path::new(name);
        assert_eq!(
            path.file_name(),
            Some(path.as_os_str()),
            "{name:?} is a path"
        );
        assert!(!name.starts_with('.') && name.is_ascii());
    }
    let total = manifest.bytes();
    assert!(manifest.files.iter().all(|file| file.bytes <= total));
    assert_eq!(read_manifest(manifest.to_wire()), Ok(manifest));
}
