"""One request over a connection of its own, byte by byte as it is written, and the response to it."""

import socket
from dataclasses import dataclass, field

from lib.replicas import MARK

DEADLINE_S = 10
TUNNELLED = b"hello"


@dataclass
class Request:
    """A request of a case. `differs` has the fields in which it may differ, each with a line of the report."""

    method: str
    target: str
    host: str
    listener: int
    fields: list[tuple[str, str]]
    body: bytes | None
    is_upgrade: bool
    differs: dict[str, str]

    def __str__(self) -> str:
        fields = "".join(f" {name}: {value}" for name, value in self.fields)
        body = "" if self.body is None else f" with {len(self.body)} bytes"
        return f"{self.method} {self.host}{self.target} on {self.listener}{fields}{body}"

    @classmethod
    def of(cls, written: dict, host: str) -> "Request":
        """What `{ get = "/x", headers = { a = "b" } }` means."""
        rest = dict(written)
        fields = [(name, value) for name, value in rest.pop("headers", {}).items()]
        size = rest.pop("body", None)
        request = cls(
            method="",
            target="",
            host=rest.pop("host", host),
            listener=rest.pop("listener", 1),
            fields=fields,
            body=None if size is None else b"x" * size,
            is_upgrade=rest.pop("upgrade", False),
            differs=rest.pop("differs", {}),
        )
        [(method, request.target)] = rest.items()
        request.method = method.upper()
        return request


@dataclass
class Response:
    """A response; `status` is a word if there was none."""

    status: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: str = ""


def send(port: int, mark: str, request: Request) -> Response:
    """Sends a request and reads until the proxy closes."""
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {request.host}", f"{MARK}: {mark}"]
    lines += [f"{name}: {value}" for name, value in request.fields]
    if request.is_upgrade:
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    else:
        lines += ["Connection: close"]
    if request.body is not None:
        lines += [f"Content-Length: {len(request.body)}"]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    received = b""
    try:
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as connection:
            try:
                connection.sendall(head + (request.body or b"") + (TUNNELLED if request.is_upgrade else b""))
            except OSError:
                pass  # Whoever refuses a body need not read it.
            while chunk := connection.recv(65536):
                received += chunk
    except OSError as error:
        if not received:
            return Response(f"no response: {type(error).__name__}")
    return parsed(received)


def parsed(received: bytes) -> Response:
    """A response from its bytes, without interim ones."""
    while received.startswith(b"HTTP/1.1 1") and not received.startswith(b"HTTP/1.1 101"):
        received = received.partition(b"\r\n\r\n")[2]
    if not received:
        return Response("closed without a response")
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    fields = [(name.lower(), value.strip()) for name, _, value in pairs]
    if ("transfer-encoding", "chunked") in fields:
        body = unchunked(body)
    return Response(first.split(" ")[1], fields, body.decode("latin-1"))


def unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        line, _, body = body.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        whole, body = whole + body[:size], body[size + 2 :]
    return whole
