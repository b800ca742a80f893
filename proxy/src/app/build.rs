//! Makes the parts that live as long as the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::StartFault;
use crate::client::credentials::{Lookup, Question};
use crate::client::worker::{Common, Order};
use crate::net::tls::{FromClient, ToServer};
use crate::server::address::Target;
use crate::snapshot::Snapshot;

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

/// The servers of each database's first shard.
pub fn targets(snapshot: &Snapshot) -> Result<HashMap<String, Vec<Arc<Target>>>, StartFault> {
    let mut targets = HashMap::new();
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
            })
        });
        targets.insert(database.name.clone(), servers.collect());
    }
    Ok(targets)
}
