//! How a database's tables are defined, in words that are equal where the tables are: the question to its catalog, and the
//! answer read.

use std::collections::HashMap;

use super::paged::{self, told};
use crate::server::ask::{Asker, Row};

/// Asks for the relations behind the one with this OID, by OID: its own, its schema, its name, whether it has row security,
/// whether a column of it is of a type that users made, and its columns, in the words of CREATE TABLE. What is pgshunt's own, and parts of what is there as a whole, are left out.
const DEFINITIONS_QUERY: &str = r"
SELECT c.oid, n.nspname, c.relname, c.relrowsecurity,
        EXISTS (SELECT FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384), (
        SELECT pg_catalog.string_agg(pg_catalog.concat(pg_catalog.quote_ident(a.attname), ' ',
                pg_catalog.format_type(a.atttypid, a.atttypmod),
                CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
                    THEN ' COLLATE ' || pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(l.collname) END),
                ', ' ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
                LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
                LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = l.collnamespace
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid > $1::pg_catalog.int8::pg_catalog.oid AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
        AND NOT c.relispartition AND c.relpersistence <> 't'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^(pg_|pgshunt$|pgshunt_)'
    ORDER BY c.oid LIMIT $2::pg_catalog.int8
";

/// Asks for the types that users made, in order of their making, those of extensions left out: schema, name, kind, and what makes
/// them what they are, with \x01 between labels of an enum.
const TYPES_QUERY: &str = r"
SELECT n.nspname, t.typname, t.typtype, CASE t.typtype
        WHEN 'e' THEN (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), E'\x01' ORDER BY e.enumsortorder)
            FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)
        WHEN 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod)
        WHEN 'r' THEN (SELECT pg_catalog.format_type(r.rngsubtype, NULL) FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)
        ELSE (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname) || ' ' ||
                pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
        END
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
        LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
    WHERE t.oid >= 16384 AND (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c')
        AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^(pg_|pgshunt$|pgshunt_)'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e')
    ORDER BY t.oid
";

/// Asks how texts compare by default. Some of these columns newer versions have only.
const LOCALE_QUERY: &str = r"
SELECT pg_catalog.concat_ws(' ', pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype,
        NULLIF(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c'),
        COALESCE(pg_catalog.to_jsonb(d) ->> 'datlocale', pg_catalog.to_jsonb(d) ->> 'daticulocale')),
    pg_catalog.to_jsonb(d) ->> 'datcollversion'
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
";

/// Relations asked for at a time: an answer is bounded.
const PAGE: usize = 200;

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its schema.
    pub schema: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its columns in order, as CREATE TABLE would have them.
    pub columns: Box<str>,
    /// Are its rows not for everybody who may read it?
    pub has_row_security: bool,
    /// Is a column of it of a type that users made?
    pub has_own_types: bool,
}

/// A type that users made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnType {
    /// Its schema.
    pub schema: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// `e`, `d`, `r` or `c`, as `pg_type.typtype`.
    pub kind: Box<str>,
    /// Labels with \x01 between them, a base type, a range's, or columns.
    pub body: Box<str>,
}

/// All tables of a database.
#[derive(Clone, Debug, Default)]
pub struct Definitions {
    by_name: HashMap<(Box<str>, Box<str>), Definition>,
    /// The types that users made, in order of their making.
    pub types: Vec<OwnType>,
    /// How texts compare: encoding and locale, and the version of who knows.
    locale: [String; 2],
}

impl Definitions {
    /// Collects them.
    pub fn new(all: impl IntoIterator<Item = Definition>) -> Definitions {
        let named = |one: Definition| ((one.schema.clone(), one.name.clone()), one);
        Definitions {
            by_name: all.into_iter().map(named).collect(),
            types: Vec::new(),
            locale: Default::default(),
        }
    }

    /// Do texts compare there as here? What does not say its version counts as the same one.
    pub fn sorts_like(&self, other: &Definitions) -> bool {
        let ([own, version], [theirs, their_version]) = (&self.locale, &other.locale);
        own == theirs && (version.is_empty() || their_version.is_empty() || version == their_version)
    }

    /// How texts compare.
    pub fn locale(&self) -> String {
        self.locale.join(" ").trim_end().to_owned()
    }

    /// Are all types that are on both sides the same?
    pub fn has_like_types(&self, other: &Definitions) -> bool {
        self.types.iter().all(|own| {
            let is_it = |there: &&OwnType| (&there.schema, &there.name) == (&own.schema, &own.name);
            other.types.iter().find(is_it).is_none_or(|there| there == own)
        })
    }

    /// The one of this name.
    pub fn of(&self, schema: &str, name: &str) -> Option<&Definition> {
        self.by_name.get(&(schema.into(), name.into()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.by_name.values()
    }
}

/// Asks for all of them, as of one moment.
///
/// # Errors
///
/// Why there was no answer, in words for the log.
pub async fn ask(asker: &mut Asker) -> Result<Definitions, String> {
    asker
        .ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", &[])
        .await
        .map_err(told)?;
    let all = paged::all(asker, DEFINITIONS_QUERY, PAGE, read).await?;
    let types = own_types(asker).await?;
    let locale = asker.ask(LOCALE_QUERY, &[]).await.map_err(told)?;
    asker.ask("COMMIT", &[]).await.map_err(told)?;
    let text = |at: usize| {
        let value = locale.first().and_then(|row| row.get(at)?.as_deref());
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    Ok(Definitions {
        types,
        locale: [text(0), text(1)],
        ..Definitions::new(all)
    })
}

/// Asks for the types that users made, those of extensions left out.
pub(super) async fn own_types(asker: &mut Asker) -> Result<Vec<OwnType>, String> {
    let rows = asker.ask(TYPES_QUERY, &[]).await;
    let rows = rows.map_err(told)?;
    let types: Option<Vec<OwnType>> = rows.iter().map(read_type).collect();
    types.ok_or_else(|| "an answer that makes no sense".into())
}

fn read_type(row: &Row) -> Option<OwnType> {
    let text = |at: usize| {
        Some(
            std::str::from_utf8(row.get(at)?.as_deref().unwrap_or_default())
                .ok()?
                .into(),
        )
    };
    Some(OwnType {
        schema: text(0)?,
        name: text(1)?,
        kind: text(2)?,
        body: text(3)?,
    })
}

/// A table and its OID; `None`: it is no such row.
fn read(row: &Row) -> Option<(String, Definition)> {
    let text = |at: usize| std::str::from_utf8(row.get(at)?.as_deref()?).ok();
    let one = Definition {
        schema: text(1)?.into(),
        name: text(2)?.into(),
        has_row_security: text(3)? == "t",
        has_own_types: text(4)? == "t",
        columns: match row.get(5)? {
            Some(_) => text(5)?.into(),
            None => "".into(),
        },
    };
    Some((text(0)?.to_owned(), one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_definitions_or_nothing() {
        let row = |fields: &[&str]| -> Row { fields.iter().map(|field| Some((*field).into())).collect() };
        let (oid, one) = read(&row(&[
            "16385",
            "public",
            "orders",
            "t",
            "f",
            "id bigint, note text",
        ]))
        .expect("a table");
        assert_eq!((oid.as_str(), &*one.columns), ("16385", "id bigint, note text"));
        assert!(one.has_row_security);
        let mut empty = row(&["16386", "public", "nothing", "f", "f"]);
        empty.push(None);
        assert_eq!(read(&empty).map(|(_, one)| one.columns), Some("".into()));
        for wrong in [row(&[]), row(&["1", "s", "t", "f", "f"])] {
            assert_eq!(read(&wrong), None);
        }
    }
}
