#!/usr/bin/env python3
"""Slow clients and the replica that takes their uploads; isolation.py runs this as a process of its own.

Commands on stdin, one line of JSON each on stdout:
    start PORT UPLOADS   opens that many uploads and one reader of 1 byte/s through 127.0.0.1:PORT
    status               what is in flight now, as the *replica* sees it
    stop                 closes all of them
Each upload announces 1 MiB and sends 4 bytes every 2 seconds. The sends are spread evenly over time, one by one: bursts
would be a load of their own.
"""

import asyncio
import json
import socket
import sys

UPLOAD_HEAD = b"POST /upload HTTP/1.1\r\nHost: slow.test\r\nContent-Length: 1048576\r\n\r\n"
READER_HEAD = b"GET /big HTTP/1.1\r\nHost: slow.test\r\n\r\n"
PIECE = b"slow"
PAUSE_S = 2.0


class Replica(asyncio.Protocol):
    """Responds to GET (the health check) and discards uploads; counts those that have sent part of their body."""

    uploading: set = set()
    bytes_total = 0

    def connection_made(self, transport):
        self.transport = transport
        self.head = b""
        self.left = 0  # bytes of the body still to come

    def data_received(self, data):
        if self.left:
            return self.body(data)
        self.head += data
        head, end, rest = self.head.partition(b"\r\n\r\n")
        if not end:
            return
        self.head = b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                self.left = int(line.split(b":")[1])
            if line.startswith(b"transfer-encoding:"):
                self.left = 1 << 60  # hostile ones never end
        if self.left:
            self.body(rest)
        else:
            self.answer()

    def body(self, data):
        if data:
            Replica.uploading.add(self)
            Replica.bytes_total += len(data)
            self.left -= len(data)
            if self.left <= 0:
                Replica.uploading.discard(self)
                self.left = 0
                self.answer()

    def answer(self):
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")

    def connection_lost(self, _):
        Replica.uploading.discard(self)


class Clients:
    """The slow clients."""

    def __init__(self):
        self.uploads, self.reader, self.tasks = [], None, []
        self.reader_bytes = self.broken = 0

    async def connect(self, port, request, receive_buffer=None):
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, request)
        return sock

    async def start(self, port, count):
        self.reader_bytes = self.broken = 0
        self.reader = await self.connect(port, READER_HEAD, receive_buffer=4096)
        for number in range(count):
            self.uploads.append(await self.connect(port, UPLOAD_HEAD + PIECE))
            if number % 50 == 0:
                await asyncio.sleep(0.01)
        self.tasks = [asyncio.create_task(self.read()), asyncio.create_task(self.send())]

    async def read(self):
        while True:
            await asyncio.sleep(1)
            try:
                self.reader_bytes += len(self.reader.recv(1))
            except BlockingIOError:
                pass
            except OSError:
                return

    async def send(self):
        """Sends one piece at a time; each upload sends one every PAUSE_S seconds."""
        loop = asyncio.get_running_loop()
        start, sent = loop.time(), 0
        while self.uploads:
            due = int((loop.time() - start) / PAUSE_S * len(self.uploads))
            for number in range(sent, due):
                try:
                    self.uploads[number % len(self.uploads)].send(PIECE)
                except OSError:
                    self.broken += 1
            sent = max(sent, due)
            await asyncio.sleep(0.001)

    def stop(self):
        for task in self.tasks:
            task.cancel()
        for sock in [*self.uploads, self.reader]:
            if sock:
                sock.close()
        self.uploads, self.reader, self.tasks = [], None, []


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Replica, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    clients = Clients()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async with server:
        while line := await stdin.readline():
            command, *rest = line.decode().split()
            if command == "start":
                await clients.start(int(rest[0]), int(rest[1]))
            elif command == "stop":
                clients.stop()
            print(
                json.dumps(
                    {
                        "uploads": len(Replica.uploading),
                        "upload_bytes": Replica.bytes_total,
                        "reader_bytes": clients.reader_bytes,
                        "broken": clients.broken,
                    }
                ),
                flush=True,
            )


asyncio.run(main())
