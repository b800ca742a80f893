//! What a database has that matters to its result cache: the question to its catalog, and the answer read.
//! `routing_rules::cache` makes sense of it.

use routing_rules::cache::Found;

use crate::server::ask::Row;

/// Asks one database for its relations and functions: rows of a kind and up to six values. No parameters; any role may
/// ask.
///
/// Views are looked through by their stored trees, because `pg_depend` does not list builtins. A tree that holds a value of
/// the moment or a sample is told by a NULL.
pub const RELATIONS_QUERY: &str = r"
SELECT 'function' AS kind, p.oid::text AS a, p.proname::text AS b,
        (p.provolatile = 'v')::text AS c, (p.oid < 16384)::text AS d, NULL AS e, NULL AS f
    FROM pg_catalog.pg_proc p WHERE p.provolatile <> 'i'
UNION ALL
SELECT 'relation', c.oid::text, c.relname, c.relkind::text, (c.relpersistence = 'p')::text,
        c.relrowsecurity::text,
        CASE WHEN c.relkind = 'v' THEN (
            SELECT CASE WHEN r.ev_action::text ~ '\{(SQLVALUEFUNCTION|TABLESAMPLECLAUSE)' THEN '-'
                ELSE COALESCE((SELECT pg_catalog.string_agg(DISTINCT m[1] || m[2], ' ')
                    FROM pg_catalog.regexp_matches(r.ev_action::text,
                        ':(funcid|aggfnoid|winfnoid|opfuncid|relid) ([1-9][0-9]*)', 'g') AS m), '') END
            FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '1' LIMIT 1) END
    FROM pg_catalog.pg_class c
    WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
UNION ALL
SELECT 'inherits', i.inhparent::text, i.inhrelid::text, NULL, NULL, NULL, NULL FROM pg_catalog.pg_inherits i
UNION ALL
SELECT 'cascades', n.confrelid::text, n.conrelid::text, NULL, NULL, NULL, NULL
    FROM pg_catalog.pg_constraint n
    WHERE n.contype = 'f' AND (n.confdeltype IN ('c', 'n', 'd') OR n.confupdtype IN ('c', 'n', 'd'))
UNION ALL
SELECT 'trigger', t.tgrelid::text, p.proname,
        CASE WHEN l.lanname = 'plpgsql' AND pg_catalog.length(p.prosrc) < 20000 THEN p.prosrc END,
        (p.oid < 16384)::text, (t.tgtype & 2 <> 0)::text, NULL
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
        JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
UNION ALL
SELECT 'generated', a.attrelid::text, a.attname, NULL, NULL, NULL, NULL
    FROM pg_catalog.pg_attribute a WHERE a.attrelid >= 16384 AND a.attgenerated <> '' AND NOT a.attisdropped
UNION ALL
SELECT 'identity', c.oid::text, a.attname, NULL, NULL, NULL, NULL
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
            AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
        LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
            AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
    WHERE c.oid >= 16384 AND c.relkind = 'r' AND (c.relreplident = 'f' OR a.attname IS NOT NULL)
UNION ALL
SELECT 'runs', r.ev_class::text, NULL, NULL, NULL, NULL, NULL
    FROM pg_catalog.pg_rewrite r WHERE r.ev_class >= 16384 AND r.ev_type <> '1'
UNION ALL
SELECT 'runs', d.adrelid::text, NULL, NULL, NULL, NULL, NULL
    FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_depend e
        ON e.classid = 'pg_catalog.pg_attrdef'::regclass AND e.objid = d.oid
            AND e.refclassid = 'pg_catalog.pg_proc'::regclass
        JOIN pg_catalog.pg_proc p ON p.oid = e.refobjid AND p.provolatile = 'v'
UNION ALL
SELECT 'runs', n.conrelid::text, NULL, NULL, NULL, NULL, NULL
    FROM pg_catalog.pg_constraint n JOIN pg_catalog.pg_depend e
        ON e.classid = 'pg_catalog.pg_constraint'::regclass AND e.objid = n.oid
            AND e.refclassid = 'pg_catalog.pg_proc'::regclass
        JOIN pg_catalog.pg_proc p ON p.oid = e.refobjid AND p.provolatile = 'v'
    WHERE n.conrelid <> 0
UNION ALL
SELECT 'isolates', NULL, NULL, NULL, NULL, NULL, NULL
    WHERE pg_catalog.current_setting('default_transaction_isolation') <> 'read committed'
        OR EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) AS u (entry)
            WHERE u.entry LIKE 'default_transaction_isolation=%')
";

/// The rows of the answer to [`RELATIONS_QUERY`]; `None` if it is no such answer.
pub fn read(rows: &[Row]) -> Option<Vec<Found>> {
    rows.iter().map(found).collect()
}

fn found(row: &Row) -> Option<Found> {
    let text = |at: usize| row.get(at)?.as_deref();
    let oid = |at: usize| std::str::from_utf8(text(at)?).ok()?.parse().ok();
    let is = |at: usize| text(at).map(|value| value == b"true");
    Some(match text(0)? {
        b"function" => Found::Function {
            oid: oid(1)?,
            name: text(2)?.to_vec(),
            is_volatile: is(3)?,
            is_builtin: is(4)?,
        },
        b"relation" => {
            let kind = *text(3)?.first()?;
            Found::Relation {
                oid: oid(1)?,
                name: text(2)?.to_vec(),
                kind,
                is_permanent: is(4)?,
                has_row_security: is(5)?,
                reads: text(6).and_then(reads),
            }
        }
        b"inherits" => Found::Inherits {
            parent: oid(1)?,
            child: oid(2)?,
        },
        b"cascades" => Found::Cascades {
            parent: oid(1)?,
            child: oid(2)?,
        },
        b"trigger" => Found::Trigger {
            table: oid(1)?,
            function: text(2)?.to_vec(),
            body: text(3).map(<[u8]>::to_vec),
            is_builtin: is(4)?,
            is_before: is(5)?,
        },
        b"generated" => Found::Generated {
            table: oid(1)?,
            column: text(2)?.to_vec(),
        },
        b"identity" => Found::Identity {
            table: oid(1)?,
            column: text(2).map(<[u8]>::to_vec),
        },
        b"runs" => Found::Runs { table: oid(1)? },
        b"isolates" => Found::IsolatesByDefault,
        _ => return None,
    })
}

/// `relid16400 funcid1299`: relations and functions; `None` for a tree that can't be looked through.
fn reads(text: &[u8]) -> Option<(Vec<u32>, Vec<u32>)> {
    let text = std::str::from_utf8(text).ok()?;
    let (mut relations, mut functions) = (Vec::new(), Vec::new());
    for word in text.split_ascii_whitespace() {
        let digits = word.find(|c: char| c.is_ascii_digit())?;
        let (what, oid) = word.split_at(digits);
        let oid = oid.parse().ok()?;
        match what {
            "relid" => relations.push(oid),
            _ => functions.push(oid),
        }
    }
    Some((relations, functions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: [Option<&str>; 7]) -> Row {
        values
            .map(|value| value.map(|text| text.as_bytes().to_vec()))
            .to_vec()
    }

    #[test]
    fn rows_become_what_was_found_or_nothing() {
        let view = row([
            Some("relation"),
            Some("20000"),
            Some("v"),
            Some("v"),
            Some("true"),
            Some("false"),
            Some("relid16400 funcid1299"),
        ]);
        let Some(Found::Relation { reads, .. }) = found(&view) else {
            panic!("no relation")
        };
        assert_eq!(reads, Some((vec![16400], vec![1299])));
        let timed = row([
            Some("relation"),
            Some("20000"),
            Some("v"),
            Some("v"),
            Some("true"),
            Some("false"),
            Some("-"),
        ]);
        assert!(matches!(found(&timed), Some(Found::Relation { reads: None, .. })));
        assert!(read(&[row([Some("fish"), None, None, None, None, None, None])]).is_none());
        assert!(read(&[vec![]]).is_none());
        assert!(
            read(&[row([
                Some("inherits"),
                Some("x"),
                Some("1"),
                None,
                None,
                None,
                None
            ])])
            .is_none()
        );
    }
}
