"""As much of PostgreSQL's protocol as one client needs that is let in without a password and runs simple queries."""

import socket
import struct
import time


class Connection:
    """A logged-in client."""

    def __init__(self, port, user="postgres", database="postgres"):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = f"user\0{user}\0database\0{database}\0\0".encode()
        self.socket.sendall(struct.pack("!II", len(body) + 8, 196608) + body)
        self.until_ready()

    def query(self, sql):
        """Runs a query; the answer's size in bytes and the seconds it took."""
        began = time.monotonic()
        body = sql.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!I", len(body) + 4) + body)
        size = self.until_ready()
        return size, time.monotonic() - began

    def until_ready(self):
        """Reads up to ReadyForQuery. It is the last message of an answer, so only the end must be looked at."""
        buffer = bytearray(1 << 20)
        tail, size, errors = b"", 0, b""
        while not (tail.startswith(b"Z\0\0\0\x05") and len(tail) == 6):
            count = self.socket.recv_into(buffer)
            if count == 0:
                raise SystemExit(f"the connection was closed: {errors or tail!r}")
            if size == 0 and buffer[:1] == b"E":
                errors = bytes(buffer[:200])
            size += count
            tail = (tail + bytes(buffer[max(0, count - 6) : count]))[-6:]
        if errors:
            raise SystemExit(f"refused: {errors!r}")
        return size

    def close(self):
        self.socket.sendall(b"X\0\0\0\4")
        self.socket.close()
