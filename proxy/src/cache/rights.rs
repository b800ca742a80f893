//! Whether rights, definitions or defaults have changed, whoever changed them: one number of the catalog, looked at again
//! and again. What the stream of writes does not tell, this does.

use crate::server::ask::{AskFault, Asker};

/// Sums of row versions and of names over every catalog that says what a statement means or who may run it. A table or an
/// index that has another file (TRUNCATE, which the stream tells of; VACUUM FULL, REINDEX) means the same as before; a
/// materialized view is filled by that.
const QUESTION: &str = r"
SELECT pg_catalog.concat_ws(' ', pg_catalog.pg_conf_load_time(), pg_catalog.pg_postmaster_start_time(),
    (SELECT pg_catalog.count(*) || ':' || COALESCE(pg_catalog.sum(h), 0) FROM (
        SELECT pg_catalog.hashint8(c.oid::int8 * 4294967296 + CASE WHEN c.relkind IN ('r', 'p', 'i', 'I')
                THEN pg_catalog.hashtext(pg_catalog.concat_ws(' ', c.relname, c.relnamespace, c.relowner, c.relkind,
                    c.relpersistence, c.relnatts, c.relchecks, c.relhasrules, c.relhastriggers, c.relhassubclass,
                    c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.relispartition, c.reloptions, '-',
                    c.relacl, '-', c.relpartbound))::int8
                ELSE c.xmin::text::int8 END)::int8 AS h
            FROM pg_catalog.pg_class c WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND c.relkind <> 't'
        UNION ALL SELECT pg_catalog.hashint8(p.oid::int8 * 4294967296 + p.xmin::text::int8) FROM pg_catalog.pg_proc p
        UNION ALL SELECT pg_catalog.hashint8(n.oid::int8 * 4294967296 + n.xmin::text::int8)
            FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp_'
        UNION ALL SELECT pg_catalog.hashint8(o.oid::int8 * 4294967296 + o.xmin::text::int8) FROM pg_catalog.pg_policy o
        UNION ALL SELECT pg_catalog.hashint8(r.oid::int8 * 4294967296 + r.xmin::text::int8)
            FROM pg_catalog.pg_rewrite r WHERE r.oid >= 16384
        UNION ALL SELECT pg_catalog.hashint8(t.oid::int8 * 4294967296 + t.xmin::text::int8) FROM pg_catalog.pg_trigger t
        UNION ALL SELECT pg_catalog.hashint8(n.oid::int8 * 4294967296 + n.xmin::text::int8)
            FROM pg_catalog.pg_constraint n WHERE n.oid >= 16384
        UNION ALL SELECT pg_catalog.hashint8(i.inhrelid::int8 * 4294967296 + i.xmin::text::int8)
            FROM pg_catalog.pg_inherits i
        UNION ALL SELECT pg_catalog.hashint8(a.attrelid::int8 * 4294967296 + a.xmin::text::int8)
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
            WHERE a.attrelid >= 16384 AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
        UNION ALL SELECT pg_catalog.hashint8(d.oid::int8 * 4294967296 + d.xmin::text::int8) FROM pg_catalog.pg_attrdef d
        UNION ALL SELECT pg_catalog.hashint8(o.oid::int8 * 4294967296 + o.xmin::text::int8)
            FROM pg_catalog.pg_operator o WHERE o.oid >= 16384
        UNION ALL SELECT pg_catalog.hashint8(c.oid::int8 * 4294967296 + c.xmin::text::int8)
            FROM pg_catalog.pg_cast c WHERE c.oid >= 16384
        UNION ALL SELECT pg_catalog.hashint8(e.oid::int8 * 4294967296 + e.xmin::text::int8) FROM pg_catalog.pg_enum e
        UNION ALL SELECT pg_catalog.hashint8(d.oid::int8 * 4294967296 + d.xmin::text::int8)
            FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
        UNION ALL SELECT pg_catalog.hashint8(c.oid::int8 * 4294967296 + c.xmin::text::int8)
            FROM pg_catalog.pg_ts_config c
        UNION ALL SELECT pg_catalog.hashint8(c.mapcfg::int8 * 4294967296 + c.xmin::text::int8)
            FROM pg_catalog.pg_ts_config_map c
        UNION ALL SELECT pg_catalog.hashint8(c.oid::int8 * 4294967296 + c.xmin::text::int8) FROM pg_catalog.pg_ts_dict c
        UNION ALL SELECT pg_catalog.hashtext(pg_catalog.concat_ws(' ', m.roleid, m.member, m.xmin))
            FROM pg_catalog.pg_auth_members m
        UNION ALL SELECT pg_catalog.hashtext(pg_catalog.concat_ws(' ', s.setdatabase, s.setrole, s.setconfig))
            FROM pg_catalog.pg_db_role_setting s
        UNION ALL SELECT pg_catalog.hashtext(pg_catalog.concat_ws(' ', o.oid, o.rolname, o.rolsuper, o.rolinherit,
                o.rolbypassrls))
            FROM pg_catalog.pg_roles o
    ) AS all_rows))
";

/// The number at this moment.
///
/// # Errors
///
/// The server's, or that of the line.
pub async fn look(asker: &mut Asker) -> Result<Vec<u8>, AskFault> {
    let rows = asker.ask(QUESTION, &[]).await?;
    let value = rows.into_iter().flatten().flatten().next();
    value.ok_or(AskFault::Unexpected(b'C'))
}
