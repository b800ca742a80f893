"""What shards.sh measures with a client of its own: sums over four shards, and a merge of many rows."""

import re
import statistics
import sys
import threading

from wire import Connection

SUMS = "SELECT count(*), sum(amount) FROM facts"
MERGE = "SELECT id FROM facts ORDER BY id"
REPEATS = 5


def sums(direct, through):
    """Seconds of the slowest of four shards that are asked at once, and of the same through pgshunt, in turn."""
    shards = [Connection(direct, "app", f"app_s{number}") for number in range(4)]
    gathered = Connection(through, "app", "app")
    slowest, whole = [], []
    for _ in range(REPEATS):
        seconds = []
        threads = [
            threading.Thread(target=lambda shard=shard: seconds.append(shard.query(SUMS)[1])) for shard in shards
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        slowest.append(max(seconds))
        whole.append(gathered.query(SUMS)[1])
    one, other = statistics.median(slowest), statistics.median(whole)
    print(f"{one:.3f} {other:.3f} ratio {other / one:.2f}")


def merge(port, pid):
    """Reads the merged rows as fast as they come, and looks at pgshunt's resident memory before and at its highest."""
    connection = Connection(port, "app", "app")
    connection.query("SELECT count(*) FROM facts")
    before = status(pid, "VmRSS")
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")
    size, seconds = connection.query(MERGE)
    peak = status(pid, "VmHWM")
    print(f"{seconds:.1f} s, {size / 1e6:.0f} MB, from {before / 1024:.1f} MiB to {peak / 1024:.1f} MiB: {(peak - before) / 1024:.1f} MiB more")


def status(pid, name):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(rf"{name}:\s+(\d+)", file.read())[1])


if sys.argv[1] == "sums":
    sums(int(sys.argv[2]), int(sys.argv[3]))
else:
    merge(int(sys.argv[2]), int(sys.argv[3]))
