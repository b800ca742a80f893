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

# bench PORT SCRIPT OPTION...: transactions a second, and the 99th percentile in ms
bench() {
    local port=$1 script=$2
    shift 2
    rm -f "$folder"/latency*
    "$pg/pgbench" -n -h 127.0.0.1 -p "$port" -U app -M prepared -f "$folder/$script.sql" -c 8 -j 1 -T "$seconds" \
        -l --log-prefix "$folder/latency" "$@" app >"$folder/out" 2>&1 || { cat "$folder/out" >&2; exit 1; }
    local tps p99
    tps=$(awk '/^tps/ {print $3}' "$folder/out")
    p99=$(cat "$folder"/latency* | awk '{print $3}' | sort -n | awk '{all[NR] = $1} END {print all[int(NR * 0.99)] / 1000}')
    echo "$tps $p99"
}
echo "$(nproc) processors, PostgreSQL $("$pg/postgres" --version | awk '{print $3}'), 8 clients, $seconds s each, $rounds rounds: transactions/s (99 % within ms)"
for script in key report other miss; do
    for ((round = 1; round <= rounds; round++)); do
        printf '%-8s' "$script"
        for target in "direct $base" "off $off" "on $on"; do
            read -r name port <<<"$target"
            [ "$name" = off ] || bench "$port" "$script" -T 1 >/dev/null
            read -r tps p99 < <(bench "$port" "$script")
            printf '   %s %10.0f (%s)' "$name" "$tps" "$p99"
        done
        echo
    done
done
read -r tps p99 < <(bench $on zipf)
read -r without _ < <(bench $off zipf)
printf 'zipf, 5 %% writes   off %10.0f   on %10.0f (%s)\n' "$without" "$tps" "$p99"
psql -XAt -h 127.0.0.1 -p $((on + 1)) -U postgres pgshunt -c "SHOW CACHE"
