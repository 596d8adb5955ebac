#!/usr/bin/env python3
"""User instructions per request, counted by callgrind: unlike seconds they are the same on a busy machine.

Without --gate or --record it measures a binary, with --old two of them. With --gate it builds the tree; exit code 1
says that a kind of request takes more instructions than the figures that are checked in (instructions.json) allow.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lib import recorded
from lib.callgrind import Callgrind, Thread, need_callgrind
from lib.process import UNSTICK, Children, findings, free_port, need_unstick, wait_until
from lib.servers import make_certificate
from lib.steps import Http1, Http1Tls, Http2, Replicas, exchange

PLAIN = "HTTP/1.1 request"
KINDS = {
    PLAIN: (Http1, "/"),
    "HTTP/1.1 over TLS": (Http1Tls, "/"),
    "HTTP/2 request": (Http2, "/"),
    "64 KiB response": (Http1, "/64k"),
}
WARM_UP = 100  # requests of each kind that are not counted
REST = 2  # seconds
LIMIT = 1.02  # times the recorded figure
WORKER = "unstick-0"  # the name of its thread
CONFIG = """
workers = 1
[listen.web]
address = "127.0.0.1:{port}"
[listen.tls]
address = "127.0.0.1:{tls_port}"
tls = {{ cert = "{certificate}", key = "{certificate}" }}
[admin]
address = "off"
[pool.app]
backends = {backends}
"""
# What many routes do: two fields, a prefix, and a rate that nobody reaches.
EDITED = "edited request"
ROUTES = """
[[route]]
[[route]]
path = "/api"
strip_prefix = "/api"
rate = {{ requests = 1000000, in = "1s" }}
request_headers = {{ set = {{ x-tenant = "a" }} }}
response_headers = {{ set = {{ strict-transport-security = "max-age=63072000" }} }}
"""
# With the admin port, so that somebody may scrape, and an access log.
LOGGED = "logged request"
LOG = """
[log]
access = "access.log"
"""
LOGGED_MAX = 1.08  # times a plain request


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    parser.add_argument("--old", type=Path, metavar="PATH", help="measure this binary too, and print the ratio")
    parser.add_argument("--routes", action="store_true", help="compare a plain request with one whose route does more")
    logged = f"compare a plain request with one that is logged; exit 1 above {LOGGED_MAX:g} times as many"
    parser.add_argument("--logged", action="store_true", help=logged)
    parser.add_argument("--starts", type=int, default=3, help="processes of each binary (3)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each kind in each process (3)")
    parser.add_argument("--requests", type=int, default=200, help="requests of a round (200)")
    parser.add_argument("--gate", action="store_true", help="build the tree, compare it with instructions.json")
    parser.add_argument("--record", action="store_true", help="build the tree, write its figures to instructions.json")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args = parser.parse_args()
    if min(args.starts, args.rounds, args.requests) < 1:
        parser.error("--starts, --rounds and --requests must be at least 1")
    return args


@dataclass
class Figure:
    """Instructions per request of all rounds of one kind."""

    rounds: list[float]

    @property
    def count(self) -> float:
        return median(self.rounds)

    @property
    def noise(self) -> float:
        """From the lowest to the highest round, as a share."""
        return (max(self.rounds) - min(self.rounds)) / self.count


@dataclass
class Ports:
    """Where the proxy listens."""

    plain: int
    tls: int


def start(children: Children, tmp: Path, binary: Path, ports: Ports, replicas: Replicas, text: str) -> Callgrind:
    """A proxy under callgrind with one worker, without health checks, admin port and access log."""
    folder = Path(tempfile.mkdtemp(dir=tmp))
    config, certificate = folder / "unstick.toml", make_certificate(folder)
    places = {"port": ports.plain, "tls_port": ports.tls, "certificate": certificate}
    config.write_text(text.format(**places, backends=json.dumps(replicas.addresses)))
    log = config.with_name("log")
    proxy = Callgrind(children, tmp, [binary, "run", "-c", config], log)

    def serves() -> bool:
        if proxy.process.poll() is not None:
            raise RuntimeError(f"{binary} ended with {proxy.process.returncode}:\n{log.read_text()[-2000:]}")
        return "serving" in log.read_text()

    wait_until(serves, 60, f"{binary} serves")
    return proxy


class Bench:
    """One process that is being measured."""

    def __init__(self, children: Children, tmp: Path, binary: Path, stack: ExitStack, text: str) -> None:
        self._replicas, self._ports = Replicas(stack), Ports(free_port(), free_port())
        self._proxy = start(children, tmp, binary, self._ports, self._replicas, text)
        self._proxy.taken()  # the start of the main thread takes as much as a hundred requests
        self._worker = Thread(self._proxy.pid, WORKER)
        self._number = ""  # callgrind's of the same thread
        self._per_second = 0.0

    def _play(self, client: Http1 | Http2, path: str, requests: int) -> float:
        """Instructions of the worker for each of `requests`."""
        begin = time.monotonic()
        for _ in range(requests):
            exchange(client, self._replicas, path, self._worker.wait_until_it_rests)
        seconds, threads = time.monotonic() - begin, self._proxy.taken()
        self._number = self._number or max(threads, key=threads.get)
        return (threads[self._number] - seconds * self._per_second) / requests

    def _learn_what_the_clock_costs(self) -> None:
        """What the worker does without a request, now and then: the more often, the longer requests take."""
        begin = time.monotonic()
        time.sleep(REST)
        threads = self._proxy.taken()
        self._per_second = threads[self._number] / (time.monotonic() - begin)

    def run(self, args: argparse.Namespace, kinds: dict) -> dict[str, list[float]]:
        """The rounds of each kind."""
        found = {}
        for kind, (client_of, path) in kinds.items():
            with ExitStack() as stack:  # a connection that is not used any more costs something a second later
                port = self._ports.tls if client_of is Http1Tls else self._ports.plain
                client = client_of(stack, port)
                if not self._per_second:
                    self._play(client, path, WARM_UP)
                    self._learn_what_the_clock_costs()
                self._play(client, path, WARM_UP)
                found[kind] = [self._play(client, path, args.requests) for _ in range(args.rounds)]
        return found


def measure(args: argparse.Namespace, binary: Path, text: str = CONFIG, kinds: dict = KINDS) -> dict[str, Figure]:
    """All kinds, over several processes: each has another seed for its hash tables."""
    binary = need_unstick(binary)
    figures = {kind: Figure([]) for kind in kinds}
    for _ in range(args.starts):
        with ExitStack() as stack:
            tmp = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unstick-instructions-")))
            children = stack.enter_context(Children())
            for kind, rounds in Bench(children, tmp, binary, stack, text).run(args, kinds).items():
                figures[kind].rounds += rounds
    return figures


def show(args: argparse.Namespace, figures: dict[str, Figure], old: dict[str, float]) -> None:
    """The table; `old` are the figures to compare with, if there are any."""
    if args.json:
        rows = ((kind, figure.count, figure.noise, old.get(kind)) for kind, figure in figures.items())
        print(json.dumps([dict(zip(("kind", "instructions", "noise", "old"), row)) for row in rows], indent=2))
        return
    print(f"{'instructions':<18} {'each':>9} {'noise':>8}" + (f" {'old':>9} {'ratio':>7}" if old else ""))
    for kind, figure in figures.items():
        against = f" {old[kind]:>9.0f} {figure.count / old[kind]:>7.4f}" if old else ""
        print(f"{kind:<18} {figure.count:>9.0f} {100 * figure.noise:>6.2f} %{against}")


def counts(figures: dict[str, Figure]) -> dict[str, float]:
    return {kind: figure.count for kind, figure in figures.items()}


def reference(args: argparse.Namespace) -> dict[str, float]:
    """The figures that are checked in; where they are of another machine, those of the same commit on this one."""
    record, here = recorded.load(), recorded.environment()
    differs = [name for name in here if here[name] != record["environment"].get(name)]
    if not differs:
        return record["instructions"]
    commit = recorded.commit()
    print(f"the figures are of another machine ({', '.join(differs)}): building their commit {commit[:12]}", flush=True)
    with tempfile.TemporaryDirectory(dir=recorded.TARGET) as keep:
        return counts(measure(args, recorded.build_commit(commit, Path(keep) / "unstick")))


def gate(args: argparse.Namespace) -> int:
    figures = measure(args, recorded.build())
    old = reference(args)
    show(args, figures, old)
    ratios = {kind: figure.count / old[kind] for kind, figure in figures.items()}
    dearer = {kind: ratio for kind, ratio in ratios.items() if ratio > LIMIT}
    for kind, ratio in dearer.items():
        print(
            f"FAILED: {kind}: {100 * (ratio - 1):.1f} % more instructions than recorded, allowed are "
            f"{100 * (LIMIT - 1):g} %. If it must: benches/instructions.py --record, and say in the commit why"
        )
    if min(ratios.values()) < 2 - LIMIT:
        print("fewer than recorded: benches/instructions.py --record, so that they stay fewer")
    return 1 if dearer else 0


def routes(args: argparse.Namespace) -> None:
    """What a route that does more costs, beside a plain request without routes."""
    request = (Http1, "/api/")  # the same: a longer target alone takes some more
    plain = measure(args, args.unstick, CONFIG, {PLAIN: request})
    edited = measure(args, args.unstick, CONFIG + ROUTES, {EDITED: request})
    show(args, plain | edited, {kind: plain[PLAIN].count for kind in (PLAIN, EDITED)})


def logged(args: argparse.Namespace) -> int:
    """What an access log and the admin port cost, beside a plain request without both."""
    plain = measure(args, args.unstick, CONFIG, {PLAIN: KINDS[PLAIN]})
    text = CONFIG.replace('"off"', '"127.0.0.1:0"') + LOG
    found = measure(args, args.unstick, text, {LOGGED: KINDS[PLAIN]})
    show(args, plain | found, {kind: plain[PLAIN].count for kind in (PLAIN, LOGGED)})
    ratio = found[LOGGED].count / plain[PLAIN].count
    if ratio > LOGGED_MAX:
        print(f"FAILED: {100 * (ratio - 1):.1f} % more instructions, allowed are {100 * (LOGGED_MAX - 1):g} %")
        return 1
    return 0


def main() -> int:
    args = arguments()
    need_callgrind()
    with findings():
        if args.routes:
            routes(args)
            return 0
        if args.logged:
            return logged(args)
        if args.gate:
            return gate(args)
        figures = measure(args, recorded.build() if args.record else args.unstick)
        old = counts(measure(args, args.old)) if args.old else {}
        show(args, figures, old)
        if args.record:
            recorded.save(counts(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
