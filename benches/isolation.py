#!/usr/bin/env python3
"""Do slow clients slow the others down?

Normal requests run in phases without / with / without / with a thousand slow uploads and one client that reads a large
response at 1 byte/s, all through the same worker. The result is the median of the ratios p99 with / p99 without.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from lib.load import run_wrk
from lib.process import UNSTICK, Children, cores, findings, free_port, need_tools, need_unstick, wait_until
from lib.servers import make_files, start_haproxy, start_nginx, start_unstick


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=1000, help="slow uploads at once (1000)")
    parser.add_argument("--pairs", type=int, default=9, help="phases without and with (9 of each)")
    parser.add_argument("--seconds", type=int, default=3, help="length of a phase (3)")
    parser.add_argument("--connections", type=int, default=16, help="normal clients (16)")
    parser.add_argument(
        "--pause-ms",
        type=int,
        default=8,
        help="mean rest of a normal client between two requests (8: about 2,000 requests/s in all); 0 = none",
    )
    parser.add_argument(
        "--control",
        choices=["none", "direct"],
        default="none",
        help="what the phases without do: none = no slow clients (default); direct = the slow clients go "
        "straight to the replica, so that only what the *proxy* makes of them remains",
    )
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    parser.add_argument("--haproxy", action="store_true", help="measure HAProxy instead")
    parser.add_argument("--max-ratio", type=float, default=1.5, help="exit 1 above this median ratio (1.5)")
    return parser.parse_args()


class Slow:
    """The process of lib/slow.py."""

    def __init__(self, children: Children, core: int) -> None:
        self.port = free_port()
        command = [sys.executable, Path(__file__).with_name("lib") / "slow.py", self.port]
        self.process = children.start(command, core, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, command: str) -> dict:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the slow clients ended at `{command}`")
        return json.loads(answer)

    def start(self, port: int, uploads: int) -> None:
        self.tell(f"start {port} {uploads}")
        wait_until(lambda: self.tell("status")["uploads"] >= uploads, 20, f"{uploads} uploads reach the replica", 0.1)

    def stop(self) -> None:
        self.tell("stop")
        wait_until(lambda: self.tell("status")["uploads"] == 0, 20, "the replica sees the uploads end", 0.1)


def measure(args, children: Children, tmp: Path) -> float:
    proxy_core, load_core = cores()
    files = make_files(tmp / "files", big=64 << 20)
    nginx = start_nginx(children, tmp, files, load_core)
    slow = Slow(children, load_core)
    slow.tell("status")
    pools = {"app": [nginx.address], "upload": [f"127.0.0.1:{slow.port}"]}
    if args.haproxy:
        proxy = start_haproxy(children, tmp, pools, proxy_core)
    else:
        proxy = start_unstick(children, tmp, pools, need_unstick(args.unstick), proxy_core)

    def load(seconds: int):
        found = run_wrk(children, proxy.url(), seconds, args.connections, load_core, args.pause_ms)
        return found.expect_clean("normal requests")

    load(2)  # warm-up
    print(
        f"{proxy.name}: {args.connections} connections, phases of {args.seconds} s, {args.uploads} slow uploads, "
        f"1 reader of 1 byte/s, control: {args.control}"
    )
    print(
        f"{'pair':>4}  {'req/s':>7} {'p50 us':>7} {'p99 us':>7}   with slow: {'req/s':>7} {'p50 us':>7} {'p99 us':>7}  "
        f"{'ratio':>6}  uploads in flight, bytes of the reader"
    )
    ratios = []
    for number in range(1, args.pairs + 1):
        if args.control == "direct":
            slow.start(slow.port, args.uploads)
        without = load(args.seconds)
        if args.control == "direct":
            slow.stop()
        slow.start(proxy.port, args.uploads)
        start = slow.tell("status")
        with_slow = load(args.seconds)
        end = slow.tell("status")
        slow.stop()
        ratios.append(with_slow.p99 / without.p99)
        print(
            f"{number:>4}  {without.per_second:>7.0f} {without.p50:>7} {without.p99:>7}              "
            f"{with_slow.per_second:>7.0f} {with_slow.p50:>7} {with_slow.p99:>7}  {ratios[-1]:>6.2f}  "
            f"{start['uploads']} to {end['uploads']} (+{end['upload_bytes'] - start['upload_bytes']} bytes), "
            f"{end['reader_bytes']}",
            flush=True,
        )
        if end["uploads"] < args.uploads or end["broken"]:
            raise RuntimeError(f"only {end['uploads']} of {args.uploads} uploads are still in flight")
        if end["upload_bytes"] == start["upload_bytes"]:
            raise RuntimeError("the uploads stood still: no byte reached the replica")
        if not end["reader_bytes"]:
            raise RuntimeError("the slow reader got nothing")
    print(f"median ratio of p99: {median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})")
    return median(ratios)


def main() -> int:
    args = arguments()
    need_tools("nginx", "wrk", *["haproxy"][: args.haproxy])
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-isolation-") as tmp, Children() as children:
        ratio = measure(args, children, Path(tmp))
    if ratio > args.max_ratio:
        print(f"FAILED: {ratio:.2f} is above {args.max_ratio:g}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
