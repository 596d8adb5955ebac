"""Connections that have had a response and then do nothing."""

from __future__ import annotations

import socket
import ssl
import time

from ..process import memory_kib
from ..servers import SMALL_BODY
from . import frames
from .start import Peer

SETTLE_S = 5.0  # long enough for connections to be parked, and for the allocator to give back what they had


class Connection:
    """One client connection."""

    def __init__(self, peer: Peer, kind: str, context: ssl.SSLContext | None) -> None:
        port = peer.place.plain if kind == "plain" else peer.place.tls
        raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock = context.wrap_socket(raw, server_hostname="localhost") if context else raw
        self.is_h2, self.stream, self.reader = kind == "h2", 1, frames.Reader()
        if self.is_h2:
            self.sock.sendall(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0))

    def request(self) -> None:
        """A GET; every byte of the response is compared."""
        body = self.request_h2() if self.is_h2 else self.request_h1()
        if body != SMALL_BODY.encode():
            raise RuntimeError(f"an idle connection got {body!r}")

    def request_h1(self) -> bytes:
        self.sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        response = b""
        while len(response.partition(b"\r\n\r\n")[2]) < len(SMALL_BODY):
            response += self.received()
        if not response.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(response[:100].decode(errors="replace"))
        return response.partition(b"\r\n\r\n")[2]

    def request_h2(self) -> bytes:
        flags = frames.END_HEADERS | frames.END_STREAM
        head = frames.request("GET", "https", "/")
        self.sock.sendall(frames.frame(frames.HEADERS, flags, self.stream, head))
        body = b""
        while True:
            for kind, flags, stream, payload in self.reader.frames(self.received()):
                reply = frames.reply_to(kind, flags, payload)
                if reply:
                    self.sock.sendall(reply)
                body += payload if kind == frames.DATA else b""
                if stream == self.stream and kind in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM:
                    self.stream += 2
                    return body
                if kind in (frames.GOAWAY, frames.RST_STREAM):
                    raise RuntimeError(f"HTTP/2 ended: frame {kind}, {payload!r}")

    def received(self) -> bytes:
        piece = self.sock.recv(1 << 16)
        if not piece:
            raise RuntimeError("the proxy closed a connection that should be idle")
        return piece


def context_for(peer: Peer, kind: str) -> ssl.SSLContext | None:
    if kind == "plain":
        return None
    context = ssl.create_default_context(cafile=str(peer.place.certificate))
    context.set_alpn_protocols(["h2" if kind == "h2" else "http/1.1"])
    return context


def idle_kib(peer: Peer, kind: str, count: int) -> float:
    """KiB that each of `count` idle connections takes (`plain`, `tls` or `h2`), from the growth of VmRSS."""
    context = context_for(peer, kind)
    before = memory_kib(peer.pid)
    connections: list[Connection] = []
    try:
        for _ in range(count):
            connections.append(Connection(peer, kind, context))
            connections[-1].request()
        time.sleep(SETTLE_S)
        grown = memory_kib(peer.pid) - before
        connections[0].request()  # they are alive: the first and the last still answer
        connections[-1].request()
        return grown / count
    finally:
        for connection in connections:
            connection.sock.close()
