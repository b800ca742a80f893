//! What settings a session begins with, as far as answers look otherwise by them. At a coordinator they must be those of the
//! shards; pgshunt itself carries what a session sets, not what a server or a role begins with.

use std::collections::{BTreeMap, BTreeSet};

use super::unite::{ident, literal};
use crate::server::ask::Asker;

/// Settings as one database's sessions begin.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    database: String,
    /// Of the server.
    base: BTreeMap<String, String>,
    /// Of the database (no role) and of roles that may log in, by role and name.
    own: BTreeMap<(String, String), String>,
}

/// Output, input and what names mean.
const NAMES: &str = "{timezone,datestyle,intervalstyle,extra_float_digits,bytea_output,lc_monetary,lc_numeric,lc_time,array_nulls,\
    xmlbinary,xmloption,standard_conforming_strings,backslash_quote,default_text_search_config,transform_null_equals,search_path,\
    timezone_abbreviations,quote_all_identifiers,default_transaction_isolation,role}";

const BASE_QUERY: &str = "SELECT pg_catalog.current_database(), pg_catalog.lower(name), setting FROM pg_catalog.pg_settings \
    WHERE pg_catalog.lower(name) = ANY ($1::pg_catalog.text[]) AND name NOT IN ('search_path', 'role')";

/// Superusers are left out: what they begin with is their own affair.
const OWN_QUERY: &str = "SELECT DISTINCT ON (1, 2) COALESCE(r.rolname, ''), pg_catalog.lower(pg_catalog.split_part(e, '=', 1)), \
    pg_catalog.substr(e, pg_catalog.strpos(e, '=') + 1) FROM pg_catalog.pg_db_role_setting s \
    CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS e LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
    LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase \
    WHERE (s.setdatabase = 0 OR d.datname = pg_catalog.current_database()) \
    AND (s.setrole = 0 OR r.rolcanlogin AND NOT r.rolsuper) \
    AND pg_catalog.lower(pg_catalog.split_part(e, '=', 1)) = ANY ($1::pg_catalog.text[]) \
    ORDER BY 1, 2, s.setdatabase DESC";

/// Asks for them.
///
/// # Errors
///
/// Why there was no answer.
pub async fn ask(asker: &mut Asker) -> Result<Defaults, String> {
    let mut defaults = Defaults::default();
    for (sql, is_base) in [(BASE_QUERY, true), (OWN_QUERY, false)] {
        let rows = asker.ask(sql, &[Some(NAMES)]).await;
        for row in rows.map_err(|fault| fault.to_string())? {
            let text = |at: usize| {
                let value = row.get(at).and_then(Option::as_deref).unwrap_or_default();
                String::from_utf8_lossy(value).into_owned()
            };
            if is_base {
                defaults.database = text(0);
                defaults.base.insert(text(1), text(2));
            } else {
                defaults.own.insert((text(0), text(1)), text(2));
            }
        }
    }
    Ok(defaults)
}

impl Defaults {
    /// The first that is another one there, in words.
    pub fn difference(&self, there: &Defaults) -> Option<String> {
        let base = self.base.iter().find_map(|(name, value)| {
            let other = there.base.get(name).filter(|other| *other != value)?;
            Some(format!("{name} is {other} there and {value} on the shards"))
        });
        base.or_else(|| {
            let (role, name) = self.unlike(there).into_iter().next()?;
            Some(match role.as_str() {
                "" => format!("its database sets {name} otherwise than the shards' do"),
                role => format!("role {role} has another {name} there than on the shards"),
            })
        })
    }

    /// What makes those of its database and its roles the same there.
    pub fn copies(&self, there: &Defaults) -> Vec<String> {
        let database = ident(&there.database);
        let copy = |(role, name): (String, String)| {
            let of = match role.as_str() {
                "" => format!("ALTER DATABASE {database}"),
                role => format!("ALTER ROLE {} IN DATABASE {database}", ident(role)),
            };
            match self.own.get(&(role, name.clone())) {
                // A list of names as it is kept is a list of names as it is written.
                Some(value) if name == "search_path" => format!("{of} SET search_path TO {value}"),
                Some(value) => format!("{of} SET {} TO {}", ident(&name), literal(value)),
                None => format!("{of} RESET {}", ident(&name)),
            }
        };
        self.unlike(there).into_iter().map(copy).collect()
    }

    fn unlike(&self, there: &Defaults) -> BTreeSet<(String, String)> {
        let all = self.own.keys().chain(there.own.keys());
        all.filter(|key| self.own.get(*key) != there.own.get(*key))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said_and_copied() {
        let own = |list: &[(&str, &str, &str)]| Defaults {
            database: "d".into(),
            base: BTreeMap::from([("timezone".into(), "UTC".into())]),
            own: list
                .iter()
                .map(|&(role, name, value)| ((role.into(), name.into()), value.into()))
                .collect(),
        };
        let shard = own(&[("", "datestyle", "German"), ("app", "search_path", "app, \"My\"")]);
        let there = own(&[("app", "timezone", "UTC")]);
        assert_eq!(shard.difference(&shard), None);
        assert_eq!(
            shard.difference(&there).as_deref(),
            Some("its database sets datestyle otherwise than the shards' do")
        );
        assert_eq!(
            shard.copies(&there),
            [
                "ALTER DATABASE \"d\" SET \"datestyle\" TO E'German'",
                "ALTER ROLE \"app\" IN DATABASE \"d\" SET search_path TO app, \"My\"",
                "ALTER ROLE \"app\" IN DATABASE \"d\" RESET \"timezone\"",
            ]
        );
    }
}
