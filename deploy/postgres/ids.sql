-- Unique bigint ids on a sharded database, no shard asking any other. Run in each shard's database, as the owner of its tables, with
-- the shard's own number, 0 to 1023, and never the same number on two shards:
--   psql -v shard=0 -f ids.sql
-- A new table takes its ids from the function; a table that counts already goes on with its own sequence, above all ids there are:
--   CREATE TABLE orders (id bigint DEFAULT shard_id() PRIMARY KEY, tenant_id uuid NOT NULL);
--   SELECT shard_sequence('customers_id_seq', 5000000);
--
-- Each shard counts in steps of 1024 and begins at its own number, so that no two shards ever make the same id, whatever their
-- clocks say. An id tells its shard: shard_of(id). A tenant that moves takes its ids along, and they stay unique.

\if :{?shard}
\else
    \warn 'which shard is this? psql -v shard=0 -f ids.sql'
    \quit 2
\endif
\set ON_ERROR_STOP on

BEGIN;

-- A number that is none, or is out of range, ends it here.
SELECT 1 / (:shard BETWEEN 0 AND 1023)::int AS is_a_shard;

CREATE OR REPLACE FUNCTION shard_number() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN :shard::bigint;
COMMENT ON FUNCTION shard_number() IS 'The number of this shard among all of them';

CREATE SEQUENCE IF NOT EXISTS shard_id_seq AS bigint INCREMENT BY 1024 MINVALUE 0 START WITH :shard;

CREATE OR REPLACE FUNCTION shard_id() RETURNS bigint LANGUAGE sql VOLATILE
    AS $$ SELECT nextval('shard_id_seq') $$;
COMMENT ON FUNCTION shard_id() IS 'An id that no other shard makes';

CREATE OR REPLACE FUNCTION shard_of(id bigint) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN id & 1023;
COMMENT ON FUNCTION shard_of(bigint) IS 'The number of the shard that made an id';

-- Has a sequence that exists, of a serial or identity column say, count as shard_id_seq does, from the first such number above.
CREATE OR REPLACE FUNCTION shard_sequence(sequence regclass, above bigint) RETURNS bigint LANGUAGE plpgsql
AS $$
DECLARE
    first bigint := (above / 1024 + 1) * 1024 + shard_number();
BEGIN
    EXECUTE format('ALTER SEQUENCE %s INCREMENT BY 1024 RESTART WITH %s', sequence, first);
    RETURN first;
END
$$;
COMMENT ON FUNCTION shard_sequence(regclass, bigint) IS 'Has a sequence make ids that no other shard makes';

COMMIT;
