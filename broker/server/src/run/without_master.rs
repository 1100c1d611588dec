//! A node without a master: why, with the cure, and when the log should hear of it.
//!
//! Words and numbers only: the quorum knows, the loop asks and tells.

use std::time::Duration;

use replicamq_quorum::{NodeId, Outlook, Quorum, Role, UNFILLED};

/// An election takes less: after so long something is missing.
const FIRST_MS: u64 = 5_000;
/// Then it is said again.
const EVERY_MS: u64 = 10_000;

/// When to say again that there is no master.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    /// Since when there is none, and when that is said next.
    without: Option<(u64, u64)>,
}

impl Reminder {
    /// How long there has been no master, if that should be said now.
    pub(super) fn due(&mut self, without: bool, now_ms: u64) -> Option<Duration> {
        if !without {
            self.without = None;
            return None;
        }
        let (since_ms, next_ms) = self.without.get_or_insert((now_ms, now_ms + FIRST_MS));
        if now_ms < *next_ms {
            return None;
        }
        *next_ms = now_ms + EVERY_MS;
        Some(Duration::from_millis(now_ms - *since_ms))
    }
}

/// Why nobody serves clients, as far as this node knows; empty if somebody does.
pub(crate) fn reason(quorum: &Quorum) -> String {
    match (quorum.outlook(), quorum.role()) {
        (Some(outlook), _) => explain(&outlook),
        (None, Role::Rising { epoch }) => {
            format!("this node was elected in epoch {epoch} and prepares to serve")
        }
        (None, _) => String::new(),
    }
}

fn explain(outlook: &Outlook) -> String {
    if !outlook.keeper {
        return "ZooKeeper is out of reach, and without it nobody is elected: start it, or correct zk_address".to_owned();
    }
    let mut said = vec![format!(
        "{} of {} nodes would vote for one, {} needed",
        outlook.willing.len(),
        outlook.replicas,
        are(outlook.needed)
    )];
    if outlook.willing.len() >= outlook.needed {
        said.push("an election is under way".to_owned());
    }
    if !outlook.absent.is_empty() {
        let (are, them) = match outlook.absent.len() {
            1 => ("is", "it"),
            _ => ("are", "them"),
        };
        said.push(format!(
            "{} {are} not there: start {them}",
            list(&outlook.absent)
        ));
    }
    if outlook.vacant > 0 {
        said.push(format!(
            "{} never joined: start the rest of the cluster's nodes",
            outlook.vacant
        ));
    }
    if !outlook.silent.is_empty() {
        let does = if outlook.silent.len() == 1 {
            "does"
        } else {
            "do"
        };
        said.push(format!(
            "{} {does} not answer this node: check that it runs, that the nodes reach each other's replication address, and that all have the same security_token",
            list(&outlook.silent)
        ));
    }
    for (node, reason) in &outlook.unwilling {
        said.push(format!("{node} would not: {reason}"));
    }
    if is_beyond_repair(outlook) {
        said.push("nobody is left who could fill them: their logs say since their start which file is damaged; bring back a node or a disk that is whole, or see `replicamq cluster accept-loss --help`".to_owned());
    }
    said.join("; ")
}

/// Everybody is there, and too few stores are whole.
fn is_beyond_repair(outlook: &Outlook) -> bool {
    let unfilled = outlook.unwilling.iter();
    let unfilled = unfilled.filter(|(_, reason)| reason == UNFILLED).count();
    let all_said = outlook.silent.is_empty() && outlook.absent.is_empty() && outlook.vacant == 0;
    all_said && outlook.replicas - unfilled < outlook.needed
}

fn are(number: usize) -> String {
    match number {
        1 => "1 is".to_owned(),
        number => format!("{number} are"),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn list(nodes: &[NodeId]) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reminder_comes_when_an_election_takes_too_long_and_then_now_and_then() {
        let mut reminder = Reminder::default();
        let mut due: Vec<u64> = Vec::new();
        for now_ms in (1_000..40_000).step_by(25) {
            if let Some(passed) = reminder.due(true, now_ms) {
                due.push(u64::try_from(passed.as_millis()).unwrap());
            }
        }
        assert_eq!(due, [5_000, 15_000, 25_000, 35_000]);
        assert_eq!(reminder.due(false, 50_000), None);
        assert_eq!(reminder.due(true, 50_025), None, "it begins anew");
    }

    #[test]
    fn the_reason_names_the_votes_who_is_missing_and_the_cure() {
        let node = |name: &str| NodeId::new(name);
        let outlook = Outlook {
            replicas: 3,
            needed: 2,
            keeper: true,
            willing: vec![node("b-1")],
            unwilling: Vec::new(),
            silent: Vec::new(),
            absent: vec![node("b-2"), node("b-3")],
            vacant: 0,
        };
        assert_eq!(
            explain(&outlook),
            "1 of 3 nodes would vote for one, 2 are needed; b-2 and b-3 are not there: start them"
        );
        let others = Outlook {
            silent: vec![node("b-2")],
            unwilling: vec![(node("b-3"), "its store is not filled".to_owned())],
            absent: Vec::new(),
            vacant: 1,
            ..outlook.clone()
        };
        let said = explain(&others);
        for part in [
            "b-2 does not answer",
            "security_token",
            "b-3 would not: its store",
            "1 never joined",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("accept-loss"), "a node may yet come: {said}");
        let unfilled = |name: &str| (node(name), UNFILLED.to_owned());
        let damaged = Outlook {
            unwilling: vec![unfilled("b-2"), unfilled("b-3")],
            absent: Vec::new(),
            ..outlook.clone()
        };
        assert!(explain(&damaged).contains("accept-loss --help"));
        let cut_off = Outlook {
            keeper: false,
            ..outlook
        };
        assert!(explain(&cut_off).starts_with("ZooKeeper is out of reach"));
    }
}
