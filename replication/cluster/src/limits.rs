//! The bounds of the network edge, each with its reason.

use std::time::Duration;

/// Messages that wait for one stream. The quorum bounds the bytes; a stream
/// that this many messages wait for is not read at all, and is dropped.
pub(crate) const STREAM_MESSAGES_MAX: usize = 4096;

/// Messages that wait for the node loop: beyond it, readers stop and HTTP/2 slows the sender.
pub(crate) const EVENTS_MAX: usize = 1024;

/// Asks that wait for one node's answer: they come each 50 ms, and one that is out of
/// reach keeps them for `ASK_TIMEOUT`. Each node has its own, or it would crowd out the rest.
pub(crate) const ASKS_MAX: usize = 8;

/// Promises that wait for one node: an election asks for one, and lasts half a second.
pub(crate) const PROMISES_MAX: usize = 4;

/// Nodes that may be known at once.
pub(crate) const PEERS_MAX: usize = 64;

/// Connections that may be open at once to the replication port.
pub(crate) const CONNECTIONS_MAX: usize = 256;

/// A connection that has not shown the token by then makes room for others.
pub(crate) const ADMISSION_TIMEOUT: Duration = Duration::from_secs(5);

/// Streams on one connection.
pub(crate) const STREAMS_MAX: u32 = 64;

/// What a replica may send in one message: its history is the largest.
pub(crate) const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Two numbers of up to 10 bytes, each with a tag, in a field with a tag and a length.
const START_BYTES_MAX: usize = 24;
const _: () = assert!(replicamq_quorum::EPOCHS_MAX * START_BYTES_MAX < REQUEST_BYTES_MAX / 2);

/// What fits one way before an answer is needed: more than `ship_bytes_max`.
pub(crate) const WINDOW_BYTES: u32 = 32 << 20;

/// HTTP/2 frames as large as a shipped message: fewer headers, fewer wake-ups.
pub(crate) const FRAME_BYTES_MAX: u32 = 1 << 20;

/// A snapshot travels in pieces of this size, far below any message limit.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// Chunks read from the disk ahead of the network, or received ahead of the disk.
pub(crate) const CHUNKS_AHEAD_MAX: usize = 8;

/// Files in one checkpoint.
pub(crate) const SNAPSHOT_FILES_MAX: usize = 100_000;

/// The manifest's size follows from the number of files.
pub(crate) const CHUNK_MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Checkpoints that are made, sent or kept at the same time.
pub(crate) const SNAPSHOTS_MAX: u32 = 2;

/// A checkpoint whose receiver went away is kept for so long: a replica comes back
/// within seconds, and its files and the log behind them take room meanwhile.
pub(crate) const CHECKPOINT_KEPT: Duration = Duration::from_mins(1);

/// A checkpoint that was dropped for another one is gone from the disk by then.
pub(crate) const CHECKPOINT_REMOVED: Duration = Duration::from_secs(5);

/// Between two lines about a snapshot's progress.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// A snapshot that stands still for so long has failed.
pub(crate) const SNAPSHOT_IDLE_MAX: Duration = Duration::from_secs(30);

/// A connection that takes longer has failed: a dead process refuses at once.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A question is answered within this or not at all.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_millis(500);

/// A promise needs a sync of the answerer's disk.
pub(crate) const PROMISE_TIMEOUT: Duration = Duration::from_secs(1);

/// A replica's first message follows its stream at once.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// A ping on a silent connection; the quorum's heartbeats are far more frequent,
/// this one only cleans up behind machines that vanished.
pub(crate) const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);

/// A connection whose ping is not answered for so long is closed.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Streams get this long to end when the node stops.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The same warning is written at most this often.
pub(crate) const WARN_EVERY: Duration = Duration::from_secs(10);

const _: () = assert!(CHUNK_BYTES < CHUNK_MESSAGE_BYTES_MAX);
