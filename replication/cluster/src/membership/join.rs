//! Becoming a member: the cluster's id, a voter's place, and our own znode.
//!
//! Every step may be repeated: it is after each disconnection, because the
//! answer to the last attempt may have been lost.

use replicamq_quorum::Position;
use tokio::time::Instant;
use zookeeper_client as zk;

use super::run::{Broken, Runner, Session};
use super::view::get;
use super::znodes::{
    ClusterNode, EpochNode, FORMAT, MEMBER, MemberNode, Places, VoterNode, rank, to_json,
};
use super::{MembershipEvent, RefusedMembership, Standing, access_list};

/// A member as it was found.
struct Found {
    path: String,
    rank: i64,
    member: MemberNode,
    owner: i64,
}

impl Runner {
    pub(super) async fn join(&mut self, session: &mut Session) -> Result<(), Broken> {
        self.prepare(session).await?;
        let ClusterNode {
            cluster, recreated, ..
        } = self.cluster(session).await?;
        let standing = self.register(session, recreated).await?;
        self.enter(session).await?;
        let filled = |known: &(String, Standing)| known.1 == Standing::New;
        // A new node is a known one when it comes back.
        let standing = match standing {
            Standing::Known if self.joined.as_ref().is_some_and(filled) => Standing::New,
            standing => standing,
        };
        let joined = Some((cluster.clone(), standing));
        if self.joined != joined {
            self.joined = joined;
            self.tell(MembershipEvent::Joined { cluster, standing })
                .await;
        }
        Ok(())
    }

    fn acls(&self) -> zk::Acls<'static> {
        access_list(self.config.password.as_deref())
    }

    fn persistent(&self) -> zk::CreateOptions<'static> {
        zk::CreateMode::Persistent.with_acls(self.acls())
    }

    /// Makes what every cluster has.
    async fn prepare(&mut self, session: &mut Session) -> Result<(), Broken> {
        let paths = session.paths.clone();
        let client = session.client.clone();
        let options = self.persistent();
        // This server of ZooKeeper may be behind: what follows is read as it is now.
        session.during(client.sync(&paths.root)).await?;
        session.during(client.mkdir(&paths.root, &options)).await?;
        // It is made after `nodes`: whoever sees it and still makes `nodes`, makes that anew.
        let before = session.during(get(&client, &paths.cluster, false)).await?;
        if let Some((data, ..)) = &before {
            let found = parse::<ClusterNode>(&paths.cluster, data)?;
            found.known(&paths.cluster).map_err(Broken::Refused)?;
        }
        let places = to_json(&Places {
            replicas: self.config.replicas,
            registered: 0,
            recreated: before.is_some(),
        });
        let epoch = to_json(&EpochNode {
            epoch: 0,
            master: None,
        });
        for (path, data) in [
            (&paths.nodes, places.as_slice()),
            (&paths.members, b""),
            (&paths.epoch, &epoch),
        ] {
            match session.during(client.create(path, data, &options)).await {
                Ok(_) | Err(Broken::Error(zk::Error::NodeExists)) => {}
                Err(broken) => return Err(broken),
            }
        }
        Ok(())
    }

    /// The cluster's id: ZooKeeper's, or the store's if ZooKeeper lost it, or a new one.
    async fn cluster(&mut self, session: &mut Session) -> Result<ClusterNode, Broken> {
        let path = session.paths.cluster.clone();
        let client = session.client.clone();
        let ours = match (&self.config.cluster, &self.joined) {
            (Some(cluster), _) | (None, Some((cluster, _))) => Some(cluster.clone()),
            (None, None) => None,
        };
        let options = self.persistent();
        loop {
            if let Some((data, ..)) = session.during(get(&client, &path, false)).await? {
                let found = parse::<ClusterNode>(&path, &data)?;
                let found = found.known(&path).map_err(Broken::Refused)?;
                return match ours {
                    Some(store) if store != found.cluster => {
                        let path = session.paths.root.clone();
                        let refused = RefusedMembership::OtherCluster {
                            store,
                            keeper: found.cluster,
                            path,
                        };
                        Err(Broken::Refused(refused))
                    }
                    _ => Ok(found),
                };
            }
            let data = to_json(&ClusterNode {
                cluster: ours.clone().unwrap_or_else(random_id),
                format: FORMAT,
                recreated: ours.is_some(),
            });
            match session.during(client.create(&path, &data, &options)).await {
                // Read again: it may be somebody else's.
                Ok(_) | Err(Broken::Error(zk::Error::NodeExists)) => {}
                Err(broken) => return Err(broken),
            }
        }
    }

    /// Finds or takes a voter's place. Two nodes cannot take the last one:
    /// both would have to replace the same version of `nodes`.
    async fn register(
        &mut self,
        session: &mut Session,
        recreated: bool,
    ) -> Result<Standing, Broken> {
        let paths = session.paths.clone();
        let client = session.client.clone();
        let path = paths.node(&self.config.node);
        loop {
            let (data, nodes) = session.during(client.get_data(&paths.nodes)).await?;
            let mut places: Places = parse(&paths.nodes, &data)?;
            if places.replicas != self.config.replicas {
                return Err(Broken::Refused(RefusedMembership::Replicas {
                    path: paths.root,
                    keeper: places.replicas,
                    node: self.config.replicas,
                }));
            }
            if let Some((data, stat, _)) = session.during(get(&client, &path, false)).await? {
                let known = self.recognise(session, &data, stat.version).await?;
                match known {
                    Some(Standing::New) if recreated || places.recreated => {
                        return Ok(Standing::Known);
                    }
                    Some(standing) => return Ok(standing),
                    None => continue,
                }
            }
            let voters = session.during(client.list_children(&paths.nodes)).await?;
            if voters.len() >= places.replicas {
                return Err(Broken::Refused(self.stranger(session, voters)));
            }
            // Where masters have been, an empty directory may be a wiped one: only a store that
            // brings the cluster's id is taken at its own word.
            let recreated = recreated || places.recreated;
            let fresh = places.registered < places.replicas && (!recreated || self.brings_store());
            places.registered += usize::from(fresh);
            let voter = VoterNode {
                store: fresh.then(|| self.config.store.clone()),
                replication: self.config.replication_address.clone(),
                held: None,
            };
            let mut writer = client.new_multi_writer();
            writer.add_set_data(&paths.nodes, &to_json(&places), Some(nodes.version))?;
            writer.add_create(&path, &to_json(&voter), &self.persistent())?;
            let written = writer.commit();
            match session
                .during(async { written.await.map_err(zk::Error::from) })
                .await
            {
                Ok(_) if fresh && recreated => return Ok(Standing::Known),
                Ok(_) if fresh => return Ok(Standing::New),
                Ok(_) => return Ok(Standing::Unfilled),
                // Somebody registered at the same time: look again.
                Err(Broken::Error(zk::Error::BadVersion | zk::Error::NodeExists)) => {}
                Err(broken) => return Err(broken),
            }
        }
    }

    /// Whether this store was part of the cluster, and is not known to lack what it held.
    fn brings_store(&self) -> bool {
        match &self.joined {
            Some((_, Standing::Unfilled | Standing::Outdated { .. })) => self.is_filled(),
            Some((_, Standing::New | Standing::Known)) => true,
            None => self.config.cluster.is_some(),
        }
    }

    /// We have a place: with this store? `None` if the znode changed meanwhile.
    async fn recognise(
        &mut self,
        session: &mut Session,
        data: &[u8],
        version: i32,
    ) -> Result<Option<Standing>, Broken> {
        let path = session.paths.node(&self.config.node);
        let mut voter: VoterNode = parse(&path, data)?;
        if voter.replication != self.config.replication_address {
            voter
                .replication
                .clone_from(&self.config.replication_address);
            let client = session.client.clone();
            let data = to_json(&voter);
            match session
                .during(client.set_data(&path, &data, Some(version)))
                .await
            {
                Ok(_) => {}
                Err(Broken::Error(zk::Error::BadVersion | zk::Error::NoNode)) => return Ok(None),
                Err(broken) => return Err(broken),
            }
        }
        if voter.store.as_ref() != Some(&self.config.store) {
            return Ok(Some(Standing::Unfilled));
        }
        let held = voter.held.map_or_else(Position::default, Position::from);
        if let Some(outdated) = self.outdated(held) {
            return Ok(Some(outdated));
        }
        self.held = self.held.max(held);
        let (client, path) = (session.client.clone(), session.paths.epoch.clone());
        let (data, _) = session.during(client.get_data(&path)).await?;
        let virgin = parse::<EpochNode>(&path, &data)?.epoch == 0;
        Ok(Some(if virgin {
            Standing::New
        } else {
            Standing::Known
        }))
    }

    /// Whether this directory once held more. Later in the life of a process it is this
    /// process that wrote what is held.
    fn outdated(&self, held: Position) -> Option<Standing> {
        match &self.joined {
            None if self.config.log_end < held => Some(Standing::Outdated { held }),
            Some((_, outdated @ Standing::Outdated { .. })) => Some(*outdated),
            Some(_) | None => None,
        }
    }

    fn stranger(&self, session: &Session, mut voters: Vec<String>) -> RefusedMembership {
        voters.sort();
        RefusedMembership::Stranger {
            node: self.config.node.clone(),
            path: session.paths.root.clone(),
            replicas: self.config.replicas,
            voters: voters.join(", "),
        }
    }

    /// Makes our znode, unless it is there; takes away that of a process before us
    /// which is known to be gone, and waits for that of any other to go.
    async fn enter(&mut self, session: &mut Session) -> Result<(), Broken> {
        let client = session.client.clone();
        let us = session.client.session_id().0;
        // What an expired session leaves goes within its timeout; one more for clocks that differ.
        let patience = Instant::now() + 2 * client.session_timeout();
        self.member = None;
        let mut made: Option<i64> = None;
        loop {
            let mut other: Option<Found> = None;
            let mut own: Option<Found> = None;
            for found in self.namesakes(session).await? {
                let incarnation = &found.member.incarnation;
                if *incarnation == self.config.incarnation {
                    if found.owner == us {
                        own = Some(found);
                    } else {
                        // Ours, of a session that we lost.
                        self.delete(session, &found.path).await?;
                    }
                } else if self.config.predecessors.contains(incarnation) {
                    tracing::info!(
                        node = %self.config.node,
                        znode = %found.path,
                        "taking away the znode of an earlier process on this data directory, which is gone; its session need not expire first"
                    );
                    self.delete(session, &found.path).await?;
                } else {
                    other = Some(found);
                }
            }
            match (own, other) {
                (Some(own), None) => {
                    if made == Some(own.rank) {
                        tracing::info!(node = %self.config.node, rank = own.rank, "joined the cluster at {}", session.paths.root);
                    }
                    self.member = Some(own.path);
                    return Ok(());
                }
                (None, None) => {
                    let data = to_json(&MemberNode::new(&self.config, &self.advert()));
                    let options = zk::CreateMode::EphemeralSequential.with_acls(self.acls());
                    let path = session.paths.member(MEMBER);
                    let created = client.create(&path, &data, &options);
                    made = Some(session.during(created).await?.1.into_i64());
                }
                // Both came at once: the later goes back and waits.
                (Some(own), Some(other)) if own.rank < other.rank => {
                    self.member = Some(own.path);
                    return Ok(());
                }
                (own, Some(other)) => {
                    if let Some(own) = own {
                        self.delete(session, &own.path).await?;
                    }
                    self.outwait(session, other, patience).await?;
                }
            }
        }
    }

    /// All members under our name.
    async fn namesakes(&mut self, session: &mut Session) -> Result<Vec<Found>, Broken> {
        let client = session.client.clone();
        let paths = session.paths.clone();
        session.during(client.sync(&paths.members)).await?;
        let names = session.during(client.list_children(&paths.members)).await?;
        let mut found = Vec::new();
        for name in names {
            let (path, Some(rank)) = (paths.member(&name), rank(&name)) else {
                continue;
            };
            let Some((data, stat, _)) = session.during(get(&client, &path, false)).await? else {
                continue;
            };
            let Ok(member) = serde_json::from_slice::<MemberNode>(&data) else {
                continue;
            };
            if member.node == self.config.node.as_str() {
                found.push(Found {
                    path,
                    rank,
                    member,
                    owner: stat.ephemeral_owner,
                });
            }
        }
        Ok(found)
    }

    async fn delete(&mut self, session: &mut Session, path: &str) -> Result<(), Broken> {
        let client = session.client.clone();
        match session.during(client.delete(path, None)).await {
            Ok(()) | Err(Broken::Error(zk::Error::NoNode)) => Ok(()),
            Err(broken) => Err(broken),
        }
    }

    /// Waits for the znode of another process under our name to go.
    async fn outwait(
        &mut self,
        session: &mut Session,
        other: Found,
        patience: Instant,
    ) -> Result<(), Broken> {
        let left = patience.saturating_duration_since(Instant::now());
        tracing::warn!(
            node = %self.config.node,
            znode = %other.path,
            "another process is registered under this node's id; waiting up to {} ms for its session to expire, in case it is ours and crashed",
            left.as_millis()
        );
        let client = session.client.clone();
        let (stat, watcher) = session
            .during(client.check_and_watch_stat(&other.path))
            .await?;
        if stat.is_none() {
            return Ok(());
        }
        let gone = session.during(async { Ok(watcher.changed().await) });
        match tokio::time::timeout_at(patience, gone).await {
            Ok(gone) => gone.map(drop),
            Err(_) => Err(Broken::Refused(RefusedMembership::Duplicate {
                node: self.config.node.clone(),
                address: other.member.replication,
            })),
        }
    }
}

/// A znode that somebody else wrote; damage is the operator's.
fn parse<'a, T: serde::Deserialize<'a>>(path: &str, data: &'a [u8]) -> Result<T, Broken> {
    serde_json::from_slice(data).map_err(|error| {
        Broken::Refused(RefusedMembership::Config {
            name: "zk_path",
            value: path.to_owned(),
            why: format!("what lies there is not ours: {error}"),
        })
    })
}

/// Two clusters never have the same.
fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
