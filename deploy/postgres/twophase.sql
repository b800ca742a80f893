-- What transactions that write on several shards need in each shard's database. Run as a superuser there, after control.sql;
-- "pgshunt setup" with each shard as --to does both. PostgreSQL itself needs max_prepared_transactions > 0.
--
-- The decision of such a transaction is one row, on one of its shards. Its id is unique: who would roll back what a crash left
-- behind inserts an "abort" first, and then nobody can insert a "commit" any more.

CREATE TABLE IF NOT EXISTS pgshunt.decision (
    id         text PRIMARY KEY,
    outcome    text NOT NULL CHECK (outcome IN ('commit', 'abort')),
    shards     text[] NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE pgshunt.decision IS 'How transactions that span shards were decided; pgshunt clears it away';
REVOKE ALL ON pgshunt.decision FROM PUBLIC;
GRANT SELECT, INSERT, DELETE ON pgshunt.decision TO pgshunt;

-- Called within a client's own transaction, which then commits with the row. An id is seen by everybody who looks at
-- pg_prepared_xacts, its secret by its coordinator alone: nobody can decide for another's transaction.
CREATE OR REPLACE FUNCTION pgshunt.decide(secret text, shards text[])
    RETURNS void
    LANGUAGE plpgsql STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The others commit once this one has: it must not be lost.
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    INSERT INTO pgshunt.decision (id, outcome, shards)
    VALUES (left(encode(sha256(convert_to(secret, 'UTF8')), 'hex'), 32), 'commit', decide.shards);
END
$$;
COMMENT ON FUNCTION pgshunt.decide(text, text[]) IS 'Decides that the transaction it is called in commits on all its shards';
GRANT USAGE ON SCHEMA pgshunt TO PUBLIC;
GRANT EXECUTE ON FUNCTION pgshunt.decide(text, text[]) TO PUBLIC;

-- PostgreSQL lets a prepared transaction be ended by its owner alone. So pgshunt may become each role that may log in here, and
-- is asked to by name: being a member of this role, which inherits nothing, it has none of their rights otherwise.
DO $$
DECLARE
    name text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pgshunt_recovery') THEN
        CREATE ROLE pgshunt_recovery NOLOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
        COMMENT ON ROLE pgshunt_recovery IS 'Ends prepared transactions of roles that are granted to it';
    END IF;
    GRANT pgshunt_recovery TO pgshunt;
    FOR name IN
        SELECT rolname FROM pg_catalog.pg_roles
        WHERE rolcanlogin AND NOT rolsuper AND NOT rolreplication AND rolname <> 'pgshunt'
          AND pg_catalog.has_database_privilege(oid, pg_catalog.current_database(), 'CONNECT')
          AND NOT pg_catalog.pg_has_role('pgshunt_recovery', oid, 'MEMBER')
          AND NOT pg_catalog.pg_has_role(oid, 'pgshunt', 'MEMBER')
    LOOP
        EXECUTE pg_catalog.format('GRANT %I TO pgshunt_recovery', name);
    END LOOP;
END
$$;
