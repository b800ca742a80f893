-- The roles of BMOS. Run once per server, as a superuser, in any database; running it again changes nothing.
-- Passwords are not set here: ALTER ROLE bmos_app PASSWORD '…', or \password bmos_app in psql.

DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('bmos_owner',  'owns the tables; migrations log in as it'),
            ('bmos_app',    'the application: reads and writes rows'),
            ('bmos_report', 'reports: reads rows'),
            ('pgshunt',     'pgshunt itself: probes, replication lag, password verifiers by function')
        ) AS roles (name, purpose)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', wanted.name);
        END IF;
        EXECUTE format('COMMENT ON ROLE %I IS %L', wanted.name, wanted.purpose);
    END LOOP;
END
$$;

-- Sees every session and the replication state, but no row of a table.
GRANT pg_monitor TO pgshunt;
