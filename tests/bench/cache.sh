#!/usr/bin/env bash
# What the result cache gives and costs: one PostgreSQL, pgshunt without and with a cache, pgbench. See README.md beside this file.
#
#   tests/bench/cache.sh [--seconds N] [--rounds N] [--binary PATH]
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=5 rounds=3 binary=
while [ $# -gt 0 ]; do
    case $1 in
        --seconds | --rounds | --binary) printf -v "${1#--}" %s "$2"; shift 2 ;;
        *) sed -n '2,4s/^# \?//p' "$0" >&2; exit 2 ;;
    esac
done
if [ -z "$binary" ]; then
    cargo build --quiet --release -p pgshunt
    binary=$PWD/target/release/pgshunt
fi
pg=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
as=()
[ "$(id -u)" != 0 ] || as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
folder=$(mktemp -d "${TMPDIR:-/tmp}/pgshunt-cache.XXXXXX")
[ "$(id -u)" != 0 ] || chown postgres "$folder"
base=$((20000 + RANDOM % 20000))
clean_up() {
    kill $(jobs -p) 2>/dev/null || true
    "${as[@]}" "$pg/pg_ctl" -D "$folder/node" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap clean_up EXIT
export PGPASSWORD=pw
echo pw >"$folder/password"
"${as[@]}" "$pg/initdb" -N -U postgres -A scram-sha-256 --pwfile "$folder/password" -D "$folder/node" >/dev/null
cat >>"$folder/node/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
unix_socket_directories = '$folder'
max_connections = 300
shared_buffers = '256MB'
wal_level = logical
END
"${as[@]}" "$pg/pg_ctl" -w -D "$folder/node" -o "-p $base" -l "$folder/log" start >/dev/null
psql -q -h 127.0.0.1 -p $base -U postgres -c "CREATE ROLE app SUPERUSER LOGIN PASSWORD 'pw'" -c "CREATE DATABASE app OWNER app"
"$pg/pgbench" -h 127.0.0.1 -p $base -U app -i -q -s 5 app >/dev/null 2>&1
psql -q -h 127.0.0.1 -p $base -U app app <<END
CREATE TABLE sale (tenant int, day date, product int, amount numeric(12, 2));
INSERT INTO sale SELECT n % 100, date '2024-01-01' + n % 730, n % 50, n % 1000 / 7.0 FROM generate_series(1, 1000000) AS n;
CREATE INDEX ON sale (tenant, day);
CREATE TABLE uncached AS SELECT * FROM pgbench_accounts;
ALTER TABLE uncached ADD PRIMARY KEY (aid);
VACUUM ANALYZE;
END

# configure NAME PORT RULES
configure() {
    printf '%s\n' "$3" >"$folder/$1.rules"
    cat >"$folder/$1.toml" <<END
threads = 1
[listen]
clients = ["127.0.0.1:$2"]
admin = "127.0.0.1:$(($2 + 1))"
[console]
admins = ["postgres"]
[[database]]
name = "app"
control = "postgres://postgres@/postgres"
rules = "$folder/$1.rules"
[[database.shard]]
servers = ["127.0.0.1:$base"]
END
    PGSHUNT_CONTROL_PASSWORD=pw "$binary" serve -c "$folder/$1.toml" >"$folder/$1.log" 2>&1 &
    printf -v "pid_$1" %s $!
}
off=$((base + 10)) on=$((base + 20))
configure off $off ''
configure on $on '[[cache.class]]
name = "all"
tables = ["pgbench_accounts", "sale"]
ttl = "1h"'
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

# cpu PID...: CPU-seconds of these processes and their children so far
cpu() { for pid in "$@"; do awk '{print $14 + $15}' "/proc/$pid/stat"; done | awk '{sum += $1} END {print sum / 100}'; }
backends() { pgrep -f "^postgres: .* app " || true; }

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
