#!/usr/bin/env bash
# Compares PostgreSQL alone, pgbouncer and pgshunt on this machine: see README.md beside this file.
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() {
    cat <<'END'
tests/bench/compare.sh [options]

  --clients LIST     pgbench clients            [1,16,64,256]
  --protocols LIST   simple,extended,prepared   [all three]
  --scripts LIST     select,tpcb                [both]
  --targets LIST     direct,pgbouncer,pgshunt   [all three]
  --rounds N         rounds, interleaved        [3]
  --seconds N        length of each pgbench run [5]
  --pool N           servers in each pool       [20]
  --threads N        pgshunt's worker threads   [1, as many as pgbouncer has]
  --idle N           idle clients for memory    [2000; 0: skip]
  --large MB         size of the large result   [512; 0: skip]
  --scale N          pgbench scale              [10]
  --binary PATH      a pgshunt built already    [cargo build --release]
  --quick            one short round of a few cells: shows that it works, measures nothing
END
}

clients=1,16,64,256 protocols=simple,extended,prepared scripts=select,tpcb targets=direct,pgbouncer,pgshunt
rounds=3 seconds=5 pool=20 threads=1 idle=2000 large=512 scale=10 binary=
while [ $# -gt 0 ]; do
    case $1 in
        --quick) clients=1,16 scripts=select rounds=1 seconds=1 large=64 ;;
        --clients | --protocols | --scripts | --targets | --rounds | --seconds | --pool | --threads | --idle \
            | --large | --scale | --binary)
            [ $# -ge 2 ] || { echo "$1 wants a value" >&2; exit 2; }
            printf -v "${1#--}" %s "$2"
            shift
            ;;
        -h | --help) usage; exit 0 ;;
        *) echo "unknown option: $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done

say() { printf '%s\n' "$*" >&2; }

need() { say "$1 is missing: apt-get install $2"; exit 1; }
pg=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1 || true)
[ -n "$pg" ] || pg=$(pg_config --bindir 2>/dev/null) || need PostgreSQL postgresql
[ -x "$pg/initdb" ] || need initdb postgresql
command -v python3 >/dev/null || need python3 python3
PATH=$PATH:/usr/sbin
command -v pgbouncer >/dev/null || [[ ,$targets, != *,pgbouncer,* ]] || need pgbouncer pgbouncer

if [ -z "$binary" ]; then
    say "building pgshunt (release)"
    cargo build --quiet --release -p pgshunt
    binary=$PWD/target/release/pgshunt
fi

# PostgreSQL and pgbouncer refuse to run as root.
as=()
[ "$(id -u)" != 0 ] || as=(setpriv --reuid=postgres --regid=postgres --clear-groups)

# Both proxies and the idle clients hold thousands of sockets.
ulimit -n "$(ulimit -Hn)"

folder=$(mktemp -d /tmp/pgshunt-bench.XXXXXX)
[ "$(id -u)" != 0 ] || chown postgres "$folder"
proxies=()
clean_up() {
    trap - EXIT INT TERM
    for pid in ${proxies[@]+"${proxies[@]}"}; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    "${as[@]}" "$pg/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
pg_port=$(free_port) bouncer_port=$(free_port) shunt_port=$(free_port)

say "creating a cluster, scale $scale, fsync off"
"${as[@]}" "$pg/initdb" -D "$folder/data" -U postgres -A trust --no-sync >/dev/null
cat >>"$folder/data/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
port = $pg_port
unix_socket_directories = '$folder'
max_connections = 400
shared_buffers = 256MB
fsync = off
synchronous_commit = off
full_page_writes = off
max_wal_size = 4GB
autovacuum = off
END
"${as[@]}" "$pg/pg_ctl" -D "$folder/data" -l "$folder/postgres.log" -w start >/dev/null
export PGUSER=postgres PGDATABASE=postgres
"$pg/pgbench" -h 127.0.0.1 -p "$pg_port" -i -q -s "$scale" >/dev/null 2>&1
"$pg/psql" -h 127.0.0.1 -p "$pg_port" -qc 'VACUUM ANALYZE' -c CHECKPOINT

wait_for() { # name port log
    for _ in $(seq 100); do
        "$pg/pg_isready" -q -h 127.0.0.1 -p "$2" && return
        sleep 0.1
    done
    say "$1 does not answer:"
    cat "$3" >&2
    exit 1
}

measured=(--target "direct:$pg_port")

if [[ ,$targets, == *,pgbouncer,* ]]; then
    echo '"postgres" ""' >"$folder/users.txt"
    cat >"$folder/pgbouncer.ini" <<END
[databases]
postgres = host=127.0.0.1 port=$pg_port
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $bouncer_port
unix_socket_dir =
auth_type = trust
auth_file = $folder/users.txt
pool_mode = transaction
default_pool_size = $pool
max_client_conn = 5000
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
END
    "${as[@]}" pgbouncer -q "$folder/pgbouncer.ini" >"$folder/pgbouncer.log" 2>&1 &
    proxies+=($!)
    measured+=(--target "pgbouncer:$bouncer_port:$!")
    wait_for pgbouncer "$bouncer_port" "$folder/pgbouncer.log"
fi

if [[ ,$targets, == *,pgshunt,* ]]; then
    cat >"$folder/pgshunt.toml" <<END
[listen]
clients = ["127.0.0.1:$shunt_port"]
[auth]
mode = "trust"
[pool]
size = $pool
[[database]]
name = "postgres"
control = "postgres://postgres@/postgres"
[[database.shard]]
servers = ["127.0.0.1:$pg_port"]
END
    PGSHUNT_LOG=warn "$binary" serve -c "$folder/pgshunt.toml" --threads "$threads" >"$folder/pgshunt.log" 2>&1 &
    proxies+=($!)
    measured+=(--target "pgshunt:$shunt_port:$!")
    wait_for pgshunt "$shunt_port" "$folder/pgshunt.log"
fi

out=$PWD/tests/bench/out
mkdir -p "$out"
{
    "$pg/postgres" --version
    command -v pgbouncer >/dev/null && pgbouncer --version | head -1
    "$binary" --version
    echo "$(nproc) processors, $(uname -sr), load $(cut -d' ' -f1-3 /proc/loadavg); pool $pool, pgshunt --threads $threads"
} | tee "$out/about.txt"

if ! python3 tests/bench/measure.py --pgbench "$pg/pgbench" --out "$out" "${measured[@]}" \
    --clients "$clients" --protocols "$protocols" --scripts "$scripts" --targets "$targets" \
    --rounds "$rounds" --seconds "$seconds" --idle "$idle" --large "$large"; then
    tail -n 5 "$folder"/*.log >&2
    exit 1
fi
python3 tests/bench/plot.py "$out"
