"""Runs pgbench against each target in turn and reads what it cost. Started by compare.sh."""

import argparse
import csv
import os
import re
import statistics
import subprocess
import sys

from wire import Connection

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Target:
    """PostgreSQL itself (pid 0: its cost is not counted) or a proxy in front of it."""

    def __init__(self, text):
        name, port, *pid = text.split(":")
        self.name, self.port, self.pid = name, int(port), int(pid[0]) if pid else 0

    def cpu_seconds(self):
        """User and system time of the whole process, all its threads."""
        if not self.pid:
            return 0.0
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def rss_kb(self):
        with open(f"/proc/{self.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])


def cells(options):
    return [
        (script, protocol, clients)
        for script in options.scripts.split(",")
        for protocol in options.protocols.split(",")
        for clients in map(int, options.clients.split(","))
    ]


def can(target, protocol):
    """pgbouncer before 1.21 has no prepared statements in transaction pooling."""
    return target.name != "pgbouncer" or protocol != "prepared"


def run(options, target, cell):
    """One pgbench run: transactions, their rate and latency, and the proxy's CPU time for 100,000 of them."""
    script, protocol, clients = cell
    command = [options.pgbench, "-n", "-h", "127.0.0.1", "-p", str(target.port), "-M", protocol]
    command += ["-b", {"select": "select-only", "tpcb": "tpcb-like"}[script]]
    command += ["-c", str(clients), "-j", str(min(clients, 2)), "-T", str(options.seconds)]
    before = target.cpu_seconds()
    ended = subprocess.run(command, capture_output=True, text=True)
    cpu = target.cpu_seconds() - before
    if ended.returncode != 0:
        sys.exit(f"pgbench failed on {target.name}: {' '.join(command)}\n{ended.stderr}")
    # PostgreSQL 15 and later count them.
    if re.search(r"failed transactions: [1-9]", ended.stdout):
        sys.exit(f"transactions failed on {target.name}: {' '.join(command)}\n{ended.stdout}")
    patterns = {
        "transactions": r"actually processed: (\d+)",
        "latency_ms": r"latency average = ([\d.]+)",
        "tps": r"tps = ([\d.]+)",
    }
    matches = {name: re.search(pattern, ended.stdout) for name, pattern in patterns.items()}
    if not all(matches.values()):
        print(f"  left out, too few transactions on {target.name}: {' '.join(command)}", file=sys.stderr)
        return None
    found = {name: float(match[1]) for name, match in matches.items()}
    found["cpu_per_100k"] = cpu / found["transactions"] * 100_000
    return found


def measure(options):
    """All runs: rounds outside, cells in them, targets side by side in the middle of each."""
    runs = []
    for target in options.target:
        run(argparse.Namespace(pgbench=options.pgbench, seconds=1), target, ("select", "simple", 4))
    for number in range(options.rounds):
        for cell in cells(options):
            # A different target begins each round, so that none always follows the same other.
            turn = number % len(options.target)
            for target in options.target[turn:] + options.target[:turn]:
                found = run(options, target, cell) if can(target, cell[1]) else None
                if found:
                    runs.append({"round": number, "cell": cell, "target": target.name, **found})
            print(f"  round {number + 1}: {' '.join(map(str, cell))}", file=sys.stderr)
    return runs


def summarize(options, runs):
    """A row for each cell and target: medians over the rounds; the ratio is the median of each round's own ratio."""
    rows = []
    for cell in cells(options):
        for target in options.target:
            mine = [r for r in runs if r["cell"] == cell and r["target"] == target.name]
            if not mine:
                continue
            ratios = [
                m["cpu_per_100k"] / other["cpu_per_100k"]
                for m in mine
                for other in runs
                if other["cell"] == cell and other["round"] == m["round"]
                if other["target"] == "pgbouncer" and other["cpu_per_100k"] and m["cpu_per_100k"]
            ]
            costs = [m["cpu_per_100k"] for m in mine]
            rows.append({
                "script": cell[0],
                "protocol": cell[1],
                "clients": cell[2],
                "target": target.name,
                "tps": round(statistics.median(m["tps"] for m in mine)),
                "latency_ms": round(statistics.median(m["latency_ms"] for m in mine), 3),
                "cpu_s_per_100k": round(statistics.median(costs), 2),
                "cpu_s_least": round(min(costs), 2),
                "cpu_s_most": round(max(costs), 2),
                "cpu_to_pgbouncer": round(statistics.median(ratios), 2) if ratios else "",
            })
    return rows


def idle_memory(options):
    """KiB of resident memory for each idle client that has run one query, beyond the empty process."""
    rows = []
    for target in options.target:
        if not target.pid or not options.idle:
            continue
        empty = target.rss_kb()
        connections = []
        for _ in range(options.idle):
            connections.append(Connection(target.port))
            connections[-1].query("SELECT 1")
        full = target.rss_kb()
        for connection in connections:
            connection.close()
        rows.append({
            "target": target.name,
            "clients": options.idle,
            "empty_kib": empty,
            "full_kib": full,
            "kib_per_client": round((full - empty) / options.idle, 2),
        })
    return rows


def large_result(options):
    """MB/s and CPU-seconds per GB of one large result, read as fast as it comes."""
    if not options.large:
        return []
    rows = []
    sql = f"SELECT repeat('x', 1000) FROM generate_series(1, {options.large * 1000})"
    for number in range(options.rounds):
        for target in options.target:
            connection = Connection(target.port)
            before = target.cpu_seconds()
            size, seconds = connection.query(sql)
            cpu = target.cpu_seconds() - before
            connection.close()
            rows.append({
                "round": number,
                "target": target.name,
                "mb_per_s": round(size / 1e6 / seconds),
                "cpu_s_per_gb": round(cpu / size * 1e9, 2),
            })
    return rows


def write(folder, name, rows):
    if rows:
        with open(os.path.join(folder, name), "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def table(rows):
    if not rows:
        return
    lines = [list(rows[0])] + [[str(value) for value in row.values()] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    print()
    for line in lines:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths)))


def main():
    parser = argparse.ArgumentParser()
    for name in ["pgbench", "out", "clients", "protocols", "scripts", "targets"]:
        parser.add_argument(f"--{name}", required=True)
    for name in ["rounds", "seconds", "idle", "large"]:
        parser.add_argument(f"--{name}", required=True, type=int)
    parser.add_argument("--target", action="append", type=Target, required=True)
    options = parser.parse_args()
    options.target = [t for t in options.target if t.name in options.targets.split(",")]

    memory = idle_memory(options)
    table(memory)
    runs = measure(options)
    summary = summarize(options, runs)
    table(summary)
    large = large_result(options)
    table(large)
    flat = [{**r, "cell": " ".join(map(str, r["cell"]))} for r in runs]
    for name, rows in [("runs", flat), ("summary", summary), ("memory", memory), ("large", large)]:
        write(options.out, f"{name}.tsv", rows)


main()
