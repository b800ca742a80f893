-- A coordinator: a PostgreSQL that sees the tables of all shards as its own, by postgres_fdw, and answers what shards can't answer
-- together. Run as a superuser in an empty database of its own, then once for each shard, then once for all:
--   SELECT pgshunt.add_shard('s0', '10.0.0.1', 5432, 'app', 'app_reader', 'its password', 'reporting');
--   SELECT pgshunt.add_shard('s1', '10.0.0.2', 5432, 'app', 'app_reader', 'its password', 'reporting');
--   SELECT * FROM pgshunt.unite('tenant_id', '{s0,s1}', true, reference => '{currency}', home => '{"audit_log": "s0"}');
-- and the last one again after every change of the shards' tables, and when a tenant has moved.
--
-- Role reporting then reads all rows through the coordinator, as role app_reader of the shards: what app_reader may not read, and rows
-- that row security hides from it, reporting does not see. Nobody writes through it. Each shard answers from its own snapshot.
-- Types and extensions of the shards' tables must be there, and all servers must sort text alike: same collation, same version.

CREATE EXTENSION IF NOT EXISTS postgres_fdw;
CREATE SCHEMA IF NOT EXISTS pgshunt;

-- Names a shard, and as whom local_role reads it. Again: the new address or password counts.
CREATE OR REPLACE FUNCTION pgshunt.add_shard(
    shard text, host text, port int, dbname text, role text, password text, local_role name
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    server text := 'pgshunt_' || shard;
    options text := format('host %L, port %L, dbname %L', host, port, dbname);
    login text := format('user %L, password %L', role, password);
BEGIN
    IF EXISTS (SELECT FROM pg_foreign_server WHERE srvname = server) THEN
        EXECUTE format('ALTER SERVER %I OPTIONS (SET host %L, SET port %L, SET dbname %L)', server, host, port, dbname);
    ELSE
        -- Read only; shards are read at the same time; a row on the way costs less than a round trip.
        EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS (%s, updatable ''false'', '
            'async_capable ''true'', fetch_size ''10000'')', server, options);
    END IF;
    -- IMPORT FOREIGN SCHEMA is done by the superuser.
    EXECUTE format('DROP USER MAPPING IF EXISTS FOR CURRENT_USER SERVER %I', server);
    EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER %I OPTIONS (%s)', server, login);
    EXECUTE format('DROP USER MAPPING IF EXISTS FOR %I SERVER %I', local_role, server);
    EXECUTE format('CREATE USER MAPPING FOR %I SERVER %I OPTIONS (%s)', local_role, server, login);
    EXECUTE format('GRANT USAGE ON FOREIGN SERVER %I TO %I', server, local_role);
END
$$;

-- What unite has made, so that it goes when its tables are gone.
CREATE TABLE IF NOT EXISTS pgshunt.united (relation regclass PRIMARY KEY);

-- Makes each table of the shards one table here. is_hashed: rows are where hash partitioning with as many buckets as shards, in this
-- order, puts them, and no tenant has an entry of its own; then a tenant's statements ask its shard alone and joins on the key
-- are done there. Else every shard is asked. All of it happens at once or not at all.
CREATE OR REPLACE FUNCTION pgshunt.unite(
    key name, shards text[], is_hashed boolean, reference name[] DEFAULT '{}', home jsonb DEFAULT '{}',
    from_schema name DEFAULT 'public', into_schema name DEFAULT 'public'
) RETURNS TABLE (name name, what text) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    shard text;
    part record;
    number int;
    own text;
BEGIN
    FOR part IN
        DELETE FROM pgshunt.united u USING pg_class c WHERE c.oid = u.relation RETURNING c.oid::regclass AS relation, c.relkind
    LOOP
        EXECUTE format('DROP %s %s', CASE part.relkind WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, part.relation);
    END LOOP;
    DELETE FROM pgshunt.united;
    FOREACH shard IN ARRAY shards LOOP
        own := 'pgshunt_' || shard;
        EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', own);
        EXECUTE format('CREATE SCHEMA %I', own);
        EXECUTE format('IMPORT FOREIGN SCHEMA %I FROM SERVER %I INTO %I', from_schema, own, own);
    END LOOP;
    FOR part IN
        SELECT c.relname, count(*) AS times, bool_and(EXISTS (
                   SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = key AND NOT a.attisdropped
               )) AS is_keyed
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'f' AND n.nspname IN (SELECT 'pgshunt_' || s FROM unnest(shards) s)
        GROUP BY c.relname ORDER BY c.relname
    LOOP
        name := part.relname;
        own := 'pgshunt_' || shards[1];
        IF home ? name::text THEN
            EXECUTE format('ALTER FOREIGN TABLE %I.%I SET SCHEMA %I', 'pgshunt_' || (home ->> name::text), name, into_schema);
            what := 'on ' || (home ->> name::text);
        ELSIF name = ANY (reference) THEN
            EXECUTE format('ALTER FOREIGN TABLE %I.%I SET SCHEMA %I', own, name, into_schema);
            what := 'reference';
        ELSIF part.is_keyed AND part.times = array_length(shards, 1) THEN
            EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I) %s', into_schema, name, own, name,
                CASE WHEN is_hashed THEN format('PARTITION BY HASH (%I)', key) END);
            number := 0;
            FOREACH shard IN ARRAY shards LOOP
                own := 'pgshunt_' || shard;
                IF is_hashed THEN
                    EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
                        into_schema, name, own, name, array_length(shards, 1), number);
                ELSE
                    EXECUTE format('ALTER FOREIGN TABLE %I.%I INHERIT %I.%I', own, name, into_schema, name);
                END IF;
                number := number + 1;
            END LOOP;
            what := CASE WHEN is_hashed THEN 'by hash of ' ELSE 'from all shards, by ' END || key;
        ELSE
            what := 'left out: no key, not on every shard, and neither reference nor home';
            RETURN NEXT;
            CONTINUE;
        END IF;
        INSERT INTO pgshunt.united VALUES (format('%I.%I', into_schema, name)::regclass);
        -- Those who read a shard read it here.
        FOR own IN
            SELECT DISTINCT u.usename FROM pg_user_mappings u
            WHERE u.srvname IN (SELECT 'pgshunt_' || s FROM unnest(shards) s) AND u.usename <> current_user
        LOOP
            EXECUTE format('GRANT SELECT ON %I.%I TO %I', into_schema, name, own);
        END LOOP;
        RETURN NEXT;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION pgshunt.add_shard(text, text, int, text, text, text, name) FROM PUBLIC;
REVOKE ALL ON FUNCTION pgshunt.unite(name, text[], boolean, name[], jsonb, name, name) FROM PUBLIC;

-- Joins and groups on the key are done on the shards.
DO $$
BEGIN
    EXECUTE pg_catalog.format('ALTER DATABASE %I SET enable_partitionwise_join = on', pg_catalog.current_database());
    EXECUTE pg_catalog.format('ALTER DATABASE %I SET enable_partitionwise_aggregate = on', pg_catalog.current_database());
END
$$;
