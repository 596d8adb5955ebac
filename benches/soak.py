#!/usr/bin/env python3
"""Load, dying replicas and edits of the config for some minutes, and a check of everything that happened.

Clients send GETs, downloads, uploads, POSTs with and without an Idempotency-Key, and check all bytes of each response.
Twice a second something happens to a replica (SIGKILL and a new start), once a second the config is edited (a backend
out or in, drained or ready, another algorithm). Permitted are only failures of POSTs without a key that were in flight
on a killed replica (502), and responses that broke off with it visibly.
"""

import argparse
import asyncio
import hashlib
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from lib.process import UNSTICK, Children, algorithms, findings, free_port, memory_kib, need_unstick, wait_until
from lib.ledger import DOWN
from lib.servers import get, start_unstick

LEDGER = Path(__file__).parent / "lib" / "ledger.py"
HEALTH = 'interval = "200ms"\ntimeout = "500ms"\nrise = 1\nfall = 2\n'
UPLOAD = os.urandom(50_000)
DIGEST = hashlib.sha256(UPLOAD).hexdigest().encode()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="length (10)")
    parser.add_argument("--clients", type=int, default=32, help="client connections (32)")
    parser.add_argument("--replicas", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of clients, events and edits (1)")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    return parser.parse_args()


class Clients:
    """Sends and checks requests; records which got a response and which did not."""

    def __init__(self, port: int, ends: float) -> None:
        self.port, self.ends = port, ends
        self.kinds, self.failures = Counter(), Counter()
        self.answered_posts: set[bytes] = set()  # POSTs without a key that were answered with 200

    async def run(self, number: int, dice: random.Random) -> None:
        reader = writer = None
        turn = 0
        while time.monotonic() < self.ends:
            turn += 1
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            kind = dice.choices(["get", "post", "keyed", "upload", "download"], [50, 20, 20, 5, 5])[0]
            self.kinds[kind] += 1
            post = b"%s %d-%d" % (kind.encode(), number, turn)
            problem = await self.exchange(kind, post, reader, writer)
            if problem:
                self.failures[f"{kind}: {problem}"] += 1
            if problem and not problem.startswith("50"):
                writer.close()
                writer = None
        if writer:
            writer.close()

    async def exchange(self, kind: str, post: bytes, reader, writer) -> str:
        """Sends one request; returns what was wrong with the response."""
        head, body, expected = {
            "get": (b"GET / HTTP/1.1", b"", b"ok"),
            "download": (b"GET /down HTTP/1.1", b"", DOWN),
            "upload": (b"PUT / HTTP/1.1", UPLOAD, DIGEST),
            "post": (b"POST / HTTP/1.1", post, b"ok"),
            "keyed": (b"POST / HTTP/1.1\r\nIdempotency-Key: " + post.replace(b" ", b"-"), post, b"ok"),
        }[kind]
        try:
            writer.write(b"%s\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            text = await asyncio.wait_for(reader.readexactly(length), 30)
        except asyncio.IncompleteReadError as error:
            return "broke off" if error.partial or kind == "download" else "closed without an answer"
        except (OSError, TimeoutError) as error:
            return type(error).__name__
        status = answer[9:12].decode()
        if status != "200":
            return f"{status} {text.decode(errors='replace').split(':')[0]}"
        if text != expected:
            return f"wrong body of {len(text)} bytes"
        if kind == "post":
            self.answered_posts.add(post)
        return ""


class Fleet:
    """The replicas and the config, and what happens to them."""

    def __init__(self, args, children: Children, tmp: Path) -> None:
        self.children, self.tmp = children, tmp
        self.algorithms = algorithms(args.unstick)
        self.ports = [free_port() for _ in range(args.replicas)]
        self.processes = [self.start(number) for number in range(args.replicas)]
        self.kills = self.edits = 0

    def start(self, number: int):
        return self.children.start([sys.executable, LEDGER, self.ports[number], self.tmp / f"ledger-{number}"])

    async def trouble(self, ends: float, dice: random.Random) -> None:
        """SIGKILL and a new start, twice a second one of them."""
        while time.monotonic() < ends - 1:
            number = dice.randrange(len(self.ports))
            self.children.stop(self.processes[number], kill=True)
            self.kills += 1
            await asyncio.sleep(0.25)
            self.processes[number] = self.start(number)
            await asyncio.sleep(0.25)

    async def edit(self, file: Path, ends: float, dice: random.Random) -> None:
        original = file.read_text()
        start = original.index("backends = ")
        line = original[start : original.index("\n", start)]
        while time.monotonic() < ends:
            await asyncio.sleep(1)
            out = dice.randrange(len(self.ports))
            state = dice.choice(["removed", "drain", "down", "ready"])
            balance = dice.choice(self.algorithms)
            entries = [
                f'{{ address = "127.0.0.1:{port}", state = "{state if n == out else "ready"}" }}'
                for n, port in enumerate(self.ports)
                if not (n == out and state == "removed")
            ]
            text = f'balance = "{balance}"\nbackends = [{", ".join(entries)}]'
            staged = file.with_suffix(".next")
            staged.write_text(original.replace(line, text))
            staged.rename(file)
            self.edits += 1
        file.write_text(original)

    def executed(self) -> Counter:
        ledgers = [self.tmp / f"ledger-{number}" for number in range(len(self.ports))]
        return Counter(line for file in ledgers if file.exists() for line in file.read_bytes().splitlines())


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def soak(args, clients: Clients, fleet: Fleet, file: Path) -> None:
    dice = random.Random(args.seed)
    jobs = [clients.run(number, random.Random(dice.random())) for number in range(args.clients)]
    jobs += [
        fleet.trouble(clients.ends, random.Random(dice.random())),
        fleet.edit(file, clients.ends, random.Random(dice.random())),
    ]
    await asyncio.gather(*jobs)


def is_permitted(failure: str) -> bool:
    return failure in ("post: 502 upstream-closed", "download: broke off")


def main() -> int:
    args = arguments()
    with tempfile.TemporaryDirectory() as name, Children() as children:
        tmp = Path(name)
        fleet = Fleet(args, children, tmp)
        wait_until(lambda: all(is_up(port) for port in fleet.ports), 20, "the replicas answer")
        backends = [f"127.0.0.1:{port}" for port in fleet.ports]
        proxy = start_unstick(children, tmp, {"app": backends}, need_unstick(args.unstick), workers=2, health=HEALTH)
        before = memory_kib(proxy.pid), descriptors(proxy.pid)
        clients = Clients(proxy.port, time.monotonic() + args.minutes * 60)
        asyncio.run(soak(args, clients, fleet, tmp / "unstick" / "unstick.toml"))
        wait_until(lambda: descriptors(proxy.pid) <= before[1] + 2 * args.replicas, 20, "the descriptors are back")
        after = memory_kib(proxy.pid), descriptors(proxy.pid)
        executed = fleet.executed()
    unkeyed = {post: count for post, count in executed.items() if post.startswith(b"post ")}
    doubled = sum(count > 1 for count in unkeyed.values())
    lost = len(clients.answered_posts - unkeyed.keys())
    print(f"{clients.kinds.total()} requests in {args.minutes:g} min: {dict(clients.kinds)}")
    print(f"{fleet.kills} kills, {fleet.edits} edits, seed {args.seed}")
    for failure, count in clients.failures.most_common():
        print(f"  {count} x {failure}{' (permitted)' if is_permitted(failure) else ''}")
    print(f"POSTs without a key: answered but not executed {lost}, executed twice {doubled}")
    print(f"proxy: resident {before[0]} -> {after[0]} KiB, descriptors {before[1]} -> {after[1]}")
    bad = sum(count for failure, count in clients.failures.items() if not is_permitted(failure))
    print(f"not permitted: {bad}")
    return int(bool(bad or doubled or lost))


def is_up(port: int) -> bool:
    try:
        return get(port)[0] == 200
    except OSError:
        return False


if __name__ == "__main__":
    with findings():
        sys.exit(main())
