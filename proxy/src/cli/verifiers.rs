//! Are the password verifiers of a database's roles the same on all its servers? A client's proof is good only where
//! they are. Says which differ, never what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::setup::control_asker;
use crate::net::tls::ToServer;
use crate::server::address::{Address, Target};
use crate::server::ask::Asker;
use crate::snapshot::{AuthMode, Control, Database, Shard, Snapshot};

/// Roles that may log in and their verifiers, as one server has them.
pub(super) type Verifiers = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Compares and says so, a line for each finding; how many roles differ.
pub(super) async fn compare(snapshot: &Snapshot) -> usize {
    let mut differing = 0;
    for database in &snapshot.databases {
        let is_checked = match snapshot.auth.mode {
            AuthMode::Passthrough => {
                database
                    .shards
                    .iter()
                    .map(|shard| shard.servers.len())
                    .sum::<usize>()
                    > 1
            }
            AuthMode::Users | AuthMode::Trust => false,
        };
        if let Some(control) = database.control.as_ref().filter(|_| is_checked) {
            differing += compare_servers(database, control).await;
        }
    }
    differing
}

async fn compare_servers(database: &Database, control: &Control) -> usize {
    let mut read = Vec::new();
    let coordinator = database.coordinator.iter().map(|coordinator| &coordinator.shard);
    for shard in database.shards.iter().chain(coordinator) {
        for (place, result) in read_shard(database, shard, control).await {
            match result {
                Ok(verifiers) => read.push((place, verifiers)),
                Err(why) => println!("verifiers {place}: not compared: {why}"),
            }
        }
    }
    let Some(((first, known), others)) = read.split_first() else {
        return 0;
    };
    let mut differing = BTreeSet::new();
    for (place, verifiers) in others {
        for (role, how) in differences(known, verifiers) {
            let name = String::from_utf8_lossy(role);
            println!("verifiers {place}: role {name} {}", how.words(first));
            differing.insert(role);
        }
    }
    if differing.is_empty() && !others.is_empty() {
        println!("verifiers {}: the same on {} servers", database.name, read.len());
    }
    differing.len()
}

async fn read_shard(
    database: &Database,
    shard: &Shard,
    control: &Control,
) -> Vec<(String, Result<Verifiers, String>)> {
    let targets = match control_targets(database, shard, control) {
        Ok(targets) => targets,
        Err(why) => return vec![(shard.name.clone(), Err(why))],
    };
    let mut all = Vec::new();
    for target in targets {
        let limit = database.pool.server_connect_timeout * 2;
        let reading = tokio::time::timeout(limit, read_server(&target, control)).await;
        let result = reading.unwrap_or_else(|_| Err(format!("no answer in {limit:?}")));
        all.push((target.address.to_string(), result));
    }
    all
}

/// The servers of a shard, by way of the control role.
pub(super) fn control_targets(
    database: &Database,
    shard: &Shard,
    control: &Control,
) -> Result<Vec<Target>, String> {
    let tls = ToServer::new(&shard.tls).map_err(|fault| fault.to_string())?;
    let tls = Arc::new(tls);
    let target = |address: &Address| Target {
        address: address.clone(),
        dbname: control.dbname.clone(),
        tls: tls.clone(),
        connect_timeout: database.pool.server_connect_timeout,
        tcp: Default::default(),
        name: Default::default(),
    };
    Ok(shard.servers.iter().map(target).collect())
}

async fn read_server(target: &Target, control: &Control) -> Result<Verifiers, String> {
    let mut asker: Asker = control_asker(target, control).await?;
    read_verifiers(&mut asker).await
}

/// Reads them over this connection.
pub(super) async fn read_verifiers(asker: &mut Asker) -> Result<Verifiers, String> {
    let rows = match asker.ask(BY_TABLE, &[]).await {
        Ok(rows) => rows,
        Err(_) => asker
            .ask(BY_FUNCTION, &[])
            .await
            .map_err(|error| error.to_string())?,
    };
    let pair = |row: Vec<Option<Vec<u8>>>| {
        let mut values = row.into_iter();
        Some((values.next()??, values.next()?))
    };
    Ok(rows.into_iter().filter_map(pair).collect())
}

/// Superusers are not compared: `pgshunt.verifier_of` does not show them.
const BY_TABLE: &str = "SELECT rolname, rolpassword FROM pg_catalog.pg_authid \
    WHERE rolcanlogin AND NOT rolsuper AND (rolvaliduntil IS NULL OR rolvaliduntil > pg_catalog.now())";

/// What `pgshunt setup` lets the control role read.
const BY_FUNCTION: &str = "SELECT known.name, known.verifier FROM pg_catalog.pg_roles, \
    pgshunt.verifier_of(rolname) AS known WHERE rolcanlogin AND NOT rolsuper";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    Verifier,
    OnlyThere,
    OnlyHere,
}

impl Difference {
    fn words(self, first: &str) -> String {
        match self {
            Difference::Verifier => format!("has another verifier than on {first}"),
            Difference::OnlyThere => format!("cannot log in here, but on {first}"),
            Difference::OnlyHere => format!("can log in here, but not on {first}"),
        }
    }
}

fn differences<'a>(first: &'a Verifiers, here: &'a Verifiers) -> Vec<(&'a [u8], Difference)> {
    let of_first = first.iter().filter_map(|(role, verifier)| match here.get(role) {
        None => Some((&role[..], Difference::OnlyThere)),
        Some(other) if other != verifier => Some((&role[..], Difference::Verifier)),
        Some(_) => None,
    });
    let more = here.keys().filter(|role| !first.contains_key(*role));
    of_first
        .chain(more.map(|role| (&role[..], Difference::OnlyHere)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference() {
        let of = |pairs: &[(&str, &str)]| -> Verifiers {
            let pair = |(role, verifier): &(&str, &str)| {
                (role.as_bytes().to_vec(), Some(verifier.as_bytes().to_vec()))
            };
            pairs.iter().map(pair).collect()
        };
        let first = of(&[("same", "x"), ("other", "x"), ("there", "x")]);
        let here = of(&[("same", "x"), ("other", "y"), ("here", "x")]);
        let expected = [
            (&b"other"[..], Difference::Verifier),
            (b"there", Difference::OnlyThere),
            (b"here", Difference::OnlyHere),
        ];
        assert_eq!(differences(&first, &here), expected);
        assert!(differences(&first, &first).is_empty());
    }
}
