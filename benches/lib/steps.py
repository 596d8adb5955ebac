"""A client and replicas in one thread, which send one message at a time.

Nothing is sent before the proxy has done all it had to do with the message before. So what it finds in its sockets does
not depend on which process was faster, and every request costs it the same instructions.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from contextlib import ExitStack
from typing import Callable

REPLICAS = 3
SECONDS = 20  # that one message may take
SMALL, LARGE, UPLOAD = 129, 65536, 16384  # bytes of a body
PATHS = {"/": SMALL, "/64k": LARGE, "/1m": 1 << 20, "/api/": SMALL}
HEAD = (
    "HTTP/1.1 200 OK\r\nServer: replica\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n"
    "Content-Length: {length}\r\nConnection: keep-alive\r\n\r\n"
)
FIELDS = "Host: bench.test\r\nUser-Agent: bench/1\r\nAccept: */*\r\n"
REQUEST = "GET {path} HTTP/1.1\r\n" + FIELDS + "\r\n"
POST = "POST {path} HTTP/1.1\r\n" + FIELDS + f"Content-Length: {UPLOAD}\r\n\r\n"
BUFFER = 4 << 20  # of a socket: what the proxy sends never has to wait


def receive(sock: socket.socket, size: int) -> bytes:
    """Receives exactly this many bytes."""
    parts, left = [], size
    while left:
        part = sock.recv(left)
        if not part:
            raise RuntimeError("the proxy closed the connection")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def receive_head(sock: socket.socket) -> tuple[bytes, bytes]:
    """Receives a head, and the bytes of the body that came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            raise RuntimeError(f"the connection was closed within a head: {data[:200]!r}")
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n", rest


def receive_request(sock: socket.socket) -> str:
    """Receives a request with its body; its path."""
    head, rest = receive_head(sock)
    fields = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    length = next((int(value) for name, _, value in fields if name == b"content-length"), 0)
    receive(sock, length - len(rest))
    return head.split()[1].decode()


class Replicas:
    """Some replicas on ports of their own, with their connections."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(REPLICAS)]
        self._connections: list[socket.socket] = []

    @property
    def addresses(self) -> list[str]:
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in self._listeners]

    def next_request(self) -> tuple[socket.socket, str]:
        """Waits for a request; its connection and its path."""
        while True:
            ready, _, _ = select.select([*self._listeners, *self._connections], [], [], SECONDS)
            if not ready:
                raise TimeoutError(f"no request came to a replica within {SECONDS} s")
            for sock in ready:
                if sock in self._listeners:
                    self._accept(sock)
                elif sock.recv(1, socket.MSG_PEEK):
                    return sock, receive_request(sock)
                else:
                    self._connections.remove(sock)

    def _accept(self, listener: socket.socket) -> None:
        sock = self._stack.enter_context(listener.accept()[0])
        sock.settimeout(SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._connections.append(sock)


def respond(sock: socket.socket, path: str) -> None:
    """The response to a request."""
    sock.sendall(HEAD.format(length=PATHS[path]).encode() + bytes(PATHS[path]))


def connect(stack: ExitStack, port: int) -> socket.socket:
    """Connects to the proxy as a client."""
    sock = stack.enter_context(socket.socket())
    sock.settimeout(SECONDS)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)  # before connecting: it decides how the window scales
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Http1:
    """A client of HTTP/1.1 with one connection."""

    def __init__(self, stack: ExitStack, port: int) -> None:
        self._sock = connect(stack, port)

    def send(self, path: str) -> None:
        self._sock.sendall(REQUEST.format(path=path).encode())

    def receive(self, length: int) -> None:
        """A whole response with a body of this length."""
        head, rest = receive_head(self._sock)
        if not head.startswith(b"HTTP/1.1 200 ") or f"content-length: {length}\r\n".encode() not in head.lower():
            raise RuntimeError(f"unexpected response: {head!r}")
        receive(self._sock, length - len(rest))


def over_tls(sock: socket.socket, protocol: str) -> ssl.SSLSocket:
    """The connection in TLS. Whose certificate it is does not matter here."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context.wrap_socket(sock)


class Http1Tls(Http1):
    """The same in TLS."""

    def __init__(self, stack: ExitStack, port: int) -> None:
        super().__init__(stack, port)
        self._sock = stack.enter_context(over_tls(self._sock, "http/1.1"))


class Uploads(Http1):
    """A client whose requests have a body."""

    def send(self, path: str) -> None:
        self._sock.sendall(POST.format(path=path).encode() + bytes(UPLOAD))


class Http2:
    """A client of HTTP/2 (RFC 9113) in plain text with one connection."""

    DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
    ACK = END_STREAM = 1
    END_HEADERS = 4
    STATUS_200 = 0x88  # RFC 7541: entry 8 of the static table
    WINDOW = 1 << 30  # never used up, so it is never opened further

    def __init__(self, stack: ExitStack, port: int) -> None:
        self._sock, self._stream = self._connect(stack, port), -1
        self._received: dict[int, int] = {}  # bytes of the bodies of open streams
        settings = struct.pack(">HI", 4, self.WINDOW)  # SETTINGS_INITIAL_WINDOW_SIZE
        self._sock.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + self._frame(self.SETTINGS, 0, 0, settings)
            + self._frame(self.WINDOW_UPDATE, 0, 0, struct.pack(">I", self.WINDOW))
        )

    @staticmethod
    def _connect(stack: ExitStack, port: int) -> socket.socket:
        return connect(stack, port)

    @staticmethod
    def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def send(self, path: str) -> None:
        self._stream += 2
        self._received[self._stream] = 0

        def named(entry: int, value: str) -> bytes:
            """A name of the static table with a value, which no table is to keep (RFC 7541 section 6.2.2)."""
            first = bytes([entry]) if entry < 15 else bytes([15, entry - 15])
            return first + bytes([len(value)]) + value.encode()

        # GET, http, :path, :authority, user-agent, accept
        block = bytes([0x82, 0x86]) + named(4, path) + named(1, "bench.test") + named(58, "bench/1") + named(19, "*/*")
        self._sock.sendall(self._frame(self.HEADERS, self.END_HEADERS | self.END_STREAM, self._stream, block))

    def receive(self, length: int) -> None:
        """The rest of the response that ends first, which has a body of this length."""
        ended = None
        while ended is None:
            size, kind, flags, stream = struct.unpack(">IBBI", b"\0" + receive(self._sock, 9))
            payload = receive(self._sock, size)
            if stream == 0 and kind in (self.SETTINGS, self.PING) and not flags & self.ACK:
                self._sock.sendall(self._frame(kind, self.ACK, 0, payload if kind == self.PING else b""))
            elif stream in self._received and kind == self.HEADERS and payload[:1] == bytes([self.STATUS_200]):
                ended = stream if flags & self.END_STREAM else None
            elif stream in self._received and kind == self.DATA:
                self._received[stream] += size
                ended = stream if flags & self.END_STREAM else None
            elif stream != 0:
                raise RuntimeError(f"unexpected frame of HTTP/2: kind {kind}, flags {flags}, {payload[:100]!r}")
        if (got := self._received.pop(ended)) != length:
            raise RuntimeError(f"{got} bytes came instead of {length}")


class Http2Tls(Http2):
    """The same in TLS."""

    @staticmethod
    def _connect(stack: ExitStack, port: int) -> socket.socket:
        return stack.enter_context(over_tls(connect(stack, port), "h2"))


def exchange(client: Http1 | Http2, replicas: Replicas, path: str, rest: Callable[[], None]) -> None:
    """One request and its response; `rest` waits until the proxy has nothing to do."""
    client.send(path)
    sock, asked = replicas.next_request()
    rest()
    respond(sock, asked)
    client.receive(PATHS[path])
    rest()
