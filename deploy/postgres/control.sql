-- What pgshunt's own role needs in a database whose clients log in with their own passwords (passthrough). Run as a
-- superuser in that database, after roles.sql. Then pgshunt.toml says:
--   auth_query = "SELECT name, verifier FROM pgshunt.verifier_of($1)"
--
-- The function runs with its owner's rights, so that pgshunt's role itself may read nothing of pg_authid. It shows no
-- superuser, and no role that may not log in or whose password has expired.

CREATE SCHEMA IF NOT EXISTS pgshunt;
COMMENT ON SCHEMA pgshunt IS 'What pgshunt keeps in this database';

CREATE OR REPLACE FUNCTION pgshunt.verifier_of(wanted text)
    RETURNS TABLE (name text, verifier text)
    LANGUAGE sql STABLE STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT rolname::text, rolpassword
    FROM pg_authid
    WHERE rolname = wanted AND rolcanlogin AND NOT rolsuper
      AND (rolvaliduntil IS NULL OR rolvaliduntil > now())
$$;
COMMENT ON FUNCTION pgshunt.verifier_of(text) IS 'The password verifier of a role that may log in with it';

REVOKE ALL ON FUNCTION pgshunt.verifier_of(text) FROM PUBLIC;
GRANT USAGE ON SCHEMA pgshunt TO pgshunt;
GRANT EXECUTE ON FUNCTION pgshunt.verifier_of(text) TO pgshunt;
