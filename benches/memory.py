#!/usr/bin/env python3
"""Resident memory of unstick after its start and per idle client connection.

This is the memory of the process (VmRSS) only. What the kernel keeps per socket is the same for every proxy.
"""

import argparse
import socket
import sys
import tempfile
import time
from pathlib import Path

from lib.process import UNSTICK, Children, findings, memory_kib, need_tools, need_unstick
from lib.servers import Server, make_files, start_haproxy, start_nginx, start_unstick

SETTLE_S = 5.0  # long enough for connections to be parked, and for the allocator to give back what they had


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=5000, help="idle keep-alive connections (5000); 0 = only the start")
    parser.add_argument("--workers", type=int, default=1, help="workers of unstick (1)")
    parser.add_argument("--haproxy", action="store_true", help="measure HAProxy too")
    parser.add_argument(
        "--demo", action="store_true", help="also start `unstick demo` and print what it and its children take"
    )
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    parser.add_argument("--max-start-mib", type=float, help="exit 1 if more is resident after the start")
    parser.add_argument("--max-idle-kib", type=float, help="exit 1 if an idle connection takes more")
    return parser.parse_args()


def one_request(sock: socket.socket) -> None:
    """Sends a whole GET, so that the connection is kept and idle afterwards."""
    sock.sendall(b"GET / HTTP/1.1\r\nHost: idle.test\r\n\r\n")
    answer = b""
    while not answer.endswith(b"x\n"):  # the small body of the replicas
        piece = sock.recv(4096)
        if not piece:
            raise RuntimeError("the proxy closed a connection that should be idle")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer.split(b"\r\n")[0].decode(errors="replace"))


def idle_kib(proxy: Server, count: int) -> float:
    """KiB per idle connection, from the growth of VmRSS."""
    before = memory_kib(proxy.pid)
    connections = []
    try:
        for _ in range(count):
            connections.append(socket.create_connection(("127.0.0.1", proxy.port), timeout=5))
            one_request(connections[-1])
        time.sleep(SETTLE_S)
        grown = memory_kib(proxy.pid) - before
        one_request(connections[0])  # they are alive: the first and the last still answer
        one_request(connections[-1])
        return grown / count
    finally:
        for connection in connections:
            connection.close()


def measure(proxy: Server, idle: int) -> tuple[float, float]:
    """Returns MiB after the start and KiB per idle connection."""
    time.sleep(SETTLE_S)
    start_mib = memory_kib(proxy.pid) / 1024
    print(f"{proxy.name}: {start_mib:.1f} MiB resident after the start", flush=True)
    if not idle:
        return start_mib, 0.0
    per_connection = idle_kib(proxy, idle)
    print(
        f"{proxy.name}: {per_connection:.2f} KiB per connection with {idle} idle ones, "
        f"at most {memory_kib(proxy.pid, 'VmHWM') / 1024:.1f} MiB resident"
    )
    return start_mib, per_connection


def demo(children: Children, tmp: Path, binary: Path) -> None:
    """The memory of `unstick demo` 3 s after its start, with the processes it has started."""
    log = tmp / "demo.log"
    process = children.start([binary, "demo"], log=log)
    time.sleep(3)
    if process.poll() is not None:
        raise RuntimeError(f"unstick demo ended with {process.returncode}: {log.read_text(errors='replace')[-500:]}")
    pids, waiting = [], [process.pid]
    while waiting:
        pids.append(waiting.pop())
        for task in Path(f"/proc/{pids[-1]}/task").iterdir():
            waiting += map(int, (task / "children").read_text().split())
    total = sum(memory_kib(pid) for pid in pids) / 1024
    print(
        f"unstick demo: {memory_kib(process.pid) / 1024:.1f} MiB resident, "
        f"{total:.1f} MiB with its {len(pids) - 1} children"
    )
    children.stop(process)


def main() -> int:
    args = arguments()
    need_tools("nginx", *["haproxy"][: args.haproxy])
    binary = need_unstick(args.unstick)
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-memory-") as name, Children() as children:
        tmp = Path(name)
        pools = {"app": [start_nginx(children, tmp, make_files(tmp / "files")).address]}
        if args.haproxy:
            haproxy = start_haproxy(children, tmp, pools)
            measure(haproxy, args.idle)
            children.stop(haproxy.process)
        start_mib, per_connection = measure(
            start_unstick(children, tmp, pools, binary, workers=args.workers), args.idle
        )
        if args.demo:
            demo(children, tmp, binary)
    if args.max_start_mib is not None and start_mib > args.max_start_mib:
        print(f"FAILED: {start_mib:.1f} MiB after the start, allowed are {args.max_start_mib:g}")
        return 1
    if args.max_idle_kib is not None and per_connection > args.max_idle_kib:
        print(f"FAILED: {per_connection:.2f} KiB per idle connection, allowed are {args.max_idle_kib:g}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
