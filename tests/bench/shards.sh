#!/usr/bin/env bash
# What shards cost: four databases of one PostgreSQL behind pgshunt, beside one database behind the same pgshunt. See README.md.
#
#   tests/bench/shards.sh [--seconds N] [--rounds N] [--binary PATH] [--rows MILLIONS]
script=$(realpath "$0") name=shards settings=$'max_connections = 400\nmax_prepared_transactions = 50\nmax_parallel_workers_per_gather = 0'
millions=10
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        --rows) millions=$2; shift 2 ;;
        *) arguments+=("$1"); shift ;;
    esac
done
set -- "${arguments[@]}"
source "$(dirname "$script")/servers.sh"
bench=$(dirname "$script")
psql() { command psql -XqAt -v ON_ERROR_STOP=1 -h 127.0.0.1 -U app "$@"; }

# A client without a password reads the large answers; the clients of pgbench are let in alike on both sides.
echo "host all all 127.0.0.1/32 trust" >"$folder/node0/pg_hba.conf"
"${as[@]}" "$pg/pg_ctl" -D "$folder/node0" reload >/dev/null
fill
psql -p $base app -c "CREATE INDEX ON pgbench_history (aid)"
for shard in 0 1 2 3; do
    psql -p $base postgres -c "CREATE DATABASE app_s$shard TEMPLATE app"
    psql -p $base "app_s$shard" -c "CREATE TABLE facts (tenant int, id bigint PRIMARY KEY, amount numeric);
        INSERT INTO facts SELECT n % 1000, n * 4 + $shard, n % 10000 / 7.0 FROM generate_series(1, $millions * 250000) n" -c "VACUUM ANALYZE facts"
done
# config NAME PORT SHARDS: a file for pgshunt, and its process in $pid_NAME
config() {
    cat >"$folder/$1.toml" <<END
threads = 1
[listen]
clients = ["127.0.0.1:$2"]
[auth]
mode = "trust"
[[database]]
name = "app"
control = "postgres://postgres@/postgres"
rules = "$folder/$1.rules"
$3
END
    "$binary" serve -c "$folder/$1.toml" >"$folder/$1.log" 2>&1 &
    printf -v "pid_$1" %s $!
}
server="servers = [\"127.0.0.1:$base\"]"
: >"$folder/one.rules"
cat >"$folder/four.rules" <<'END'
[sharding]
column = "aid"
type = "integer"
function = "hash"
modulus = 4
remainders = ["s0", "s1", "s2", "s3"]
[sharding.columns]
facts = "tenant"
[sharding.home]
pgbench_branches = "s0"
pgbench_tellers = "s0"
END
config one $((base + 10)) $'[[database.shard]]\n'"$server"
config four $((base + 20)) "$(for shard in 0 1 2 3; do
    printf '[[database.shard]]\nname = "s%s"\n%s\ndbname = "app_s%s"\n' $shard "$server" $shard
done)"
sleep 3
pids=("$pid_one" "$pid_four")
ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; }

cat >"$folder/crud.sql" <<'END'
\set aid random(1, 500000)
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :aid, 1, CURRENT_TIMESTAMP);
SELECT delta FROM pgbench_history WHERE aid = :aid LIMIT 1;
DELETE FROM pgbench_history WHERE aid = :aid;
END

# bench PID PORT OPTION...: CPU-seconds of pgshunt for 100,000 transactions
bench() {
    local pid=$1 port=$2 before after count
    shift 2
    before=$(ticks "$pid")
    count=$("$pg/pgbench" -n -T "$seconds" -h 127.0.0.1 -p "$port" -U app "$@" app 2>&1 | sed -n 's/.*actually processed: \([0-9]*\).*/\1/p')
    after=$(ticks "$pid")
    awk -v t=$((after - before)) -v n="$count" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.3f", t / hz * 100000 / n }'
}
# both TEXT OPTION...: unsharded and sharded in turn, and their ratio
both() {
    local text=$1 one four
    shift
    for ((round = 0; round < rounds; round++)); do
        one=$(bench "$pid_one" $((base + 10)) -c 16 "$@")
        four=$(bench "$pid_four" $((base + 20)) -c 16 "$@")
        awk -v t="$text" -v a="$one" -v b="$four" 'BEGIN { printf "%-24s %s %s ratio %.3f\n", t, a, b, b / a }'
    done
}
echo "CPU-seconds of pgshunt for 100,000 transactions, 16 clients: one database, then four shards"
for protocol in simple extended prepared; do both "select by key, $protocol" -S -M $protocol; done
for protocol in simple extended prepared; do both "four statements, $protocol" -f "$folder/crud.sql" -M $protocol; done

echo "Sums over four shards: seconds of the slowest shard, all four asked at once without pgshunt; through pgshunt"
for ((round = 0; round < rounds; round++)); do
    python3 "$bench/shards.py" sums $base $((base + 20))
done
echo "$millions million rows merged in order: seconds, rows, and how much pgshunt has grown at most"
python3 "$bench/shards.py" merge $((base + 20)) "$pid_four"
