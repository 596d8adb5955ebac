#!/usr/bin/env python3
"""CPU time per request of unstick against HAProxy, both in the same run.

Each proxy has one thread on one core; wrk and the replicas are on the other. The rounds are interleaved (A B, B A,
...), each pair gives one ratio, and the median ratio is the result: a noisy machine slows both sides of a pair alike.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from lib.load import Load, run_h2load, run_wrk
from lib.process import UNSTICK, Children, cores, cpu_ns, cpu_spent_ns, findings, need_tools, need_unstick, waited_ns
from lib.servers import BODIES, Server, make_certificate, make_files, start_haproxy, start_nginx, start_unstick
from lib.stats import median_interval

STREAMS = 8  # on each connection of HTTP/2
CONNECTIONS = {"small": 64, "64k": 32, "1m": 16}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each proxy (10)")
    parser.add_argument("--seconds", type=int, default=3, help="length of a round (3)")
    parser.add_argument("--connections", type=int, help="client connections (64; 32 for 64k, 16 for 1m)")
    parser.add_argument(
        "--body", choices=BODIES, default="small", help="what is fetched: 129 bytes (default), 64 KiB or 1 MiB"
    )
    parser.add_argument(
        "--tls",
        choices=["h1", "h2", "handshake"],
        help="in TLS: HTTP/1.1 on kept connections, HTTP/2 (16 connections with 8 streams), or HTTP/1.1 with a new "
        "connection and a full handshake for each request",
    )
    parser.add_argument(
        "--haproxy",
        choices=["plain", "equal"],
        default="equal",
        help="equal: all the headers that unstick sets (default); plain: X-Forwarded-For only",
    )
    parser.add_argument("--haproxy-bin", default="haproxy")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    parser.add_argument("--old", type=Path, metavar="PATH", help="compare with this unstick binary instead of HAProxy")
    parser.add_argument(
        "--noise-floor",
        action="store_true",
        help="compare HAProxy (or --old) with itself: how far from 1.0 the ratio strays by chance",
    )
    parser.add_argument(
        "--max-ratio", type=float, help="exit 1 above this median ratio (1.0 against HAProxy, else none)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds < 1:
        parser.error("--rounds and --seconds must be at least 1")
    if args.max_ratio is None and not args.old and not args.noise_floor:
        args.max_ratio = 1.0
    args.connections = args.connections or (16 if args.tls in ("h2", "handshake") else CONNECTIONS[args.body])
    return args


def start_proxies(args, children: Children, tmp: Path, backends: list, core: int) -> tuple[Server, Server]:
    """Starts the measured proxy and the one it is compared with."""
    pools = {"app": backends}
    certificate = make_certificate(tmp) if args.tls else None

    def reference(name: str) -> Server:
        if args.old:
            return start_unstick(children, tmp, pools, need_unstick(args.old), core, name=name, certificate=certificate)
        return start_haproxy(children, tmp, pools, core, args.haproxy_bin, args.haproxy == "equal", name, certificate)

    name = "old" if args.old else "haproxy"
    if args.noise_floor:
        return reference(f"{name}-1"), reference(f"{name}-2")
    return start_unstick(children, tmp, pools, need_unstick(args.unstick), core, certificate=certificate), reference(
        name
    )


class Bench:
    """Measures one round at a time."""

    def __init__(self, args, children: Children, proxies: tuple[Server, Server], core: int) -> None:
        self.args, self.children, self.proxies, self.core = args, children, proxies, core
        self.idle_share = 0.0  # the most CPU the proxy that was not measured took, as a share of the core
        self.wait_shares: list[float] = []  # how long the measured one waited for its core, as a share of the round

    def round(self, proxy: Server, seconds: int) -> tuple[float, Load]:
        """CPU microseconds per request of `proxy` under load."""
        (other,) = [p for p in self.proxies if p is not proxy]
        before, other_before, waited = cpu_ns(proxy.pid), cpu_ns(other.pid), waited_ns(proxy.pid)
        url = proxy.url(BODIES[self.args.body])
        if self.args.tls == "h2":
            load = run_h2load(self.children, url, seconds, self.args.connections, STREAMS, self.core)
        else:
            headers = ("Connection: close",) if self.args.tls == "handshake" else ()
            load = run_wrk(self.children, url, seconds, self.args.connections, self.core, headers=headers)
        spent, other_spent = cpu_spent_ns(proxy.pid, before), cpu_spent_ns(other.pid, other_before)
        load.expect_clean(proxy.name)
        self.idle_share = max(self.idle_share, other_spent / (load.microseconds * 1000))
        self.wait_shares.append((waited_ns(proxy.pid) - waited) / (load.microseconds * 1000))
        return spent / load.requests / 1000, load


def measure(args, children: Children, tmp: Path) -> dict:
    proxy_core, load_core = cores()
    files = make_files(tmp / "files", **{"64k": 65536, "1m": 1 << 20})
    replicas = [start_nginx(children, tmp, files, load_core) for _ in range(2)]
    proxies = start_proxies(args, children, tmp, [replica.address for replica in replicas], proxy_core)
    a, b = proxies
    bench = Bench(args, children, proxies, load_core)
    for proxy in (a, b):
        bench.round(proxy, min(2, args.seconds))  # warm-up: not counted, but it must be clean
    bench.idle_share, bench.wait_shares = 0.0, []

    say = (lambda *_: None) if args.json else (lambda text: print(text, flush=True))
    say(
        f"{f'TLS {args.tls}, ' if args.tls else ''}body {args.body}, "
        f"{args.connections} connections, {args.rounds} rounds of {args.seconds} s, "
        f"proxies on core {proxy_core}, wrk and 2 nginx on core {load_core}"
    )
    say(f"{'round':>5}  {a.name + ' us/req':>16} {'req/s':>8}  {b.name + ' us/req':>16} {'req/s':>8}  ratio")
    rounds = []
    for number in range(1, args.rounds + 1):
        order = (a, b) if number % 2 else (b, a)
        found = {proxy.name: bench.round(proxy, args.seconds) for proxy in order}
        (a_cpu, a_load), (b_cpu, b_load) = found[a.name], found[b.name]
        rounds.append(
            {
                "a_us": a_cpu,
                "b_us": b_cpu,
                "ratio": a_cpu / b_cpu,
                "a_per_second": a_load.per_second,
                "b_per_second": b_load.per_second,
            }
        )
        say(
            f"{number:>5}  {a_cpu:>16.2f} {a_load.per_second:>8.0f}  {b_cpu:>16.2f} {b_load.per_second:>8.0f}  "
            f"{a_cpu / b_cpu:.3f}"
        )

    ratios = [r["ratio"] for r in rounds]
    low, high = median_interval(ratios)
    return {
        "a": a.name,
        "b": b.name,
        "body": args.body,
        "connections": args.connections,
        "haproxy": None if args.old else args.haproxy,
        "rounds": rounds,
        "a_us": median(r["a_us"] for r in rounds),
        "b_us": median(r["b_us"] for r in rounds),
        "ratio": median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "ratio_95": [low, high],
        "idle_share": bench.idle_share,
        "wait_share": median(bench.wait_shares),
        "max_ratio": args.max_ratio,
        "ok": args.max_ratio is None or median(ratios) <= args.max_ratio,
    }


def main() -> int:
    args = arguments()
    need_tools(
        "nginx",
        "wrk",
        *(["openssl"] if args.tls else []),
        *(["h2load"] if args.tls == "h2" else []),
        *([] if args.old else [args.haproxy_bin]),
    )
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-cpu-") as tmp, Children() as children:
        result = measure(args, children, Path(tmp))
    if args.json:
        print(json.dumps(result, indent=2))
        return 0 if result["ok"] else 1
    print(f"median CPU us/request: {result['a']} {result['a_us']:.2f}, {result['b']} {result['b_us']:.2f}")
    print(
        f"median ratio {result['a']} / {result['b']}: {result['ratio']:.3f} "
        f"(95 % interval {result['ratio_95'][0]:.3f}-{result['ratio_95'][1]:.3f}, "
        f"min {result['ratio_min']:.3f}, max {result['ratio_max']:.3f})"
    )
    print(
        f"the idle proxy took at most {100 * result['idle_share']:.2f} % of the core; "
        f"the measured one waited for its core {100 * result['wait_share']:.1f} % of a round (median)"
    )
    if result["wait_share"] > 0.05:
        print("warning: other work on this machine disturbed the run, repeat it when that has ended")
    if not result["ok"]:
        print(f"FAILED: {result['ratio']:.3f} is above {args.max_ratio:g}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
