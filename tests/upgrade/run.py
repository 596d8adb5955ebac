#!/usr/bin/env python3
"""Upgrades unstick again and again, under requests from wrk and beside open WebSockets and streams.

    tests/upgrade/run.py [--upgrades 100] [--unstick target/dist/unstick]

Two replicas, unstick in front of them, 64 connections of wrk that send without rest, 50 WebSockets that are open over
everything and 50 streams of server-sent events. Each upgrade (SIGUSR2) is waited for; half of them start the binary by
another file of the same content, as a package does. `timeouts.drain` is far longer than the run, so each former
process stays for as long as it has streams. (WebSockets that drain are ended in order, with code 1001, spread over
most of `drain`: of 24 hours that is one in thirty runs, which is counted and is no failure.) At the end every stream
must still be moving and every WebSocket echo; then they are closed, and all former processes must end by themselves
with code 0.

It ends by itself, prints counts, and ends whatever it started by its pid. Needs Python 3.9 and wrk (Debian's package
wrk).

Exit codes: 0 nothing was lost, 1 something was, 2 something is missing.
"""

import argparse
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "benches"))

from lib.load import Load, finish_wrk, start_wrk  # noqa: E402
from lib.process import Children, findings, free_port, memory_kib, wait_until  # noqa: E402

CONFIG = """
[listen.web]
address = "127.0.0.1:{port}"
[admin]
address = "off"
[timeouts]
drain = "24h"
drain_idle = "2s"
upgrade = "60s"
[pool.app]
backends = [{backends}]
"""

REPLICAS = 2
UPGRADE_S = 60
END_S = 60
# What wrk may take longer than the upgrades are expected to; it is ended by a signal when they are over.
WRK_S = 3600
# A stream that shows nothing for so long has ended.
SILENCE_S = 15
GOING_AWAY = b"\x88\x02\x03\xe9"  # a close frame with code 1001
HEAD = "GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"


class Stream:
    """A response without an end, or a tunnel that a WebSocket has asked for; a proxy sees nothing but its bytes."""

    def __init__(self, port, is_tunnel):
        fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n" if is_tunnel else ""
        self.has_gone = False
        self.is_tunnel, self.socket = is_tunnel, socket.create_connection(("127.0.0.1", port), timeout=SILENCE_S)
        self.socket.sendall(HEAD.format(path="/" if is_tunnel else "/events", fields=fields).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.socket.recv(1)
            if not head:
                raise RuntimeError("a stream was closed before it began")
        if not head.startswith(b"HTTP/1.1 101" if is_tunnel else b"HTTP/1.1 200"):
            raise RuntimeError(f"a stream was refused: {head[:60]!r}")

    def problem(self):
        """Why it is not open any more; `None` if it is."""
        try:
            if self.is_tunnel:
                word = os.urandom(8)
                self.socket.sendall(word)
                found = self.read(len(word))
                self.has_gone = found == GOING_AWAY
                return None if found == word or self.has_gone else f"a WebSocket says {found!r} instead of {word!r}"
            # More than what may lie in buffers since the last look: a whole second of events from now on.
            end = time.monotonic() + 1
            while time.monotonic() < end:
                if not self.socket.recv(65536):
                    return "a stream has ended"
            return None
        except OSError as error:
            return f"{'a WebSocket' if self.is_tunnel else 'a stream'}: {error}"

    def read(self, length):
        found = b""
        while len(found) < length and (part := self.socket.recv(length - len(found))):
            found += part
        return found


class Proxy:
    """unstick, and those that came after it. All of them write to the pipe of the first one."""

    def __init__(self, children, folder, unstick, backends):
        self.folder, self.port, self.processes = folder, free_port(), []
        self.binary = folder / "unstick"
        shutil.copy2(unstick, self.binary)
        written = CONFIG.format(port=self.port, backends=", ".join(f'"{address}"' for address in backends))
        (folder / "unstick.toml").write_text(written)
        command = [self.binary, "run", "-c", "unstick.toml"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        self.first = children.start(command, cwd=folder, text=True, **pipes)
        self.lines, self.seen = queue.Queue(), []
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.first.stderr], daemon=True).start()
        self.processes.append(self.first.pid)
        self.line("serving web on", UPGRADE_S)

    def line(self, pattern, within):
        deadline = time.monotonic() + within
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"no line with {pattern!r} in {within} s; the last: {self.seen[-3:]}") from None
            self.seen.append(line.strip())
            if "upgrade refused" in line:
                raise RuntimeError(line.strip())
            if found := re.search(pattern, line):
                return found

    def upgrade(self, is_replaced):
        """Starts the next process, and returns how long it took until that accepts, in seconds."""
        if is_replaced:
            shutil.copy2(self.binary, self.folder / "next")
            os.replace(self.folder / "next", self.binary)
        began = time.monotonic()
        os.kill(self.processes[-1], signal.SIGUSR2)
        found = self.line(r"upgrade: process (\d+) serves", UPGRADE_S)
        self.processes.append(int(found[1]))
        return time.monotonic() - began

    def is_alive(self, pid):
        if pid == self.first.pid:
            return self.first.poll() is None
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return state != "Z" and b"unstick" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def end(self):
        """Ends those that are left, by their numbers."""
        for pid in filter(self.is_alive, self.processes):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while any(map(self.is_alive, self.processes)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in filter(self.is_alive, self.processes):
            os.kill(pid, signal.SIGKILL)


def replicas(children):
    addresses = []
    for _ in range(REPLICAS):
        port = free_port()
        children.start([sys.executable, HERE / "replica.py", port])
        wait_until(lambda port=port: not socket.socket().connect_ex(("127.0.0.1", port)), 10, "a replica listens")
        addresses.append(f"127.0.0.1:{port}")
    return addresses


def run(args, children, folder):
    problems = []
    proxy = Proxy(children, folder, args.unstick, replicas(children))
    try:
        wrk = start_wrk(children, f"http://127.0.0.1:{proxy.port}/", WRK_S, args.connections, late_s=30)
        streams, took, most_kib = [], [], 0
        for number in range(args.upgrades):
            # A share of them before each upgrade: every former process has some to finish.
            due = (number + 1) * args.streams // args.upgrades - number * args.streams // args.upgrades
            streams += [Stream(proxy.port, (len(streams) + nth) % 2 == 0) for nth in range(due)]
            took.append(proxy.upgrade(number % 2 == 1))
            alive = [pid for pid in proxy.processes if proxy.is_alive(pid)]
            most_kib = max(most_kib, sum(memory_kib(pid) for pid in alive))
            if wrk.poll() is not None:
                raise RuntimeError("wrk has ended")
            time.sleep(args.pause)
        wrk.send_signal(signal.SIGINT)
        load: Load = finish_wrk(children, wrk, 60)
        if load.failed or not load.requests:
            problems.append(f"requests failed: {load.failures}")
        problems += filter(None, (stream.problem() for stream in streams))
        print(
            f"{args.upgrades} upgrades, {min(took):.2f} to {max(took):.2f} s each; {load.requests} requests of wrk on "
            f"{args.connections} connections, failed: {load.failures}; {len(streams)} WebSockets and streams, "
            f"{sum(stream.has_gone for stream in streams)} of them ended in order; "
            f"{len(alive)} processes at the end, {most_kib / 1024:.0f} MiB at most"
        )
        for stream in streams:
            stream.socket.close()
        former = proxy.processes[:-1]
        wait_until(lambda: not any(map(proxy.is_alive, former)), END_S, "former processes end", 0.1)
        if proxy.first.returncode:
            problems.append(f"the first process has ended with {proxy.first.returncode}")
        cut = [line for line in proxy.seen if "cut off" in line or "panic" in line]
        problems += cut
    finally:
        proxy.end()
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrades", type=int, default=100, help="how many (100)")
    parser.add_argument("--connections", type=int, default=64, help="of wrk (64)")
    parser.add_argument("--streams", type=int, default=100, help="WebSockets and streams, half of each (100)")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two upgrades (0.5)")
    parser.add_argument("--unstick", type=Path, default=ROOT / "target/dist/unstick")
    args = parser.parse_args()
    args.unstick = args.unstick.resolve()
    missing = [str(tool) for tool in ("wrk", args.unstick) if shutil.which(tool) is None]
    if missing:
        print(f"missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-upgrade-") as folder, Children() as children:
        problems = run(args, children, Path(folder))
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
