//! Which names of a database are safe on a replica: the question to its catalog, and the answer read. Does not decide
//! about texts; `routing_rules::access` does, with these names.

use routing_rules::{Kind, Names};

use crate::server::ask::Row;

/// Asks one database for its [`Names`]: rows of a kind and a name. No parameters; any role may ask.
///
/// A graph of everything made after initdb is walked from what is unsafe to all that reaches it. Unsafe at first are
/// volatile functions (of the builtins: those that write or answer for one server), relations replicas don't have or don't
/// have right (unlogged and foreign tables, sequences, whose `last_value` the WAL runs ahead of), system views and
/// catalogs, and views that lock rows. What reaches what is read from the stored trees of rules, policies, constraints and
/// defaults, because `pg_depend` does not list builtins. Names without a schema: the search path is the session's.
pub const NAMES_QUERY: &str = r"
WITH RECURSIVE
trees AS (
    SELECT 'r' AS kind, c.oid AS object, r.ev_action::text AS tree
        FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
        WHERE c.oid >= 16384 AND c.relkind = 'v'
    UNION ALL
    SELECT 'r', p.polrelid, p.polqual::text
        FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
        WHERE c.relrowsecurity AND p.polcmd IN ('r', '*') AND p.polqual IS NOT NULL
    UNION ALL
    SELECT 't', n.contypid, n.conbin::text
        FROM pg_catalog.pg_constraint n
        WHERE n.contypid >= 16384 AND n.conbin IS NOT NULL
    UNION ALL
    SELECT 'f', f.oid, f.proargdefaults::text
        FROM pg_catalog.pg_proc f
        WHERE f.oid >= 16384 AND f.proargdefaults IS NOT NULL
    UNION ALL
    -- A body in standard SQL, which PostgreSQL 13 does not have.
    SELECT 'f', f.oid, pg_catalog.to_jsonb(f) ->> 'prosqlbody'
        FROM pg_catalog.pg_proc f
        WHERE f.oid >= 16384 AND f.prolang = 14
),
-- An operator that words stand for (IN, BETWEEN, LIKE, ORDER BY) makes its operands' type unsafe, if that is not a builtin.
operators AS (
    SELECT o.*, (o.oprleft >= 16384 OR o.oprright >= 16384) AND o.oprname IN
            ('=', '<>', '<', '>', '<=', '>=', '~~', '!~~', '~~*', '!~~*', '~', '!~') AS is_of_type
        FROM pg_catalog.pg_operator o
        WHERE o.oid >= 16384
),
edges (kind, object, to_kind, to_object) AS MATERIALIZED (
    SELECT DISTINCT t.kind, t.object,
            CASE m[1] WHEN 'relid' THEN 'r' WHEN 'resulttype' THEN 't' ELSE 'f' END, m[2]::oid
        FROM trees t, pg_catalog.regexp_matches(t.tree,
            ':(funcid|aggfnoid|winfnoid|opfuncid|relid|resulttype) ([1-9][0-9]*)', 'g') AS m
    UNION ALL
    SELECT 'r', inhparent, 'r', inhrelid FROM pg_catalog.pg_inherits
    UNION ALL
    SELECT 'r', a.attrelid, 't', a.atttypid
        FROM pg_catalog.pg_attribute a
        WHERE a.attrelid >= 16384 AND a.atttypid >= 16384 AND a.attnum > 0
    UNION ALL
    SELECT 't', t.oid, 't', a.atttypid
        FROM pg_catalog.pg_type t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid
        WHERE t.typrelid >= 16384 AND a.atttypid >= 16384 AND a.attnum > 0
    UNION ALL
    SELECT 't', t.oid, 't', u.part
        FROM pg_catalog.pg_type t, pg_catalog.unnest(ARRAY[t.typelem, t.typbasetype]) AS u (part)
        WHERE t.oid >= 16384 AND u.part >= 16384
    UNION ALL
    SELECT 't', t.oid, 'f', u.part
        FROM pg_catalog.pg_type t, pg_catalog.unnest(
            ARRAY[t.typinput::oid, t.typoutput, t.typreceive, t.typsend]) AS u (part)
        WHERE t.oid >= 16384 AND u.part >= 16384
    UNION ALL
    SELECT 't', rngtypid, 't', rngsubtype FROM pg_catalog.pg_range WHERE rngsubtype >= 16384
    UNION ALL
    SELECT 't', p.amproclefttype, 'f', p.amproc::oid
        FROM pg_catalog.pg_amproc p
        WHERE p.amproclefttype >= 16384
    UNION ALL
    SELECT 't', u.part, 'f', o.oprcode::oid
        FROM operators o, pg_catalog.unnest(ARRAY[o.oprleft, o.oprright]) AS u (part)
        WHERE o.is_of_type AND u.part >= 16384
    UNION ALL
    SELECT 't', u.part, 'f', c.castfunc
        FROM pg_catalog.pg_cast c, pg_catalog.unnest(ARRAY[c.castsource, c.casttarget]) AS u (part)
        WHERE c.oid >= 16384 AND c.castfunc <> 0
            AND (u.part >= 16384 OR (u.part = c.casttarget AND c.castsource < 16384))
    UNION ALL
    SELECT 'f', f.oid, 't', u.part
        FROM pg_catalog.pg_proc f,
            pg_catalog.unnest(f.proargtypes::oid[] || COALESCE(f.proallargtypes, '{}') || f.prorettype) AS u (part)
        WHERE f.oid >= 16384 AND u.part >= 16384
    UNION ALL
    SELECT 'f', a.aggfnoid, 'f', u.part
        FROM pg_catalog.pg_aggregate a, pg_catalog.unnest(ARRAY[a.aggtransfn::oid, a.aggfinalfn, a.aggcombinefn,
            a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]) AS u (part)
        WHERE a.aggfnoid >= 16384 AND u.part <> 0
),
unsafe (kind, object) AS (
    SELECT * FROM (
        SELECT 'f', f.oid
            FROM pg_catalog.pg_proc f
            WHERE CASE
                WHEN f.oid >= 16384 THEN f.provolatile = 'v'
                WHEN f.provolatile = 'v' THEN f.proname NOT IN ('clock_timestamp', 'gen_random_uuid', 'pg_sleep',
                    'pg_sleep_for', 'pg_sleep_until', 'random', 'random_normal', 'timeofday', 'uuidv4', 'uuidv7')
                ELSE f.proname ~ ('^(pg_stat_|pg_current_|pg_backend_pid|pg_postmaster_|pg_conf_load|txid_current|'
                    'inet_server_|(table|schema|database)_to_xml)')
            END
        UNION ALL
        SELECT 'r', c.oid
            FROM pg_catalog.pg_class c
            WHERE c.oid < 16384 OR c.relpersistence = 'u' OR c.relkind IN ('f', 'S')
        UNION ALL
        SELECT t.kind, t.object FROM trees t WHERE t.tree ~ ':hasForUpdate true'
    ) AS first
    UNION
    SELECT e.kind, e.object FROM unsafe u JOIN edges e ON e.to_kind = u.kind AND e.to_object = u.object
)
SELECT CASE WHEN pg_catalog.bool_or(u.object IS NOT NULL) THEN 'volatile' ELSE 'safe' END AS kind, f.proname AS name
    FROM pg_catalog.pg_proc f LEFT JOIN unsafe u ON u.kind = 'f' AND u.object = f.oid
    WHERE f.oid >= 16384 AND f.prokind <> 'p'
        AND f.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)
    GROUP BY f.proname
UNION ALL
SELECT DISTINCT 'primary', c.relname
    FROM pg_catalog.pg_class c JOIN unsafe u ON u.kind = 'r' AND u.object = c.oid
    WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
UNION ALL
SELECT DISTINCT 'primary', t.typname
    FROM pg_catalog.pg_type t JOIN unsafe u ON u.kind = 't' AND u.object = t.oid
UNION ALL
SELECT DISTINCT 'operator', o.oprname
    FROM operators o JOIN unsafe u ON u.kind = 'f' AND u.object = o.oprcode
    WHERE NOT o.is_of_type
";

/// The names in the answer to [`NAMES_QUERY`]; `None` if it is no such answer.
pub fn read(rows: &[Row]) -> Option<Names> {
    let mut names = Names::default();
    for row in rows {
        let [Some(kind), Some(name)] = &row[..] else {
            return None;
        };
        let kind = match &kind[..] {
            b"safe" => Kind::SafeFunction,
            b"volatile" => Kind::VolatileFunction,
            b"primary" => Kind::PrimaryRelation,
            b"operator" => Kind::VolatileOperator,
            _ => return None,
        };
        names.add(kind, name);
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_names_or_nothing() {
        let row = |kind: &str, name: &str| vec![Some(kind.into()), Some(name.into())];
        let names = read(&[row("safe", "f"), row("volatile", "g"), row("primary", "v")]).expect("names");
        assert_eq!(names.look_up(b"f").is_safe_function, Some(true));
        assert_eq!(names.look_up(b"g").is_safe_function, Some(false));
        assert!(names.look_up(b"v").is_for_primary);
        assert!(read(&[row("?", "f")]).is_none());
        assert!(read(&[vec![None, None]]).is_none());
        assert!(read(&[vec![]]).is_none());
    }
}
