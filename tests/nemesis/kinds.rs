//! The kinds of fault, and what may be expected of a cluster that meets one.

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    KillMaster,
    KillReplica,
    KillAll,
    TerminateMaster,
    PauseMaster,
    PauseReplica,
    CutMasterFromReplicas,
    CutMasterFromZooKeeper,
    CutMasterFromAll,
    CutReplicaFromMaster,
    CutReplicasApart,
    CutAllFromZooKeeper,
    DeafMaster,
    MuteMaster,
    DeafReplica,
    MuteReplica,
    Loss,
    Delay,
    ResetMaster,
    ResetClients,
    KillZooKeeper,
    KillZooKeeperAndMaster,
    PauseZooKeeper,
    RollingRestart,
    FillMaster,
    FillReplica,
    DamageMaster,
    DamageReplica,
    WipeMaster,
    WipeReplica,
    JumpClocks,
    Transfer,
    FailSyncsOfMaster,
    FailSyncsOfReplica,
    HangSyncsOfMaster,
    HangSyncsOfReplica,
    PowerCut,
}

/// When clients are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// While the fault lasts, after an election at most.
    During,
    /// Perhaps, as chance has it.
    Perhaps,
    /// Not before it is healed: there is no quorum, or no way for an election.
    After,
}

/// What is known of a kind beforehand.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    /// As an operator would type it.
    pub(crate) name: &'static str,
    pub(crate) served: Served,
    /// More elections than this are flapping.
    pub(crate) elections_max: u64,
}

const fn facts(kind: Kind, name: &'static str, served: Served, elections_max: u64) -> Facts {
    Facts {
        kind,
        name,
        served,
        elections_max,
    }
}

/// Every kind once.
pub(crate) const ALL: [Facts; 37] = [
    facts(Kind::KillMaster, "kill-master", Served::During, 2),
    facts(Kind::KillReplica, "kill-replica", Served::During, 0),
    facts(Kind::KillAll, "kill-all", Served::After, 3),
    facts(Kind::TerminateMaster, "terminate-master", Served::During, 1),
    facts(Kind::PauseMaster, "pause-master", Served::During, 2),
    facts(Kind::PauseReplica, "pause-replica", Served::During, 0),
    facts(
        Kind::CutMasterFromReplicas,
        "cut-master-from-replicas",
        Served::During,
        2,
    ),
    facts(
        Kind::CutMasterFromZooKeeper,
        "cut-master-from-zookeeper",
        Served::During,
        0,
    ),
    facts(
        Kind::CutMasterFromAll,
        "cut-master-from-all",
        Served::During,
        2,
    ),
    facts(
        Kind::CutReplicaFromMaster,
        "cut-replica-from-master",
        Served::During,
        0,
    ),
    facts(
        Kind::CutReplicasApart,
        "cut-replicas-apart",
        Served::During,
        0,
    ),
    facts(
        Kind::CutAllFromZooKeeper,
        "cut-all-from-zookeeper",
        Served::During,
        0,
    ),
    facts(Kind::DeafMaster, "deaf-master", Served::During, 2),
    facts(Kind::MuteMaster, "mute-master", Served::During, 2),
    facts(Kind::DeafReplica, "deaf-replica", Served::During, 0),
    facts(Kind::MuteReplica, "mute-replica", Served::During, 0),
    facts(Kind::Loss, "loss", Served::Perhaps, 20),
    facts(Kind::Delay, "delay", Served::During, 2),
    facts(Kind::ResetMaster, "reset-master", Served::During, 2),
    facts(Kind::ResetClients, "reset-clients", Served::After, 0),
    facts(Kind::KillZooKeeper, "kill-zookeeper", Served::During, 0),
    facts(
        Kind::KillZooKeeperAndMaster,
        "kill-zookeeper-and-master",
        Served::After,
        2,
    ),
    facts(Kind::PauseZooKeeper, "pause-zookeeper", Served::During, 0),
    facts(Kind::RollingRestart, "rolling-restart", Served::During, 4),
    facts(Kind::FillMaster, "fill-master", Served::During, 2),
    facts(Kind::FillReplica, "fill-replica", Served::During, 0),
    facts(Kind::DamageMaster, "damage-master", Served::During, 2),
    facts(Kind::DamageReplica, "damage-replica", Served::During, 0),
    facts(Kind::WipeMaster, "wipe-master", Served::During, 2),
    facts(Kind::WipeReplica, "wipe-replica", Served::During, 0),
    facts(Kind::JumpClocks, "jump-clocks", Served::During, 2),
    facts(Kind::Transfer, "transfer", Served::During, 2),
    facts(
        Kind::FailSyncsOfMaster,
        "fail-syncs-of-master",
        Served::During,
        2,
    ),
    facts(
        Kind::FailSyncsOfReplica,
        "fail-syncs-of-replica",
        Served::During,
        0,
    ),
    facts(
        Kind::HangSyncsOfMaster,
        "hang-syncs-of-master",
        Served::During,
        2,
    ),
    facts(
        Kind::HangSyncsOfReplica,
        "hang-syncs-of-replica",
        Served::During,
        0,
    ),
    facts(Kind::PowerCut, "power-cut", Served::After, 3),
];

impl Kind {
    /// What is known of it.
    pub(crate) fn facts(self) -> &'static Facts {
        let found = ALL.iter().find(|facts| facts.kind == self);
        found.expect("every kind is in the table")
    }

    /// As an operator would type it.
    pub(crate) fn name(self) -> &'static str {
        self.facts().name
    }

    /// Whether it may follow before the cluster is level again, and another one may follow it:
    /// a second disk that is lost before the first one was filled loses messages by right.
    pub(crate) fn spares_disks(self) -> bool {
        !matches!(
            self,
            Self::TerminateMaster
                | Self::RollingRestart
                | Self::FillMaster
                | Self::FillReplica
                | Self::DamageMaster
                | Self::DamageReplica
                | Self::WipeMaster
                | Self::WipeReplica
                | Self::JumpClocks
                | Self::Transfer
                | Self::FailSyncsOfMaster
                | Self::FailSyncsOfReplica
                | Self::HangSyncsOfMaster
                | Self::HangSyncsOfReplica
                | Self::PowerCut
        )
    }

    /// The one that an operator means.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let found = ALL.iter().find(|facts| facts.name == name);
        found.map(|facts| facts.kind)
    }
}
