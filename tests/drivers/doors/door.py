"""Connects with a connection string and says who it is: "in NAME", or "out SQLSTATE"; then what else it sees.

Usage: door.py DSN [version | cancel]
"""
import sys
import threading
import time

import psycopg

try:
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        print("in", connection.execute("SELECT current_user").fetchone()[0])
        if "version" in sys.argv[2:]:
            print("protocol", connection.pgconn.full_protocol_version)
        if "cancel" in sys.argv[2:]:
            def cancel():
                time.sleep(0.5)
                connection.cancel_safe(timeout=10)
            threading.Thread(target=cancel).start()
            try:
                connection.execute("SELECT pg_sleep(60)")
                print("not cancelled")
            except psycopg.errors.QueryCanceled:
                print("cancelled")
except psycopg.Error as refusal:
    print("out", refusal.sqlstate or "")
    print(refusal, file=sys.stderr)
