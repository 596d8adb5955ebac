#!/usr/bin/env python3
"""Edits of a config with many routes in many files, under load: how long each takes, and whether a request is lost.

A thousand routes stand in a hundred included files. wrk asks for paths that they serve, meanwhile one of the files is
edited and SIGHUP asks for it to be read, again and again. An edit takes from the signal until /status counts it as
applied: reading and checking all files, building, and telling the workers. Without SIGHUP the watcher waits 50 ms more
for a writer that is not finished.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from lib.load import finish_wrk, start_wrk
from lib.process import UNSTICK, Children, findings, free_port, need_tools, need_unstick, wait_until
from lib.servers import Server, get, make_files, start_nginx, wait_ready
from lib.witness import Witness

CONFIG = """
include = ["conf.d/*.toml"]
[listen.web]
address = "127.0.0.1:{port}"
[admin]
address = "127.0.0.1:{admin}"
[pool.app]
backends = {backends}
[[route]]
"""
ROUTE = """
[[route]]
host = "shop-{number}.example.com"
path = "/api"
strip_prefix = "/api"
request_headers = {{ set = {{ x-tenant = "{tenant}" }} }}
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=1000, help="routes besides the one for everything (1000)")
    parser.add_argument("--files", type=int, default=100, help="files in which they stand (100)")
    parser.add_argument("--edits", type=int, default=30, help="edits (30)")
    parser.add_argument("--connections", type=int, default=16, help="wrk's connections (16)")
    parser.add_argument("--pause-ms", type=int, default=8, help="mean rest of each between two requests (8)")
    parser.add_argument("--max-ms", type=float, default=50, help="exit 1 above this median (50)")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    return parser.parse_args()


def write_routes(folder: Path, args: argparse.Namespace, file: int, tenant: str) -> None:
    """Every file has its share of the routes. It is replaced as a whole."""
    numbers = range(file, args.routes, args.files)
    text = "".join(ROUTE.format(number=number, tenant=tenant) for number in numbers)
    new = folder / "new"
    new.write_text(text)
    os.rename(new, folder / f"{file:04}.toml")


def start(args: argparse.Namespace, children: Children, tmp: Path) -> tuple[Server, int]:
    """unstick with all these files, and its admin port."""
    files = make_files(tmp / "files")
    replicas = [start_nginx(children, tmp, files) for _ in range(2)]
    (tmp / "conf.d").mkdir()
    for file in range(args.files):
        write_routes(tmp / "conf.d", args, file, "a")
    port, admin = free_port(), free_port()
    config, log = tmp / "unstick.toml", tmp / "unstick.log"
    backends = json.dumps([replica.address for replica in replicas])
    config.write_text(CONFIG.format(port=port, admin=admin, backends=backends))
    process = children.start([need_unstick(args.unstick), "run", "-c", config, "--workers", 2], log=log)
    return wait_ready(Server("unstick", process, port, log)), admin


def reloads(admin: int) -> dict:
    return json.loads(get(admin, "/status")[1])["reloads"]


def edit(args: argparse.Namespace, proxy: Server, admin: int, folder: Path, number: int) -> float:
    """One edit; returns the milliseconds from the signal until it is in force."""
    before = reloads(admin)
    # The watcher would see the file too, and read it once more; its turn comes 50 ms later.
    write_routes(folder, args, number % args.files, f"edit-{number}")
    begin = time.monotonic()
    os.kill(proxy.process.pid, signal.SIGHUP)
    wait_until(lambda: reloads(admin)["applied"] > before["applied"], 10, "the edit is in force", every=0.001)
    taken = 1000 * (time.monotonic() - begin)
    last = reloads(admin)["last"]
    if f"edit-{number}" not in last["message"] and "nothing changed" not in last["message"]:
        raise RuntimeError(f"another edit was applied: {last['message'][:200]}")
    return taken


def measure(args: argparse.Namespace, children: Children, tmp: Path) -> float:
    proxy, admin = start(args, children, tmp)
    seconds = 3 + args.edits // 3
    url, fields = proxy.url("/api/"), ("Host: shop-7.example.com",)
    wrk = start_wrk(children, url, seconds, args.connections, pause_ms=args.pause_ms, headers=fields)
    witness = Witness(proxy.port, get(proxy.port)[1])
    time.sleep(1)
    taken = []
    for number in range(args.edits):
        taken.append(edit(args, proxy, admin, tmp / "conf.d", number))
        time.sleep(0.2)  # for the watcher's turn
    load = finish_wrk(children, wrk, seconds).expect_clean("requests")
    witness.stop()
    if witness.failures:
        raise RuntimeError(f"a request failed: {witness.failures[0]}")
    print(f"{args.routes} routes in {args.files} files, {args.edits} edits under {load.per_second:.0f} requests/s")
    print(f"an edit is in force after {median(taken):.1f} ms (median; at most {max(taken):.1f})")
    print(f"requests: {load.requests + witness.requests}, failed: 0, p99 {load.p99} us, longest {load.max} us")
    return median(taken)


def main() -> int:
    args = arguments()
    need_tools("nginx", "wrk")
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-routes-") as tmp, Children() as children:
        milliseconds = measure(args, children, Path(tmp))
    if milliseconds > args.max_ms:
        print(f"FAILED: {milliseconds:.1f} ms are above {args.max_ms:g}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
