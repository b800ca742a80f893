"""Runs pgbench scripts against PostgreSQL itself and pgshunt without and with a cache, in turn. Started by cache.sh."""

import argparse
import glob
import os
import re
import statistics
import subprocess
import sys
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Target:
    """A server by its first process: what it costs is what that and its children take."""

    def __init__(self, text):
        name, port, pid = text.split(":")
        self.name, self.port, self.pid = name, port, pid

    def cpu_seconds(self):
        ticks = 0
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(path) as stat:
                    pid, rest = stat.read().split(" (", 1)
            except OSError:
                continue
            fields = rest.rpartition(")")[2].split()
            if pid == self.pid:
                # Its children that have ended are in its own account.
                ticks += sum(map(int, fields[11:15]))
            elif fields[1] == self.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_SECOND


def run(options, target, script, seconds):
    """One run: queries a second, the 99th percentile of a transaction in ms, CPU-seconds for 100,000 queries."""
    path, _, per_transaction = script.partition(":")
    log = os.path.join(options.folder, "latency")
    for old in glob.glob(log + "*"):
        os.remove(old)
    command = [options.pgbench, "-n", "-h", "127.0.0.1", "-p", target.port, "-U", "app", "-M", options.protocol]
    command += ["-f", os.path.join(options.folder, path + ".sql"), "-c", str(options.clients), "-j", "1"]
    command += ["-T", str(seconds), "-l", "--log-prefix", log, "app"]
    before = target.cpu_seconds()
    ended = subprocess.run(command, capture_output=True, text=True)
    # Processes that end are counted once their parent has taken note.
    time.sleep(0.5)
    cpu = target.cpu_seconds() - before
    if ended.returncode != 0 or re.search(r"failed transactions: [1-9]", ended.stdout):
        sys.exit(f"pgbench failed on {target.name}: {' '.join(command)}\n{ended.stdout}\n{ended.stderr}")
    latencies = []
    for path in glob.glob(log + "*"):
        with open(path) as lines:
            latencies += [int(line.split()[2]) for line in lines]
    latencies.sort()
    queries = len(latencies) * int(per_transaction or 1)
    return {
        "qps": float(re.search(r"tps = ([\d.]+)", ended.stdout)[1]) * int(per_transaction or 1),
        "p99_ms": latencies[int(len(latencies) * 0.99)] / 1000,
        "cpu": cpu / queries * 100_000,
    }


def main():
    parser = argparse.ArgumentParser()
    for name in ["pgbench", "folder"]:
        parser.add_argument(f"--{name}", required=True)
    for name, default in [("rounds", 3), ("seconds", 5), ("clients", 8)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--protocol", default="prepared")
    parser.add_argument("--target", action="append", type=Target, required=True)
    # NAME or NAME:QUERIES, if a transaction of it has more than one.
    parser.add_argument("scripts", nargs="+")
    options = parser.parse_args()
    names = [target.name for target in options.target]
    print(f"{'':10}" + "".join(f"{name + ': q/s':>14}{'p99 ms':>9}{'CPU-s/100k':>12}" for name in names))
    for script in options.scripts:
        runs = {target.name: [] for target in options.target}
        for target in options.target[1:]:
            run(options, target, script, 1)
        for number in range(options.rounds):
            # Another one begins each round: none always follows the same other.
            turn = number % len(options.target)
            for target in options.target[turn:] + options.target[:turn]:
                runs[target.name].append(run(options, target, script, options.seconds))
        line = f"{script.partition(':')[0]:10}"
        for name in names:
            middle = {key: statistics.median(one[key] for one in runs[name]) for key in runs[name][0]}
            line += f"{middle['qps']:14.0f}{middle['p99_ms']:9.2f}{middle['cpu']:12.3f}"
        for name in names[:-1]:
            pairs = zip(runs[name], runs[names[-1]])
            ratios = [other["cpu"] / one["cpu"] for one, other in pairs if one["cpu"]]
            line += f"   {names[-1]}/{name} {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
        print(line, flush=True)


main()
