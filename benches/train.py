#!/usr/bin/env python3
"""Plays requests of all usual kinds, so that a build with counters learns what a proxy does most (PGO).

packaging/build.sh calls it. It needs Python and openssl, and no other load generator; it takes some seconds. Clients
and replicas are threads of one process, on 127.0.0.1. What the binary writes at its end is the profile.
"""

import argparse
import json
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from lib.process import UNSTICK, Children, findings, free_port, need_unstick, wait_until
from lib.servers import make_certificate
from lib.steps import PATHS, Http1, Http1Tls, Http2, Http2Tls, Replicas, Uploads, respond

# The client and its listener, how many of them at once, requests of each, how many of these at once, and for what.
LOAD = [
    (Http1, "web", 16, 400, 1, "/"),
    (Http1Tls, "tls", 8, 300, 1, "/"),
    (Http2, "web", 4, 500, 8, "/"),
    (Http2Tls, "tls", 8, 500, 8, "/"),
    (Http2Tls, "tls", 1, 500, 50, "/"),
    (Http2Tls, "tls", 1, 500, 1, "/"),
    (Http1, "twice", 4, 200, 1, "/"),
    (Http1, "web", 4, 50, 1, "/64k"),
    (Http1Tls, "tls", 4, 50, 1, "/64k"),
    (Http2Tls, "tls", 4, 50, 4, "/64k"),
    (Http1, "web", 4, 10, 1, "/1m"),
    (Http2Tls, "tls", 2, 10, 2, "/1m"),
    (Uploads, "web", 4, 100, 1, "/"),
    (Http1Tls, "tls", 100, 1, 1, "/"),
]
CONFIG = """
workers = 1
[listen.web]
address = "127.0.0.1:{web}"
[listen.tls]
address = "127.0.0.1:{tls}"
tls = {{ cert = "{certificate}", key = "{certificate}" }}
# What comes here goes through the proxy twice, in between over HTTP/2.
[listen.twice]
address = "127.0.0.1:{twice}"
[admin]
address = "off"
socket = "off"
[pool.app]
backends = {backends}
[pool.itself]
protocol = "h2c"
backends = ["127.0.0.1:{web}"]
[[route]]
listen = "twice"
pool = "itself"
[[route]]
pool = "app"
"""


def serve(replicas: Replicas, is_over: threading.Event) -> None:
    """Answers until all requests have been played."""
    while not is_over.is_set():
        try:
            respond(*replicas.next_request())
        except (OSError, RuntimeError):  # a client that is over takes the connection with it
            if not is_over.is_set():
                raise


def ask(client: Http1 | Http2, requests: int, at_once: int, path: str) -> None:
    """Sends requests on one connection, so many at once."""
    for nth in range(requests + at_once):
        if nth >= at_once:
            client.receive(PATHS[path])
        if nth < requests:
            client.send(path)


def play(port: int, kind: type, clients: int, requests: int, at_once: int, path: str) -> None:
    """One line of the load."""
    failures = []

    def run() -> None:
        try:
            with ExitStack() as stack:
                ask(kind(stack, port), requests, at_once, path)
        except Exception as error:  # of a thread: it is told below
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"{kind.__name__} {path}: {failures[0]!r}, and {len(failures) - 1} more")


def train(binary: Path, stack: ExitStack) -> int:
    """Starts the binary, plays all, and ends it. Returns how many requests were answered."""
    tmp = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unstick-train-")))
    children = stack.enter_context(Children())
    replicas, is_over = Replicas(stack), threading.Event()
    ports = {listener: free_port() for listener in ("web", "tls", "twice")}
    config, log, certificate = tmp / "unstick.toml", tmp / "log", make_certificate(tmp)
    config.write_text(CONFIG.format(**ports, certificate=certificate, backends=json.dumps(replicas.addresses)))
    proxy = children.start([binary, "run", "-c", config], log=log)

    def serves() -> bool:
        if proxy.poll() is not None:
            raise RuntimeError(f"{binary} ended with {proxy.returncode}:\n{log.read_text()[-2000:]}")
        return "serving" in log.read_text()

    wait_until(serves, 60, f"{binary} serves")
    threading.Thread(target=serve, args=(replicas, is_over), daemon=True).start()
    try:
        for kind, listener, *rest in LOAD:
            play(ports[listener], kind, *rest)
    finally:
        is_over.set()
        children.interrupt(proxy)  # so that it writes what it has counted
    if proxy.returncode:
        raise RuntimeError(f"{binary} ended with {proxy.returncode}:\n{log.read_text()[-2000:]}")
    return sum(clients * requests for _, _, clients, requests, _, _ in LOAD)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    args = parser.parse_args()
    with findings(), ExitStack() as stack:
        print(f"{train(need_unstick(args.unstick), stack)} requests were answered")
    return 0


if __name__ == "__main__":
    sys.exit(main())
