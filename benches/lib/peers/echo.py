"""A replica that echoes messages of WebSocket and of gRPC streams, and the clients that send them through a proxy.

`python3 -m lib.peers.echo serve PORT`; `python3 -m lib.peers.echo websocket|grpc PORT CONNECTIONS STREAMS SECONDS`.
A client sends the next message when the last one has come back, and compares each byte.
"""

from __future__ import annotations

import base64
import hashlib
import json
import selectors
import socket
import sys
import time

from . import frames

PAYLOAD = b"m" * 64
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x5a\xa5\x3c\xc3"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MESSAGE = b"\0" + len(PAYLOAD).to_bytes(4, "big") + PAYLOAD
TEXT, CLOSE = 1, 8


def masked(payload: bytes) -> bytes:
    mask = int.from_bytes((MASK * (len(payload) // 4 + 1))[: len(payload)], "big")
    return (int.from_bytes(payload, "big") ^ mask).to_bytes(len(payload), "big")


SENT = bytes([0x80 | TEXT, 0x80 | len(PAYLOAD)]) + MASK + masked(PAYLOAD)
ECHOED = bytes([0x80 | TEXT, len(PAYLOAD)]) + PAYLOAD


class Side:
    """One connection: what it has read is given to the method that its protocol has for it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.buffer, self.reader = sock, b"", frames.Reader()

    def send(self, piece: bytes) -> None:
        if piece:
            self.sock.sendall(piece)


class Server(Side):
    """A connection of a proxy: HTTP/2 by prior knowledge, a WebSocket, or a probe."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.take = self.begin

    def begin(self, piece: bytes) -> None:
        self.buffer += piece
        if self.buffer.startswith(frames.PREFACE):
            rest, self.buffer, self.take = self.buffer[len(frames.PREFACE) :], b"", self.grpc
            self.send(frames.opening())
            self.grpc(rest)
        elif b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer, b""
            fields = dict(line.split(b": ", 1) for line in head.strip().split(b"\r\n")[1:])
            key = {name.lower(): value for name, value in fields.items()}.get(b"sec-websocket-key", b"")
            accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
            upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
            self.take = self.websocket
            self.send(b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\n\r\n")

    def websocket(self, piece: bytes) -> None:
        self.buffer += piece
        while len(self.buffer) >= 6:
            length = self.buffer[1] & 0x7F
            if len(self.buffer) < 6 + length:
                return
            kind, whole = self.buffer[0], self.buffer[: 6 + length]
            self.buffer = self.buffer[6 + length :]
            if kind & 0x0F == CLOSE:
                raise ConnectionError
            mask = int.from_bytes((whole[2:6] * (length // 4 + 1))[:length], "big")
            body = (int.from_bytes(whole[6:], "big") ^ mask).to_bytes(length, "big")
            self.send(bytes([kind, length]) + body)

    def grpc(self, piece: bytes) -> None:
        out = b""
        for kind, flags, stream, payload in self.reader.frames(piece):
            out += frames.reply_to(kind, flags, payload)
            if kind == frames.HEADERS:
                block = frames.STATUS_200 + frames.grpc_type()
                out += frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block)
            elif kind == frames.DATA and payload:
                out += frames.frame(frames.DATA, 0, stream, payload)
            if kind in (frames.HEADERS, frames.DATA) and flags & frames.END_STREAM:
                ends = frames.END_HEADERS | frames.END_STREAM
                out += frames.frame(frames.HEADERS, ends, stream, frames.grpc_status_ok())
        self.send(out)


class Client(Side):
    """A connection that counts the messages that came back whole."""

    def __init__(self, kind: str, port: int, streams: int) -> None:
        super().__init__(socket.create_connection(("127.0.0.1", port), timeout=10))
        self.count, self.parts = 0, {}
        if kind == "grpc":
            self.take = self.grpc
            self.open_streams(streams)
        else:
            self.take = self.websocket
            self.upgrade()

    def open_streams(self, streams: int) -> None:
        out = frames.PREFACE + frames.opening()
        for stream in range(1, 2 * streams, 2):
            block = frames.request("POST", "http", "/echo.Echo/Stream", grpc=True)
            out += frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block)
            out += frames.frame(frames.DATA, 0, stream, MESSAGE)
            self.parts[stream] = b""
        self.send(out)

    def upgrade(self) -> None:
        fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY
        self.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + fields + b"\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = self.sock.recv(1)
            if not piece:
                raise RuntimeError(f"no WebSocket: {head!r}")
            head += piece
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"no WebSocket: {head!r}")
        self.send(SENT)

    def websocket(self, piece: bytes) -> None:
        self.buffer += piece
        while len(self.buffer) >= len(ECHOED):
            if not self.buffer.startswith(ECHOED):
                raise RuntimeError(f"not the message: {self.buffer!r}")
            self.buffer = self.buffer[len(ECHOED) :]
            self.count += 1
            self.send(SENT)

    def grpc(self, piece: bytes) -> None:
        out = b""
        for kind, flags, stream, payload in self.reader.frames(piece):
            out += frames.reply_to(kind, flags, payload)
            ends = kind in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM
            if ends or kind in (frames.GOAWAY, frames.RST_STREAM):
                raise RuntimeError(f"the stream ended: frame {kind}, {payload!r}")
            if kind == frames.DATA:
                self.parts[stream] += payload
                if self.parts[stream] == MESSAGE:
                    self.parts[stream] = b""
                    self.count += 1
                    out += frames.frame(frames.DATA, 0, stream, MESSAGE)
                elif not MESSAGE.startswith(self.parts[stream]):
                    raise RuntimeError(f"not the message: {payload!r}")
        self.send(out)


def serve(port: int) -> None:
    selector, listener = selectors.DefaultSelector(), socket.create_server(("127.0.0.1", port), backlog=1024)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                side = Server(listener.accept()[0])
                selector.register(side.sock, selectors.EVENT_READ, side)
                continue
            try:
                piece = key.data.sock.recv(1 << 16)
                if not piece:
                    raise ConnectionError
                key.data.take(piece)
            except (OSError, ValueError):
                selector.unregister(key.data.sock)
                key.data.sock.close()


def load(kind: str, port: int, connections: int, streams: int, seconds: float) -> dict[str, float]:
    selector = selectors.DefaultSelector()
    clients = [Client(kind, port, streams) for _ in range(connections)]
    for client in clients:
        selector.register(client.sock, selectors.EVENT_READ, client)
    begin = time.monotonic()
    before = sum(client.count for client in clients)
    while time.monotonic() < begin + seconds:
        for key, _ in selector.select(timeout=1):
            piece = key.data.sock.recv(1 << 16)
            if not piece:
                raise RuntimeError("the proxy closed a connection")
            key.data.take(piece)
    if not all(client.count for client in clients):
        raise RuntimeError("a connection got nothing back")
    count = sum(client.count for client in clients) - before
    return {"messages": count, "seconds": time.monotonic() - begin}


def main() -> int:
    kind, port, *rest = sys.argv[1:]
    if kind == "serve":
        serve(int(port))
    try:
        print(json.dumps(load(kind, int(port), int(rest[0]), int(rest[1]), float(rest[2]))))
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
