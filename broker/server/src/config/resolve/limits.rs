//! The bounds that an operator may set: their defaults, and what cannot be kept.

use std::ops::RangeInclusive;
use std::time::Duration;

use replicamq_core::{MESSAGE_BYTES_MAX, TRANSACTION_BYTES_MAX};
use replicamq_log::BATCH_BYTES_MAX;

use super::Resolver;
use crate::config::Limits;
use crate::config::refusal::Refusal;
use crate::config::value::{Bytes, Interval};

/// Smaller ones would make a file of nearly every large message.
/// A chunk comes within a few seconds.
const SNAPSHOT_RATE_MIN: u64 = 64 << 10;
const LOG_SEGMENT_BYTES_MIN: u64 = 1 << 20;
const FRAME_BYTES_MIN: u64 = 1 << 10;
/// Room for a frame's headers, and for what its encoding as a message adds.
const FRAME_HEAD_BYTES: usize = 1 << 20;
/// Every frame that the codec lets through can be stored: it is a message that the core
/// takes, alone or in a transaction, and that fits into the log's largest batch. A larger
/// one would be refused after it was received, or stop the node as a batch too large.
const FRAME_BYTES_MAX: u64 = (MESSAGE_BYTES_MAX - FRAME_HEAD_BYTES) as u64;
/// What a batch may hold beside the largest message or transaction: what other commands
/// began, and the keys.
const BATCH_REST_BYTES: usize = 16 << 20;
const _: () = assert!(MESSAGE_BYTES_MAX <= TRANSACTION_BYTES_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX + BATCH_REST_BYTES <= BATCH_BYTES_MAX);
const CONNECT_TIMEOUT_MIN: Interval = Interval::from_ms(1_000);
const CONNECT_TIMEOUT_MAX: Interval = Interval::from_ms(600_000);
const LOG_RETENTION_AGE: Interval = Interval::from_ms(7 * 86_400_000);
const LOG_RETENTION_AGE_MIN: Interval = Interval::from_ms(60_000);
/// Reading them holds up a new master: with the most of them by about a second.
const DUPLICATE_WINDOW: RangeInclusive<u32> = 1 << 10..=1 << 24;
/// Of destinations, and of durable subscriptions.
const NAMED: RangeInclusive<u32> = 1..=1_000_000;

impl Resolver {
    pub(super) fn limits(&mut self) -> Result<Limits, Refusal> {
        let frame = self.keys.frame_bytes_max.get_or_insert(Bytes(16 << 20)).0;
        let connections = *self.keys.connections_max.get_or_insert(10_000);
        let usual = replicamq_core::Limits::default();
        let duplicates = self.duplicate_window(usual.duplicate_window)?;
        let destinations = self.count("destinations_max", usual.destinations_max)?;
        let durables = self.count("durables_max", usual.durables_max)?;
        let segment = self.keys.log_segment_bytes.get_or_insert(Bytes(64 << 20)).0;
        let retention = self
            .keys
            .log_retention_bytes
            .get_or_insert(Bytes(1 << 30))
            .0;
        if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame) {
            return Err(self
                .refuse(
                    "frame_bytes_max",
                    format!(
                        "frame_bytes_max = {} is outside what a broker can promise",
                        Bytes(frame)
                    ),
                )
                .cure(&format!(
                    "use {} to {}; larger messages are sent in parts",
                    Bytes(FRAME_BYTES_MIN),
                    Bytes(FRAME_BYTES_MAX)
                )));
        }
        if connections == 0 {
            return Err(self
                .refuse(
                    "connections_max",
                    "connections_max = 0 lets nobody in".to_owned(),
                )
                .cure("use 1 or more, or stomp = \"none\" to close the connector"));
        }
        if segment < LOG_SEGMENT_BYTES_MIN {
            return Err(self
                .refuse(
                    "log_segment_bytes",
                    format!("log_segment_bytes = {} is too small", Bytes(segment)),
                )
                .cure("use 1MiB or more"));
        }
        if retention < segment {
            let other = self.shown("log_segment_bytes", Bytes(segment));
            return Err(self
                .refuse(
                    "log_retention_bytes",
                    format!(
                        "log_retention_bytes = {} is less than one log file: {other}",
                        Bytes(retention)
                    ),
                )
                .cure("keep several log files, as with 1GiB"));
        }
        Ok(Limits {
            frame_bytes_max: usize::try_from(frame).expect("it is at most FRAME_BYTES_MAX"),
            connections_max: usize::try_from(connections).expect("a usize has 32 bits"),
            connect_timeout: self.connect_timeout()?,
            duplicate_window: duplicates,
            destinations_max: destinations,
            durables_max: durables,
            log_segment_bytes: segment,
            log_retention_bytes: retention,
            log_retention_age: self.log_retention_age()?,
            snapshot_rate: self.snapshot_rate()?,
            scrub_rate: self.keys.scrub_rate.get_or_insert(Bytes(4 << 20)).0,
        })
    }

    fn log_retention_age(&mut self) -> Result<Duration, Refusal> {
        let usual = || LOG_RETENTION_AGE;
        let age = *self.keys.log_retention_age.get_or_insert_with(usual);
        if age >= LOG_RETENTION_AGE_MIN {
            return Ok(age.0);
        }
        let problem =
            format!("log_retention_age = {age} is less than a node needs to take a snapshot");
        let cure = format!("use {LOG_RETENTION_AGE_MIN} or more");
        Err(self.refuse("log_retention_age", problem).cure(&cure))
    }

    fn snapshot_rate(&mut self) -> Result<u64, Refusal> {
        let rate = *self.keys.snapshot_rate.get_or_insert(Bytes(64 << 20));
        if rate.0 == 0 || rate.0 >= SNAPSHOT_RATE_MIN {
            return Ok(rate.0);
        }
        let problem =
            format!("snapshot_rate = {rate} is so slow that a snapshot seems to stand still");
        let cure = format!(
            "use {} or more, or 0 for as much as goes",
            Bytes(SNAPSHOT_RATE_MIN)
        );
        Err(self.refuse("snapshot_rate", problem).cure(&cure))
    }

    fn connect_timeout(&mut self) -> Result<Duration, Refusal> {
        let usual = || Interval::from_ms(30_000);
        let timeout = *self.keys.connect_timeout.get_or_insert_with(usual);
        let problem = if timeout < CONNECT_TIMEOUT_MIN {
            "leaves a client on a slow line no time to connect"
        } else if timeout > CONNECT_TIMEOUT_MAX {
            "lets connections that say nothing keep others out for long"
        } else {
            return Ok(timeout.0);
        };
        Err(self
            .refuse(
                "connect_timeout",
                format!("connect_timeout = {timeout} {problem}"),
            )
            .cure(&format!(
                "use {CONNECT_TIMEOUT_MIN} to {CONNECT_TIMEOUT_MAX}"
            )))
    }

    fn duplicate_window(&mut self, usual: u32) -> Result<u32, Refusal> {
        let duplicates = *self.keys.duplicate_window.get_or_insert(usual);
        if DUPLICATE_WINDOW.contains(&duplicates) {
            return Ok(duplicates);
        }
        let problem = format!("duplicate_window = {duplicates} is out of bounds");
        Err(self
            .refuse("duplicate_window", problem)
            .cure("use 1024 to 16777216: more than all clients send while one of them is cut off"))
    }

    /// How many there may be of what is known by name.
    fn count(&mut self, key: &'static str, usual: usize) -> Result<usize, Refusal> {
        let said = match key {
            "destinations_max" => &mut self.keys.destinations_max,
            _ => &mut self.keys.durables_max,
        };
        let usual = u32::try_from(usual).expect("it is far below 2^32");
        let count = *said.get_or_insert(usual);
        if NAMED.contains(&count) {
            return Ok(usize::try_from(count).expect("a usize has 32 bits"));
        }
        let (fewest, most) = (NAMED.start(), NAMED.end());
        Err(self
            .refuse(key, format!("{key} = {count} is out of bounds"))
            .cure(&format!(
                "use {fewest} to {most}: each is read when a master begins, and some kilobytes of memory"
            )))
    }
}
