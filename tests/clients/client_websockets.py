"""Proves with websockets that WebSocket over HTTP/1.1 Upgrade works: text, binary, large, and fragmented messages, ping
and pong, close codes in both directions, messages that arrive when they are sent, and many connections at once.

    python3 client_websockets.py --base https://localhost:8443 --ca ca.pem
    python3 client_websockets.py --base http://localhost:8080

Behind the base there are replicas of replica.py. The check of many connections prints `counts {"a": 17, ...}`.
"""

import asyncio, collections, contextlib, json, os, time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from checks import arguments, ensure, expect, methods, run, tls

CONNECTIONS = 50


class Websockets:
    def __init__(self, given):
        self.base, self.tls = given.base.replace("http", "ws", 1), tls(given)

    def _connect(self, path="/ws", **more):
        return connect(self.base + path, ssl=self.tls, max_size=16 << 20, **more)

    async def text_and_binary(self):
        async with self._connect() as ws:
            for message in ("hello", "\N{SNOWMAN}" * 1000, "", b"", bytes(range(256))):
                await ws.send(message)
                expect(await ws.recv(), message)

    async def message_of_1_MiB(self):
        for compression in (None, "deflate"):
            async with self._connect(compression=compression) as ws:
                for _ in range(3):
                    message = os.urandom(1 << 20)
                    await ws.send(message)
                    ensure(await ws.recv() == message, "came back changed")

    async def fragmented_message(self):
        async with self._connect(compression=None) as ws:
            await ws.send(["one ", "two ", "three"])
            expect(await ws.recv(), "one two three")

    async def many_messages_in_order(self):
        async with self._connect() as ws:
            sending = asyncio.create_task(self._send(ws, 2000))
            for i in range(2000):
                expect(await ws.recv(), f"{i}")
            await sending

    async def _send(self, ws, n):
        for i in range(n):
            await ws.send(f"{i}")

    async def ping_and_pong(self):
        async with self._connect(ping_interval=None) as ws:
            roundtrips_s = [await (await ws.ping(b"%d" % i)) for i in range(10)]
            return f"at most {max(roundtrips_s) * 1000:.1f} ms"

    async def subprotocol(self):
        async with self._connect(subprotocols=["other", "echo"]) as ws:
            expect(ws.subprotocol, "echo")

    async def close_from_the_client(self):
        async with self._connect() as ws:
            await ws.close(4001, "enough")
            expect((ws.close_code, ws.close_reason), (4001, "enough"))
            expect(ws.protocol.close_rcvd.code, 4001, "the code that the server sent back")

    async def close_from_the_server(self):
        async with self._connect() as ws:
            await ws.send("close 4002 go away")
            with contextlib.suppress(ConnectionClosed):
                raise AssertionError(f"received {await ws.recv()!r}")
            expect((ws.protocol.close_rcvd.code, ws.protocol.close_rcvd.reason), (4002, "go away"))

    async def messages_arrive_when_sent(self):
        """The server speaks first and alone: nothing that the client sends could push its messages through."""
        async with self._connect("/ws?tick=50") as ws:
            times_ns = [(int((await ws.recv()).split()[1]), time.monotonic_ns()) for _ in range(20)]
        late_ms = max(received - sent for sent, received in times_ns) / 1e6
        ensure(late_ms < 500, f"one was {late_ms:.0f} ms late")
        return f"at most {late_ms:.1f} ms"

    async def other_answers_than_101(self):
        try:
            async with self._connect("/nothing-here"):
                raise AssertionError("connected")
        except InvalidStatus as error:
            expect(error.response.status_code, 404)

    async def many_connections_at_once(self):
        async with contextlib.AsyncExitStack() as stack:
            all_of_them = [await stack.enter_async_context(self._connect()) for _ in range(CONNECTIONS)]
            names = await asyncio.gather(*(self._talk(ws) for ws in all_of_them))
        counts = collections.Counter(names)
        expect((sum(counts.values()), sorted(counts)), (CONNECTIONS, ["a", "b"]), "who answered")
        ensure(min(counts.values()) >= CONNECTIONS // 4, f"spread unevenly: {counts}")
        return f"counts {json.dumps(counts, sort_keys=True)}"

    async def _talk(self, ws):
        for i in range(20):
            await ws.send(f"{i}")
            expect(await ws.recv(), f"{i}")
        await ws.send("whoami")
        return await ws.recv()


if __name__ == "__main__":
    asyncio.run(run(methods(Websockets(arguments(__doc__)))))
