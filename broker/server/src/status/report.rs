//! The answer, for people and for programs.

use replicamq_proto::admin::v1::{DestinationStatus, MemberStatus, StatusResponse};
use serde::{Deserialize, Serialize};

use crate::terminal::{bytes, table};

/// A cluster as one node sees it. The names are part of the interface of `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Who answered.
    pub(crate) node: String,
    pub(crate) cluster: String,
    pub(crate) version: String,
    pub(crate) replicas: u32,
    pub(crate) sync: String,
    pub(crate) zookeeper: String,
    pub(crate) zk_session_timeout_ms: u64,
    pub(crate) epoch: u64,
    /// Who serves clients; empty if nobody does.
    pub(crate) master: String,
    /// Who claimed the epoch, alive or not.
    pub(crate) claimed_by: String,
    /// Why there is no master; empty if there is one.
    pub(crate) no_master: String,
    pub(crate) elections: u64,
    pub(crate) last_election_reason: String,
    /// Why something is missing; empty if nothing is.
    pub(crate) incomplete: String,
    pub(crate) members: Vec<Member>,
    pub(crate) destinations: Vec<Destination>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) node: String,
    pub(crate) role: String,
    pub(crate) connected: bool,
    pub(crate) replication_address: String,
    pub(crate) client_addresses: String,
    pub(crate) weight: u32,
    pub(crate) position_epoch: u64,
    pub(crate) appended: u64,
    pub(crate) durable: u64,
    pub(crate) committed: u64,
    pub(crate) applied: u64,
    pub(crate) lag_entries: u64,
    pub(crate) lag_bytes: u64,
    pub(crate) lag_ms: u64,
    pub(crate) log_bytes: u64,
    pub(crate) store_bytes: u64,
    /// Damaged files that are kept for a human.
    pub(crate) damaged_bytes: u64,
    /// A checkpoint on its way in.
    pub(crate) staging_bytes: u64,
    /// Checkpoints for others, without what the store itself still has.
    pub(crate) outgoing_bytes: u64,
    /// Files that wait to become part of the log.
    pub(crate) spare_bytes: u64,
}

/// A queue or a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Destination {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) depth: u64,
    pub(crate) in_flight: u64,
    pub(crate) consumers: u32,
    pub(crate) enqueued: u64,
    pub(crate) dequeued: u64,
}

impl From<StatusResponse> for Report {
    fn from(answer: StatusResponse) -> Self {
        let mut members: Vec<Member> = answer.members.into_iter().map(Member::from).collect();
        members.sort_by(|a, b| a.node.cmp(&b.node));
        let destinations = answer.destinations.into_iter();
        let mut destinations: Vec<Destination> = destinations.map(Destination::from).collect();
        destinations.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
        Self {
            node: answer.node,
            cluster: answer.cluster,
            version: answer.version,
            replicas: answer.replicas,
            sync: answer.sync,
            zookeeper: answer.zookeeper,
            zk_session_timeout_ms: answer.zk_session_timeout_ms,
            epoch: answer.epoch,
            master: answer.master,
            claimed_by: answer.claimed_by,
            no_master: answer.no_master,
            elections: answer.elections,
            last_election_reason: answer.last_election_reason,
            incomplete: answer.incomplete,
            members,
            destinations,
        }
    }
}

impl From<MemberStatus> for Member {
    fn from(member: MemberStatus) -> Self {
        Self {
            node: member.node,
            role: member.role,
            connected: member.connected,
            replication_address: member.replication_address,
            client_addresses: member.client_addresses,
            weight: member.weight,
            position_epoch: member.position_epoch,
            appended: member.appended,
            durable: member.durable,
            committed: member.committed,
            applied: member.applied,
            lag_entries: member.lag_entries,
            lag_bytes: member.lag_bytes,
            lag_ms: member.lag_ms,
            log_bytes: member.log_bytes,
            store_bytes: member.store_bytes,
            damaged_bytes: member.damaged_bytes,
            staging_bytes: member.staging_bytes,
            outgoing_bytes: member.outgoing_bytes,
            spare_bytes: member.spare_bytes,
        }
    }
}

impl From<DestinationStatus> for Destination {
    fn from(destination: DestinationStatus) -> Self {
        Self {
            kind: destination.kind,
            name: destination.name,
            depth: destination.depth,
            in_flight: destination.in_flight,
            consumers: destination.consumers,
            enqueued: destination.enqueued,
            dequeued: destination.dequeued,
        }
    }
}

impl Report {
    /// Every node of the cluster is there, follows one master and misses nothing.
    pub(crate) fn is_caught_up(&self) -> bool {
        let role = |name: &str| {
            self.members
                .iter()
                .filter(|member| member.role == name)
                .count()
        };
        let replicas = self.replicas as usize;
        role("master") == 1
            && role("master") + role("replica") == replicas
            && self
                .members
                .iter()
                .all(|member| member.connected && member.lag_entries == 0)
    }

    /// For people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let known = |text: &str| match text {
            "" => "-".to_owned(),
            text => text.to_owned(),
        };
        let mut lines = vec![format!(
            "cluster {}  epoch {}  master {}  sync {}  ZooKeeper {}",
            known(&self.cluster),
            self.epoch,
            if self.master.is_empty() {
                "none"
            } else {
                &self.master
            },
            self.sync,
            self.zookeeper,
        )];
        if self.master.is_empty() {
            lines.push(format!("no master: {}", known(&self.no_master)));
            if !self.claimed_by.is_empty() {
                lines.push(format!("the last one was {}", self.claimed_by));
            }
        }
        if self.elections > 0 {
            lines.push(format!(
                "elections since {} started: {}; the last one because {}",
                self.node,
                self.elections,
                known(&self.last_election_reason)
            ));
        }
        if !self.incomplete.is_empty() {
            lines.push(format!("incomplete: {}", self.incomplete));
        }
        lines.push(String::new());
        let members: Vec<Vec<String>> = self.members.iter().map(Member::cells).collect();
        lines.extend(table(&Member::HEADINGS, &members));
        lines.extend(self.members.iter().filter_map(Member::aside_line));
        lines.push(String::new());
        if self.destinations.is_empty() {
            lines.push("no destinations".to_owned());
        } else {
            let rows: Vec<Vec<String>> = self.destinations.iter().map(Destination::cells).collect();
            lines.extend(table(&Destination::HEADINGS, &rows));
        }
        lines
    }
}

impl Member {
    const HEADINGS: [&'static str; 12] = [
        "NODE",
        "ROLE",
        "EPOCH",
        "APPENDED",
        "DURABLE",
        "COMMITTED",
        "APPLIED",
        "LAG",
        "BYTES",
        "MS",
        "DISK",
        "CLIENTS",
    ];

    /// What its directory holds beside log and store.
    fn aside(&self) -> [(&'static str, u64); 4] {
        [
            ("damaged", self.damaged_bytes),
            ("staging", self.staging_bytes),
            ("outgoing", self.outgoing_bytes),
            ("spare", self.spare_bytes),
        ]
    }

    /// What of its disk is neither log nor store, if there is any but the spare file that is
    /// always there.
    fn aside_line(&self) -> Option<String> {
        let aside = self.aside();
        if aside[..3].iter().all(|(_, bytes)| *bytes == 0) {
            return None;
        }
        let held = aside.iter().filter(|(_, held)| *held > 0);
        let held: Vec<_> = held
            .map(|(what, held)| format!("{what} {}", bytes(*held)))
            .collect();
        Some(format!(
            "beside log and store {} holds: {}",
            self.node,
            held.join(", ")
        ))
    }

    fn cells(&self) -> Vec<String> {
        let told = self.connected || self.role == "master";
        let number = |number: u64| {
            if told {
                number.to_string()
            } else {
                "-".to_owned()
            }
        };
        let aside: u64 = self.aside().iter().map(|(_, bytes)| bytes).sum();
        let disk = match self.log_bytes + self.store_bytes + aside {
            0 => "-".to_owned(),
            sum => bytes(sum),
        };
        let role = match (self.role.as_str(), self.connected) {
            ("", _) => "-".to_owned(),
            ("replica", false) => "replica (not connected)".to_owned(),
            (role, _) => role.to_owned(),
        };
        vec![
            self.node.clone(),
            role,
            number(self.position_epoch),
            number(self.appended),
            number(self.durable),
            number(self.committed),
            number(self.applied),
            number(self.lag_entries),
            number(self.lag_bytes),
            number(self.lag_ms),
            disk,
            self.client_addresses.clone(),
        ]
    }
}

impl Destination {
    const HEADINGS: [&'static str; 7] = [
        "KIND",
        "NAME",
        "DEPTH",
        "IN FLIGHT",
        "CONSUMERS",
        "ENQUEUED",
        "DEQUEUED",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.kind.clone(),
            self.name.clone(),
            self.depth.to_string(),
            self.in_flight.to_string(),
            self.consumers.to_string(),
            self.enqueued.to_string(),
            self.dequeued.to_string(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str, role: &str, lag: u64) -> MemberStatus {
        MemberStatus {
            node: node.to_owned(),
            role: role.to_owned(),
            connected: true,
            appended: 100,
            durable: 100 - lag,
            lag_entries: lag,
            ..MemberStatus::default()
        }
    }

    fn report(members: Vec<MemberStatus>) -> Report {
        Report::from(StatusResponse {
            node: "b-1".to_owned(),
            replicas: 3,
            epoch: 7,
            master: "b-2".to_owned(),
            members,
            ..StatusResponse::default()
        })
    }

    #[test]
    fn a_cluster_is_caught_up_when_all_follow_one_master() {
        let all = || {
            vec![
                member("b-2", "master", 0),
                member("b-1", "replica", 0),
                member("b-3", "replica", 0),
            ]
        };
        assert!(report(all()).is_caught_up());
        assert!(!report(all()[..2].to_vec()).is_caught_up());
        let mut behind = all();
        behind[2] = member("b-3", "replica", 1);
        assert!(!report(behind).is_caught_up());
        let mut gone = all();
        gone[1].connected = false;
        assert!(!report(gone).is_caught_up());
        let mut electing = all();
        electing[0] = member("b-2", "electing", 0);
        assert!(!report(electing).is_caught_up());
    }

    #[test]
    fn all_that_a_disk_holds_is_shown() {
        let mut hurt = member("b-1", "unfilled", 0);
        hurt.log_bytes = 1 << 20;
        hurt.store_bytes = 1 << 20;
        hurt.damaged_bytes = 3 << 20;
        hurt.staging_bytes = 2 << 20;
        hurt.spare_bytes = 1 << 20;
        let mut whole = member("b-2", "master", 0);
        whole.log_bytes = 2 << 20;
        whole.spare_bytes = 1 << 20;
        let report = report(vec![hurt, whole]);
        let lines = report.lines();
        assert!(lines[3].contains("8.0 MiB"), "{lines:?}");
        assert!(lines[4].contains("3.0 MiB"), "{lines:?}");
        assert_eq!(
            lines[5],
            "beside log and store b-1 holds: damaged 3.0 MiB, staging 2.0 MiB, spare 1.0 MiB"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["members"][0]["damaged_bytes"], 3 << 20);
        assert_eq!(json["members"][0]["outgoing_bytes"], 0);
    }

    #[test]
    fn who_led_last_is_not_shown_as_master() {
        let report = Report::from(StatusResponse {
            epoch: 7,
            claimed_by: "b-2".to_owned(),
            no_master: "1 of 3 nodes would vote".to_owned(),
            ..StatusResponse::default()
        });
        let lines = report.lines();
        assert!(lines[0].contains("epoch 7  master none"), "{lines:?}");
        assert_eq!(lines[1], "no master: 1 of 3 nodes would vote");
        assert_eq!(lines[2], "the last one was b-2");
    }

    #[test]
    fn people_see_a_table_in_order_of_names() {
        let report = report(vec![
            member("b-2", "master", 0),
            member("b-1", "replica", 3),
        ]);
        let lines = report.lines();
        assert!(lines[0].contains("epoch 7  master b-2"), "{lines:?}");
        assert!(lines[2].starts_with("NODE  ROLE"), "{lines:?}");
        assert!(lines[3].starts_with("b-1   replica"), "{lines:?}");
        assert!(lines[4].starts_with("b-2   master"), "{lines:?}");
        assert_eq!(lines.last().unwrap(), "no destinations");
    }
}
