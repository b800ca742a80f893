//! Who may read which table of a database: the question to its catalog, and the answer read.

use std::collections::HashMap;

use super::paged;
use crate::server::ask::{Asker, Row};

/// Asks for the relations behind the one with this OID, by OID: its own, its schema, its name, and a line for each role that may
/// read it: the role, quoted, and the columns in parentheses if it may not read all. Who has a right by membership has it here.
const RIGHTS_QUERY: &str = r"
SELECT c.oid, n.nspname, c.relname,
        CASE WHEN pg_catalog.has_table_privilege('public', c.oid, 'SELECT')
            AND pg_catalog.has_schema_privilege('public', n.oid, 'USAGE') THEN 'PUBLIC'
        ELSE (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(r.rolname) ||
                    CASE WHEN pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT') THEN ''
                    ELSE (SELECT ' (' || pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')'
                        FROM pg_catalog.pg_attribute a
                        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                            AND pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')) END,
                E'\n' ORDER BY r.rolname)
            FROM pg_catalog.pg_roles r
            WHERE r.rolname !~ '^pg_' AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')
                AND pg_catalog.has_any_column_privilege(r.oid, c.oid, 'SELECT')) END
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid > $1::pg_catalog.int8::pg_catalog.oid AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
        AND NOT c.relispartition AND c.relpersistence <> 't'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^(pg_|pgshunt$|pgshunt_)'
    ORDER BY c.oid LIMIT $2::pg_catalog.int8
";

/// Relations asked for at a time: an answer is bounded.
const PAGE: usize = 100;

/// Who may read what.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    by_name: HashMap<Name, Box<str>>,
}

impl Rights {
    /// What GRANT SELECT would say for each role that may read this table.
    pub fn of(&self, schema: &str, name: &str) -> impl Iterator<Item = &str> {
        let lines = self.by_name.get(&(schema.into(), name.into()));
        lines.map_or("", |lines| lines).lines()
    }
}

/// Asks for all of them.
///
/// # Errors
///
/// Why there was no answer, in words for the log.
pub async fn ask(asker: &mut Asker) -> Result<Rights, String> {
    let by_name = paged::all(asker, RIGHTS_QUERY, PAGE, read).await?;
    Ok(Rights {
        by_name: by_name.into_iter().collect(),
    })
}

/// A schema and a name.
type Name = (Box<str>, Box<str>);

/// A table's OID, its name and lines; `None`: it is no such row.
fn read(row: &Row) -> Option<(String, (Name, Box<str>))> {
    let text = |at: usize| std::str::from_utf8(row.get(at)?.as_deref()?).ok();
    let lines = match row.get(3)? {
        Some(_) => text(3)?.into(),
        None => "".into(),
    };
    Some((text(0)?.to_owned(), ((text(1)?.into(), text(2)?.into()), lines)))
}
