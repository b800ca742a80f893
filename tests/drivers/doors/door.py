"""Reads one way in a line and says what became of it: "tls NAME" or "plain NAME", or "no"; then what else it saw.

A line: a connection string, and behind a tab "version" or "version cancel" to hear of the protocol and of a cancelled
statement.
"""
import sys
import threading
import time

import psycopg


def visit(dsn, more):
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            line = "tls" if connection.pgconn.ssl_in_use else "plain"
            seen = [line, connection.execute("SELECT current_user").fetchone()[0]]
            if "version" in more:
                seen.append(str(connection.pgconn.full_protocol_version))
            if "cancel" in more:
                seen.append(cancelled(connection))
            return " ".join(seen)
    except psycopg.Error as refusal:
        print(dsn, refusal, file=sys.stderr)
        return "no"


def cancelled(connection):
    """As soon as the statement is seen to run, it is cancelled."""
    pid = connection.execute("SELECT pg_backend_pid()").fetchone()[0]

    def cancel():
        with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as watcher:
            running = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND query LIKE '%%pg_sleep%%'"
            while watcher.execute(running, [pid]).fetchone()[0] == 0:
                time.sleep(0.01)
        connection.cancel_safe(timeout=10)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        connection.execute("SELECT pg_sleep(60)")
        return "not cancelled"
    except psycopg.errors.QueryCanceled:
        return "cancelled"
    finally:
        canceller.join()


for way in sys.stdin:
    dsn, _, more = way.rstrip("\n").partition("\t")
    print(visit(dsn, more.split()), flush=True)
