#!/usr/bin/env bash
# What reads on replicas cost and how many there are: a primary, two replicas, pgbench. See README.md beside this file.
#
#   tests/bench/split.sh [--seconds N] [--rounds N] [--binary PATH]
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
folder=$(mktemp -d "${TMPDIR:-/tmp}/pgshunt-split.XXXXXX")
[ "$(id -u)" != 0 ] || chown postgres "$folder"
base=$((20000 + RANDOM % 20000))
clean_up() {
    kill $(jobs -p) 2>/dev/null || true
    for node in "$folder"/node*; do "${as[@]}" "$pg/pg_ctl" -D "$node" -m immediate stop >/dev/null 2>&1 || true; done
    rm -rf "$folder"
}
trap clean_up EXIT
export PGPASSWORD=pw
echo pw >"$folder/password"
"${as[@]}" "$pg/initdb" -N -U postgres -A scram-sha-256 --pwfile "$folder/password" -D "$folder/node0" >/dev/null
cat >>"$folder/node0/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
unix_socket_directories = '$folder'
max_connections = 300
shared_buffers = '256MB'
END
start() { "${as[@]}" "$pg/pg_ctl" -w -D "$folder/node$1" -o "-p $((base + $1))" -l "$folder/log$1" start >/dev/null; }
start 0
for replica in 1 2; do
    "${as[@]}" env PGPASSWORD=pw "$pg/pg_basebackup" -h 127.0.0.1 -p $base -U postgres -R -X stream -c fast --no-sync -D "$folder/node$replica"
    start $replica
done
direct=(-h 127.0.0.1 -p $base -U postgres)
psql -q "${direct[@]}" -c "CREATE ROLE app SUPERUSER LOGIN PASSWORD 'pw'" -c "CREATE DATABASE app OWNER app"
"$pg/pgbench" -h 127.0.0.1 -p $base -U app -i -q -s 5 app >/dev/null 2>&1

# configure NAME PORT WAIT SERVER...
configure() {
    local name=$1 port=$2 wait=$3
    shift 3
    printf '[split]\ncatchup_wait = "%s"\n' "$wait" >"$folder/$name.rules"
    cat >"$folder/$name.toml" <<END
threads = 1
[listen]
clients = ["127.0.0.1:$port"]
admin = "127.0.0.1:$((port + 1))"
[console]
admins = ["postgres"]
[[database]]
name = "app"
control = "postgres://postgres@/postgres"
rules = "$folder/$name.rules"
[[database.shard]]
servers = [$(printf '"127.0.0.1:%s", ' "$@" | sed 's/, $//')]
END
    PGSHUNT_CONTROL_PASSWORD=pw "$binary" serve -c "$folder/$name.toml" >"$folder/$name.log" 2>&1 &
    printf -v "pid_$name" %s $!
}
configure one $((base + 10)) 0ms $base
configure three $((base + 20)) 5ms $base $((base + 1)) $((base + 2))
configure nowait $((base + 30)) 0ms $base $((base + 1)) $((base + 2))
sleep 3
ticks() { local pid=pid_$1; awk '{print $14 + $15}' "/proc/${!pid}/stat"; }
console() { psql -XAt -h 127.0.0.1 -p "$1" -U postgres pgshunt -c "$2"; }

# bench NAME PORT OPTION...: CPU-seconds of pgshunt for 100,000 transactions
bench() {
    local name=$1 port=$2 before after count
    shift 2
    before=$(ticks "$name")
    count=$("$pg/pgbench" -n -T "$seconds" -h 127.0.0.1 -p "$port" -U app "$@" app 2>&1 | sed -n 's/.*actually processed: \([0-9]*\).*/\1/p')
    after=$(ticks "$name")
    awk -v t=$((after - before)) -v n="$count" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.3f", t / hz * 100000 / n }'
}
echo "CPU-seconds of pgshunt for 100,000 selects, 16 clients: one server, then a primary with two replicas"
for protocol in simple extended prepared; do
    for ((round = 0; round < rounds; round++)); do
        one=$(bench one $((base + 10)) -S -M $protocol -c 16)
        three=$(bench three $((base + 20)) -S -M $protocol -c 16)
        awk -v p=$protocol -v a="$one" -v b="$three" 'BEGIN { printf "%-10s %s %s ratio %.3f\n", p, a, b, b / a }'
    done
done

cat >"$folder/read.sql" <<'END'
\set aid random(1, 500000)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
END
cat >"$folder/now_and_then.sql" <<'END'
\set aid random(1, 500000)
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
\sleep 200 ms
END
{
    echo '\set aid random(1, 500000)'
    echo 'UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;'
    for ((read = 0; read < 19; read++)); do echo 'SELECT abalance FROM pgbench_accounts WHERE aid = :aid;'; done
} >"$folder/mixed.sql"
counts() { console "$1" "SHOW ROUTES" | awk -F'|' '$2 == "replica" { r = $3 } $2 == "unfit" { u = $3 } END { print r + 0, u + 0 }'; }
# share TEXT NAME PORT COMMAND...: reads on replicas, of all reads
share() {
    local text=$1 port=$2 r0 u0 r1 u1
    shift 2
    read -r r0 u0 < <(counts $((port + 1)))
    "$@" >/dev/null 2>&1
    read -r r1 u1 < <(counts $((port + 1)))
    awk -v t="$text" -v r=$((r1 - r0)) -v u=$((u1 - u0)) 'BEGIN { printf "%-70s %.1f %% of %d reads\n", t, 100 * r / (r + u), r + u }'
}
now_and_then() {
    "$pg/pgbench" -n -T "$seconds" -h 127.0.0.1 -p "$1" -U app -c 61 -f "$folder/read.sql" app &
    "$pg/pgbench" -n -T "$seconds" -h 127.0.0.1 -p "$1" -U app -c 3 -f "$folder/now_and_then.sql" app
    wait $!
}
mixed() { "$pg/pgbench" -n -T "$seconds" -h 127.0.0.1 -p "$1" -U app -c 64 -f "$folder/mixed.sql" app; }
echo "Reads on replicas, 64 sessions, consistency = session"
share "61 read, 3 write now and then" $((base + 30)) now_and_then $((base + 30))
share "the same, catchup_wait = 5ms" $((base + 20)) now_and_then $((base + 20))
share "all write one in twenty, without pause" $((base + 30)) mixed $((base + 30))
share "the same, catchup_wait = 5ms" $((base + 20)) mixed $((base + 20))
