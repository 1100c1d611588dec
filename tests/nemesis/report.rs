//! What a run has shown, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::kinds::{ALL, Kind, Served};
use crate::ledger::Counts;
use crate::rounds::Outcome;

/// What is known of the messages.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Account {
    /// Some may be on their way, so that nobody knows yet what is lost.
    Open(Counts),
    Settled(Counts),
}

/// What came of each kind of fault.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rounds: BTreeMap<Kind, Vec<Outcome>>,
}

impl Report {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.rounds.entry(outcome.kind).or_default().push(outcome);
    }

    /// Markdown.
    pub(crate) fn text(&self, account: Account) -> String {
        let (counts, lost) = match account {
            Account::Open(counts) => (counts, String::new()),
            Account::Settled(counts) => (counts, format!("{} lost, ", counts.missing)),
        };
        let mut text = String::from(
            "| Fault | Rounds | Clients wait, from | p50 ms | p99 ms | max ms | Level again, p50 ms | p99 ms | max ms | Elections |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        let (mut rounds, mut elections, mut hasty) = (0, 0, 0);
        for facts in &ALL {
            let Some(outcomes) = self.rounds.get(&facts.kind) else {
                continue;
            };
            let times = sorted(outcomes, |one| one.interruption);
            let level = sorted(outcomes, |one| one.level);
            let held: u64 = outcomes.iter().map(|one| one.elections).sum();
            let from = match facts.served {
                Served::After => "the heal",
                Served::During | Served::Perhaps => "the fault",
            };
            writeln!(
                text,
                "| `{}` | {} | {from} | {} | {} | {} | {} | {} | {} | {held} |",
                facts.name,
                outcomes.len(),
                shown(&times, 50),
                shown(&times, 99),
                shown(&times, 100),
                shown(&level, 50),
                shown(&level, 99),
                shown(&level, 100),
            )
            .expect("a text grows");
            rounds += outcomes.len();
            hasty += outcomes.len() - times.len();
            elections += held;
        }
        writeln!(
            text,
            "\n{rounds} faults, {hasty} of them before the cluster was level again (their times do not count), \
             {elections} elections. Messages: {} acknowledged, {} consumed, {lost}{} duplicated, \
             {} wrongly redelivered, {} out of order, {} redelivered with the mark.",
            counts.acknowledged,
            counts.consumed,
            counts.duplicated,
            counts.returned,
            counts.reordered,
            counts.redelivered,
        )
        .expect("a text grows");
        text
    }
}

fn sorted(outcomes: &[Outcome], time: fn(&Outcome) -> Option<Duration>) -> Vec<Duration> {
    let mut times: Vec<Duration> = outcomes.iter().filter_map(time).collect();
    times.sort();
    times
}

/// In milliseconds; a dash where nothing was measured.
fn shown(sorted: &[Duration], percent: usize) -> String {
    let time = percentile(sorted, percent);
    time.map_or_else(|| "–".to_owned(), |time| time.as_millis().to_string())
}

/// The smallest that so many of a hundred do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();
        let of = |percent| shown(&times, percent);
        assert_eq!([of(50), of(99), of(100)], ["5", "10", "10"]);
        assert_eq!(shown(&times[..1], 50), "1");
        assert_eq!(shown(&[], 50), "–");
    }

    #[test]
    fn a_table_has_a_line_for_each_kind_that_was_there() {
        let mut report = Report::default();
        for (interruption, elections) in [(80, 1), (120, 2)] {
            report.add(Outcome {
                kind: Kind::KillMaster,
                interruption: Some(Duration::from_millis(interruption)),
                level: Some(Duration::from_millis(7 * interruption)),
                elections,
            });
        }
        let counts = Counts {
            acknowledged: 12,
            ..Counts::default()
        };
        let text = report.text(Account::Settled(counts));
        assert!(
            text.contains(
                "| `kill-master` | 2 | the fault | 80 | 120 | 120 | 560 | 840 | 840 | 3 |"
            ),
            "{text}"
        );
        assert!(text.contains("2 faults, 0 of them before the cluster was level again (their times do not count), 3 elections. Messages: 12 acknowledged"));
        assert!(
            text.contains("12 acknowledged, 0 consumed, 0 lost,"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 5, "{text}");
        let text = report.text(Account::Open(counts));
        assert!(
            text.contains("12 acknowledged, 0 consumed, 0 duplicated"),
            "{text}"
        );
    }
}
