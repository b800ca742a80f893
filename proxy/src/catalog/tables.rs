//! What tables a database has, and their columns: the question to its catalog, and the answer read. Which of them are
//! sharded is the rules' to say.

use routing_rules::{Column, Table, TableKind, Tables};

use super::paged::{self, told};
use crate::server::ask::{Asker, Row};

/// Asks for the relations behind the one with this OID, by OID: its own, its schema, name, kind, and its columns, each as
/// `name \x01 type \x01 has a collation of its own \x01 is generated`, with \x02 between them. A domain's type is its base type.
const TABLES_QUERY: &str = r"
WITH RECURSIVE page AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid > $1::pg_catalog.int8::pg_catalog.oid AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
            AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
        ORDER BY c.oid LIMIT $2::pg_catalog.int8
),
base (type, based_on) AS (
    SELECT t.oid, t.typbasetype FROM pg_catalog.pg_type t WHERE t.typtype = 'd'
    UNION
    SELECT b.type, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.based_on AND t.typtype = 'd'
)
SELECT s.oid, s.nspname, s.relname, s.relkind, (
        SELECT pg_catalog.string_agg(pg_catalog.concat(a.attname, E'\x01', COALESCE((
                SELECT b.based_on FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.based_on
                    WHERE b.type = a.atttypid AND t.typtype <> 'd'), a.atttypid), E'\x01',
                CASE WHEN a.attcollation <> 0 AND (a.attcollation <> t.typcollation
                    OR t.typtype = 'd' AND a.attcollation <> 100) THEN 't' ELSE 'f' END, E'\x01',
                CASE WHEN a.attgenerated <> '' THEN 't' ELSE 'f' END),
                E'\x02' ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
            WHERE a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped)
    FROM page s ORDER BY s.oid
";

/// Relations asked for at a time: an answer is bounded.
const PAGE: usize = 500;

/// Asks for all of them, as of one moment.
///
/// # Errors
///
/// Why there was no answer, in words for the log.
pub async fn ask(asker: &mut Asker) -> Result<Tables, String> {
    asker
        .ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", &[])
        .await
        .map_err(told)?;
    let mut tables = Tables::default();
    for table in paged::all(asker, TABLES_QUERY, PAGE, read).await? {
        tables.add(table);
    }
    asker.ask("COMMIT", &[]).await.map_err(told)?;
    Ok(tables)
}

/// The question for all of them at once, as a text without parameters.
pub fn whole_query() -> String {
    TABLES_QUERY
        .replace("$1::", "'0'::")
        .replace("$2::", &format!("'{}'::", paged::TABLES_MAX))
}

/// The tables in an answer to [`whole_query`]; `None`: there are too many, or it is no such answer.
pub fn of_rows(rows: &[Row]) -> Option<Tables> {
    let mut tables = Tables::default();
    for row in rows {
        tables.add(read(row)?.1);
    }
    (rows.len() < paged::TABLES_MAX).then_some(tables)
}

/// A relation and its OID; `None`: it is no such row.
fn read(row: &Row) -> Option<(String, Table)> {
    let text = |at: usize| std::str::from_utf8(row.get(at)?.as_deref()?).ok();
    let columns = match row.get(4)? {
        Some(_) => text(4)?.split('\u{2}').map(column).collect::<Option<Vec<_>>>()?,
        None => Vec::new(),
    };
    let table = Table {
        schema: text(1)?.into(),
        name: text(2)?.into(),
        kind: match text(3)? {
            "r" | "p" | "f" => TableKind::Table,
            "v" | "m" => TableKind::View,
            _ => TableKind::Other,
        },
        columns,
    };
    Some((text(0)?.to_owned(), table))
}

fn column(text: &str) -> Option<Column> {
    let mut parts = text.split('\u{1}');
    let mut next = || parts.next();
    let (name, type_oid, own, generated) = (next()?, next()?, next()?, next()?);
    Some(Column {
        name: name.into(),
        type_oid: type_oid.parse().ok()?,
        has_own_collation: own == "t",
        is_generated: generated == "t",
    })
    .filter(|_| parts.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_tables_or_nothing() {
        let row = |fields: &[&str]| -> Row { fields.iter().map(|field| Some((*field).into())).collect() };
        let good = row(&[
            "16385",
            "public",
            "orders",
            "r",
            "id\u{1}20\u{1}f\u{1}f\u{2}note\u{1}25\u{1}t\u{1}t",
        ]);
        let (oid, table) = read(&good).expect("a table");
        assert_eq!((oid.as_str(), table.kind), ("16385", TableKind::Table));
        assert_eq!(table.column("note"), Some(1));
        assert!(table.columns[1].has_own_collation && table.columns[1].is_generated);
        let mut empty = row(&["16386", "public", "nothing", "v"]);
        empty.push(None);
        assert_eq!(read(&empty).map(|(_, table)| table.columns.len()), Some(0));
        for wrong in [
            row(&[]),
            row(&["1", "s", "t", "r", "id"]),
            row(&["1", "s", "t", "r", "id\u{1}x\u{1}f\u{1}f"]),
        ] {
            assert_eq!(read(&wrong), None, "{wrong:?}");
        }
    }
}
