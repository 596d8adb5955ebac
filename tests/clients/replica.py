"""A replica to stand behind the proxy: plain HTTP/1.1 with everything that a proxy can spoil.

python3 replica.py --port 3001 --name a      # prints `ready` when it listens, finishes what it has at SIGTERM

GET  /whoami            NAME
GET  /headers           the fields as they arrived: [["host", "..."], ...]
GET  /set-cookie?a=1    one Set-Cookie per parameter
POST /echo              the request body, chunk by chunk while it arrives, then the trailer x-sha256
POST /digest            sha256 of the request body, in hex
GET  /bytes?n=N&key=K   N bytes, the i-th of which is i % 251
GET  /aborted?key=K     `yes` if somebody left a /bytes or /events with this key before its end, else `no`
GET  /events?n=N&ms=M   server-sent events, one every M ms; each bears the time at which it was sent (CLOCK_MONOTONIC)
GET  /slow?ms=M         NAME, after M ms
GET  /page              page.html
GET  /ws?tick=M         WebSocket echo; `whoami` answers NAME, `close 4002 why` closes; with tick a message every M ms
"""

import argparse, asyncio, contextlib, hashlib, json, signal, sys, time
from pathlib import Path

from replica_http import PIECE, Exchange
from replica_websocket import Echo

PATTERN = bytes(range(251)) * 256
GRACE_S = 5


class Replica:
    def __init__(self, name):
        self.name, self.aborted, self.stopping = name, set(), asyncio.Event()
        self.connections = {}  # task: whether it is in the midst of a request

    async def connection(self, reader, writer):
        task = asyncio.current_task()
        try:
            while not self.stopping.is_set():
                self.connections[task] = False
                exchange = Exchange(await reader.readuntil(b"\r\n\r\n"), reader, writer)
                self.connections[task] = True
                if await self.handle(exchange):
                    break
                if exchange.withheld:
                    await linger(reader, writer)
                    break
                async for _ in exchange.body:
                    pass
                if exchange.last:
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except (ValueError, asyncio.LimitOverrunError) as error:
            print(f"not HTTP/1.1: {error}", file=sys.stderr)
            writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        finally:
            del self.connections[task]
            writer.close()

    async def handle(self, x):
        """Answers one request. True: this connection is at its end."""
        match x.method.replace("HEAD", "GET"), x.path:
            case "GET", "/whoami" | "/healthz":
                await x.answer(self.name)
            case "GET", "/headers":
                await x.answer(json.dumps(x.fields), kind="application/json")
            case "GET", "/set-cookie":
                await x.answer("set", *(f"set-cookie: {k}={v}; Path=/" for k, v in x.query.items()))
            case "POST" | "PUT", "/echo":
                await self.echo(x)
            case "POST" | "PUT", "/digest":
                await x.answer(await digest(x.body))
            case "GET", "/bytes":
                n = int(x.query["n"])
                await self.until_left(x, x.stream(pattern(n), "content-type: application/octet-stream", length=n))
            case "GET", "/aborted":
                await x.answer("yes" if x.query["key"] in self.aborted else "no")
            case "GET", "/events":
                events = self.events(int(x.query["n"]), int(x.query["ms"]))
                await self.until_left(x, x.stream(events, "content-type: text/event-stream", "cache-control: no-store"))
            case "GET", "/slow":
                await asyncio.sleep(int(x.query["ms"]) / 1000)
                await x.answer(self.name)
            case "GET", "/page":
                await x.answer(Path(__file__).with_name("page.html").read_text(), kind="text/html; charset=utf-8")
            case "GET", "/ws":
                await Echo(x, self.name, self.stopping).serve()
                return True
            case _:
                await x.answer("not found", status="404 Not Found")

    async def echo(self, x):
        seen = hashlib.sha256()

        async def pieces():
            async for piece in x.body:
                seen.update(piece)
                yield piece

        x.invite()
        await x.stream(pieces(), "trailer: x-sha256", trailers=lambda: [f"x-sha256: {seen.hexdigest()}"])

    async def until_left(self, x, sending):
        try:
            await sending
        except ConnectionError:
            self.aborted.add(x.query.get("key"))
            raise

    async def events(self, n, ms):
        for i in range(n):
            yield b"id: %d\ndata: %s\n\n" % (i, json.dumps({"ns": time.monotonic_ns(), "name": self.name}).encode())
            await asyncio.sleep(ms / 1000)

    async def run(self, port):
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stopping.set)
        server = await asyncio.start_server(self.connection, "127.0.0.1", port, limit=4 * PIECE, backlog=2048)
        print("ready", flush=True)
        await self.stopping.wait()
        server.close()
        for task in [task for task, busy in self.connections.items() if not busy]:
            task.cancel()
        if self.connections:
            _, late = await asyncio.wait(self.connections, timeout=GRACE_S)
            for task in late:
                task.cancel()


async def linger(reader, writer):
    """A connection that is closed while something arrives is reset, and the reset may overtake the answer."""
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            while await reader.read(PIECE):
                pass


async def pattern(n):
    for start in range(0, n, len(PATTERN)):
        yield PATTERN[: n - start]


async def digest(pieces):
    seen = hashlib.sha256()
    async for piece in pieces:
        seen.update(piece)
    return seen.hexdigest()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="see the head of this file")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--name", required=True)
    given = arguments.parse_args()
    asyncio.run(Replica(given.name).run(given.port))
