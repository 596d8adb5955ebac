"""Starts the replicas and all products of a setup, which are alive at once."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

from ..process import ROOT, Children, free_port, wait_until
from ..servers import SMALL_BODY, Server, make_certificate, make_files, start_nginx
from .products import Product, system_program
from .setup import Place, Setup

READY_S = 30
GRPC_MESSAGES = 1000  # of a call that streams
GRPC_MESSAGE = b"\0" + (128).to_bytes(4, "big") + b"x" * 128  # not compressed


@dataclass
class Peer:
    """A running product."""

    product: Product
    name: str
    server: Server
    place: Place

    @property
    def pid(self) -> int:
        return self.server.pid

    def url(self, kind: str, path: str) -> str:
        scheme = "https" if kind == "tls" else "http"
        return f"{scheme}://127.0.0.1:{getattr(self.place, kind)}{path}"


@dataclass
class Field:
    """All that runs for one setup."""

    children: Children
    folder: Path
    replicas: list[Server]
    upstreams: list[str]
    peers: list[Peer]
    left_out: dict[str, str]
    proxy_core: int
    load_core: int


def start(
    children: Children, folder: Path, setup: Setup, products: list[tuple[str, Product]], cores: tuple[int, int]
) -> Field:
    """Starts everything. A product that does not come up is left out with the reason."""
    proxy_core, load_core = cores
    replicas, upstreams = start_replicas(children, folder, setup, load_core)
    certificate = make_certificate(folder)
    field = Field(children, folder, replicas, upstreams, [], {}, proxy_core, load_core)
    for name, product in products:
        if product.http1_only and setup.name not in ("plain", "idle-plain"):
            continue
        try:
            place = Place(folder / name, certificate, upstreams)
            place.folder.mkdir()
            field.peers.append(start_product(children, name, product, setup, place, proxy_core))
        except (RuntimeError, TimeoutError, OSError) as error:
            field.left_out[name] = str(error)
    return field


def start_product(children: Children, name: str, product: Product, setup: Setup, place: Place, core: int) -> Peer:
    log = place.folder / "log"
    home = {"HOME": str(place.folder), "XDG_DATA_HOME": str(place.folder), "XDG_CONFIG_HOME": str(place.folder)}
    environment = {**os.environ, **home, **dict(product.environment)}
    words = product.command(product.binary, setup, place)
    process = children.start(words, core, log, env=environment)
    peer = Peer(product, name, Server(name, process, place.plain, log), place)

    def ready() -> bool:
        if process.poll() is not None:
            tail = " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
            raise RuntimeError(f"ended with {process.returncode}: {tail}")
        try:
            check(peer, setup)
        except (OSError, http.client.HTTPException, RuntimeError):
            return False
        return True

    try:
        wait_until(ready, READY_S, "it serves")
    except TimeoutError:
        children.stop(process, kill=True)
        tail = " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
        raise RuntimeError(f"does not serve within {READY_S} s: {tail}") from None
    return peer


def check(peer: Peer, setup: Setup) -> None:
    """One request in plain text and one in TLS, as far as the setup has such; each byte is compared."""
    if setup.grpc or setup.echo:
        socket.create_connection(("127.0.0.1", peer.place.plain), timeout=1).close()
        return
    check_body(peer, "plain", "/", SMALL_BODY.encode())
    if not peer.product.http1_only:
        check_body(peer, "tls", "/", SMALL_BODY.encode())


def check_body(peer: Peer, kind: str, path: str, expected: bytes, post: int = 0) -> int:
    """One request on a new connection; returns how long the response is, with its head."""
    raw = socket.create_connection(("127.0.0.1", getattr(peer.place, kind)), timeout=5)
    try:
        if kind == "tls":
            context = ssl.create_default_context(cafile=str(peer.place.certificate))
            context.set_alpn_protocols(["http/1.1"])
            raw = context.wrap_socket(raw, server_hostname="localhost")
        method = f"POST {path} HTTP/1.1\r\nContent-Length: {post}" if post else f"GET {path} HTTP/1.1"
        raw.sendall(f"{method}\r\nHost: 127.0.0.1\r\n\r\n".encode() + b"x" * post)
        head, body = b"", b""
        while b"\r\n\r\n" not in head or len(body) < len(expected):
            piece = raw.recv(1 << 16)
            if not piece:
                raise RuntimeError(f"{peer.name}: {path} ended early: {head[:100]!r}")
            head, body = (head, body + piece) if b"\r\n\r\n" in head else (head + piece, body)
            if not body and b"\r\n\r\n" in head:
                end = head.index(b"\r\n\r\n") + 4
                head, body = head[:end], head[end:]
                if not head.startswith(b"HTTP/1.1 200"):
                    break
    finally:
        raw.close()
    if not head.startswith(b"HTTP/1.1 200") or body != expected:
        raise RuntimeError(f"{peer.name}: {path} is not what it should be: {head[:200]!r} {body[:100]!r}")
    return len(head) + len(body)


def start_replicas(children: Children, folder: Path, setup: Setup, core: int) -> tuple[list[Server], list[str]]:
    if setup.echo:
        port, log = free_port(), folder / "echo.log"
        words = [sys.executable, "-m", "lib.peers.echo", "serve", port]
        server = Server("echo", children.start(words, core, log, cwd=ROOT / "benches"), port, log)
        wait_port(server)
        return [server], [server.address]
    if setup.grpc:
        return start_grpc(children, folder, setup, core)
    files = make_files(folder / "files", **{"64k": 65536, "1m": 1 << 20})
    if setup.endpoints <= 2:
        replicas = [start_nginx(children, folder, files, core) for _ in range(setup.endpoints)]
        return replicas, [replica.address for replica in replicas]
    ports = sorted({free_port() for _ in range(setup.endpoints)})
    replica = start_nginx(children, folder, files, core, port=ports[0], more_ports=ports[1:])
    return [replica], [f"127.0.0.1:{port}" for port in ports]


def start_grpc(children: Children, folder: Path, setup: Setup, core: int) -> tuple[list[Server], list[str]]:
    """nghttpd serves files as the responses of calls: one message, and many."""
    nghttpd = system_program("nghttpd", "nghttp2-server")
    files = folder / "calls"
    files.mkdir()
    (files / "unary.grpc").write_bytes(GRPC_MESSAGE)
    (files / "stream.grpc").write_bytes(GRPC_MESSAGE * GRPC_MESSAGES)
    types = folder / "mime.types"
    types.write_text("application/grpc grpc\n")
    replicas = []
    for _ in range(setup.endpoints):
        port, log = free_port(), folder / "nghttpd.log"
        options = ["--no-tls", "-a", "127.0.0.1", "-d", files, "--mime-types-file", types, "--trailer=grpc-status: 0"]
        replica = Server("nghttpd", children.start([nghttpd, *options, port], core, log), port, log)
        wait_port(replica)
        replicas.append(replica)
    return replicas, [replica.address for replica in replicas]


def wait_port(server: Server) -> None:
    def open_now() -> bool:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            return True
        except OSError:
            return False

    wait_until(open_now, READY_S, f"{server.name} listens")
