#!/usr/bin/env python3
"""Peers that ask for metrics many times at once and read nothing; scrape.py runs it as a process of its own.

    lazy.py PORT PEERS SECONDS

A peer whose connection is closed comes back at once. Prints how many connections there were, and how long the slowest
of the probes (`/healthz`) took that were sent meanwhile, in ms, as JSON.
"""

from __future__ import annotations

import json
import socket
import sys
import time

REQUESTS = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 32
PROBE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
TURN_S = 0.1


def peer(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(REQUESTS)
    sock.setblocking(False)
    return sock


def is_closed(sock: socket.socket) -> bool:
    """Whether the other side has given the connection up. What it has sent stays unread until that is seen."""
    try:
        sock.send(b"G")
        return False
    except BlockingIOError:
        return False
    except OSError:
        return True


def probe(port: int) -> float:
    """How long it took until the whole response was there, in ms."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(PROBE)
        response = b"".join(iter(lambda: sock.recv(4096), b""))
    if not response.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"a probe was not answered: {response[:100]!r}")
    return 1e3 * (time.monotonic() - began)


def main(port: str, peers: str, seconds: str) -> None:
    until = time.monotonic() + float(seconds)
    lazy = [peer(int(port)) for _ in range(int(peers))]
    opened, slowest = len(lazy), 0.0
    while time.monotonic() < until:
        time.sleep(TURN_S)
        slowest = max(slowest, probe(int(port)))
        for place, sock in enumerate(lazy):
            if is_closed(sock):
                sock.close()
                lazy[place] = peer(int(port))
                opened += 1
    print(json.dumps({"connections": opened, "slowest_probe_ms": slowest}))


if __name__ == "__main__":
    main(*sys.argv[1:])
