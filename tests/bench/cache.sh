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

off=$((base + 10)) on=$((base + 20)) tables=$((base + 30))
class='[[cache.class]]
name = "all"
tables = ["pgbench_accounts", "sale"]
ttl = "1h"'
serve off $off '' $base
serve on $on "[cache]
tenant_column = \"tenant\"
$class" $base
# Without the tenant's column a write makes all of its table old.
serve tables $tables "$class" $base
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
# A business application: few tenants ask most, each a few questions; one statement of twenty writes.
cat >"$folder/zipf.sql" <<'END'
\set tenant random_zipfian(1, 100, 1.1)
\set question random(1, 4)
\if random(1, 100) <= 5
INSERT INTO sale VALUES (:tenant, date '2025-12-31', :question, 1);
\elif :question = 1
SELECT count(*), sum(amount) FROM sale WHERE tenant = :tenant AND day >= date '2025-12-01';
\elif :question = 2
SELECT product, sum(amount) FROM sale WHERE tenant = :tenant AND day >= date '2025-11-01' GROUP BY 1 ORDER BY 1;
\elif :question = 3
SELECT max(day) FROM sale WHERE tenant = :tenant;
\else
SELECT day, sum(amount) FROM sale WHERE tenant = :tenant AND day >= date '2025-12-15' GROUP BY 1 ORDER BY 1;
\endif
END
cp "$folder/zipf.sql" "$folder/reads.sql"
sed -i 's/<= 5$/<= 0/' "$folder/reads.sql"

postmaster=$(head -1 "$folder/node0/postmaster.pid")
echo "$(nproc) processors, PostgreSQL $("$pg/postgres" --version | awk '{print $3}'), 8 clients, $seconds s each, medians of $rounds rounds"
# compare PROTOCOL SCRIPT...
compare() {
    local protocol=$1
    shift
    echo "$protocol protocol"
    python3 tests/bench/cache.py --pgbench "$pg/pgbench" --folder "$folder" --seconds "$seconds" --rounds "$rounds" --protocol "$protocol" \
        --target "direct:$base:$postmaster" --target "off:$off:$pid_off" --target "on:$on:$pid_on" "$@"
}
compare prepared key report other miss
compare extended key other miss
compare simple key other miss

# What one processor answers that does nothing else, asked by another one that does nothing but ask.
middle() { sort -n | awk '{all[NR] = $1} END {print all[int((NR + 1) / 2)]}'; }
rate() { # PROTOCOL HOST PORT
    taskset -c 1 "$pg/pgbench" -n -h "$2" -p "$3" -U app -M "$1" -f "$folder/key.sql" -c 8 -j 1 -T "$seconds" app | awk '/^tps/ {print $3}'
}
# ticks PID: hundredths of a second that a process and its children have taken so far
ticks() { { cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v pid="$1" '$1 == pid {sum += $14 + $15 + $16 + $17} $4 == pid {sum += $14 + $15} END {print sum}'; }
# a_second PROTOCOL HOST PORT PID: answers for a second of that process's own time, whether pgbench asks as fast or not
a_second() {
    local before tps
    for ((round = 0; round < rounds; round++)); do
        before=$(ticks "$4")
        tps=$(rate "$1" "$2" "$3")
        # Processes that end are counted once their parent has taken note.
        sleep 0.5
        awk -v tps="$tps" -v seconds="$seconds" -v ticks=$(($(ticks "$4") - before)) 'BEGIN {print tps * seconds / ticks * 100}'
    done | middle
}
if [ "$(nproc)" -gt 1 ]; then
    echo
    echo "by primary key, on one processor, answers for a second of its time; beside it what does nothing but answer (bare)"
    cargo build --quiet --release --workspace --bins
    bare=$((base + 40))
    target/release/bare-answers $bare "$folder/sockets/.s.PGSQL.$bare" &
    pid_bare=$!
    for pid in "$postmaster" "$pid_on" "$pid_bare"; do taskset -apc 0 "$pid" >/dev/null; done
    for line in TCP Unix; do
        for protocol in simple extended prepared; do
            direct=$folder hit=$folder/sockets
            [ $line = Unix ] || direct=127.0.0.1 hit=127.0.0.1
            own=$(a_second $protocol "$direct" "$base" "$postmaster")
            hits=$(a_second $protocol "$hit" "$on" "$pid_on")
            most=$(a_second $protocol "$hit" "$bare" "$pid_bare")
            awk -v line=$line -v protocol=$protocol -v own="$own" -v hits="$hits" -v most="$most" 'BEGIN {
                printf "%-5s %-9s PostgreSQL %7.0f   hits %7.0f   %.1f times   bare %7.0f   %.1f times\n", line, protocol, own, hits, hits / own, most, most / own
            }'
        done
    done
    for pid in "$postmaster" "$pid_on"; do taskset -apc "0-$(($(nproc) - 1))" "$pid" >/dev/null; done
    kill "$pid_bare"
fi

# counts PORT: hits and misses so far
counts() {
    psql -XAt -h 127.0.0.1 -p $(($1 + 1)) -U postgres pgshunt -c "SHOW CACHE" | awk -F'|' '$2 == "*" {print $4, $5}'
}
echo
echo "Zipf over 100 tenants, four questions each; hit rate of the reads, from empty"
for script in reads zipf; do
    for target in "off $off" "tables $tables" "on $on"; do
        read -r name port <<<"$target"
        psql -q -h 127.0.0.1 -p $((port + 1)) -U postgres pgshunt -c CLEAR_CACHE
        read -r hits misses < <(counts "$port") || true
        tps=$("$pg/pgbench" -n -h 127.0.0.1 -p "$port" -U app -M prepared -f "$folder/$script.sql" -c 8 -j 1 \
            -T $((seconds * 4)) app | awk '/^tps/ {print $3}')
        rate=$(counts "$port" | awk -v hits="${hits:-0}" -v misses="${misses:-0}" \
            '{hits = $1 - hits; misses = $2 - misses; if (hits + misses) printf "%.1f %%", 100 * hits / (hits + misses)}')
        printf '%-6s %-7s %8.0f statements/s   %s\n' "$script" "$name" "$tps" "${rate:-no cache}"
    done
done
