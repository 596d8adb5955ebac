#!/usr/bin/env python3
"""Has the access log a line for each request, at 10,000 requests per second?

h2load sends requests at a fixed rate. Then unstick is stopped, which writes out what waits, and the lines are counted.
None may be missing, none may be there twice, and each must be whole.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from lib.process import UNSTICK, Children, cores, findings, free_port, need_tools, need_unstick
from lib.servers import make_files, start_nginx, start_unstick

CLIENTS = 100
STOP_S = 30
REST = """
[log]
access = "access.log"
access_fields = ["request_id", "status"]
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-second", type=int, default=10_000, help="requests per second (10000)")
    parser.add_argument("--seconds", type=int, default=10, help="how long (10)")
    parser.add_argument("--least", type=float, default=0.9, help="the share of them that must have been reached (0.9)")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    return parser.parse_args()


def load(args: argparse.Namespace, children: Children, url: str, core: int) -> int:
    """Sends the requests; returns how many got a response."""
    total = args.per_second * args.seconds
    words = ["--h1", "-t1", f"-c{CLIENTS}", f"-n{total}", f"--rps={args.per_second / CLIENTS:g}"]
    h2load = children.start(["h2load", *words, url], core, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    out, _ = h2load.communicate(timeout=10 * args.seconds + 60)
    children.stop(h2load)
    found = re.search(r"finished in ([\d.]+)s.*?(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out, re.S)
    if h2load.returncode or not found:
        raise RuntimeError(f"h2load ended with {h2load.returncode}: {out.strip()[-500:]}")
    seconds, (succeeded, *failed) = float(found.group(1)), map(int, found.groups()[1:])
    if any(failed):
        raise RuntimeError(f"{sum(failed)} requests failed")
    rate = succeeded / seconds
    print(f"{succeeded} requests in {seconds:.1f} s, {rate:.0f} per second")
    if rate < args.least * args.per_second:
        raise RuntimeError("this machine does not reach the rate, so this says nothing")
    return succeeded


def measure(args: argparse.Namespace, children: Children, tmp: Path) -> None:
    proxy_core, core = cores()
    pools = {"app": [start_nginx(children, tmp, make_files(tmp / "files"), core).address]}
    admin = f"127.0.0.1:{free_port()}"
    proxy = start_unstick(children, tmp, pools, need_unstick(args.unstick), proxy_core, admin=admin, rest=REST)
    before = 1  # the one that has found it ready
    sent = load(args, children, proxy.url(), core)
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=10) as response:
        page = response.read().decode()
    dropped = int(re.search(r"^unstick_access_log_dropped_total (\d+)$", page, re.M).group(1))
    proxy.process.terminate()
    proxy.process.wait(STOP_S)
    lines = (tmp / "unstick" / "access.log").read_text().splitlines()
    ids = {json.loads(line)["request_id"] for line in lines}
    print(f"{len(lines)} lines, {len(ids)} different ones, {dropped} dropped")
    if not len(lines) == len(ids) == sent + before:
        raise RuntimeError(f"{sent + before} requests, {len(lines)} lines")


def main() -> int:
    args = arguments()
    need_tools("nginx", "h2load")
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-logged-") as tmp, Children() as children:
        measure(args, children, Path(tmp))
    return 0


if __name__ == "__main__":
    sys.exit(main())
