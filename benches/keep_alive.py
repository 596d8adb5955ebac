#!/usr/bin/env python3
"""Replicas that close each unused connection after exactly 1.0 s, clients that pause about 1.0 s.

The commonest failure of a proxy is a request that is sent at the moment at which the replica closes. Half of the
requests are POSTs without an Idempotency-Key: one that was sent must not be sent again. Counts failures and double
execution.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from lib.process import UNSTICK, Children, findings, free_port, need_unstick, wait_until
from lib.servers import get, start_unstick

IDLE_S = 1.0
CLOSING = Path(__file__).parent / "lib" / "closing.py"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, help="requests in all (100000)")
    parser.add_argument("--clients", type=int, default=1000, help="clients, each with a connection of its own (1000)")
    parser.add_argument("--pause", type=float, default=IDLE_S, help="mean pause of a client in seconds, +-5 %% (1.0)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    return parser.parse_args()


async def client(number: int, port: int, count: int, pause: float, dice: random.Random, failures: list[str]) -> int:
    """Sends `count` requests over one connection; returns how many POSTs got a 200."""
    await asyncio.sleep(dice.random() * pause)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    posted = 0
    for turn in range(count):
        is_post = turn % 2 == 1
        body = b"%d-%d" % (number, turn) if is_post else b""
        method = b"POST" if is_post else b"GET"
        writer.write(b"%s / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (method, len(body), body))
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            failures.append(f"{method.decode()}: {error!r}")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        if head.startswith(b"HTTP/1.1 200 "):
            posted += is_post
        else:
            failures.append(f"{method.decode()}: {head.splitlines()[0].decode()}")
        await asyncio.sleep(pause * dice.uniform(0.95, 1.05))
    writer.close()
    return posted


async def clients(args, port: int, failures: list[str]) -> int:
    dice = random.Random(args.seed)
    each = -(-args.requests // args.clients)
    jobs = [client(n, port, each, args.pause, random.Random(dice.random()), failures) for n in range(args.clients)]
    return sum(await asyncio.gather(*jobs))


def main() -> int:
    args = arguments()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as tmp, Children() as children:
        ports = [free_port(), free_port()]
        for port in ports:
            children.start([sys.executable, CLOSING, port, IDLE_S])
        wait_until(lambda: all(is_up(port) for port in ports), 10, "the replicas answer")
        backends = [f"127.0.0.1:{port}" for port in ports]
        proxy = start_unstick(children, Path(tmp), {"app": backends}, need_unstick(args.unstick))
        answered = asyncio.run(clients(args, proxy.port, failures))
        counts = [[int(word) for word in get(port, "/count")[1].split()] for port in ports]
    executed, different, closes = (sum(column) for column in zip(*counts))
    requests = -(-args.requests // args.clients) * args.clients
    print(f"{requests} requests of {args.clients} clients, half of them POSTs without a key")
    print(f"failed: {len(failures)}")
    for failure in sorted(set(failures)):
        print(f"  {failures.count(failure)} x {failure}")
    print(f"POSTs answered {answered}, executed {executed}, executed twice {executed - different}")
    print(f"connections closed by the replicas: {closes}")
    return int(bool(failures) or executed != different or executed != answered)


def is_up(port: int) -> bool:
    try:
        return get(port, "/count")[0] == 200
    except OSError:
        return False


if __name__ == "__main__":
    with findings():
        sys.exit(main())
