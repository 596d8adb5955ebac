#!/usr/bin/env python3
"""What slow and hostile clients do to a well-behaved client, and to memory.

Normal requests run in phases without and with hostile clients, all through one worker: thousands of heads and bodies
that come byte by byte, readers of 1 byte/s, 9,000 idle connections, heads, chunk extensions and trailers without end,
and HTTP/2 streams that are started and reset as fast as possible.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from isolation import Slow
from lib.load import run_wrk
from lib.process import UNSTICK, Children, cores, findings, memory_kib, need_tools, need_unstick
from lib.servers import make_files, start_nginx, start_unstick

HOSTILE = Path(__file__).with_name("lib") / "hostile.py"
# How many clients of each kind, and the most MiB that may be resident.
KINDS = {
    "slow-head": (2000, 200),
    "slow-body": (1000, 200),
    "slow-reader": (200, 200),
    "idle": (9000, 400),
    "endless-head": (50, 100),
    "endless-extension": (50, 100),
    "endless-trailers": (50, 100),
    "rapid-reset": (1, 60),
}
ENDLESS_BYTES_MAX = 1 << 20
SETTLE_S = 4  # until the buffers of slow readers are full, and slow heads are at their deadline
DEADLINES = '\n[timeouts]\nrequest_head = "3s"\nrequest_body = "3s"\n\n[limits]\nconnections = 50000\n'


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--pairs", type=int, default=3, help="phases without and with, of each kind (3)")
    parser.add_argument("--seconds", type=int, default=5, help="length of a phase (5)")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    parser.add_argument("--max-ratio", type=float, default=2.0, help="of p99 with them over p99 without (2.0)")
    return parser.parse_args()


def phase(args, children: Children, proxy, kind: str, load_core: int) -> tuple:
    """Runs normal requests beside hostile clients. Returns what became of both, and the memory."""
    count, _ = KINDS[kind]
    before = memory_kib(proxy.pid)
    command = [sys.executable, HOSTILE, kind, proxy.port, count, args.seconds + SETTLE_S + 1]
    hostile = children.start(command, load_core, stdout=subprocess.PIPE, stderr=None, text=True)
    if hostile.stdout.readline().strip() != "ready":
        raise RuntimeError(f"{kind}: the hostile clients could not begin")
    time.sleep(SETTLE_S)
    load = run_wrk(children, proxy.url(), args.seconds, 16, load_core, 8)
    grown, resident = memory_kib(proxy.pid) - before, memory_kib(proxy.pid)
    report = json.loads(hostile.stdout.readline())
    children.stop(hostile)
    return load.expect_clean(f"normal requests beside {kind}"), report, resident, grown


def judge(args, kind: str, ratio: float, resident_kib: int, most: int, closed: int) -> list[str]:
    findings = []
    if ratio > args.max_ratio:
        findings.append(f"p99 {ratio:.2f} times as long (limit {args.max_ratio:g})")
    if resident_kib > KINDS[kind][1] << 10:
        findings.append(f"{resident_kib >> 10} MiB resident (limit {KINDS[kind][1]})")
    if kind == "rapid-reset" and not closed:
        findings.append("no connection was closed")
    if kind.startswith("endless") and most > ENDLESS_BYTES_MAX:
        findings.append(f"{most} bytes accepted from one connection (limit {ENDLESS_BYTES_MAX})")
    return findings


def main() -> int:
    args = arguments()
    need_tools("nginx", "wrk")
    wrong = []
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-hostile-") as name, Children() as children:
        tmp, (proxy_core, load_core) = Path(name), cores()
        files = make_files(tmp / "files", big=16 << 20)
        nginx = start_nginx(children, tmp, files, load_core)
        slow = Slow(children, load_core)
        slow.tell("status")
        pools = {"app": [nginx.address], "upload": [f"127.0.0.1:{slow.port}"]}
        # Each kind gets a fresh proxy, so that the memory is its own.
        for kind in args.only:
            proxy = start_unstick(
                children, tmp, pools, need_unstick(args.unstick), proxy_core, name=kind, rest=DEADLINES
            )
            run_wrk(children, proxy.url(), 1, 16, load_core, 8)
            ratios, resident, most, report, grown = [], 0, 0, {}, 0
            for _ in range(args.pairs):
                without = run_wrk(children, proxy.url(), args.seconds, 16, load_core, 8).expect_clean("normal requests")
                beside, report, now, more = phase(args, children, proxy, kind, load_core)
                ratios.append(beside.p99 / without.p99)
                resident, most, grown = max(resident, now), max(most, report["most"]), max(grown, more)
            problems = judge(args, kind, median(ratios), resident, most, report["closed"])
            wrong += problems
            each = f", {grown / KINDS[kind][0]:.1f} KiB each" if kind == "idle" else ""
            print(
                f"{kind:18} {KINDS[kind][0]:>6} clients: p99 {without.p99} -> {beside.p99} us, "
                f"ratio {median(ratios):.2f} "
                f"({', '.join(f'{ratio:.2f}' for ratio in ratios)}), {resident >> 10} MiB{each}, last phase: "
                f"{report['connections']} connections, answers {report['answers']}, {report['closed']} closed, "
                f"at most {most} bytes {problems or ''}",
                flush=True,
            )
            children.stop(proxy.process)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
