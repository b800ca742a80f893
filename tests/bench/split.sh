#!/usr/bin/env bash
# What reads on replicas cost and how many there are: a primary, two replicas, pgbench. See README.md beside this file.
#
#   tests/bench/split.sh [--seconds N] [--rounds N] [--binary PATH]
script=$(realpath "$0") name=split settings=
source "$(dirname "$script")/servers.sh"
for replica in 1 2; do
    "${as[@]}" env PGPASSWORD=pw "$pg/pg_basebackup" -h 127.0.0.1 -p $base -U postgres -R -X stream -c fast --no-sync -D "$folder/node$replica"
    start $replica
done
fill

# A wait for replicas, as a rule.
catchup() { printf '[split]\ncatchup_wait = "%s"' "$1"; }
serve one $((base + 10)) "$(catchup 0ms)" $base
serve three $((base + 20)) "$(catchup 5ms)" $base $((base + 1)) $((base + 2))
serve nowait $((base + 30)) "$(catchup 0ms)" $base $((base + 1)) $((base + 2))
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
