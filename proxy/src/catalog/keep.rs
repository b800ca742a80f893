//! Asks a database for its names, over a connection for each time it asks.

use std::time::Duration;

use routing_rules::Rules;

use super::Catalogued;
use super::names::{NAMES_QUERY, read};
use crate::cluster::Cluster;
use crate::cluster::watch::Watcher;
use crate::server::address::Target;
use crate::server::ask::Asker;

/// The longest one database may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the primary for a database's names and has them corrected by the rules.
///
/// # Errors
///
/// Why there was no answer, in words for the log.
pub async fn ask(
    cluster: &Cluster,
    watcher: &Watcher,
    rules: &Rules,
    catalogued: &Catalogued,
) -> Result<(), String> {
    let generation = catalogued.generation();
    let at = cluster.primary().ok_or("no primary is known")?;
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
        let rows = asker.ask(NAMES_QUERY, &[]).await;
        rows.map_err(|fault| fault.to_string())
    };
    let rows = tokio::time::timeout(PATIENCE, asked)
        .await
        .map_err(|_| "no answer in time")??;
    let mut names = read(&rows).ok_or("an answer that makes no sense")?;
    rules.correct(&mut names);
    catalogued.learn(generation, names);
    Ok(())
}
