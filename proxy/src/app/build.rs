//! Makes the parts that live as long as the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::StartFault;
use crate::catalog::coordinator::Coordinator;
use crate::client::credentials::{Lookup, Question};
use crate::client::worker::{Common, Order};
use crate::cluster::Cluster;
use crate::net::names::Name;
use crate::net::tls::{FromClient, ToServer};
use crate::server::address::{Address, Servers, Target};
use crate::snapshot::{Database, Shard, Snapshot};

/// What the process is made of before it runs.
pub struct Parts {
    /// What all share.
    pub common: Arc<Common>,
    /// Each worker's orders.
    pub doors: Vec<mpsc::UnboundedReceiver<Order>>,
    /// Look-ups of roles.
    pub questions: mpsc::Receiver<Question>,
}

/// Reads every file the snapshot names.
pub fn build(snapshot: Snapshot) -> Result<Parts, StartFault> {
    let tls = from_client(&snapshot)?;
    let targets = targets(&snapshot)?;
    let clusters = clusters(&snapshot, &targets, &HashMap::new());
    let coordinators = coordinators(&snapshot, &HashMap::new())?;
    let (senders, doors): (Vec<_>, Vec<_>) = (0..snapshot.threads.clamp(1, 127))
        .map(|_| mpsc::unbounded_channel())
        .unzip();
    let (lookup, questions) = Lookup::new();
    let common = Common {
        snapshot: ArcSwap::from_pointee(snapshot),
        tls: ArcSwap::from_pointee(tls),
        lookup,
        ledgers: Default::default(),
        rooms: Default::default(),
        schemas: Default::default(),
        server_ids: Arc::new(AtomicU64::new(1)),
        client_ids: AtomicU64::new(1),
        connections: AtomicUsize::new(0),
        gate: Default::default(),
        doors: senders,
        targets: ArcSwap::from_pointee(targets),
        clusters: ArcSwap::from_pointee(clusters),
        coordinators: ArcSwap::from_pointee(coordinators),
        catalogs: Default::default(),
        marks: Default::default(),
        caches: Default::default(),
        cancels: AtomicUsize::new(0),
        replicating: Default::default(),
        transactions: Default::default(),
        switches: Default::default(),
    };
    Ok(Parts {
        common: Arc::new(common),
        doors,
        questions,
    })
}

/// TLS towards clients, its files read.
pub fn from_client(snapshot: &Snapshot) -> Result<FromClient, StartFault> {
    let tls = &snapshot.tls;
    if tls.certificate.is_none() {
        return Ok(FromClient::disabled());
    }
    FromClient::new(
        tls.mode,
        tls.certificate.as_deref(),
        tls.key.as_deref(),
        tls.client_ca.as_deref(),
    )
    .map_err(StartFault::Tls)
}

/// Targets of each database, shard by shard.
pub type Targets = HashMap<String, Vec<Servers>>;

/// What is known of each database's servers, shard by shard.
pub type Clusters = HashMap<String, Arc<[Arc<Cluster>]>>;

/// What is known of each database's servers: what was known before, where they are the same.
pub fn clusters(snapshot: &Snapshot, targets: &Targets, before: &Clusters) -> Clusters {
    let of = |database: &Database| {
        let before = before.get(&database.name).map_or(&[][..], |known| known);
        let servers = targets.get(&database.name)?.iter();
        let is_watched = database.control.is_some();
        let one = |(servers, shard): (&Servers, &Shard)| cluster(servers, shard, is_watched, before);
        let clusters = servers.zip(&database.shards).map(one).collect();
        Some((database.name.clone(), clusters))
    };
    snapshot.databases.iter().filter_map(of).collect()
}

fn cluster(servers: &Servers, shard: &Shard, is_watched: bool, before: &[Arc<Cluster>]) -> Arc<Cluster> {
    let Servers { shard: name, targets } = servers;
    let known = before
        .iter()
        .find(|known| known.name == *name && known.is_like(targets, &shard.weights, is_watched));
    let new = || {
        let new = Cluster::new(name.clone(), targets.clone(), &shard.weights, is_watched);
        before
            .iter()
            .filter(|old| old.name == *name)
            .for_each(|old| new.goes_on_from(old));
        new
    };
    known.cloned().unwrap_or_else(new)
}

/// What answers where a database's shards together can't.
pub type Coordinators = HashMap<String, Arc<Coordinator>>;

/// The coordinators: what was known before, where they are the same.
pub fn coordinators(snapshot: &Snapshot, before: &Coordinators) -> Result<Coordinators, StartFault> {
    let mut coordinators = HashMap::new();
    for database in &snapshot.databases {
        let Some(written) = &database.coordinator else {
            continue;
        };
        let servers = servers(snapshot, database, &written.shard, &mut Names::new())?;
        let cluster = Cluster::new(servers.shard, servers.targets, &[], false);
        let new = Coordinator::new(cluster);
        let known = before.get(&database.name).filter(|known| known.is_like(&new));
        let known = known.cloned().unwrap_or_else(|| Arc::new(new));
        coordinators.insert(database.name.clone(), known);
    }
    Ok(coordinators)
}

/// The servers of each database, their TLS files read.
pub fn targets(snapshot: &Snapshot) -> Result<Targets, StartFault> {
    let mut targets = HashMap::new();
    let mut names = Names::new();
    for database in &snapshot.databases {
        targets.insert(database.name.clone(), shards(snapshot, database, &mut names)?);
    }
    Ok(targets)
}

/// One look-up for each name, whoever has it.
pub type Names<'a> = HashMap<&'a Address, Arc<Name>>;

/// The servers of one database, shard by shard.
pub(super) fn shards<'a>(
    snapshot: &'a Snapshot,
    database: &'a Database,
    names: &mut Names<'a>,
) -> Result<Vec<Servers>, StartFault> {
    let shards = database.shards.iter();
    shards
        .map(|shard| servers(snapshot, database, shard, names))
        .collect()
}

/// The servers of one shard.
pub fn servers<'a>(
    snapshot: &'a Snapshot,
    database: &Database,
    shard: &'a Shard,
    names: &mut Names<'a>,
) -> Result<Servers, StartFault> {
    let tls = Arc::new(ToServer::new(&shard.tls).map_err(StartFault::Tls)?);
    let target = |address: &'a Address| {
        Arc::new(Target {
            address: address.clone(),
            dbname: shard.dbname.clone().unwrap_or_else(|| database.name.clone()),
            tls: tls.clone(),
            connect_timeout: database.pool.server_connect_timeout,
            tcp: snapshot.limits.tcp,
            name: names.entry(address).or_default().clone(),
        })
    };
    Ok(Servers {
        shard: shard.name.as_str().into(),
        targets: shard.servers.iter().map(target).collect(),
    })
}
