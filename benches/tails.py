#!/usr/bin/env python3
"""10 MB over HTTP/2 through stops and through edits of the listener: every byte arrives.

curl and nghttp (`apt-get install curl nghttp2-client`) download one file over HTTP/2, in plain text and in TLS: as fast
as they can, again and again; slowly (curl limits its rate, nghttp is piped to a slow reader); with windows of 16 KiB
and of 4 MiB; and from a replica that is slow itself. Meanwhile

    stop     SIGTERM comes in the middle of them
    edits    both listeners are edited every 0.2 s; every other edit lets the present connections drain
    late     SIGTERM, with too little time to drain for the slow ones

What arrives is compared with the file. In `late` a download may break off, but not before 75 % of `timeouts.drain`,
what came is a beginning of the file, and curl knows that it is not whole. Exit 1 if anything else happens.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from lib.process import UNSTICK, Children, fail_setup, findings, free_port, need_tools, need_unstick, wait_until
from lib.servers import Server, get, make_certificate, make_files, start_nginx, wait_ready

BYTES = 10_000_000
RATE = 1_000_000  # bytes per second of slow clients, and of the slow replica
DRAIN_S = {"stop": 25, "edits": 25, "late": 4}
LATEST_S = 60  # until a client is given up
# Before this share of the time to drain nothing is cut off (docs/operations.md).
EARLIEST_CUT = 0.75

# By turns. The second lets present connections drain, as does the way back from it.
LISTENERS = ("", 'trusted_proxies = ["10.0.0.0/8"]\nproxy_protocol = "accept"')


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=DRAIN_S, nargs="+", default=list(DRAIN_S))
    parser.add_argument("--rounds", type=int, default=3, help="of each kind (3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args()


@dataclass
class Download:
    """One download, and what came of it."""

    client: str
    bytes: int
    is_exact: bool  # what came is the file, or a beginning of it
    code: int
    began: float
    ended: float

    @property
    def is_whole(self) -> bool:
        return self.bytes == BYTES and self.is_exact and self.code == 0


class Client:
    """A client that downloads until it is told to stop, or nobody listens."""

    def __init__(self, children: Children, name: str, command: list, rate: float, repeats: bool, body: bytes) -> None:
        self.children, self.name, self.command, self.rate, self.repeats = children, name, command, rate, repeats
        self.body, self.downloads, self.has_begun = body, [], threading.Event()
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            done = self.download()
            # A fresh connection may find nobody: nothing was asked for.
            if done.bytes or not self.downloads:
                self.downloads.append(done)
            if not self.repeats or self.is_over.is_set() or not done.is_whole:
                return

    def download(self) -> Download:
        began = time.monotonic()
        process = self.children.start(self.command, stdout=subprocess.PIPE, bufsize=0)
        came, is_exact = 0, True
        while piece := process.stdout.read(65536):
            is_exact = is_exact and self.body.startswith(piece, came)
            came += len(piece)
            self.has_begun.set()
            if time.monotonic() - began > LATEST_S:
                process.kill()
            if self.rate:
                time.sleep(max(0.0, began + came / self.rate - time.monotonic()))
        ended = time.monotonic()
        return Download(self.name, came, is_exact, process.wait(LATEST_S), began, ended)


class Site:
    """The replica, unstick with a listener in plain text and one in TLS, and the clients."""

    def __init__(self, args, children: Children, tmp: Path, replica: Server, certificate: Path, drain_s: int) -> None:
        self.children, self.replica, self.certificate, self.drain_s = children, replica, certificate, drain_s
        self.plain, self.tls, self.admin, self.edits = free_port(), free_port(), free_port(), 0
        self.file, self.log = tmp / "unstick.toml", tmp / "unstick.log"
        self.write()
        command = [need_unstick(args.unstick), "run", "-c", self.file, "--workers", 2]
        self.proxy = wait_ready(Server("unstick", children.start(command, None, self.log), self.plain, self.log))

    def write(self) -> None:
        more = LISTENERS[self.edits % 2]
        self.file.write_text(
            f'[listen.plain]\naddress = "127.0.0.1:{self.plain}"\n{more}\n'
            f'[listen.tls]\naddress = "127.0.0.1:{self.tls}"\n{more}\n'
            f'tls = {{ cert = "{self.certificate}", key = "{self.certificate}" }}\n'
            f'[pool.app]\nbackends = ["{self.replica.address}"]\n'
            f'[timeouts]\ndrain = "{self.drain_s}s"\n[admin]\naddress = "127.0.0.1:{self.admin}"\n'
        )

    def edit(self) -> None:
        applied = self.applied()
        self.edits += 1
        self.write()
        wait_until(lambda: self.applied() > applied, 10, "the edit is applied")

    def applied(self) -> int:
        lines = get(self.admin, "/metrics")[1].decode().splitlines()
        return next(
            int(line.split()[1]) for line in lines if line.startswith('unstick_reloads_total{result="applied"}')
        )

    def clients(self, body: bytes) -> list[Client]:
        clients = []
        for where, base in (("h2c", f"http://127.0.0.1:{self.plain}"), ("tls", f"https://127.0.0.1:{self.tls}")):
            version = "--http2-prior-knowledge" if where == "h2c" else "--http2"
            curl, nghttp = ["curl", "-s", "-k", version], ["nghttp"]
            for kind, command, path, rate, repeats in (
                ("curl fast", curl, "/big", 0, True),
                ("curl slow", [*curl, "--limit-rate", RATE], "/big", 0, False),
                ("curl paced", curl, "/paced/big", 0, False),
                ("nghttp fast", nghttp, "/big", 0, True),
                ("nghttp slow", nghttp, "/big", RATE, False),
                ("nghttp narrow", [*nghttp, "-w14", "-W14"], "/big", RATE, False),
                ("nghttp wide", [*nghttp, "-w22", "-W24"], "/big", RATE, False),
                ("nghttp paced", nghttp, "/paced/big", 0, False),
            ):
                command = [*command, base + path]
                clients.append(Client(self.children, f"{kind} {where}", command, rate, repeats, body))
        return clients


def play(kind: str, site: Site, body: bytes, dice: Random) -> tuple[list[Download], float]:
    """One round; the downloads, and when SIGTERM was sent."""
    clients = site.clients(body)
    for client in clients:
        if not client.has_begun.wait(10):
            raise RuntimeError(f"{client.name} gets nothing")
    time.sleep(dice.uniform(0.0, 0.3))
    stopped = float("inf")
    if kind == "edits":
        for _ in range(15):
            site.edit()
            time.sleep(0.2)
    else:
        stopped = time.monotonic()
        site.proxy.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.is_over.set()
    for client in clients:
        client.thread.join(LATEST_S + 5)
        if client.thread.is_alive():
            raise RuntimeError(f"{client.name} does not end")
    if kind != "edits":
        code = site.proxy.process.wait(site.drain_s + 5)
        if code != 0 and kind == "stop":
            raise RuntimeError(f"unstick ended with {code}")
    return [download for client in clients for download in client.downloads], stopped


def faults(kind: str, downloads: list[Download], stopped: float) -> list[str]:
    found = []
    for download in downloads:
        told = f"{download.client}: {download.bytes} bytes, exit code {download.code}"
        if not download.is_exact:
            found.append(f"{told}: other bytes than those of the file")
        elif not download.is_whole and kind != "late":
            found.append(told)
        elif not download.is_whole and download.code == 0 and download.client.startswith("curl"):
            # nghttp ends with 0 whatever comes.
            found.append(f"{told}: taken for whole")
        elif not download.is_whole and download.ended < stopped + EARLIEST_CUT * DRAIN_S[kind]:
            found.append(f"{told}: {download.ended - stopped:.2f} s after SIGTERM")
    return found


def main() -> int:
    args = arguments()
    need_tools("nginx")
    for tool in ("curl", "nghttp"):
        if subprocess.run(["which", tool], stdout=subprocess.DEVNULL).returncode:
            fail_setup("apt-get install curl nghttp2-client")
    dice, results, wrong = Random(args.seed), [], []
    body = dice.randbytes(BYTES)
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-tails-") as name, Children() as children:
        tmp = Path(name)
        tmp.chmod(0o755)
        files = make_files(tmp / "files")
        (files / "big").write_bytes(body)
        replica = start_nginx(children, tmp, files, rate=RATE)
        certificate = make_certificate(tmp)
        for kind in args.only:
            for number in range(args.rounds):
                home = tmp / f"{kind}-{number}"
                home.mkdir()
                site = Site(args, children, home, replica, certificate, DRAIN_S[kind])
                downloads, stopped = play(kind, site, body, dice)
                found = faults(kind, downloads, stopped)
                wrong += found
                under_way = [download for download in downloads if download.began < stopped < download.ended]
                result = {
                    "kind": kind,
                    "downloads": len(downloads),
                    "whole": sum(download.is_whole for download in downloads),
                    "in the middle at SIGTERM": len(under_way),
                    "edits": site.edits,
                    "faults": found,
                }
                results.append(result)
                if not args.json:
                    print(", ".join(f"{key}: {value}" for key, value in result.items()), flush=True)
                children.stop(site.proxy.process)
    if args.json:
        print(json.dumps(results, indent=2))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
