//! Makes the parts that live as long as the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::StartFault;
use crate::client::credentials::{Lookup, Question};
use crate::client::worker::{Common, Order};
use crate::cluster::Cluster;
use crate::net::names::Name;
use crate::net::tls::{FromClient, ToServer};
use crate::server::address::{Address, Target};
use crate::snapshot::{Database, Snapshot};

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
        catalogs: Default::default(),
        marks: Default::default(),
        cancels: AtomicUsize::new(0),
        replicating: Default::default(),
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

/// What is known of each database's servers: what was known before, where they are the same.
pub fn clusters(
    snapshot: &Snapshot,
    targets: &HashMap<String, Vec<Arc<Target>>>,
    before: &HashMap<String, Arc<Cluster>>,
) -> HashMap<String, Arc<Cluster>> {
    let cluster = |database: &Database| {
        let (name, is_watched) = (&database.name, database.control.is_some());
        let targets = targets.get(name)?;
        let shard = database.shards.first();
        let weights = shard.map_or(&[][..], |shard| &shard.weights);
        let known = before
            .get(name)
            .filter(|known| known.is_like(targets, weights, is_watched));
        let new = || {
            let name = shard.map(|shard| shard.name.clone());
            Cluster::new(name.unwrap_or_default(), targets.clone(), weights, is_watched)
        };
        Some((name.clone(), known.cloned().unwrap_or_else(new)))
    };
    snapshot.databases.iter().filter_map(cluster).collect()
}

/// The servers of each database's first shard.
pub fn targets(snapshot: &Snapshot) -> Result<HashMap<String, Vec<Arc<Target>>>, StartFault> {
    let mut targets = HashMap::new();
    // One look-up for each name, whoever has it.
    let mut names: HashMap<&Address, Arc<Name>> = HashMap::new();
    for database in &snapshot.databases {
        let Some(shard) = database.shards.first() else {
            continue;
        };
        let tls = Arc::new(ToServer::new(&shard.tls).map_err(StartFault::Tls)?);
        let servers = shard.servers.iter().map(|address| {
            Arc::new(Target {
                address: address.clone(),
                dbname: shard.dbname.clone().unwrap_or_else(|| database.name.clone()),
                tls: tls.clone(),
                connect_timeout: database.pool.server_connect_timeout,
                tcp: snapshot.limits.tcp,
                name: names.entry(address).or_default().clone(),
            })
        });
        targets.insert(database.name.clone(), servers.collect());
    }
    Ok(targets)
}
