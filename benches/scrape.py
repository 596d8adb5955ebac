#!/usr/bin/env python3
"""How long does a scrape of 1,000 endpoints take, and do requests notice that it is done ten times a second?

First a number of scrapes, one after the other: their median and the longest. Then normal requests in rounds, without
scrapes and beside them, all through one worker, which shares its core with the threads that make and send the pages.
The result is the median of the ratios p99 beside / p99 without; beside it stands that of rounds without against rounds
without, which is what chance does. The scraper shares the core of the clients and replicas, which would have to wait
for it. Elsewhere it has a machine of its own, so here it runs under SCHED_IDLE and gives way to them.
The same again beside 64 peers that ask for pages and read nothing, while probes must be answered.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from lib.beside import compare
from lib.load import run_wrk
from lib.process import UNSTICK, Children, cores, cpu_ns, cpu_spent_ns, findings, free_port, need_tools, need_unstick
from lib.servers import Server, make_files, start_nginx, start_unstick

SCRAPER, LAZY = (Path(__file__).with_name("lib") / name for name in ("scraper.py", "lazy.py"))
REPLICAS = 2
REST = """
[[route]]
path = "/others"
pool = "others"
[[route]]
pool = "app"
[pool.others]
backends = {backends}
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=1000, help="endpoints of all pools together (1000)")
    parser.add_argument("--scrapes", type=int, default=50, help="scrapes that are timed (50)")
    parser.add_argument("--max-ms", type=float, default=50, help="exit 1 if their median is above (50)")
    parser.add_argument("--rounds", type=int, default=11, help="rounds of each kind (11)")
    parser.add_argument("--seconds", type=int, default=3, help="length of a round (3)")
    parser.add_argument("--connections", type=int, default=16, help="normal clients (16)")
    parser.add_argument("--pause-ms", type=int, default=8, help="mean rest of a normal client (8)")
    parser.add_argument("--per-second", type=int, default=10, help="scrapes per second beside them (10)")
    parser.add_argument("--lazy", type=int, default=64, help="peers that read nothing (64)")
    parser.add_argument("--max-ratio", type=float, default=1.2, help="exit 1 above this median ratio (1.2)")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    return parser.parse_args()


class Site:
    """One worker, two replicas, many more endpoints that get no requests, and clients on the other core."""

    def __init__(self, args: argparse.Namespace, children: Children, tmp: Path) -> None:
        self.args, self.children, self.admin, self.slowest_probe_ms = args, children, free_port(), 0.0
        core, self.core = cores()
        files = make_files(tmp / "files")
        replicas = [start_nginx(children, tmp, files, self.core).address for _ in range(REPLICAS)]
        others = [f"127.1.{number // 250}.{number % 250 + 1}:9" for number in range(args.endpoints - REPLICAS)]
        rest = REST.format(backends=json.dumps(others))
        admin = f"127.0.0.1:{self.admin}"
        self.proxy: Server = start_unstick(
            children, tmp, {"app": replicas}, need_unstick(args.unstick), core, admin=admin, rest=rest
        )

    def start(self, program: Path, *words: int, gives_way: bool = False) -> subprocess.Popen:
        command = [*(("chrt", "--idle", "0") if gives_way else ()), sys.executable, program, self.admin, *words]
        return self.children.start(command, self.core, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def scraper(self, count: int, interval_ms: int, gives_way: bool = False) -> subprocess.Popen:
        return self.start(SCRAPER, count, interval_ms, gives_way=gives_way)

    def finish(self, program: subprocess.Popen) -> dict:
        out, err = program.communicate(timeout=120)
        self.children.stop(program)
        if program.returncode:
            raise RuntimeError(f"a program beside it ended with {program.returncode}: {err.strip()[-500:]}")
        return json.loads(out)

    def round(self) -> int:
        """p99 of normal requests in microseconds."""
        args = self.args
        load = run_wrk(self.children, self.proxy.url(), args.seconds, args.connections, self.core, args.pause_ms)
        return load.expect_clean("normal requests").p99

    def scraped_round(self) -> int:
        """The same, while somebody scrapes."""
        scraper = self.scraper(self.args.seconds * self.args.per_second, 1000 // self.args.per_second, gives_way=True)
        p99 = self.round()
        self.finish(scraper)
        return p99

    def lazy_round(self) -> int:
        """The same, while peers ask for much and read nothing."""
        lazy = self.start(LAZY, self.args.lazy, self.args.seconds, gives_way=True)
        p99 = self.round()
        self.slowest_probe_ms = max(self.slowest_probe_ms, self.finish(lazy)["slowest_probe_ms"])
        return p99


def measure(args: argparse.Namespace, children: Children, tmp: Path) -> bool:
    site = Site(args, children, tmp)
    site.round()
    before = cpu_ns(site.proxy.pid)
    found = site.finish(site.scraper(args.scrapes, 0))
    cpu_ms = cpu_spent_ns(site.proxy.pid, before) / 1e6 / args.scrapes
    middle, longest = median(found["ms"]), max(found["ms"])
    print(
        f"{args.scrapes} scrapes of {args.endpoints} endpoints, {found['bytes'] / 1e6:.2f} MB each: "
        f"median {middle:.1f} ms, longest {longest:.1f} ms, {cpu_ms:.1f} ms of CPU"
    )
    ratios = [compare(args.rounds, site.round, site.scraped_round, ("without", "scraped"))]
    ratios.append(compare(args.rounds, site.round, site.lazy_round, ("without", "lazy")))
    print(f"the slowest probe beside {args.lazy} lazy peers took {site.slowest_probe_ms:.0f} ms")
    if middle > args.max_ms:
        print(f"FAILED: {middle:.1f} ms are more than {args.max_ms:g}")
    if max(ratios) > args.max_ratio:
        print(f"FAILED: {max(ratios):.2f} is above {args.max_ratio:g}")
    return middle <= args.max_ms and max(ratios) <= args.max_ratio


def main() -> int:
    args = arguments()
    need_tools("chrt", "nginx", "wrk")
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-scrape-") as tmp, Children() as children:
        return 0 if measure(args, children, Path(tmp)) else 1


if __name__ == "__main__":
    sys.exit(main())
