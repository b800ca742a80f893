//! What a coordinator has at this moment, as far as `unite` must know it before it changes anything.

use std::collections::{BTreeMap, BTreeSet};

use super::definitions::{OwnType, own_types};
use super::unite::reader;
use crate::server::ask::{AskFault, Asker, Row};

/// All of it.
pub(super) struct United {
    /// Foreign servers and their options.
    pub servers: Vec<(String, Vec<(String, String)>)>,
    /// Types that users made.
    pub types: Vec<OwnType>,
    /// Tables that pgshunt made, by schema and name.
    pub made: BTreeMap<(String, String), Made>,
    /// All relations, by schema and name.
    pub relations: BTreeSet<(String, String)>,
    /// All roles, quoted.
    roles: BTreeSet<String>,
}

/// A table that pgshunt made.
pub(super) struct Made {
    /// How.
    pub making: String,
    /// Who may read it.
    pub readers: String,
}

impl United {
    /// Those of the readers that are roles there.
    pub(super) fn known_readers(&self, readers: &str) -> String {
        let is_known = |line: &&str| {
            let (role, _) = reader(line);
            role == "PUBLIC" || self.roles.contains(role)
        };
        let known: Vec<&str> = readers.lines().filter(is_known).collect();
        known.join("\n")
    }
}

/// Asks for it.
pub(super) async fn ask(asker: &mut Asker) -> Result<United, String> {
    let mut servers: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in rows(asker, SERVERS).await? {
        let options = servers.entry(text(&row, 0)).or_default();
        if row.get(1).is_some_and(Option::is_some) {
            options.push((text(&row, 1), text(&row, 2)));
        }
    }
    let mut made = BTreeMap::new();
    for row in rows(asker, MADE).await? {
        let table = Made {
            making: text(&row, 2),
            readers: text(&row, 3),
        };
        made.insert((text(&row, 0), text(&row, 1)), table);
    }
    let relations = rows(asker, RELATIONS).await?;
    let roles = rows(asker, ROLES).await?;
    Ok(United {
        servers: servers.into_iter().collect(),
        types: own_types(asker).await?,
        made,
        relations: relations.iter().map(|row| (text(row, 0), text(row, 1))).collect(),
        roles: roles.iter().map(|row| text(row, 0)).collect(),
    })
}

const SERVERS: &str = "SELECT s.srvname, o.option_name, o.option_value FROM pg_catalog.pg_foreign_server s \
    JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'postgres_fdw' \
    LEFT JOIN LATERAL pg_catalog.pg_options_to_table(s.srvoptions) o ON true";

const MADE: &str = "SELECT schema, name, making, readers FROM pgshunt.coordinated ORDER BY schema, name";

const RELATIONS: &str = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
    ON n.oid = c.relnamespace WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^(pg_|pgshunt_)' \
    AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')";

const ROLES: &str = "SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles";

async fn rows(asker: &mut Asker, sql: &str) -> Result<Vec<Row>, String> {
    let rows = asker.ask(sql, &[]).await;
    rows.map_err(|fault: AskFault| fault.to_string())
}

fn text(row: &Row, at: usize) -> String {
    let value = row.get(at).and_then(Option::as_deref).unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}
