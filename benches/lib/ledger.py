#!/usr/bin/env python3
"""A replica that records each POST it executes before it responds, in a file that outlives a SIGKILL.

GET /down responds with 64 KiB, PUT with the SHA-256 of the body, POST with "ok".
"""

import asyncio
import hashlib
import os
import sys

DOWN = bytes(range(256)) * 256


class Replica(asyncio.Protocol):
    ledger = -1

    def connection_made(self, transport):
        self.transport, self.data = transport, bytearray()

    def data_received(self, data):
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.data[:end])
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if len(self.data) < end + 4 + length:
                return
            body = bytes(self.data[end + 4 : end + 4 + length])
            del self.data[: end + 4 + length]
            self.answer(head, body)

    def answer(self, head, body):
        text = b"ok"
        if head.startswith(b"POST "):
            os.write(Replica.ledger, body + b"\n")
        elif head.startswith(b"PUT "):
            text = hashlib.sha256(body).hexdigest().encode()
        elif head.startswith(b"GET /down "):
            text = DOWN
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


async def main(port: int, ledger: str) -> None:
    Replica.ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    server = await asyncio.get_running_loop().create_server(Replica, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
