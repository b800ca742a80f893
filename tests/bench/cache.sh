#!/usr/bin/env bash
# What the result cache gives and costs: one PostgreSQL, pgshunt without and with a cache, pgbench. See README.md beside this file.
#
#   tests/bench/cache.sh [--seconds N] [--rounds N] [--binary PATH]
script=$(realpath "$0") name=cache settings="wal_level = logical"
source "$(dirname "$script")/servers.sh"
fill
psql -q -h 127.0.0.1 -p $base -U app app <<END
CREATE TABLE sale (tenant int, day date, product int, amount numeric(12, 2));
INSERT INTO sale SELECT n % 100, date '2024-01-01' + n % 730, n % 50, n % 1000 / 7.0 FROM generate_series(1, 1000000) AS n;
CREATE INDEX ON sale (tenant, day);
CREATE TABLE uncached AS SELECT * FROM pgbench_accounts;
ALTER TABLE uncached ADD PRIMARY KEY (aid);
VACUUM ANALYZE;
END

off=$((base + 10)) on=$((base + 20))
serve off $off '' $base
serve on $on '[[cache.class]]
name = "all"
tables = ["pgbench_accounts", "sale"]
ttl = "1h"' $base
sleep 3

cat >"$folder/key.sql" <<'END'
\set aid random(1, 100)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
END
cat >"$folder/report.sql" <<'END'
\set tenant random(0, 9)
SELECT date_trunc('month', day)::date AS month, product, sum(amount), count(*) FROM sale WHERE tenant = :tenant GROUP BY 1, 2 ORDER BY 1, 2;
END
cat >"$folder/other.sql" <<'END'
\set aid random(1, 500000)
SELECT abalance FROM uncached WHERE aid = :aid;
END
cat >"$folder/miss.sql" <<'END'
\set aid random(1, 500000)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid + 0 AND :aid = :aid;
END
cat >"$folder/zipf.sql" <<'END'
\set tenant random_zipfian(1, 100, 1.1)
\set dice random(1, 100)
\if :dice <= 5
INSERT INTO sale VALUES (:tenant, date '2025-12-31', 1, 1);
\else
SELECT count(*), sum(amount) FROM sale WHERE tenant = :tenant AND day >= date '2025-12-01';
\endif
END

# The same twenty at a time: what is left is the servers' own work, not the system's.
{
    echo '\startpipeline'
    for ((at = 0; at < 20; at++)); do cat "$folder/key.sql"; done
    echo '\endpipeline'
} >"$folder/keys.sql"

postmaster=$(head -1 "$folder/node0/postmaster.pid")
echo "$(nproc) processors, PostgreSQL $("$pg/postgres" --version | awk '{print $3}'), 8 clients, $seconds s each, medians of $rounds rounds"
python3 tests/bench/cache.py --pgbench "$pg/pgbench" --folder "$folder" --seconds "$seconds" --rounds "$rounds" \
    --target "direct:$base:$postmaster" --target "off:$off:$pid_off" --target "on:$on:$pid_on" ${scripts:-key keys:20 report other miss}
read -r tps p99 < <(bench $on zipf)
read -r without _ < <(bench $off zipf)
printf 'zipf, 5 %% writes   off %10.0f   on %10.0f (%s)\n' "$without" "$tps" "$p99"
psql -XAt -h 127.0.0.1 -p $((on + 1)) -U postgres pgshunt -c "SHOW CACHE"
