#!/usr/bin/env python3
"""A replica for run.py: responds to `/events` without end, takes an upgrade to an echo, and says `ok` otherwise.

    replica.py PORT
"""

import asyncio
import contextlib
import sys

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: x\n\n\r\n"
ECHO = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def serve(reader, writer):
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if head.startswith(b"get /events "):
                writer.write(EVENTS)
                while True:
                    writer.write(EVENT)
                    await writer.drain()
                    await asyncio.sleep(0.1)
            if b"\r\nupgrade: websocket" in head:
                writer.write(ECHO)
                while part := await reader.read(65536):
                    writer.write(part)
                    await writer.drain()
                break
            writer.write(OK)
            await writer.drain()
    writer.close()


async def main(port):
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
