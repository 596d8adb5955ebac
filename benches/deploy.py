#!/usr/bin/env python3
"""Rolling restarts and a storm of reloads, under load and with open streams. The proxy repeats no request.

rolling   10 nginx are replaced one by one under `wrk -c32`, by editing the file: each is drained, removed and stopped,
          and another one is added.
reloads   50 edits in 10 s under the same load, with 100 open streams; twice, so that growth of memory shows.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

from lib.load import finish_wrk, start_wrk
from lib.process import UNSTICK, Children, findings, free_port, memory_kib, need_tools, need_unstick, wait_until
from lib.servers import SMALL_BODY, get, make_files, start_nginx, start_unstick
from lib.witness import Witness

HEALTH = 'interval = "200ms"\nrise = 1\n'
# Nothing is repeated, so a request that meets a replica which has ended fails, and the failure shows.
ONE_ATTEMPT = "\n[pool.app.retry]\nattempts = 1\n"
EVENT_S = 0.1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=10)
    parser.add_argument("--streams", type=int, default=100, help="open streams during the reloads (100)")
    parser.add_argument("--seed", type=int, default=1, help="of the edits (1)")
    parser.add_argument("--max-growth-kib", type=int, default=2048, help="of memory in the second storm (2048)")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    return parser.parse_args()


class Proxy:
    """unstick, its config file, and what it reports about itself."""

    def __init__(self, args, children: Children, tmp: Path, name: str, backends: list[str], streams: str = "") -> None:
        self.admin = free_port()
        pools = {"app": backends} | ({"stream": [streams]} if streams else {})
        binary = need_unstick(args.unstick)
        self.server = start_unstick(
            children, tmp, pools, binary, name=name, admin=f"127.0.0.1:{self.admin}", health=HEALTH, rest=ONE_ATTEMPT
        )
        self.file = tmp / name / "unstick.toml"
        self.original = self.file.read_text()

    def edit(self, backends: list[dict], balance: str = "round-robin") -> None:
        """Also edits the pool of the streams, so that it is built anew around the endpoint that stays."""
        entries = [
            f'{{ address = "{b["address"]}", weight = {b.get("weight", 1)}, state = "{b.get("state", "ready")}" }}'
            for b in backends
        ]
        text = f'[pool.app]\nbalance = "{balance}"\nbackends = [{", ".join(entries)}]'
        staged = self.file.with_suffix(".next")
        new = re.sub(r"\[pool\.app\]\nbackends = .*", lambda _: text, self.original)
        staged.write_text(new.replace("[pool.stream]\n", f'[pool.stream]\nbalance = "{balance}"\n'))
        staged.rename(self.file)

    def status(self) -> dict:
        return json.loads(get(self.admin, "/status")[1])

    def endpoint(self, address: str) -> dict | None:
        endpoints = [endpoint for pool in self.status()["pools"] for endpoint in pool["endpoints"]]
        return next((endpoint for endpoint in endpoints if endpoint["address"] == address), None)

    def is_drained(self, address: str) -> bool:
        endpoint = self.endpoint(address)
        return endpoint["wanted"] == "drain" and endpoint["in_flight"] == 0

    def has_left(self, address: str) -> bool:
        leaving = [endpoint["address"] for pool in self.status()["pools"] for endpoint in pool["leaving"]]
        return self.endpoint(address) is None and address not in leaving


class Load:
    """wrk and the strict clients, until `finish`."""

    def __init__(self, children: Children, port: int, seconds: int) -> None:
        self.children, self.seconds = children, seconds
        self.witness = Witness(port, SMALL_BODY.encode())
        self.wrk = start_wrk(children, f"http://127.0.0.1:{port}/", seconds, 32)

    def finish(self) -> bool:
        load = finish_wrk(self.children, self.wrk, self.seconds)
        self.witness.stop()
        failed = load.failed + len(self.witness.failures)
        print(
            f"  {load.requests + self.witness.requests} requests, {failed} failed "
            f"({load.failures}) {self.witness.failures[:3]}"
        )
        return failed == 0


def rolling(args, children: Children, tmp: Path, files: Path, drain_first: bool) -> bool:
    """Every replica is replaced by one on another port."""
    replicas = [start_nginx(children, tmp, files) for _ in range(args.replicas)]
    proxy = Proxy(args, children, tmp, f"rolling-{drain_first}", [replica.address for replica in replicas])
    load, began = Load(children, proxy.server.port, 30), time.monotonic()
    for number, old in enumerate(replicas):
        new = start_nginx(children, tmp, files)
        others = [{"address": replica.address} for replica in replicas if replica is not old]
        if drain_first:
            proxy.edit([*others, {"address": old.address, "state": "drain"}, {"address": new.address}])
            wait_until(lambda: proxy.is_drained(old.address), 10, "the old one is drained")
        proxy.edit([*others, {"address": new.address}])
        wait_until(lambda: (proxy.endpoint(new.address) or {}).get("state") == "healthy", 10, "the new one is healthy")
        wait_until(lambda: proxy.has_left(old.address), 10, "the old one is unused")
        children.stop(old.process)
        replicas[number] = new
    seconds = (time.monotonic() - began) / args.replicas
    print(f"rolling{'' if drain_first else ', without draining'}: {args.replicas} replicas, {seconds:.2f} s each")
    is_clean = load.finish()
    children.stop(proxy.server.process)
    return is_clean


class Streams(threading.Thread):
    """A replica that sends a numbered event now and then, and readers that check the numbers."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.port, self.open, self.events, self.broken = free_port(), 0, 0, []
        self.loop, self.readers = asyncio.new_event_loop(), []
        self.ready = threading.Event()

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self.serve, "127.0.0.1", self.port, backlog=1024)
        )
        self.ready.set()
        self.loop.run_forever()

    async def serve(self, reader, writer) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if not head.startswith(b"GET /stream"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    continue
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for number in range(10_000):
                    line = b"%d\n" % number
                    writer.write(b"%x\r\n%s\r\n" % (len(line), line))
                    await writer.drain()
                    await asyncio.sleep(EVENT_S)
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.close()

    async def read(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.open += 1
            for number in range(10_000):
                await asyncio.wait_for(reader.readline(), 5)
                if await asyncio.wait_for(reader.readline(), 5) != b"%d\n" % number:
                    self.broken.append(f"event {number} is missing")
                    return
                await reader.readline()
                self.events += 1
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.broken.append(repr(error))
        finally:
            writer.close()

    def connect(self, port: int, count: int) -> None:
        for _ in range(count):
            self.readers.append(asyncio.run_coroutine_threadsafe(self.read(port), self.loop))
        wait_until(lambda: self.open == count, 20, f"{count} streams are open")


def reloads(args, children: Children, tmp: Path, files: Path) -> bool:
    """Edits of one pool while streams run through another, and requests through the worker of both."""
    dice = random.Random(args.seed)
    replicas = [start_nginx(children, tmp, files) for _ in range(4)]
    streams = Streams()
    streams.start()
    streams.ready.wait()
    proxy = Proxy(
        args, children, tmp, "reloads", [replica.address for replica in replicas], f"127.0.0.1:{streams.port}"
    )
    streams.connect(proxy.server.port, args.streams)
    is_clean, sizes = True, []
    for storm in range(2):
        load, began = Load(children, proxy.server.port, 14), time.monotonic()
        time.sleep(3)  # every connection is open, every buffer has its size
        sizes.append(memory_kib(proxy.server.pid))
        applied, pause = proxy.status()["reloads"]["applied"], 10 / 50
        for number in range(50):
            wanted = [{"address": replica.address, "weight": dice.choice([1, 2])} for replica in replicas]
            del wanted[1 + number % 3]
            proxy.edit(wanted, dice.choice(["round-robin", "least-connections", "p2c"]))
            time.sleep(max(0.0, began + 3 + (number + 1) * pause - time.monotonic()))
        wait_until(lambda: proxy.status()["reloads"]["last"]["ok"], 5, "the last edit is in force")
        applied = proxy.status()["reloads"]["applied"] - applied
        sizes.append(memory_kib(proxy.server.pid))
        print(
            f"reloads: 50 edits in 10 s, {applied} applied, {len(streams.broken)} of {args.streams} streams cut "
            f"({streams.events} events), resident {sizes[-2]} -> {sizes[-1]} KiB {streams.broken[:2]}"
        )
        is_clean &= load.finish() and not streams.broken and applied == 50
    grown = sizes[3] - sizes[1]
    print(
        f"  grown from the end of the first storm to the end of the second: {grown} KiB (limit {args.max_growth_kib})"
    )
    return is_clean and grown <= args.max_growth_kib


def main() -> int:
    args = arguments()
    need_tools("nginx", "wrk")
    with findings(), tempfile.TemporaryDirectory(prefix="unstick-deploy-") as name, Children() as children:
        tmp = Path(name)
        files = make_files(tmp / "files")
        results = [
            rolling(args, children, tmp, files, True),
            rolling(args, children, tmp, files, False),
            reloads(args, children, tmp, files),
        ]
    print("well" if all(results) else "FAILED")
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
