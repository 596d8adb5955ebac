#!/usr/bin/env python3
"""Config edits and dying replicas under load: not one failed request.

Without --kill: wrk runs while backends are removed and added 20 times by editing the file in place, once by renaming a
new file over it, once by a broken edit that is then repaired, and once by swapping a symlink.
With --kill: one of three replicas is killed with SIGKILL under load and started again; how long until it is out of
rotation and back is read from /status.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from lib.load import finish_wrk, start_wrk
from lib.process import UNSTICK, Children, findings, free_port, need_tools, need_unstick, wait_until
from lib.servers import (
    SMALL_BODY,
    Server,
    get,
    make_files,
    nginx_requests,
    start_http_server,
    start_nginx,
    start_unstick,
    unstick_config,
)
from lib.witness import Witness

POOL = "app"
INTERVAL_S, RISE, FALL = 1.0, 2, 3
HEALTH = f'interval = "{INTERVAL_S:g}s"\ntimeout = "500ms"\nrise = {RISE}\nfall = {FALL}\n'
POLL_S = 0.02


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kill", action="store_true", help="kill -9 a replica instead of editing the config")
    parser.add_argument(
        "--replicas",
        choices=["nginx", "python"],
        default="nginx",
        help="three nginx (default) or three `python3 -m http.server`",
    )
    parser.add_argument("--edits", type=int, default=20, help="edits in place (20)")
    parser.add_argument("--seconds", type=int, default=20, help="how long wrk runs (20)")
    parser.add_argument("--connections", type=int, default=64, help="wrk's connections (64)")
    parser.add_argument("--workers", type=int, default=2, help="workers of unstick (2)")
    parser.add_argument(
        "--slack",
        type=float,
        default=0.0,
        help="seconds allowed beyond fall x interval and rise x interval in --kill (0)",
    )
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    return parser.parse_args()


# The parts that read from unstick. Adapt them when /status or the log changes.


class Admin:
    """The admin port's /status."""

    def __init__(self, port: int) -> None:
        self.port = port

    def status(self) -> dict:
        code, body = get(self.port, "/status")
        if code != 200:
            raise RuntimeError(f"/status answered {code}")
        return json.loads(body)

    def endpoints(self) -> dict[str, dict]:
        """Endpoints of the pool by address."""
        (pool,) = [pool for pool in self.status()["pools"] if pool["name"] == POOL]
        return {endpoint["address"]: endpoint for endpoint in pool["endpoints"]}

    def serving(self) -> set[str]:
        """Addresses in rotation."""
        return {address for address, endpoint in self.endpoints().items() if endpoint["state"] == "healthy"}


class Log:
    """What unstick writes to stderr. Each reading starts where the last one ended."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, path.stat().st_size
        self.reloads: list[str] = []  # every line about a reload so far

    def new_lines(self) -> list[str]:
        with open(self.path, errors="replace") as file:
            file.seek(self.offset)
            text = file.read()
        complete = text[: text.rfind("\n") + 1]
        self.offset += len(complete.encode(errors="replace"))
        lines = complete.splitlines()
        self.reloads += [line for line in lines if re.search(r"reload|refus|config", line, re.I)]
        return lines

    def refusal(self, line_number: int) -> str | None:
        """A line that refuses the edit and names the line of the file."""
        pattern = rf"(unstick\.toml:{line_number}\b|\bline\W{{1,4}}{line_number}\b)"
        return next((line for line in self.new_lines() if re.search(pattern, line)), None)


class Site:
    """Replicas, unstick before them, and its config file."""

    def __init__(self, args, children: Children, tmp: Path) -> None:
        self.args, self.children, self.tmp = args, children, tmp
        self.files = make_files(tmp / "files")
        self.replicas = [self.start_replica() for _ in range(3)]
        self.admin = Admin(free_port())
        self.admin_address = f"127.0.0.1:{self.admin.port}"
        self.proxy = start_unstick(
            children,
            tmp,
            {POOL: self.addresses()},
            need_unstick(args.unstick),
            workers=args.workers,
            admin=self.admin_address,
            health=HEALTH,
        )
        self.config = tmp / "unstick" / "unstick.toml"
        wait_until(lambda: self.admin.serving() == set(self.addresses()), 10, "three healthy replicas")
        self.log = Log(self.proxy.log)

    def start_replica(self, port: int | None = None) -> Server:
        start = start_nginx if self.args.replicas == "nginx" else start_http_server
        return start(self.children, self.tmp, self.files, port=port)

    def addresses(self, but: Server | None = None) -> list[str]:
        return [replica.address for replica in self.replicas if replica is not but]

    def text(self, addresses: list[str]) -> str:
        return unstick_config(self.proxy.port, {POOL: addresses}, admin=self.admin_address, health=HEALTH)


class Edits:
    """Ways to change the file, each followed by a wait until /status shows the new backends."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.took: list[float] = []
        self.stray = 0  # requests that a removed replica got after the reload

    def applied(self, how: str, addresses: list[str], start: float) -> None:
        wait_until(lambda: self.site.admin.serving() == set(addresses), 10, f"{how}: /status shows {addresses}", POLL_S)
        self.took.append(time.monotonic() - start)
        self.site.log.new_lines()

    def in_place(self, addresses: list[str]) -> None:
        start = time.monotonic()
        self.site.config.write_text(self.site.text(addresses))
        self.applied("edit in place", addresses, start)

    def rename(self, addresses: list[str]) -> None:
        start = time.monotonic()
        new = self.site.config.with_name("new.toml")
        new.write_text(self.site.text(addresses))
        os.rename(new, self.site.config)
        self.applied("rename", addresses, start)

    def symlink_swap(self, before: list[str], addresses: list[str]) -> None:
        """As Kubernetes does it: the file is a link to DIR/file, and DIR is a link that is swapped."""
        folder = self.site.config.parent
        for version, wanted in (("v1", before), ("v2", addresses)):
            (folder / version).mkdir()
            (folder / version / "unstick.toml").write_text(self.site.text(wanted))
        data, link, swap = folder / "data", folder / "link", folder / "swap"
        data.symlink_to("v1")
        link.symlink_to("data/unstick.toml")
        os.rename(link, self.site.config)  # same content: nothing to reload
        time.sleep(0.3)
        start = time.monotonic()
        swap.symlink_to("v2")
        os.rename(swap, data)
        self.applied("symlink swap", addresses, start)

    def broken(self) -> str:
        """The edit must be refused with the number of the broken line. Returns the log line."""
        lines = self.site.config.read_text().splitlines()
        (number,) = [number for number, line in enumerate(lines, 1) if line.startswith("backends")]
        lines[number - 1] = 'backends = ["127.0.0.1:'
        before = self.site.admin.serving()
        self.site.config.write_text("\n".join(lines) + "\n")
        refusal = wait_until(lambda: self.site.log.refusal(number), 10, f"a refusal that names line {number}", POLL_S)
        if self.site.admin.serving() != before:
            raise RuntimeError("a refused edit changed the pool")
        return refusal

    def watch_removed(self, replica: Server) -> None:
        """A removed replica must get no more requests (nginx counts them; those in flight have 100 ms to end)."""
        time.sleep(0.1)
        if self.site.args.replicas == "nginx":
            before = nginx_requests(replica)
            time.sleep(0.1)
            self.stray += nginx_requests(replica) - before - 1  # the first question counts itself


def edit_config(site: Site, pause_s: float) -> str:
    """All the edits, under load; returns the refusal of the broken one."""
    edits, everyone = Edits(site), site.addresses()
    for number in range(site.args.edits // 2):
        victim = site.replicas[number % 3]
        edits.in_place(site.addresses(but=victim))
        edits.watch_removed(victim)
        time.sleep(pause_s)
        edits.in_place(everyone)
        time.sleep(pause_s)
    fewer = site.addresses(but=site.replicas[0])
    edits.rename(fewer)
    time.sleep(pause_s)
    refusal = edits.broken()
    time.sleep(pause_s)
    edits.in_place(everyone)  # repaired
    time.sleep(pause_s)
    edits.symlink_swap(everyone, fewer)
    print(
        f"{len(edits.took)} edits applied, each within {1000 * max(edits.took):.0f} ms "
        f"(median {1000 * sorted(edits.took)[len(edits.took) // 2]:.0f} ms)"
    )
    if site.args.replicas == "nginx":
        print(f"requests that reached a replica after its removal was applied: {edits.stray}")
        if edits.stray > 0:
            raise RuntimeError("a removed replica still got requests")
    return refusal


def kill_and_restart(site: Site) -> None:
    """SIGKILL, out of rotation, restart, back in rotation."""
    victim, admin = site.replicas[1], site.admin
    site.children.stop(victim.process, kill=True)
    start = time.monotonic()
    wait_until(lambda: victim.address not in admin.serving(), 30, f"{victim.address} out of rotation", POLL_S)
    out_s = time.monotonic() - start
    time.sleep(INTERVAL_S)
    site.replicas[1] = site.start_replica(victim.port)
    start = time.monotonic()
    wait_until(lambda: victim.address in admin.serving(), 30, f"{victim.address} back in rotation", POLL_S)
    back_s = time.monotonic() - start
    limits = (("out of rotation", out_s, "fall", FALL), ("back in rotation", back_s, "rise", RISE))
    for what, took_s, name, times in limits:
        print(f"{what} after {took_s:.2f} s (limit {name} x interval = {times} x {INTERVAL_S:g} s)")
    if site.args.replicas == "nginx":
        wait_until(lambda: nginx_requests(site.replicas[1]) > 100, 10, "the restarted replica gets traffic")
        print("the restarted replica gets traffic")
    for what, took_s, _, times in limits:
        if took_s > times * INTERVAL_S + POLL_S + site.args.slack:
            raise RuntimeError(f"{what} only after {took_s:.2f} s")


def run(args, children: Children, tmp: Path) -> bool:
    """Returns whether no request failed."""
    site = Site(args, children, tmp)
    # http.server listens with a backlog of 5. The kernel repeats a lost SYN after 1 and 3 seconds.
    late_s = 2 if args.replicas == "nginx" else 10
    wrk = start_wrk(children, site.proxy.url(), args.seconds, args.connections, late_s=late_s)
    witness = Witness(site.proxy.port, SMALL_BODY.encode())
    time.sleep(1)
    refusal = ""
    try:
        if args.kill:
            kill_and_restart(site)
        else:
            refusal = edit_config(site, pause_s=max(0.0, (args.seconds - 4) / (args.edits + 4) - 0.3))
        if wrk.poll() is not None:
            raise RuntimeError("wrk ended before the experiment did: raise --seconds")
        load = finish_wrk(children, wrk, args.seconds)
    finally:
        witness.stop()
        site.log.new_lines()
        if not args.kill:
            print("what unstick logged about its config:")
            print("\n".join(f"  {line}" for line in site.log.reloads) or "  nothing")
    if refusal:
        print(f"the broken edit was refused:\n  {refusal}")
    print(
        f"wrk: {load.requests} requests ({load.per_second:.0f}/s), failed: {load.failures}, "
        f"p99 {load.p99 / 1000:.1f} ms, longest {load.max / 1000:.0f} ms"
    )
    print(f"witness: {witness.requests} requests checked to the byte, failed: {len(witness.failures)}")
    for failure in witness.failures[:10]:
        print(f"  {failure}")
    if site.proxy.process.poll() is not None or get(site.proxy.port)[0] != 200:
        raise RuntimeError("unstick stopped serving")
    return bool(load.requests) and not load.failed and not witness.failures


def main() -> int:
    args = arguments()
    need_tools("nginx", "wrk")
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-churn-") as tmp, Children() as children:
        if not run(args, children, Path(tmp)):
            print("FAILED: requests failed")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
