#!/usr/bin/env python3
"""An upload and a download of 10 GiB at once through the proxy: bodies are streamed, so its memory must stay small."""

import argparse
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from lib.bulk import read_head, send_zeros, swallow
from lib.process import (
    UNSTICK,
    Children,
    cores,
    cpu_ns,
    cpu_spent_ns,
    findings,
    free_port,
    memory_kib,
    need_tools,
    need_unstick,
)
from lib.servers import start_haproxy, start_unstick

GIB = 1 << 30


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=10, help="size of each body in GiB (10)")
    parser.add_argument("--max-mib", type=float, default=64, help="exit 1 if more was ever resident (64)")
    parser.add_argument("--seconds", type=int, default=600, help="give up after this time (600)")
    parser.add_argument("--haproxy", action="store_true", help="measure HAProxy instead")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    return parser.parse_args()


def upload(sock: socket.socket, size: int) -> str:
    sock.sendall(b"POST / HTTP/1.1\r\nHost: big.test\r\nContent-Length: %d\r\n\r\n" % size)
    send_zeros(sock, size)
    (_, code, *_), _, rest = read_head(sock)
    body = rest or sock.recv(100)
    return (
        ""
        if (code, body) == ("200", str(size).encode())
        else f"answered {code}, the replica got {body!r} of {size} bytes"
    )


def download(sock: socket.socket, size: int) -> str:
    sock.sendall(b"GET /%d HTTP/1.1\r\nHost: big.test\r\n\r\n" % size)
    (_, code, *_), _, rest = read_head(sock)
    got = len(rest) + swallow(sock, size - len(rest))
    return "" if (code, got) == ("200", size) else f"answered {code}, got {got} of {size} bytes"


class Transfer(threading.Thread):
    """One body in transit. `problem` is None while it runs and empty when all bytes arrived."""

    def __init__(self, work, port: int, size: int) -> None:
        super().__init__(daemon=True)
        self.work, self.port, self.size = work, port, size
        self.problem, self.took_s = None, 0.0
        self.start()

    def run(self) -> None:
        start = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=60) as sock:
                sock.settimeout(None)  # sendfile needs a blocking socket
                self.problem = self.work(sock, self.size)
        except (OSError, TypeError) as error:  # TypeError: read_head found the connection closed
            self.problem = repr(error)
        self.took_s = time.monotonic() - start


def measure(args, children: Children, tmp: Path) -> float:
    """Runs both transfers. Returns the most MiB that were ever resident."""
    proxy_core, load_core = cores()
    replica_port, size = free_port(), int(args.gib * GIB)
    children.start([sys.executable, Path(__file__).with_name("lib") / "bulk.py", replica_port], load_core)
    pools = {"app": [f"127.0.0.1:{replica_port}"]}
    if args.haproxy:
        proxy = start_haproxy(children, tmp, pools, proxy_core)
    else:
        proxy = start_unstick(children, tmp, pools, need_unstick(args.unstick), proxy_core)
    before_mib, cpu = memory_kib(proxy.pid) / 1024, cpu_ns(proxy.pid)
    transfers = {work.__name__: Transfer(work, proxy.port, size) for work in (upload, download)}
    deadline, sampled_mib = time.monotonic() + args.seconds, 0.0
    while any(transfer.is_alive() for transfer in transfers.values()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not done after {args.seconds} s")
        sampled_mib = max(sampled_mib, memory_kib(proxy.pid) / 1024)
        time.sleep(0.05)
    for name, transfer in transfers.items():
        if transfer.problem != "":
            raise RuntimeError(f"{name}: {transfer.problem}")
        print(f"{name}: {args.gib:g} GiB in {transfer.took_s:.1f} s, {size / transfer.took_s / GIB:.2f} GiB/s")
    spent_s = cpu_spent_ns(proxy.pid, cpu) / 1e9
    peak_mib = memory_kib(proxy.pid, "VmHWM") / 1024
    print(
        f"{proxy.name}: CPU {spent_s / (2 * args.gib):.2f} s per GiB; resident before {before_mib:.1f} MiB, "
        f"sampled peak {sampled_mib:.1f} MiB, peak by the kernel {peak_mib:.1f} MiB"
    )
    return peak_mib


def main() -> int:
    args = arguments()
    need_tools(*["haproxy"][: args.haproxy])
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-big-") as tmp, Children() as children:
        peak_mib = measure(args, children, Path(tmp))
    if peak_mib >= args.max_mib:
        print(f"FAILED: {peak_mib:.1f} MiB were resident, allowed are less than {args.max_mib:g}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
