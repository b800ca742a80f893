//! Asks a database for its names, over a connection for each time it asks.

use std::time::Duration;

use routing_rules::cache::{Catalog, Columns, Relations, Tenants};
use routing_rules::{Names, Rules};

use super::Catalogued;
use super::names::{NAMES_QUERY, read};
use super::relations::{self, RELATIONS_QUERY};
use super::tables;
use crate::cluster::Cluster;
use crate::cluster::watch::Watcher;
use crate::server::address::Target;
use crate::server::ask::Asker;

/// The longest one database may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be found out.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Names that matter on replicas.
    pub names: bool,
    /// Tables and their columns.
    pub tables: bool,
    /// What matters to the result cache.
    pub relations: bool,
    /// For it: whose the tables' rows are.
    pub tenants: Option<Columns>,
}

/// Asks the primary for a database's names, and has them corrected by the rules, for its tables, and for what matters to
/// its result cache.
///
/// # Errors
///
/// Why there was no answer, in words for the log.
pub async fn ask(
    cluster: &Cluster,
    watcher: &Watcher,
    rules: &Rules,
    wanted: &Wanted,
    catalogued: &Catalogued,
) -> Result<(), String> {
    let as_of = catalogued.as_of();
    let at = cluster.primary_or_only().ok_or("no primary is known")?;
    let target = Target {
        dbname: watcher.dbname.clone(),
        ..(*cluster.members[at].target).clone()
    };
    let asked = async {
        let parameters = [
            (b"application_name".to_vec(), b"pgshunt catalog".to_vec()),
            (b"search_path".to_vec(), b"pg_catalog, pg_temp".to_vec()),
        ];
        let asker = Asker::connect(&target, &watcher.user, &watcher.secret, &parameters).await;
        let mut asker = asker.map_err(|fault| fault.to_string())?;
        let mut names = Names::default();
        if wanted.names {
            let rows = asker.ask(NAMES_QUERY, &[]).await;
            let rows = rows.map_err(|fault| fault.to_string())?;
            names = read(&rows).ok_or("an answer that makes no sense")?;
        }
        let tables = match wanted.tables || wanted.relations && wanted.tenants.is_some() {
            true => Some(tables::ask(&mut asker).await?),
            false => None,
        };
        let relations = match wanted.relations {
            true => {
                let rows = asker.ask(RELATIONS_QUERY, &[]).await;
                let rows = rows.map_err(|fault| fault.to_string())?;
                Some(relations::read(&rows).ok_or("an answer that makes no sense")?)
            }
            false => None,
        };
        Ok::<_, String>((names, tables, relations))
    };
    let (mut names, tables, relations) = tokio::time::timeout(PATIENCE, asked)
        .await
        .map_err(|_| "no answer in time")??;
    rules.correct(&mut names);
    let vouched = |name: &[u8]| {
        let mut functions = rules.functions.iter();
        functions.any(|(own, is_safe)| *is_safe && own.as_bytes() == name)
    };
    let tenants = wanted.tenants.as_ref().zip(tables.clone());
    let catalog = relations.map(|found| Catalog {
        names: names.clone(),
        relations: Relations::new(&found, vouched),
        tenants: tenants.and_then(|(columns, tables)| Tenants::new(columns, tables)),
    });
    let tables = tables.filter(|_| wanted.tables);
    catalogued.learn(as_of, names, tables, catalog);
    Ok(())
}
