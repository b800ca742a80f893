# Sourced: one PostgreSQL with TLS and SCRAM, superuser "app", and pgshunt in front of it, on free ports, until `strike`.
#
# raise POOL     starts both; sets stage (folder), direct, through, admin, http (ports). With replicas=1 pgshunt has two
#                standbys to read from as well, one of them three seconds behind
# count NAME     a counter of pgshunt's /metrics, summed over its labels

password='s3cret pass/word'
stage=

# PostgreSQL refuses to run as root.
as_postgres() {
    if ((EUID == 0)); then
        setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
    else
        "$@"
    fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

raise() { # POOL
    stage=$(mktemp -d "${TMPDIR:-/tmp}/pgshunt-suites.XXXXXX")
    chmod 755 "$stage"
    direct=$(free_port) through=$(free_port) admin=$(free_port) http=$(free_port)
    sh "$root/certs/make.sh" "$stage/certs" app >/dev/null
    raise_postgresql
    servers="\"127.0.0.1:$direct\""
    if ((${replicas:-0})); then
        raise_replica near 0
        raise_replica far 3s
    fi
    raise_pgshunt "$1"
    export PGUSER=app PGPASSWORD=$password PGHOST=localhost
}

raise_postgresql() {
    mkdir "$stage/tls" "$stage/cluster" "$stage/near-cluster" "$stage/far-cluster"
    chmod 700 "$stage"/*-cluster
    install -m 600 "$stage/certs/server.crt" "$stage/certs/server.key" "$stage/tls"
    printf '%s\n' "$password" >"$stage/password"
    if ((EUID == 0)); then
        chown -R postgres "$stage/tls" "$stage"/*cluster "$stage/password"
    fi
    as_postgres "$pg_bin/initdb" -D "$stage/cluster" -U app --pwfile="$stage/password" --auth=scram-sha-256 \
        --no-locale --encoding=UTF8 --no-sync >/dev/null
    as_postgres tee -a "$stage/cluster/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1, ::1'
port = $direct
unix_socket_directories = ''
ssl = on
ssl_cert_file = '$stage/tls/server.crt'
ssl_key_file = '$stage/tls/server.key'
wal_level = logical
max_connections = 300
max_prepared_transactions = 20
fsync = off
max_wal_size = 2GB
CONF
    as_postgres "$pg_bin/pg_ctl" -D "$stage/cluster" -l "$stage/cluster/log" -w start >/dev/null
}

raise_replica() { # NAME DELAY
    local port
    port=$(free_port)
    as_postgres env PGPASSWORD="$password" "$pg_bin/pg_basebackup" -R -X stream -c fast --no-sync \
        -d "host=127.0.0.1 port=$direct user=app" -D "$stage/$1-cluster"
    as_postgres tee -a "$stage/$1-cluster/postgresql.conf" >/dev/null <<CONF
port = $port
recovery_min_apply_delay = '$2'
hot_standby_feedback = on
CONF
    as_postgres "$pg_bin/pg_ctl" -D "$stage/$1-cluster" -l "$stage/$1-cluster/log" -w start >/dev/null
    servers+=", \"127.0.0.1:$port\""
}

raise_pgshunt() { # POOL
    cat >"$stage/pgshunt.toml" <<CONF
[listen]
clients = ["127.0.0.1:$through", "[::1]:$through"]
admin = "127.0.0.1:$admin"
http = "127.0.0.1:$http"
[tls]
certificate = "$stage/certs/server.crt"
key = "$stage/certs/server.key"
[pool]
size = $1
[console]
admins = ["app"]
[[database]]
name = "*"
control = "postgres://app@/postgres"
[database.server_tls]
sslmode = "require"
[[database.shard]]
servers = [$servers]
CONF
    PGSHUNT_CONTROL_PASSWORD=$password "$pgshunt" serve -c "$stage/pgshunt.toml" 2>"$stage/pgshunt.log" &
    pgshunt_pid=$!
    for _ in {1..100}; do
        "$pg_bin/pg_isready" -q -h 127.0.0.1 -p "$through" && return
        sleep 0.1
    done
    cat "$stage/pgshunt.log" >&2
    return 1
}

count() { # NAME
    python3 - "$http" "$1" <<'PYTHON'
import sys, urllib.request
page = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics").read().decode()
lines = (line for line in page.splitlines() if line.split("{")[0].split(" ")[0] == sys.argv[2])
print(sum(int(float(line.rsplit(" ", 1)[1])) for line in lines))
PYTHON
}

# Ends both; a pgshunt that panicked or did not end well is a failure.
strike() {
    [[ -n $stage ]] || return 0
    local ended=0
    if [[ -n ${pgshunt_pid:-} ]]; then
        kill "$pgshunt_pid" 2>/dev/null || true
        wait "$pgshunt_pid" || ended=$?
        pgshunt_pid=
    fi
    local cluster
    for cluster in "$stage"/*cluster; do
        as_postgres "$pg_bin/pg_ctl" -D "$cluster" -m immediate stop >/dev/null 2>&1 || true
    done
    if ((ended != 0)) || grep -q panicked "$stage/pgshunt.log"; then
        echo "pgshunt ended with $ended:" >&2
        tail -20 "$stage/pgshunt.log" >&2
        ended=1
    fi
    rm -rf "$stage"
    stage=
    return "$ended"
}
