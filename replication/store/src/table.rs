//! RocksDB: the store that the committed entries build. Its own write-ahead log
//! is off; each write carries the position it brings the store to, and both
//! column families are flushed together, so that what is on the disk is always
//! the state after exactly that position.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use replicamq_log::Floor;
use replicamq_quorum::{Epoch, EpochHistory, EpochStart, Position, Sequence};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    ErrorKind, FlushOptions, LogLevel, ReadOptions, ReadTier, WriteBatch, WriteOptions,
};

use crate::{CheckpointError, FatalError, Load, Options};

const META: &str = "meta";
const APPLIED_KEY: &[u8] = b"applied";
const HISTORY_KEY: &[u8] = b"history";
/// Of all that the store holds, u32; absent: 1.
const FORMAT_KEY: &[u8] = b"format";
pub(crate) const FORMAT: u32 = 1;

/// Write buffers a column family may fill while others are flushed.
const WRITE_BUFFERS_MAX: i32 = 3;
const BLOCK_BYTES: usize = 16 << 10;
const FILE_BYTES: u64 = 16 << 20;
const LEVEL_BASE_BYTES: u64 = 64 << 20;
/// Table files kept open: each costs a descriptor and a little memory.
const OPEN_FILES_MAX: i32 = 256;
/// Flushes and compactions sync as they go, so that the log's syncs do not
/// wait behind a burst.
const SYNC_BYTES: u64 = 1 << 20;
const READ_AHEAD_BYTES: usize = 256 << 10;
/// A file in which half of so many neighbouring keys are deletions is compacted
/// soon: a queue's consumed front must not be skipped key by key.
const DELETION_WINDOW: usize = 4096;

/// The opened store.
pub(crate) struct Table {
    db: DB,
    path: PathBuf,
    unlogged: WriteOptions,
}

/// Why a store does not open.
pub(crate) enum TableError {
    /// Its files are damaged.
    Damaged(String),
    /// One of its files is not there.
    Missing(String),
    /// A later build wrote it, in this format.
    Newer(u32),
    /// Anything else.
    Failed(String),
}

impl TableError {
    /// What RocksDB said.
    pub(crate) fn into_reason(self) -> String {
        match self {
            Self::Damaged(reason) | Self::Missing(reason) | Self::Failed(reason) => reason,
            Self::Newer(found) => {
                format!("it has format {found}, but this build knows {FORMAT}")
            }
        }
    }
}

/// Changes on their way into the store.
pub(crate) struct Changes<'a> {
    batch: WriteBatch,
    meta: &'a ColumnFamily,
}

impl Table {
    /// Makes a store. There must be none.
    pub(crate) fn create(
        path: &Path,
        options: &Options,
        floor: &Floor,
    ) -> Result<Self, TableError> {
        let mut settings = settings();
        settings.create_if_missing(true);
        settings.create_missing_column_families(true);
        settings.set_error_if_exists(true);
        let table = Self::open_with(path, &settings, options)?;
        let write = || {
            let mut changes = table.changes();
            changes.history(&floor.history);
            table.write(changes, floor.applied)?;
            table.flush(true)
        };
        write().map_err(|error| TableError::Failed(error.to_string()))?;
        Ok(table)
    }

    /// Opens the store that is there.
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, TableError> {
        Self::open_with(path, &settings(), options)
    }

    fn open_with(
        path: &Path,
        settings: &rocksdb::Options,
        options: &Options,
    ) -> Result<Self, TableError> {
        let families = families(options);
        let db = DB::open_cf_descriptors(settings, path, families).map_err(sort)?;
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        let path = path.to_owned();
        Ok(Self { db, path, unlogged })
    }

    /// What the store in this directory holds, without changing it.
    pub(crate) fn inspect(path: &Path) -> Result<Floor, TableError> {
        let db = open_to_read(path)?;
        let meta = db.cf_handle(META).ok_or_else(no_meta)?;
        floor(&db, meta, &ReadOptions::default())
    }

    /// Reads all of the store in this directory, without changing it, and checks it.
    pub(crate) fn verify(path: &Path) -> Result<(), TableError> {
        let db = open_to_read(path)?;
        for name in [rocksdb::DEFAULT_COLUMN_FAMILY_NAME, META] {
            let family = db.cf_handle(name).ok_or_else(no_meta)?;
            let mut cursor = db.raw_iterator_cf_opt(family, unkept());
            cursor.seek_to_first();
            while cursor.valid() {
                cursor.next();
            }
            cursor.status().map_err(sort)?;
        }
        Ok(())
    }

    fn meta(&self) -> &ColumnFamily {
        self.db
            .cf_handle(META)
            .expect("it was opened with the store")
    }

    fn data(&self) -> &ColumnFamily {
        self.db
            .cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME)
            .expect("it was opened with the store")
    }

    /// What it holds.
    pub(crate) fn floor(&self) -> Result<Floor, TableError> {
        floor(&self.db, self.meta(), &ReadOptions::default())
    }

    /// What of it is on the disk.
    pub(crate) fn flushed(&self) -> Result<Sequence, FatalError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        match floor(&self.db, self.meta(), &options) {
            Ok(floor) => Ok(floor.applied.sequence),
            Err(TableError::Damaged(reason) | TableError::Missing(reason)) => {
                Err(FatalError::StoreDamaged {
                    path: self.path.clone(),
                    reason,
                })
            }
            Err(error @ (TableError::Failed(_) | TableError::Newer(_))) => Err(FatalError::Store {
                operation: "read",
                path: self.path.clone(),
                reason: error.into_reason(),
            }),
        }
    }

    pub(crate) fn changes(&self) -> Changes<'_> {
        Changes {
            batch: WriteBatch::new(),
            meta: self.meta(),
        }
    }

    /// Makes the changes visible, all or none, together with the position.
    pub(crate) fn write(&self, changes: Changes<'_>, applied: Position) -> Result<(), FatalError> {
        let Changes { mut batch, meta } = changes;
        batch.put_cf(meta, APPLIED_KEY, encode_position(applied));
        self.db
            .write_opt(batch, &self.unlogged)
            .map_err(|error| self.fatal("write to", error))
    }

    /// Brings what is in memory to the disk.
    pub(crate) fn flush(&self, wait: bool) -> Result<(), FatalError> {
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        self.db
            .flush_cfs_opt(&[self.data(), self.meta()], &options)
            .map_err(|error| self.fatal("flush", error))
    }

    /// The pairs of a range, and whether there are more.
    pub(crate) fn load(&self, load: &Load) -> Result<(Vec<(Bytes, Bytes)>, bool), FatalError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_iterate_lower_bound(load.from.to_vec());
        if !load.to.is_empty() {
            options.set_iterate_upper_bound(load.to.to_vec());
        }
        let mut pairs = Vec::new();
        let mut bytes = 0;
        let mut more = false;
        if !load.to.is_empty() && load.to <= load.from {
            return Ok((pairs, more));
        }
        let mut cursor = self.db.raw_iterator_opt(options);
        if load.reverse {
            cursor.seek_to_last();
        } else {
            cursor.seek_to_first();
        }
        while let Some((key, value)) = cursor.item() {
            if pairs.len() >= load.pairs_max || bytes >= load.bytes_max {
                more = true;
                break;
            }
            bytes += key.len() + value.len();
            pairs.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            if load.reverse {
                cursor.prev();
            } else {
                cursor.next();
            }
        }
        cursor.status().map_err(|error| self.fatal("read", error))?;
        Ok((pairs, more))
    }

    /// Reads everything from this key on, up to so many bytes, and checks it; the key to go
    /// on with, if there is more. The few pairs of `meta` are read at each open.
    pub(crate) fn check(
        &self,
        from: &[u8],
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, FatalError> {
        let mut options = unkept();
        options.set_iterate_lower_bound(from);
        let mut cursor = self.db.raw_iterator_opt(options);
        cursor.seek_to_first();
        let mut bytes = 0;
        while let Some((key, value)) = cursor.item() {
            if bytes >= bytes_max {
                return Ok(Some(key.to_vec()));
            }
            bytes += key.len() + value.len();
            cursor.next();
        }
        cursor.status().map_err(|error| self.fatal("read", error))?;
        Ok(None)
    }

    /// Links its files into a new directory, as of one position; what that holds.
    pub(crate) fn checkpoint(&self, directory: &Path) -> Result<Floor, CheckpointError> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(directory))
            .map_err(sort)
            .and_then(|()| Self::inspect(directory))
            .map_err(|error| self.no_checkpoint(directory, error))
    }

    /// What is missing where the checkpoint was to be is no damage of the store.
    fn no_checkpoint(&self, directory: &Path, error: TableError) -> CheckpointError {
        let path = self.path.clone();
        let ours = format!("{}/", path.display());
        match error {
            TableError::Damaged(reason) => CheckpointError::StoreDamaged { path, reason },
            TableError::Missing(reason) if reason.contains(&ours) => {
                CheckpointError::StoreDamaged { path, reason }
            }
            TableError::Missing(_) | TableError::Failed(_) | TableError::Newer(_) => {
                CheckpointError::Refused {
                    directory: directory.to_owned(),
                    reason: error.into_reason(),
                }
            }
        }
    }

    /// The size of its files.
    pub(crate) fn bytes(&self) -> u64 {
        [self.data(), self.meta()]
            .into_iter()
            .filter_map(|family| {
                let size = self
                    .db
                    .property_int_value_cf(family, "rocksdb.total-sst-files-size");
                size.ok().flatten()
            })
            .sum()
    }

    fn fatal(&self, operation: &'static str, error: rocksdb::Error) -> FatalError {
        let path = self.path.clone();
        match sort(error) {
            TableError::Damaged(reason) | TableError::Missing(reason) => {
                FatalError::StoreDamaged { path, reason }
            }
            error @ (TableError::Failed(_) | TableError::Newer(_)) => FatalError::Store {
                operation,
                path,
                reason: error.into_reason(),
            },
        }
    }
}

impl Changes<'_> {
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.batch.put(key, value);
    }

    pub(crate) fn delete(&mut self, key: &[u8]) {
        self.batch.delete(key);
    }

    pub(crate) fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        self.batch.delete_range(from, to);
    }

    /// Goes in when an epoch begins, so that a checkpoint knows its past.
    pub(crate) fn history(&mut self, history: &EpochHistory) {
        self.batch
            .put_cf(self.meta, HISTORY_KEY, encode_history(history));
    }
}

fn open_to_read(path: &Path) -> Result<DB, TableError> {
    let mut settings = settings();
    settings.set_info_logger(rocksdb::InfoLogger::new_callback_logger(
        LogLevel::Fatal,
        |_, _| {},
    ));
    let families = families(&Options::new(path, ""));
    DB::open_cf_descriptors_read_only(&settings, path, families, false).map_err(sort)
}

/// For whoever reads everything once, and wants it checked.
fn unkept() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_verify_checksums(true);
    options.set_readahead_size(READ_AHEAD_BYTES);
    options
}

fn settings() -> rocksdb::Options {
    let mut options = rocksdb::Options::default();
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(2);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_table_cache_num_shard_bits(2);
    options.set_skip_stats_update_on_db_open(true);
    options.set_bytes_per_sync(SYNC_BYTES);
    options.set_compaction_readahead_size(READ_AHEAD_BYTES);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_max_manifest_file_size(4 << 20);
    options.set_manifest_preallocation_size(64 << 10);
    options
}

fn families(options: &Options) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&cache);
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_cache_index_and_filter_blocks(true);
    let family = |write_buffer_bytes: usize| {
        let mut family = rocksdb::Options::default();
        family.set_block_based_table_factory(&blocks);
        family.set_compression_type(DBCompressionType::Lz4);
        family.set_write_buffer_size(write_buffer_bytes);
        family.set_max_write_buffer_number(WRITE_BUFFERS_MAX);
        family.set_target_file_size_base(FILE_BYTES);
        family.set_max_bytes_for_level_base(LEVEL_BASE_BYTES);
        family.add_compact_on_deletion_collector_factory(DELETION_WINDOW, DELETION_WINDOW / 2, 0.5);
        family
    };
    vec![
        ColumnFamilyDescriptor::new(
            rocksdb::DEFAULT_COLUMN_FAMILY_NAME,
            family(options.write_buffer_bytes),
        ),
        ColumnFamilyDescriptor::new(META, family(options.write_buffer_bytes)),
    ]
}

fn floor(db: &DB, meta: &ColumnFamily, options: &ReadOptions) -> Result<Floor, TableError> {
    let get = |key| db.get_cf_opt(meta, key, options).map_err(sort);
    if let Some(format) = get(FORMAT_KEY)? {
        let format = format.as_slice().try_into().map_err(|_| no_meta())?;
        let found = u32::from_le_bytes(format);
        if found > FORMAT {
            return Err(TableError::Newer(found));
        }
    }
    let (Some(applied), Some(history)) = (get(APPLIED_KEY)?, get(HISTORY_KEY)?) else {
        return Err(no_meta());
    };
    Ok(Floor {
        applied: decode_position(&applied).ok_or_else(no_meta)?,
        history: decode_history(&history).ok_or_else(no_meta)?,
    })
}

fn no_meta() -> TableError {
    TableError::Damaged("it does not say which entries it holds".to_owned())
}

/// RocksDB has one error for all; its kind and text tell damage from the rest.
fn sort(error: rocksdb::Error) -> TableError {
    let says = |words| error.as_ref().contains(words);
    if error.kind() == ErrorKind::Corruption || says("Column families not opened") {
        TableError::Damaged(error.into_string())
    } else if says("No such file") || says("does not exist") {
        TableError::Missing(error.into_string())
    } else {
        TableError::Failed(error.into_string())
    }
}

fn encode_position(position: Position) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&position.epoch.0.to_le_bytes());
    bytes[8..].copy_from_slice(&position.sequence.0.to_le_bytes());
    bytes
}

fn decode_position(bytes: &[u8]) -> Option<Position> {
    let (epoch, sequence) = bytes.split_first_chunk()?;
    Some(Position::new(
        u64::from_le_bytes(*epoch),
        u64::from_le_bytes(sequence.try_into().ok()?),
    ))
}

fn encode_history(history: &EpochHistory) -> Vec<u8> {
    history
        .starts()
        .iter()
        .flat_map(|start| {
            encode_position(Position {
                epoch: start.epoch,
                sequence: start.first,
            })
        })
        .collect()
}

fn decode_history(bytes: &[u8]) -> Option<EpochHistory> {
    let start = |bytes| {
        let Position { epoch, sequence } = decode_position(bytes)?;
        Some(EpochStart {
            epoch: Epoch(epoch.0),
            first: sequence,
        })
    };
    EpochHistory::new(bytes.chunks(16).map(start).collect::<Option<_>>()?)
}
