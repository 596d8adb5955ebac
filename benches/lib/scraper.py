#!/usr/bin/env python3
"""Scrapes metrics again and again, as Prometheus does; scrape.py runs it as a process of its own.

    scraper.py PORT COUNT INTERVAL_MS

Prints how long each of COUNT scrapes took, in ms, and the size of the last page, as JSON.
"""

from __future__ import annotations

import json
import socket
import sys
import time

REQUEST = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
BUFFER = 1 << 18


def scrape(port: int) -> int:
    """Bytes of a whole page. One that is not whole is an error."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(REQUEST.format(accept=ACCEPT).encode())
        parts = []
        while part := sock.recv(BUFFER):
            parts.append(part)
    head, _, page = b"".join(parts).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or not page.endswith(b"# EOF\n"):
        raise RuntimeError(f"no whole page: {head[:200]!r} {page[-200:]!r}")
    return len(page)


def main(port: str, count: str, interval_ms: str) -> None:
    took, size = [], 0
    began = time.monotonic()
    for number in range(int(count)):
        time.sleep(max(0.0, began + number * int(interval_ms) / 1e3 - time.monotonic()))
        start = time.monotonic()
        size = scrape(int(port))
        took.append(1e3 * (time.monotonic() - start))
    print(json.dumps({"ms": took, "bytes": size}))


if __name__ == "__main__":
    main(*sys.argv[1:])
