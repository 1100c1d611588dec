//! A master that sends a checkpoint as it likes: what is not whole, in order and of the announced
//! sizes and checksums is refused, and nothing lies anywhere but in the staging directory.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use replicamq_fuzzing::Input;
use replicamq_proto::replication::v1 as proto;
use replicamq_quorum::{Epoch, NodeId};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::limits::SNAPSHOTS_MAX;
use crate::links::LinkConfig;
use crate::quiet::Quiet;
use crate::snapshot::{SnapshotManifest, Staged, Transfer, read_manifest};
use crate::state::{Shared, State};

const FILES_MAX: usize = 4;
const CHUNKS_MAX: usize = 24;

const NAMES: [&str; 8] = [
    "CURRENT",
    "000012.sst",
    "MANIFEST-000005",
    "a",
    "../outside",
    "a/b",
    ".hidden",
    "",
];

/// A manifest, then chunks, most of which fit.
pub fn checkpoint(data: &[u8]) {
    let mut input = Input::new(data);
    let manifest = proto::SnapshotManifest {
        epoch: 3,
        applied: Some(proto::Position {
            epoch: 2,
            sequence: 9,
        }),
        history: Vec::new(),
        files: (0..input.below(FILES_MAX))
            .map(|_| file(&mut input))
            .collect(),
        checkpoint: input.number(),
    };
    let Ok(manifest) = read_manifest(manifest) else {
        return;
    };
    let world = tempfile::tempdir().expect("there is room for a directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime needs nothing");
    runtime.block_on(receive(world.path(), manifest, &mut input));
    let outside = fs::read_dir(world.path()).expect("it was just made");
    assert_eq!(outside.count(), 1, "something lies outside");
}

fn file(input: &mut Input<'_>) -> proto::SnapshotFile {
    let name = input.below(16);
    proto::SnapshotFile {
        name: NAMES
            .get(name)
            .map_or_else(|| input.text(), |name| (*name).to_owned()),
        bytes: input.number(),
    }
}

async fn receive(world: &Path, manifest: SnapshotManifest, input: &mut Input<'_>) {
    let shared = shared();
    let staging = world.join("staging");
    let staged = Staged::new(&NodeId::new("a"), Epoch(3), &staging, manifest.clone());
    let mut transfer = Transfer::new(&shared, staged)
        .await
        .expect("a new directory");
    // What a chunk must be to be taken: where in which file, and what lies there by then.
    let mut contents = vec![Vec::new(); manifest.files.len()];
    let mut refused = false;
    for _ in 0..input.below(CHUNKS_MAX) {
        if input.is_empty() {
            break;
        }
        let whole = |(index, file): (usize, &crate::SnapshotFile)| {
            contents.get(index).map(Vec::len) == usize::try_from(file.bytes).ok()
        };
        let next = manifest
            .files
            .iter()
            .enumerate()
            .position(|file| !whole(file));
        let chunk = chunk(next, &contents, input);
        let due = next.is_some_and(|index| is_due(index, &manifest, &contents, &chunk));
        let taken = transfer.write(chunk.clone()).await.is_ok();
        assert_eq!(taken, due, "{chunk:?} for {next:?} of {manifest:?}");
        if !taken {
            refused = true;
            break;
        }
        let written = next.and_then(|index| contents.get_mut(index));
        written.expect("it was due").extend_from_slice(&chunk.data);
    }
    let all = manifest.files.iter().zip(&contents);
    let whole = all
        .clone()
        .all(|(file, held)| held.len() as u64 == file.bytes);
    if refused {
        return;
    }
    assert_eq!(transfer.finish().await.is_ok(), whole, "half a checkpoint");
    for (file, held) in all.filter(|_| whole) {
        let found = fs::read(staging.join(&file.name)).expect("it is there");
        assert_eq!(found, *held);
    }
}

fn chunk(next: Option<usize>, contents: &[Vec<u8>], input: &mut Input<'_>) -> proto::SnapshotChunk {
    let data = input.bytes().to_vec();
    let file = next.unwrap_or_default();
    let offset = contents.get(file).map_or(0, Vec::len) as u64;
    let mut chunk = proto::SnapshotChunk {
        file: u32::try_from(file).expect("there are few"),
        offset,
        crc32c: crc32c::crc32c(&data),
        data: data.into(),
        manifest: None,
    };
    match input.below(12) {
        9 => chunk.file = input.number_u32(),
        10 => chunk.offset = input.number(),
        11 => chunk.crc32c = input.number_u32(),
        _ => {}
    }
    chunk
}

fn is_due(
    index: usize,
    manifest: &SnapshotManifest,
    contents: &[Vec<u8>],
    chunk: &proto::SnapshotChunk,
) -> bool {
    let held = contents[index].len() as u64;
    let after = held + chunk.data.len() as u64;
    usize::try_from(chunk.file) == Ok(index)
        && chunk.offset == held
        && !chunk.data.is_empty()
        && after <= manifest.files[index].bytes
        && crc32c::crc32c(&chunk.data) == chunk.crc32c
}

/// What a transfer notes its progress in.
fn shared() -> Shared {
    let (items, _) = mpsc::channel(1);
    Shared {
        config: LinkConfig {
            cluster: "cluster".to_owned(),
            node: NodeId::new("b"),
            incarnation: "b-1".to_owned(),
            token: None,
            bind: ([127, 0, 0, 1], 0).into(),
            message_bytes_max: 1 << 20,
            snapshot_rate: None,
        },
        token: None,
        items,
        dropped: Notify::new(),
        runtime: Handle::current(),
        tasks: Mutex::new(JoinSet::new()),
        quiet: Quiet::default(),
        places: Arc::new(Semaphore::new(SNAPSHOTS_MAX as usize)),
        state: Mutex::new(State::default()),
    }
}
