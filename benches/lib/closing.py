#!/usr/bin/env python3
"""A replica that closes each connection after an exact time without a request, and counts what it executed.

GET /count responds with the number of POSTs, of different ids among them, and of closed connections.
"""

import asyncio
import sys


class Replica(asyncio.Protocol):
    idle_s = 1.0
    posts = 0
    closes = 0
    ids: set[bytes] = set()

    def connection_made(self, transport):
        self.transport, self.data, self.timer = transport, b"", None
        self.wait()

    def wait(self):
        self.timer = asyncio.get_running_loop().call_later(Replica.idle_s, self.close)

    def close(self):
        Replica.closes += 1
        self.transport.close()

    def connection_lost(self, _):
        self.timer.cancel()

    def data_received(self, data):
        self.timer.cancel()
        self.data += data
        while True:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            if not end:
                return
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if len(rest) < length:
                return
            self.answer(head, rest[:length])
            self.data = rest[length:]
            if not self.data:
                break
        self.wait()

    def answer(self, head, body):
        text = b"ok"
        if head.startswith(b"POST "):
            Replica.posts += 1
            Replica.ids.add(body)
        elif head.startswith(b"GET /count "):
            text = b"%d %d %d" % (Replica.posts, len(Replica.ids), Replica.closes)
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


async def main(port: int, idle_s: float) -> None:
    Replica.idle_s = idle_s
    server = await asyncio.get_running_loop().create_server(Replica, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
