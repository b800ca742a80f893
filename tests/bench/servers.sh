# What split.sh and cache.sh begin with: options, a PostgreSQL of their own, and pgshunt in front of it. To be sourced, with the
# script's options, by a script whose lines 2 to 4 say what it is for; $name says whose folder it is, $settings what its
# PostgreSQL has besides.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=5 rounds=3 binary=
while [ $# -gt 0 ]; do
    case $1 in
        --seconds | --rounds | --binary) printf -v "${1#--}" %s "$2"; shift 2 ;;
        *) sed -n '2,4s/^# \?//p' "$script" >&2; exit 2 ;;
    esac
done
if [ -z "$binary" ]; then
    cargo build --quiet --release -p pgshunt
    binary=$PWD/target/release/pgshunt
fi
pg=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
as=()
[ "$(id -u)" != 0 ] || as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
folder=$(mktemp -d "${TMPDIR:-/tmp}/pgshunt-$name.XXXXXX")
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
mkdir "$folder/sockets"

# start NUMBER: that node, at port $base + NUMBER
start() { "${as[@]}" "$pg/pg_ctl" -w -D "$folder/node$1" -o "-p $((base + $1))" -l "$folder/log$1" start >/dev/null; }

"${as[@]}" "$pg/initdb" -N -U postgres -A scram-sha-256 --pwfile "$folder/password" -D "$folder/node0" >/dev/null
cat >>"$folder/node0/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
unix_socket_directories = '$folder'
max_connections = 300
shared_buffers = '256MB'
$settings
END
start 0

# fill: a role and a database app, with pgbench's tables
fill() {
    psql -q -h 127.0.0.1 -p $base -U postgres -c "CREATE ROLE app SUPERUSER LOGIN PASSWORD 'pw'" -c "CREATE DATABASE app OWNER app"
    "$pg/pgbench" -h 127.0.0.1 -p $base -U app -i -q -s 5 app >/dev/null 2>&1
}

# serve NAME PORT RULES SERVER...: pgshunt, its process in $pid_NAME, its console at PORT + 1, its Unix sockets in $folder/sockets
serve() {
    local name=$1 port=$2
    printf '%s\n' "$3" >"$folder/$name.rules"
    shift 3
    cat >"$folder/$name.toml" <<END
threads = 1
[listen]
clients = ["127.0.0.1:$port", "unix:$folder/sockets:$port"]
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
