-- The weekly index maintenance of BMOS: rebuilds, without blocking writes, the indexes of tables of which a fifth or more
-- has been updated or deleted since the counts began, and begins the counts anew.
--   psql -X -v ON_ERROR_STOP=1 -d bmos -f weekly.sql
-- As bmos_owner, straight to the primary: REINDEX CONCURRENTLY runs in no transaction. Needs free space for the largest index.
SET lock_timeout = '5s';
SET statement_timeout = 0;

-- What an interrupted rebuild left behind.
SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %s', indexrelid::regclass)
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT indisvalid AND relname ~ '_ccnew[0-9]*$' AND relkind = 'i'
\gexec

SELECT format('REINDEX INDEX CONCURRENTLY %s', indexrelid::regclass)
FROM pg_stat_user_tables AS tables
JOIN pg_index ON indrelid = tables.relid
WHERE indisvalid AND n_tup_upd + n_tup_del > 0.2 * greatest(n_live_tup, 1000)
ORDER BY pg_relation_size(indexrelid)
\gexec

SELECT format('ANALYZE %s', relid::regclass)
FROM pg_stat_user_tables
WHERE n_mod_since_analyze > 0
\gexec

-- Only a superuser, or who has been granted it, may begin the counts anew; without, the same tables come again.
SELECT CASE WHEN has_function_privilege('pg_stat_reset_single_table_counters(oid)', 'EXECUTE')
            THEN format('SELECT pg_stat_reset_single_table_counters(%s)', relid)
            ELSE 'SELECT' END
FROM pg_stat_user_tables
WHERE n_tup_upd + n_tup_del > 0.2 * greatest(n_live_tup, 1000)
\gexec
