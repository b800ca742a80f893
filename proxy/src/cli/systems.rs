//! Are the servers of each shard copies of one system, and is one of them the primary? Says what a serving pgshunt would
//! fence.

use std::collections::BTreeSet;

use super::setup::control_asker;
use super::verifiers::control_targets;
use crate::server::address::Target;
use crate::snapshot::{Control, Database, Shard, Snapshot};

/// What a server says of itself.
type Said = (String, bool);

/// Asks and says so, a line for each shard of several servers; how many shards are of more than one system. A second primary
/// is told of as well: it may be an old one on its way to become a replica.
pub(super) async fn compare(snapshot: &Snapshot) -> usize {
    let mut mixed = 0;
    for database in &snapshot.databases {
        let Some(control) = &database.control else {
            continue;
        };
        for shard in database.shards.iter().filter(|shard| shard.servers.len() > 1) {
            mixed += usize::from(!is_one(database, shard, control).await);
        }
    }
    mixed
}

async fn is_one(database: &Database, shard: &Shard, control: &Control) -> bool {
    let place = format!("{}.{}", database.name, shard.name);
    let targets = match control_targets(database, shard, control) {
        Ok(targets) => targets,
        Err(why) => {
            println!("system    {place}: not compared: {why}");
            return true;
        }
    };
    let mut said = Vec::new();
    for target in targets {
        let patience = target.connect_timeout * 2;
        match tokio::time::timeout(patience, ask(&target, control)).await {
            Ok(Ok(one)) => said.push((target.address.to_string(), one)),
            Ok(Err(why)) => println!("system    {}: not compared: {why}", target.address),
            Err(_) => println!("system    {}: no answer in {patience:?}", target.address),
        }
    }
    let systems: BTreeSet<&str> = said.iter().map(|(_, (system, _))| &**system).collect();
    let primaries = said.iter().filter(|(_, (_, in_recovery))| !in_recovery).count();
    if systems.len() > 1 || primaries > 1 {
        for (address, (system, in_recovery)) in &said {
            let role = if *in_recovery { "replica" } else { "primary" };
            println!("system    {address}: {role} of system {system}");
        }
        println!("system    {place}: only one primary is used, and servers of its system");
        return systems.len() < 2;
    }
    if let Some(system) = systems.first() {
        println!("system    {place}: {system} on {} servers", said.len());
    }
    true
}

async fn ask(target: &Target, control: &Control) -> Result<Said, String> {
    let mut asker = control_asker(target, control).await?;
    let rows = asker
        .ask(QUESTION, &[])
        .await
        .map_err(|fault| fault.to_string())?;
    let row = rows.first().map(Vec::as_slice);
    match row {
        Some([Some(system), Some(in_recovery)]) => {
            Ok((String::from_utf8_lossy(system).into_owned(), in_recovery == b"t"))
        }
        _ => Err("an answer that makes no sense".into()),
    }
}

const QUESTION: &str =
    "SELECT system_identifier, pg_catalog.pg_is_in_recovery() FROM pg_catalog.pg_control_system()";
