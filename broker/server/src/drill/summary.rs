//! A row a round, and what they come to.

use serde::Serialize;

use super::ledger::Counts;

/// One round. The names are part of the interface of `--json`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) round: u32,
    pub(super) old_master: String,
    pub(super) new_master: String,
    pub(super) epoch: u64,
    /// From the signal to the first send that the new master acknowledged…
    pub(super) acknowledged_ms: u64,
    /// …and until every producer had one.
    pub(super) all_acknowledged_ms: u64,
    /// From the signal to the first message that the new master delivered.
    pub(super) delivered_ms: u64,
    /// From the start of the old master until it had everything.
    pub(super) caught_up_ms: u64,
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) redelivered: u64,
    pub(super) reordered: u64,
    /// Received, and never sent.
    pub(super) unknown: u64,
}

const HEADINGS: [(&str, usize); 13] = [
    ("ROUND", 5),
    ("MASTER", 24),
    ("EPOCH", 5),
    ("ACK ms", 7),
    ("ALL ms", 7),
    ("DELIVERY ms", 11),
    ("CAUGHT UP ms", 12),
    ("SENT", 8),
    ("LOST", 5),
    ("DUPLICATED", 10),
    ("REDELIVERED", 11),
    ("REORDERED", 9),
    ("UNKNOWN", 7),
];

/// Rows come one by one, so that the widths are fixed.
fn line(cells: &[String; 13]) -> String {
    let padded = cells
        .iter()
        .zip(HEADINGS)
        .map(|(cell, (_, width))| format!("{cell:>width$}"));
    padded.collect::<Vec<_>>().join("  ")
}

pub(super) fn heading() -> String {
    line(&HEADINGS.map(|(heading, _)| heading.to_owned()))
}

impl Row {
    pub(super) fn line(&self) -> String {
        line(&[
            self.round.to_string(),
            format!("{} > {}", self.old_master, self.new_master),
            self.epoch.to_string(),
            self.acknowledged_ms.to_string(),
            self.all_acknowledged_ms.to_string(),
            self.delivered_ms.to_string(),
            self.caught_up_ms.to_string(),
            self.sent.to_string(),
            self.lost.to_string(),
            self.duplicated.to_string(),
            self.redelivered.to_string(),
            self.reordered.to_string(),
            self.unknown.to_string(),
        ])
    }
}

/// How a time was distributed over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Spread {
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl Spread {
    /// By nearest rank; zero without values.
    fn of(values: impl Iterator<Item = u64>) -> Self {
        let mut values: Vec<u64> = values.collect();
        values.sort_unstable();
        let rank = |percent: usize| {
            let at = (values.len() * percent).div_ceil(100).saturating_sub(1);
            values.get(at).copied().unwrap_or(0)
        };
        Self {
            p50: rank(50),
            p99: rank(99),
            max: rank(100),
        }
    }
}

/// All rounds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    pub(super) rounds: usize,
    pub(super) acknowledged_ms: Spread,
    pub(super) all_acknowledged_ms: Spread,
    pub(super) delivered_ms: Spread,
    pub(super) caught_up_ms: Spread,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) redelivered: u64,
    pub(super) reordered: u64,
    /// Received, and never sent.
    pub(super) unknown: u64,
}

impl Summary {
    pub(super) fn of(rows: &[Row], counts: Counts) -> Self {
        let spread = |time: fn(&Row) -> u64| Spread::of(rows.iter().map(time));
        Self {
            rounds: rows.len(),
            acknowledged_ms: spread(|row| row.acknowledged_ms),
            all_acknowledged_ms: spread(|row| row.all_acknowledged_ms),
            delivered_ms: spread(|row| row.delivered_ms),
            caught_up_ms: spread(|row| row.caught_up_ms),
            sent: counts.sent,
            acknowledged: counts.confirmed,
            received: counts.delivered,
            lost: counts.missing,
            duplicated: counts.duplicated,
            redelivered: counts.redelivered,
            reordered: counts.reordered,
            unknown: counts.unknown,
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let time = |name: &str, spread: Spread| {
            format!(
                "{name:34} p50 {:>5} ms  p99 {:>5} ms  max {:>5} ms",
                spread.p50, spread.p99, spread.max
            )
        };
        vec![
            format!("{} rounds", self.rounds),
            time("signal to first acknowledged send", self.acknowledged_ms),
            time("signal to one of every producer", self.all_acknowledged_ms),
            time("signal to first delivery", self.delivered_ms),
            time("start to caught up", self.caught_up_ms),
            format!(
                "sent {}, acknowledged {}, received {}; lost {}, duplicated {}, reordered {}, unknown {}; redelivered {}",
                self.sent,
                self.acknowledged,
                self.received,
                self.lost,
                self.duplicated,
                self.reordered,
                self.unknown,
                self.redelivered
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let spread = Spread::of(1..=50);
        assert_eq!((spread.p50, spread.p99, spread.max), (25, 50, 50));
        let hundred = Spread::of((1..=100).rev());
        assert_eq!((hundred.p50, hundred.p99, hundred.max), (50, 99, 100));
        let one = Spread::of(std::iter::once(7));
        assert_eq!((one.p50, one.p99, one.max), (7, 7, 7));
        assert_eq!(Spread::of(std::iter::empty()).max, 0);
    }

    #[test]
    fn rows_line_up_under_their_headings() {
        let row = Row {
            round: 1,
            old_master: "broker-1".to_owned(),
            new_master: "broker-2".to_owned(),
            epoch: 7,
            acknowledged_ms: 412,
            all_acknowledged_ms: 420,
            delivered_ms: 430,
            caught_up_ms: 1_200,
            sent: 4_242,
            lost: 0,
            duplicated: 0,
            redelivered: 12,
            reordered: 0,
            unknown: 3,
        };
        assert_eq!(row.line().chars().count(), heading().chars().count());
        assert!(row.line().ends_with("      3"), "{}", row.line());
        let summary = Summary::of(
            &[row],
            Counts {
                missing: 2,
                unknown: 3,
                ..Counts::default()
            },
        );
        assert_eq!(summary.lost, 2);
        let last = summary.lines().pop().unwrap();
        assert!(last.contains("lost 2"), "{last}");
        assert!(last.contains("unknown 3"), "{last}");
        assert!(
            summary.lines()[1].contains("p50   412 ms"),
            "{:?}",
            summary.lines()
        );
    }
}
