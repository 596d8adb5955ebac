#!/usr/bin/env python3
"""Do a million addresses in a rate limit slow other requests down, and how much memory do they take?

A flood comes to a route with a rate by address, each request from another address (a trusted proxy names it). After a
million of them the memory is compared with the bound. Then normal requests run beside the flood in rounds: with the
rate, and without it, both through the same worker and with the same flood. The result is the median of the ratios p99
with / p99 without; beside it stands that of rounds without against rounds without, which is what chance does.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from lib.beside import compare
from lib.load import finish_wrk, run_wrk, start_wrk
from lib.process import UNSTICK, Children, cores, findings, memory_kib, need_tools, need_unstick
from lib.servers import Server, make_files, start_nginx, start_unstick, wait_ready

REST = """
[[route]]
path = "/limited"
replace_prefix = { from = "/limited", to = "/" }
rate = { per = "address", requests = 100, in = "1m" }
pool = "app"
[[route]]
path = "/free"
replace_prefix = { from = "/free", to = "/" }
pool = "app"
[[route]]
pool = "app"
"""
BOUND_MIB = 32  # 19.2 MB of counts (docs/operations.md), and what the allocator takes around them


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--addresses", type=int, default=1_000_000, help="addresses before the first round (1000000)")
    parser.add_argument("--rounds", type=int, default=11, help="rounds of each kind (11)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a round (2)")
    parser.add_argument("--connections", type=int, default=16, help="normal clients (16)")
    parser.add_argument("--pause-ms", type=int, default=8, help="mean rest of a normal client (8)")
    parser.add_argument("--max-ratio", type=float, default=1.2, help="exit 1 above this median ratio (1.2)")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    return parser.parse_args()


class Site:
    """One worker, two replicas, and clients on the other core."""

    def __init__(self, args: argparse.Namespace, children: Children, tmp: Path) -> None:
        self.args, self.children = args, children
        proxy_core, self.core = cores()
        files = make_files(tmp / "files")
        pools = {"app": [start_nginx(children, tmp, files, self.core).address for _ in range(2)]}
        self.proxy: Server = start_unstick(children, tmp, pools, need_unstick(args.unstick), proxy_core, rest=REST)
        config = tmp / "unstick" / "unstick.toml"
        config.write_text(config.read_text().replace("[admin]", 'trusted_proxies = ["127.0.0.1"]\n\n[admin]', 1))
        children.stop(self.proxy.process)
        command = [need_unstick(args.unstick), "run", "-c", config, "--workers", 1]
        self.proxy.process = children.start(command, proxy_core, self.proxy.log)
        wait_ready(self.proxy)

    def memory(self) -> float:
        return memory_kib(self.proxy.pid) / 1024

    def fill(self) -> int:
        """Sends a request from each of the addresses; returns how many there were."""
        sent = 0
        while sent < self.args.addresses:
            url = self.proxy.url("/limited/")
            load = run_wrk(self.children, url, 10, 32, self.core, addresses_from=sent)
            sent += load.expect_clean("the flood").requests
            print(f"\r{sent} addresses", end="", flush=True)
        print()
        return sent

    def round(self, path: str, addresses_from: int) -> tuple[int, int]:
        """p99 of normal requests beside a flood to `path` in µs, and how many requests the flood had."""
        flood = start_wrk(
            self.children,
            self.proxy.url(path),
            self.args.seconds + 1,
            8,
            self.core,
            self.args.pause_ms // 2,
            addresses_from=addresses_from,
        )
        args = self.args
        normal = run_wrk(self.children, self.proxy.url(), args.seconds, args.connections, self.core, args.pause_ms)
        sent = finish_wrk(self.children, flood, args.seconds + 1).expect_clean("the flood").requests
        return normal.expect_clean("normal requests").p99, sent


def measure(args: argparse.Namespace, children: Children, tmp: Path) -> float:
    site = Site(args, children, tmp)
    # A flood like the one to come, so that only what the rate keeps is counted.
    run_wrk(children, site.proxy.url("/free/"), 20, 32, site.core, addresses_from=0)
    empty = site.memory()
    sent = site.fill()
    grown = site.memory() - empty
    print(f"memory: {empty:.1f} MiB before, {grown:.1f} MiB more after {sent} addresses (bound: {BOUND_MIB})")
    if grown > BOUND_MIB:
        raise RuntimeError("more than the bound")

    def beside(path: str) -> int:
        nonlocal sent
        p99, flooded = site.round(path, sent)
        sent += flooded
        return p99

    return compare(args.rounds, lambda: beside("/free/"), lambda: beside("/limited/"), ("free", "limited"))


def main() -> int:
    args = arguments()
    need_tools("nginx", "wrk")
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-rates-") as tmp, Children() as children:
        ratio = measure(args, children, Path(tmp))
    if ratio > args.max_ratio:
        print(f"FAILED: {ratio:.2f} is above {args.max_ratio:g}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
